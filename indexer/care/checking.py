"""Checks the declared indexes deeply, one after another, each under the run lock, and records which ones are clean."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from peewee import PeeweeException

from indexer.advice import SUSPECT
from indexer.care.deep import CLEAN, CORRUPT, Checker, Deep, Finding, checked, of_leaves
from indexer.errors import Hint, IndexerError, Locked, UsageError
from indexer.events import IndexChecked, Warned
from indexer.partitions import Partition, leaves
from indexer.records.journal import Journal
from indexer.records.table import now
from indexer.spec import Index
from indexer.text import may_be, reason
from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.inspector import Inspector
    from indexer.plans import Check
    from indexer.steps import Step

NOTEWORTHY = 1.0  # seconds; of a check that took less the answer says enough
STANDBY = "The result is not recorded, because the server is a standby."
UNRECORDED = "The result is not recorded, because no revision with {} is recorded as applied."


class _Unit(NamedTuple):
    """An index that is stored, and the leaf of a partitioned table that it is on, if it is on one."""

    target: Index
    partition: Partition | None = None


class _Wanted(NamedTuple):
    """What is to be checked: a declared index, or the index of one leaf that the user has named."""

    declared: str
    name: str
    units: list[_Unit]


class DeepCheck:
    """The deep check of one database.

    Args:
        names: the indexes to check, or those of leaves of partitioned tables; all that are declared, if there are none.
        heap: whether amcheck looks for rows that an index lacks, too.
        longest: how many seconds the check of one index may take.
    """

    def __init__(self, inspector: Inspector, names: Sequence[str], heap: bool, longest: float) -> None:
        self.inspector = inspector
        self.migrator = inspector.migrator
        self.names = names
        self.heap = heap
        self.longest = longest
        self.journal = Journal(self.migrator, inspector.revisions, inspector.log)
        self._checkers: dict[str | None, Checker] = {}
        self._warned: list[str | Hint] = []
        self._delayed: set[str] = set()

    def run(self) -> Check:
        """Check the indexes that are valid, and return what the catalog says of all, with the findings.

        A run is never delayed for longer than one index takes: where a run holds the lock, no further index is checked.

        Raises:
            UsageError: an index of these names is not declared.
            PreflightFailed: what is recorded cannot be read, or a pooler shares the session with other clients.
        """
        check = self.inspector.check()
        self._refuse_unknown(check.status.steps)
        wanted = [each for step in check.status.steps if step.is_valid for each in self._wanted(step)]
        if not wanted:
            return check._replace(deep=Deep())
        self.migrator.name_run("check --deep")
        self._checker(None)  # the first one, whose advice is for the schema that the user knows
        findings: list[Finding] = []
        stopped = self._check_each(wanted, findings)
        self._warn(*next((checker.advice for checker in self._checkers.values() if checker.advice), ()))
        names = [name for each in wanted for name in (each.name, *(unit.target.name for unit in each.units))]
        others = self._checker(None).others(names)
        told = {finding.name for finding in findings if finding.state in (CLEAN, CORRUPT)}
        advice = tuple(each for each in check.advice if each.kind != SUSPECT or each.other not in told)
        return check._replace(advice=advice, deep=Deep(tuple(findings), others, tuple(self._warned), stopped))

    def _refuse_unknown(self, steps: Sequence[Step]) -> None:
        """Raise UsageError for what is the name of no declared index, nor of one on a leaf of a partitioned table."""
        declared = [index.name for index in self.inspector.declared]
        known = [*declared, *(self._label(unit) for step in steps for unit in self._physical(step))]
        if unknown := [name for name in self.names if name not in known]:
            message = f"No revision declares {', '.join(unknown)}{may_be(unknown[0], known)}."
            raise UsageError(message, f"Name indexes among these: {', '.join(declared)}.")

    def _wanted(self, step: Step) -> list[_Wanted]:
        """Return what is to be checked of an index, by name: the whole, or indexes of leaves that are named."""
        units = self._physical(step)
        if not self.names or step.index.name in self.names:
            return [_Wanted(step.index.name, step.index.name, units)] if units else []
        labels = {self._label(unit): unit for unit in units}
        return [_Wanted(step.index.name, label, [unit]) for label, unit in labels.items() if label in self.names]

    def _physical(self, step: Step) -> list[_Unit]:
        """Return what is stored of an index: itself or, on a partitioned table, the index of each leaf."""
        if not step.parts:
            return [_Unit(step.index)]
        return [_Unit(part.step.index, part.partition) for part in leaves(step.parts)]

    def _checker(self, partition: Partition | None) -> Checker:
        """Return what checks the indexes of the schema of a partition, or of the migrator's."""
        schema = partition.schema if partition else self.migrator.schema
        if schema not in self._checkers:
            migrator = self.migrator.beside(partition.schema, partition.namespace) if partition else self.migrator
            self._checkers[schema] = migrator.care.checker(self.heap, self.longest)
        return self._checkers[schema]

    def _check_each(self, wanted: Sequence[_Wanted], findings: list[Finding]) -> IndexerError | None:
        """Check indexes, append what is found, and return why it ended before the last one, if it did."""
        for declared, name, units in wanted:
            of_units: list[Finding] = []
            began = now()
            for unit in units:
                checker = self._checker(unit.partition)
                self.migrator.context.stop.check()
                try:
                    with self.migrator.care.lock_if_free():
                        self._say_what_is_delayed()
                        finding = checker.check(unit.target.name)
                        of_units.append(finding._replace(name=self._label(unit)))
                        if not checker.stopped and unit is units[-1]:
                            self._record(declared, of_leaves(name, of_units), began)
                except Locked as error:
                    before = f"Indexes checked before: {len(findings)} of {len(wanted)}."
                    return Locked(f"{error.message} {before}", error.hint)
                if of_units[-1].seconds >= NOTEWORTHY:
                    self._report(unit.target.renamed(of_units[-1].name), of_units[-1])
                if checker.stopped:
                    break
            findings.append(of_leaves(name, of_units))
            if checker.stopped:
                return checker.stopped
        return None

    def _label(self, unit: _Unit) -> str:
        name = unit.target.name
        return unit.partition.shown(name, self.migrator.schema or "") if unit.partition else name

    def _report(self, index: Index, finding: Finding) -> None:
        self.migrator.context.report(IndexChecked(index, finding.result, finding.by, finding.seconds))

    def _say_what_is_delayed(self) -> None:
        for build in self._checker(None).builds_delayed():
            if build not in self._delayed:
                self._delayed.add(build)
                warning = f"{build} is being built by another session, which may wait for each check to end."
                self.migrator.context.report(Warned(warning))

    def _warn(self, *warnings: str | Hint) -> None:
        self._warned += [warning for warning in warnings if warning not in self._warned]

    # Records ---------------------------------------------------------------------------------------------------------

    def _record(self, declared: str, finding: Finding, began: datetime) -> None:
        """Record that an index is clean, or is no longer: then what was recorded of an earlier check is removed.

        Args:
            declared: the index itself, or that of the partitioned table of whose leaf it is.
        """
        if finding.state not in (CLEAN, CORRUPT):
            return
        if self.migrator.server.is_standby:
            self._warn(STANDBY)
            return
        try:
            self._write(declared, finding, began)
        except (PeeweeException, IndexerError) as error:
            if getattr(self.migrator.database, "is_lost", False):
                raise
            self._warn(f"The result is not recorded: {reason(error)}.")

    def _write(self, declared: str, finding: Finding, began: datetime) -> None:
        revision = next(each for each in self.inspector.chain.revisions if declared in _names(each))
        record = self.inspector.records().get(revision.id)
        if record is None:
            self._warn(UNRECORDED.format(declared))
        elif not self.inspector.revisions.is_writable:
            self._warn(f"The result is not recorded, because {self.inspector.revisions.obstacle}.")
        else:
            is_clean = finding.state == CLEAN
            gone = (finding.name,) if is_clean else (finding.name, declared)
            checks = {name: each for name, each in record.checks.items() if name not in gone}
            if is_clean:
                checks[finding.name] = checked(finding, began, record.checks.get(finding.name))
            self.journal.write([self.inspector.revisions.update(record._replace(checks=checks))])


def _names(revision: Any) -> list[str]:
    return [index.name for index in revision.indexes]
