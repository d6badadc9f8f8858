"""What a run will need, and how well that is known. Pure: the adapters read what the database knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from indexer.pace.rate import AT_LEAST, EACH, FASTEST, MATTERS, SLOWEST, Rate, work_of
from indexer.predict.size import Size
from indexer.steps import Step
from indexer.text import in_bytes
from indexer.tuples import NamedTuple

AT_ONCE = 2  # builds that may run side by side, and sort at the same time
DATA, SORT, WAL = "data", "sort", "wal"  # what needs room on a disk


class Need(NamedTuple):
    """What one index will need, in bytes.

    Attributes:
        table_bytes: the size of the table or tables that it is built on.
        size: its size and what that rests on.
        wal_bytes: the WAL that its build writes; None where that cannot be told.
        wal_at_most: a bound of it; None where none is known.
        leaves: the bytes of each table of a partitioned one, by name.
        builds: how many concurrent builds it takes.
    """

    table_bytes: int
    size: Size
    wal_bytes: int | None = None
    wal_at_most: int | None = None
    is_hash: bool = False
    leaves: Mapping[str, int] = {}
    builds: int = 1

    @property
    def work(self) -> int:
        """The work of the build, as in ``indexer.pace.rate``; of an index of unknown size that on its table."""
        return work_of(self.table_bytes, self.size.bytes or 0, self.is_hash)


class Disk(NamedTuple):
    """A file system of the database.

    Attributes:
        device: tells two of them apart.
        free: the bytes that are free.
        holds: what a run writes there: data, sort or wal.
    """

    device: int
    free: int
    holds: frozenset[str]


class Prediction(NamedTuple):
    """What the build of one index is expected to take; None is not known.

    Attributes:
        bytes_at_most: a bound where ``bytes`` cannot be told.
        seconds: without waits for other sessions; None where no build was measured on this database.
        seconds_at_least: with ``seconds_at_most`` the range.
        sort_bytes: the temporary files of the build.
        work: as in ``indexer.pace.rate``.
        why: why its size cannot be told, as the end of a sentence.
    """

    name: str
    bytes: int | None
    bytes_at_most: int | None
    seconds: float | None
    seconds_at_least: float
    seconds_at_most: float
    wal_bytes: int | None
    sort_bytes: int | None
    work: int
    table_bytes: int
    is_hash: bool = False
    why: str = ""


class Forecast(NamedTuple):
    """What a run is expected to take.

    Attributes:
        bytes: those of all indexes whose size can be told.
        bytes_at_most: a bound for all indexes; None where one of them has none.
        unknown: the indexes whose size cannot be told.
        seconds: as for a prediction; with builds side by side as far as they were measured so.
        sort_bytes: the temporary files that exist at the same time, at most.
        source: how the seconds are known.
        warnings: what there is no room for.
        leaves: the bytes of each table of the partitioned ones, by name.
    """

    predictions: Mapping[str, Prediction]
    bytes: int
    bytes_at_most: int | None
    unknown: tuple[str, ...]
    seconds: float | None
    seconds_at_least: float
    seconds_at_most: float
    wal_bytes: int
    wal_at_most: int | None
    sort_bytes: int
    source: str
    warnings: tuple[str, ...] = ()
    leaves: Mapping[str, int] = {}

    @property
    def matters(self) -> bool:
        """Whether the run takes more than a moment, or that is not known."""
        return (
            self.bytes >= MATTERS
            or self.seconds_at_most >= AT_LEAST
            or (bool(self.unknown) and self.seconds_at_most > 0)
        )

    @property
    def work(self) -> dict[str, int]:
        """The work of each build, by the name of the index."""
        return {name: each.work for name, each in self.predictions.items()}


class Predictor(Protocol):
    """Reads what a database knows of indexes that do not exist yet. Changes nothing."""

    def needs(self, steps: Sequence[Step]) -> dict[str, Need]:
        """Return what the indexes of these steps will need, by name."""

    def disks(self) -> Sequence[Disk]:
        """Return the file systems of the database, as far as it is certain which these are."""


def forecast_of(needs: Mapping[str, Need], rate: Rate, jobs: int | None, disks: Iterable[Disk] = ()) -> Forecast:
    """Return what a run is expected to take.

    Args:
        jobs: how many builds may run at once; None where the load decides.
    """
    predictions = {name: _prediction(name, need, rate) for name, need in needs.items()}
    each, overlap = list(predictions.values()), rate.overlap if jobs != 1 else 1.0
    unknown = tuple(one.name for one in each if one.bytes is None)
    bounds = [one.bytes if one.bytes is not None else one.bytes_at_most for one in each]
    wal_bounds = [need.wal_at_most if need.wal_bytes is None else need.wal_bytes for need in needs.values()]
    sorted_bytes = sorted((one.sort_bytes or 0 for one in each), reverse=True)
    found = Forecast(
        predictions=predictions,
        bytes=sum(one.bytes or 0 for one in each),
        bytes_at_most=_total(bounds),
        unknown=unknown,
        seconds=None if rate.usual is None else overlap * sum(one.seconds or 0 for one in each),
        seconds_at_least=sum(one.seconds_at_least for one in each) * min(overlap, 1 / (jobs or AT_ONCE)),
        seconds_at_most=sum(one.seconds_at_most for one in each),
        wal_bytes=sum(need.wal_bytes or 0 for need in needs.values()),
        wal_at_most=_total(wal_bounds),
        sort_bytes=sum(sorted_bytes[: jobs or AT_ONCE]),
        source=rate.source,
        leaves={table: size for need in needs.values() for table, size in need.leaves.items()},
    )
    return found._replace(warnings=tuple(_shortages(found, disks)))


def _prediction(name: str, need: Need, rate: Rate) -> Prediction:
    size, work, least = need.size, need.work, need.builds * EACH
    most = work_of(need.table_bytes, size.bytes or size.at_most or 0, need.is_hash)
    return Prediction(
        name=name,
        bytes=size.bytes,
        bytes_at_most=size.at_most,
        seconds=None if rate.usual is None or not work else least + work * rate.usual,
        seconds_at_least=least + work * (rate.usual or FASTEST) if work else 0.0,
        seconds_at_most=least + (rate.at_most(most) if rate.usual is not None else most * SLOWEST) if most else 0.0,
        wal_bytes=need.wal_bytes,
        sort_bytes=size.sort_bytes,
        work=work,
        table_bytes=need.table_bytes,
        is_hash=need.is_hash,
        why=size.why,
    )


def _total(bounds: Sequence[int | None]) -> int | None:
    known = [each for each in bounds if each is not None]
    return sum(known) if len(known) == len(bounds) else None


def _shortages(found: Forecast, disks: Iterable[Disk]) -> Iterable[str]:
    """Yield a warning for each disk that has less room than the run needs there."""
    needed = {DATA: found.bytes, SORT: found.sort_bytes, WAL: found.wal_bytes}
    named = {DATA: "for the indexes", SORT: "to sort in", WAL: "of WAL"}
    for disk in disks:
        parts = [(needed[kind], named[kind]) for kind in (DATA, SORT, WAL) if kind in disk.holds and needed[kind]]
        total = sum(size for size, _ in parts)
        if total > disk.free:
            listed = ", ".join(f"{in_bytes(size)} {what}" for size, what in parts)
            whole = f"about {in_bytes(total)}" + (f" ({listed})" if len(parts) > 1 else f" {parts[0][1]}")
            yield f"The run needs {whole}, and {in_bytes(disk.free)} are free on that disk."
