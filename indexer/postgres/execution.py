"""Carrying out one step online: wait, send, watch, cancel, clean up, try again. All of it yields while it waits."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import psycopg2
from peewee import PeeweeException

from indexer.decide import CREATIONS, Action, Step
from indexer.errors import Blocked, IndexerError, IndexFailed, NoSession, StatementFailed
from indexer.events import Blocker, Joined, Report, Retrying, StatementStarted, Waiting, Warned
from indexer.migrator import Work
from indexer.options import Options
from indexer.postgres.database import Builder, OnlineDatabase
from indexer.postgres.lock import RunLock
from indexer.postgres.server_errors import AGAIN, concerns_one_index, remedy, said
from indexer.postgres.sessions import INTERVAL, WAITING_FOR_A_LOCK, Sessions, Watch, clock
from indexer.postgres.tuning import RENAMING, server_memory, settings_for
from indexer.records.provenance import Provenance
from indexer.signals import Stop
from indexer.spec import Index

BEFORE_THE_START = "waiting before the start"
UNANSWERED = 3.0  # seconds after a signal; a cancelled statement has ended by then, or its answer does not come
CLEAN_UP = 1.5  # seconds; a drop that takes longer waits for somebody, and the next run will do it
DOING = {Action.DROP: "Dropping", Action.RENAME: "Renaming", Action.GIVE_BACK: "Renaming", Action.REPLACE: "Replacing"}
UNFINISHED = (Action.REBUILD, Action.REPLACE)
BEGIN, COMMIT = "BEGIN", "COMMIT"
DROP, RENAME = "DROP ", ("ALTER ", BEGIN)  # how our own statements begin
LONGEST_PAUSE = 30.0  # seconds between two tries
# Somebody else made, renamed or dropped the index first: what the server then says, and of its internal errors, which
# it does not translate, how those begin.
RACES = ("42P07", "42710", "42P01", "42704")  # duplicate table or object, undefined table or object
NAME_IS_TAKEN = "pg_class_relname_nsp_index"  # of two plain builds in open transactions, the second breaks this
INTERNAL_RACES = ("tuple concurrently", "could not open relation", "could not find tuple", "cache lookup failed")
MOST_RACES, AFTER_A_RACE = 10, 0.2  # seconds

Decision = Callable[[], Step]


class Run(NamedTuple):
    """What all steps of a run share."""

    database: OnlineDatabase
    sessions: Sessions
    lock: RunLock
    options: Options
    stop: Stop
    report: Report


class GaveUp(Exception):
    """A statement waited longer than the user allows, and was cancelled or not begun."""

    def __init__(self, phase: str, blockers: tuple[Blocker, ...]) -> None:
        super().__init__(phase)
        self.blockers = blockers


class Changed(Exception):
    """Another session has changed what a statement is about while that waited to be sent."""


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
            NoSession: the server gives us none to build with.
            Interrupted: somebody asked to stop.
        """
        attempts = races = 0
        while True:
            step = yield from self._join(decide)
            try:
                yield from self._carry_out(step, decide, provenance)
                if races:
                    yield from self._clear(decide, provenance)
                return step
            except Changed:
                continue
            except NoSession as failure:
                yield from self._until_a_session_is_free(failure)
            except (GaveUp, psycopg2.Error) as failure:
                if _is_race(failure) and races < MOST_RACES:
                    races += 1
                    self._disclaim(step, decide, failure, provenance)
                    yield from self._rest(AFTER_A_RACE)
                else:
                    attempts += 1
                    yield from self._recover(step, decide, failure, attempts, provenance)

    def _carry_out(self, step: Step, decide: Decision, provenance: Provenance) -> Work:
        for statements in on_one_session(step.statements):
            yield from self._execute(step, statements, provenance, decide)

    def _clear(self, decide: Decision, provenance: Provenance) -> Work:
        """Drop the replacement that was built before somebody else dropped what it was to replace."""
        step = decide()
        if step.action is Action.REPLACE and not step.differences:
            yield from self._carry_out(step, decide, provenance)

    def _disclaim(self, step: Step, decide: Decision, failure: Exception, provenance: Provenance) -> None:
        """Take back the note that an index is being made, where the server says that the statement has made none.

        Without an answer of the server's it may still be building.
        """
        if step.action in (Action.CREATE, Action.REBUILD) and (isinstance(failure, GaveUp) or _code(failure)):
            with suppress(PeeweeException):
                if _is_race(failure) or decide().found is None:
                    provenance.disclaim(step)

    def _recover(self, step: Step, decide: Decision, failure: Exception, attempts: int, provenance: Provenance) -> Work:
        """Clean up after a failure, and wait for the next attempt; raises what the run ends with if there is none."""
        remains = self._clean(step, decide)
        self._disclaim(step, decide, failure, provenance)
        self.run.stop.check()
        if attempts > self.run.options.retries or not isinstance(failure, GaveUp | psycopg2.errors.DeadlockDetected):
            raise _as_ours(step, failure, remains) from failure
        yield from self._pause(step.index, failure, attempts)

    def _until_a_session_is_free(self, failure: NoSession) -> Work:
        """Wait for one of those that build: two at once are faster, and not needed. Raises the failure without one."""
        if not self.builders.busy:
            raise failure
        if not self.builders.are_told:
            self.builders.are_told = True
            self.run.report(Warned(failure.message))
        while self.builders.are_all_busy:
            self.run.stop.check()
            yield None

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

    def _execute(self, step: Step, statements: Sequence[str], provenance: Provenance, decide: Decision) -> Work:
        """Send these one after another, each as a message of its own; a session in a transaction is not kept.

        Raises:
            Changed: what the step was decided on is no longer so, after a wait.
        """
        first = statements[0]
        index, dropping, renaming = step.index, first.startswith(DROP), first.startswith(RENAME)
        if not renaming:
            waited = yield from self._let_pass(index, dropping)
            if waited and first == step.statements[0] and decide().statements != step.statements:
                raise Changed
        self.run.stop.check()
        self.run.lock.confirm()
        settings = RENAMING if renaming else settings_for(index, self.run.options, self.memory)
        builder = self._take(settings)
        try:
            provenance.begin(step, first)
            for statement in statements:
                self.run.report(StatementStarted(index, statement))
                watch = Watch(self.run.sessions, index, builder.pid, self.run.report, dropping)
                builder.send(statement)
                yield from self._mind(builder, watch, lambda: self._see(step, decide, builder, provenance))
        finally:
            self.builders.give_back(builder)

    def _take(self, settings: dict[str, str]) -> Builder:
        return self.builders.take(settings, self.run.sessions.ours)

    def _see(self, step: Step, decide: Decision, builder: Builder, provenance: Provenance) -> None:
        """Note which index it is that is being built: if it is another one after a kill, somebody has made that."""
        if step.action in (Action.CREATE, Action.REBUILD) and not provenance.has_seen(step.index):
            with suppress(PeeweeException):
                found = decide().found
                if found and found.worker == builder.pid:
                    provenance.see(found)

    def _mind(self, builder: Builder, watch: Watch, see: Callable[[], None]) -> Work:
        """Until the statement is done: look at it, and cancel it when asked to stop or when it waited too long."""
        limit = self.run.options.max_wait
        given_up, cancelled = None, 0.0
        try:
            while not builder.poll():
                yield builder
                if given_up is None and watch.is_due() and not self.run.stop.asked:
                    watch.look()
                    see()
                if watch.is_lost():
                    raise psycopg2.OperationalError("the server has ended the statement, and its answer is lost")
                if given_up is None and limit is not None and watch.waited() >= limit:
                    given_up = GaveUp(watch.sight.phase or WAITING_FOR_A_LOCK, watch.sight.blockers)
                # Not only once: a commit inside a build takes the request for its own, and the build goes on.
                if (given_up or self.run.stop.asked) and clock() - cancelled >= INTERVAL:
                    self.run.database.cancel(builder.pid)
                    cancelled = clock()
                if self.run.stop.asked and self.run.stop.asked_for() >= UNANSWERED:
                    self.run.stop.check()
        except psycopg2.errors.QueryCanceled:
            if given_up:
                raise given_up from None
            raise
        except psycopg2.errors.LockNotAvailable:
            raise GaveUp(WAITING_FOR_A_LOCK, watch.sight.blockers) from None

    def _let_pass(self, index: Index, dropping: bool) -> Generator[object, None, bool]:
        """Before a statement is sent: wait for another build on its table, and for whoever would hold it up.

        Returns whether there was anything to wait for.

        Two concurrent builds on one table deadlock. And a build that is given up while a writer is open leaves an
        invalid index that cannot be dropped before that writer ends, so with a limit it does not begin.
        """
        started, told, limit = clock(), 0.0, self.run.options.max_wait
        remaining = self._in_the_way(index, dropping)
        # A session that comes later does not hold up what begins after it.
        first = {blocker.identity for blocker in remaining}
        while remaining:
            waited = clock() - started
            if clock() - told >= INTERVAL:
                self.run.sessions.tell_hidden((blocker.hidden_from for blocker in remaining), self.run.report)
                self.run.report(Waiting(index, BEFORE_THE_START, remaining, waited))
                told = clock()
            if limit is not None and waited >= limit:
                raise GaveUp(BEFORE_THE_START, remaining)
            self.run.stop.check()
            yield None
            now = self._in_the_way(index, dropping)
            remaining = tuple(blocker for blocker in now if blocker.identity in first)
        return bool(first)

    def _in_the_way(self, index: Index, dropping: bool) -> tuple[Blocker, ...]:
        if self.run.options.offline:
            return ()
        builds: tuple[Blocker, ...] = ()
        holders: tuple[Blocker, ...] = ()
        with self.run.sessions.overlooking(self.run.report):
            builds = self.run.sessions.building_on(index.table)
            if self.run.options.max_wait is not None:
                holders = self.run.sessions.expected([index.table], dropping)
        return (*builds, *holders)

    def _pause(self, index: Index, failure: Exception, attempt: int) -> Work:
        pause = min(0.5 * 2**attempt, LONGEST_PAUSE)
        self.run.report(Retrying(index, _reason(failure), attempt, self.run.options.retries, pause))
        yield from self._rest(pause)

    def _rest(self, seconds: float) -> Work:
        until = clock() + seconds
        while clock() < until:
            self.run.stop.check()
            yield None

    def _clean(self, step: Step, decide: Decision) -> bool:
        """Drop what a failed build left behind, if that does not mean waiting for somebody; does anything remain?"""
        if step.action not in CREATIONS:
            return False
        with suppress(PeeweeException, psycopg2.Error, NoSession):
            leftover = self._let_go(decide)
            if leftover.action in UNFINISHED and leftover.statements[0].startswith(DROP):
                cleaner = self._take({"statement_timeout": f"{CLEAN_UP:g}s"})
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


def _code(failure: Exception) -> str | None:
    """Return the SQLSTATE of an error, if the server has answered at all."""
    return getattr(failure, "pgcode", None)


def _is_race(failure: Exception) -> bool:
    """Did another session make, rename or drop the index first, so that a new look finds something else?"""
    if not isinstance(failure, psycopg2.Error):
        return False
    if isinstance(failure, psycopg2.errors.UniqueViolation):
        return failure.diag.constraint_name == NAME_IS_TAKEN
    if isinstance(failure, psycopg2.errors.InternalError_):
        return (failure.diag.message_primary or "").startswith(INTERNAL_RACES)
    return failure.pgcode in RACES


def _as_ours(step: Step, failure: Exception, remains: bool) -> IndexerError:
    name = step.index.name
    left = f"An unfinished {name} may remain; the next run finishes it. " if remains else ""
    if isinstance(failure, GaveUp):
        who = "".join(f"\n  - {blocker}\n    end it: {blocker.ending}" for blocker in failure.blockers)
        return Blocked(f"Gave up on {name}, {failure}{f' for:{who}' if who else '.'}", left + AGAIN)
    doing = DOING.get(step.action, "Building")
    kind = IndexFailed if concerns_one_index(failure) else StatementFailed
    return kind(f"{doing} {name} failed: {said(failure)}", left + remedy(failure))


def _reason(failure: Exception) -> str:
    return f"{failure} took too long" if isinstance(failure, GaveUp) else said(failure).rstrip(".")
