"""What a database knows about an index and its table: the size after a rebuild follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from indexer.spec import BTREE
from indexer.tuples import NamedTuple

HASH = "hash"
ALL_ROWS = (BTREE, "gist", "spgist", "bloom")  # the access methods whose indexes have a tuple for each row


class Column(NamedTuple):
    """A column of an index, by the statistics of ANALYZE.

    Attributes:
        length: the bytes of each value; None if they differ.
        width: the bytes of a value on average.
        distinct: the number of different values; if negative, divided by the rows.
        nulls: the share of NULLs. These three are None without statistics that our role may see.
        commonest: the share of rows that have the commonest value; None where none is common.
        is_key: whether it is part of the key, and not only stored beside it.
    """

    length: int | None
    width: float | None = None
    distinct: float | None = None
    nulls: float | None = None
    commonest: float | None = None
    is_key: bool = True


class Statistics(NamedTuple):
    """What the server has counted or estimated, and when. Times are UTC; None is never or not known.

    Attributes:
        tuples: those of the index.
        index_pages: the pages of the index when its tuples were counted.
        rows: those of the table.
        pages: the pages of the table when its rows were counted.
        pages_now: its pages now.
        live: its rows as the counters of changes have them, which a crash sets to zero.
        dead: its deleted rows that no VACUUM has removed.
        modified: the rows changed since ``analyzed_at``.
        counted_since: when the counters began.
    """

    tuples: int | None
    index_pages: int
    rows: int | None
    pages: int
    pages_now: int
    live: int
    dead: int
    modified: int
    analyzed_at: datetime | None
    vacuumed_at: datetime | None
    counted_since: datetime | None


class Facts(NamedTuple):
    """An index that queries can use.

    Attributes:
        bytes: None where SQLite was built without dbstat.
        page: the bytes of a page.
        fillfactor: the per cent of a page that a build fills.
        merges: whether a build stores equal keys once.
        plain: whether its key has columns only, of all rows.
        definition: as in a baseline.
        tuples: where the database counts them, and does not estimate them.
        packed: the bytes that a rebuild would leave, where reading the size tells.
        shares: the share of the rows in each index of those that the database stores instead, as one for each shard.
    """

    name: str
    bytes: int | None
    method: str = BTREE
    page: int = 8192
    fillfactor: int = 90
    merges: bool = True
    partial: bool = False
    plain: bool = True
    definition: str | None = None
    server_version: str = ""
    columns: tuple[Column, ...] = ()
    statistics: Statistics | None = None
    tuples: int | None = None
    packed: int | None = None
    shares: tuple[float, ...] = (1.0,)

    @property
    def has_all_rows(self) -> bool:
        """Whether it has a tuple for each row of its table."""
        return self.method in ALL_ROWS and not self.partial

    @property
    def major(self) -> int:
        """The major version of the server."""
        return major(self.server_version)


class Inside(NamedTuple):
    """What reading the whole index has told, as pgstattuple's functions count it.

    Attributes:
        leaves: the pages that have entries; of a hash index its overflow pages.
        density: the used share of them; None for a hash index.
        buckets: the first pages of a hash index's buckets; None for a B-tree.
        tuples: the live entries of a hash index.
    """

    leaves: int
    density: float | None = None
    buckets: int | None = None
    tuples: int | None = None


class FactsReader(Protocol):
    """Reads the facts of one database. SELECTs only."""

    def read(self, names: Sequence[str]) -> dict[str, list[Facts]]:
        """Return the facts of the usable indexes of these names, by name.

        Where the database stores an index as several, such as one for each partition, those of each of these.
        """

    def look_inside(self, facts: Facts) -> Inside | str:
        """Read the whole index; return why that is not possible, as the end of a sentence, where it is not."""


def major(version: str) -> int:
    """Return the first number of a version; 0 if there is none."""
    first = version.partition(".")[0]
    return int(first) if first.isdigit() else 0
