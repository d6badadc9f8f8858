"""Changes that the server has counted, before a test reads its counters."""

from __future__ import annotations

from command import execute
from scenes import until

OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
READ = "SELECT pg_stat_get_live_tuples('pg_class'::regclass)"
READ_AFTER = "SELECT pg_stat_get_snapshot_timestamp() > '{ended}'"  # NULL from PostgreSQL 15 on, which reads no file


def change(url: str, *statements: str) -> None:
    """Execute statements, each in a session of its own: a session tells what it has changed when it ends."""
    for statement in statements:
        execute(url, statement)
        until(lambda: execute(url, OTHERS) == [(0,)], "the end of other sessions")
    ended = execute(url, "SELECT clock_timestamp()::text")[0][0]
    read = ("BEGIN", READ, READ_AFTER.format(ended=ended))
    until(lambda: execute(url, *read) != [(False,)], "counters that are newer than the changes")
