"""Opens a database, named by its URL or by the user's own peewee database, at once or as soon as it can be reached."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from indexer.errors import Held, Unreachable, UsageError
from indexer.events import Report, ServerAwaited, silent
from indexer.migrator import CatalogMigrator, Context
from indexer.options import DEFAULTS, Options
from indexer.signals import Stop
from indexer.urls import Address, split_scheme

if TYPE_CHECKING:
    from peewee import Database, DatabaseProxy

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two attempts to connect

# Subclasses of peewee's that stand for something else: another server, and files that only they can read.
OTHERS = {"CockroachDatabase", "SqlCipherDatabase"}
SUPPORTED = "Pass a URL, a PostgresqlDatabase or a SqliteDatabase of peewee."


def connect(
    where: str | Database | DatabaseProxy,
    schema: str | None = None,
    read_only: bool = False,
    report: Report = silent,
    stop: Stop | None = None,
    within: float | None = None,
) -> CatalogMigrator:
    """Open sessions on a database and return its migrator, which is a context manager that closes them.

    The user's own peewee database and its connections are left as they are: the sessions are others, opened with its
    parameters. Only of a SQLite database in memory there can be no other session: that one works on the connection that
    is open in this thread.

    Args:
        where: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, ``postgresql://user:password@host/name``, or a
            ``PostgresqlDatabase`` or ``SqliteDatabase`` of peewee, or a ``DatabaseProxy`` for one.
        schema: the PostgreSQL schema of the tables; None looks for them on the search path.
        read_only: the session can change nothing, and a missing SQLite file is not created.
        report: called when the server gives no answer.
        stop: ends a statement that gets no answer.
        within: how many seconds PostgreSQL may take, if that is less than the URL allows; never less than two.

    Raises:
        UsageError: the URL cannot be read, or its scheme or the peewee database is not supported.
        Unreachable: the server, database, role or file does not exist, or refuses the connection.
    """
    context = Context(DEFAULTS, report, stop or Stop())
    if not isinstance(where, str):
        return _connect_beside(where, schema, read_only, context, within)
    family, pooled, rest = split_scheme(where)
    if family == "sqlite":
        from indexer.sqlite.connect import open_sqlite

        return open_sqlite(f"sqlite://{rest}", schema, read_only, context)
    from indexer.postgres.connect import open_postgres
    from indexer.postgres.session.url import parameters_of

    return open_postgres(parameters_of(rest, pooled), schema, read_only, context, within)


def described(url: str) -> Address:
    """Return how the database of a URL is named to the user; raise UsageError if the URL cannot be read."""
    family, pooled, rest = split_scheme(url)
    if family == "sqlite":
        from indexer.sqlite import connect as sqlite

        return sqlite.described(f"sqlite://{rest}")
    from indexer.postgres.session import url as postgres

    return postgres.described(postgres.parameters_of(rest, pooled))


def _connect_beside(
    database: Any, schema: str | None, read_only: bool, context: Context, within: float | None
) -> CatalogMigrator:
    """Open sessions beside those of a peewee database."""
    from peewee import PostgresqlDatabase, SqliteDatabase

    database = getattr(database, "obj", database)  # of a proxy
    if database is None or getattr(database, "deferred", False):
        raise UsageError("The database object is not initialised.", "Initialise it before it is passed to connect().")
    context = context._replace(application=database)
    kinds = {each.__name__ for each in type(database).__mro__}
    if isinstance(database, SqliteDatabase) and not kinds & OTHERS:
        from indexer.sqlite.connect import open_beside

        return open_beside(database, schema, read_only, context)
    if isinstance(database, PostgresqlDatabase) and not kinds & OTHERS:
        from indexer.postgres.connect import open_postgres
        from indexer.postgres.session.url import parameters_of_database

        parameters = parameters_of_database(database)
        return open_postgres(parameters, schema, read_only, context, within, source="the database object")
    raise UsageError(f"{type(database).__name__} is not supported.", SUPPORTED)


def connect_patiently(
    where: str | Database | DatabaseProxy,
    schema: str | None,
    seconds: float,
    report: Report,
    stop: Stop,
    read_only: bool = False,
    options: Options | None = None,
) -> CatalogMigrator:
    """Connect, and retry while the reason can heal; a wrong password, for example, fails at once.

    Args:
        seconds: how long to retry.
        report: called with each new reason to wait.
        options: how long to wait for a SQLite file that another process has locked, if not for ``seconds``.

    Raises:
        UsageError, Unreachable: as ``connect``.
        Locked, Blocked: the file was locked for too long.
        Interrupted: a signal ended the wait.
    """
    started = time.monotonic()
    pause, reported = SHORTEST_PAUSE, ""
    while True:
        try:
            with stop.ending_at_once():
                remaining = started + seconds - time.monotonic() if seconds else None
                return connect(where, schema, read_only, report, stop, remaining)
        except Unreachable as error:
            waited = time.monotonic() - started
            if isinstance(error, Held) and options:
                options.check_wait(waited, f"another process has locked {getattr(where, 'database', where)}")
            elif not error.can_heal or waited + pause > seconds:
                if isinstance(error, Held) and seconds:
                    raise error.in_vain() from error
                raise
            if error.message != reported:
                report(ServerAwaited(error.message))
                reported = error.message
        stop.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
