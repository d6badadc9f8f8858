"""A temporary SQLite file to measure with."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from glob import escape, glob
from typing import TYPE_CHECKING, Any

from peewee import Database, SqliteDatabase

from indexer.connection import connect
from indexer.signals import Stop
from indexer.sqlite.migrator import interrupt
from indexer.text import shell, visible

if TYPE_CHECKING:
    from indexer.migrator import CatalogMigrator

FILE = "crm.db"
SETTINGS = ("journal_mode", "synchronous", "cache_size", "page_size")


class File:
    """A SQLite file to measure with; its migrator is connected."""

    product = f"SQLite {sqlite3.sqlite_version}"

    def __init__(self, migrator: CatalogMigrator, stop: Stop) -> None:
        self.migrator = migrator
        self._database: Any = migrator.database
        self._stop = stop

    def settings(self) -> dict[str, str]:
        """Return the pragmas that affect speed."""
        return {name: str(self._database.pragma(name)) for name in SETTINGS}

    def bytes(self, tables: Collection[str]) -> int:
        """Return the size of the file, which holds nothing else."""
        return int(self._database.pragma("page_count") * self._database.pragma("page_size"))

    @contextmanager
    def application(self) -> Iterator[Database]:
        """Open a connection as an application does; its statement is cancelled when the process is asked to stop."""
        with closing(SqliteDatabase(self._database.database)) as database:
            self._stop.on_ask(partial(interrupt, database.connection()))
            yield database


@contextmanager
def file(url: str, prefix: str, stop: Stop) -> Iterator[File]:
    """Create a file that exists during the block, and remove those that killed processes left."""
    _remove_stale_folders(prefix)
    with (
        tempfile.TemporaryDirectory(prefix=prefix) as folder,
        stop.leaving(f"{visible(folder)} is left: rm -r {shell(folder)}"),
        ExitStack() as stack,
    ):
        with suppress(OSError):  # a file system without such locks: no other process gets one either
            stack.enter_context(_locked(folder, fcntl.LOCK_EX))
        path = os.path.join(folder, FILE)
        with open(path, "x"):  # a file that does not exist is read as an empty database in memory
            yield File(connect(f"sqlite:///{path}"), stop)


def _remove_stale_folders(prefix: str) -> None:
    """Remove the folders in which no process works: each process locks its folder before it creates the file."""
    for folder in glob(os.path.join(escape(tempfile.gettempdir()), f"{prefix}*")):
        with suppress(OSError), _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
            if os.path.exists(os.path.join(folder, FILE)):
                shutil.rmtree(folder)


@contextmanager
def _locked(folder: str, operation: int) -> Iterator[None]:
    """Hold the lock on a folder, which the kernel releases when the process ends, however it ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)
