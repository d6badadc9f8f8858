"""What a run can report while it goes on. The engine emits these and never prints.

Nobody compares events, and a dataclass without ``__eq__`` is made in half the time: a start-up cost of every command.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from indexer.plan import Action
from indexer.spec import Index


@dataclass(frozen=True, eq=False)
class Blocker:
    """A session that a build has to wait for.

    ``pid`` is None for a prepared transaction. ``transaction`` tells two transactions of one session apart,
    ``seconds`` is its age, ``ending`` the statement that would end it.
    """

    pid: int | None
    role: str
    application: str
    client: str
    transaction: str
    seconds: float
    reason: str
    query: str
    ending: str

    def __str__(self) -> str:
        who = ", ".join(filter(None, (self.role, self.application, self.client)))
        name = f"pid {self.pid} ({who})" if self.pid else self.role
        return f"{name}, for {self.seconds:.0f} s: {self.reason}" + (f": {self.query}" if self.query else "")


@dataclass(frozen=True, eq=False)
class BaseCreated:
    """An empty database was given its tables."""

    revision: str
    tables: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, eq=False)
class RevisionStarted:
    """A revision is about to be applied (``up``) or reverted (``down``); ``indexes`` counts what there is to do."""

    revision: str
    description: str
    direction: str
    indexes: int


@dataclass(frozen=True, eq=False)
class RevisionFinished:
    """A revision was recorded as applied, or its record was removed."""

    revision: str
    direction: str
    seconds: float


@dataclass(frozen=True, eq=False)
class BlockersFound:
    """Before the start: the sessions that the waiting phases of a build would wait for if they do not end first."""

    blockers: tuple[Blocker, ...]


@dataclass(frozen=True, eq=False)
class StatementStarted:
    """This statement is sent now."""

    index: Index
    statement: str


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a build is. ``fraction`` is None where there is no number: in sorts.

    ``rate`` is how many of ``unit`` a second the phase gets through, once two looks have shown that.
    """

    index: Index
    phase: str
    fraction: float | None
    seconds: float
    rate: float | None = None
    unit: str = ""


@dataclass(frozen=True, eq=False)
class Waiting:
    """A build cannot go on before these sessions end."""

    index: Index
    phase: str
    blockers: tuple[Blocker, ...]
    seconds: float


@dataclass(frozen=True, eq=False)
class Retrying:
    """A try was given up and cleaned away; the next one begins after a pause."""

    index: Index
    reason: str
    attempt: int
    retries: int
    pause: float


@dataclass(frozen=True, eq=False)
class IndexFinished:
    """One index is done with, whether or not anything had to be done."""

    index: Index
    action: Action
    seconds: float
    bytes: int | None


@dataclass(frozen=True, eq=False)
class Joined:
    """Another session works on this index; we wait for it and then look again."""

    index: Index
    worker: int


@dataclass(frozen=True, eq=False)
class LockWaited:
    """Another run holds the run lock; said when the waiting begins and when the other run has moved on."""

    holder: str


@dataclass(frozen=True, eq=False)
class ServerAwaited:
    """The database does not answer yet, for a reason that can heal."""

    reason: str


Event = (
    BaseCreated
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
)
Report = Callable[[Event], None]


def silent(event: Event) -> None:
    """Report to nobody."""
