"""A PostgreSQL schema to measure in."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg2
from peewee import Database, PeeweeException, PostgresqlDatabase

from indexer.connection import connect
from indexer.errors import StatementFailed, Unreachable
from indexer.signals import Stop
from indexer.text import identifier, reason

if TYPE_CHECKING:
    from indexer.migrator import CatalogMigrator

SETTINGS = ("shared_buffers", "work_mem", "maintenance_work_mem", "max_parallel_workers_per_gather", "jit", "fsync")

# The session that works in a schema holds its lock from before the schema is created.
FAMILY = 0x5343_5257  # beside the run lock's
LOCK = "SELECT pg_catalog.pg_advisory_lock(%s, pg_catalog.hashtext(%s))"
TRY = "SELECT pg_catalog.pg_try_advisory_lock(%s, pg_catalog.hashtext(%s))"
UNLOCK = "SELECT pg_catalog.pg_advisory_unlock(%s, pg_catalog.hashtext(%s))"
OWN_SCHEMAS = """
    SELECT nspname
      FROM pg_catalog.pg_namespace
     WHERE nspname ~ %s
       AND nspowner = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER)
"""
WHERE_AND_WHO = "SELECT pg_catalog.current_database(), CURRENT_USER"

SETTING = "SELECT pg_catalog.current_setting(%s)"
SEARCH_PATH = "SELECT pg_catalog.set_config('search_path', %s, false)"
BYTES = """
    SELECT pg_catalog.sum(pg_catalog.pg_total_relation_size(c.oid))::pg_catalog.int8
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname = %s
       AND c.relname = ANY (%s::pg_catalog.text[])
       AND c.relkind = 'r'
"""


class Schema:
    """A PostgreSQL schema to measure in; its migrator is connected."""

    def __init__(self, migrator: CatalogMigrator, name: str, stop: Stop) -> None:
        self.migrator = migrator
        self._database: Any = migrator.database
        self._name = name
        self._stop = stop
        version = self._database.connection().info.parameter_status("server_version")
        self.product = f"PostgreSQL {version.split(' ')[0]}"

    def settings(self) -> dict[str, str]:
        """Return the server's settings that affect speed, as an application gets them."""
        with self.application() as database:
            return {name: database.execute_sql(SETTING, (name,)).fetchone()[0] for name in SETTINGS}

    def bytes(self, tables: Collection[str]) -> int:
        """Return the size of the tables with their indexes and their TOAST."""
        return int(self._database.execute_sql(BYTES, (self._name, list(tables))).fetchone()[0] or 0)

    @contextmanager
    def application(self) -> Iterator[Database]:
        """Open a session as an application does; its statement is cancelled when the process is asked to stop."""
        parameters = {**self._database.connect_params, "application_name": "indexer bench"}
        with closing(PostgresqlDatabase(self._database.database, **parameters)) as database:
            self._stop.on_ask(partial(_cancel, database.connection()))
            database.execute_sql(SEARCH_PATH, (self._name,))
            yield database


@contextmanager
def schema(url: str, prefix: str, stop: Stop) -> Iterator[Schema]:
    """Create a schema that exists during the block, and remove those that killed processes left."""
    name = prefix + secrets.token_hex(4)  # needs no quotes
    removal = f"DROP SCHEMA IF EXISTS {name} CASCADE"
    with stop.ending_at_once():
        migrator = connect(url, name, stop=stop)
    with closing(migrator.database), stop.leaving(f"Schema {name} is left: {removal};"):
        try:
            _remove_stale_schemas(migrator, prefix)
            migrator.database.execute_sql(LOCK, (FAMILY, name))
            migrator.execute_text(f"CREATE SCHEMA {name}")
        except PeeweeException as error:
            raise StatementFailed(f"Cannot create a schema: {reason(error)}.", _remedy(migrator, error)) from error
        try:
            yield Schema(migrator, name, stop)
        finally:
            try:
                other = connect(url)  # the session that worked in the schema may be broken
                with closing(other.database):
                    other.execute_text(removal)
            except (PeeweeException, Unreachable) as error:
                raise StatementFailed(f"Cannot drop the schema {name}: {error}", f"{removal};") from error


def _cancel(connection: Any) -> None:
    with suppress(psycopg2.Error):  # it is closed already
        connection.cancel()


def _remedy(migrator: CatalogMigrator, error: PeeweeException) -> str:
    """Return what to do about a schema that cannot be created."""
    cause = getattr(error, "orig", None)
    if isinstance(cause, psycopg2.errors.ReadOnlySqlTransaction):
        return "The server is a standby (in recovery): connect to the primary."
    if not isinstance(cause, psycopg2.errors.InsufficientPrivilege):
        return migrator.remedy(error)
    name, role = map(identifier, migrator.database.execute_sql(WHERE_AND_WHO).fetchone())
    return f"The owner of the database can grant the right: GRANT CREATE ON DATABASE {name} TO {role}"


def _remove_stale_schemas(migrator: CatalogMigrator, prefix: str) -> None:
    """Drop the schemas of this role whose lock is free: the process that worked there has ended.

    A schema that cannot be dropped now, because the server still executes a statement in it, is left for the next
    time. Behind a pooler nothing is dropped, because there the lock of a session says nothing about a process.
    """
    database: Any = migrator.database
    if database.pooled:
        return
    for (name,) in database.execute_sql(OWN_SCHEMAS, (f"^{prefix}[0-9a-f]{{8}}$",)).fetchall():
        if database.execute_sql(TRY, (FAMILY, name)).fetchone()[0]:
            with suppress(PeeweeException):
                migrator.execute_text(f"DROP SCHEMA IF EXISTS {name} CASCADE")
            database.execute_sql(UNLOCK, (FAMILY, name))
