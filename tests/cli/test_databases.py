"""Several databases in one command: each has its own lock, record and answer, and harms no other."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from command import (
    BASE,
    HEAD,
    TEN_NAMES,
    Result,
    created_indexes,
    execute,
    nothing_changes,
    prepare,
    revisions,
    run,
    succeed,
)
from roles import OWNER, PASSWORD, another_role, as_owner, as_role, new_database
from scenes import own_server, running, transaction, until, until_phase
from tenants import created_in, make, migrated

from indexer.cli.targets import targets_of
from indexer.connection import described
from indexer.urls import names_of, urls_in

NOWHERE = "sqlite:///elsewhere.db"  # the URL of the environment, which must not be used
SECRET = "S3cr3t-of-the-test"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Return the URLs of three SQLite files at the base revision, by the name of the file."""
    urls = {name: f"sqlite:///{tmp_path}/{name}" for name in ("a.db", "b.db", "c.db")}
    for url in urls.values():
        prepare(url, "base")
    return urls


@pytest.fixture
def two(postgres_server: str) -> Iterator[list[str]]:
    """Yield the owner's URLs of two PostgreSQL databases at the base revision."""
    with new_database(postgres_server) as first, new_database(postgres_server) as second:
        urls = [as_owner(first), as_owner(second)]
        for url in urls:
            prepare(url, "base")
        yield urls


def of(*urls: str) -> list[str]:
    """Return the options that name these databases."""
    return [word for url in urls for word in ("--database-url", url)]


def name_of(url: str) -> str:
    """Return the name of the database in a URL."""
    return url.rpartition("/")[2]


def listed(folder: Path, *urls: str) -> str:
    """Write the URLs into a file and return its path."""
    path = folder / "urls.txt"
    path.write_text("\n".join(urls))
    return str(path)


def results(result: Result) -> dict[str, dict[str, Any]]:
    """Return the documents by name."""
    document = result.json()
    assert document["exit_code"] == result.exit_code
    return {each["name"]: each for each in document["databases"]}


def codes(result: Result) -> dict[str, int]:
    """Return the exit codes by name."""
    return {name: each["exit_code"] for name, each in results(result).items()}


def break_(url: str) -> None:
    """Rename a table, so that up refuses the database."""
    execute(url, "ALTER TABLE webhook_event RENAME TO delivery")


def repair(url: str) -> None:
    """Undo ``break_``."""
    execute(url, "ALTER TABLE delivery RENAME TO webhook_event")


# Each has its own answer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", ["1", "3"])
def test_each_database_is_migrated_recorded_and_reported_by_itself(files, two, parallel):
    urls = [*files.values(), two[0]]
    result = succeed("up", *of(*urls), "--parallel", parallel, url=NOWHERE)
    names = [*files, name_of(two[0])]

    assert all(created_indexes(url).keys() == TEN_NAMES and revisions(url)[HEAD] == "applied" for url in urls)
    assert created_indexes(two[1]) == {}
    assert sorted(line.partition(": ")[0] for line in result.lines[:-1]) == sorted(names)
    assert result.lines[-1] == "4 databases: 4 with exit code 0."
    again = succeed("down", *of(*urls), "--json", "--parallel", parallel, url=NOWHERE)
    assert list(results(again)) == names
    assert all(each["to"] == BASE for each in results(again).values())
    assert not any(map(created_indexes, urls))


def test_a_database_that_fails_stops_no_other_and_the_highest_code_is_the_exit_code(files):
    break_(files["b.db"])
    missing = "sqlite:////no/such/folder/d.db"
    result = run("up", *of(*files.values(), missing), "--json", url=NOWHERE)

    assert codes(result) == {"a.db": 0, "b.db": 1, "c.db": 0, "d.db": 7}
    assert "webhook_event" in results(result)["b.db"]["error"]
    text = run("up", *of(*files.values(), missing), url=NOWHERE)
    assert text.lines[-1] == "4 databases: 2 with exit code 0, 1 with exit code 1 (b.db), 1 with exit code 7 (d.db)."
    repair(files["b.db"])
    assert succeed("up", *of(*files.values()), url=NOWHERE).exit_code == 0
    assert created_indexes(files["b.db"]).keys() == TEN_NAMES


@pytest.mark.parametrize(
    "command", [["status"], ["check"], ["plan"], ["verify"], ["history"], ["health"], ["wait"]], ids=" ".join
)
def test_a_command_that_reads_answers_for_each_database_and_changes_none(files, command):
    with nothing_changes(files["a.db"]):  # the three are in one folder
        result = run(*command, *of(*files.values()), "--json", url=NOWHERE)

    alone = run(*command, "--json", url=files["a.db"]).json()
    assert list(results(result)) == list(files)
    document = results(result)["a.db"]
    assert document.keys() - {"name", "exit_code"} == alone.keys() - {"exit_code"}
    assert document["database"] == alone["database"] == files["a.db"]


@pytest.mark.parametrize("command", [["stamp", HEAD], ["reindex"], ["analyze"]], ids=" ".join)
def test_a_command_that_cares_for_a_database_does_so_for_each(files, command):
    succeed("up", *of(*files.values()), url=NOWHERE)
    assert codes(succeed(*command, *of(*files.values()), "--json", url=NOWHERE)) == dict.fromkeys(files, 0)


def test_events_carry_the_name_of_their_database(files):
    story = succeed("up", *of(*files.values()), "--json", "--parallel", "3", url=NOWHERE).story()
    finished = [each["name"] for each in story if each.get("event") == "IndexFinished"]

    assert sorted(finished) == sorted([*files] * 10)


def test_schemas_of_several_databases_are_worked_on_together(two):
    for url, schemas in zip(two, (["one", "two"], ["one"]), strict=True):
        make(url, schemas)
    result = succeed("up", *of(*two), "--all-schemas", "*o*e*", "--json", "--parallel", "2", url=NOWHERE)
    found = {name: [each["schema"] for each in document["schemas"]] for name, document in results(result).items()}

    assert found == {name_of(url): ["one"] for url in two}
    assert all(migrated(url, "one") for url in two)
    assert created_in(two[0], "two") == set()
    text = run("check", *of(*two), "--schema", "one", "--schema", "public", url=NOWHERE)
    assert f"{name_of(two[0])}/one: is at {HEAD} (head). Everything is as declared." in text.lines
    assert "4 schemas in 2 databases" in text.lines[-1]


def test_several_schemas_of_one_database_are_migrated_at_once(postgres_url):
    schemas = ["one", "two", "three", "four", "five"]
    make(postgres_url, schemas)
    story = succeed("up", "--all-schemas", "*", "--parallel", "3", "--json", url=postgres_url).story()
    order = [each["schema"] for each in story if each.get("event") in ("RevisionStarted", "RevisionFinished")]

    assert migrated(postgres_url, *schemas)
    assert order[0] != order[1], "two were never worked on at once"
    succeed("down", "--all-schemas", "*", "--parallel", "3", url=postgres_url)
    assert not any(created_in(postgres_url, schema) for schema in schemas)


# Which databases -----------------------------------------------------------------------------------------------------


def test_a_file_names_databases_with_comments_quotes_and_empty_lines(files, tmp_path):
    a, b, _ = files.values()
    path = listed(tmp_path, "\ufeff# ours", "", f"  {a}  # the first", f"'{b}'", a)

    assert list(results(run("status", "--urls-from", path, "--json", url=NOWHERE))) == ["a.db", "b.db"]
    assert list(results(run("status", "--urls-from", listed(tmp_path, a), "--json", url=NOWHERE))) == ["a.db"]


def test_databases_are_read_from_stdin(files):
    reading, writing = os.pipe()
    os.write(writing, "\n".join(files.values()).encode())
    os.close(writing)
    result = run("status", "--urls-from", "-", "--json", url=NOWHERE, before=lambda: os.dup2(reading, 0))

    assert list(results(result)) == list(files)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("# none\n", "contains no URL"),
        (f"sqlite:///a.db\nclerk:{SECRET}@host/crm\n", "line 2: The database URL has no scheme"),
        (f"postgresql://clerk:{SECRET}@host\n", "line 1: The database URL names no database"),
        (f"postgresql://clerk:{SECRET}/@host/crm\n", "line 1: "),
        ("oracle://host/crm", "line 1: The scheme 'oracle' is not supported"),
    ],
)
def test_a_line_that_is_no_url_is_wrong_usage_and_nothing_is_begun(tmp_path, content, said):
    result = run("up", "--urls-from", listed(tmp_path, content), url=NOWHERE)

    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert SECRET not in result.stderr


def test_a_file_that_cannot_be_read_is_wrong_usage(tmp_path):
    for path in ("/no/such/file", str(tmp_path)):
        result = run("up", "--urls-from", path, url=NOWHERE)
        assert result.exit_code == 2
        assert f"The file {path}, named by --urls-from, cannot be read" in result.stderr


def test_a_password_is_never_shown_and_a_hint_says_where_it_belongs(two):
    urls = [as_role(url, OWNER).replace(f"//{OWNER}@", f"//{OWNER}:{SECRET}@") for url in two]
    result = run("check", *of(*urls), url=NOWHERE)

    assert result.exit_code == 3
    assert SECRET not in result.stdout + result.stderr
    assert result.lines[0].endswith(f"--database-url {urls[0].replace(SECRET, 'PASSWORD')}")
    for url in [f"postgresql://{OWNER}:{SECRET}@127.0.0.1:1/x", f"postgresql://{OWNER}:{SECRET}@no.invalid/y"]:
        down = run("up", *of(url, urls[0]), "--json", "--first", url, url=NOWHERE)
        assert (down.exit_code, SECRET in down.stdout + down.stderr) == (7, False)


@pytest.mark.parametrize(
    ("urls", "names"),
    [
        (["postgresql://a:x@h/eu", "postgresql://a:x@h/us"], ["eu", "us"]),
        (["postgresql://a@h/eu", "postgresql://a@g:1/eu"], ["h/eu", "g:1/eu"]),
        (["postgresql://a:x@h/eu", "postgresql://b:x@h/eu"], ["postgresql://a@h/eu", "postgresql://b@h/eu"]),
        (["postgresql://h/eu?options=-cx", "postgresql://h/eu"], ["postgresql://h/eu", "postgresql://h/eu (2)"]),
        (["sqlite:///one/a.db", "sqlite:///one/b.db", "postgres://h/eu"], ["a.db", "b.db", "eu"]),
        (["sqlite:///one/a.db", "sqlite:///two/a.db"], ["one/a.db", "two/a.db"]),
        (["postgresql://h/eu", "postgresql://h/us", "postgresql://g/us"], ["eu", "h/us", "g/us"]),
        (["sqlite:///a\x1b[31m.db"], ["a\\x1b[31m.db"]),
    ],
)
def test_a_name_is_the_shortest_that_distinguishes_the_databases(urls, names):
    assert names_of([described(url) for url in urls]) == names


@pytest.mark.parametrize(
    ("url", "typed"),
    [
        ("postgresql://a:x@h:1/eu?sslmode=require", "postgresql://a:PASSWORD@h:1/eu?sslmode=require"),
        ("postgres+pool://a@h/eu?sslpassword=x&options=-cx%3D1", "postgresql://a@h/eu?options=-cx%3D1"),
        ("postgresql://?service=crm&password=x", "postgresql://?service=crm"),
    ],
)
def test_what_is_typed_for_a_database_holds_no_password(url, typed):
    assert described(url).typed == typed
    assert "PASSWORD" not in described(url).opening


@pytest.mark.parametrize(
    "options",
    [
        ["up", *of("sqlite:///a.db"), "--urls-from", "x"],
        ["seed", *of("sqlite:///a.db", "sqlite:///b.db")],
        ["bench", *of("sqlite:///a.db", "sqlite:///b.db")],
        ["up", *of("sqlite:///a.db"), "--first", "a.db"],
        ["up", *of("sqlite:///a.db", "")],
        ["health", *of("sqlite:///a.db", "sqlite:///b.db"), "--also", "postgresql://h/x"],
        ["plan", "--sql", *of("sqlite:///a.db", "postgresql://h/x")],
        ["up", *of("sqlite:///a.db"), "--parallel", "0"],
    ],
    ids=" ".join,
)
def test_what_does_not_fit_together_is_wrong_usage(options):
    result = run(*options, url=NOWHERE)
    assert (result.exit_code, result.stdout) == (2, "")


# The first -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", ["1", "3"])
def test_nothing_else_is_begun_if_the_first_does_not_end_well(files, parallel):
    break_(files["b.db"])
    command = ["up", *of(*files.values()), "--first", "b.db", "--parallel", parallel]
    result = run(*command, url=NOWHERE)

    assert result.exit_code == 1
    assert created_indexes(files["a.db"]) == created_indexes(files["c.db"]) == {}
    assert result.lines[1:3] == [
        "1 of 3 databases: 0 with exit code 0, 1 with exit code 1 (b.db).",
        "Not begun, because b.db (--first) ended with exit code 1: a.db, c.db.",
    ]
    assert result.next_command() == ["status", "--database-url", files["b.db"]]
    assert run(*command, "--json", url=NOWHERE).json()["left"] == ["a.db", "c.db"]
    repair(files["b.db"])
    again = succeed(*command, url=NOWHERE)
    assert again.lines[0].startswith("b.db: ")
    assert all(created_indexes(url).keys() == TEN_NAMES for url in files.values())


def test_a_schema_can_be_the_first(postgres_url):
    make(postgres_url, ["one", "two", "three"])
    execute(postgres_url, "ALTER TABLE two.webhook_event RENAME TO delivery")
    result = run("up", "--all-schemas", "*", "--first", "two", url=postgres_url)

    assert result.exit_code == 1
    assert created_in(postgres_url, "one") == created_in(postgres_url, "three") == set()
    assert "Not begun, because two (--first) ended with exit code 1: one, three." in result.lines
    assert result.next_command() == ["status", "--schema", "two"]


@pytest.mark.parametrize("name", ["d.db", "A.DB"])
def test_a_first_that_does_not_exist_is_wrong_usage(files, name):
    with nothing_changes(files["a.db"]):
        result = run("up", *of(*files.values()), "--first", name, url=NOWHERE)
    assert result.exit_code == 2
    assert "a.db, b.db, c.db" in result.stderr


# Trouble -------------------------------------------------------------------------------------------------------------


def test_a_database_that_hangs_harms_no_other_and_a_signal_ends_the_wait(files):
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        hangs = f"postgresql://clerk@127.0.0.1:{silent.getsockname()[1]}/hangs"
        with running("up", *of(hangs, *files.values()), "--parallel", "2", url=NOWHERE) as up:
            until(lambda: all(created_indexes(url).keys() == TEN_NAMES for url in files.values()), "the others")
            up.send(signal.SIGTERM)
            result = up.end()

    assert result.exit_code == 143
    assert "hangs: Error: Interrupted by SIGTERM: nothing was changed. Run the same command again." in result.lines
    assert result.lines[-1] == "4 databases: 3 with exit code 0, 1 with exit code 143 (hangs)."


@pytest.mark.parametrize("as_json", [False, True], ids=["lines", "json"])
def test_an_interrupted_run_says_what_is_left_and_the_same_command_ends_it(postgres_url, as_json):
    schemas = ["one", "two", "three", "four"]
    make(postgres_url, schemas)
    command = ["up", *(["--json"] if as_json else []), "--all-schemas", "*", "--parallel", "2", "--first", "two"]
    write = transaction(postgres_url, "INSERT INTO four.activity (id) VALUES (1); INSERT INTO one.activity VALUES (1)")
    with write, running(*command, url=postgres_url) as up:
        until_phase(postgres_url, "waiting for writers")
        until(lambda: created_in(postgres_url, "one") and created_in(postgres_url, "four"), "two at once")
        up.send(signal.SIGINT)
        result = up.end()

    assert result.exit_code == 130
    if as_json:
        document = result.json()
        ended = {each["schema"]: each["exit_code"] for each in document["schemas"]}
        assert (ended, document["left"]) == ({"four": 130, "one": 130, "two": 0}, ["three"])
    else:
        assert (
            result.lines[-2:]
            == [
                "3 of 4 schemas: 1 with exit code 0, 2 with exit code 130 (four, one).",
                "Not begun: three. To continue, run the same command again.",
            ]
            or "(one, four)" in result.lines[-2]
        )
    assert created_in(postgres_url, "three") == set()
    succeed(*command, url=postgres_url)
    assert migrated(postgres_url, *schemas)


def test_a_second_signal_ends_all_at_once(two):
    with ExitStack() as stack:
        for url in two:
            stack.enter_context(transaction(url, "INSERT INTO activity (openphone_id) VALUES ('x')"))
        up = stack.enter_context(running("up", *of(*two), "--parallel", "2", url=NOWHERE))
        for url in two:
            until_phase(url, "waiting for writers")
        up.send(signal.SIGINT)
        up.send(signal.SIGTERM)
        assert up.end().exit_code in (130, 143)
    succeed("up", *of(*two), url=NOWHERE)


def test_fewer_work_at_once_where_the_server_refuses_more_connections(superuser_url, postgres_url):
    schemas = ["one", "two", "three", "four"]
    make(postgres_url, schemas)
    grants = (f"GRANT {OWNER} TO {{role}}", "ALTER ROLE {role} CONNECTION LIMIT 3")
    with another_role(superuser_url, *grants) as name:
        result = succeed("up", "--all-schemas", "*", "--parallel", "3", url=as_role(postgres_url, name))

    assert migrated(postgres_url, *schemas)
    assert "Note: At most 1 at once from now on: " in result.stdout
    assert result.lines[-1] == "4 schemas: 4 with exit code 0."


# Scripts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_scripts_of_several_databases_are_one_that_connects_to_each(kind, files, two, tmp_path):
    urls, shell = (list(files.values()), "sqlite3") if kind == "sqlite" else (two, "psql")
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    plan = succeed("plan", "--sql", *of(*urls), url=NOWHERE)
    target = [] if kind == "sqlite" else ["--no-psqlrc", "--quiet", "--dbname", two[0]]
    environment = {**os.environ, "PGPASSWORD": PASSWORD}
    done = subprocess.run(
        [shell, *target], input=plan.stdout, text=True, capture_output=True, env=environment, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in plan.lines if line.startswith("--")] == [f"-- database {name_of(url)}" for url in urls]
    assert all(created_indexes(url).keys() == TEN_NAMES for url in urls)


def test_the_environment_names_one_database(monkeypatch):
    monkeypatch.delenv("MIGRATION_DATABASE_URL", raising=False)
    monkeypatch.setenv("DATABASE_URL", "sqlite:///a.db")
    (target,) = targets_of({"database_url": (), "urls_from": None})
    assert (target.url, target.name) == ("sqlite:///a.db", "")


def test_a_line_keeps_a_hash_without_a_blank_before_it(tmp_path):
    path = listed(tmp_path, "sqlite:///a#1.db", "sqlite:///b.db\t# the second")
    assert [url for url, _ in urls_in(path)] == ["sqlite:///a#1.db", "sqlite:///b.db"]
    assert json.dumps([place for _, place in urls_in(path)]).count("line ") == 2


def test_the_last_connections_of_a_server_are_left_to_others():
    few = {"max_connections": "8", "superuser_reserved_connections": "0"}
    with own_server(**few) as server, server.new_database() as url:
        make(url, ["one", "two", "three"])
        result = succeed("up", "--all-schemas", "[ot]*", "--parallel", "3", url=url)

    assert "The server has hardly any connection free." in result.stdout
    assert result.lines[-1] == "3 schemas: 3 with exit code 0."
