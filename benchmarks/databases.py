"""The databases that are measured: filled once, then copied afresh for each run."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psycopg2

import models
import sample
from benchmarks.contestants import NAMES
from benchmarks.process import CommandFailed
from indexer.connection import connect
from indexer.events import silent
from tests.support import postgres_server

# On top of those of the tests' server. Autovacuum would run during some runs and not during others.
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "autovacuum": "off"}

SHOWN = (
    *("server_version", "shared_buffers", "maintenance_work_mem", "max_parallel_maintenance_workers"),
    *("max_parallel_workers", "max_wal_size", "wal_level", "fsync", "synchronous_commit", "full_page_writes"),
    "autovacuum",
)

TENANT = "tenant_%"  # what the names of schemas are like
KNOWS_STRATEGY = 150000
KNOWS_FORCE = 130000

VALID = """
    SELECT pg_catalog.count(*)
      FROM pg_catalog.pg_index AS i
      JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
     WHERE i.indisvalid
       AND c.relname = ANY (%s)
"""
EXISTING = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"


class Databases(ABC):
    """Databases with the CRM's tables and made-up rows.

    Args:
        rows: how many activities a full one has.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._templates: dict[int, str] = {}

    @abstractmethod
    def copy(self, rows: int | None = None) -> AbstractContextManager[str]:
        """Return a context with the URL of a fresh copy, full or with so many activities, which is on disk."""

    @abstractmethod
    def count_indexes(self, url: str) -> float:
        """Return how many of the ten indexes are built and valid."""

    @abstractmethod
    def _create(self, rows: int) -> str:
        """Create and fill a template, and return its name."""

    @property
    def content(self) -> str:
        """What a full database holds."""
        return f"{self.rows:,} activities"

    def settings(self) -> dict[str, str]:
        """Return the settings that matter to a build, by name."""
        return {}

    def check(self, url: str, built: bool) -> None:
        """Raise CommandFailed unless all ten indexes are built and valid, or none exists."""
        found, expected = self.count_indexes(url), len(NAMES) if built else 0
        if found != expected:
            raise CommandFailed(f"{found} of {len(NAMES)} indexes are valid, not {expected}")

    def template(self, rows: int | None) -> str:
        """Return the name of a database with so many activities; the first call fills it."""
        count, started = self.rows if rows is None else rows, time.monotonic()
        if count not in self._templates:
            self._templates[count] = self._create(count)
            print(f"filled a database with {count:,} activities in {time.monotonic() - started:.0f} s", flush=True)
        return self._templates[count]


class Server(Databases):
    """A PostgreSQL server on which databases may be created."""

    def __init__(self, url: str, rows: int) -> None:
        super().__init__(rows)
        self.url = url
        self._prefix = f"indexer_benchmark_{secrets.token_hex(4)}"
        self._version = int(_one(url, "SHOW server_version_num"))

    def settings(self) -> dict[str, str]:
        """Return the server's settings."""
        return {name: _one(self.url, f"SHOW {name}") for name in SHOWN}

    @contextmanager
    def copy(self, rows: int | None = None) -> Iterator[str]:
        """Copy the template, and drop the copy afterwards."""
        template, name = self.template(rows), f"{self._prefix}_run_{secrets.token_hex(4)}"
        strategy = "STRATEGY file_copy" if self._version >= KNOWS_STRATEGY else ""
        _execute(self.url, f"CREATE DATABASE {name} TEMPLATE {template} {strategy}", "CHECKPOINT")
        os.sync()
        try:
            yield postgres_server.with_database(self.url, name)
        finally:
            self._drop(name)

    def count_indexes(self, url: str) -> int:
        """Count them in the catalog."""
        return int(_one(url, VALID, NAMES))

    def close(self) -> None:
        """Drop the template databases."""
        for name in self._templates.values():
            self._drop(name)

    def _create(self, rows: int) -> str:
        name = f"{self._prefix}_{rows}"
        _execute(self.url, f"CREATE DATABASE {name} TEMPLATE template0")
        url = postgres_server.with_database(self.url, name)
        _fill(url, rows)
        _execute(url, "VACUUM (ANALYZE)", "CHECKPOINT")
        return name

    def _drop(self, name: str) -> None:
        _execute(self.url, f"DROP DATABASE IF EXISTS {name} {'WITH (FORCE)' if self._version >= KNOWS_FORCE else ''}")


class Tenants(Server):
    """The same server; a database has the empty tables in each of so many schemas."""

    def __init__(self, url: str, schemas: int) -> None:
        super().__init__(url, 0)
        self.schemas = [TENANT.replace("%", f"{number:04}") for number in range(schemas)]

    @property
    def content(self) -> str:
        """What a database holds."""
        return f"Empty tables in {len(self.schemas)} schemas"

    def count_indexes(self, url: str) -> float:
        """Count them in all schemas, and return their number for each."""
        return int(_one(url, VALID, NAMES)) / len(self.schemas)

    def _create(self, rows: int) -> str:
        name = super()._create(rows)
        url = postgres_server.with_database(self.url, name)
        tables = [model._meta.table_name for model in models.TABLES]
        for schema in self.schemas:
            copies = [f"CREATE TABLE {schema}.{table} (LIKE public.{table} INCLUDING ALL)" for table in tables]
            _execute(url, f"CREATE SCHEMA {schema}", *copies)
        _execute(url, "CHECKPOINT")
        return name


class Files(Databases):
    """SQLite files in a folder."""

    def __init__(self, folder: Path, rows: int) -> None:
        super().__init__(rows)
        self._folder = folder

    @contextmanager
    def copy(self, rows: int | None = None) -> Iterator[str]:
        """Copy the template into a folder of its own."""
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            yield f"sqlite:///{shutil.copy(self.template(rows), Path(folder) / 'crm.db')}"

    def count_indexes(self, url: str) -> int:
        """Count them in the schema."""
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return len({name for (name,) in connection.execute(EXISTING)} & set(NAMES))

    def _create(self, rows: int) -> str:
        path = self._folder / f"template_{rows}.db"
        path.touch()
        _fill(f"sqlite:///{path}", rows)
        return str(path)


@contextmanager
def server(url: str | None, rows: int) -> Iterator[Server]:
    """Yield the server of a URL, or a temporary one."""
    postgres_server.SETTINGS.update(SETTINGS)
    with nullcontext(url) if url else postgres_server.running_server() as address:
        opened = Server(address, rows)
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def files(rows: int) -> Iterator[Files]:
    """Yield SQLite files in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        yield Files(Path(folder), rows)


def _fill(url: str, activities: int) -> None:
    """Create the tables in an empty database, and fill them if there are any activities."""
    migrator = connect(url)
    with closing(migrator.database):
        migrator.settle(())
        with migrator.migration_context():
            migrator.create_tables(models.TABLES)
        if activities:
            sample.fill(migrator, activities, True, silent)


def _execute(url: str, *commands: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for command in commands:
            cursor.execute(command)


def _one(url: str, query: str, *parameters: Any) -> Any:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(query, parameters or None)
        row = cursor.fetchone()
        assert row
        return row[0]
