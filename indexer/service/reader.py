"""Reads the database for the service, in one read-only session that is opened again when it is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from peewee import PeeweeException

from indexer.connection import connect
from indexer.errors import IndexerError
from indexer.events import Report as Tell
from indexer.runner import Runner
from indexer.service.snapshot import Care, State
from indexer.signals import Stop
from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.migrator import CatalogMigrator
    from indexer.options import Options
    from indexer.plans import Status
    from indexer.project import Project
    from indexer.replication import Standby
    from indexer.revisions.chain import Chain
    from indexer.server import RunningBuild
    from indexer.verify.result import Report

LONGEST_STATEMENT = 20.0  # seconds, after which the server cancels it
TO_CONNECT = 5.0  # seconds
LONGEST_SESSION = 60.0  # seconds, so that a new password or a name that leads to another server comes into effect

T = TypeVar("T")


class Source(NamedTuple):
    """Where the database is, as ``connect`` needs it.

    Attributes:
        where: returns its URL as it is now, or a peewee database.
    """

    where: Callable[[], Any]
    schema: str | None = None


class Reader:
    """The one session on the database, for use in one thread.

    Args:
        chain: the revisions that the database is compared with.
        report: called when the server gives no answer.
        stop: ends a statement that gets none.
    """

    def __init__(
        self, source: Source, project: Project, chain: Chain, options: Options, report: Tell, stop: Stop
    ) -> None:
        self.source = source
        self.project = project
        self.chain = chain
        self.options = options
        self.report = report
        self.stop = stop
        self._migrator: CatalogMigrator | None = None
        self._opened: tuple[Any, float] = (None, 0.0)  # where, and when
        self._waiting_since: dict[tuple[int, str], float] = {}

    def state(self) -> State:
        """Read the state of the indexes, and the builds that are running.

        Raises:
            IndexerError: it cannot be read.
        """
        return self._reading(self._state)

    def care(self) -> Care:
        """Read sizes, use and statistics, and ask the planner about the queries; as long as nothing else is read.

        Raises:
            IndexerError: it cannot be read.
        """
        return self._reading(self._care)

    def close(self) -> None:
        """End the session; the server may be gone."""
        migrator, self._migrator = self._migrator, None
        if migrator is not None:
            with suppress(Exception):
                migrator.close()

    def _reading(self, read: Callable[[Runner], T]) -> T:
        """Return what a function reads; close the session if it fails, because that may be the reason."""
        try:
            migrator = self._connected()
            try:
                return read(Runner(migrator, self.chain, self.project.models, self.options, self.report, self.stop))
            except PeeweeException as error:
                raise migrator.translate_error(error) from error
        except BaseException:
            self.close()
            raise

    def _connected(self) -> CatalogMigrator:
        where, now = self.source.where(), time.monotonic()
        opened, since = self._opened
        is_young = where == opened and now - since < LONGEST_SESSION
        if self._migrator is not None and is_young and self._migrator.is_current():
            return self._migrator
        self.close()
        self._migrator = connect(where, self.source.schema, True, self.report, self.stop, TO_CONNECT)
        self._migrator.name_run("serve")
        self._migrator.limit_statements(LONGEST_STATEMENT)
        self._opened = where, now
        return self._migrator

    def _state(self, runner: Runner) -> State:
        check = runner.inspector.check()
        builds = tuple(runner.migrator.server.running_builds(check.status.steps))
        taken_at = datetime.now(timezone.utc)
        hosts = tuple(dict.fromkeys(_hosts(check.status)))
        return State(taken_at, runner.migrator.engine, check, builds, self._waits(builds), hosts)

    def _care(self, runner: Runner) -> Care:
        from indexer.care.health import health

        found = health(runner.inspector)
        care = Care(datetime.now(timezone.utc), found)
        try:
            return care._replace(report=self._report(runner)) if found.tables else care
        except IndexerError as error:
            return care._replace(error=error)

    def _report(self, runner: Runner) -> Report | None:
        """Return what the planner says of the queries of the project; None if it has none."""
        from indexer.verify.declared import queries_of
        from indexer.verify.verify import verify

        queries = queries_of(self.project)
        return verify(runner.migrator, queries, self.project.models(), runner.inspector.declared) if queries else None

    def _waits(self, builds: Iterable[RunningBuild]) -> dict[int, float]:
        """Return how many seconds each build that waits has been seen to wait in its phase."""
        now, known = time.monotonic(), self._waiting_since
        waiting = {(build.pid, build.phase): now for build in builds if build.blockers}
        self._waiting_since = {key: known.get(key, since) for key, since in waiting.items()}
        return {pid: now - since for (pid, _), since in self._waiting_since.items()}


def _hosts(status: Status) -> Iterator[str]:
    """Yield the names of servers that texts about a database may contain, without their ports."""
    standby: Standby | None = status.standby
    if standby is not None and standby.sender:
        yield standby.sender.rpartition(":")[0]
    for step in status.steps:
        yield from (flaw.node.rpartition(":")[0] for flaw in (step.found.flaws if step.found else ()) if flaw.node)
