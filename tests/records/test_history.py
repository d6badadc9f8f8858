"""`history`: when which revision went up or down, by whom, how long, and which indexes."""

from __future__ import annotations

import re
import signal
from datetime import datetime
from typing import Any

import pytest
from command import (
    BASE,
    HEAD,
    SEVEN_TABLES,
    TEN_NAMES,
    execute,
    file_of,
    is_postgres,
    nothing_changes,
    prepare,
    refuses,
    relations_in,
    run,
    specified,
    succeed,
    tables,
)
from scenes import open_writer, running, until_idle, until_phase

ENTRY = {"revision", "direction", "finished_at", "duration_ms", "by", "tool_version", "indexes"}
KEPT = 100


def history(url: str, *arguments: str) -> list[dict[str, Any]]:
    """Return what ``history --json`` says about our revision, newest first; it must change nothing."""
    with nothing_changes(url):
        entries = succeed("history", "--json", *arguments, url=url).json()["history"]
    assert all(each.keys() >= ENTRY for each in entries)
    return [each for each in entries if each["revision"] == HEAD]


def test_history_lists_every_run_newest_first(any_base_url):
    for command in ("up", "down", "up"):
        succeed(command, url=any_base_url)

    assert [each["direction"] for each in history(any_base_url)] == ["up", "down", "up"]
    succeed("down", url=any_base_url)
    assert [each["direction"] for each in history(any_base_url)] == ["down", "up", "down", "up"]


def test_a_single_entry_is_counted_in_the_singular(base_url):
    lines = succeed("history", "--all-schemas", "public", url=base_url).lines

    assert lines[0].startswith(f"public: 1 entry, the last: up {BASE}, ")
    assert lines[1] == "1 schema: 1 with exit code 0."


def test_an_entry_says_when_by_whom_and_how_long(any_base_url):
    succeed("up", url=any_base_url)
    (entry,) = history(any_base_url)

    assert datetime.strptime(entry["finished_at"], "%Y-%m-%dT%H:%M:%SZ")
    assert isinstance(entry["duration_ms"], int)
    assert entry["duration_ms"] >= 0
    assert "@" in entry["by"]
    assert entry["tool_version"] in succeed("--version", url=any_base_url).stdout


def test_an_entry_says_what_was_done_with_each_index(any_base_url):
    execute(any_base_url, specified(any_base_url)["ix_activity_type"])
    succeed("up", url=any_base_url)
    succeed("down", url=any_base_url)
    down, up = (each["indexes"] for each in history(any_base_url))

    assert up == {**dict.fromkeys(TEN_NAMES, "create"), "ix_activity_type": "keep"}
    assert down.pop("ix_activity_type", "leave") == "leave"
    assert down == dict.fromkeys(TEN_NAMES - {"ix_activity_type"}, "drop")


def test_a_repair_is_listed_too(any_base_url):
    succeed("up", url=any_base_url)
    execute(any_base_url, "DROP INDEX ix_activity_type")
    succeed("up", url=any_base_url)
    entry, _ = history(any_base_url)

    assert entry["direction"] == "up"
    assert entry["indexes"]["ix_activity_type"] == "create"


def test_a_stamp_is_listed_as_a_stamp(any_base_url):
    execute(any_base_url, *specified(any_base_url).values())
    succeed("stamp", HEAD, url=any_base_url)

    assert [each["direction"] for each in history(any_base_url)] == ["stamp"]


def test_a_stamp_of_the_base_is_listed_without_an_index(any_base_url):
    succeed("up", url=any_base_url)
    execute(any_base_url, *(f"DROP INDEX {name}" for name in specified(any_base_url)))
    succeed("stamp", "base", url=any_base_url)
    stamped, *_ = run("history", "--json", url=any_base_url).json()["history"]

    assert (stamped["direction"], stamped["revision"], stamped["indexes"]) == ("stamp", BASE, {})


def test_a_run_that_had_nothing_to_do_is_not_listed(any_base_url):
    succeed("up", url=any_base_url)
    succeed("up", url=any_base_url)
    succeed("down", url=any_base_url)
    succeed("down", url=any_base_url)

    assert len(history(any_base_url)) == 2


def test_a_refused_run_is_not_listed(any_base_url):
    execute(any_base_url, "CREATE INDEX ix_activity_type ON activity (status)")
    assert run("up", url=any_base_url).exit_code == 4

    assert history(any_base_url) == []


def test_a_killed_run_is_listed_once_it_is_finished(base_url):
    with open_writer(base_url), running("up", url=base_url) as killed:
        until_phase(base_url, "waiting for writers")
        killed.send(signal.SIGKILL)
        killed.end()
    until_idle(base_url)
    assert history(base_url) == []
    succeed("up", url=base_url)

    assert [each["direction"] for each in history(base_url)] == ["up"]


def test_the_lines_are_in_order_newest_first(any_base_url):
    succeed("up", url=any_base_url)
    succeed("down", url=any_base_url)
    lines = [line for line in succeed("history", url=any_base_url).lines if HEAD in line]

    assert [re.search(r"\b(up|down)\b", line).group() for line in lines] == ["down", "up"]
    assert all(re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d", line) and "@" in line for line in lines)


def test_without_a_run_history_is_empty_and_creates_nothing(database_url):
    assert history(database_url) == []
    assert succeed("history", url=database_url).stderr == ""
    assert is_postgres(database_url) or not file_of(database_url).exists()


def test_an_action_of_a_later_version_is_listed_by_its_name(any_base_url):
    succeed("up", url=any_base_url)
    execute(any_base_url, 'UPDATE schema_revision_log SET indexes = \'{"ix_activity_type": "polish"}\'')

    assert "1 polish (ix_activity_type)" in succeed("history", url=any_base_url).stdout


def test_only_the_newest_hundred_are_kept(any_base_url):
    succeed("up", url=any_base_url)
    multiply_the_log(any_base_url, 150)
    succeed("down", url=any_base_url)
    entries = succeed("history", "--json", url=any_base_url).json()["history"]

    assert len(entries) == KEPT
    assert entries[0]["direction"] == "down"
    assert execute(any_base_url, "SELECT count(*) FROM schema_revision_log") == [(KEPT,)]


def multiply_the_log(url: str, entries: int) -> None:
    """Fill the log with copies of its entries."""
    numbers = (
        f"SELECT i AS n FROM generate_series(1, {entries}) AS i"
        if is_postgres(url)
        else f"WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {entries}) SELECT n FROM c"
    )
    columns = ", ".join(name for name in columns_of_the_log(url) if name != "id")
    source = f"schema_revision_log, ({numbers}) AS numbers"
    number = "1000 + row_number() OVER ()"
    execute(url, f"INSERT INTO schema_revision_log (id, {columns}) SELECT {number}, {columns} FROM {source}")


def columns_of_the_log(url: str) -> list[str]:
    """Return the names of the log's columns."""
    query = (
        "SELECT attname FROM pg_attribute WHERE attrelid = 'schema_revision_log'::regclass AND attnum > 0"
        if is_postgres(url)
        else "SELECT name FROM pragma_table_info('schema_revision_log')"
    )
    return [name for (name,) in execute(url, query)]


def test_the_log_is_the_only_table_besides_the_record(database_url):
    succeed("up", url=database_url)
    succeed("down", url=database_url)

    assert tables(database_url) - {"sqlite_sequence"} == SEVEN_TABLES | {"schema_revision", "schema_revision_log"}
    assert BASE not in {each["revision"] for each in history(database_url)}


def test_the_log_is_in_the_schema_of_the_tables(postgres_url):
    execute(postgres_url, 'CREATE SCHEMA "Our CRM"')
    succeed("up", "--schema", "Our CRM", url=postgres_url)

    assert "schema_revision_log" in relations_in("Our CRM", postgres_url)
    assert relations_in("public", postgres_url) == set()
    assert len(history(postgres_url, "--schema", "Our CRM")) == 1


def test_a_log_that_is_another_tools_is_left_alone(any_base_url):
    execute(
        any_base_url,
        "DROP TABLE IF EXISTS schema_revision_log",
        "CREATE TABLE schema_revision_log (version integer)",
        "INSERT INTO schema_revision_log VALUES (7)",
    )
    refused = refuses(any_base_url, "up", exit_code=1)
    assert "schema_revision_log" in refused.stderr
    assert execute(any_base_url, "SELECT version FROM schema_revision_log") == [(7,)]


# What no run has written ---------------------------------------------------------------------------------------------

GARBAGE = (
    ("schema_revision", "existed_before", "not JSON", "status"),
    ("schema_revision", "existed_before", '{"ix_activity_type": 7}', "up"),
    ("schema_revision", "existed_before", "null", "check"),
    ("schema_revision_log", "indexes", "not JSON", "history"),
    ("schema_revision_log", "indexes", "[]", "history"),
)
ON_SQLITE = (
    ("schema_revision", "applied_at", "yesterday", "status"),
    ("schema_revision", "duration_ms", "soon", "plan"),
    ("schema_revision_log", "finished_at", "yesterday", "history"),
)


def assert_garbage_is_named(url: str, table: str, column: str, value: str, command: str) -> None:
    """Check that a command names the row that cannot be read, and that what it says to do about it works."""
    prepare(url)
    execute(url, f"UPDATE {table} SET {column} = '{value}'")
    stamps = []
    while (failed := run(command, url=url)).exit_code == 1:
        sentence, hint = failed.stderr.splitlines()
        assert re.search(rf"{table} with \w+ = .* cannot be read: its {column} is {re.escape(value)}\.$", sentence)
        execute(url, re.findall(r"DELETE FROM [^;]+", hint)[0])
        stamps += re.findall(r"python cli\.py (stamp \w+)", hint)
    assert len(stamps) == (2 if table == "schema_revision" else 0)
    for stamp in stamps:
        run(*stamp.split(), url=url)
    assert run(command, url=url).exit_code == 0


@pytest.mark.parametrize(("table", "column", "value", "command"), GARBAGE)
def test_a_row_that_no_run_has_written_is_named_with_a_remedy(database_url, table, column, value, command):
    assert_garbage_is_named(database_url, table, column, value, command)


@pytest.mark.parametrize(("table", "column", "value", "command"), ON_SQLITE)
def test_sqlite_keeps_any_value_in_any_column_and_a_wrong_one_is_named(sqlite_url, table, column, value, command):
    assert_garbage_is_named(sqlite_url, table, column, value, command)
