"""Carrying out one step online: wait, send, watch, cancel, clean up, try again. All of it yields while it waits."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import psycopg2
from peewee import PeeweeException

from indexer.errors import Blocked, IndexerError, IndexFailed, StatementFailed
from indexer.events import Blocker, Joined, Report, Retrying, StatementStarted, Waiting
from indexer.migrator import Work
from indexer.patience import Patience
from indexer.plan import CREATIONS, Action, Step
from indexer.postgres.lock import RunLock
from indexer.postgres.remedy import AGAIN, concerns_one_index, remedy, said
from indexer.postgres.session import Builder, OnlineDatabase
from indexer.postgres.tuning import RENAMING, server_memory, settings_for
from indexer.postgres.watch import INTERVAL, WAITING_FOR_A_LOCK, Sessions, Watch, clock
from indexer.provenance import Provenance
from indexer.spec import Index
from indexer.stop import Stop

BEFORE_THE_START = "waiting before the start"
CLEAN_UP = 1.5  # seconds; a drop that takes longer waits for somebody, and the next run will do it
DOING = {Action.DROP: "Dropping", Action.RENAME: "Renaming", Action.GIVE_BACK: "Renaming", Action.REPLACE: "Replacing"}
UNFINISHED = (Action.REBUILD, Action.REPLACE)
BEGIN, COMMIT = "BEGIN", "COMMIT"
DROP, RENAME = "DROP ", ("ALTER ", BEGIN)  # how our own statements begin
LONGEST_PAUSE = 30.0  # seconds between two tries

Decision = Callable[[], Step]


class Run(NamedTuple):
    """What all steps of a run share."""

    database: OnlineDatabase
    sessions: Sessions
    lock: RunLock
    patience: Patience
    stop: Stop
    report: Report


class GaveUp(Exception):
    """A statement waited longer than the user has patience for, and was cancelled or not begun."""

    def __init__(self, phase: str, blockers: tuple[Blocker, ...]) -> None:
        super().__init__(phase)
        self.blockers = blockers


class Execution:
    """Carries out steps, each on a session of its own."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.builders = run.database.builders
        self.memory = server_memory(run.sessions.catalog)

    def act(self, decide: Decision, provenance: Provenance) -> Generator[object, None, Step]:
        """Decide, execute, and try again what can heal, deciding anew each time.

        Raises:
            Blocked: other sessions held it up for too long, too often.
            StatementFailed: the server refused, or the connection was lost.
            Interrupted: somebody asked to stop.
        """
        retries = self.run.patience.retries
        for attempt in range(1, retries + 2):
            step = yield from self._join(decide)
            try:
                for statements in on_one_session(step.statements):
                    yield from self._execute(step, statements, provenance)
                return step
            except (GaveUp, psycopg2.Error) as failure:
                remains = self._clean(step, decide)
                self.run.stop.check()
                if attempt > retries or not isinstance(failure, GaveUp | psycopg2.errors.DeadlockDetected):
                    raise _as_ours(step, failure, remains) from failure
                yield from self._pause(step.index, failure, attempt)
        raise AssertionError("the last attempt returns or raises")

    def _join(self, decide: Decision) -> Generator[object, None, Step]:
        """Wait while another session works on this index, then look again: its finished index is kept."""
        step, watch = decide(), None
        while step.action is Action.JOIN and step.found and step.found.worker:
            self.run.stop.check()
            if watch is None or watch.pid != step.found.worker:
                self.run.report(Joined(step.index, step.found.worker))
                watch = Watch(self.run.sessions, step.index, step.found.worker, self.run.report)
            if watch.is_due():
                watch.look()
            yield None
            step = decide()
        return step

    def _execute(self, step: Step, statements: Sequence[str], provenance: Provenance) -> Work:
        """Send these one after another, each as a message of its own; a session in a transaction is not kept."""
        first = statements[0]
        index, dropping, renaming = step.index, first.startswith(DROP), first.startswith(RENAME)
        if not renaming:
            yield from self._let_pass(index, dropping)
        self.run.stop.check()
        self.run.lock.confirm()
        provenance.begin(step, first)
        settings = RENAMING if renaming else settings_for(index, self.run.patience, self.memory)
        builder = self.builders.take(settings, self.run.sessions.ours)
        try:
            for statement in statements:
                self.run.report(StatementStarted(index, statement))
                watch = Watch(self.run.sessions, index, builder.pid, self.run.report, dropping)
                builder.send(statement)
                yield from self._mind(builder, watch)
        finally:
            self.builders.give_back(builder)

    def _mind(self, builder: Builder, watch: Watch) -> Work:
        """Until the statement is done: look at it, and cancel it when asked to stop or when it waited too long."""
        limit = self.run.patience.max_wait
        given_up, cancelled = None, 0.0
        try:
            while not builder.poll():
                yield builder
                if given_up is None and watch.is_due() and not self.run.stop.asked:
                    watch.look()
                if given_up is None and limit is not None and watch.waited() >= limit:
                    given_up = GaveUp(watch.sight.phase or WAITING_FOR_A_LOCK, watch.sight.blockers)
                # Not only once: a commit inside a build takes the request for its own, and the build goes on.
                if (given_up or self.run.stop.asked) and clock() - cancelled >= INTERVAL:
                    self.run.database.cancel(builder.pid)
                    cancelled = clock()
        except psycopg2.errors.QueryCanceled:
            if given_up:
                raise given_up from None
            raise
        except psycopg2.errors.LockNotAvailable:
            raise GaveUp(WAITING_FOR_A_LOCK, watch.sight.blockers) from None

    def _let_pass(self, index: Index, dropping: bool) -> Work:
        """Before a statement is sent: wait for another build on its table, and for whoever would hold it up.

        Two concurrent builds on one table deadlock. And a build that is given up while a writer is open leaves an
        invalid index that cannot be dropped before that writer ends, so with limited patience it does not begin.
        """
        started, told, limit = clock(), 0.0, self.run.patience.max_wait
        remaining = self._in_the_way(index, dropping)
        first = set(map(_transaction, remaining))  # whoever comes later does not hold up what begins after them
        while remaining:
            waited = clock() - started
            if clock() - told >= INTERVAL:
                self.run.report(Waiting(index, BEFORE_THE_START, remaining, waited))
                told = clock()
            if limit is not None and waited >= limit:
                raise GaveUp(BEFORE_THE_START, remaining)
            self.run.stop.check()
            yield None
            now = self._in_the_way(index, dropping)
            remaining = tuple(blocker for blocker in now if _transaction(blocker) in first)

    def _in_the_way(self, index: Index, dropping: bool) -> tuple[Blocker, ...]:
        if self.run.patience.offline:
            return ()
        builds = self.run.sessions.building_on(index.table)
        if self.run.patience.max_wait is None:
            return builds
        return (*builds, *self.run.sessions.expected([index.table], dropping))

    def _pause(self, index: Index, failure: Exception, attempt: int) -> Work:
        pause = min(0.5 * 2**attempt, LONGEST_PAUSE)
        self.run.report(Retrying(index, _reason(failure), attempt, self.run.patience.retries, pause))
        until = clock() + pause
        while clock() < until:
            self.run.stop.check()
            yield None

    def _clean(self, step: Step, decide: Decision) -> bool:
        """Drop what a failed build left behind, if that does not mean waiting for somebody; does anything remain?"""
        if step.action not in CREATIONS:
            return False
        with suppress(PeeweeException, psycopg2.Error):
            leftover = self._let_go(decide)
            if leftover.action in UNFINISHED and leftover.statements[0].startswith(DROP):
                cleaner = self.builders.take({"statement_timeout": f"{CLEAN_UP:g}s"}, self.run.sessions.ours)
                try:
                    cleaner.execute(leftover.statements[0])
                finally:
                    self.builders.give_back(cleaner)
            return decide().action in (*UNFINISHED, Action.JOIN)
        return True

    def _let_go(self, decide: Decision) -> Step:
        """The decision about what our own failed statement left, once its session has let go of it."""
        until = clock() + CLEAN_UP
        step = decide()
        while step.action is Action.JOIN and clock() < until:
            step = decide()
        return step


def on_one_session(statements: Sequence[str]) -> Iterator[list[str]]:
    """Give each statement by itself, and those from BEGIN to COMMIT together.

    They are not sent as one message: Citus refuses to change names in one (and the server would change none or all).
    """
    together: list[str] = []
    for statement in statements:
        together.append(statement)
        if together[0] != BEGIN or statement == COMMIT:
            yield together
            together = []


def _transaction(blocker: Blocker) -> tuple[int | None, str]:
    return blocker.pid, blocker.transaction


def _as_ours(step: Step, failure: Exception, remains: bool) -> IndexerError:
    name = step.index.name
    left = f"An unfinished {name} may remain; the next run finishes it. " if remains else ""
    if isinstance(failure, GaveUp):
        who = "".join(f"\n  - {blocker}\n    end it: {blocker.ending}" for blocker in failure.blockers)
        return Blocked(f"Gave up on {name}, {failure} for:{who}", left + AGAIN)
    doing = DOING.get(step.action, "Building")
    kind = IndexFailed if concerns_one_index(failure) else StatementFailed
    return kind(f"{doing} {name} failed: {said(failure)}", left + remedy(failure))


def _reason(failure: Exception) -> str:
    return f"{failure} took too long" if isinstance(failure, GaveUp) else said(failure).rstrip(".")
