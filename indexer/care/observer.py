"""Observes indexes for ``health``: all that the records, the catalog and the servers tell about each. Reads only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from indexer.care.evidence import Evidence, evidence_of_leaves, summed
from indexer.care.observed import Observed, is_needed
from indexer.care.statistics import Statistics
from indexer.care.usage import ServerCounts, Usage, summed_checks, usage_of, without_checks
from indexer.catalog import PARTITIONED_INDEX, CatalogEntry, Table
from indexer.plans import RevisionPlan, Status
from indexer.records.baseline import Checked
from indexer.records.provenance import CREATED
from indexer.records.revisions import Record

if TYPE_CHECKING:
    from indexer.migrator import CatalogMigrator
    from indexer.steps import Step

T = TypeVar("T")


class Observer:
    """Observes the indexes of some tables.

    Args:
        status: the revisions with their records, and the steps of their indexes.
        tables: those that exist, with their sizes, by name.
        entries: all indexes of these tables.
        servers: what each server has counted, the one of the database first; none where nothing is counted.
    """

    def __init__(
        self,
        migrator: CatalogMigrator,
        status: Status,
        tables: Mapping[str, Table],
        entries: Sequence[CatalogEntry],
        servers: Sequence[ServerCounts],
    ) -> None:
        self.migrator = migrator
        self.tables = tables
        self.servers = servers
        self.statistics: dict[str, Statistics] = migrator.care.statistics(list(tables))
        self._steps = {step.index.name: step for step in status.steps}
        self._plans = {step.index.name: plan for plan in status.revisions for step in plan.steps}
        self._baselines = _by_name(status, lambda record: record.baselines)
        self._checks = _by_name(status, lambda record: record.checks)
        self._entries: dict[str, list[CatalogEntry]] = defaultdict(list)
        for entry in entries:
            if entry.definition:
                self._entries[entry.definition.table].append(entry)

    def observe(self, names: Sequence[str], exact: bool) -> list[Observed]:
        """Return what is known of the indexes of these names; ``exact`` reads whole ones where that tells more."""
        found = self.migrator.catalog.find(names)
        usable = [name for name, entry in found.items() if entry.usable and entry.definition]
        leaves = evidence_of_leaves(self.migrator, usable, self._baselines, exact)
        found |= self.migrator.catalog.find([name for name in found if name not in leaves], sizes=True)
        return [self._observed(name, found.get(name), leaves.get(name, {})) for name in names]

    def _observed(self, name: str, entry: CatalogEntry | None, leaves: Mapping[str, Evidence]) -> Observed:
        """Return what is known of one index."""
        step = self._steps.get(name)
        entry = as_whole(entry, step)
        table = _table_of(entry, step)
        counts = self.servers[0].tables.get(table) if self.servers else None
        keys = counts.foreign_keys if counts else ()
        checked = self._checked(name, leaves)
        return Observed(
            name=name,
            table=table,
            step=step,
            entry=entry,
            of_table=self.tables.get(table),
            evidence=summed(leaves) if leaves else None,
            usage=self._usage(name, checked),
            counts=counts,
            statistics=self.statistics.get(table),
            checked=checked,
            is_needed=entry is not None and is_needed(entry, self._entries[table], keys),
            leaves=leaves if entry and entry.kind == PARTITIONED_INDEX else {},
        )

    def _checked(self, name: str, leaves: Iterable[str]) -> Checked | None:
        """Return the deep checks of an index: `check --deep` records the whole, and `reindex` each leaf."""
        recorded = (self._checks.get(each) for each in {name, *leaves})
        return summed_checks([each for each in recorded if each])

    def _usage(self, name: str, checked: Checked | None) -> Usage | None:
        usage = usage_of(name, self.servers, self._built_at(name))
        return without_checks(usage, checked) if usage else None

    def _built_at(self, name: str) -> datetime | None:
        """Return when an index was built; None where nothing says so, as where it was adopted, or made anew since."""
        plan, baseline = self._plans.get(name), self._baselines.get(name)
        if plan is None or plan.record is None or not self._is_recorded(name, plan):
            return None
        if baseline and baseline.built_at:
            return baseline.built_at
        return plan.record.applied_at if plan.origin(self._steps[name]) == CREATED else None

    def _is_recorded(self, name: str, plan: RevisionPlan) -> bool:
        """Return whether it is the index that was recorded, as far as the ages of both tell."""
        return any(server.is_older(name, plan.revision.id) for server in self.servers)


def as_whole(entry: CatalogEntry | None, step: Step | None) -> CatalogEntry | None:
    """Return an index of a partitioned table with what is wrong with its parts, as `check` says it."""
    whole = step.found if step and step.parts else None
    if entry is None or whole is None or entry.kind != PARTITIONED_INDEX:
        return entry
    return entry._replace(valid=whole.valid, placements=whole.placements, flaws=whole.flaws)


def _table_of(entry: CatalogEntry | None, step: Step | None) -> str:
    if entry and entry.definition:
        return entry.definition.table
    return step.index.table if step else ""


def _by_name(status: Status, part: Callable[[Record], Mapping[str, T]]) -> dict[str, T]:
    """Return a part of the records of all revisions, by the name of the index."""
    records = (plan.record for plan in status.revisions if plan.record)
    return {name: each for record in records for name, each in part(record).items()}
