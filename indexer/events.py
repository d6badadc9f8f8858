"""The events of a run. The engine emits them and prints nothing.

They are named tuples: a frozen dataclass takes seven times as long to define, at every start of a command.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from indexer.decide import Action
from indexer.errors import Hint
from indexer.spec import Index
from indexer.text import duration, in_bytes, visible
from indexer.tuples import NamedTuple


class Blocker(NamedTuple):
    """A session that a build has to wait for.

    Attributes:
        pid: None for a prepared transaction.
        transaction: tells two transactions of one session apart.
        seconds: the age of the transaction; None if our role may not see it.
        reason: what it holds, such as a lock on a table.
        ending: the statement that ends it.
        hidden_from: our role, if that may not see what the session does.
        node: the node of a cluster where the session began; ``pid`` is then its global process id.
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
    node: str | None = None

    @property
    def identity(self) -> tuple[int | None, str]:
        """What two records of the same transaction have in common."""
        return self.pid, self.transaction

    def __str__(self) -> str:
        who = ", ".join(filter(None, (self.role, self.application, self.client)))
        number = f"global pid {self.pid} on {self.node}" if self.node else f"pid {self.pid}"
        name = f"{number} ({who})" if self.pid else self.role
        age = "" if self.seconds is None else f", for {self.seconds:.0f} s"
        return visible(f"{name}{age}: {self.reason}" + (f": {self.query}" if self.query else ""))


class Laggard(NamedTuple):
    """A standby or a replication slot that is further behind than a run may let it be.

    Attributes:
        kind: standby, physical slot or logical slot.
        name: of the slot, or the application name and the address of the standby.
        bytes: how much WAL it is behind.
        seconds: for how long it has been so far behind, at least.
        ending: the statement that drops a slot which nothing uses, so that it is not waited for; else empty.
    """

    kind: str
    name: str
    bytes: int
    seconds: float
    ending: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """What two observations of the same one have in common."""
        return self.kind, self.name

    def __str__(self) -> str:
        unused = ", which is not in use" if self.ending else ""
        behind = f"{in_bytes(self.bytes)} behind, for {duration(self.seconds)} or longer"
        return visible(f"{self.kind} {self.name}{unused}: {behind}")


class Warned(NamedTuple):
    """What the user should know, and what does not stop the run."""

    text: str | Hint


class BaseCreated(NamedTuple):
    """The tables of an empty database were created."""

    revision: str
    tables: tuple[str, ...]
    seconds: float


class RevisionStarted(NamedTuple):
    """A revision is about to be applied (``up``) or reverted (``down``), or indexes of it to be rebuilt (``reindex``).

    ``indexes`` is the number of its steps.
    """

    revision: str
    description: str
    direction: str
    indexes: int


class RevisionFinished(NamedTuple):
    """A revision was recorded as applied, its record was removed, or its indexes were rebuilt."""

    revision: str
    direction: str
    seconds: float


class BlockersFound(NamedTuple):
    """Before the first change: the sessions that builds will wait for unless they end first."""

    blockers: tuple[Blocker, ...]


class StatementStarted(NamedTuple):
    """A statement is about to be sent."""

    target: Index
    statement: str


class Progress(NamedTuple):
    """The progress of a build.

    Attributes:
        fraction: the part of the phase that is done, from 0 to 1; None where the server gives no number, as in sorts.
        seconds: since the start of the statement.
        rate: how many of ``unit`` a second are done; None until two measurements are known.
        placements: how many a distributed index will have; None if it is not distributed.
        placements_done: how many of them are built.
    """

    target: Index
    phase: str
    fraction: float | None
    seconds: float
    rate: float | None = None
    unit: str = ""
    placements: int | None = None
    placements_done: int | None = None


class Waiting(NamedTuple):
    """A build waits for these sessions to end."""

    target: Index
    phase: str
    blockers: tuple[Blocker, ...]
    seconds: float


class ReplicaAwaited(NamedTuple):
    """A step waits before it begins, because these standbys and slots are too far behind."""

    target: Index
    replicas: tuple[Laggard, ...]
    seconds: float


class RunPredicted(NamedTuple):
    """What the builds of a run are expected to take: before the first change.

    Attributes:
        bytes: those of all indexes whose size can be told.
        bytes_at_most: a bound for all indexes; None where one of them has none.
        unknown: the indexes whose size cannot be told.
        seconds: without waits for other sessions; None where no build was measured on this database.
        seconds_at_least: with ``seconds_at_most`` the range.
        wal_bytes: the WAL that the builds write.
        sort_bytes: the temporary files that they need at the same time, at most.
        source: how the seconds are known.
    """

    bytes: int
    bytes_at_most: int | None
    unknown: tuple[str, ...]
    seconds: float | None
    seconds_at_least: float
    seconds_at_most: float
    wal_bytes: int
    sort_bytes: int
    source: str


class BuildPredicted(NamedTuple):
    """A build begins that takes more than a moment, and is expected to end before the window closes.

    Attributes:
        seconds: what it is expected to take.
        bytes: the size of its table.
        source: how the seconds are known.
        closes: when the window closes, in its zone.
    """

    target: Index
    seconds: float
    bytes: int
    source: str
    closes: datetime


class Postponed(NamedTuple):
    """A step is left to a later run, because it must not begin now; ``reason`` is a phrase."""

    target: Index
    reason: str


class WindowClosed(NamedTuple):
    """The window has closed while these indexes are being built, which goes on to the end."""

    indexes: tuple[str, ...]


class RevisionPaused(NamedTuple):
    """A run ends with a revision that is not complete; ``left`` are its indexes that a later run is to build."""

    revision: str
    left: tuple[str, ...]
    seconds: float


class Retrying(NamedTuple):
    """An attempt was cancelled and cleaned up; the next one begins after ``pause`` seconds."""

    target: Index
    reason: str
    attempt: int
    retries: int
    pause: float


class IndexFinished(NamedTuple):
    """A step is done, whether or not it changed anything.

    Attributes:
        other_name: the other name of a renamed index.
        bytes_before: the size of a rebuilt index before.
        predicted_bytes: the size that was predicted; None where it could not be told.
        predicted_seconds: the time that was predicted, without waits; None where it could not be told.
        partitions: how many of its partitions hold rows; None for a table that is not partitioned.
        part_of: the index of a wider partitioned table that holds an index which ``down`` leaves.
    """

    target: Index
    action: Action
    seconds: float
    bytes: int | None
    other_name: str | None = None
    bytes_before: int | None = None
    predicted_bytes: int | None = None
    predicted_seconds: float | None = None
    partitions: int | None = None
    part_of: str | None = None


class PartitionFinished(NamedTuple):
    """The index of one partition is built, and attached to that of the partitioned table.

    Attributes:
        table: the partition, with its schema where that is not the schema of the partitioned table.
        part: the name of its index.
        done: how many of the ``partitions`` that hold rows are done.
    """

    target: Index
    table: str
    part: str
    action: Action
    done: int
    partitions: int
    seconds: float


class IndexChecked(NamedTuple):
    """A deep check of an index is done; ``by`` is what it was made by, None where none was possible."""

    target: Index
    result: str
    by: str | None
    seconds: float


class Joined(NamedTuple):
    """Another session, ``worker``, is building or dropping this index; the run waits for it."""

    target: Index
    worker: int


class AnalyzeStarted(NamedTuple):
    """The statistics of these tables are about to be gathered, one table after another."""

    tables: tuple[str, ...]


class TableAnalyzed(NamedTuple):
    """The statistics of a table were gathered; ``why`` is a sentence without its full stop."""

    table: str
    why: str
    seconds: float


class LockWaited(NamedTuple):
    """Another run holds the run lock; reported when the wait begins and while the other run progresses."""

    holder: str


class ServerAwaited(NamedTuple):
    """The database does not answer yet, for a reason that may pass."""

    reason: str


class GateAwaited(NamedTuple):
    """``wait --for applied`` goes on waiting; ``reason`` is why the gate is closed, in a sentence."""

    reason: str


class AnswerAwaited(NamedTuple):
    """A statement has had no answer for ``seconds``; ``reason`` is what another session sees of it."""

    reason: str
    seconds: float


class ServiceStarted(NamedTuple):
    """The service answers at this URL."""

    url: str


class DatabaseReadable(NamedTuple):
    """The service can read the database again, which it could not for so many seconds."""

    seconds: float


class ServiceEnded(NamedTuple):
    """A signal ended the service."""

    signal: str


Event = (
    Warned
    | BaseCreated
    | RevisionStarted
    | RevisionFinished
    | BlockersFound
    | StatementStarted
    | Progress
    | Waiting
    | ReplicaAwaited
    | RunPredicted
    | BuildPredicted
    | Postponed
    | WindowClosed
    | RevisionPaused
    | Retrying
    | IndexFinished
    | PartitionFinished
    | IndexChecked
    | Joined
    | AnalyzeStarted
    | TableAnalyzed
    | LockWaited
    | ServerAwaited
    | GateAwaited
    | AnswerAwaited
    | ServiceStarted
    | DatabaseReadable
    | ServiceEnded
)
Report = Callable[[Event], None]


def silent(event: object) -> None:
    """Ignore an event."""


def naming_schema(report: Report, schema: str) -> Report:
    """Return a report that shows the names of indexes with their schema, which is not that of the declared ones."""

    def named(event: Any) -> None:
        target = getattr(event, "target", None)
        report(event._replace(target=target.renamed(f"{schema}.{target.name}")) if target else event)

    return named


class SafeReport:
    """A report whose failure does not end the run that it describes; the first failure is kept."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.failure: Exception | None = None

    def __call__(self, event: Event) -> None:
        """Pass one event on."""
        try:
            self.report(event)
        except Exception as error:
            self.failure = self.failure or error
