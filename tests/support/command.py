"""Run the command line as a user does, and read the database with plain SQL, without the code under test."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import foreign_crm
import psycopg2
from processes import CLI as CLI
from processes import start

PATIENCE = 120  # seconds for a command, on a machine that has other work
BASE, HEAD = "2792ed2d7978", "10992629d68e"
SEVEN_TABLES = {
    "contact",
    "conversation",
    "activity",
    "campaign",
    "campaign_membership",
    "contact_flag",
    "webhook_event",
}
OWN_TABLES = {"schema_revision", "schema_revision_log"}
SIX_INDEXED_TABLES = SEVEN_TABLES - {"campaign"}

# What the specification asks for: name, table, key, and what PostgreSQL alone is to do.
TEN = (
    ("ix_activity_openphone_id", "activity", "(openphone_id)", "btree", ""),
    ("ix_webhook_event_processed", "webhook_event", "(processed, event_type)", "btree", ""),
    ("ix_campaign_membership_campaign_status", "campaign_membership", "(campaign_id, status)", "btree", ""),
    ("ix_contact_phone_hash", "contact", "(phone)", "hash", ""),
    ("ix_activity_conversation_created", "activity", "(conversation_id, created_at DESC)", "btree", ""),
    (
        "ix_contact_flag_opted_out",
        "contact_flag",
        "(flag_type, contact_id)",
        "btree",
        " WHERE ((flag_type)::text = 'opted_out'::text)",
    ),
    ("ix_conversation_contact_id", "conversation", "(contact_id)", "btree", ""),
    ("ix_activity_type", "activity", "(activity_type)", "btree", ""),
    ("ix_campaign_membership_contact_id", "campaign_membership", "(contact_id)", "btree", ""),
    ("ix_webhook_event_event_type", "webhook_event", "(event_type)", "btree", ""),
)
TEN_NAMES = {name for name, *_ in TEN}

# The second would make each run compile all modules again, which takes half its time.
NOT_PASSED_ON = ("MIGRATION_DATABASE_URL", "PYTHONDONTWRITEBYTECODE")


# The command line --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """The exit code and the output of a command."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        """Return the lines on stdout."""
        return self.stdout.splitlines()

    def json(self) -> Any:
        """Return the JSON document on stdout; of a run it is the last line, after the events."""
        return self.story()[-1]

    def story(self) -> list[Any]:
        """Return the JSON documents on stdout, one a line."""
        return [json.loads(line) for line in self.lines]

    def next_command(self) -> list[str]:
        """Return the arguments of the last command that the output names, split as a shell does."""
        return shlex.split(re.findall(r"python cli\.py (.*)", self.stdout + self.stderr)[-1])

    def announced(self) -> list[str]:
        """Return the index statements that a run announced, sorted because parallel builds have no order."""
        return sorted(re.findall(r"^  ((?:CREATE|DROP) .*)", self.stdout + self.stderr, re.MULTILINE))


def run(*arguments: str, url: str, before: Callable[[], None] | None = None) -> Result:
    """Run ``python cli.py ...`` in an empty directory; it must leave that empty and show no traceback."""
    environment = {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON}
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape") as stdout,
        tempfile.TemporaryFile("w+") as stderr,
    ):
        descriptors = stdout.fileno(), stderr.fileno()
        process = start(arguments, folder, {**environment, "DATABASE_URL": url}, *descriptors, before=before)
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()
        assert os.listdir(folder) == [], "a run left files behind"
        stdout.seek(0)
        stderr.seek(0)
        result = Result(process.returncode, stdout.read(), stderr.read())
    assert "Traceback" not in result.stderr, result.stderr
    return result


def succeed(*arguments: str, url: str) -> Result:
    """Run a command that has to exit with 0."""
    result = run(*arguments, url=url)
    assert result.exit_code == 0, result
    return result


def refuses(url: str, *arguments: str, exit_code: int) -> Result:
    """Run a command that has to fail with this exit code and change nothing."""
    with nothing_changes(url):
        result = run(*arguments, url=url)
    assert result.exit_code == exit_code, result
    assert result.stdout == ""
    return result


def run_script(script: str, url: str) -> None:
    """Run a script in psql or sqlite3, which must print nothing; without these programs, by a driver."""
    shell = shutil.which("psql" if is_postgres(url) else "sqlite3")
    if shell is None:
        execute(url, *statements_of(script))
        return
    target = ["--no-psqlrc", "--quiet", "--dbname", url] if is_postgres(url) else [file_of(url)]
    sent = script.encode(errors="surrogateescape")
    done = subprocess.run([shell, *target], input=sent, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr


def statements_of(script: str) -> list[str]:
    """Return the statements of a script without its psql or sqlite3 commands."""
    return [each for each in re.sub(r"^[\\.].*\n", "", script, flags=re.MULTILINE).split(";\n") if each.strip()]


def prepare(url: str, to: str = "head") -> None:
    """Bring a database to a revision by the script that ``plan --sql`` prints: a tenth of the time of ``up``.

    A script is kept for the next database with these tables, and for the role and the server that it was written for.
    """
    key = urlsplit(url).netloc if is_postgres(url) else "", frozenset(tables(url)), to
    if key not in _scripts:
        _scripts[key] = statements_of(succeed("plan", "--sql", "--to", to, url=url).stdout)
    execute(url, *_scripts[key])


_scripts: dict[tuple[str, frozenset[str], str], list[str]] = {}


# Databases ---------------------------------------------------------------------------------------------------------


def is_postgres(url: str) -> bool:
    """Return whether this is the URL of a PostgreSQL database."""
    return url.startswith("postgres")


def file_of(url: str) -> Path:
    """Return the file of a SQLite URL."""
    return Path(url.removeprefix("sqlite:///"))


def connect(url: str) -> Any:
    """Return a connection of the driver in autocommit."""
    if not is_postgres(url):
        return sqlite3.connect(file_of(url), isolation_level=None)
    connection = psycopg2.connect(url)
    connection.autocommit = True
    return connection


def execute(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Execute statements one by one, and return the rows of the last one."""
    with closing(connect(url)) as connection, closing(connection.cursor()) as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


def make_crm(url: str, schema: str | None = None) -> None:
    """Create another tool's tables."""
    with closing(connect(url)) as connection:
        foreign_crm.create_schema(connection, schema)


def erase(url: str) -> None:
    """Make the database empty again."""
    if is_postgres(url):
        execute(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    else:
        file_of(url).unlink()


# The catalog -------------------------------------------------------------------------------------------------------

RELATIONS = """
    SELECT n.nspname,
           c.relname,
           c.relkind::text,
           pg_get_userbyid(c.relowner),
           ARRAY (
           SELECT concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN '!' END)
             FROM pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            ORDER BY a.attnum),
           ARRAY (
           SELECT k.conname || ' ' || pg_get_constraintdef(k.oid)
             FROM pg_constraint AS k
            WHERE k.conrelid = c.oid
            ORDER BY k.conname),
           CASE WHEN i.indexrelid IS NOT NULL THEN pg_get_indexdef(c.oid) END,
           i.indisvalid AND i.indisready AND i.indislive,
           c.oid::bigint,
           c.relfilenode::bigint
      FROM pg_class AS c
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
      LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
     WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
     ORDER BY n.nspname, c.relname
"""

SQLITE_OBJECTS = "SELECT type, name, tbl_name, replace(sql, '\"', '') FROM sqlite_master ORDER BY type, name"


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    """Query PostgreSQL's catalog, independently of the search path of the database."""
    return execute(url, "SET search_path TO pg_catalog", query)


def catalog(url: str) -> list[tuple[Any, ...]]:
    """Return the definitions of all objects in the database, without identifiers that differ between databases."""
    return [row[:-2] for row in ask(url, RELATIONS)] if is_postgres(url) else execute(url, SQLITE_OBJECTS)


def catalog_without_records(url: str) -> list[tuple[Any, ...]]:
    """Return the catalog without the tool's own tables."""
    return [row for row in catalog(url) if "schema_revision" not in row[1] and row[1] != "sqlite_sequence"]


def indexes(url: str) -> dict[str, str]:
    """Return the definitions of all indexes but those of constraints, by name."""
    if is_postgres(url):
        not_of_constraints = "NOT EXISTS (SELECT 1 FROM pg_constraint AS k WHERE k.conindid = i.indexrelid)"
        return dict(
            ask(
                url,
                f"""
                SELECT c.relname, pg_get_indexdef(c.oid)
                  FROM pg_class AS c
                  JOIN pg_index AS i ON i.indexrelid = c.oid
                  JOIN pg_namespace AS n ON n.oid = c.relnamespace
                 WHERE n.nspname !~ '^pg_' AND {not_of_constraints}
                """,
            )
        )
    return {name: sql for kind, name, _, sql in execute(url, SQLITE_OBJECTS) if kind == "index" and sql}


def created_indexes(url: str) -> dict[str, str]:
    """Return the definitions of those of the ten indexes that exist, by name."""
    return {name: definition for name, definition in indexes(url).items() if name in TEN_NAMES}


def specified(url: str, schema: str = "public") -> dict[str, str]:
    """Return the definitions of the ten indexes on this database according to the specification, by name."""
    if is_postgres(url):
        return {n: f"CREATE INDEX {n} ON {schema}.{on} USING {how} {key}{only}" for n, on, key, how, only in TEN}
    return {name: f"CREATE INDEX {name} ON {on} {key}" for name, on, key, *_ in TEN}


def broken(url: str) -> set[str]:
    """Return the invalid indexes of a PostgreSQL database."""
    found = ask(url, "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE NOT indisvalid")
    return {name for (name,) in found}


def tables(url: str) -> set[str]:
    """Return the tables of all schemas."""
    if is_postgres(url):
        return {row[1] for row in catalog(url) if row[2] in "rp"}
    return {name for kind, name, *_ in catalog(url) if kind == "table"}


def relations_in(schema: str, url: str) -> set[str]:
    """Return the names of all relations in a schema of PostgreSQL."""
    return {name for where, name, *_ in catalog(url) if where == schema}


def revisions(url: str) -> dict[str, str]:
    """Return the state of each recorded revision."""
    return dict(execute(url, "SELECT revision, state FROM schema_revision"))


def records(url: str) -> list[tuple[Any, ...]]:
    """Return the record of revisions without what depends on the time, the user and the size of the indexes."""
    rows = execute(
        url,
        "SELECT revision, down_revision, description, state, checksum, tool_version, existed_before"
        " FROM schema_revision ORDER BY revision",
    )
    return [
        (*row, {key: value for key, value in json.loads(before).items() if key[0] != "\0"}) for *row, before in rows
    ]


@contextmanager
def nothing_changes(url: str) -> Iterator[None]:
    """Check that the block changes nothing in the database; on SQLite no byte, and no file beside it."""
    before = _trace(url)
    yield
    assert _trace(url) == before, "something changed"


def _trace(url: str) -> Any:
    if not is_postgres(url):
        folder = file_of(url).parent
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with closing(connect(url)) as connection, closing(connection.cursor()) as cursor:

        def rows(query: str) -> list[tuple[Any, ...]]:
            cursor.execute(query)
            return list(cursor.fetchall())

        cursor.execute("SET search_path TO pg_catalog")
        relations = rows(RELATIONS)
        meta_tables = [f'"{row[0]}"."{row[1]}"' for row in relations if row[1] in OWN_TABLES and row[2] == "r"]
        recorded = {name: rows(f"SELECT * FROM {name} AS t ORDER BY t::text") for name in meta_tables}
        return relations, rows("SELECT nspname FROM pg_namespace ORDER BY 1"), recorded
