"""How SQLite is filled: the migrator's transaction keeps other writers out, and ids follow the highest one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sample.sql import Spelling

if TYPE_CHECKING:
    from indexer.migrator import CatalogMigrator

CACHE = -100_000  # KiB: with a smaller cache pages are written twice

SPELLING = Spelling(
    numbers="""{name} (n, chance) AS (
        SELECT n, {chance} FROM (SELECT {first} AS n)
         UNION ALL
        SELECT n + 1, {next} FROM {name} WHERE n < {last}
    )""",
    moment="datetime({}, 'unixepoch')",
    json="{}",
    digits="printf('%016x', {})",
    parameter=":{}",
    percent="%",
)


@contextmanager
def writing(migrator: CatalogMigrator, rows: Mapping[str, int], new: bool) -> Iterator[None]:
    """Enlarge the cache of the connection."""
    before = migrator.database.pragma("cache_size")
    migrator.database.pragma("cache_size", CACHE)
    try:
        yield
    finally:
        migrator.database.pragma("cache_size", before)


def analyze(migrator: CatalogMigrator, names: list[str]) -> None:
    """Bring the statistics of these tables up to date."""
    for name in names:
        migrator.execute_text(f"ANALYZE {name}")
