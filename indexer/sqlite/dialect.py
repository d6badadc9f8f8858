"""SQLite's statements: every index is a whole B-tree, and all statements of a run are one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from peewee import SQL

from indexer.catalog import CatalogEntry
from indexer.decide import Existing
from indexer.dialect import Dialect, Part, ScriptValues
from indexer.spec import Definition, Index

SCRIPT_VALUES = ScriptValues(
    now=SQL("strftime('%Y-%m-%d %H:%M:%S', 'now')"),
    start=SQL("strftime('%Y-%m-%d %H:%M:%f', 'now')"),
    whole=SQL("strftime('%Y-%m-%d %H:%M:%S', started_at)"),
    elapsed=SQL("max(0, CAST(round((julianday('now') - julianday(started_at)) * 86400000) AS integer))"),
    role=SQL("'sqlite3 script'"),
)


class SqliteDialect(Dialect):
    """The statements for one SQLite file."""

    name = "sqlite"
    script_values = SCRIPT_VALUES

    def definition(self, index: Index, found: CatalogEntry | None) -> Definition:
        """Return a whole B-tree, names in lower case: access methods and predicates are for PostgreSQL only."""
        return Definition(
            table=index.table.lower(),
            method="btree",
            key=tuple(str(column._replace(name=column.name.lower())) for column in index.key),
            unique=index.unique,
        )

    def alembic_name(self, index: Index) -> str:
        """Return the name that Alembic's run of the same revision gives the index on SQLite."""
        return index.alembic_name_on_sqlite or index.name

    def rename_statements(self, index: Index, name: str, new_name: str) -> list[str]:
        """Drop the index and build it under the other name, in the run's transaction: SQLite renames no index."""
        return [self.drop_statement(name), self.create_index(index, name=new_name)]

    def replace_statements(self, index: Index, existing: Existing, differs: bool) -> list[str]:
        """Drop the index and build it again; no other session sees the moment between."""
        return [self.drop_statement(index.name), self.create_statement(index)]

    def script(self, parts: Sequence[Part]) -> str:
        """Return a script for the sqlite3 shell: one transaction, stopped at the first error."""
        transaction = ["BEGIN IMMEDIATE", *(statement for part in parts for statement in part.statements), "COMMIT"]
        return "\n".join([".bail on", *(f"{statement};" for statement in transaction)])
