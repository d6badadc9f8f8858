"""What a run can report while it goes on. The engine emits these and never prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from indexer.plan import Action
from indexer.spec import Index


@dataclass(frozen=True)
class BaseCreated:
    """An empty database was given its tables."""

    revision: str
    tables: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class RevisionStarted:
    """A revision is about to be applied (``up``) or reverted (``down``)."""

    revision: str
    description: str
    direction: str


@dataclass(frozen=True)
class RevisionFinished:
    """A revision was recorded as applied, or its record was removed."""

    revision: str
    direction: str
    seconds: float


@dataclass(frozen=True)
class StatementStarted:
    """This statement is sent now."""

    statement: str


@dataclass(frozen=True)
class IndexFinished:
    """One index is done with, whether or not anything had to be done."""

    index: Index
    action: Action
    seconds: float
    bytes: int | None


@dataclass(frozen=True)
class Joined:
    """Another session works on this index; we wait for it and then look again."""

    index: Index
    worker: int


@dataclass(frozen=True)
class LockWaited:
    """Another run holds the run lock; said once, when the waiting begins."""

    holder: str


Event = BaseCreated | RevisionStarted | RevisionFinished | StatementStarted | IndexFinished | Joined | LockWaited
Report = Callable[[Event], None]


def silent(event: Event) -> None:
    """Report to nobody."""
