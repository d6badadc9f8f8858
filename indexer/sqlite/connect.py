"""Opening a SQLite file: one clear sentence for each way in which that fails."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import quote

from peewee import DatabaseError, SqliteDatabase

from indexer.errors import Held, Unreachable, UsageError
from indexer.sqlite.migrator import PlainMigrator
from indexer.text import shell

EMPTY = ":memory:"
BUSY_TIMEOUT = 1.0  # seconds; waiting longer is our own loop's work, where signals are heard


class File(SqliteDatabase):
    """A SQLite file, whose text need not be UTF-8: each byte that is not comes as half a character."""

    def _initialize_connection(self, conn: Any) -> None:
        conn.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Execute a statement; what is written down of such a text has a mark in place of each such byte."""
        given = [_storable(each) if isinstance(each, str) else each for each in params or ()]
        return super().execute_sql(sql, given)


def _storable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def open_sqlite(url: str, schema: str | None, read_only: bool) -> PlainMigrator:
    """Open the file of a ``sqlite:///`` URL; one that is not there reads as an empty one until a run begins."""
    path = _path(url)
    if schema is not None:
        raise UsageError("SQLite has no schemas.", "Leave --schema out.")
    _check(path, url)
    try:
        return PlainMigrator(_opened(path, read_only), path, url)
    except DatabaseError as error:
        if "locked" in str(error):
            raise Held(f"Cannot read {url}: {error}.") from error
        if "readonly" in str(error):
            hint = "It has a journal that only somebody who may write can read past: sqlite.org/wal.html"
            raise Unreachable(f"Cannot read {url}: neither the file nor its folder can be written.", hint) from error
        raise Unreachable(f"Cannot open {url}: {error}.", "Check the path in the database URL.") from error


def _opened(path: str, read_only: bool) -> SqliteDatabase:
    """The file, or an empty database in place of one that is not there.

    Whoever only reads leaves a write-ahead log where it is. What a killed process left in a rollback journal has to be
    taken back before anything can be read, and that takes the right to write.
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
    """The database once it has proved to be one."""
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
            "The SQLite URL names no file.",
            "Use three slashes: sqlite:///file.db, or four: sqlite:////path/file.db.",
        )
    path, question, _ = path.partition("?")
    if question:
        raise UsageError(f"{url} has parameters, and a SQLite URL takes none.", f"Use sqlite:///{path}.")
    if path in ("", EMPTY):
        raise UsageError(f"{url} names a database that ends with the command.", "Name a file: sqlite:///file.db.")
    return path


def _check(path: str, url: str) -> None:
    folder = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path):
        raise Unreachable(f"Cannot open {url}: {path} is a directory.", "Name a file in it.")
    if os.path.islink(os.path.realpath(path)):
        raise Unreachable(f"Cannot open {url}: {path} is a symbolic link that leads back to itself.", "Make it anew.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise Unreachable(f"Cannot open {url}: {path} is not a regular file.", "Name a database file.")
    if not os.path.isdir(folder):
        raise Unreachable(f"Cannot open {url}: there is no directory {folder}.", f"Make it: mkdir -p {shell(folder)}")
