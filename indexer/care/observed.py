"""What is observed of each index, before anything is concluded from it. Pure: no database here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from indexer.care.evidence import Evidence
from indexer.care.hashes import limits
from indexer.care.statistics import Statistics
from indexer.care.usage import TableCounts, Usage
from indexer.catalog import CatalogEntry, Table
from indexer.definition import Column, Definition
from indexer.records.baseline import Checked
from indexer.steps import Step
from indexer.tuples import NamedTuple


class Observed(NamedTuple):
    """What is observed of one index.

    Attributes:
        step: what ``up`` would do about it; None if it is not declared.
        entry: what has its name; None if nothing has.
        evidence: what a rebuild would leave of it; None where it cannot be used.
        leaves: the same of each of its leaf indexes by their labels; none if its table is not partitioned.
        usage: how often it is used; None where that is not counted.
        counts: what the server has counted of its table; None where it counts nothing.
        checked: its last deep check; None if there was none.
        is_needed: whether it would be needed if no query used it: it is unique, belongs to a constraint or a replica
            identity, or is the only index on the columns of a foreign key.
    """

    name: str
    table: str
    step: Step | None
    entry: CatalogEntry | None
    of_table: Table | None
    evidence: Evidence | None
    usage: Usage | None
    counts: TableCounts | None
    statistics: Statistics | None
    checked: Checked | None
    is_needed: bool
    leaves: Mapping[str, Evidence] = {}

    @property
    def is_declared(self) -> bool:
        """Whether a revision declares it."""
        return self.step is not None

    @property
    def state(self) -> str:
        """What is to be said of it in a word: valid, missing, different, or why it cannot be used."""
        if self.step and self.step.state in ("missing", "different"):
            return self.step.state
        return self.entry.flaw if self.entry else "missing"

    @property
    def is_usable(self) -> bool:
        """Whether queries can use it."""
        return self.entry is not None and self.entry.usable

    def has_method(self, method: str) -> bool:
        """Return whether it is an index of this access method."""
        return bool(self.entry and self.entry.definition and self.entry.definition.method == method)

    @property
    def limits(self) -> tuple[str, ...]:
        """What its access method cannot do, and its overflow pages if counted: each a sentence without full stop."""
        definition = self.entry.definition if self.entry else None
        overflow = (self.evidence.overflow,) if self.evidence and self.evidence.overflow else ()
        return (*limits(self.name, definition), *overflow) if definition else ()

    @property
    def bytes(self) -> int | None:
        """Its size; None where that cannot be told."""
        if self.evidence and self.evidence.bytes is not None:
            return self.evidence.bytes
        return self.entry.bytes if self.entry else None

    @property
    def share(self) -> float | None:
        """Its size as a share of that of its table, without indexes."""
        size = self.of_table.bytes if self.of_table else None
        return self.bytes / size if self.bytes is not None and size else None

    @property
    def writes(self) -> int | None:
        """The rows that were written to its table with an entry in each of its indexes."""
        return self.counts.inserts + self.counts.updates if self.counts else None

    def unused_days(self, now: datetime) -> int | None:
        """Return for how many days nothing has used it; None if anything has, or that is not counted."""
        usage = self.usage
        if usage is None or usage.by_others or usage.since is None:
            return None
        return (now - usage.since).days


def is_needed(entry: CatalogEntry, entries: Sequence[CatalogEntry], foreign_keys: Iterable[Sequence[str]]) -> bool:
    """Return whether an index is needed even if no query uses it.

    Args:
        entries: all indexes of its table.
        foreign_keys: the columns of each foreign key of its table.
    """
    definition = entry.definition
    if definition is None or definition.unique or definition.constraint or entry.needed_by:
        return True
    others = [other.definition for other in entries if other.name != entry.name and other.usable and other.definition]
    return any(
        _serves(definition, columns) and not any(_serves(other, columns) for other in others)
        for columns in foreign_keys
    )


def _serves(definition: Definition, columns: Sequence[str]) -> bool:
    """Return whether an index finds all rows by the columns of a foreign key."""
    first = [part.name for part in definition.key[: len(columns)] if isinstance(part, Column)]
    return definition.predicate is None and sorted(first) == sorted(columns)
