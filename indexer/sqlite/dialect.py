"""SQLite's statements: every index is a B-tree, and all statements of a run are one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from peewee import SQL, Entity

from indexer.catalog import CatalogEntry
from indexer.decide import Existing
from indexer.definition import FIRST, LAST, Definition, Expression, KeyPart
from indexer.dialect import Dialect, Part, ScriptValues
from indexer.spec import Index
from indexer.sqlite.catalog import BINARY, SqliteCatalog
from indexer.sqlite.statement import normal
from indexer.text import in_bytes

SCRIPT_VALUES = ScriptValues(
    now=SQL("strftime('%Y-%m-%d %H:%M:%S', 'now')"),
    start=SQL("strftime('%Y-%m-%d %H:%M:%f', 'now')"),
    whole=SQL("strftime('%Y-%m-%d %H:%M:%S', started_at)"),
    elapsed=SQL("max(0, CAST(round((julianday('now') - julianday(started_at)) * 86400000) AS integer))"),
    role=SQL("'sqlite3 script'"),
)


def keeps_nulls(part: KeyPart) -> bool:
    """Return whether SQLite has the order of NULLs that is declared: it takes them for less than any value."""
    return part.nulls in (None, LAST if part.descending else FIRST)


class SqliteDialect(Dialect):
    """The statements for one SQLite file."""

    name = "sqlite"
    catalog: SqliteCatalog
    script_values = SCRIPT_VALUES

    def declared(self, index: Index) -> Definition:
        """Return the index's SQLite variant, a B-tree."""
        return index.sqlite

    def definition(self, index: Index, found: CatalogEntry | None) -> Definition:
        """Return the index's SQLite variant, names in lower case, expressions and the predicate in their normal form.

        A collation is left out where it is the default.
        """
        declared = index.sqlite
        return declared._replace(
            table=declared.table.lower(),
            key=tuple(self._normal(declared.table, part) for part in declared.key),
            predicate=declared.predicate and normal(declared.predicate),
        )

    def _normal(self, table: str, part: KeyPart) -> KeyPart:
        """Return a declared part as the catalog shows it."""
        collation = part.collation.upper() if part.collation else None
        if isinstance(part, Expression):
            return part._replace(sql=normal(part.sql), nulls=None, collation=None if collation == BINARY else collation)
        is_default = collation and collation == self.catalog.collation(table, part.name)
        return part._replace(name=part.name.lower(), nulls=None, collation=None if is_default else collation)

    def create_statement(self, index: Index, name: str | None = None) -> str:
        """Return CREATE INDEX; the order of NULLs, which cannot be said here, is left out."""
        declared = index.sqlite
        key = tuple(part._replace(nulls=None) for part in declared.key)
        return self.create_index(name or index.name, declared._replace(key=key))

    def alembic_name(self, index: Index) -> str:
        """Return the name that Alembic's run of the same revision gives the index on SQLite."""
        return index.alembic_name_on_sqlite or index.name

    def reindex_statement(self, name: str) -> str:
        """Return REINDEX; without the name of the database it would take the name of a collation for that."""
        return str(self._context("REINDEX ").sql(Entity("main", name)).query()[0])

    def room_needed(self, rooms: Mapping[str, int]) -> str:
        """Return what the journal of the one transaction needs; the file keeps the pages that become free."""
        size = in_bytes(sum(rooms.values()))
        return f"The journal needs about {size} of disk until the run ends. Pages that become free stay in the file."

    def rename_statements(self, index: Index, name: str, new_name: str) -> list[str]:
        """Drop the index and build it under the other name, in the run's transaction: SQLite renames no index."""
        return [self.drop_statement(name), self.create_statement(index, new_name)]

    def replace_statements(self, index: Index, existing: Existing, differs: bool) -> list[str]:
        """Drop the index and build it again; no other session sees the moment between."""
        return [self.drop_statement(index.name), self.create_statement(index)]

    def script(self, parts: Sequence[Part]) -> str:
        """Return a script for the sqlite3 shell: one transaction, stopped at the first error."""
        transaction = ["BEGIN IMMEDIATE", *(statement for part in parts for statement in part.statements), "COMMIT"]
        return "\n".join([".bail on", *(f"{statement};" for statement in transaction)])
