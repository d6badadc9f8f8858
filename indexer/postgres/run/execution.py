"""Executes one step online. Each of its statements passes these layers, in this order:

1. While another session works on the index, wait, and decide again.
2. Wait for replicas that are too far behind; leave the step if the window does not allow it any more.
3. Wait for another build on the table, and for sessions that would block the statement.
4. After a wait, decide again; begin anew if the step has changed.
5. Confirm that the main session holds the run lock.
6. Take a session with the settings for the index.
7. Record what the statement will make true (provenance), and send it.
8. Observe it until it is done; cancel it after a signal, or when it has waited for too long.
9. After a failure that can heal, drop what it left, pause, and begin anew; at once if another session was first.

All of them yield while they wait, so that one thread executes several steps.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress

import psycopg2
from peewee import PeeweeException

from indexer.decide import CREATIONS, Action
from indexer.dialect import Brief
from indexer.errors import NoSession
from indexer.events import (
    Blocker,
    Joined,
    ReplicaAwaited,
    Report,
    Retrying,
    StatementStarted,
    Waiting,
    naming_schema,
)
from indexer.migrator import Work
from indexer.options import Options
from indexer.pace.pace import Pace
from indexer.postgres.dialect import BEGIN, BRIEFLY, COMMIT, PostgresDialect
from indexer.postgres.run.failures import Changed, GaveUp, as_error, cannot_be_attached, has_ended, is_race, reason_of
from indexer.postgres.run.lag import ReplicaLag
from indexer.postgres.run.lanes import Lanes
from indexer.postgres.run.lock import RunLock
from indexer.postgres.run.sessions import Sessions
from indexer.postgres.run.tuning import RENAMING, Means, settings_for
from indexer.postgres.run.watch import INTERVAL, WAITING_FOR_A_LOCK, BriefWatch, Watch, watch_over
from indexer.postgres.session.builders import Builder
from indexer.postgres.session.database import OnlineDatabase
from indexer.postgres.session.watchdog import CANCEL, LOST
from indexer.records.provenance import Provenance
from indexer.signals import Stop
from indexer.spec import Index
from indexer.steps import Step
from indexer.tuples import NamedTuple

BEFORE_THE_START = "waiting before the start"
UNANSWERED = 3.0  # seconds after a signal; a cancelled statement has ended by then, or its answer does not come
CLEAN_UP = 1.5  # seconds; a drop that takes longer waits for another session, and is left to the next run
LONGEST_PAUSE = 30.0  # seconds between two attempts
MOST_RACES, AFTER_A_RACE = 10, 0.2  # seconds
DROP, RENAME = "DROP ", ("ALTER ", BEGIN)  # how the statements of a step begin
GIVE_WAY, LONGEST_TO_GIVE_WAY = 0.3, 2.0  # seconds between two attempts of a brief statement
BUILDING = (Action.CREATE, Action.REBUILD)
IN_PARTS = (Action.CREATE, Action.COMPLETE, Action.REBUILD)  # of an index of a partitioned table
UNFINISHED = (Action.REBUILD, Action.REPLACE, Action.REINDEX)
LEFT = (Action.REBUILD, Action.REPLACE, Action.WAIT)  # after a failure these say that something is left


class Run(NamedTuple):
    """What the steps of a run share."""

    database: OnlineDatabase
    sessions: Sessions
    dialect: PostgresDialect
    lock: RunLock
    options: Options
    means: Means
    stop: Stop
    report: Report
    lanes: Lanes
    pace: Pace
    lag: ReplicaLag
    other_schema: str | None = None

    def beside(self, schema: str, namespace: int) -> Run:
        """Return the run for statements about a table of another schema, whose name it shows."""
        if namespace == self.sessions.catalog.namespace:
            return self
        dialect, report = self.dialect.beside(schema, namespace), naming_schema(self.report, schema)
        sessions = Sessions(dialect.catalog, report, self.sessions.warned)
        return self._replace(sessions=sessions, dialect=dialect, report=report, other_schema=schema)

    def shown(self, name: str) -> str:
        """Return the name of an index as it is shown."""
        return f"{self.other_schema}.{name}" if self.other_schema else name


class Execution:
    """The execution of one step.

    Args:
        decide: reads the catalog and returns the step to take now.
        provenance: records who made the index.
    """

    def __init__(self, run: Run, decide: Callable[[], Step], provenance: Provenance) -> None:
        self.run = run
        self.decide = decide
        self.provenance = provenance
        self.builders = run.database.builders
        self._is_lock_confirmed = False

    def execute(self) -> Generator[object, None, Step]:
        """Decide and execute, and do so again after a failure that can heal; return the step that was taken.

        Raises:
            Blocked: other sessions blocked it for too long, too often.
            StatementFailed: the server refused a statement, or the connection was lost.
            NoSession: the server allows no session to build with, or none beside those of other steps.
            Left: the window does not allow the step any more.
            Interrupted: a signal came.
        """
        attempts = races = 0
        while True:
            step = yield from self._decide_when_free()
            try:
                yield from self._execute(step)
                if races:
                    yield from self._drop_needless_replacement()
                return step
            except Changed:
                continue
            except (GaveUp, psycopg2.Error) as failure:
                was_first = is_race(failure) and step.action is not Action.ANALYZE  # which no session does instead
                if (was_first or cannot_be_attached(step, failure)) and races < MOST_RACES:
                    races += 1
                    self._disclaim(step, failure)
                    yield from self.pause(AFTER_A_RACE)
                else:
                    attempts += 1
                    yield from self._recover(step, failure, attempts)

    def _decide_when_free(self) -> Generator[object, None, Step]:
        """Decide; wait while another session works on the index, whose complete index is then kept."""
        step, watch = self.decide(), None
        while step.action is Action.WAIT and step.found and step.found.worker:
            self.run.stop.check()
            if watch is None or watch.pid != step.found.worker:
                self.run.report(Joined(step.index, step.found.worker))
                watch = watch_over(self.run.sessions, step, step.found.worker)
            if watch.is_due():
                watch.observe()
            yield None
            step = self.decide()
        return step

    def _execute(self, step: Step) -> Work:
        if step.parts and step.action in IN_PARTS:
            yield from self._execute_in_parts(step)
            return
        taken = 0.0
        for statements in on_one_session(step.statements):
            taken += yield from self._execute_on_one_session(step, statements)
        self.run.pace.built(step, taken)

    def _execute_on_one_session(self, step: Step, statements: Sequence[str]) -> Generator[object, None, float]:
        """Execute these statements of a step, each as a message; return the seconds without those of waits.

        Raises:
            Changed: after a wait, the step is to be another one.
            Left: the window allows no statement any more with which a step or a build begins.
        """
        first, index, taken = statements[0], step.index, 0.0
        if isinstance(first, Brief):
            return (yield from self.execute_briefly(step, first))
        is_drop, is_rename = first.startswith(DROP), first.startswith(RENAME)
        is_first = first == step.statements[0]
        is_beginning = is_first or not (is_drop or is_rename)
        self._is_lock_confirmed = False
        waited = is_beginning and (yield from self._keep_pace(step))
        if not is_rename and step.action is not Action.ANALYZE:
            waited |= yield from self._wait_for_blockers(step, is_drop, is_beginning)
        if waited and is_first and self.decide().statements != step.statements:
            raise Changed
        self.run.stop.check()
        if not self._is_lock_confirmed:
            self.run.lock.confirm()
        settings = RENAMING if is_rename else self._settings_for(index)
        builder = self.builders.take(settings)
        try:
            self.provenance.begin(step, first)
            for statement in statements:
                self.run.report(StatementStarted(index, statement))
                watch = watch_over(self.run.sessions, step, builder.pid, is_drop)
                started = time.monotonic()
                builder.send(statement)
                yield from self._wait_until_done(step, builder, watch)
                taken += time.monotonic() - started - watch.waited_in_all
        finally:
            self.builders.give_back(builder)
        return taken

    def _execute_in_parts(self, step: Step) -> Work:
        from indexer.postgres.run.partitions import InParts  # few databases have partitioned tables

        yield from InParts(self, step).execute()

    def execute_all(self, step: Step, statements: Sequence[str]) -> Work:
        """Execute some statements of a step."""
        for each in on_one_session(statements):
            yield from self._execute_on_one_session(step, each)

    def execute_briefly(self, step: Step, statement: Brief) -> Generator[object, None, float]:
        """Execute a statement that may hold up other sessions for a moment only, as often as it takes.

        Returns:
            The seconds of it.

        Raises:
            GaveUp: its lock was not free for longer than a wait may take.
        """
        limit, attempts, started = self.run.options.max_wait, 0, time.monotonic()
        yield from self._keep_pace(Step(Action.ATTACH, step.index, step.declared))  # whatever the step itself takes
        self.run.lock.confirm()
        builder = self.builders.take({"lock_timeout": BRIEFLY})
        try:
            self.provenance.begin(step, statement)
            self.run.report(StatementStarted(step.index, statement))
            watch = BriefWatch(self.run.sessions, step.index, builder.pid, dropping=True)
            while True:
                self.run.stop.check()
                builder.send(statement)
                try:
                    yield from self._wait_until_done(step, builder, watch)
                    return time.monotonic() - started
                except GaveUp:
                    attempts += 1
                    if limit is not None and time.monotonic() - started >= limit:
                        raise
                yield from self.pause(min(GIVE_WAY * attempts, LONGEST_TO_GIVE_WAY) * random.uniform(0.5, 1.0))
        finally:
            self.builders.give_back(builder)

    def _settings_for(self, index: Index) -> dict[str, str]:
        run = self.run
        if run.lanes.is_short(index.table) and not run.options.offline:
            return {}
        with_workers = run.options.offline or run.lanes.may_use_workers(index.table)
        return settings_for(index, run.options, run.means, with_workers)

    # Before a statement ----------------------------------------------------------------------------------------------

    def _keep_pace(self, step: Step) -> Generator[object, None, bool]:
        """Wait while replicas are too far behind, as long as the window allows the step; return whether it waited.

        Raises:
            Left: the window does not allow it any more.
            GaveUp: that took longer than a wait may.
        """
        started, limit = time.monotonic(), self.run.options.max_wait
        observed = started
        self.run.pace.check(step)
        behind = self.run.lag.behind() if step.changes else ()
        is_waiting = bool(behind)
        while behind:
            self.run.stop.check()
            yield None
            now = time.monotonic()
            if limit is not None and now - started >= limit:
                raise GaveUp(BEFORE_THE_START, behind)
            if now - observed >= INTERVAL:
                observed = now
                self.run.pace.check(step)
                if behind := self.run.lag.behind():
                    self.run.report(ReplicaAwaited(step.index, behind, now - started))
        return is_waiting

    def _wait_for_blockers(self, step: Step, dropping: bool, beginning: bool = True) -> Generator[object, None, bool]:
        """Wait for another build on the table, and for the sessions that would block a statement that may not wait.

        Two concurrent builds on one table deadlock. And a build that is given up while a writer is open leaves an
        invalid index that cannot be dropped before that writer ends, so with a limited wait it does not begin.

        Returns:
            Whether there was anything to wait for.

        Raises:
            Left: the window does not allow the step to begin any more.
        """
        index = step.index
        started, reported, limit = time.monotonic(), float("-inf"), self.run.options.max_wait
        remaining = self._blockers(index, dropping)
        first = {blocker.identity for blocker in remaining}  # later sessions do not block what begins after these
        while remaining:
            now = time.monotonic()
            waited = now - started
            if now - reported >= INTERVAL:
                self.run.sessions.report_hidden(blocker.hidden_from for blocker in remaining)
                self.run.report(Waiting(index, BEFORE_THE_START, remaining, waited))
                reported = now
            if limit is not None and waited >= limit:
                raise GaveUp(BEFORE_THE_START, remaining)
            self.run.stop.check()
            yield None
            if beginning:
                self.run.pace.check(step)
            blockers = self._blockers(index, dropping)
            remaining = tuple(blocker for blocker in blockers if blocker.identity in first)
        return bool(first)

    def _blockers(self, index: Index, dropping: bool) -> tuple[Blocker, ...]:
        blockers: tuple[Blocker, ...] = ()
        self._is_lock_confirmed = False
        if not self.run.options.offline:
            with self.run.sessions.tolerating_errors():
                namespace = self.run.sessions.catalog.namespace
                builds = self.run.lock.confirm_and_find_builds(index.table, namespace)
                self._is_lock_confirmed = True
                blockers = self.run.sessions.described(dict.fromkeys(builds, "builds on this table"))
                blockers += self.run.sessions.builds_elsewhere(index.table)
                if self.run.options.max_wait is not None:
                    blockers += self.run.sessions.expected([index.table], dropping)
        return blockers

    # While a statement is executed -----------------------------------------------------------------------------------

    def _wait_until_done(self, step: Step, builder: Builder, watch: Watch) -> Work:
        """Observe a statement until it is done; cancel it after a signal, or when it has waited for too long."""
        stop, given_up, cancelled = self.run.stop, None, float("-inf")
        try:
            while not builder.poll():
                yield builder
                given_up = given_up or self._observe(step, builder, watch)
                if watch.is_lost():
                    raise psycopg2.OperationalError(LOST)
                # Repeatedly, because a build can miss a request that arrives at one of the commits inside it. Not by
                # psycopg2, which opens a connection for it, without a limit and holding the interpreter's lock.
                if (given_up or stop.asked) and time.monotonic() - cancelled >= INTERVAL:
                    self.run.database.execute_sql(CANCEL, (builder.pid,))
                    cancelled = time.monotonic()
                if stop.asked and stop.asked_for() >= UNANSWERED:
                    stop.check()
        except psycopg2.errors.LockNotAvailable:
            raise GaveUp(WAITING_FOR_A_LOCK, watch.last.blockers) from None
        except psycopg2.errors.QueryCanceled as failure:
            raise given_up or failure from None

    def _observe(self, step: Step, builder: Builder, watch: Watch) -> GaveUp | None:
        """Observe a statement, if it is time to; return the reason to cancel it, if it has waited for too long."""
        if watch.is_due() and not self.run.stop.asked:
            watch.observe()
            self._record_oid(step, builder)
        limit = self.run.options.max_wait
        if limit is None or watch.last.waiting_since is None or watch.waited() < limit:
            return None
        return GaveUp(watch.last.phase or WAITING_FOR_A_LOCK, watch.last.blockers)

    def _record_oid(self, step: Step, builder: Builder) -> None:
        """Record the OID of the index that is being built: after a kill, one with another OID is not the tool's."""
        if step.action in BUILDING and not self.provenance.has_seen(step.index):
            with suppress(PeeweeException):
                found = self.decide().found
                if found and found.worker == builder.pid:
                    self.provenance.see(found)

    # After a failure -------------------------------------------------------------------------------------------------

    def _recover(self, step: Step, failure: Exception, attempts: int) -> Work:
        """Clean up and pause before the next attempt; raise the error of the run if there is none."""
        is_left = self._clean_up(step)
        self._disclaim(step, failure)
        self.run.stop.check()
        retries = self.run.options.retries
        if attempts > retries or not isinstance(failure, GaveUp | psycopg2.errors.DeadlockDetected):
            raise as_error(step, self.run.shown(step.index.name), failure, is_left) from failure
        pause = min(0.5 * 2**attempts, LONGEST_PAUSE)
        self.run.report(Retrying(step.index, reason_of(failure), attempts, retries, pause))
        yield from self.pause(pause)

    def _disclaim(self, step: Step, failure: Exception) -> None:
        """Take the record back that an index is being made, if the statement that failed has made none."""
        if step.action in BUILDING and has_ended(failure):
            with suppress(PeeweeException):
                if is_race(failure) or self.decide().found is None:
                    self.provenance.disclaim(step)

    def _clean_up(self, step: Step) -> bool:
        """Drop what a failed build has left, if that takes no waiting; return whether anything is left."""
        if step.action not in (*CREATIONS, Action.REINDEX):
            return False
        with suppress(PeeweeException, psycopg2.Error, NoSession):
            until, leftover = time.monotonic() + CLEAN_UP, self.decide()
            while leftover.action is Action.WAIT and time.monotonic() < until:  # its session has not let go of it yet
                leftover = self.decide()
            if _begins_with_drop(leftover):
                builder = self.builders.take({"statement_timeout": f"{CLEAN_UP:g}s"})
                try:
                    builder.execute(leftover.statements[0])
                finally:
                    self.builders.give_back(builder)
            leftover = self.decide()
            return leftover.action in LEFT or _begins_with_drop(leftover)
        return True

    def _drop_needless_replacement(self) -> Work:
        """Drop a replacement that was built before another session dropped the index that it was to replace."""
        step = self.decide()
        if step.action is Action.REPLACE and not step.differences:
            yield from self._execute(step)

    def pause(self, seconds: float) -> Work:
        """Wait; raise Interrupted after a signal."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.run.stop.check()
            yield None


def _begins_with_drop(step: Step) -> bool:
    """Return whether a step begins with the drop of what an earlier statement has left."""
    is_unfinished = step.action in UNFINISHED and not step.parts  # the drop of a whole takes a lock on the table
    return is_unfinished and bool(step.statements) and step.statements[0].startswith(DROP)


def on_one_session(statements: Sequence[str]) -> Iterator[list[str]]:
    """Yield each statement by itself, and those from BEGIN to COMMIT together: Citus renames nothing in one message."""
    together: list[str] = []
    for statement in statements:
        together.append(statement)
        if together[0] != BEGIN or statement == COMMIT:
            yield together
            together = []
