"""How often indexes are used, as the servers have counted it, and since when. Pure: no database here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from indexer.catalog import Place
from indexer.records.baseline import Checked
from indexer.text import counted
from indexer.tuples import NamedTuple

LONGEST_CHECK, SAME_TIME = timedelta(minutes=10), timedelta(seconds=5)  # of a check, and of two clocks
FEWEST_BLOCKS = 100  # below which their hit ratio says nothing
BUILT, RESET, STARTED = "built", "reset", "started"  # what a count begins with
BEGINNINGS = {
    BUILT: "when it was built",
    RESET: "when the counters of the database began",  # as after a reset; before version 15 also after the first use
    STARTED: "when the server began to count, as it does after a crash",
}


class IndexCounts(NamedTuple):
    """What one server has counted of one index.

    Attributes:
        entries: those that scans have read from it.
        hits, reads: its blocks that were found in shared buffers, and those that were not.
        last_scan: the time of the last scan, in UTC; None if there was none, or before PostgreSQL 16.
        age: how many transactions ago it was made; None if it came with a copy of another database.
    """

    scans: int
    entries: int
    hits: int
    reads: int
    last_scan: datetime | None = None
    age: int | None = 0


class TableCounts(NamedTuple):
    """What one server has counted of one table, and the columns of each of its foreign keys.

    Attributes:
        inserts: rows inserted, each with an entry in every index.
        updates: rows updated with new entries in every index: not those that are heap-only (HOT).
    """

    inserts: int
    updates: int
    foreign_keys: tuple[tuple[str, ...], ...] = ()


class ServerCounts(NamedTuple):
    """What one server has counted of the indexes of some tables. Times are UTC.

    Attributes:
        identity: distinguishes the server from every other one.
        version: such as "15.10".
        now: the time of the server.
        started: since when it counts at all: its first start, or a crash, which loses what was counted before.
        reset: when the counters of the database were last reset, all or any of them.
        is_counting: whether it counts (track_counts).
        in_recovery: whether it is a standby.
        standbys: how many standbys follow it directly.
        records: how many transactions ago the record of each revision was written, by revision.
        members: the identities of all nodes of a cluster, whose counts are added; ``started`` and ``reset`` are the
            latest of all nodes.
        unanswered: which of them did not answer, one sentence each.
    """

    place: Place
    identity: str
    version: str
    now: datetime
    started: datetime | None
    reset: datetime | None
    is_counting: bool
    in_recovery: bool
    standbys: int
    indexes: Mapping[str, IndexCounts]
    tables: Mapping[str, TableCounts]
    records: Mapping[str, int] = {}
    members: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = ()

    def is_older(self, index: str, revision: str) -> bool:
        """Return whether an index was made before the record of a revision was written.

        One that was made anew by hand was not, nor is any that was restored from a dump or copied with its database.
        """
        counts, written = self.indexes.get(index), self.records.get(revision)
        return counts is not None and counts.age is not None and written is not None and counts.age >= written

    @property
    def since(self) -> datetime | None:
        """Since when nothing that was counted is lost; None where that is not known."""
        return max(filter(None, (self.started, self.reset)), default=None)


class Usage(NamedTuple):
    """The use of one index, summed up over the servers that were asked.

    Attributes:
        since: since when every scan on these servers is counted, in UTC; None where that is not known.
        begun_by: what the count begins with: the index was built, counters were reset, or the server began to count.
        is_known_built: whether the time of its build is known; if not, it may be younger than ``since``.
        asked: how many servers have counted.
        own: how many of the scans were deep checks of this tool, as far as that is known.
    """

    scans: int
    entries: int
    hits: int
    reads: int
    last_scan: datetime | None
    since: datetime | None
    begun_by: str
    is_known_built: bool
    asked: int
    own: int = 0

    @property
    def by_others(self) -> int:
        """The scans that were no deep checks."""
        return max(self.scans - self.own, 0)

    @property
    def tuples_per_scan(self) -> float | None:
        """The entries that a scan has read on average; None without a scan, or where deep checks have read some."""
        return self.entries / self.scans if self.scans and not self.own else None

    @property
    def hit_ratio(self) -> float | None:
        """The share of its blocks that were found in shared buffers; None if too few were read to tell."""
        blocks = self.hits + self.reads
        return self.hits / blocks if blocks >= FEWEST_BLOCKS else None


def usage_of(name: str, servers: Sequence[ServerCounts], built_at: datetime | None) -> Usage | None:
    """Return the use of an index; None if no server that counts has it.

    Args:
        built_at: when it was built, in UTC; None where that is not known.
    """
    counting = [server for server in servers if server.is_counting and name in server.indexes]
    if not counting:
        return None
    counts = [server.indexes[name] for server in counting]
    last_scans = [each.last_scan for each in counts if each.last_scan]
    since, begun_by = _beginning(counting, built_at)
    return Usage(
        scans=sum(each.scans for each in counts),
        entries=sum(each.entries for each in counts),
        hits=sum(each.hits for each in counts),
        reads=sum(each.reads for each in counts),
        last_scan=max(last_scans, default=None),
        since=since,
        begun_by=begun_by,
        is_known_built=built_at is not None,
        asked=len(counting),
    )


def summed_checks(checks: Sequence[Checked]) -> Checked | None:
    """Return the last of these deep checks with the scans of all; None if there are none.

    Args:
        checks: those of an index and, where its table is partitioned, of the indexes of its leaves.
    """
    if not checks:
        return None
    last = max(checks, key=lambda each: each.at)
    began = [each.scans_from for each in checks if each.scans_from]
    return last._replace(scans=sum(each.scans for each in checks), scans_from=min(began, default=None))


def without_checks(usage: Usage, checked: Checked | None) -> Usage:
    """Return the use of an index without the scans of its deep checks, if all of them were counted."""
    if checked is None or not checked.scans or checked.scans_from is None:
        return usage
    if usage.since is None or checked.scans_from < usage.since:
        return usage
    usage = usage._replace(own=checked.scans)
    last, begin, end = usage.last_scan, checked.at - LONGEST_CHECK, checked.at + SAME_TIME
    was_check = last is not None and begin <= last <= end
    return usage._replace(last_scan=None) if was_check or not usage.by_others else usage


def _beginning(servers: Iterable[ServerCounts], built_at: datetime | None) -> tuple[datetime | None, str]:
    """Return since when every scan on these servers is counted, and what that begins with."""
    moments: list[tuple[datetime, str]] = [(built_at, BUILT)] if built_at else []
    for server in servers:
        if server.since is None:
            return None, STARTED
        moments += [(each, by) for each, by in ((server.started, STARTED), (server.reset, RESET)) if each]
    since, begun_by = max(moments, key=lambda moment: moment[0])
    # The time of a build is recorded without fractions of a second, so a server that began in that second began before.
    return since, BUILT if since.replace(microsecond=0) == built_at else begun_by


def unasked(servers: Sequence[ServerCounts]) -> str:
    """Return which servers of the same cluster were not asked, as the end of a sentence; empty if all were.

    The first server is the one that the command works on.
    """
    first, *others = servers
    if first.in_recovery:
        return "" if not all(server.in_recovery for server in others) else "the primary was not asked"
    missing = first.standbys - sum(server.in_recovery for server in others)
    if missing <= 0:
        return ""
    was = "was" if missing == 1 else "were"
    return f"{counted(missing, 'standby', 'standbys')} {was} not asked"
