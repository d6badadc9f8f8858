"""Opens a SQLite file; each way in which that can fail has its own message."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import quote

from peewee import DatabaseError, SqliteDatabase

from indexer.errors import Held, Unreachable, UsageError
from indexer.migrator import Context
from indexer.sqlite.migrator import PlainMigrator
from indexer.text import shell

EMPTY = ":memory:"
BUSY_TIMEOUT = 1.0  # seconds; longer waits are a loop of this tool, which obeys signals


class File(SqliteDatabase):
    """A SQLite file whose text need not be UTF-8: each byte that is not is read as half of a surrogate pair."""

    def _initialize_connection(self, conn: Any) -> None:
        conn.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Execute a statement; a text that it stores has a replacement character for each such byte."""
        given = [_storable(each) if isinstance(each, str) else each for each in params or ()]
        return super().execute_sql(sql, given)


def _storable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def open_sqlite(url: str, schema: str | None, read_only: bool, context: Context) -> PlainMigrator:
    """Open the file of a ``sqlite:///`` URL; a missing file reads as an empty one until a run begins.

    Raises:
        UsageError: the URL names no file, or there is a schema.
        Unreachable: the file cannot be opened; Held if another process has locked it.
    """
    path = _path(url)
    if schema is not None:
        raise UsageError("SQLite has no schemas.", "Leave --schema out.")
    _check(path, url)
    try:
        return PlainMigrator(_opened(path, read_only), path, url, context)
    except DatabaseError as error:
        if "locked" in str(error):
            raise Held(f"Cannot read {url}: {error}.") from error
        if "readonly" in str(error):
            hint = "Reading its journal needs write access to the file or its folder (sqlite.org/wal.html)."
            raise Unreachable(f"Cannot read {url}: neither the file nor its folder can be written.", hint) from error
        raise Unreachable(f"Cannot open {url}: {error}.", "Check the path in the database URL.") from error


def _opened(path: str, read_only: bool) -> SqliteDatabase:
    """Return the opened file, or an empty database if it does not exist.

    A reader leaves a write-ahead log where it is. But what a killed process left in a rollback journal has to be rolled
    back before anything can be read, and that takes the right to write: then it opens without mode=ro.
    """
    if not os.path.exists(path):
        return _connected(File(EMPTY))
    if read_only:
        with suppress(DatabaseError):
            uri = f"file:{quote(os.path.abspath(path))}?mode=ro"
            return _connected(File(uri, timeout=BUSY_TIMEOUT, uri=True))
    pragmas = {"query_only": 1} if read_only else None
    return _connected(File(path, timeout=BUSY_TIMEOUT, pragmas=pragmas))


def _connected(database: SqliteDatabase) -> SqliteDatabase:
    """Return the database, connected; raise DatabaseError if it is none."""
    try:
        database.connect()
        database.execute_sql("SELECT count(*) FROM sqlite_master")
    except DatabaseError:
        database.close()
        raise
    return database


def _path(url: str) -> str:
    host, slash, path = url.removeprefix("sqlite://").partition("/")
    if host or not slash:
        raise UsageError(
            "The SQLite URL names no file.", "Use three slashes: sqlite:///file.db, or four: sqlite:////path/file.db."
        )
    path, question, _ = path.partition("?")
    if question:
        raise UsageError(f"{url} has parameters, and a SQLite URL takes none.", f"Use sqlite:///{path}.")
    if path in ("", EMPTY):
        raise UsageError(
            f"{url} names a database in memory, which ends with the command.", "Name a file: sqlite:///file.db."
        )
    return path


def _check(path: str, url: str) -> None:
    real = os.path.realpath(path)
    folder = os.path.dirname(real)
    checks = (
        (os.path.isdir(path), f"{path} is a directory", "Name a file in that directory."),
        (os.path.islink(real), f"{path} is a symbolic link that points back to itself", "Create the link again."),
        (os.path.exists(path) and not os.path.isfile(path), f"{path} is not a regular file", "Name a database file."),
        (not os.path.isdir(folder), f"there is no directory {folder}", f"Create it: mkdir -p {shell(folder)}"),
    )
    for wrong, reason, hint in checks:
        if wrong:
            raise Unreachable(f"Cannot open {url}: {reason}.", hint)
