"""A SQLite file with what the application gives its own connection."""

from __future__ import annotations

from functools import partial
from typing import Any

from peewee import SqliteDatabase

from indexer.text import shell

BUSY_TIMEOUT = 1.0  # seconds; longer waits are a loop of this tool, which obeys signals

# What an application gives its connection and an index may need: what peewee calls these, each a set or a dictionary.
REGISTRIES = ("_aggregates", "_collations", "_functions", "_window_functions", "_extensions")
OF_A_SESSION = {
    *("cache_size", "case_sensitive_like", "cell_size_check", "checkpoint_fullfsync", "foreign_keys", "fullfsync"),
    *("ignore_check_constraints", "mmap_size", "recursive_triggers", "secure_delete", "synchronous", "temp_store"),
    *("trusted_schema", "wal_autocheckpoint"),
}
OF_A_NEW_FILE = {"application_id", "auto_vacuum", "encoding", "journal_mode", "page_size", "user_version"}


MALFORMED = "malformed"  # what SQLite says of a damaged file, also in other words around it


def recovery(path: str) -> str:
    """Return what helps where a file is so damaged that SQLite cannot repair it."""
    command = f"sqlite3 {shell(path)} .dump | sqlite3 {shell(path + '.saved')}"
    return f"The file is damaged. Restore a backup, or save the rows that can be read in another file: {command}"


class File(SqliteDatabase):
    """A SQLite file whose text need not be UTF-8: each byte that is not is read as half of a surrogate pair.

    Args:
        beside: the application's own database for the file, whose functions, collations and pragmas this one has, too.
    """

    _pragmas: Any

    def __init__(self, database: str, beside: SqliteDatabase | None = None, **settings: Any) -> None:
        super().__init__(database, timeout=BUSY_TIMEOUT, **settings)
        given = [(name.lower(), value) for name, value in getattr(beside, "_pragmas", ())]
        self._pragmas = [pair for pair in given if pair[0] in OF_A_SESSION] + list(self._pragmas)
        self._of_a_new_file = [pair for pair in given if pair[0] in OF_A_NEW_FILE]
        for registry in REGISTRIES if beside else ():
            getattr(self, registry).update(getattr(beside, registry, ()))

    def create(self, path: str) -> None:
        """Open a file that does not exist yet, instead of the empty database that was read in its place."""
        self.close()
        self.init(path, pragmas=[*self._of_a_new_file, *self._pragmas], timeout=self.timeout)
        self.connect()

    def _initialize_connection(self, conn: Any) -> None:
        conn.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Execute a statement; a text that it stores has a replacement character for each such byte."""
        given = [_storable(each) if isinstance(each, str) else each for each in params or ()]
        return super().execute_sql(sql, given)


def _storable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
