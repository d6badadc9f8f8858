"""The statistics that ANALYZE has left in a SQLite file. SELECTs only."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from peewee import DatabaseError, Entity

from indexer.care.statistics import Statistics
from indexer.sqlite.catalog import SqliteCatalog

# The first number is that of the rows; a partial index has fewer.
ROWS_THEN = """
    SELECT max(CAST(stat AS integer))
      FROM sqlite_stat1
     WHERE lower(tbl) = lower(?)
"""


def statistics(catalog: SqliteCatalog, tables: Sequence[str]) -> dict[str, Statistics]:
    """Return the statistics of these tables, by name.

    SQLite does not record when they were gathered, nor how many rows have changed since: known is only by how much
    their number differs.
    """
    found: dict[str, Statistics] = {}
    for name in tables:
        rows, rows_then = _rows(catalog, name), _rows_then(catalog, name)
        modified = abs(rows - rows_then) if rows is not None and rows_then is not None else None
        found[name] = Statistics(name, rows, rows_then is not None, modified=modified, rows_then=rows_then)
    return found


def _rows(catalog: SqliteCatalog, name: str) -> int | None:
    query, _ = catalog.database.get_sql_context().literal("SELECT count(*) FROM ").sql(Entity(name)).query()
    with suppress(DatabaseError):  # a virtual table whose module only the application has
        return int(catalog.rows(query)[0][0])
    return None


def _rows_then(catalog: SqliteCatalog, name: str) -> int | None:
    with suppress(DatabaseError):  # without ANALYZE there is no such table
        rows = catalog.rows(ROWS_THEN, name)[0][0]
        return None if rows is None else int(rows)
    return None
