"""Opens a SQLite file; each way in which that can fail has its own message."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import Any

from peewee import DatabaseError, SqliteDatabase

from indexer.errors import Held, Unreachable, UsageError
from indexer.migrator import Context
from indexer.sqlite.catalog import IN_MEMORY
from indexer.sqlite.migrator import OwnMigrator, PlainMigrator
from indexer.text import percent_encoded, shell

BUSY_TIMEOUT = 1.0  # seconds; longer waits are a loop of this tool, which obeys signals


# What an application gives its connection and an index may need: what peewee calls these, each a set or a dictionary.
REGISTRIES = ("_aggregates", "_collations", "_functions", "_window_functions", "_extensions")
OF_A_SESSION = {
    *("cache_size", "case_sensitive_like", "cell_size_check", "checkpoint_fullfsync", "foreign_keys", "fullfsync"),
    *("ignore_check_constraints", "mmap_size", "recursive_triggers", "secure_delete", "synchronous", "temp_store"),
    *("trusted_schema", "wal_autocheckpoint"),
}
OF_A_NEW_FILE = {"application_id", "auto_vacuum", "encoding", "journal_mode", "page_size", "user_version"}


class File(SqliteDatabase):
    """A SQLite file whose text need not be UTF-8: each byte that is not is read as half of a surrogate pair.

    Args:
        beside: the application's own database for the file, whose functions, collations and pragmas this one has, too.
    """

    _pragmas: Any

    def __init__(self, database: str, beside: SqliteDatabase | None = None, **settings: Any) -> None:
        super().__init__(database, timeout=BUSY_TIMEOUT, **settings)
        given = [(name.lower(), value) for name, value in getattr(beside, "_pragmas", ())]
        self._pragmas = [pair for pair in given if pair[0] in OF_A_SESSION] + list(self._pragmas)
        self._of_a_new_file = [pair for pair in given if pair[0] in OF_A_NEW_FILE]
        for registry in REGISTRIES if beside else ():
            getattr(self, registry).update(getattr(beside, registry, ()))

    def create(self, path: str) -> None:
        """Open a file that does not exist yet, instead of the empty database that was read in its place."""
        self.close()
        self.init(path, pragmas=[*self._of_a_new_file, *self._pragmas], timeout=self.timeout)
        self.connect()

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
    return _open(_path(url), url, schema, read_only, context)


def open_beside(database: SqliteDatabase, schema: str | None, read_only: bool, context: Context) -> PlainMigrator:
    """Open the file of an application's database once more; one in memory is used on the connection that is open.

    Raises:
        UsageError: its URI cannot be understood, a database in memory has no open connection, or there is a schema.
        Unreachable: as ``open_sqlite``.
    """
    name = str(database.database)
    is_uri = bool(database.connect_params.get("uri")) and name.startswith("file:")
    path, mode = _of_uri(name, read_only) if is_uri else (name, "")
    if path != IN_MEMORY and mode != "memory":
        return _open(path, f"sqlite:///{path}", schema, read_only, context, database)
    _refuse_schema(schema)
    if database.is_closed():
        message = "The database is in memory, and no connection to it is open in this thread."
        raise UsageError(message, "Open one before connect() is called, or name a file: sqlite:///file.db.")
    return OwnMigrator(database, IN_MEMORY, f"sqlite:///{IN_MEMORY}", context)


def _of_uri(uri: str, read_only: bool) -> tuple[str, str]:
    """Return the path and the mode of a file URI; raise UsageError if it asks for more than a session here has."""
    from urllib.parse import parse_qsl, unquote, urlsplit

    parts = urlsplit(uri)
    parameters = parse_qsl(parts.query)
    foreign = [f"{name}={value}" for name, value in parameters if name not in ("mode", "cache")]
    foreign += ["mode=ro"] if ("mode", "ro") in parameters and not read_only else []
    foreign += [parts.netloc] if parts.netloc not in ("", "localhost") else []
    if foreign:
        message = f"The URI of the database object has {' and '.join(foreign)}, which a run cannot use."
        raise UsageError(message, "Pass a SqliteDatabase for the same file without that.")
    return unquote(parts.path), dict(parameters).get("mode", "")


def _refuse_schema(schema: str | None) -> None:
    if schema is not None:
        raise UsageError("SQLite has no schemas.", "Leave --schema out.")


def _open(
    path: str, url: str, schema: str | None, read_only: bool, context: Context, beside: SqliteDatabase | None = None
) -> PlainMigrator:
    _refuse_schema(schema)
    _check(path, url)
    try:
        return PlainMigrator(_opened(path, read_only, beside), path, url, context)
    except DatabaseError as error:
        if "locked" in str(error):
            raise Held(f"Cannot read {url}: {error}.") from error
        if "readonly" in str(error):
            hint = "Reading its journal needs write access to the file or its folder (sqlite.org/wal.html)."
            raise Unreachable(f"Cannot read {url}: neither the file nor its folder can be written.", hint) from error
        raise Unreachable(f"Cannot open {url}: {error}.", "Check the path in the database URL.") from error


def _opened(path: str, read_only: bool, beside: SqliteDatabase | None) -> File:
    """Return the opened file, or an empty database if it does not exist.

    A reader leaves a write-ahead log where it is. But what a killed process left in a rollback journal has to be rolled
    back before anything can be read, and that takes the right to write: then it opens without mode=ro.
    """
    if not os.path.exists(path):
        return _connected(File(IN_MEMORY, beside))
    if read_only:
        with suppress(DatabaseError):
            uri = f"file:{percent_encoded(os.path.abspath(path), kept='/')}?mode=ro"
            return _connected(File(uri, beside, uri=True))
    pragmas = {"query_only": 1} if read_only else None
    return _connected(File(path, beside, pragmas=pragmas))


def _connected(database: File) -> File:
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
    if path in ("", IN_MEMORY):
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
