"""The PostgreSQL server that is measured: a filled template database, and a fresh copy of it for each run."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from typing import Any

import psycopg2

from benchmarks import crm, statements
from benchmarks.process import CommandFailed
from tests.support import postgres_server

# On top of those of the tests' server. Autovacuum would run during some runs and not during others.
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "autovacuum": "off"}

SHOWN = (
    "server_version",
    "shared_buffers",
    "maintenance_work_mem",
    "max_parallel_maintenance_workers",
    "max_parallel_workers",
    "max_wal_size",
    "wal_level",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "autovacuum",
)

KNOWS_STRATEGY = 150000
KNOWS_FORCE = 130000

VALID = """
    SELECT pg_catalog.count(*)
      FROM pg_catalog.pg_index AS i
      JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
     WHERE i.indisvalid
       AND c.relname = ANY (%s)
"""


class Server:
    """A server on which databases may be created.

    Attributes:
        rows: how many activities the template database has.
    """

    def __init__(self, url: str, rows: int) -> None:
        self.url = url
        self.rows = rows
        self._prefix = f"indexer_benchmark_{secrets.token_hex(4)}"
        self._templates: dict[int, str] = {}
        self._version = int(_one(url, "SHOW server_version_num"))

    def settings(self) -> dict[str, str]:
        """Return the settings that matter to a build, by name."""
        return {name: _one(self.url, f"SHOW {name}") for name in SHOWN}

    def template(self, rows: int) -> str:
        """Return the name of a database with so many activities; the first call fills it."""
        if rows not in self._templates:
            name = self._templates[rows] = f"{self._prefix}_{rows}"
            _execute(self.url, f"CREATE DATABASE {name} TEMPLATE template0")
            url = postgres_server.with_database(self.url, name)
            started = time.monotonic()
            crm.create(url, rows)
            _execute(url, "VACUUM (ANALYZE)", "CHECKPOINT")
            print(f"filled a database with {rows:,} activities in {time.monotonic() - started:.0f} s", flush=True)
        return self._templates[rows]

    @contextmanager
    def copy(self, rows: int | None = None) -> Iterator[str]:
        """Yield the URL of a fresh copy of the template, which is on disk, and drop it afterwards."""
        template = self.template(self.rows if rows is None else rows)
        name = f"{self._prefix}_run_{secrets.token_hex(4)}"
        strategy = "STRATEGY file_copy" if self._version >= KNOWS_STRATEGY else ""
        _execute(self.url, f"CREATE DATABASE {name} TEMPLATE {template} {strategy}", "CHECKPOINT")
        os.sync()
        try:
            yield postgres_server.with_database(self.url, name)
        finally:
            self._drop(name)

    def drop_templates(self) -> None:
        """Drop the template databases."""
        for name in self._templates.values():
            self._drop(name)
        self._templates.clear()

    def _drop(self, name: str) -> None:
        _execute(self.url, f"DROP DATABASE IF EXISTS {name} {'WITH (FORCE)' if self._version >= KNOWS_FORCE else ''}")


@contextmanager
def opened(url: str | None, rows: int) -> Iterator[Server]:
    """Yield the server of a URL, or a temporary one."""
    postgres_server.SETTINGS.update(SETTINGS)
    with nullcontext(url) if url else postgres_server.running_server() as address:
        server = Server(address, rows)
        try:
            yield server
        finally:
            server.drop_templates()


def check(url: str, built: bool) -> None:
    """Raise CommandFailed unless all ten indexes are built and valid, or none exists."""
    found, expected = _one(url, VALID, statements.NAMES), len(statements.NAMES) if built else 0
    if found != expected:
        raise CommandFailed(f"{found} of {len(statements.NAMES)} indexes are valid, not {expected}")


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
