"""A thread that works on one database or schema after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from indexer.cli.agenda import LISTING, REST, Agenda, Task
from indexer.cli.running import Call, Work, connected, unexpected
from indexer.cli.targets import Target
from indexer.console import output
from indexer.console.many import Part
from indexer.console.output import Answer
from indexer.console.progress import JsonLines, Lines, NamedLines
from indexer.errors import IndexerError, Interrupted, NoSession, ServerFull, Unreachable
from indexer.events import Warned
from indexer.signals import Stop
from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.migrator import CatalogMigrator

SETTLING = 1.0  # seconds in which a server counts a connection that has just ended


class Result(NamedTuple):
    """The answer of one of several databases or schemas."""

    part: Part
    answer: Answer


class Job:
    """What all workers of a command share.

    Args:
        call, work, tables: as for ``work_on_each``.
        agenda: gives out the tasks.
        where: the database to work on, if no URL is given.

    Attributes:
        ended: the results, and the workers that have ended; None after a signal.
    """

    def __init__(self, call: Call, work: Work, tables: Sequence[str], agenda: Agenda, where: Any) -> None:
        self.call, self.work, self.tables, self.agenda, self.where = call, work, tables, agenda, where
        self.ended: SimpleQueue[Result | Worker | None] = SimpleQueue()

    def reporter(self, part: Part) -> Lines:
        """Return the progress reporter of a part; that of a command which only reads prints on stderr."""
        call, write = self.call, part.writing(self.call.write)
        if not part.name:
            return Lines(write, err=True)
        if call.as_json and call.tells:
            return JsonLines(write, part.keys)
        return NamedLines(write, not call.tells, part.name, part.keys)

    def schemas(self, task: Task, migrator: CatalogMigrator) -> Iterator[Task]:
        """Yield a task for each schema of a database."""
        for number, one in enumerate(migrator.in_schemas(task.target.schemas, task.target.pattern, self.tables)):
            part = task.part._replace(place=(task.part.place[0], number), schema=one.schema)
            yield Task(REST, part, task.target)


class Worker:
    """Works on one task after another; keeps its session while they are on the same database.

    Attributes:
        task: what it is working on.
        stop: asks it to stop.
    """

    def __init__(self, job: Job, stop: Stop) -> None:
        self.job = job
        self.task: Task | None = None
        self.stop = self._stop_of_all = stop
        self._session = ExitStack()
        self._migrator: CatalogMigrator | None = None
        self._target: Target | None = None

    def run(self) -> None:
        """Work until no task is left."""
        while task := self._next():
            self.task = task
            answer = self._answer(task)
            if answer:
                self.job.ended.put(Result(task.part, answer))
                self.job.agenda.finish(task, answer.exit_code == 0)
            self.task = None
        self.job.ended.put(self)

    def _next(self) -> Task | None:
        """Return the next task; close the session before the worker has to wait for one."""
        task = self.job.agenda.take(waiting=False)
        if task is None:
            self._leave()
            task = self.job.agenda.take()
        return task

    def _answer(self, task: Task) -> Answer | None:
        """Return the answer of a task; None if it has none, because it only lists schemas or will begin again."""
        job, report = self.job, self.job.reporter(task.part)
        try:
            migrator = self._connected(task)
            if task.rank == LISTING:
                job.agenda.add(list(job.schemas(task, migrator)))
                job.agenda.finish(task, is_good=True)
                return None
            if task.part.schema is not None:
                (migrator,) = migrator.in_schemas([task.part.schema], None, ())
            return job.work(migrator, report, self.stop)
        except (ServerFull, NoSession) as error:
            self._leave()
            limit = job.agenda.put_back(task)
            if limit is None:
                return self._failure(error)
            report(Warned(f"At most {limit} at once from now on: {error.summary}"))
            with suppress(Interrupted):
                self._stop_of_all.sleep(SETTLING)
            return None
        except BaseException as error:
            return self._failure(error)

    def _connected(self, task: Task) -> CatalogMigrator:
        """Return the migrator of a database; if that cannot be reached, nothing else is begun there."""
        try:
            if self._migrator and self._target is task.target:
                self._migrator.reconnect()
                return self._migrator
            self._leave()
            self.stop = self._session.enter_context(self._stop_of_all.branch())
            call = self.job.call._replace(target=task.target)
            report = self.job.reporter(task.part._replace(schema=None))
            self._migrator = self._session.enter_context(connected(call, report, self.stop, self.job.where))
            self._target = task.target
            self._check_room(task, self._migrator)
            return self._migrator
        except Unreachable as error:
            self._leave()
            if not isinstance(error, ServerFull):
                self.job.agenda.drop(task)
            raise

    def _check_room(self, task: Task, migrator: CatalogMigrator) -> None:
        """Raise ServerFull if this task beside others would leave no connection of the server to its other clients.

        Each of them may have to open the session that builds.
        """
        running = self.job.agenda.running_beside(task)
        free = migrator.free_connections() if running > 1 else None
        if free is not None and free < (running if self.job.call.changes else 0):
            raise ServerFull("The server has hardly any connection free.", "Lower --parallel.")

    def _leave(self) -> None:
        """Close the session."""
        self._migrator = self._target = None
        with suppress(Exception):  # of a server that is gone
            self._session.close()
        self._session = ExitStack()

    def _failure(self, error: BaseException) -> Answer:
        """Return the answer of what has failed; what fails after a signal fails because of it."""
        known = error if isinstance(error, IndexerError) else unexpected(error)
        if self.stop.asked and not isinstance(known, Interrupted):
            known = self.stop.interruption()
        if self.job.call.verbose:
            output.print_traceback(error)
        return output.of_failure(known)
