"""What a look at the indexes of our tables suggests, and no command insists on. Pure: no database here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from indexer.catalog import CatalogEntry
from indexer.decide import Step
from indexer.inheritance import Uncovered
from indexer.spec import Definition

TWIN, SAME_KEY, SUPERFLUOUS = "twin", "serves the same key", "superfluous"
LEFTOVER, CHANGED_FILE, EMPTY_CHILD = "leftover", "changed file", "empty child"
OF_REINDEX = re.compile(r"_cc(new|old)\d*$")  # REINDEX CONCURRENTLY names them so (manual, REINDEX)
ORDERED = "btree"


class Advice(NamedTuple):
    """One suggestion: the other index that it is about, the one of ours that it concerns, and a sentence."""

    kind: str
    other: str | None
    about: str | None
    text: str


def advise(
    steps: Sequence[Step],
    standing: Sequence[CatalogEntry],
    is_duplicate: Callable[[Step, CatalogEntry], bool],
    is_leftover: Callable[[Step, CatalogEntry], bool],
    dropping: Callable[[str], str],
) -> list[Advice]:
    """All that can be said about these indexes and their neighbours on the same tables.

    Args:
        steps: what is declared, and what stands under those names.
        standing: all indexes of the tables.
        is_duplicate: is the found one the declared one under another name?
        is_leftover: did a replacement of the declared one leave the found one?
        dropping: the statement that drops an index.
    """
    temporary = {found.name: step for step in steps for found in standing if is_leftover(step, found)}
    # SQLite finds an index by its name in any case, and shows the one that it was made with.
    ours = {name: step for step in steps for name in (step.index.name, step.found.name if step.found else "")}
    leftovers = [found for found in standing if found.name in temporary or _is_left_by_reindex(found)]
    others = [found for found in standing if found.name not in ours and found not in leftovers and found.usable]
    duplicates = [(step, found) for step in steps for found in others if is_duplicate(step, found)]
    same_key = [
        pair for step in steps for found in others if (pair := (step, found)) not in duplicates and _serves(*pair)
    ]
    return [
        *(Advice(TWIN, found.name, step.index.name, _of_twin(step, found)) for step, found in duplicates),
        *(Advice(SAME_KEY, found.name, step.index.name, _of_same_key(step, found)) for step, found in same_key),
        *_superfluous(others, standing, ours),
        *(
            Advice(LEFTOVER, found.name, _owner(found, {**ours, **temporary}), _of_leftover(found, temporary, dropping))
            for found in leftovers
        ),
    ]


def on_empty_children(uncovered: Iterable[Uncovered]) -> list[Advice]:
    """Advice to index tables that inherit from an indexed one before there are rows in them."""
    return [
        Advice(
            EMPTY_CHILD,
            None,
            each.target.name,
            f"{each.table} inherits from {each.child.parent}, has no rows yet, and lacks {each.target.name}:"
            f" {' '.join(f'{statement};' for statement in each.statements)}",
        )
        for each in uncovered
        if each.statements and not each.child.has_rows
    ]


def _is_left_by_reindex(found: CatalogEntry) -> bool:
    return bool(OF_REINDEX.search(found.name)) and not found.usable


def _owner(found: CatalogEntry, ours: dict[str, Step]) -> str | None:
    """The index of ours that a leftover was made for."""
    name = OF_REINDEX.sub("", found.name)
    return ours[name].index.name if name in ours else None


def _of_leftover(found: CatalogEntry, temporary: dict[str, Step], dropping: Callable[[str], str]) -> str:
    if found.worker:
        return f"{found.name} is being built or dropped right now by pid {found.worker}."
    if found.name in temporary:
        return f"{found.name} is left from an interrupted up --replace: the same command goes on from there."
    return f"{found.name} is left from an interrupted REINDEX CONCURRENTLY: {dropping(found.name)};"


def _of_twin(step: Step, found: CatalogEntry) -> str:
    name = step.index.name
    if step.found is None:
        return f"{found.name} is {name} under another name: python cli.py up --adopt-renamed renames it."
    if step.differences:
        return f"{found.name} is what {name} ought to be and is not."
    return f"{found.name} is the same as {name}: one of the two is superfluous."


def _serves(step: Step, found: CatalogEntry) -> bool:
    theirs = found.definition
    if theirs is None or theirs.table != step.index.table or theirs.method != ORDERED:
        return False
    key = step.declared.key
    return theirs.key[: len(key)] == key and theirs.predicate in (None, step.declared.predicate)


def _of_same_key(step: Step, found: CatalogEntry) -> str:
    assert found.definition
    constraint = ", of a constraint," if found.definition.constraint else ""
    return f"{_named(found)}{constraint} serves what {step.index.name} is for: {step.index.purpose}".rstrip()


def _superfluous(
    others: Iterable[CatalogEntry], standing: Sequence[CatalogEntry], ours: dict[str, Step]
) -> list[Advice]:
    """Each index whose key is the beginning of a wider one's, the wider one being as good for it."""
    return [
        Advice(
            SUPERFLUOUS,
            narrow.name,
            wide.name if wide.name in ours else None,
            f"{_named(narrow)} is superfluous: {_named(wide)} serves it too.",
        )
        for narrow in others
        for wide in standing
        if wide.usable and _makes_superfluous(wide.definition, narrow.definition)
    ]


def _makes_superfluous(wide: Definition | None, narrow: Definition | None) -> bool:
    if wide is None or narrow is None or wide.table != narrow.table or wide.predicate:
        return False
    plain = not (narrow.unique or narrow.constraint or narrow.predicate or narrow.include)
    wider = len(wide.key) > len(narrow.key) and wide.key[: len(narrow.key)] == narrow.key
    return plain and wider and wide.method == narrow.method == ORDERED


def _named(found: CatalogEntry) -> str:
    return f"{found.name} ({', '.join(found.definition.key if found.definition else ())})"
