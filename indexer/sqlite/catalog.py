"""SQLite's catalog: the indexes and tables of a file, and what would stop a change. SELECTs only."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from sqlite3 import sqlite_version
from typing import Any

from peewee import Database, DatabaseError, Entity

from indexer.catalog import META_TABLES, ORDINARY, CatalogEntry, Collation, IndexFile, LeafIndex, Measured, Table
from indexer.definition import Column, Definition, Expression, KeyPart
from indexer.spec import BTREE
from indexer.sqlite.statement import read
from indexer.text import fingerprint

IN_MEMORY = ":memory:"  # what SQLite calls a new database in memory

OBJECTS = """
    SELECT name,
           type,
           tbl_name,
           sql
      FROM sqlite_master
     WHERE type <> 'trigger'
       AND lower(name) IN (SELECT lower(value) FROM json_each(?))
"""

INDEX = """
    SELECT l."unique",
           l.partial,
           l.origin,
           x.name,
           x.desc,
           x.coll
      FROM pragma_index_list(?) AS l
      JOIN pragma_index_xinfo(l.name) AS x
     WHERE lower(l.name) = lower(?)
       AND x.key
     ORDER BY x.seqno
"""

# Virtual tables are left out: SQLite refuses to read one whose module only the application has loaded.
INDEXES_ON = """
    SELECT l.name,
           'index',
           t.name,
           s.sql
      FROM sqlite_master AS t,
           pragma_index_list(t.name) AS l
      LEFT JOIN sqlite_master AS s ON s.name = l.name
     WHERE t.type = 'table'
       AND t.sql NOT LIKE 'CREATE VIRTUAL%'
       AND lower(t.name) IN (SELECT lower(value) FROM json_each(?))
     ORDER BY l.name
"""

COLUMNS = """
    SELECT name
      FROM pragma_table_xinfo(?)
"""

VERSION_TABLES = """
    SELECT m.name
      FROM sqlite_master AS m
      JOIN pragma_table_info(m.name) AS c
     WHERE m.type = 'table'
       AND m.sql NOT LIKE 'CREATE VIRTUAL%'
       AND lower(m.name) <> lower(?)
     GROUP BY m.name
    HAVING count(*) = 1
       AND min(c.name) = 'version_num'
     ORDER BY m.name
     LIMIT 5
"""

BYTES = """
    SELECT pgsize
      FROM dbstat
     WHERE aggregate = TRUE
       AND name = ?
"""

# A cell of an index is an entry, on all levels of its B-tree.
MEASURED = """
    SELECT pgsize,
           ncell
      FROM dbstat
     WHERE aggregate = TRUE
       AND name = ?
"""

SQL = """
    SELECT sql
      FROM sqlite_master
     WHERE name = ?
"""

ANY_TABLE = """
    SELECT name
      FROM sqlite_master
     WHERE type IN ('table', 'view')
       AND name NOT IN (SELECT value FROM json_each(?))
       AND name NOT LIKE 'sqlite^_%' ESCAPE '^'
     LIMIT 1
"""


BINARY = "BINARY"
VIRTUAL = "CREATE VIRTUAL"  # SQLite stores it so, whatever was typed
SORT_KEY = re.compile(r"k\(1,([^)]*)\)")


class SqliteCatalog:
    """The catalog of one SQLite file."""

    schema: str | None = None

    def __init__(self, database: Database, path: str) -> None:
        self.database = database
        self.path = path

    def rows(self, query: str, *parameters: Any) -> list[Any]:
        """Return the rows of one SELECT; a parameter that is not UTF-8 is passed as its bytes."""
        given = [_bound(each) if isinstance(each, str) else each for each in parameters]
        return list(self.database.execute_sql(query, given).fetchall())

    def rows_if_any(self, query: str, *parameters: Any) -> list[Any]:
        """Return the rows of one SELECT; none where this SQLite, or this file, cannot answer it."""
        with suppress(DatabaseError):
            return self.rows(query, *parameters)
        return []

    def find(self, names: Sequence[str], sizes: bool = False) -> dict[str, CatalogEntry]:
        """Return what has these names in the file, by name; as in SQLite, case does not matter."""
        asked = {name.lower(): name for name in names}
        found = self.rows(OBJECTS, json.dumps(list(names)))
        return {asked[row[0].lower()]: self._found(row, sizes) for row in found}

    def indexes_on(self, tables: Iterable[str]) -> list[CatalogEntry]:
        """Return all indexes of these tables, those of constraints included, in the order of their names."""
        return [self._found(row, sizes=False) for row in self.rows(INDEXES_ON, json.dumps(list(tables)))]

    def physical(self, names: Sequence[str]) -> dict[str, list[LeafIndex]]:
        """Return the indexes of these names, each of which is its own only leaf."""
        found = {name: entry for name, entry in self.find(names).items() if entry.definition}
        return {
            name: [LeafIndex(name, entry.name, None, None, entry.name, entry.definition.table, entry)]
            for name, entry in found.items()
            if entry.definition
        }

    def measured(self, names: Sequence[str]) -> dict[str, Measured]:
        """Return what the indexes of these names are like now, by name; none where SQLite has no dbstat."""
        rows = [(name, *row) for name in names for row in self.rows_if_any(MEASURED, name)]
        return {
            name: Measured(size, cells, None, sqlite_version, self.fingerprint_of(name)) for name, size, cells in rows
        }

    def fingerprint_of(self, name: str) -> str | None:
        """Return a fingerprint of the definition of an index, as in a baseline; None where there is no such index."""
        return next((fingerprint(_after_name(sql)) for (sql,) in self.rows(SQL, name)), None)

    def collations(self, names: Sequence[str]) -> dict[str, list[Collation]]:
        """Return nothing: the order of SQLite's own collations never changes."""
        return {}

    def _found(self, row: tuple[str, str, str, str | None], sizes: bool) -> CatalogEntry:
        name, kind, table, sql = row
        if kind != "index":
            return CatalogEntry(name, kind)
        columns, statement = self.rows(INDEX, table, name), read(sql or "")
        unique, partial, origin = columns[0][:3]
        expressions = dict(enumerate(statement.key))
        # Without COLLATE in its text an index takes the column's collation, as the declared index would.
        is_collated = re.search(r"\bCOLLATE\b", sql or "", re.IGNORECASE) is not None
        definition = Definition(
            table=table.lower(),
            method=BTREE,
            key=tuple(self._part(table, row, expressions.get(place), is_collated) for place, row in enumerate(columns)),
            unique=bool(unique),
            predicate=statement.predicate if partial else None,
            constraint=None if origin == "c" else name,
        )
        return CatalogEntry(name, kind, definition, bytes=self._bytes(name) if sizes else None)

    def _part(self, table: str, row: Sequence[Any], expression: str | None, is_collated: bool) -> KeyPart:
        """Return a part of a key, with its collation if that is not the column's, nor BINARY for an expression."""
        *_, name, descending, collation = row
        collation = collation.upper()
        is_default = not is_collated or collation == (self.collation(table, name) if name else BINARY)
        collated = None if is_default else collation
        if name is None:
            return Expression(expression or "(expression)", bool(descending), collation=collated)
        return Column(name.lower(), bool(descending), collation=collated)

    def collation(self, table: str, column: str) -> str:
        """Return the collation of a column, in upper case.

        SQLite shows it in the program of a query that sorts by the column.
        """
        context = self.database.get_sql_context().literal("EXPLAIN SELECT 1 FROM ").sql(Entity(table))
        program = self.rows_if_any(context.literal(" ORDER BY +").sql(Entity(column)).query()[0])
        if not program:  # a collation that only the application has defined
            return "UNKNOWN"
        keys = [SORT_KEY.match(row[5] or "") for row in program if row[1] == "SorterOpen"]
        found = next((key[1] for key in keys if key), "B")
        return BINARY if found == "B" else found.upper()

    def file_of(self, name: str) -> IndexFile | None:
        """Return that an index of this name exists: its pages have no number, and no other process rebuilds it."""
        return IndexFile() if name in self.find([name]) else None

    def tables(self, names: Iterable[str], sizes: bool = False) -> dict[str, Table]:
        """Return the tables of these names in the file, by name; the highest rowid serves as the number of rows."""
        asked = {name.lower(): name for name in names}
        found = self.rows(OBJECTS, json.dumps(list(asked)))
        tables = (row for row in found if row[1] in (ORDINARY, "view"))
        return {asked[name.lower()]: self._table(name, _kind(kind, sql), sizes) for name, kind, _, sql in tables}

    def _table(self, name: str, kind: str, sizes: bool) -> Table:
        # The columns of a view of a dropped table, or of a module that only the application has, cannot be read.
        columns = frozenset(each for (column,) in self.rows_if_any(COLUMNS, name) for each in (column, column.lower()))
        if kind != ORDINARY:
            return Table(name, kind, columns)
        quoted = self.database.get_sql_context().sql(Entity(name)).query()[0]
        # A WITHOUT ROWID table has no highest rowid, and the estimate is only shown.
        highest = self.rows_if_any(f"SELECT max(rowid) FROM {quoted}")  # noqa: S608  quoted by peewee
        rows = (highest[0][0] or 0) if highest else None
        return Table(name, kind, columns, rows=rows, bytes=self._bytes(name) if sizes else None)

    def _bytes(self, name: str) -> int | None:
        # dbstat is a compile-time option of SQLite.
        return next((int(row[0]) for row in self.rows_if_any(BYTES, name)), None)

    def tables_in(self, schema: str | None, names: Iterable[str]) -> dict[str, Table]:
        """Return the tables of these names in a schema; a file has none but its own, which has no name."""
        return {} if schema else self.tables(names)

    def version_tables(self, schema: str | None, name: str) -> list[tuple[str | None, str]]:
        """Return the first few tables that look like Alembic's, but for the one of this name."""
        return [] if schema else [(None, found) for (found,) in self.rows(VERSION_TABLES, name)]

    def is_empty(self) -> bool:
        """Return whether the file has no table but those that record revisions."""
        return not self.rows(ANY_TABLE, json.dumps(META_TABLES))

    def problems(self) -> list[str]:
        """Return why this file cannot be written, one sentence each; a symbolic link is followed."""
        if self.path == IN_MEMORY:
            return []
        path = os.path.realpath(self.path)
        folder = os.path.dirname(path)
        checks = [
            (os.path.exists(path) and not os.access(path, os.W_OK), f"the file {path} cannot be written"),
            (
                not os.access(folder, os.W_OK),
                f"the folder {folder} cannot be written, and SQLite keeps its journal there",
            ),
        ]
        return [problem for wrong, problem in checks if wrong]


def _after_name(sql: str | None) -> str:
    """Return the statement of an index from its ON, in one spelling of its space and quotes; empty for a constraint."""
    return " ".join(re.split(r"\bON\b", sql or "", maxsplit=1, flags=re.IGNORECASE)[-1].replace('"', "").split())


def _kind(kind: str, sql: str | None) -> str:
    return "virtual table" if (sql or "").upper().startswith(VIRTUAL) else kind


def _bound(text: str) -> str | bytes:
    """Return a parameter as sqlite3 accepts it."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")
