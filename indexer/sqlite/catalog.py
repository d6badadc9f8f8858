"""SQLite's catalog: what stands under a name, which tables there are, what would stop a change. SELECTs only."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from peewee import Database, DatabaseError, Entity

from indexer.catalog import META_TABLES, ORDINARY, Found, Table
from indexer.spec import Definition

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

INDEXES_ON = """
    SELECT l.name,
           'index',
           t.name,
           s.sql
      FROM sqlite_master AS t,
           pragma_index_list(t.name) AS l
      LEFT JOIN sqlite_master AS s ON s.name = l.name
     WHERE t.type = 'table'
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

IS_EMPTY = """
    SELECT NOT EXISTS (
           SELECT 1
             FROM sqlite_master
            WHERE type IN ('table', 'view')
              AND name NOT IN (SELECT value FROM json_each(?))
              AND name NOT LIKE 'sqlite^_%' ESCAPE '^')
"""


class SqliteCatalog:
    """The catalog of one SQLite file."""

    schema: str | None = None

    def __init__(self, database: Database, path: str) -> None:
        self.database = database
        self.path = path

    def rows(self, query: str, *parameters: Any) -> list[Any]:
        """The rows of one SELECT."""
        return list(self.database.execute_sql(query, parameters).fetchall())

    def find(self, names: Sequence[str], sizes: bool = False) -> dict[str, Found]:
        """What stands under these names in the file; names are compared as SQLite does, without regard to case."""
        asked = {name.lower(): name for name in names}
        found = self.rows(OBJECTS, json.dumps(list(names)))
        return {asked[row[0].lower()]: self._found(row, sizes) for row in found}

    def indexes_on(self, tables: Iterable[str]) -> list[Found]:
        """All indexes of these tables, those of constraints included, by name."""
        return [self._found(row, sizes=False) for row in self.rows(INDEXES_ON, json.dumps(list(tables)))]

    def _found(self, row: tuple[str, str, str, str | None], sizes: bool) -> Found:
        name, kind, table, sql = row
        if kind != "index":
            return Found(name, kind)
        columns = self.rows(INDEX, table, name)
        unique, partial, origin = columns[0][:3]
        definition = Definition(
            table=table.lower(),
            method="btree",
            key=tuple(_sqlite_key(column, sql or "") for column in columns),
            unique=bool(unique),
            predicate=_sqlite_predicate(sql) if partial else None,
            constraint=None if origin == "c" else name,
        )
        return Found(name, kind, definition, bytes=self._bytes(name) if sizes else None)

    def tables(self, names: Iterable[str], sizes: bool = False) -> dict[str, Table]:
        """The tables of these names in the file; the highest rowid stands in for the number of rows."""
        asked = {name.lower(): name for name in names}
        found = self.rows(OBJECTS, json.dumps(list(asked)))
        tables = (row for row in found if row[1] in (ORDINARY, "view"))
        return {asked[name.lower()]: self._table(name, kind, sizes) for name, kind, *_ in tables}

    def _table(self, name: str, kind: str, sizes: bool) -> Table:
        columns = frozenset(each for (column,) in self.rows(COLUMNS, name) for each in (column, column.lower()))
        if kind != ORDINARY:
            return Table(name, kind, columns)
        return Table(name, kind, columns, rows=self._highest_rowid(name), bytes=self._bytes(name) if sizes else None)

    def _highest_rowid(self, table: str) -> int | None:
        quoted = self.database.get_sql_context().sql(Entity(table)).query()[0]
        try:
            return self.rows(f"SELECT max(rowid) FROM {quoted}")[0][0] or 0  # noqa: S608  quoted by peewee
        except DatabaseError:  # a WITHOUT ROWID table has none, and the estimate is only for people
            return None

    def _bytes(self, name: str) -> int | None:
        try:
            return int(self.rows(BYTES, name)[0][0])
        except DatabaseError:  # dbstat is a compile-time option of SQLite
            return None

    def version_tables(self, name: str) -> list[str]:
        """Return the first few tables that look like Alembic's, besides the one of this name."""
        return [found for (found,) in self.rows(VERSION_TABLES, name)]

    def is_empty(self) -> bool:
        """Does the file hold no table but our own?"""
        return bool(self.rows(IS_EMPTY, json.dumps(META_TABLES))[0][0])

    def problems(self) -> list[str]:
        """Return why this file cannot be written; behind a symbolic link, the real one and its folder count."""
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


def _sqlite_key(column: Sequence[Any], sql: str) -> str:
    *_, name, descending, collation = column
    # Without COLLATE in its own text an index takes the column's collation, and so would ours.
    explicit = collation != "BINARY" and re.search(r"\bCOLLATE\b", sql, re.IGNORECASE)
    collated, directed = f" COLLATE {collation}" if explicit else "", " DESC" if descending else ""
    return f"{(name or '(expression)').lower()}{collated}{directed}"


def _sqlite_predicate(sql: str | None) -> str:
    _, *predicate = re.split(r"\)\s*WHERE\b", sql or "", maxsplit=1, flags=re.IGNORECASE)
    return " ".join("".join(predicate).split()) or "(a predicate)"
