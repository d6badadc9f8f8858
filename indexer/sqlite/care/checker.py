"""Checks the indexes of a file by PRAGMA integrity_check, which compares each with its table, row by row."""

from __future__ import annotations

import re
import sqlite3
import time
from typing import TYPE_CHECKING

from peewee import DatabaseError, Entity

from indexer.care.deep import CANNOT_TELL, CLEAN, CORRUPT, INTEGRITY_CHECK, Checker, Finding
from indexer.errors import Command, Hint
from indexer.sqlite.file import MALFORMED
from indexer.text import few, visible

if TYPE_CHECKING:
    from indexer.sqlite.migrator import PlainMigrator

OF_A_TABLE = (3, 33, 0)  # the first version that checks one table by itself
MOST_PROBLEMS = 100  # after which SQLite ends the check
OK = "ok"
NO_INDEX = "There is no index of this name."
OF_AN_INDEX = re.compile(r"\bindex (\S+)$")

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
        except (DatabaseError, sqlite3.DatabaseError) as error:
            return self._read_alone(name, stored, table, visible(str(error)))
        own = [each for each in problems if _names(each, stored) or _is_of_tree(each, root)]
        if own:
            return Finding(name, CORRUPT, INTEGRITY_CHECK, f"{'; '.join(few(own))}.")
        if any(_is_of_tree(each, table_root) for each in problems):
            text = f"Its table {table} is damaged: {problems[0]}."
            return Finding(name, CANNOT_TELL, INTEGRITY_CHECK, text, is_failed=True)
        if len(problems) >= MOST_PROBLEMS:
            return Finding(name, CANNOT_TELL, INTEGRITY_CHECK, _unread(problems), is_failed=True)
        return Finding(name, CLEAN, INTEGRITY_CHECK)

    def _read_alone(self, name: str, stored: str, table: str, reason: str) -> Finding:
        """Return what reading all of an index says, where a page that cannot be read ends the check of its table."""
        whole = f"SQLite cannot check table {table}: {reason}."
        if self._is_damaged(table, "NOT INDEXED"):
            text = f"{whole} The table itself is damaged."
            return Finding(name, CANNOT_TELL, INTEGRITY_CHECK, text, is_failed=True)
        if self._is_damaged(table, f"INDEXED BY {self._quoted(stored)}"):
            return Finding(name, CORRUPT, INTEGRITY_CHECK, f"SQLite cannot read it: {reason}.")
        text = f"{whole} Repair the index of it that is damaged first."
        return Finding(name, CANNOT_TELL, INTEGRITY_CHECK, text, is_failed=True)

    def _is_damaged(self, table: str, how: str) -> bool:
        """Return whether reading all of a table, or of an index with its row numbers, ends at a damaged page."""
        try:
            self.catalog.rows(f"SELECT total(rowid) FROM {self._quoted(table)} {how}")  # noqa: S608  quoted by peewee
        except (DatabaseError, sqlite3.DatabaseError) as error:
            return MALFORMED in str(error)
        return False

    def _quoted(self, name: str) -> str:
        return str(self.database.get_sql_context().sql(Entity(name)).query()[0])

    def _problems_of(self, table: str) -> list[str]:
        """Return what SQLite finds wrong with a table and its indexes; on an old version, with the whole file."""
        key = table if sqlite3.sqlite_version_info >= OF_A_TABLE else ""
        if key not in self._problems:
            quoted = key.replace("'", "''")
            rows = self.catalog.rows(f"PRAGMA integrity_check('{quoted}')" if key else "PRAGMA integrity_check")
            lines = [line for (said,) in rows for line in str(said).splitlines()]
            self._problems[key] = [visible(line) for line in lines if line != OK and not line.startswith("***")]
        return self._problems[key]


def _unread(problems: list[str]) -> Hint:
    """Return why nothing is known of an index, and how to repair those that SQLite has found instead."""
    found = dict.fromkeys(match[1] for problem in problems if (match := OF_AN_INDEX.search(problem)))
    first = Hint("Repair those first: ", Command("reindex", *found)) if found else Hint()
    return Hint(f"SQLite ended the check after {MOST_PROBLEMS} problems of {', '.join(found) or 'its table'}. ", first)


def _names(problem: str, index: str) -> bool:
    return re.search(rf"\bindex {re.escape(visible(index))}$", problem) is not None


def _is_of_tree(problem: str, root: int) -> bool:
    """Return whether a problem is about a page of the B-tree with this root page."""
    return re.match(rf"(On tree|Tree|On page|On tree page) {root}\b", problem) is not None
