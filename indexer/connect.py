"""From a database URL to the migrator that works on it."""

from __future__ import annotations

from indexer.errors import UsageError
from indexer.migrator import CatalogMigrator

POSTGRES = ("postgres", "postgresql", "postgresql+psycopg2")


def connect(url: str, schema: str | None = None, read_only: bool = False) -> CatalogMigrator:
    """Open the database of a URL and return its migrator, connected.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, ``postgresql://user:password@host/name``.
        schema: the PostgreSQL schema of the tables; None looks for them on the search path.
        read_only: the session can change nothing, and a SQLite file that is not there is not made.

    Raises:
        UsageError: the URL cannot be read, or its scheme is not supported.
        Unreachable: there is no such server, database, role or file, or it does not let us in.
    """
    scheme, separator, _ = url.partition("://")
    if scheme == "sqlite" and separator:
        from indexer.sqlite.connect import open_sqlite

        return open_sqlite(url, schema, read_only)
    if scheme in POSTGRES and separator:
        from indexer.postgres.connect import open_postgres

        return open_postgres(url, schema, read_only)
    raise UsageError(
        f"{scheme!r} is not a database this tool knows." if separator else "The database URL has no scheme.",
        "Use sqlite:///file.db or postgresql://user:password@host:5432/name.",
    )
