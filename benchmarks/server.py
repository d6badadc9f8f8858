"""The PostgreSQL that is measured: a server, one filled template database, and a fresh copy of it for every run."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import Any

import psycopg2

from benchmarks import statements
from tests.support import foreign_crm, postgres_server

# On top of those of the tests. Autovacuum would come and go during some runs and not during others.
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

OURS_STANDING = """
    SELECT count(*)
      FROM pg_catalog.pg_index
     WHERE indisvalid
       AND indexrelid::regclass::text = ANY (%s)
"""


class Server:
    """A server on which databases may be created.

    Attributes:
        rows: how many activities the template database holds.
    """

    def __init__(self, url: str, rows: int) -> None:
        self.url = url
        self.rows = rows
        self._prefix = f"indexer_benchmark_{secrets.token_hex(4)}"
        self._templates: dict[int, str] = {}

    def settings(self) -> dict[str, str]:
        """The settings that matter to a build, by name."""
        return {name: _one(self.url, f"SHOW {name}") for name in SHOWN}

    def template(self, rows: int) -> str:
        """The name of a database with so many activities; filled when it is first asked for."""
        if rows not in self._templates:
            name = self._templates[rows] = f"{self._prefix}_{rows}"
            self._execute(f"CREATE DATABASE {name} TEMPLATE template0")
            started = time.monotonic()
            _fill(postgres_server.with_database(self.url, name), rows)
            print(f"filled a database with {rows:,} activities in {time.monotonic() - started:.0f} s", flush=True)
        return self._templates[rows]

    @contextmanager
    def copy(self, rows: int | None = None) -> Iterator[str]:
        """URL of a fresh copy of the template, on disk and at rest; dropped afterwards."""
        template = self.template(self.rows if rows is None else rows)
        name = f"{self._prefix}_run_{secrets.token_hex(4)}"
        strategy = "STRATEGY file_copy" if self._version() >= KNOWS_STRATEGY else ""
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template} {strategy}", "CHECKPOINT")
        os.sync()
        try:
            yield postgres_server.with_database(self.url, name)
        finally:
            self._drop(name)

    def drop_templates(self) -> None:
        """Leave nothing behind."""
        for name in self._templates.values():
            self._drop(name)
        self._templates.clear()

    def _drop(self, name: str) -> None:
        self._execute(f"DROP DATABASE IF EXISTS {name} {'WITH (FORCE)' if self._version() >= KNOWS_FORCE else ''}")

    def _version(self) -> int:
        return int(_one(self.url, "SHOW server_version_num"))

    def _execute(self, *commands: str) -> None:
        _execute(self.url, commands)


@contextmanager
def opened(url: str | None, rows: int) -> Iterator[Server]:
    """The server of a URL, or a throw-away one."""
    with nullcontext(url) if url else _throw_away() as address:
        server = Server(address, rows)
        try:
            yield server
        finally:
            server.drop_templates()


def _throw_away() -> AbstractContextManager[str]:
    postgres_server.SETTINGS.update(SETTINGS)
    return postgres_server.running_server()


def standing(url: str) -> int:
    """How many of the ten indexes stand and are valid."""
    return int(_one(url, OURS_STANDING, statements.names()))


def _fill(url: str, rows: int) -> None:
    with closing(psycopg2.connect(url)) as connection:
        foreign_crm.create_schema(connection)
        if rows:
            foreign_crm.load(connection, activities=rows)
    _execute(url, ["VACUUM (ANALYZE)", "CHECKPOINT"])


def _execute(url: str, commands: Sequence[str]) -> None:
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
