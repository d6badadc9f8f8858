"""Advice about indexes whose collation has changed since they were known to be right. Pure: no database here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from indexer.advice import SUSPECT, Advice
from indexer.catalog import Collation, collation_version
from indexer.errors import Command, Hint
from indexer.records.baseline import LEARNED
from indexer.records.revisions import Record
from indexer.steps import Step
from indexer.tuples import NamedTuple

NO_VERSION = "none"


class Known(NamedTuple):
    """When an index was last known to be right, and the versions of its collations then."""

    when: str
    version: str | None


def suspects(
    steps: Sequence[Step],
    collations: Mapping[str, Sequence[Collation]],
    records: Iterable[Record],
) -> list[Advice]:
    """Return the advice to check the indexes whose text may be sorted in another order now.

    What PostgreSQL recorded counts only for an index of which no build and no clean check is on record: it is the same
    for all indexes of a database, and says nothing of one that was rebuilt.

    Args:
        collations: those that the indexes sort by, by the name of the index.
    """
    known = {name: each for record in records for name, each in _known(record).items()}
    advice = (
        _suspect(step, collations[step.index.name], known.get(step.index.name))
        for step in steps
        if step.index.name in collations
    )
    return [each for each in advice if each]


def _known(record: Record) -> dict[str, Known]:
    """Return when each index of a record was last built or found clean."""
    built = {
        name: (each.at, Known(f"its build on {each.at:%Y-%m-%d}", each.collation_version))
        for name, each in record.baselines.items()
        if each.by != LEARNED
    }
    checked = {
        name: (each.at, Known(f"its deep check on {each.at:%Y-%m-%d}", each.collation_version))
        for name, each in record.checks.items()
    }
    later = {name: each for name, each in checked.items() if name not in built or each[0] >= built[name][0]}
    return {name: known for name, (_, known) in {**built, **later}.items()}


def _suspect(step: Step, sorting: Sequence[Collation], known: Known | None) -> Advice | None:
    name = step.index.name
    predicate = step.found.definition.predicate if step.found and step.found.definition else None
    at_risk = [each for each in sorting if not _is_fixed(predicate, each.column)]
    if not at_risk:
        return None
    version, changed = collation_version(sorting), next((each for each in at_risk if each.has_changed), None)
    if known and known.version != version:
        before, after = known.version or NO_VERSION, version or NO_VERSION
        why = f"the version of its collation was {before} at {known.when}, and is {after} now"
    elif not known and changed:
        why = f"PostgreSQL recorded version {changed.recorded} of collation {changed.name}, now it is {changed.actual}"
    else:
        return None
    return Advice(
        SUSPECT, name, name, Hint(f"{name} may be corrupt: {why}. Check it: ", Command("check", "--deep", name))
    )


def _is_fixed(predicate: str | None, column: str | None) -> bool:
    """Return whether a predicate admits one value of a column, so that the order of its values does not matter."""
    if not predicate or column is None or re.search(r"\b(OR|NOT)\b", predicate):
        return False
    bare = re.sub(r"::[\w ]*\w|[()]", "", predicate)
    return re.search(rf"(^|\bAND ){re.escape(column)} = '", bare) is not None
