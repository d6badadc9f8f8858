"""Decides which builds run side by side: never two on one table, a partial one alone, two only on an idle server."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Sequence
from typing import Any

from indexer.definition import Expression
from indexer.errors import Command, Hint, IndexFailed, NoSession, together
from indexer.migrator import IndexOperation, Work
from indexer.postgres.run.execution import Run
from indexer.postgres.run.partitions import LeafTask, Together
from indexer.postgres.run.sessions import Load
from indexer.tuples import NamedTuple

Task = IndexOperation | LeafTask

TICK = 0.1  # seconds between two steps of work that waits for no socket
SIDE_BY_SIDE = 2  # more builds at once were slower on every server measured
# How many processors the server has is not visible to SQL. Two is the least with which two builds at once gain
# anything, so from two active clients on, they are taken for busy.
BUSY = 2
ASKED_AGAIN = 0.5  # seconds between two questions which clients are active
ONE_AT_A_TIME = "Builds one index at a time: before PostgreSQL 14 two concurrent builds wait for each other."
IGNORES_OTHERS = 140000  # since 14 the last phase of a build does not wait for another build on plain columns


class Schedule:
    """The execution of several operations in one thread.

    The work on each is a generator, which yields the session that it waits for, or None. An operation for which the
    server allows no session beside the others begins again once one of those has ended. One that yields ``Together``
    is suspended until these tasks have ended.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._waiting: list[Task] = []
        self._running: dict[Task, Work] = {}
        self._waits_on: dict[Task, Any] = {}
        self._groups: dict[Task, _Group] = {}  # of the tasks that others are suspended for
        self._load: Load | None = None
        self._asked = float("-inf")

    def execute(self, operations: Sequence[IndexOperation], work: Callable[[IndexOperation], Work]) -> None:
        """Execute all operations, those with partial indexes and expressions last, else in the given order.

        An index that cannot be built does not prevent the others. After any other failure no operation begins; those
        that run are finished, then the failure is raised.

        Raises:
            IndexFailed: one or more indexes cannot be built.
        """
        try:
            self._waiting = sorted(operations, key=_is_built_alone)
            self._execute(work)
        finally:
            for group in self._groups.values():
                group.suspended.close()
            self.run.stop.close()

    def _execute(self, work: Callable[[Any], Work]) -> None:
        failure: BaseException | None = None
        unbuilt: list[IndexFailed] = []
        while (self._waiting and not failure) or self._running:
            self.run.lag.remember()
            self.run.pace.look([each.index for each in self._running])
            while not failure and (following := self._following()):
                self._waiting.remove(following)
                group = self._groups.get(following)
                self._running[following] = group.work(following) if group else work(following)
                self.run.lanes.begin(following.index.table)
            begun, refused = list(self._running), list[Task]()
            for operation in begun:
                error = self._advance(operation)
                is_refused = isinstance(error, NoSession) and self.run.database.builders.busy
                if operation in self._groups and operation not in self._running and not is_refused:
                    error = self._end(operation, error)
                if isinstance(error, NoSession) and self.run.database.builders.busy:
                    self.run.sessions.warn(error.message)
                    refused.append(operation)
                elif isinstance(error, IndexFailed):
                    unbuilt.append(error)
                else:
                    failure = failure or error
            self._waiting[:0] = refused
            if len(self._running) == len(begun):
                self._wait()  # otherwise the next operation can begin
        if failure or unbuilt:
            raise failure or together(unbuilt)

    def _suspend(self, operation: Task, together: Together) -> None:
        """Put these tasks before all others, and go on with the operation once they have ended."""
        group = _Group(operation, self._running.pop(operation), together.work, set(together.tasks), [])
        self._waits_on.pop(operation, None)
        self.run.lanes.end(operation.index.table, is_done=False)
        self._groups.update(dict.fromkeys(together.tasks, group))
        self._waiting[:0] = together.tasks

    def _end(self, task: Task, error: BaseException | None) -> BaseException | None:
        """Note that a task of a group has ended; return its failure, unless that is one of the group.

        An index that cannot be built on one partition does not prevent those on the others.
        """
        group = self._groups.pop(task)
        group.tasks.discard(task)
        if isinstance(error, IndexFailed):
            group.failures.append(error)
            error = None
        if error:
            group.suspended.close()
        elif not group.tasks:
            self._running[group.operation] = _resumed(group)
            self.run.lanes.begin(group.operation.index.table)
        return error

    def _following(self) -> Task | None:
        """Return the next operation that may begin now. Plain builds may run side by side on one table."""
        tables = set() if self.run.options.offline else {running.index.table for running in self._running}
        following = next((each for each in self._waiting if each.index.table not in tables), None)
        return following if following and (not self._running or self._may_join(following)) else None

    def _may_join(self, following: Task) -> bool:
        """Return whether an operation may begin beside those that run. The server is queried last."""
        options, database = self.run.options, self.run.database
        most = options.jobs or SIDE_BY_SIDE
        if len(self._running) >= min(most, database.builders.limit or most):
            return False
        if self.run.pace.is_guessing:
            return False
        if options.offline:
            return True
        if database.server_version < IGNORES_OTHERS:
            if options.jobs and not following.is_drop:
                self.run.sessions.warn(ONE_AT_A_TIME)
            return False
        if any(map(_is_built_alone, (following, *self._running))):
            return False
        return options.jobs is not None or following.is_drop or not self._is_busy(following.index.table)

    def _is_busy(self, table: str) -> bool:
        """Return whether other clients keep the server busy; say so once. For a short build it does not matter."""
        if self.run.lanes.is_short(table):
            return False
        sessions, now = self.run.sessions, time.monotonic()
        if now - self._asked >= ASKED_AGAIN:
            self._load, self._asked = sessions.load(), now
        if self._load and self._load.clients < BUSY:
            return False
        reason = self._load or "the clients of the server are not visible"
        if self._load and self._load.hidden:
            sessions.report_hidden([self._load.role])
        text = f"Builds one index at a time on tables of 8 MB or more: {reason}."
        advice = Hint(f"{text} To build two at once: ", Command("up", "--jobs", "2"))
        sessions.warn(advice, topic="one at a time")
        return True

    def _advance(self, operation: Task) -> BaseException | None:
        """Continue an operation until it waits or ends; return its failure."""
        try:
            waits_on: object = next(self._running[operation])
            if isinstance(waits_on, Together):
                self._suspend(operation, waits_on)
            else:
                self._waits_on[operation] = waits_on
        except Exception as ended:
            del self._running[operation]
            self._waits_on.pop(operation, None)
            self.run.lanes.end(operation.index.table, not isinstance(ended, NoSession))
            return None if isinstance(ended, StopIteration) else ended
        return None

    def _wait(self) -> None:
        """Wait until a session has an answer, a signal comes, or a tick has passed."""
        waits_on: list[Any] = [each for each in self._waits_on.values() if each is not None]
        if not self.run.stop.asked:
            waits_on.append(self.run.stop)
        with selectors.DefaultSelector() as selector:  # select() takes no descriptor above 1,023
            for each in waits_on:
                selector.register(each, selectors.EVENT_READ)
            selector.select(TICK)


class _Group(NamedTuple):
    """Tasks for which an operation is suspended; ``tasks`` are those that have not ended."""

    operation: Task
    suspended: Work
    work: Callable[[Any], Work]
    tasks: set[Task]
    failures: list[IndexFailed]


def _resumed(group: _Group) -> Work:
    """Go on with a suspended operation, in which the failures of its tasks are raised."""
    if group.failures:
        yield group.suspended.throw(together(group.failures))
    yield from group.suspended


def _is_built_alone(operation: Task) -> bool:
    """Return whether other builds would wait for that of an index: it is partial or has an expression."""
    declared = operation.index.postgresql
    return declared.predicate is not None or any(isinstance(part, Expression) for part in declared.key)
