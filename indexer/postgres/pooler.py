"""Behind a transaction pooler a session lock is anybody's, and SET is set on somebody else: found out, and refused."""

from __future__ import annotations

import psycopg2

from indexer.errors import PreflightFailed
from indexer.postgres.database import Builder, OnlineDatabase, opened
from indexer.postgres.slots import refusal

PID = "SELECT pg_catalog.pg_backend_pid()"
LOOKS = 12  # beside busy clients it is chance which session we get: one look may be lucky
HINT = "Give the server's own address: MIGRATION_DATABASE_URL wins over DATABASE_URL, and so does --database-url."


def refuse_transaction_pooling(database: OnlineDatabase) -> None:
    """Settle on a session of our own, or say why there is none. Nothing has been set before this.

    A second client opens a transaction. If that gets our server process, or moves us to another one, the pooler
    hands processes out by transaction or by statement.

    Raises:
        PreflightFailed: it does.
        NoSession: there is no second client to be had.
    """
    try:
        other = opened(database)
    except psycopg2.Error as error:
        raise refusal(database, error) from error
    try:
        shared = _is_shared(database, other)
    except psycopg2.Error:  # statement pooling refuses BEGIN
        shared = True
    finally:
        other.close()
    if shared:
        problem = "a pooler stands before the server and hands its sessions out by transaction, or by statement"
        raise PreflightFailed([problem], HINT)
    database.settle()


def _is_shared(database: OnlineDatabase, other: Builder) -> bool:
    ours = _pid(database)
    return any(_meets(database, other, ours) for _ in range(LOOKS))


def _meets(database: OnlineDatabase, other: Builder, ours: int) -> bool:
    other.execute("BEGIN")
    (theirs,) = other.execute(PID)
    other.execute("ROLLBACK")  # before we ask again: a pool of one has no second session
    return bool(theirs == ours or _pid(database) != ours)


def _pid(database: OnlineDatabase) -> int:
    return int(database.execute_sql(PID).fetchone()[0])
