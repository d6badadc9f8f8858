"""Text from a database, a file name or a URL reaches the terminal with its control characters made visible."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import psycopg2
import pytest
from command import HEAD, Result, execute, prepare, run, run_script, succeed, tables
from roles import another_role
from scenes import transaction

from indexer.console import progress
from indexer.console.tables import drawn
from indexer.decide import Action
from indexer.events import (
    Blocker,
    BlockersFound,
    IndexFinished,
    LockWaited,
    Retrying,
    RevisionFinished,
    RevisionStarted,
    StatementStarted,
    Waiting,
    Warned,
)
from indexer.text import identifier, literal, shell, shown, visible
from migrate_10992629d68e import INDEXES

# Clear the screen, set the title, ring, break the line, turn the direction, colour (in one byte), separate, mark up.
HOSTILE = "x\x1b[2J\x1b]0;owned\x07\r\n\u202e\x9b1m\u2028[red]\u2066é"
SEEN = r"x\x1b[2J\x1b]0;owned\x07\r\n\u202e\u009b1m\u2028[red]\u2066é"
OBEYED = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def assert_harmless(result: Result) -> None:
    """Check that no stream has a character that a terminal obeys, except line breaks of the program itself."""
    assert not OBEYED.search(result.stdout + result.stderr), result
    assert not re.search(r"\\r$", result.stdout + result.stderr, re.MULTILINE), result


def quoted(name: str) -> str:
    """Return a name as it is quoted in a statement."""
    return '"{}"'.format(name.replace('"', '""'))


def test_each_character_that_a_terminal_obeys_is_shown_as_its_code():
    assert visible(HOSTILE) == SEEN
    assert visible("é 中 \U0001f600 a\tb") == "é 中 \U0001f600 a\\tb"
    assert visible(b"caf\xe9".decode(errors="surrogateescape")) == r"caf\xe9"
    assert shown("one\ntwo\r\x1b[1mthree") == "one\ntwo\\r\\x1b[1mthree"
    assert shown("\x1b[1mone\x1b[0m\x1b[2J", styled=True) == "\x1b[1mone\x1b[0m\\x1b[2J"


def test_a_printed_command_names_the_same_object(postgres_url):
    for text in (HOSTILE.replace("\0", ""), 'it\'s \\ "so"\t'):
        assert not OBEYED.search(identifier(text) + literal(text) + shell(text))
        assert execute(postgres_url, f"SELECT {literal(text)}") == [(text,)]
        execute(postgres_url, f"CREATE TABLE {identifier(text[:20])} (id integer)")
        assert text[:20] in tables(postgres_url)
        done = subprocess.run(["bash", "-c", f"printf %s {shell(text)}"], capture_output=True, check=True)
        assert done.stdout.decode() == text


def test_a_cell_of_a_table_stays_in_its_line_and_is_no_markup():
    table = drawn(("name", "n"), [(HOSTILE, 1)])

    assert table.splitlines() == [f"name{' ' * (len(SEEN) - 4)}  n", f"{SEEN}  1"]


@contextmanager
def hostile_neighbours(superuser_url: str, url: str) -> Iterator[None]:
    """Create hostile names around a base schema, and a session of a hostile role that holds a lock."""
    name, schema = quoted(HOSTILE[:30]), quoted(f"s {HOSTILE}")
    prepare(url, to="base")
    execute(
        url,
        f"CREATE INDEX {name} ON activity (openphone_id)",
        "CREATE INDEX ix_activity_type ON activity (lower(direction))",
        f"CREATE SCHEMA {schema}",
        f"CREATE TABLE {schema}.activity (id integer)",
        "CREATE TABLE alembic_version (version_num varchar(200))",
    )
    with closing_connection(url) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO alembic_version VALUES (%s)", (HOSTILE,))
        cursor.execute("UPDATE schema_revision SET applied_by = %s, description = %s", (HOSTILE, HOSTILE))
        cursor.execute(
            "INSERT INTO schema_revision (revision, down_revision, description, state, started_at, checksum,"
            " tool_version, applied_by, existed_before) VALUES (%s, NULL, %s, 'applied', now(), '', '', %s, '{}')",
            (f"{HOSTILE}"[:32], HOSTILE, HOSTILE),
        )
        cursor.execute(
            "UPDATE schema_revision_log SET by = %s, indexes = %s", (HOSTILE, json.dumps({HOSTILE: HOSTILE}))
        )
    write = f"INSERT INTO activity (openphone_id) VALUES ('written') /* {HOSTILE} */"
    # A superuser, so that the commands of both the superuser and the owner are blocked.
    with transaction(superuser_url, write):
        yield


@contextmanager
def closing_connection(url: str) -> Iterator[psycopg2.extensions.connection]:
    """Yield a connection in one transaction, which is committed."""
    connection = psycopg2.connect(url)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def test_nothing_that_the_database_holds_is_obeyed_by_a_terminal(superuser_url, postgres_url):
    # The superuser sees the other sessions' queries.
    with hostile_neighbours(superuser_url, postgres_url):
        results = {
            command: run(*command.split(), url=superuser_url)
            for command in (
                *("status", "check", "plan", "plan --replace", "history", "verify", "stamp head", "up", "down"),
                *("up --replace --max-wait 0.1 --retries 0", "status --all-schemas *", "check --verbose"),
                *("plan --sql", "plan down --yes", "status --schema no\x1bsuch\nschema"),
            )
        }
    for result in results.values():
        assert_harmless(result)
    assert SEEN[:40] in results["status"].stdout
    assert SEEN[:40] in results["check"].stdout
    assert SEEN[:40] in results["history"].stdout
    assert SEEN[:20] in results["plan --replace"].stdout, "the query of the session in the way"


def test_a_document_holds_the_text_itself(superuser_url, postgres_url):
    with hostile_neighbours(superuser_url, postgres_url):
        result = run("history", "--json", url=postgres_url)
        check = run("check", "--json", url=postgres_url)
    assert_harmless(result)
    assert {entry["by"] for entry in result.json()["history"]} == {HOSTILE}
    assert HOSTILE[:30] in {each["index"] for each in check.json()["advice"]}


def test_a_script_names_a_schema_byte_for_byte(postgres_url):
    schema = f"s {HOSTILE}".replace("\r", "")  # which reading the output as text would change
    execute(postgres_url, f"CREATE SCHEMA {quoted(schema)}")
    script = succeed("plan", "--sql", "--schema", schema, url=postgres_url).stdout
    assert quoted(schema) in script
    run_script(script, postgres_url)
    status = run("status", "--schema", schema, url=postgres_url)
    assert_harmless(status)
    assert (status.exit_code, HEAD in status.stdout) == (0, True)


@pytest.mark.parametrize(
    "url", ["sqlite:////no/such\x1b]0;x\x07/f\nile.db", "postgresql://h\x1b[2J\n/x", "\x1bsql://x"]
)
def test_a_url_in_an_error_is_harmless(url):
    assert_harmless(run("status", url=url))


def test_a_sqlite_path_is_harmless(tmp_path):
    folder = tmp_path / HOSTILE.replace("/", "")
    folder.mkdir()
    for command in (["up"], ["status"], ["plan"], ["check"], ["down"]):
        result = run(*command, url=f"sqlite:///{folder / 'crm.db'}")
        assert_harmless(result)
        assert SEEN in result.stdout


def test_a_role_and_a_database_with_hostile_names_are_harmless(superuser_url):
    role = f"r {HOSTILE}"[:20]
    with another_role(superuser_url) as plain:
        execute(superuser_url, f"ALTER ROLE {plain} RENAME TO {quoted(role)}")
        try:
            url = re.sub("//[^@/]*@", f"//{quote(role, safe='')}@", superuser_url)
            assert_harmless(run("up", url=url))
            assert_harmless(run("status", url=url))
        finally:
            execute(superuser_url, f"ALTER ROLE {quoted(role)} RENAME TO {plain}")


def test_no_event_is_obeyed_by_a_terminal_that_draws_a_run(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    index = INDEXES[0]
    gid = Blocker(None, HOSTILE, HOSTILE, HOSTILE, "1", 2.0, f"prepared transaction {HOSTILE}", HOSTILE, HOSTILE)
    bars = progress.Bars()
    for event in (
        Warned(HOSTILE),
        LockWaited(HOSTILE),
        BlockersFound((gid,)),
        RevisionStarted(HEAD, HOSTILE, "up", 1),
        StatementStarted(index, f"CREATE INDEX {HOSTILE}"),
        Waiting(index, HOSTILE, (gid,), 1.0),
        Retrying(index, HOSTILE, 1, 3, 1.0),
        IndexFinished(index, Action.RENAME, 1.0, 1, HOSTILE),
        RevisionFinished(HEAD, "up", 1.0),
    ):
        bars(event)
    bars.close()
    drawn_by_rich = re.compile(r"\x1b\[(\??[0-9;]*[mhlAK])|\r")
    said = drawn_by_rich.sub("", capsys.readouterr().out)

    assert not OBEYED.search(said), said
    assert said.count(SEEN[:20]) > 10
