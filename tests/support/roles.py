"""The roles of the tests: a plain owner of the tables, and an application beside it that only writes rows.

Roles belong to the whole server. Each of them is made once, also where several test processes share one server.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from urllib.parse import quote, urlsplit

import psycopg2
from postgres_server import with_database

OWNER = "crm_owner"
APPLICATION = "crm_app"
PASSWORD = "of the test"
MAKING_ROLES = 7_305_116  # the advisory lock of a test process that makes what belongs to the whole server

MAKE_ROLE = """
    DO $$
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
            CREATE ROLE {role} LOGIN PASSWORD '{password}';
        END IF;
    END
    $$
"""

# The application may read and write every new table of the owner, in every schema.
RIGHTS = (
    f"ALTER SCHEMA public OWNER TO {OWNER}",
    f"GRANT USAGE ON SCHEMA public TO {APPLICATION}",
    f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} GRANT USAGE ON SCHEMAS TO {APPLICATION}",
    f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {APPLICATION}",
    f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} GRANT USAGE ON SEQUENCES TO {APPLICATION}",
)


def as_role(url: str, role: str) -> str:
    """Return the URL for another role, with the password of the tests' roles if the URL has a password."""
    password = ":" + quote(PASSWORD) if urlsplit(url).password else ""
    return re.sub(r"//([^/?]*@)?", f"//{quote(role, safe='')}{password}@", url, count=1)


def as_owner(url: str) -> str:
    """Return the URL for the plain owner of the tables."""
    return as_role(url, OWNER)


def as_application(url: str) -> str:
    """Return the URL for the application, which may only read and write rows."""
    return as_role(url, APPLICATION)


def make_roles(server: str) -> None:
    """Make the two roles unless they exist; another process that does the same waits."""
    with closing(psycopg2.connect(server)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (MAKING_ROLES,))
        for role in (OWNER, APPLICATION):
            cursor.execute(MAKE_ROLE.format(role=role, password=PASSWORD))


@contextmanager
def new_database(server: str, template: str | None = None) -> Iterator[str]:
    """Make a database of the owner, yield its URL for the superuser, and drop it even if it is in use.

    Args:
        template: the database to copy, which has the rights of the application; without one, it is empty.
    """
    name = f"test_{uuid.uuid4().hex[:12]}"
    url = with_database(server, name)
    execute(server, f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {template or 'template0'}{_by_files(server)}")
    if not template:
        execute(url, *RIGHTS)
    yield url
    # DROP DATABASE ... WITH (FORCE) came with PostgreSQL 13.
    sessions = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    execute(server, sessions, f"DROP DATABASE IF EXISTS {name}")


@cache
def _by_files(server: str) -> str:
    """Return the option that copies the files, as servers before 15 do: logging them takes three times the work."""
    with closing(psycopg2.connect(server)) as connection:
        return " STRATEGY file_copy" if connection.server_version >= 150000 else ""


def execute(url: str, *statements: str) -> None:
    """Execute statements one by one, in autocommit."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for statement in statements:
            cursor.execute(statement)


@contextmanager
def another_role(superuser_url: str, *rights: str) -> Iterator[str]:
    """Make a role for one test, with rights in which {role} is its name; drop it with everything it owns."""
    name = "test_" + uuid.uuid4().hex[:12]
    execute(superuser_url, f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    try:
        execute(superuser_url, *(right.format(role=name) for right in rights))
        yield name
    finally:
        execute(superuser_url, f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")
