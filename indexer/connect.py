"""From a database URL to the migrator that works on it."""

from __future__ import annotations

import time

from indexer.errors import Held, Unreachable, UsageError
from indexer.events import Report, ServerAwaited, silent
from indexer.migrator import CatalogMigrator
from indexer.options import Options
from indexer.signals import Stop

# Schemes of libpq, peewee (playhouse.db_url) and SQLAlchemy; after a plus comes a driver, or peewee's pool.
FAMILIES = {
    "sqlite": "sqlite",
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "postgresext": "postgresql",
    "postgresqlext": "postgresql",
    "psycopg3": "postgresql",
}
DRIVERS = ("", "pool", "psycopg", "psycopg2", "psycopg2cffi", "pysqlite")
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two tries to connect


def connect(
    url: str,
    schema: str | None = None,
    read_only: bool = False,
    report: Report = silent,
    stop: Stop | None = None,
    within: float | None = None,
) -> CatalogMigrator:
    """Open the database of a URL and return its migrator, connected.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, ``postgresql://user:password@host/name``.
        schema: the PostgreSQL schema of the tables; None looks for them on the search path.
        read_only: the session can change nothing, and a SQLite file that is not there is not made.
        report: called when the server gives no answer.
        stop: ends a statement that gets no answer.
        within: how many seconds PostgreSQL may take, if that is less than the URL allows; never less than two.

    Raises:
        UsageError: the URL cannot be read, or its scheme is not supported.
        Unreachable: there is no such server, database, role or file, or it does not let us in.
    """
    family, pooled, rest = _taken_apart(url)
    if family == "sqlite":
        from indexer.sqlite.connect import open_sqlite

        return open_sqlite(f"sqlite://{rest}", schema, read_only)
    from indexer.postgres.connect import open_postgres

    return open_postgres(rest, schema, read_only, pooled, report, stop, within)


def _taken_apart(url: str) -> tuple[str, bool, str]:
    """Return the kind of database, whether peewee's pool is asked for, and what comes after the scheme."""
    scheme, separator, rest = url.partition("://")
    base, _, driver = scheme.lower().partition("+")
    family = FAMILIES.get(base) if separator else None
    if family and driver in DRIVERS:
        return family, driver == "pool", rest
    if family and driver.replace("_", "").isalnum():
        raise UsageError(
            f"The database URL asks for the driver {driver}, which this tool does not use.",
            f"Leave +{driver} out: {base}://...",
        )
    named = separator and f"a{scheme}".replace("+", "").isalnum()  # anything else may be a part of a password
    raise UsageError(
        f"{scheme!r} is not a database this tool knows." if named else "The database URL has no scheme.",
        "Use sqlite:///file.db or postgresql://user:password@host:5432/name.",
    )


def connect_patiently(
    url: str,
    schema: str | None,
    seconds: float,
    report: Report,
    stop: Stop,
    read_only: bool = False,
    options: Options | None = None,
) -> CatalogMigrator:
    """Connect, and for so many seconds try again while the reason can heal; a wrong password fails at once.

    With ``options``, a SQLite file that another process has locked whole is waited for as a run waits for others.

    Raises:
        UsageError, Unreachable: as ``connect``.
        Locked, Blocked: the file was locked for too long.
        Interrupted: somebody asked to stop.
    """
    started = time.monotonic()
    pause, told = SHORTEST_PAUSE, ""
    while True:
        try:
            with stop.ending_at_once():
                remaining = started + seconds - time.monotonic() if seconds else None
                return connect(url, schema, read_only, report, stop, remaining)
        except Unreachable as error:
            waited = time.monotonic() - started
            if isinstance(error, Held) and options:
                options.check_wait(waited, f"another process has locked {url}")
            elif not error.can_heal or waited + pause > seconds:
                raise
            if error.message != told:
                report(ServerAwaited(error.message))
                told = error.message
        stop.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
