"""What a SQLite file will need to build indexes, by a sample of the rows of each table, and how much room there is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from peewee import DatabaseError, Entity

from indexer.definition import Column, KeyPart
from indexer.predict.forecast import DATA, SORT, WAL, Disk, Need
from indexer.predict.size import Size
from indexer.sqlite.catalog import IN_MEMORY, SqliteCatalog
from indexer.steps import Step

PROBES = 128  # rows of a table that are looked up
SELECTED = 12  # of them that a predicate must select, to tell how many rows it selects
MULTIPLIER = 2_654_435_761  # spreads the numbers of the probes over the rowids: rows repeat in no such pattern
CELL, POINTER = 1, 2  # bytes of a cell of an index for the length of its record, and for its place in the page
PAGE_HEADER, ROW = 8, 6  # bytes of a page, and of a row beside its columns
FOLDERS = ("SQLITE_TMPDIR", "TMPDIR")  # where SQLite puts temporary files, and then in these
TEMPORARY = ("/var/tmp", "/usr/tmp", "/tmp")  # noqa: S108  nothing is written there by us

STORED = """
    SELECT name
      FROM pragma_table_info(?)
"""

# The bytes that SQLite stores of a value, without its type.
WIDTH = """
    CASE typeof({value})
         WHEN 'null' THEN 0
         WHEN 'real' THEN 8
         WHEN 'integer' THEN CASE WHEN {value} BETWEEN 0 AND 1 THEN 0
                                  WHEN {value} BETWEEN -128 AND 127 THEN 1
                                  WHEN {value} BETWEEN -32768 AND 32767 THEN 2
                                  WHEN {value} BETWEEN -8388608 AND 8388607 THEN 3
                                  WHEN {value} BETWEEN -2147483648 AND 2147483647 THEN 4
                                  WHEN {value} BETWEEN -140737488355328 AND 140737488355327 THEN 6
                                  ELSE 8 END
         ELSE length(CAST({value} AS BLOB)) + (length(CAST({value} AS BLOB)) > 57) END
"""

SAMPLE = """
    WITH RECURSIVE probes ("number of the probe") AS (
         SELECT 1
          UNION ALL
         SELECT "number of the probe" + 1
           FROM probes
          WHERE "number of the probe" < ?)
    SELECT count(*),
           {columns}
      FROM probes
      JOIN {table} AS t ON t.rowid = ("number of the probe" * ?) % ? + 1
"""


class SqlitePredictor:
    """Reads what one file's indexes will need."""

    def __init__(self, catalog: SqliteCatalog) -> None:
        self.catalog = catalog

    def needs(self, steps: Sequence[Step]) -> dict[str, Need]:
        """Return what the indexes of these steps will need, by name."""
        database: Any = self.catalog.database
        page, has_wal = database.pragma("page_size"), database.pragma("journal_mode") == "wal"
        by_table = {name: [step for step in steps if step.index.table == name] for name in _tables(steps)}
        tables = self.catalog.tables(by_table)
        return {
            name: _need(table_bytes, size, has_wal)
            for table, on_table in by_table.items()
            for name, table_bytes, size in self._sizes(table, tables[table].rows, on_table, page)
        }

    def _sizes(
        self, table: str, highest: int | None, steps: Sequence[Step], page: int
    ) -> Iterator[tuple[str, int, Size]]:
        """Yield the name of each index, the bytes of its table and its size, from one sample of the rows.

        Args:
            highest: the highest rowid.
        """
        whole = [_width_of(name) for (name,) in self.catalog.rows(STORED, table)]
        values = [f"sum({' + '.join(whole)})", *(column for step in steps for column in _values(step))]
        sample = self._sampled(table, highest, values) if highest else None
        if highest == 0:
            yield from ((step.index.name, 0, Size(page, None, 0, 0)) for step in steps)
        elif not highest or not sample or not sample[0]:
            why = f"no sample of the rows of {table} could be read"
            yield from ((step.index.name, 0, Size(why=why)) for step in steps)
        else:
            hits, bytes_of_rows, *found = sample
            tuples = highest * hits / min(PROBES, highest)
            table_bytes = round(tuples * (bytes_of_rows / hits + len(whole) + ROW))
            for step in steps:
                *widths, selected = [found.pop(0) or 0 for _ in _values(step)]
                yield step.index.name, table_bytes, _size(step, tuples, hits, selected, sum(widths), page)

    def _sampled(self, table: str, highest: int, values: Sequence[str]) -> Sequence[Any] | None:
        """Return the number of rows that were found at these rowids, and the values over them; None without rowids."""
        quoted = self.catalog.database.get_sql_context().sql(Entity(table)).query()[0]
        query = SAMPLE.format(columns=",\n           ".join(values), table=quoted)
        probes, multiplier = min(PROBES, highest), 1 if highest <= PROBES else MULTIPLIER
        with suppress(DatabaseError):
            row: Sequence[Any] = self.catalog.rows(query, probes, multiplier, highest)[0]
            return row
        return None

    def disks(self) -> Sequence[Disk]:
        """Return the file systems of the file and of SQLite's temporary files."""
        if self.catalog.path == IN_MEMORY:
            return ()
        folders = {DATA: os.path.dirname(os.path.realpath(self.catalog.path)), SORT: _temporary()}
        folders[WAL] = folders[DATA]
        found: dict[int, Disk] = {}
        for kind, folder in folders.items():
            with suppress(OSError):
                device, state = os.stat(folder).st_dev, os.statvfs(folder)
                holds = found[device].holds if device in found else frozenset()
                found[device] = Disk(device, state.f_bavail * state.f_frsize, holds | {kind})
        return list(found.values())


def _tables(steps: Sequence[Step]) -> list[str]:
    return sorted({step.index.table for step in steps})


def _need(table_bytes: int, size: Size, has_wal: bool) -> Need:
    """Return what an index needs: in WAL mode all pages are written there first, else the journal has no new ones."""
    wal = size.bytes if has_wal else 0
    return Need(table_bytes, size, wal, wal, builds=0)


def _temporary() -> str:
    """Return the first folder in which SQLite can make temporary files."""
    named = [folder for folder in map(os.environ.get, FOLDERS) if folder]
    return next((folder for folder in (*named, *TEMPORARY) if os.access(folder, os.W_OK | os.X_OK)), ".")


def _values(step: Step) -> list[str]:
    """Return what is asked of the sample for one index: the width of each part of its key, and the rows selected."""
    selected = f"({step.declared.predicate})" if step.declared.predicate else "true"
    widths = [f"sum(CASE WHEN {selected} THEN {_width(part)} END)" for part in step.declared.key]
    return [*widths, f"sum(CASE WHEN {selected} THEN 1 ELSE 0 END)"]


def _width(part: KeyPart) -> str:
    return _width_of(part.name) if isinstance(part, Column) else WIDTH.format(value=f"({part.sql})")


def _width_of(column: str) -> str:
    quoted = column.replace('"', '""')
    return WIDTH.format(value=f't."{quoted}"')


def _size(step: Step, tuples: float, hits: int, selected: int, width: int, page: int) -> Size:
    """Return the size of an index from the rows of a sample.

    Args:
        tuples: the rows of the table.
        hits: those of the sample.
        selected: those of them that the predicate selects.
        width: the bytes of the values of all of these.
    """
    if step.declared.predicate and selected < min(SELECTED, hits):
        return Size(why="too few rows of a sample meet its predicate to tell how many do")
    count = tuples * selected / hits
    if not selected:
        return Size(page, None, 0, 0)
    rowid = 1 if tuples < 128 else 2 if tuples < 32_768 else 3 if tuples < 8_388_608 else 4
    record = width / selected + len(step.declared.key) + 2 + rowid
    cell = record + CELL + POINTER
    if cell > page / 4:
        return Size(tuples=count, why="its values are so long that they take pages of their own")
    pages = max(count * cell / (page - PAGE_HEADER), 1.0)
    return Size(round(pages) * page, None, round(count * record), count)
