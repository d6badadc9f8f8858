"""Opens the database of a URL, at once or as soon as it can be reached."""

from __future__ import annotations

import time

from indexer.errors import Held, Unreachable
from indexer.events import Report, ServerAwaited, silent
from indexer.migrator import CatalogMigrator, Context
from indexer.options import DEFAULTS, Options
from indexer.signals import Stop
from indexer.urls import split_scheme

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two attempts to connect


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
        read_only: the session can change nothing, and a missing SQLite file is not created.
        report: called when the server gives no answer.
        stop: ends a statement that gets no answer.
        within: how many seconds PostgreSQL may take, if that is less than the URL allows; never less than two.

    Raises:
        UsageError: the URL cannot be read, or its scheme is not supported.
        Unreachable: the server, database, role or file does not exist, or refuses the connection.
    """
    context = Context(DEFAULTS, report, stop or Stop())
    family, pooled, rest = split_scheme(url)
    if family == "sqlite":
        from indexer.sqlite.connect import open_sqlite

        return open_sqlite(f"sqlite://{rest}", schema, read_only, context)
    from indexer.postgres.connect import open_postgres

    return open_postgres(rest, schema, read_only, pooled, context, within)


def connect_patiently(
    url: str,
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
                return connect(url, schema, read_only, report, stop, remaining)
        except Unreachable as error:
            waited = time.monotonic() - started
            if isinstance(error, Held) and options:
                options.check_wait(waited, f"another process has locked {url}")
            elif not error.can_heal or waited + pause > seconds:
                raise
            if error.message != reported:
                report(ServerAwaited(error.message))
                reported = error.message
        stop.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
