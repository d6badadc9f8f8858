"""Leftovers of cancelled statements on PostgreSQL, made by cancelling real ones."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest
from command import ask, connect, execute
from scenes import ByHand, transaction, until, until_dropping

BUILD_STATE = "SELECT indisvalid, indisready, indislive FROM pg_index WHERE indexrelid = 'public.{name}'::regclass"


def cancel(url: str, statement: str, held_up_by: str) -> None:
    """Send a concurrent statement that has to wait for an open transaction, until the server cancels it."""
    with transaction(url, held_up_by), closing(connect(url)) as session:
        session.cursor().execute("SET lock_timeout = '100ms'")
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            session.cursor().execute(statement)


def not_ready(url: str, name: str, on: str) -> None:
    """Cancel a build before its first scan: nothing is written to the index."""
    table = on.partition(" ")[0]
    cancel(url, f"CREATE INDEX CONCURRENTLY {name} ON {on}", f"INSERT INTO {table} (id) VALUES (-1)")


def not_valid(url: str, name: str, table: str) -> None:
    """Cancel a drop in its first wait: no query uses the index, but writes still go to it."""
    cancel(url, f"DROP INDEX CONCURRENTLY {name}", f"SELECT count(*) FROM {table}")


def not_live(url: str, name: str, table: str) -> None:
    """Cancel a drop in its second wait: neither queries nor writes use the index."""
    with transaction(url, f"SELECT count(*) FROM {table}") as first:
        by_hand = ByHand(url, f"DROP INDEX CONCURRENTLY {name}")
        until_dropping(url)
        with transaction(url, f"SELECT count(*) FROM {table}"):  # too late for the first wait, in time for the second
            first.end()
            until(lambda: flags(url, name) == (False, False, False), f"{name} to be not live")
            execute(url, f"SELECT pg_cancel_backend({by_hand.pid})")
            by_hand.end()
    assert by_hand.error


def flags(url: str, name: str) -> tuple[bool, ...]:
    """Return whether an index is valid, ready and live."""
    (found,) = ask(url, BUILD_STATE.format(name=name))
    return found


def ccnew(url: str, name: str, table: str) -> str:
    """Cancel a REINDEX CONCURRENTLY before its swap, and return the name of the leftover."""
    cancel(url, f"REINDEX INDEX CONCURRENTLY {name}", f"INSERT INTO {table} (id) VALUES (-1)")
    return f"{name}_ccnew"


def ccold(url: str, name: str, table: str) -> str:
    """Cancel a REINDEX CONCURRENTLY after its swap, and return the name of the leftover."""
    cancel(url, f"REINDEX INDEX CONCURRENTLY {name}", f"SELECT count(*) FROM {table}")
    return f"{name}_ccold"
