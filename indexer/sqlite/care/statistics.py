"""The statistics that ANALYZE has left in a SQLite file. SELECTs only."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from peewee import DatabaseError, Entity

from indexer.care.statistics import Statistics
from indexer.sqlite.catalog import SqliteCatalog

# ANALYZE reads at most this many rows of an index. Of a larger table it then estimates the number: 321,210 for 600,000
# rows with a limit of 1,000. Old are estimates that differ tenfold, which is the rule of PRAGMA optimize.
SAMPLED, TENFOLD = 1_000_000, 10

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
        modified = _modified(rows, rows_then)
        found[name] = Statistics(name, rows, rows_then is not None, modified=modified, rows_then=rows_then)
    return found


def _modified(rows: int | None, rows_then: int | None) -> int | None:
    """Return how many rows have been added or deleted; None where that is not known, or is only estimated."""
    if rows is None or rows_then is None:
        return None
    least, most = sorted((rows, rows_then))
    is_estimated = most > SAMPLED and most < TENFOLD * least
    return None if is_estimated else most - least


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
