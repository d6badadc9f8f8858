"""Every problem that stops a run, found before the first change, and the errors that report them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from indexer.catalog import ORDINARY, PARTITIONED, PARTITIONED_INDEX, Table
from indexer.decide import CREATIONS, Action
from indexer.definition import Difference
from indexer.errors import Command, Different, Hint, IndexerError, PreflightFailed
from indexer.options import DEFAULTS, Options
from indexer.spec import Index
from indexer.text import few, may_be, shell

if TYPE_CHECKING:
    from indexer.migrator import CatalogMigrator
    from indexer.partitions import Part
    from indexer.plans import Plan, RevisionPlan, StampPlan
    from indexer.server import Server
    from indexer.steps import Step

BUILDING = CREATIONS | {Action.RENAME, Action.COMPLETE}  # SQLite builds an index again to rename it
CREATING = BUILDING | {Action.RENAME_BACK}


# What the database says against a plan -------------------------------------------------------------------------------


def problems(
    migrator: CatalogMigrator, steps: Sequence[Step], tables: Mapping[str, Table], new: Mapping[str, Table]
) -> list[str]:
    """Return everything that would stop these steps, one sentence each; nothing is changed.

    Args:
        tables: those that exist, of the indexed ones and of those that record revisions, by name.
        new: the tables that an empty database is given first.
    """
    server, indexes = migrator.server, [step.index for step in steps]
    changed = dict.fromkeys(step.index.table for step in steps if step.changes)
    is_creating = bool(new) or any(step.action in CREATING for step in steps)
    is_elsewhere = any(index.table not in (new or tables) for index in indexes)
    is_elsewhere |= bool(new) and not server.schema_was_named
    return [
        *migrator.catalog.problems(),
        *server.missing_rights(tables, changed, is_creating),
        *table_problems(migrator, indexes, new or tables),
        *_index_problems(migrator, steps, new or tables),
        *migrator.unpartitionable([step for step in steps if step.action in BUILDING]),
        *server.unchangeable(steps, tables),
        *(elsewhere(server) if is_elsewhere else []),
    ]


def elsewhere(server: Server) -> list[str]:
    """Return in which other schemas the tables are, one sentence each."""
    return few([f"the tables are in schema {each}: add --schema {shell(each)}" for each in server.other_schemas()])


def _index_problems(migrator: CatalogMigrator, steps: Sequence[Step], tables: Mapping[str, Table]) -> list[str]:
    built = [step.index for step in steps if step.action in BUILDING]
    return [
        *migrator.unbuildable([index for index in built if not table_problems(migrator, [index], tables)], tables),
        *_taken_names(migrator, steps),
        *held_placements(steps),
        *(
            f"{step.index.name} cannot be dropped, because {step.found.needed_by} needs it"
            for step in steps
            if step.action is Action.DROP and step.found and step.found.needed_by
        ),
    ]


def held_placements(steps: Sequence[Step]) -> list[str]:
    """Return which indexes of nodes hold parts of indexes that these steps would drop or complete."""
    found = [part.step.found for step in steps if step.changes for part in step.parts]
    held: dict[tuple[str, str | None, str], list[str]] = {}
    for flaw in (flaw for entry in found if entry for flaw in entry.flaws if flaw.held_by):
        held.setdefault((flaw.node, flaw.held_by, flaw.remedy), []).append(flaw.name)
    return [
        f"{holder} on {node} holds {', '.join(few(names))}, and PostgreSQL drops these only with it. On that node, give"
        f" it back the name that Citus gave it if it was renamed, or drop it: {drop}"
        for (node, holder, drop), names in held.items()
    ]


def table_problems(migrator: CatalogMigrator, indexes: Iterable[Index], tables: Mapping[str, Table]) -> list[str]:
    """Return why these tables, of those that exist by name, cannot have these indexes.

    One is missing, is not a table, or lacks a column; the columns of expressions are another question.
    """
    found: dict[str, None] = {}  # in order, each once
    for index in indexes:
        name, table = migrator.qualified(index.table), tables.get(index.table)
        if table is None:
            found[f"table {name} is missing"] = None
        elif table.kind not in (ORDINARY, PARTITIONED):
            found[f"{name} is a {table.kind}, not an ordinary table"] = None
        else:
            missing = [column for column in migrator.dialect.declared(index).columns if column not in table.columns]
            for column in missing:
                found[f"table {name} has no column {column}{may_be(column, table.columns)}"] = None
    return list(found)


def _taken_names(migrator: CatalogMigrator, steps: Sequence[Step]) -> list[str]:
    """Return a problem for each former name that ``down`` would restore and that something else has now."""
    given_back = {step.other_name: step.index for step in steps if step.action is Action.RENAME_BACK}
    taken = migrator.catalog.find([name for name in given_back if name]) if given_back else {}
    return [
        f"{index.name} cannot get its former name {name} back, because another {taken[name].kind} has that name now: "
        "rename that one, or use down --include-adopted to drop this index"
        for name, index in given_back.items()
        if name in taken
    ]


# Refusals ------------------------------------------------------------------------------------------------------------


def check(plan: Plan) -> None:
    """Raise PreflightFailed or Different if the run must not start."""
    if error := refusal(plan):
        raise error


def refusal(plan: Plan, what: str = "Nothing was changed") -> IndexerError | None:
    """Return why the run must not start, if it must not; ``what`` is what happened, for the message."""
    if plan.problems or plan.later:
        then = f"{_on_missing_tables(plan)}Fix this, then run: " if plan.problems else "To go below it anyway, run: "
        return PreflightFailed((*plan.problems, *plan.later), Hint(then, plan.command), f"{what}, because")
    if not plan.refused:
        return None
    return Different(
        f"{what}. These names are in use, by an index with another definition or by something else:",
        conflict_hint(plan.refused, plan.direction, plan.options, plan.to),
        {step.index.name: (*step.differences, *step.obstacles) for step in plan.refused},
    )


def _on_missing_tables(plan: Plan) -> str:
    """Return that ``up`` creates no tables here, if tables that it needs are missing."""
    is_missing = any(step.index.table not in plan.state.tables for step in plan.steps)
    is_up = plan.direction == "up" and not plan.base_tables
    return "up creates tables only in an empty database. " if is_up and is_missing else ""


def conflict_hint(refused: Sequence[Step], direction: str, options: Options, to: str | None = None) -> Hint:
    """Return the next step where something else has a declared name, so that these steps stop the run.

    A run with ``--replace`` replaces what it can; the rest has to be renamed or dropped by hand.
    """
    replaceable = [step for step in refused if step.can_be_replaced and not options.replace]
    others = [step for step in refused if step not in replaceable]
    again, replace = options.command(direction, to), options._replace(replace=True).command("up", to)
    if direction == "down":
        by_hand = f"{_made_free(refused, direction)}, then run: "
        if others:
            return Hint(_capital(by_hand), again)
        first = f"Replace {_names(refused)} with what is declared first: "
        return Hint(first, Command("up", "--replace"), f". Or {by_hand}", again)
    if not others:
        by_hand = f"{_made_free(replaceable, direction)}, then run: "
        return Hint(f"To replace {_names(replaceable)}, run: ", replace, f". Or {by_hand}", again)
    by_hand = f"{_not_replaced(others, options)}{_capital(_made_free(others, direction))}, then "
    if replaceable:
        return Hint(f"{by_hand}replace {_names(replaceable)}: ", replace)
    return Hint(f"{by_hand}run: ", again)


def _not_replaced(steps: Sequence[Step], options: Options) -> str:
    """Return why ``--replace`` replaces no index of a partitioned table, if it was to; a sentence with its space."""
    is_partitioned = any(step.found and step.found.kind == PARTITIONED_INDEX for step in steps)
    if not (options.replace and is_partitioned):
        return ""
    return "--replace leaves indexes of partitioned tables, because PostgreSQL drops none of these CONCURRENTLY. "


def _on_partitions(different: Sequence[Part]) -> list[str]:
    """Return how these partitions get the declared index: none that is attached to the whole can be dropped alone."""
    tables = ", ".join(few([part.partition.label for part in different]))
    dropped = ", ".join(few([part.label for part in different]))
    return [f"detach {tables}, drop {dropped}, and attach {tables} again (PostgreSQL then builds the declared index)"]


def _made_free(steps: Sequence[Step], direction: str) -> str:
    """Return what frees the names of these steps: no table is to be dropped, nor renamed for a new index."""
    relations = [step for step in steps if step.found and not step.found.definition and not step.conflict]
    orphans = [step for step in steps if step.found and step.found.is_orphaned]
    in_parts = [step for step in steps if step.differs_in_parts_only]
    indexes = [step for step in steps if step not in (*relations, *orphans, *in_parts)]
    ways = [f"drop what only shards have: {', '.join(_drops(orphans))}"] if orphans else []
    if relations and direction == "up":
        new = "another name" if len(relations) == 1 else "other names"
        ways.append(f"give {_names(relations)} {new} in the revision file")
    elif relations:
        ways.append(f"rename {_names(relations)}")
    if in_parts:
        ways += _on_partitions([part for step in in_parts for part in step.different_parts])
    if indexes:
        ways.append(f"rename or drop {_names(indexes)} if nothing needs {'it' if len(indexes) == 1 else 'them'}")
    return " and ".join(ways)


def _drops(orphans: Sequence[Step]) -> list[str]:
    """Return the statements that drop indexes which only shards have, each with its node."""
    flaws = [flaw for step in orphans if step.found for flaw in step.found.flaws if flaw.definition]
    return few([f"{flaw.remedy} on {flaw.node}" for flaw in flaws])


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"


def _names(steps: Sequence[Step]) -> str:
    return ", ".join(step.conflict.name if step.conflict else step.index.name for step in steps)


# Stamp ---------------------------------------------------------------------------------------------------------------


def check_stamp(plan: StampPlan) -> None:
    """Refuse to record a revision that the database is not at.

    Raises:
        PreflightFailed: with every problem.
        Different: with every difference.
    """
    if plan.problems:
        raise PreflightFailed(plan.problems, Hint("Fix this, then run: ", plan.command))
    differences: dict[str, tuple[Difference, ...]] = {
        f"table {name}": (Difference("state", "exists", "missing"),) for name in plan.missing_tables
    }
    for step in (step for revision_plan in plan.forward for step in revision_plan.steps if not step.is_valid):
        differences[step.index.name] = step.differences or (Difference("state", "valid", step.state),)
    ahead = [revision_plan for revision_plan in plan.back if any(step.found for step in revision_plan.steps)]
    beyond = [step for revision_plan in ahead for step in revision_plan.steps if step.found]
    differences.update({step.index.name: (Difference("state", "absent", step.state),) for step in beyond})
    if differences:
        message = f"Nothing was recorded, because the database does not match revision {plan.revision}:"
        refused = [step for revision_plan in plan.forward for step in revision_plan.steps if step.is_refused]
        hint = conflict_hint(refused, "up", DEFAULTS, plan.revision) if refused and not ahead else None
        raise Different(message, hint or _way_to(plan.revision, ahead, beyond), differences)


def _way_to(target: str, ahead: Sequence[RevisionPlan], beyond: Sequence[Step]) -> Hint:
    """Return the next step to get to a revision, where these later ones have left indexes."""
    if not ahead:
        return Hint("Build the missing indexes: ", Command("up", "--to", target))
    if all(revision_plan.state.is_undoable for revision_plan in ahead):
        return Hint("Drop the later indexes: ", Command("down", "--to", target))
    names = ", ".join(step.index.name for step in beyond)
    return Hint(f"Drop the later indexes if nothing needs them ({names}), then run: ", Command("stamp", target))
