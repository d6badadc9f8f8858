"""Detects transaction pooling, under which session locks and settings pass between clients, and refuses to run."""

from __future__ import annotations

import psycopg2

from indexer.errors import PreflightFailed
from indexer.postgres.session.builders import Builder
from indexer.postgres.session.connection_limits import refusal
from indexer.postgres.session.database import OnlineDatabase

PID = "SELECT pg_catalog.pg_backend_pid()"
CHECKS = 12  # among busy clients it is chance which session a statement gets, so one check may miss the pooler
HINT = "Give the server's own address: MIGRATION_DATABASE_URL wins over DATABASE_URL, and so does --database-url."


def refuse_transaction_pooling(database: OnlineDatabase) -> None:
    """Apply the settings to the session behind a pooler, unless the pooler shares it with other clients.

    A second client opens a transaction. If that gets the server process of our session, or moves our session to another
    process, the pooler shares processes by transaction or by statement.

    Raises:
        PreflightFailed: the pooler does.
        NoSession: the server refuses the second client.
    """
    try:
        other = database.open_builder()
    except psycopg2.Error as error:
        raise refusal(database, error) from error
    try:
        pid = _pid(database)
        is_shared = any(_is_shared(database, other, pid) for _ in range(CHECKS))
    except psycopg2.Error:  # statement pooling refuses BEGIN
        is_shared = True
    finally:
        other.close()
    if is_shared:
        problem = "the pooler shares its sessions between clients (transaction or statement pooling)"
        raise PreflightFailed([problem], HINT)
    database.apply_settings()


def _is_shared(database: OnlineDatabase, other: Builder, pid: int) -> bool:
    other.execute("BEGIN")
    (other_pid,) = other.execute(PID)
    other.execute("ROLLBACK")  # before our next statement: a pool of one has no second session
    return bool(other_pid == pid or _pid(database) != pid)


def _pid(database: OnlineDatabase) -> int:
    return int(database.execute_sql(PID).fetchone()[0])
