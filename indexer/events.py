"""What a run can report while it goes on. The engine emits these and never prints.

Named tuples, here and elsewhere: a frozen dataclass takes seven times as long to make, at every start of a command.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from indexer.decide import Action
from indexer.errors import Hint
from indexer.spec import Index
from indexer.text import visible


class Blocker(NamedTuple):
    """A session that a build has to wait for.

    ``pid`` is None for a prepared transaction. ``transaction`` tells two transactions of one session apart,
    ``seconds`` is its age, ``ending`` the statement that would end it. Of a session that the role of this run may not
    look at, ``seconds`` is None, and ``hidden_from`` names that role.
    """

    pid: int | None
    role: str
    application: str
    client: str
    transaction: str
    seconds: float | None
    reason: str
    query: str
    ending: str
    hidden_from: str | None = None

    @property
    def identity(self) -> tuple[int | None, str]:
        """The same for the same transaction of the same session."""
        return self.pid, self.transaction

    def __str__(self) -> str:
        who = ", ".join(filter(None, (self.role, self.application, self.client)))
        name = f"pid {self.pid} ({who})" if self.pid else self.role
        age = "" if self.seconds is None else f", for {self.seconds:.0f} s"
        return visible(f"{name}{age}: {self.reason}" + (f": {self.query}" if self.query else ""))


class Warned(NamedTuple):
    """Something that the user should know, and that does not stop the run."""

    text: str | Hint


class BaseCreated(NamedTuple):
    """An empty database was given its tables."""

    revision: str
    tables: tuple[str, ...]
    seconds: float


class RevisionStarted(NamedTuple):
    """A revision is about to be applied (``up``) or reverted (``down``); ``indexes`` counts what there is to do."""

    revision: str
    description: str
    direction: str
    indexes: int


class RevisionFinished(NamedTuple):
    """A revision was recorded as applied, or its record was removed."""

    revision: str
    direction: str
    seconds: float


class BlockersFound(NamedTuple):
    """Before the start: the sessions that the waiting phases of a build would wait for if they do not end first."""

    blockers: tuple[Blocker, ...]


class StatementStarted(NamedTuple):
    """This statement is sent now."""

    target: Index
    statement: str


class Progress(NamedTuple):
    """How far a build is. ``fraction`` is None where there is no number: in sorts.

    ``rate`` is how many of ``unit`` a second the phase gets through, once two looks have shown that.
    """

    target: Index
    phase: str
    fraction: float | None
    seconds: float
    rate: float | None = None
    unit: str = ""


class Waiting(NamedTuple):
    """A build cannot go on before these sessions end."""

    target: Index
    phase: str
    blockers: tuple[Blocker, ...]
    seconds: float


class Retrying(NamedTuple):
    """A try was given up and cleaned away; the next one begins after a pause."""

    target: Index
    reason: str
    attempt: int
    retries: int
    pause: float


class IndexFinished(NamedTuple):
    """One index is done with, whether or not anything had to be done; if it was renamed, the name it has elsewhere."""

    target: Index
    action: Action
    seconds: float
    bytes: int | None
    other_name: str | None = None


class Joined(NamedTuple):
    """Another session works on this index; we wait for it and then look again."""

    target: Index
    worker: int


class LockWaited(NamedTuple):
    """Another run holds the run lock; said when the waiting begins and when the other run has moved on."""

    holder: str


class ServerAwaited(NamedTuple):
    """The database does not answer yet, for a reason that can heal."""

    reason: str


class AnswerAwaited(NamedTuple):
    """A statement has had no answer for so many seconds; the reason is what another session could see of it."""

    reason: str
    seconds: float


Event = (
    Warned
    | BaseCreated
    | RevisionStarted
    | RevisionFinished
    | BlockersFound
    | StatementStarted
    | Progress
    | Waiting
    | Retrying
    | IndexFinished
    | Joined
    | LockWaited
    | ServerAwaited
    | AnswerAwaited
)
Report = Callable[[Event], None]


def silent(event: Event) -> None:
    """Report to nobody."""


class SafeReport:
    """Pass events on to a report, whose failure must not end the run that it only describes.

    Attributes:
        failure: the first one.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self.failure: Exception | None = None

    def __call__(self, event: Event) -> None:
        """Pass one event on."""
        try:
            self.report(event)
        except Exception as error:
            self.failure = self.failure or error
