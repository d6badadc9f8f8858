"""What the service knows of the database: plain results with the time at which they were read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from indexer.catalog import Engine
from indexer.errors import (
    Held,
    IndexerError,
    NoSchema,
    NotReadable,
    PreflightFailed,
    ProjectBroken,
    ServerFull,
    TableLocked,
    Unreachable,
    UsageError,
)
from indexer.text import reason
from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.care.health import Health
    from indexer.plans import Check
    from indexer.server import RunningBuild
    from indexer.verify.result import Report

INTERVAL, SLOW_INTERVAL = 5.0, 60.0  # seconds between two reads of the state, and of sizes, use and queries
SHORTEST_LATE, MISSED = 30.0, 4  # a snapshot is late after so many seconds, and after so many intervals

FULL = "The server has no connection free."
UNREACHABLE = "The database cannot be reached."
REFUSED = "The database refuses the connection."
NOT_READABLE = "The role of the service may not read the tables."
NO_SCHEMA = "There is no schema that the role of the service may use."
LOCKED = "A table is locked by another session."
HELD = "Another process has locked the file."
NO_URL = "The URL of the database cannot be read."
NO_QUERIES = "The queries of the project cannot be built."
NO_MODULE = "A module of the project cannot be read."
FAILED = "The database cannot be read."
BRIEFS = (
    *((ServerFull, FULL), (Held, HELD), (TableLocked, LOCKED), (NoSchema, NO_SCHEMA), (ProjectBroken, NO_MODULE)),
    *((PreflightFailed, NOT_READABLE), (NotReadable, NOT_READABLE)),
)


class Failure(NamedTuple):
    """Why the database could not be read.

    Attributes:
        brief: a sentence that names no host, role or database.
        message: all that is known, as it is written to the log.
    """

    brief: str
    message: str


class State(NamedTuple):
    """What is read every few seconds. Times are UTC.

    Attributes:
        hosts: the names of servers that a text about them may contain.
        waiting: how many seconds each build has been seen to wait, by its process id.
    """

    taken_at: datetime
    engine: Engine
    check: Check
    builds: tuple[RunningBuild, ...] = ()
    waiting: Mapping[int, float] = {}
    hosts: tuple[str, ...] = ()


class Care(NamedTuple):
    """What is read every minute. Times are UTC.

    Attributes:
        report: whether the queries are served; None if the project has none, or the planner could not be asked.
        error: why it could not be asked.
    """

    taken_at: datetime
    health: Health
    report: Report | None = None
    error: IndexerError | None = None


class Snapshot(NamedTuple):
    """What the service has read last.

    Attributes:
        state: the last one that could be read; None if none could.
        failure: why the last attempt to read the state failed; None if it did not.
        care: the last one that could be read.
        care_failure: why the last attempt to read it failed.
    """

    interval: float = INTERVAL
    state: State | None = None
    failure: Failure | None = None
    care: Care | None = None
    care_failure: Failure | None = None

    def is_late(self, now: datetime) -> bool:
        """Return whether the state is older than it should be, as when the database gives no answer."""
        if self.state is None:
            return False
        return (now - self.state.taken_at).total_seconds() > max(SHORTEST_LATE, MISSED * self.interval)

    def is_up(self, now: datetime) -> bool | None:
        """Return whether the database can be read; None if no attempt has ended yet."""
        if self.state is None and self.failure is None:
            return None
        return self.failure is None and not self.is_late(now)


def failure_of(error: BaseException, of_usage: str = NO_URL) -> Failure:
    """Return why the database cannot be read, in a sentence without names, and with all that is known.

    Args:
        of_usage: what the sentence is for a ``UsageError``.
    """
    message = error.message if isinstance(error, IndexerError) else f"Unexpected error: {reason(error)}."
    unreachable = UNREACHABLE if isinstance(error, Unreachable) and error.can_heal else REFUSED
    briefs = (*BRIEFS, (UsageError, of_usage), (Unreachable, unreachable))
    return Failure(next((text for kind, text in briefs if isinstance(error, kind)), FAILED), message)
