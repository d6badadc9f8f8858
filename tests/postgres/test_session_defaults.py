"""Defaults of a role or a database do not change what a command does; text that cannot be decoded does not end it."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest
from command import ask, created_indexes, execute, run, run_script, specified, succeed, tables
from postgres_server import with_database
from roles import OWNER, as_owner, new_database

from indexer.connection import connect
from indexer.postgres.catalog.catalog import PostgresCatalog
from indexer.postgres.run.sessions import Sessions
from indexer.postgres.session.settings import PINNED

HOSTILE_DEFAULTS = {
    "search_path": "nowhere, pg_catalog, public",
    "row_security": "on",
    "standard_conforming_strings": "off",
    "quote_all_identifiers": "on",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "datestyle": "'SQL, DMY'",
    "intervalstyle": "sql_standard",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "xmloption": "document",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "default_transaction_read_only": "on",
    "exit_on_error": "on",
    "client_encoding": "LATIN1",
    "statement_timeout": "3000",
    "lock_timeout": "3000",
    "backslash_quote": "off",
    "enable_indexscan": "off",
    "jit_above_cost": "0",
    "escape_string_warning": "off",
    "timezone": "'Pacific/Chatham'",
}


def set_defaults(url: str, defaults: dict[str, str]) -> None:
    """Set these defaults for the sessions of the database's owner."""
    ((name,),) = ask(url, "SELECT current_database()")
    execute(url, *(f'ALTER DATABASE "{name}" SET {setting} = {value}' for setting, value in defaults.items()))


def test_no_default_of_a_database_changes_what_a_run_does(superuser_url, postgres_url):
    set_defaults(superuser_url, {**HOSTILE_DEFAULTS, "default_transaction_read_only": "off"})  # which is refused
    succeed("up", url=postgres_url)
    definitions = {name: definition.replace('"', "") for name, definition in created_indexes(postgres_url).items()}
    assert definitions == specified(postgres_url)
    assert tables(postgres_url) >= {"contact", "schema_revision"}
    assert run("status", url=postgres_url).exit_code == 0
    assert run("check", url=postgres_url).exit_code == 0
    assert run("verify", url=postgres_url).exit_code == 0
    succeed("up", url=postgres_url)
    succeed("down", url=postgres_url)
    assert created_indexes(postgres_url) == {}
    assert run("up", "--json", url=postgres_url).json()["schema"] == "public"


def test_every_session_pins_its_settings_and_restores_them(superuser_url, postgres_url):
    set_defaults(superuser_url, HOSTILE_DEFAULTS)
    names = ", ".join(f"pg_catalog.current_setting('{name}')" for name in PINNED)
    migrator = connect(postgres_url)
    with closing(migrator.database):
        looking = migrator.database.execute_sql(f"SELECT {names}").fetchone()
        builder = migrator.database.open_builder()
        building = builder.execute(f"SELECT {names}")
        builder.close()
        connection = migrator.database.connection()
        assert migrator.database.path == ("public",)
        assert connection.encoding == "UTF8"
    pinned = [{"ISO": "ISO, DMY"}.get(value, value) for value in PINNED.values()]
    assert list(looking) == list(building) == pinned


def test_the_role_that_a_login_becomes_is_kept(superuser_url, postgres_url):
    # A superuser creates the role.
    execute(superuser_url, f"CREATE ROLE rotating_login LOGIN IN ROLE {OWNER}")
    try:
        execute(superuser_url, f"ALTER ROLE rotating_login SET role = {OWNER}")
        succeed("up", url=postgres_url.replace(f"//{OWNER}", "//rotating_login"))
        owners = ask(postgres_url, "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
        assert owners == [(OWNER,)]
        succeed("down", url=postgres_url)
    finally:
        execute(superuser_url, f"REASSIGN OWNED BY rotating_login TO {OWNER}", "DROP ROLE rotating_login")


@pytest.fixture
def unencoded(postgres_server):
    """URL of a SQL_ASCII database for its owner."""
    with new_database(postgres_server) as other:
        name = other.rpartition("/")[2] + "_bytes"
        making = f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE template0 ENCODING 'SQL_ASCII'"
        execute(postgres_server, f"{making} LC_COLLATE 'C' LC_CTYPE 'C'")
        try:
            url = with_database(postgres_server, name)
            execute(url, f"ALTER SCHEMA public OWNER TO {OWNER}")
            yield as_owner(url)
        finally:
            sessions = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            execute(postgres_server, sessions, f"DROP DATABASE {name}")


def executed(url: str, *statements: bytes) -> None:
    """Execute statements that may hold any bytes."""
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def test_names_that_are_in_no_encoding_end_no_command_and_are_named_byte_for_byte(unencoded):
    schema = b"caf\xe9".decode(errors="surrogateescape")
    executed(unencoded, b'CREATE SCHEMA "caf\xe9"')
    succeed("up", "--schema", schema, url=unencoded)
    executed(unencoded, b'CREATE INDEX "ix \xff" ON "caf\xe9".activity (openphone_id)')
    executed(unencoded, b"UPDATE \"caf\xe9\".schema_revision SET applied_by = '\xe9t\xe9'")
    checked = run("check", "--schema", schema, url=unencoded)
    assert checked.exit_code == 0
    assert r"ix \xff is a duplicate of ix_activity_openphone_id" in checked.stdout
    assert r"\xe9t\xe9" in run("status", "--schema", schema, url=unencoded).stdout
    assert run("check", "--json", "--schema", schema, url=unencoded).json()["schema"] == schema
    succeed("verify", "--schema", schema, url=unencoded)
    succeed("down", "--schema", schema, url=unencoded)
    run_script(succeed("plan", "--sql", "--schema", schema, url=unencoded).stdout, unencoded)
    succeed("down", "--schema", schema, url=unencoded)
    assert run("status", "--all-schemas", "*", url=unencoded).exit_code == 3


def test_a_query_of_another_database_in_another_encoding_ends_no_command(superuser_url, unencoded):
    # A superuser, because the query of another role is hidden from an owner.
    with (
        closing(psycopg2.connect(unencoded)) as connection,
        connection.cursor() as cursor,
        closing(connect(superuser_url).database) as database,
    ):
        cursor.execute(b"SELECT '\xe9'")
        (session,) = Sessions(PostgresCatalog(database, "public")).described({connection.info.backend_pid: ""})
    assert session.query == "SELECT '\udce9'"
    assert r"SELECT '\xe9'" in str(session)
