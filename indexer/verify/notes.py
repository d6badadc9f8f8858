"""What a reader should know beside a verdict, in sentences."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from indexer.catalog import Table
from indexer.text import counted, few
from indexer.verify.query import Arguments, Query
from indexer.verify.usage import Evidence

if TYPE_CHECKING:
    from indexer.decide import Step

REASONS = {
    "missing": "is missing. Build it: python cli.py up",
    "invalid": "is invalid, because its build was cut off. Rebuild it: python cli.py up",
    "in progress": "is being built or dropped by another session. See: python cli.py status",
    "replaceable": "does not serve {query}, because it is not what the revision says ({different}). Put ours in its"
    " place: python cli.py up --replace",
    "different": "does not serve {query}, because it is not what the revision says ({different}). Drop it or rename"
    " it, then build ours: python cli.py up",
    "valid": "is as the revision says, but the planner cannot use it for {query}",
}


def notes(evidence: Evidence, query: Query, step: Step, table: Table) -> Iterator[str]:
    """What the evidence means, one sentence each: what is wrong, what is limited, and what to do about it."""
    found = step.found.definition if step.found else None
    yield from _on_standing(evidence, query, step)
    if evidence.usable and found and found.method == "hash":
        yield f"{query.index} serves equality alone: no LIKE, no range and no ORDER BY on {found.key[0]} can use a hash"
    if evidence.empty and any(column.descending for column in step.index.key):
        yield f"{query.call} has to be sorted while {', '.join(few(sorted(evidence.empty)))} has no {query.index}"
    elif evidence.plan and any(column.descending for column in step.index.key):
        now = evidence.plan is evidence.now
        how = f"comes in order from {query.index}: nothing is" if now else f"can come in order from {query.index}, not"
        yield f"{query.call} {how} sorted"
    yield from _on_choice(evidence, query, table)
    yield from _on_prepared_statements(evidence, step)


def _on_standing(evidence: Evidence, query: Query, step: Step) -> Iterator[str]:
    """Why the index cannot be used, what else serves its query, and how it differs from the revision."""
    other = min(evidence.others, default=None)
    different = ", ".join(f"{part.part} is {part.found}, not {part.declared}" for part in step.differences)
    if evidence.usable and different:
        yield f"{query.index} serves {query.call}, but is not what the revision says ({different})"
    if other and (evidence.usable or step.state == "valid"):
        yield f"{other} serves {query.call}: {query.index} is redundant here"
    elif other:
        yield f"{other} serves {query.call}: {query.index} is {step.state}, but would be redundant here"
    elif evidence.whole and step.state == "valid":
        tables = ", ".join(few(sorted(evidence.whole)))
        yield (
            f"{query.call} reads {tables} whole: {query.index} is not inherited. See what to build there:"
            " python cli.py check"
        )
    elif not evidence.usable:
        kind = "replaceable" if step.can_be_replaced else "different"
        reason = REASONS[kind if different else step.state]
        yield f"{query.index} {reason.format(query=query.call, different=different)}"


def _on_choice(evidence: Evidence, query: Query, table: Table) -> Iterator[str]:
    """What the planner prefers to the index, and when."""
    if not evidence.usable:
        return
    if evidence.passed_over:
        others = " and ".join(map(_call, evidence.passed_over))
        yield f"{query.call}: for {_call(evidence.arguments)} the planner chooses {query.index}, for {others} not"
    if evidence.plan is evidence.now:
        return
    if evidence.preferred == query.index:
        yield f"{query.call}: the planner reads {query.index} now, but finds it cheaper to sort a few rows"
    elif evidence.preferred:
        yield f"{query.call}: the planner prefers {evidence.preferred} now"
    elif table.rows is None:
        yield f"{query.call}: a scan is preferred, but {table.name} has no statistics yet. Gather them: ANALYZE"
    else:
        yield f"{query.call}: a scan of {table.name} (about {counted(table.rows, 'row')}) is cheaper now"


def _call(arguments: Arguments) -> str:
    return f"({', '.join(map(reprlib.repr, arguments))})"


def _on_prepared_statements(evidence: Evidence, step: Step) -> Iterator[str]:
    """What a plan made before the parameters are known means for the index; on SQLite it is always made so."""
    index = step.index
    if evidence.generic is False and evidence.as_parameter is not False:
        yield (
            f"{index.name} serves the statement with the values that are in it: a prepared one, whose plan is made"
            " for any parameters, cannot use it"
        )
    if evidence.as_parameter is False and step.declared.predicate is None:
        yield (
            f"{index.name} serves statements that say {index.on_postgresql.where} literally, as queries.py does:"
            " one that makes a parameter of that value cannot use it"
        )
    elif evidence.as_parameter is False:
        yield (
            f"{index.name} serves statements that say {index.on_postgresql.where} literally, as queries.py does."
            " A prepared statement with that value as a parameter loses it when its plan becomes generic:"
            " keep the literal, or SET plan_cache_mode = force_custom_plan"
        )
