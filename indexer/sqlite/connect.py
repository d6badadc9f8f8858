"""Opens a SQLite file; each way in which that can fail has its own message."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial

from peewee import DatabaseError, SqliteDatabase

from indexer.errors import Held, Unreachable, UsageError
from indexer.migrator import Context
from indexer.sqlite.catalog import IN_MEMORY
from indexer.sqlite.file import MALFORMED, File, recovery
from indexer.sqlite.migrator import OwnMigrator, PlainMigrator
from indexer.text import percent_encoded, shell
from indexer.urls import Address


def open_sqlite(url: str, schema: str | None, read_only: bool, context: Context) -> PlainMigrator:
    """Open the file of a ``sqlite:///`` URL; a missing file reads as an empty one until a run begins.

    Raises:
        UsageError: the URL names no file, or there is a schema.
        Unreachable: the file cannot be opened; Held if another process has locked it.
    """
    return _open(_path(url), url, schema, read_only, context)


def described(url: str) -> Address:
    """Return the names of the file of a ``sqlite:///`` URL: its own, and its path; raise UsageError if it has none."""
    path = _path(url)
    quoted = path.replace("\\", "\\\\").replace('"', '\\"')
    return Address((os.path.basename(path), path, path), url, f'.open "{quoted}"')


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
    connect = partial(_connect, path, url, read_only, beside)
    return PlainMigrator(connect(), path, url, context, connect)


def _connect(path: str, url: str, read_only: bool, beside: SqliteDatabase | None) -> File:
    _check(path, url)
    try:
        return _opened(path, read_only, beside)
    except DatabaseError as error:
        if "locked" in str(error):
            raise Held(f"Cannot read {url}: {error}.") from error
        if "readonly" in str(error):
            hint = "Reading its journal needs write access to the file or its folder (sqlite.org/wal.html)."
            raise Unreachable(f"Cannot read {url}: neither the file nor its folder can be written.", hint) from error
        hint = recovery(path) if MALFORMED in str(error) else "Check the path in the database URL."
        raise Unreachable(f"Cannot open {url}: {error}.", hint) from error


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
