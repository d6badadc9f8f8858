"""A database to throw away: a temporary SQLite file, or a schema of its own on the PostgreSQL that is given.

Whatever ends the block, the file or the schema is gone afterwards; the user's own tables are never looked at. What a
killed process left is removed by the next one: a lock that ends with a process tells whether anybody works in it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from glob import escape, glob
from typing import TYPE_CHECKING

from peewee import Entity, PeeweeException

from indexer.connect import connect
from indexer.errors import StatementFailed, Unreachable
from indexer.signals import Stop
from indexer.text import identifier, reason, shell, visible
from proof.store import AGAIN

if TYPE_CHECKING:
    from peewee import Database

    from indexer.migrator import CatalogMigrator

PREFIX = "indexer_bench_"
FILE = "crm.db"

# Held by the session that works in a schema, from before that is made: a schema whose lock is free is nobody's.
FAMILY = 0x5343_5257  # beside the run lock's
LOCK = "SELECT pg_catalog.pg_advisory_lock(%s, pg_catalog.hashtext(%s))"
TRY = "SELECT pg_catalog.pg_try_advisory_lock(%s, pg_catalog.hashtext(%s))"
UNLOCK = "SELECT pg_catalog.pg_advisory_unlock(%s, pg_catalog.hashtext(%s))"
STALE = """
    SELECT nspname
      FROM pg_catalog.pg_namespace
     WHERE nspname ~ %s
       AND nspowner = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER)
"""

WHERE_AND_WHO = "SELECT pg_catalog.current_database(), CURRENT_USER"


@contextmanager
def scratch(url: str, stop: Stop) -> Iterator[CatalogMigrator]:
    """A connected migrator of an empty database that ends with the block.

    Args:
        url: the server on which a schema may be made; of a SQLite URL no more than the scheme is used.
        stop: knows meanwhile what would be left, should the process end without cleaning up.

    Raises:
        UsageError, Unreachable: as ``connect``.
        StatementFailed: the role may not create a schema, or it could not be dropped.
    """
    with _file(stop) if url.startswith("sqlite:") else _schema(url, stop) as migrator:
        try:
            migrator.settle(())
            yield migrator
        finally:
            migrator.database.close()


@contextmanager
def _file(stop: Stop) -> Iterator[CatalogMigrator]:
    _remove_stale_folders()
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX) as folder,
        _leaving(stop, f"{visible(folder)} is left: rm -r {shell(folder)}"),
        ExitStack() as stack,
    ):
        with suppress(OSError):  # a file system without such locks, on which nobody else gets one either
            stack.enter_context(_locked(folder, fcntl.LOCK_EX))
        path = os.path.join(folder, FILE)
        with open(path, "x"):  # else it is read as an empty database in memory until something is written
            yield connect(f"sqlite:///{path}")


def _remove_stale_folders() -> None:
    """Remove the folders in which nobody works any more; whoever does had locked theirs before the file was there."""
    for folder in glob(os.path.join(escape(tempfile.gettempdir()), f"{PREFIX}*")):
        with suppress(OSError), _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
            if os.path.exists(os.path.join(folder, FILE)):
                shutil.rmtree(folder)


@contextmanager
def _locked(folder: str, manner: int) -> Iterator[None]:
    """Hold the lock on a folder; the kernel gives it back when a process ends, however that does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, manner)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _schema(url: str, stop: Stop) -> Iterator[CatalogMigrator]:
    name = PREFIX + secrets.token_hex(4)
    removal = f"DROP SCHEMA IF EXISTS {name} CASCADE;"
    with stop.ending_at_once():
        migrator = connect(url, name, stop=stop)
    with closing(migrator.database), _leaving(stop, f"Schema {name} is left: {removal}"):
        try:
            _remove_stale_schemas(migrator.database)
            migrator.database.execute_sql(LOCK, (FAMILY, name))
            _execute(migrator.database, "CREATE SCHEMA ", name)
        except PeeweeException as error:
            raise StatementFailed(
                f"A schema to work in cannot be made: {reason(error)}.", _remedy(migrator.database, error)
            ) from error
        try:
            yield migrator
        finally:
            try:
                _drop(url, name)
            except (PeeweeException, Unreachable) as error:
                raise StatementFailed(f"Our schema {name} is still there: {error}", removal) from error


def _remedy(database: Database, error: PeeweeException) -> str:
    """What the user can do about a schema that cannot be made."""
    from proof.store.postgres import is_forbidden, is_on_standby

    if is_on_standby(error):
        return "The server is a standby (in recovery): connect to the primary."
    if not is_forbidden(error):
        return AGAIN
    name, role = map(identifier, database.execute_sql(WHERE_AND_WHO).fetchone())
    return f"Let the owner of the database give the right: GRANT CREATE ON DATABASE {name} TO {role}"


@contextmanager
def _leaving(stop: Stop, told: str) -> Iterator[None]:
    """The time in which a process that ends at once leaves something behind."""
    stop.leaves = told
    try:
        yield
    finally:
        stop.leaves = ""


def _remove_stale_schemas(database: Database) -> None:
    """Drop the schemas of this role in which nobody works any more: the session that did has ended with its lock.

    One that cannot be dropped now, because a statement in it has not noticed that its client is gone, waits for the
    next time. Behind a pooler a lock may be held by somebody else's session, and tells nothing.
    """
    if getattr(database, "pooled", False):
        return
    for (name,) in database.execute_sql(STALE, (f"^{PREFIX}[0-9a-f]{{8}}$",)).fetchall():
        if database.execute_sql(TRY, (FAMILY, name)).fetchone()[0]:
            with suppress(PeeweeException):
                _execute(database, "DROP SCHEMA IF EXISTS ", name, " CASCADE")
            database.execute_sql(UNLOCK, (FAMILY, name))


def _drop(url: str, schema: str) -> None:
    """Drop a schema in a session of its own: the one that worked in it may be beyond use."""
    database = connect(url).database
    try:
        _execute(database, "DROP SCHEMA IF EXISTS ", schema, " CASCADE")
    finally:
        database.close()


def _execute(database: Database, verb: str, schema: str, manner: str = "") -> None:
    database.execute(database.get_sql_context().literal(verb).sql(Entity(schema)).literal(manner))
