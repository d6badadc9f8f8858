"""The databases and schemas that a command has left, given out to its workers: the first ones, then the rest."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from threading import Condition

from indexer.cli.targets import Target
from indexer.console.many import Part
from indexer.errors import UsageError
from indexer.text import few
from indexer.tuples import NamedTuple

LISTING, FIRST, REST = range(3)  # to find the schemas of a database, what --first names, and all others
MOST_NAMES = 10  # that are shown


class Task(NamedTuple):
    """A database, or a schema of one, to work on. A task is less than those that come after it.

    Attributes:
        rank: no task begins while one of a lower rank is left.
    """

    rank: int
    part: Part
    target: Target

    def is_named(self, name: str | None) -> bool:
        """Return whether the user can mean this task, or its database, by a name."""
        part, target = self.part, self.target
        return bool(name) and name in (part.name, part.schema, part.database, target.typed, target.url)


class Agenda:
    """The tasks of a command that are not done, for workers in several threads.

    Args:
        tasks: those that are known at the start.
        first: the name of what must end well before the rest is begun.

    Attributes:
        refusal: why nothing is begun, if that was found only now.
        stopped_by: the task of ``first`` that did not end well.
    """

    def __init__(self, tasks: Sequence[Task], first: str | None) -> None:
        self.refusal: UsageError | None = None
        self.stopped_by: Task | None = None
        self.first = first
        self._changed = Condition()
        self._left: list[Task] = []
        self._dropped: list[Task] = []
        self._running: dict[Task, int] = {}  # each with the number of others on its server when it began
        self._limits: dict[str, int] = {}
        self._is_closed = False
        self.add(tasks)
        self._check_first()

    @property
    def left(self) -> list[Task]:
        """The tasks that were not begun, in their order."""
        with self._changed:
            return sorted([*self._left, *self._dropped], key=lambda task: task.part)

    def add(self, tasks: Sequence[Task]) -> None:
        """Add tasks; those that ``first`` names come first."""
        with self._changed:
            for task in tasks:
                is_first = task.rank == REST and task.is_named(self.first)
                insort(self._left, task._replace(rank=FIRST) if is_first else task)
            self._changed.notify_all()

    def take(self, waiting: bool = True) -> Task | None:
        """Return the next task; None if there is none, or none now if the caller is not ``waiting`` for it."""
        with self._changed:
            while not self._is_closed and (self._left or self._running):
                for place, task in enumerate(self._left):
                    if task.rank > min(each.rank for each in (self._left[0], *self._running)):
                        break
                    others = self._on_server(task)
                    if others < self._limits.get(_server(task), others + 1):
                        self._running[task] = others
                        return self._left.pop(place)
                if not waiting:
                    break
                self._changed.wait()
            return None

    def running_beside(self, task: Task) -> int:
        """Return how many tasks are running on the server of one of them, that one included."""
        with self._changed:
            return self._on_server(task)

    def finish(self, task: Task, is_good: bool) -> None:
        """Note that a task has ended; if it had to end well and did not, give out no other."""
        with self._changed:
            del self._running[task]
            if not is_good and task.is_named(self.first):
                self.stopped_by, self._is_closed = task, True
            if task.rank == LISTING:
                self._check_first()
            self._changed.notify_all()

    def put_back(self, task: Task) -> int | None:
        """Give a task back because its server refuses another connection; return how many may run there from now on.

        None if no other task is to blame, so that it has failed.
        """
        with self._changed:
            before = self._running.pop(task)
            others = self._on_server(task)
            if not before and not others:
                self._running[task] = 0
                return None
            self._limits[_server(task)] = limit = max(others, 1)
            insort(self._left, task)
            self._changed.notify_all()
            return limit

    def drop(self, database: Task) -> None:
        """Give out no other task on the database of this one."""
        with self._changed:
            self._dropped += [task for task in self._left if task.target is database.target]
            self._left = [task for task in self._left if task.target is not database.target]
            self._changed.notify_all()

    def close(self) -> None:
        """Give out no other task."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _on_server(self, task: Task) -> int:
        """Return how many tasks are running on the server of a task."""
        return sum(_server(each) == _server(task) for each in self._running)

    def _check_first(self) -> None:
        """Refuse a name that no task has, once all are known."""
        known = (*self._left, *self._running)
        if self.first is None or self._is_closed or any(task.rank in (LISTING, FIRST) for task in known):
            return
        names = ", ".join(few([task.part.name for task in known], MOST_NAMES))
        hint = f"The names are: {names}." if names else "No database could be read."
        self.refusal, self._is_closed = UsageError(f"--first names {self.first!r}, which does not exist.", hint), True


def _server(task: Task) -> str:
    """Return what distinguishes the server of a task; a file is its own."""
    return task.target.server or task.target.url
