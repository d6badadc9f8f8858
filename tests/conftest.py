"""Databases for the tests. None is mocked, and where there is no PostgreSQL the tests fail and say so."""

import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from postgres_server import running_server, with_database


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a server on which databases may be created: TEST_DATABASE_URL, or one started for the tests."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given
    else:
        with running_server() as url:
            yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of a new, empty PostgreSQL database, dropped after the test even if sessions are still open."""
    name = "test_" + uuid.uuid4().hex[:12]
    with closing(psycopg2.connect(postgres_server)) as admin, admin.cursor() as cursor:
        admin.autocommit = True
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        yield with_database(postgres_server, name)
        # DROP DATABASE ... WITH (FORCE) came with PostgreSQL 13.
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'crm.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty database: a test that asks for it runs on SQLite and on PostgreSQL."""
    return request.getfixturevalue({"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param])
