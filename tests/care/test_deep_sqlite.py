"""`check --deep` on SQLite: PRAGMA integrity_check finds a broken index that quick_check calls ok."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import closing

import pytest
from command import HEAD, TEN_NAMES, connect, execute, file_of, run, succeed
from corruption import change_sqlite, damage

from indexer.care.deep import CANNOT_TELL, CLEAN, CORRUPT, deep_check
from indexer.revisions.chain import load
from indexer.runner import Runner

import indexer  # isort: skip

BROKEN = "ix_activity_openphone_id"
ROWS = """
    INSERT INTO activity (openphone_id, activity_type)
    WITH RECURSIVE counted (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM counted WHERE number < 2000)
    SELECT CASE number % 2 WHEN 0 THEN 'Ac' ELSE 'aC' END || number, 'call' FROM counted
"""


@pytest.fixture
def filled_url(sqlite_head_url: str) -> str:
    """Return the URL of a file with the ten indexes and two thousand activities."""
    execute(sqlite_head_url, ROWS)
    return sqlite_head_url


def states(url: str) -> dict[str, str]:
    """Return the states that the deep checks of the ten indexes find."""
    with indexer.connect(url) as migrator:
        return {finding.name: finding.state for finding in deep_check(migrator, sorted(TEN_NAMES))}


def sort_without_case(url: str) -> None:
    """Tell SQLite that a column sorts without regard to case, and leave the index as it is."""
    change_sqlite(url, "activity", '"openphone_id" VARCHAR(100)', '"openphone_id" VARCHAR(100) COLLATE NOCASE')


def test_an_index_whose_collation_changed_is_corrupt_until_it_is_rebuilt(filled_url):
    assert set(states(filled_url).values()) == {CLEAN}
    sort_without_case(filled_url)
    assert execute(filled_url, "PRAGMA quick_check") == [("ok",)]

    result = run("check", "--deep", url=filled_url)
    assert result.exit_code == 4
    assert f"Corrupt: {BROKEN}. To rebuild it, run: python cli.py reindex {BROKEN}" in result.stdout
    assert {name for name, state in states(filled_url).items() if state == CORRUPT} == {BROKEN}

    execute(filled_url, f"REINDEX {BROKEN}")
    assert set(states(filled_url).values()) == {CLEAN}


def test_an_index_that_lacks_rows_is_corrupt(filled_url):
    with closing(connect(filled_url)) as connection:
        [(root,)] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ix_activity_type'")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_master WHERE name = 'ix_activity_type'")
    execute(filled_url, "INSERT INTO activity (activity_type) VALUES ('lost')")
    with closing(connect(filled_url)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        sql = 'CREATE INDEX "ix_activity_type" ON "activity" ("activity_type")'
        connection.execute(
            "INSERT INTO sqlite_master VALUES ('index', 'ix_activity_type', 'activity', ?, ?)", (root, sql)
        )
    assert states(filled_url)["ix_activity_type"] == CORRUPT


def test_the_problems_of_another_index_that_hide_those_of_one_are_repaired_first(filled_url):
    """SQLite names a hundred problems of a table, in the order of its indexes."""
    with closing(connect(filled_url)) as connection:
        [entry] = connection.execute("SELECT * FROM sqlite_master WHERE name = 'ix_activity_type'").fetchall()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_master WHERE name = 'ix_activity_type'")
    execute(filled_url, ROWS.replace("2000", "300"))
    with closing(connect(filled_url)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", entry)
    result = run("check", "--deep", BROKEN, url=filled_url)

    assert result.exit_code == 1
    assert f"Not checked: {BROKEN}." in result.stdout
    assert "Repair those first: python cli.py reindex ix_activity_type" in result.stdout
    succeed("reindex", "ix_activity_type", url=filled_url)
    assert run("check", "--deep", BROKEN, url=filled_url).exit_code == 0


def test_a_damaged_page_is_a_corrupt_index_and_stops_no_other_check(filled_url):
    [(root,)] = execute(filled_url, f"SELECT rootpage FROM sqlite_master WHERE name = '{BROKEN}'")
    damage(file_of(filled_url), (root - 1) // 2, (root - 1) % 2 * 4096, b"\x00" * 100)  # of 4,096 bytes each
    found = states(filled_url)

    assert found[BROKEN] == CORRUPT
    of_the_same_table = {"ix_activity_type", "ix_activity_conversation_created"}
    assert {found[name] for name in of_the_same_table} == {CANNOT_TELL}
    assert {found[name] for name in TEN_NAMES - of_the_same_table - {BROKEN}} == {CLEAN}


def test_where_no_rebuild_can_repair_an_index_the_rows_are_saved_by_the_command_that_is_named(filled_url):
    [(root,)] = execute(filled_url, f"SELECT rootpage FROM sqlite_master WHERE name = '{BROKEN}'")
    damage(file_of(filled_url), (root - 1) // 2, (root - 1) % 2 * 4096, b"\x00" * 100)
    refused = run("reindex", BROKEN, url=filled_url)

    assert refused.exit_code == 1
    command = re.search(r"The file is damaged\. Restore a backup, or save .*: (sqlite3 .*)", refused.stderr)
    assert command, refused.stderr
    if shutil.which("sqlite3"):
        subprocess.run(command[1], shell=True, check=True)
        saved = f"{filled_url}.saved"
        assert execute(saved, "SELECT count(*) FROM activity") == [(2000,)]
        assert run("check", "--deep", url=saved).exit_code == 0


def test_a_damaged_table_is_no_corrupt_index(filled_url):
    [(root,)] = execute(filled_url, "SELECT rootpage FROM sqlite_master WHERE name = 'webhook_event'")
    damage(file_of(filled_url), (root - 1) // 2, (root - 1) % 2 * 4096, b"\x00" * 100)
    found = states(filled_url)

    assert found["ix_webhook_event_event_type"] == found["ix_webhook_event_processed"] == CANNOT_TELL
    assert found["ix_activity_type"] == CLEAN


def test_clean_indexes_are_recorded(filled_url):
    document = succeed("check", "--deep", "--json", url=filled_url).json()
    assert {(each["result"], each["by"]) for each in document["deep"]} == {("clean", "integrity_check")}
    with indexer.connect(filled_url, read_only=True) as migrator:
        assert set(Runner(migrator, load(".")).inspector.records()[HEAD].checks) == TEN_NAMES


def test_while_another_process_writes_the_result_is_not_recorded(filled_url):
    with closing(connect(filled_url)) as other:
        other.execute("BEGIN IMMEDIATE")
        result = succeed("check", "--deep", BROKEN, url=filled_url)
    assert "Note: The result is not recorded: " in result.stdout
