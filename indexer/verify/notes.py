"""Notes on the result of a query, in sentences: what is wrong or limited, and what to do about it."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from indexer.catalog import PARTITIONED, Table
from indexer.definition import Expression
from indexer.errors import Command, Hint
from indexer.text import counted, few
from indexer.verify.query import Arguments
from indexer.verify.serving import is_ordered
from indexer.verify.usage import IndexUsage

if TYPE_CHECKING:
    from indexer.steps import Step

Note = str | Hint

REPAIRS = {
    "missing": Hint(" is missing. Build it: ", Command("up")),
    "invalid": Hint(" is invalid, because its build was interrupted. Rebuild it: ", Command("up")),
    "in progress": Hint(" is being built or dropped by another session. See: ", Command("status")),
}
DISTRIBUTED = (
    "whether a generic plan uses an index of a distributed table cannot be asked: the nodes of a Citus cluster plan"
    " their parts of a query for given parameters"
)


def notes(usage: IndexUsage, call: str, step: Step, table: Table) -> Iterator[Note]:
    """Yield what the usage of an index by the query of this call means: what is wrong or limited, and what to do."""
    if usage.usable and step.differences:
        yield f"{step.index.name} serves {call}, but {_difference(step)}"
    if usage.others:
        yield _redundancy(usage, call, step)
    elif not usage.usable:
        yield _failure(usage, call, step, table)
    if usage.usable:
        yield from _limits(usage, step)
        yield from _order(usage, call, step)
        yield from _choice(usage, call, step.index.name, table)
    if table.trust.unhiding:
        yield f"row-level security may hide rows of {table.name} from role {table.role}: the plans are for this role"


def _difference(step: Step) -> str:
    parts = ", ".join(f"{part.part} is {part.found}, not {part.declared}" for part in step.differences)
    return f"differs from the revision ({parts})"


def _redundancy(usage: IndexUsage, call: str, step: Step) -> Note:
    """Return which other index serves the query, and whether the declared one is redundant because of it."""
    other, index = usage.served_by, step.index.name
    if usage.usable or step.state == "valid":
        return f"{other} serves {call}, {f'so {index} is redundant here' if usage.making_redundant else 'too'}"
    if usage.making_redundant:
        return f"{other} serves {call}. {index} is {step.state}, but would be redundant here"
    return Hint(f"{other} serves {call}. {index}", REPAIRS.get(step.state, f" is {step.state}"))


def _failure(usage: IndexUsage, call: str, step: Step, table: Table) -> Note:
    """Return why the index does not serve the query, and how to repair that."""
    index, unserved = step.index.name, ", ".join(few(sorted(usage.unserved_children)))
    if table.kind == PARTITIONED and unserved and not step.differences:
        reads = f"{call} reads all rows of {unserved}, where {index} does not serve it"
        return Hint(f"{reads}. Build what is missing: ", Command("up")) if step.state == "invalid" else reads
    if step.differences:
        failure = f"{index} does not serve {call}, because it {_difference(step)}. "
        if step.can_be_replaced:
            return Hint(f"{failure}Replace it: ", Command("up", "--replace"))
        return Hint(f"{failure}Drop it or rename it, then build the index: ", Command("up"))
    if step.state != "valid":
        return Hint(index, REPAIRS[step.state])
    if usage.unserved_children:
        scan = f"{call} reads all rows of {unserved}: {index}"
        return Hint(f"{scan} is not inherited. See what to build there: ", Command("check"))
    expressions = ", ".join(part.sql for part in step.declared.key if isinstance(part, Expression))
    literally = f": its query needs {expressions} as declared, with literals and not parameters" if expressions else ""
    return f"{index} matches the revision, but the planner cannot use it for {call}{literally}"


def _limits(usage: IndexUsage, step: Step) -> Iterator[Note]:
    """Yield what a plan for any parameters, as SQLite's are, cannot do with the index."""
    index = step.index.name
    if usage.case.plan.is_distributed:
        yield DISTRIBUTED
    elif usage.generic_as_parameter is False:
        written = {step.index.postgresql.predicate, step.index.sqlite.predicate} - {None}
        predicate = written.pop() if len(written) == 1 else step.declared.predicate
        literally = f"{index} needs the literal {predicate} in the statement, as in queries.py"
        if step.declared.predicate is None:
            yield f"{literally}: a statement with a parameter in its place cannot use the index"
        else:
            yield (
                f"{literally}. A prepared statement with a parameter in its place stops using the index when its plan"
                " becomes generic: keep the literal, or SET plan_cache_mode = force_custom_plan"
            )
    elif usage.generic is False:
        yield f"{index} serves this statement with literals: a prepared statement with a generic plan cannot use it"


def _order(usage: IndexUsage, call: str, step: Step) -> Iterator[Note]:
    index, ordered = step.index, is_ordered(step.declared)
    if ordered and usage.empty_children:
        lacking = ", ".join(few(sorted(usage.empty_children)))
        yield f"the rows of {call} have to be sorted as long as {lacking} has no {index.name}"
    elif ordered and usage.plan:
        yield f"{index.name} {'returns' if usage.chosen else 'can return'} the rows of {call} in order, without a sort"


def _choice(usage: IndexUsage, call: str, index: str, table: Table) -> Iterator[Note]:
    """Yield for which arguments the planner chooses the index, and what it prefers now."""
    if usage.passed_over:
        chosen, *others = map(_shortened, (usage.case.arguments, *usage.passed_over))
        yield f"{call}: the planner chooses {index} for {chosen}, but not for {' and '.join(others)}"
    if usage.chosen:
        return
    if usage.preferred == index:
        yield f"{call}: the planner finds the rows with {index} now, but sorts them: they are few"
    elif usage.preferred:
        yield f"{call}: the planner prefers {usage.preferred} now"
    elif table.rows is None:
        yield f"{call}: the planner prefers a scan, but {table.name} has no statistics yet. Gather them: ANALYZE"
    else:
        yield f"{call}: a scan of {table.name} (about {counted(table.rows, 'row')}) is cheaper now"


def _shortened(arguments: Arguments) -> str:
    return f"({', '.join(map(reprlib.repr, arguments))})"
