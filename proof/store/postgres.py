"""PostgreSQL: COPY from a stream, foreign keys checked in one go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import chain
from typing import TYPE_CHECKING, Any

import psycopg2
from peewee import Database, PeeweeException, PostgresqlDatabase
from psycopg2 import sql

from proof.generator import Columns
from proof.store import AGAIN

if TYPE_CHECKING:
    from indexer.migrator import CatalogMigrator

NULL = "\\N"
SETTINGS = ("shared_buffers", "work_mem", "maintenance_work_mem", "max_parallel_workers_per_gather", "jit", "fsync")

CURRENT = """
    SELECT wanted.name,
           pg_catalog.current_setting(wanted.name)
      FROM pg_catalog.unnest(%(names)s::pg_catalog.text[]) AS wanted (name)
"""

FOREIGN_KEYS = """
    SELECT c.relname AS table,
           k.conname AS name,
           pg_catalog.pg_get_constraintdef(k.oid) AS definition
      FROM pg_catalog.pg_constraint AS k
      JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname = %(schema)s
       AND c.relname = ANY (%(tables)s::pg_catalog.text[])
       AND k.contype = 'f'
     ORDER BY c.relname, k.conname
"""

CONTINUE = """
    SELECT pg_catalog.setval(sequence.name, rows.highest)
      FROM pg_catalog.pg_get_serial_sequence({name}, 'id') AS sequence (name)
     CROSS JOIN (SELECT pg_catalog.max(id) AS highest FROM {table}) AS rows
     WHERE sequence.name IS NOT NULL
       AND rows.highest IS NOT NULL
"""

BYTES = """
    SELECT pg_catalog.sum(pg_catalog.pg_total_relation_size(c.oid))::bigint
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname = %(schema)s
       AND c.relname = ANY (%(tables)s::pg_catalog.text[])
       AND c.relkind = 'r'
"""


class PostgresStore:
    """The tables of one schema.

    Attributes:
        product: name and version.
        errors: what it refuses a statement with.
    """

    errors: tuple[type[Exception], ...] = (psycopg2.Error, PeeweeException)

    def __init__(self, migrator: CatalogMigrator) -> None:
        self._database: Any = migrator.database
        self._schema = migrator.schema
        version = self._database.connection().info.parameter_status("server_version")
        self.product = f"PostgreSQL {str(version).split(' ')[0]}"

    @contextmanager
    def filling(self, tables: Collection[str], new: bool) -> Iterator[None]:
        """One transaction that locks the tables against writers.

        Foreign keys of new tables are taken off and put back in it: to check them row by row takes longer than
        everything else together.
        """
        with self._database.atomic(), self._database.connection().cursor() as cursor:
            names = sql.SQL(", ").join(map(self._name, tables))
            cursor.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(names))
            foreign_keys = self._foreign_keys(cursor, tables) if new else []
            for table, name, _ in foreign_keys:
                cursor.execute(self._alter(table, "DROP CONSTRAINT {}", sql.Identifier(name)))
            yield
            for table, name, definition in foreign_keys:
                cursor.execute(
                    self._alter(table, "ADD CONSTRAINT {} {}", sql.Identifier(name), sql.SQL(definition)),
                )
            for table in tables:  # last, because no rollback takes back what is done to a sequence
                self._continue_ids(cursor, table)

    def _foreign_keys(self, cursor: Any, tables: Collection[str]) -> list[tuple[str, str, str]]:
        # What a definition names without its schema is on the search path: with ours, that is PostgreSQL's own.
        cursor.execute(FOREIGN_KEYS, {"schema": self._schema, "tables": list(tables)})
        return list(cursor.fetchall())

    def _continue_ids(self, cursor: Any, table: str) -> None:
        """Set the sequence of a table to its highest id, if it has a sequence."""
        name = self._name(table)
        cursor.execute(sql.SQL(CONTINUE).format(table=name, name=sql.Literal(name.as_string(cursor))))

    def _alter(self, table: str, clause: str, *parts: sql.Composable) -> sql.Composable:
        return sql.SQL("ALTER TABLE {} ").format(self._name(table)) + sql.SQL(clause).format(*parts)

    def _name(self, table: str) -> sql.Identifier:
        return sql.Identifier(str(self._schema), table)

    @contextmanager
    def hurrying(self) -> Iterator[None]:
        """COPY is in a hurry already."""
        yield

    def holds_rows(self, table: str) -> bool:
        """Is there a row in it?"""
        with self._database.connection().cursor() as cursor:
            cursor.execute(sql.SQL("SELECT EXISTS (SELECT 1 FROM {})").format(self._name(table)))
            return bool(cursor.fetchone()[0])

    def load(self, table: str, batches: Iterable[Columns]) -> None:
        """COPY the rows into a table."""
        batches = iter(batches)
        first = next(batches, None)
        if first is None:
            return
        columns = sql.SQL(", ").join(map(sql.Identifier, first))
        copy = sql.SQL("COPY {} ({}) FROM STDIN").format(self._name(table), columns)
        with self._database.connection().cursor() as cursor:
            cursor.copy_expert(copy, _Stream(map(_in_copy_format, chain([first], batches))))

    def analyze(self, tables: Collection[str]) -> None:
        """VACUUM and ANALYZE them: queries then find a table as it is after some quiet time."""
        with self._database.connection().cursor() as cursor:
            cursor.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.SQL(", ").join(map(self._name, tables))))

    def bytes(self, tables: Collection[str]) -> int:
        """What the tables, their indexes and their TOAST take."""
        with self._database.connection().cursor() as cursor:
            cursor.execute(BYTES, {"schema": self._schema, "tables": list(tables)})
            return int(cursor.fetchone()[0] or 0)

    def settings(self) -> dict[str, str]:
        """The server's settings that matter to speed, as an application gets them."""
        with self.application() as database, database.connection().cursor() as cursor:
            cursor.execute(CURRENT, {"names": list(SETTINGS)})
            return dict(cursor.fetchall())

    @contextmanager
    def application(self) -> Iterator[Database]:
        """A session of its own, with the schema of the tables as its search path."""
        parameters = {**self._database.connect_params, "application_name": "indexer bench"}
        with closing(PostgresqlDatabase(self._database.database, **parameters)) as database:
            path = sql.SQL("SET search_path TO {}").format(sql.Identifier(str(self._schema)))
            with database.connection().cursor() as cursor:
                cursor.execute(path)
            yield database

    def remedy(self, error: Exception) -> str:
        """What the user can do about a refused statement: about a missing right, get it."""
        if not is_forbidden(error):
            return AGAIN
        if "for schema" not in str(error):
            return "Connect as the owner of the tables."
        role, schema = sql.Identifier(self._database.connection().info.user), sql.Identifier(str(self._schema))
        grant = sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}").format(schema, role)
        return f"Let the owner of the schema give the right: {grant.as_string(self._database.connection())}"

    def canceller(self, database: Database) -> Callable[[], None]:
        """Asks the server to end the statement."""
        connection = database.connection()

        def cancel() -> None:
            with suppress(psycopg2.Error):
                connection.cancel()

        return cancel


def is_forbidden(error: Exception) -> bool:
    """Was a right missing, whether psycopg2 says so or peewee?"""
    return isinstance(getattr(error, "orig", error), psycopg2.errors.InsufficientPrivilege)


def is_on_standby(error: Exception) -> bool:
    """Was it refused as something that writes? Our sessions set aside what else than a standby would refuse that."""
    return isinstance(getattr(error, "orig", error), psycopg2.errors.ReadOnlySqlTransaction)


class _Stream:
    """What COPY reads from: psycopg2 sends however much it is handed at once."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def read(self, size: int = -1) -> bytes:
        """The next chunk, whatever its size."""
        return next(self._chunks, b"")


def _in_copy_format(columns: Columns) -> bytes:
    """Rows in the text format of COPY; no value of the generator holds what would have to be escaped in it."""
    lines = map("\t".join, zip(*map(_as_text, columns.values()), strict=True))
    return ("\n".join(lines) + "\n").encode()


def _as_text(values: Sequence[Any]) -> Iterable[str]:
    kinds = set(map(type, values))
    if kinds == {str}:
        return values
    if kinds == {int}:
        return map(str, values)
    return [NULL if value is None else str(value) for value in values]
