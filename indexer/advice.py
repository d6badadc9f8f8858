"""Advice about the indexes of our tables, which does not change an exit code. Pure: no database here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from indexer.catalog import CatalogEntry
from indexer.definition import Column, makes_redundant
from indexer.errors import Command, Detail, Hint, statement
from indexer.leftovers import is_left_of, is_named_by_reindex
from indexer.server import Uncovered
from indexer.steps import Step, StepPlanner
from indexer.text import are, counted, few
from indexer.tuples import NamedTuple

DUPLICATE, SAME_KEY, SUPERFLUOUS = "duplicate", "serves the same key", "superfluous"
LEFTOVER, CHANGED_FILE, EMPTY_CHILD = "leftover", "changed file", "empty child"
SUSPECT = "suspect"  # its collation has changed
MOST_DROPS = 10  # that are shown
ORDER = (DUPLICATE, SAME_KEY, SUPERFLUOUS, LEFTOVER)


class Advice(NamedTuple):
    """One piece of advice.

    Attributes:
        kind: what it is about, such as a duplicate or a leftover.
        other: the name of the index it is about; None if it is about none.
        about: the name of the declared index that it concerns; None if it concerns none.
        can_be_dropped: whether no query loses anything if the index it is about is dropped.
        on_leaf: whether that is on a leaf of a partitioned table.
    """

    kind: str
    other: str | None
    about: str | None
    text: str | Hint
    can_be_dropped: bool = False
    on_leaf: bool = False


def advise(steps: Sequence[Step], entries: Sequence[CatalogEntry], planner: StepPlanner) -> list[Advice]:
    """Return the advice about the declared indexes, of which these are the steps, and all entries of their tables."""
    # SQLite finds an index by its name in any case, and shows the one that it was created with.
    declared = {name: step for step in steps for name in (step.index.name, step.found.name if step.found else "")}
    left = planner.reindex_leftovers([step.index for step in steps], entries)
    advice: list[Advice] = []
    for entry in entries:
        replacement = next((step for step in steps if planner.is_leftover(step.index, entry)), None)
        if replacement:
            hint = Hint(
                f"{entry.name} is left from an interrupted replacement. Finish it: ", Command("up", "--replace")
            )
            advice.append(_leftover(entry, replacement, hint))
        elif is_named_by_reindex(entry.name) and not entry.usable:
            if not (entry.worker or entry.name in left or _is_left_of_any(entry, entries)):
                continue  # an invalid index of another definition, such as one that was made by hand
            step = declared.get(left.get(entry.name, ""))
            advice.append(_leftover(entry, step, _of_reindex(entry, planner)))
        elif entry.usable and entry.name not in declared:
            advice += _of_other(entry, steps, planner)
            advice += [_superfluous(entry, wide, declared) for wide in entries if _makes_superfluous(wide, entry)]
    return sorted(advice, key=lambda each: ORDER.index(each.kind))


def _of_reindex(entry: CatalogEntry, planner: StepPlanner) -> Hint:
    """Return how to drop what an interrupted REINDEX CONCURRENTLY left; on shards that takes a statement for each."""
    if entry.is_orphaned:
        on_shards = f"{entry.name} is left on {counted(len(entry.flaws), 'shard')}"
        return Hint(f"{on_shards} from an interrupted REINDEX CONCURRENTLY. Drop it: ", Command("reindex"))
    drop = planner.dialect.drop_statement_of(entry)
    return Hint(f"{entry.name} is left from an interrupted REINDEX CONCURRENTLY. Drop it: ", statement(f"{drop};"))


def on_empty_children(uncovered: Iterable[Uncovered]) -> list[Advice]:
    """Return the advice to index tables that inherit from an indexed one before they have rows."""
    return [
        Advice(
            EMPTY_CHILD,
            None,
            each.target.name,
            Hint(
                f"{each.table} inherits from {each.child.parent}, has no rows yet, and lacks {each.target.name}: ",
                statement(" ".join(f"{sql};" for sql in each.statements), "check"),
            ),
        )
        for each in uncovered
        if each.statements and not each.child.has_rows
    ]


def on_children_with_rows(uncovered: Iterable[Uncovered]) -> list[Hint]:
    """Return a sentence for each indexed table with children that have rows and lack an index."""
    lacking: dict[str, dict[str, None]] = {}
    for each in uncovered:
        if each.child.has_rows:
            lacking.setdefault(each.child.parent, {})[each.table] = None
    return [_not_inherited(parent, list(tables)) for parent, tables in lacking.items()]


def on_indexes_of_children(drops: Sequence[str]) -> list[str]:
    """Return a sentence about the indexes that ``down`` leaves on tables that inherit, with what drops them."""
    if not drops:
        return []
    number = counted(len(drops), "index", "indexes")
    return [
        f"down leaves {number} on tables that inherit, because up made none there. To drop"
        f" {'it' if len(drops) == 1 else 'them'}: {'; '.join(few(drops, MOST_DROPS))}"
    ]


def _not_inherited(parent: str, tables: list[str]) -> Hint:
    inherits, holds = ("inherits", "holds") if len(tables) == 1 else ("inherit", "hold")
    return Hint(
        f"{counted(len(tables), 'table')} that {inherits} from {parent} and {holds} rows {are(tables)} not indexed by"
        f" up, because indexes are not inherited: {', '.join(few(tables))}."
        " After up, see the statements for each: ",
        Command("check"),
    )


def _is_left_of_any(entry: CatalogEntry, entries: Iterable[CatalogEntry]) -> bool:
    """Return whether an interrupted REINDEX CONCURRENTLY of one of these indexes left an entry."""
    return any(other.definition and is_left_of(entry, other.name, other.definition) for other in entries)


def _leftover(entry: CatalogEntry, step: Step | None, text: Hint) -> Advice:
    if entry.worker:
        text = Hint(f"{entry.name} is being built or dropped by another session (pid {entry.worker}).")
    return Advice(LEFTOVER, entry.name, step.index.name if step else None, text)


def _of_other(entry: CatalogEntry, steps: Sequence[Step], planner: StepPlanner) -> list[Advice]:
    """Return the advice about an index that is not declared, one for each declared index that it can stand in for."""
    duplicated = [step for step in steps if planner.is_duplicate(step.index, entry)]
    served = [step for step in steps if step not in duplicated and _serves(step, entry)]
    return [
        *(
            Advice(DUPLICATE, entry.name, step.index.name, _of_duplicate(step, entry), step.is_valid)
            for step in duplicated
        ),
        *(Advice(SAME_KEY, entry.name, step.index.name, _of_same_key(step, entry)) for step in served),
    ]


def _of_duplicate(step: Step, entry: CatalogEntry) -> str | Hint:
    name = step.index.name
    if step.found is None:
        return Hint(f"{entry.name} is {name} under another name. Rename it: ", Command("up", "--adopt-renamed"))
    if step.differences:
        return f"{entry.name} has the definition declared for {name}, and {name} has another one."
    if not step.is_valid:
        return f"{entry.name} is a duplicate of {name}, which is {step.found.flaw}."
    return f"{entry.name} is a duplicate of {name}: one of the two can be dropped."


def _of_same_key(step: Step, entry: CatalogEntry) -> Hint:
    constraint = ", of a constraint," if entry.definition and entry.definition.constraint else ""
    purpose = f": {step.index.purpose}" if step.index.purpose else "."
    return Hint(*_with_key(entry), f"{constraint} serves the same queries as {step.index.name}{purpose}")


def _superfluous(narrow: CatalogEntry, wide: CatalogEntry, declared: dict[str, Step]) -> Advice:
    text = Hint(*_with_key(narrow), " can be dropped: ", *_with_key(wide), " serves the same queries.")
    return Advice(SUPERFLUOUS, narrow.name, wide.name if wide.name in declared else None, text, can_be_dropped=True)


def _serves(step: Step, entry: CatalogEntry) -> bool:
    """Return whether an index serves all queries of the declared one."""
    return entry.definition is not None and makes_redundant(entry.definition, step.declared)


def _makes_superfluous(wide: CatalogEntry, narrow: CatalogEntry) -> bool:
    """Return whether a usable index with a wider key serves all queries of another one, which nothing else needs."""
    wider, narrower = wide.definition, narrow.definition
    if not wide.usable or wider is None or narrower is None or narrower.constraint or narrow.needed_by:
        return False
    return len(wider.key) > len(narrower.key) and makes_redundant(wider, narrower)


def _with_key(entry: CatalogEntry) -> tuple[str, str]:
    """Return the name of an index, and its key."""
    parts = entry.definition.key if entry.definition else ()
    key = f" ({', '.join(map(str, parts))})"
    return entry.name, key if all(isinstance(part, Column) for part in parts) else Detail(key)
