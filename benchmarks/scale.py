"""What each of the ten indexes costs at several sizes: time, processor, memory, disk, WAL. Each is built alone.

python -m benchmarks.scale                                     # 1, 3 and 10 million activities: about half an hour
python -m benchmarks.scale --rows 100000 300000 --results /tmp  # whether it works
python -m benchmarks.scale --rows 1000000 --standby             # how far a standby on the same machine is behind
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import psycopg2

from benchmarks import results
from benchmarks.databases import SETTINGS, Server, server
from benchmarks.load import writing
from indexer.options import DEFAULTS
from indexer.postgres.run.tuning import Means, settings_for
from indexer.spec import Index
from migrate_10992629d68e import INDEXES
from tests.support import postgres_server

SIZES = (1_000_000, 3_000_000, 10_000_000)
MEMORY = Means(maintenance=64 * 1024, buffers=512 * 1024, workers="0")  # no workers, so that one process does all
TICKS = os.sysconf("SC_CLK_TCK")
COUNTED = 1.0  # seconds after which a server has counted what a session that has ended did
OBSERVED = 0.02  # seconds between two looks at the memory of the process that builds

TABLE = """
    SELECT c.reltuples::pg_catalog.int8,
           pg_catalog.pg_relation_size(c.oid)
      FROM pg_catalog.pg_class AS c
     WHERE c.oid = %s::pg_catalog.regclass
"""
TEMPORARY = """
    SELECT pg_catalog.pg_stat_get_db_temp_bytes(d.oid)
      FROM pg_catalog.pg_database AS d
     WHERE d.datname = pg_catalog.current_database()
"""
POSITION = "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::pg_catalog.int8"
LAG = """
    SELECT COALESCE(pg_catalog.max(pg_catalog.pg_wal_lsn_diff(
               pg_catalog.pg_current_wal_insert_lsn(), r.replay_lsn)), 0)::pg_catalog.int8
      FROM pg_catalog.pg_stat_replication AS r
"""
SIZE = "SELECT pg_catalog.pg_relation_size(%s::pg_catalog.regclass)"


class Build(NamedTuple):
    """One build. Sizes are bytes; None where the system does not show them.

    Attributes:
        kind: concurrently, plain, or with which other load it ran.
        processor: the seconds of the process that built it.
        memory: the largest part of its memory that it does not share with other processes.
        lag_bytes: the most WAL that a standby had not replayed yet; None without one.
        lag_seconds: how long the standby took to replay the rest after the build.
    """

    index: str
    table: str
    kind: str
    rows: int
    table_bytes: int
    bytes: int
    seconds: float
    processor: float | None
    wal_bytes: int
    temporary_bytes: int
    written_bytes: int | None
    memory: int | None
    lag_bytes: int | None = None
    lag_seconds: float | None = None


class Process(NamedTuple):
    """What Linux counts of a process."""

    seconds: float
    written: int
    private: int


def main() -> None:
    """Run python -m benchmarks.scale."""
    parser = argparse.ArgumentParser("python -m benchmarks.scale", description=__doc__)
    add = parser.add_argument
    add("--rows", type=int, nargs="+", default=SIZES, metavar="N", help="activities; several sizes")
    add("--database-url", metavar="URL", help="a server on this machine to create databases on, else a temporary one")
    add("--standby", action="store_true", help="use a temporary primary with a standby, and measure its lag")
    add("--results", type=Path, default=results.FOLDER, metavar="FOLDER", help="where scale.json is written")
    arguments = parser.parse_args()
    found: list[Build] = []
    name = "scale-standby.json" if arguments.standby else "scale.json"
    for rows in arguments.rows:
        with _servers(arguments.standby, arguments.database_url) as url, server(url, rows) as databases:
            for build in measure(databases, arguments.standby):
                found.append(build)
                print(_line(build), flush=True)
                _write(arguments.results / name, databases, found)


@contextmanager
def _servers(with_standby: bool, url: str | None) -> Iterator[str | None]:
    """Yield the URL of a temporary primary with a standby, if one is asked for, else the given URL."""
    if not with_standby:
        yield url
        return
    from tests.support.standby_server import running_pair

    postgres_server.SETTINGS.update(SETTINGS)
    with running_pair() as pair, closing(psycopg2.connect(pair.primary)) as connection:
        connection.autocommit = True
        for statement in ("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_catalog.pg_reload_conf()"):
            connection.cursor().execute(statement)
        yield pair.primary


def measure(databases: Server, with_standby: bool = False) -> Iterator[Build]:
    """Yield the builds of each index: concurrently, plain, and concurrently beside a writer for those of activity."""
    url = postgres_server.with_database(databases.url, databases.template(None))  # a copy would need as much disk again
    for index in INDEXES:
        for concurrently in (True, False):
            yield _build(url, index, concurrently, with_standby)
    if with_standby:
        return
    with writing(url, pause=0.001):
        for index in (each for each in INDEXES if each.table == "activity"):
            yield _build(url, index, True)._replace(kind="beside a writer")


def _build(url: str, index: Index, concurrently: bool, with_standby: bool = False) -> Build:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        rows, table_bytes = _row(cursor, TABLE, index.table)
        (temporary,) = _row(cursor, TEMPORARY)
        cursor.execute("CHECKPOINT")
        for name, value in settings_for(index, DEFAULTS, MEMORY).items():
            cursor.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
        (position,) = _row(cursor, POSITION)
        pid, started = connection.info.backend_pid, time.monotonic()
        before = _process(pid)
        with _largest(pid) as memory, _observed_lag(url if with_standby else None) as lags:
            cursor.execute(_statement(index, concurrently))
        seconds, after = time.monotonic() - started, _process(pid)
        replayed = _until_replayed(cursor) if with_standby else None
        (wal,), (size,) = _row(cursor, POSITION), _row(cursor, SIZE, index.name)
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f"DROP INDEX {index.name}")
        time.sleep(COUNTED)
        (temporary_after,) = _row(cursor, TEMPORARY)
    return Build(
        index=index.name,
        table=index.table,
        kind="concurrently" if concurrently else "plain",
        rows=rows,
        table_bytes=table_bytes,
        bytes=size,
        seconds=round(seconds, 3),
        processor=round(after.seconds - before.seconds, 2) if before and after else None,
        wal_bytes=wal - position,
        temporary_bytes=temporary_after - temporary,
        written_bytes=after.written - before.written if before and after else None,
        memory=max(memory, default=None),
        lag_bytes=max(lags, default=None),
        lag_seconds=replayed,
    )


def _until_replayed(cursor: Any) -> float:
    """Return the seconds until the standby has replayed all."""
    started = time.monotonic()
    while _row(cursor, LAG)[0]:
        time.sleep(OBSERVED)
    return round(time.monotonic() - started, 3)


def _statement(index: Index, concurrently: bool) -> str:
    declared = index.postgresql
    key = ", ".join(map(str, declared.key))
    where = f" WHERE {declared.predicate}" if declared.predicate else ""
    manner = "CONCURRENTLY " if concurrently else ""
    return f"CREATE INDEX {manner}{index.name} ON {index.table} USING {declared.method} ({key}){where}"


def _row(cursor: Any, query: str, *parameters: str) -> Sequence[Any]:
    cursor.execute(query, parameters or None)
    row: Sequence[Any] = cursor.fetchone()
    return row


def _process(pid: int) -> Process | None:
    """Return what Linux has counted of a process; None where that cannot be read."""
    folder = Path("/proc") / str(pid)
    with suppress(OSError, ValueError, IndexError, KeyError):
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        written = dict(line.split(": ") for line in (folder / "io").read_text().splitlines())["write_bytes"]
        resident, shared = (int(pages) for pages in (folder / "statm").read_text().split()[1:3])
        private = (resident - shared) * os.sysconf("SC_PAGE_SIZE")
        return Process((int(fields[11]) + int(fields[12])) / TICKS, int(written), private)
    return None


@contextmanager
def _observed_lag(url: str | None) -> Iterator[list[int]]:
    """Yield a list that holds the bytes of WAL that the standby has not replayed at moments during the block."""
    if url is None:
        yield []
        return
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        with _observed(lambda: _row(cursor, LAG)[0]) as found:
            yield found


@contextmanager
def _largest(pid: int) -> Iterator[list[int]]:
    """Yield a list that holds the private memory of a process at moments during the block."""

    def private() -> int:
        process = _process(pid)
        return process.private if process else 0

    with _observed(private) as found:
        yield found


@contextmanager
def _observed(look: Callable[[], int]) -> Iterator[list[int]]:
    """Yield a list that holds what a look at something returned at moments during the block."""
    found: list[int] = []
    ended = Event()

    def observe() -> None:
        while not ended.wait(OBSERVED):
            found.append(look())

    thread = Thread(target=observe)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _line(build: Build) -> str:
    rate = build.table_bytes / build.seconds / 2**20
    sizes = ", ".join(
        f"{name} {number / 2**20:,.1f} MB"
        for name, number in (
            ("index", build.bytes),
            ("WAL", build.wal_bytes),
            ("sort", build.temporary_bytes),
            ("memory", build.memory or 0),
            ("lag", build.lag_bytes or 0),
        )
    )
    processor = "" if build.processor is None else f" ({build.processor:.2f} s of a processor)"
    what = f"{build.rows:>11,} {build.index:40} {build.kind:16}"
    return f"{what} {build.seconds:8.2f} s{processor}, {rate:.0f} MB/s, {sizes}"


def _write(path: Path, databases: Server, builds: Sequence[Build]) -> None:
    document = {
        "measured_on": results.description(),
        "settings": databases.settings(),
        "builds": [build._asdict() for build in builds],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
