"""Checks the indexes of a file by PRAGMA integrity_check, which compares each with its table, row by row."""

from __future__ import annotations

import re
import sqlite3
import time
from typing import TYPE_CHECKING

from peewee import DatabaseError

from indexer.care.deep import CANNOT_TELL, CLEAN, CORRUPT, INTEGRITY_CHECK, Checker, Finding
from indexer.text import few, visible

if TYPE_CHECKING:
    from indexer.sqlite.migrator import PlainMigrator

OF_A_TABLE = (3, 33, 0)  # the first version that checks one table by itself
MOST_PROBLEMS = 100  # after which SQLite ends the check
OK = "ok"
NO_INDEX = "There is no index of this name."
UNREAD = f"SQLite ended the check after {MOST_PROBLEMS} problems of other indexes: repair those first."

TABLE = """
    SELECT i.name,
           i.tbl_name,
           i.rootpage,
           t.rootpage
      FROM sqlite_master AS i
      JOIN sqlite_master AS t ON t.type = 'table' AND t.name = i.tbl_name
     WHERE i.type = 'index'
       AND lower(i.name) = lower(?)
"""


class SqliteChecker(Checker):
    """The checks of one file; what SQLite says of a table is asked once for all of its indexes."""

    def __init__(self, migrator: PlainMigrator) -> None:
        super().__init__()
        self.database = migrator.database
        self.catalog = migrator.catalog
        self._problems: dict[str, list[str]] = {}

    def check(self, name: str) -> Finding:
        """Check an index by what SQLite says of it, or of a page of it."""
        started = time.monotonic()
        rows = self.catalog.rows(TABLE, name)
        if not rows:
            return Finding(name, CANNOT_TELL, None, NO_INDEX)
        finding = self._finding(name, *rows[0])
        return finding._replace(seconds=time.monotonic() - started)

    def _finding(self, name: str, stored: str, table: str, root: int, table_root: int) -> Finding:
        try:
            problems = self._problems_of(table)
        except DatabaseError as error:
            text = f"SQLite cannot check table {table}: {visible(str(error))}."
            return Finding(name, CANNOT_TELL, INTEGRITY_CHECK, text)
        own = [each for each in problems if _names(each, stored) or _is_of_tree(each, root)]
        if own:
            return Finding(name, CORRUPT, INTEGRITY_CHECK, f"{'; '.join(few(own))}.")
        if any(_is_of_tree(each, table_root) for each in problems):
            text = f"Its table {table} is damaged: {problems[0]}."
            return Finding(name, CANNOT_TELL, INTEGRITY_CHECK, text)
        if len(problems) >= MOST_PROBLEMS:
            return Finding(name, CANNOT_TELL, INTEGRITY_CHECK, UNREAD)
        return Finding(name, CLEAN, INTEGRITY_CHECK)

    def _problems_of(self, table: str) -> list[str]:
        """Return what SQLite finds wrong with a table and its indexes; on an old version, with the whole file."""
        key = table if sqlite3.sqlite_version_info >= OF_A_TABLE else ""
        if key not in self._problems:
            quoted = key.replace("'", "''")
            rows = self.catalog.rows(f"PRAGMA integrity_check('{quoted}')" if key else "PRAGMA integrity_check")
            lines = [line for (said,) in rows for line in str(said).splitlines()]
            self._problems[key] = [visible(line) for line in lines if line != OK and not line.startswith("***")]
        return self._problems[key]


def _names(problem: str, index: str) -> bool:
    return re.search(rf"\bindex {re.escape(visible(index))}$", problem) is not None


def _is_of_tree(problem: str, root: int) -> bool:
    """Return whether a problem is about a page of the B-tree with this root page."""
    return re.match(rf"(On tree|Tree|On page|On tree page) {root}\b", problem) is not None
