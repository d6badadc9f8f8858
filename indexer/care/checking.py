"""Checks the declared indexes deeply, one after another, each under the run lock, and records which ones are clean."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from peewee import PeeweeException

from indexer.advice import SUSPECT
from indexer.care.deep import CLEAN, CORRUPT, Checker, Deep, Finding, checked
from indexer.errors import Hint, IndexerError, Locked, UsageError
from indexer.events import IndexChecked, Warned
from indexer.records.journal import Journal
from indexer.records.table import now
from indexer.text import reason

if TYPE_CHECKING:
    from indexer.inspector import Inspector
    from indexer.plans import Check
    from indexer.spec import Index

NOTEWORTHY = 1.0  # seconds; of a check that took less the answer says enough
STANDBY = "The result is not recorded, because the server is a standby."
UNRECORDED = "The result is not recorded, because no revision with {} is recorded as applied."


class DeepCheck:
    """The deep check of one database.

    Args:
        names: the indexes to check; all that are declared, if there are none.
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
        self._warned: list[str | Hint] = []
        self._delayed: set[str] = set()

    def run(self) -> Check:
        """Check the indexes that are valid, and return what the catalog says of all, with the findings.

        A run is never delayed for longer than one index takes: where a run holds the lock, no further index is checked.

        Raises:
            UsageError: an index of these names is not declared.
            PreflightFailed: what is recorded cannot be read, or a pooler shares the session with other clients.
        """
        declared = [index.name for index in self.inspector.declared]
        if unknown := [name for name in self.names if name not in declared]:
            message = f"No revision declares {', '.join(unknown)}."
            raise UsageError(message, f"Name indexes among these: {', '.join(declared)}.")
        check = self.inspector.check()
        wanted = self.names or declared
        steps = [step for step in check.status.steps if step.is_valid and step.index.name in wanted]
        if not steps:
            return check._replace(deep=Deep())
        self.migrator.name_run("check --deep")
        checker = self.migrator.care.checker(self.heap, self.longest)
        findings: list[Finding] = []
        stopped = self._check_each(checker, [step.index for step in steps], findings)
        self._warn(*checker.advice)
        others = checker.others([step.index.name for step in steps])
        told = {finding.name for finding in findings if finding.state in (CLEAN, CORRUPT)}
        advice = tuple(each for each in check.advice if each.kind != SUSPECT or each.other not in told)
        return check._replace(advice=advice, deep=Deep(tuple(findings), others, tuple(self._warned), stopped))

    def _check_each(self, checker: Checker, indexes: Sequence[Index], findings: list[Finding]) -> IndexerError | None:
        """Check indexes, append what is found, and return why it ended before the last one, if it did."""
        for index in indexes:
            self.migrator.context.stop.check()
            try:
                with self.migrator.care.lock_if_free():
                    self._say_what_is_delayed(checker)
                    began, finding = now(), checker.check(index.name)
                    if not checker.stopped:
                        self._record(finding, began)
            except Locked as error:
                return Locked(f"{error.message} Indexes checked before: {len(findings)} of {len(indexes)}.", error.hint)
            findings.append(finding)
            if finding.seconds >= NOTEWORTHY:
                self.migrator.context.report(IndexChecked(index, finding.result, finding.by, finding.seconds))
            if checker.stopped:
                return checker.stopped
        return None

    def _say_what_is_delayed(self, checker: Checker) -> None:
        for build in checker.builds_delayed():
            if build not in self._delayed:
                self._delayed.add(build)
                warning = f"{build} is being built by another session, which may wait for each check to end."
                self.migrator.context.report(Warned(warning))

    def _warn(self, *warnings: str | Hint) -> None:
        self._warned += [warning for warning in warnings if warning not in self._warned]

    # Records ---------------------------------------------------------------------------------------------------------

    def _record(self, finding: Finding, began: datetime) -> None:
        """Record that an index is clean, or is no longer: then what was recorded of an earlier check is removed."""
        if finding.state not in (CLEAN, CORRUPT):
            return
        if self.migrator.server.is_standby:
            self._warn(STANDBY)
            return
        try:
            self._write(finding, began)
        except (PeeweeException, IndexerError) as error:
            if getattr(self.migrator.database, "is_lost", False):
                raise
            self._warn(f"The result is not recorded: {reason(error)}.")

    def _write(self, finding: Finding, began: datetime) -> None:
        revision = next(each for each in self.inspector.chain.revisions if finding.name in _names(each))
        record = self.inspector.records().get(revision.id)
        if record is None:
            self._warn(UNRECORDED.format(finding.name))
        elif not self.inspector.revisions.is_writable:
            self._warn(f"The result is not recorded, because {self.inspector.revisions.obstacle}.")
        else:
            checks = {name: each for name, each in record.checks.items() if name != finding.name}
            if finding.state == CLEAN:
                checks[finding.name] = checked(finding, began, record.checks.get(finding.name))
            self.journal.write([self.inspector.revisions.update(record._replace(checks=checks))])


def _names(revision: Any) -> list[str]:
    return [index.name for index in revision.indexes]
