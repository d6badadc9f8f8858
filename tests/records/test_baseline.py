"""What is recorded of each index when it is fresh, so that its growth can be told later."""

from __future__ import annotations

import json
import signal
from datetime import datetime

import pytest
from command import HEAD, TEN_NAMES, execute, is_postgres, run, succeed
from scenes import old_snapshot, running, until_phase

from indexer.records.baseline import UP, Baseline, Checked
from indexer.records.revisions import Record
from indexer.revisions.chain import load
from indexer.runner import Runner

from indexer.connection import connect  # isort: skip

ONE = "ix_activity_type"
ROWS = """
    INSERT INTO activity (openphone_id, activity_type)
    SELECT 'AC' || number, 'call' FROM (
        WITH RECURSIVE counted (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM counted WHERE number < 3000)
        SELECT number FROM counted) AS numbers
"""


def recorded(url: str) -> Record:
    """Return the record of the head revision."""
    with connect(url, read_only=True) as migrator:
        inspector = Runner(migrator, load(".")).inspector
        return inspector.revisions.read(inspector.migrator.catalog.tables(["schema_revision"]))[HEAD]


@pytest.fixture
def up_url(any_base_url: str) -> str:
    """Return the URL of a database that ``up`` has brought to the head revision."""
    succeed("up", url=any_base_url)
    return any_base_url


@pytest.fixture
def filled_url(any_base_url: str) -> str:
    """Return the URL of a database at the base revision with three thousand activities."""
    execute(any_base_url, ROWS)
    return any_base_url


def test_up_records_what_each_index_is_like_when_it_is_fresh(filled_url: str) -> None:
    succeed("up", url=filled_url)
    baselines = recorded(filled_url).baselines
    assert set(baselines) == TEN_NAMES
    one = baselines[ONE]
    assert (one.tuples, one.by, one.built_at) == (3000, UP, one.at)
    assert one.bytes > 8192
    assert one.server_version[0].isdigit()
    assert abs((datetime.utcnow() - one.at).total_seconds()) < 60


def test_the_tuples_of_a_partial_index_are_its_own(base_url: str) -> None:
    execute(base_url, "INSERT INTO contact (first_name, last_name) VALUES ('a', 'b')")
    execute(
        base_url,
        "INSERT INTO contact_flag (contact_id, flag_type) "
        "SELECT 1, CASE n % 5 WHEN 0 THEN 'opted_out' ELSE 'x' END FROM generate_series(1, 500) AS n",
    )
    succeed("up", url=base_url)
    assert recorded(base_url).baselines["ix_contact_flag_opted_out"].tuples == 100


def test_an_index_that_sorts_text_has_the_version_of_its_collation_on_record(base_url: str) -> None:
    execute(base_url, """ALTER TABLE activity ALTER COLUMN activity_type TYPE varchar(20) COLLATE "en-x-icu" """)
    succeed("up", url=base_url)
    baselines = recorded(base_url).baselines
    [(version,)] = execute(
        base_url, """SELECT pg_collation_actual_version(oid) FROM pg_collation WHERE collname = 'en-x-icu'"""
    )
    assert baselines[ONE].collation_version == f'"en-x-icu" {version}'
    assert baselines["ix_conversation_contact_id"].collation_version is None


def test_up_keeps_the_baseline_of_what_it_does_not_build(filled_url: str) -> None:
    succeed("up", url=filled_url)
    before = recorded(filled_url).baselines
    execute(filled_url, ROWS, f"DROP INDEX {ONE}")
    succeed("up", url=filled_url)
    after = recorded(filled_url).baselines
    assert after[ONE].tuples == 6000
    assert {name: each for name, each in after.items() if name != ONE} == {
        name: each for name, each in before.items() if name != ONE
    }


def test_an_index_that_existed_before_up_has_no_baseline(filled_url: str) -> None:
    execute(filled_url, f"CREATE INDEX {ONE} ON activity (activity_type)")
    succeed("up", url=filled_url)
    assert set(recorded(filled_url).baselines) == TEN_NAMES - {ONE}


def test_after_a_kill_the_next_up_records_what_the_killed_one_has_built(base_url: str) -> None:
    execute(base_url, ROWS)
    with old_snapshot(base_url), running("up", "--jobs", "1", url=base_url) as up:
        until_phase(base_url, "waiting for old snapshots")
        up.process.send_signal(signal.SIGKILL)
        up.process.wait()
    succeed("up", url=base_url)
    assert set(recorded(base_url).baselines) == TEN_NAMES


def test_down_forgets_the_baselines(filled_url: str) -> None:
    succeed("up", url=filled_url)
    succeed("down", url=filled_url)
    succeed("stamp", "base", url=filled_url)
    assert execute(filled_url, f"SELECT count(*) FROM schema_revision WHERE revision = '{HEAD}'") == [(0,)]


def stored(url: str) -> dict[str, str]:
    """Return what the record of the head holds as JSON."""
    [(text,)] = execute(url, f"SELECT existed_before FROM schema_revision WHERE revision = '{HEAD}'")
    return json.loads(text)


def test_an_older_version_can_read_the_record(up_url: str) -> None:
    names = stored(up_url)
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in names.items())


def test_a_baseline_of_a_later_version_is_ignored_and_the_record_is_read(up_url: str) -> None:
    names = stored(up_url)
    baselines = json.loads(names["\0baselines"])
    baselines[ONE] = {"bytes": "many"}
    changed = json.dumps({**names, "\0baselines": json.dumps(baselines)}).replace("'", "''")
    execute(up_url, f"UPDATE schema_revision SET existed_before = '{changed}' WHERE revision = '{HEAD}'")
    assert set(recorded(up_url).baselines) == TEN_NAMES - {ONE}
    assert run("check", url=up_url).exit_code == 0


def test_baselines_and_checks_are_stored_and_read_back(up_url: str) -> None:
    at = datetime(2026, 5, 3, 12, 0, 1)
    baseline = Baseline(1, 2, at, "15.1", None, "learned", None)
    record = recorded(up_url)._replace(baselines={ONE: baseline}, checks={ONE: Checked(at, "default 2.36")})
    with connect(up_url) as migrator:
        runner = Runner(migrator, load("."))
        runner.inspector.entries()  # finds the tables
        runner._journal.write([runner.inspector.revisions.update(record)])
    again = recorded(up_url)
    assert (again.baselines, again.checks) == (record.baselines, record.checks)


def test_the_definition_in_a_baseline_tells_a_changed_index_from_the_same_one(filled_url: str) -> None:
    def definitions() -> dict[str, str | None]:
        with connect(filled_url, read_only=True) as migrator:
            migrator.settle(["activity"])
            return {name: each.definition for name, each in migrator.catalog.measured(["ix_one", "ix_two"]).items()}

    execute(filled_url, "CREATE INDEX ix_one ON activity (openphone_id)", "CREATE INDEX ix_two ON activity (status)")
    first = definitions()
    execute(filled_url, "DROP INDEX ix_one", "DROP INDEX ix_two")
    execute(filled_url, "CREATE INDEX ix_two ON activity (openphone_id)")
    execute(filled_url, "CREATE INDEX ix_one ON activity (openphone_id) WHERE status IS NULL")
    second = definitions()
    assert second["ix_two"] == first["ix_one"] != first["ix_two"]
    assert second["ix_one"] not in first.values()
    if is_postgres(filled_url):
        execute(filled_url, "ALTER INDEX ix_two SET (fillfactor = 50)")
        assert definitions()["ix_two"] != second["ix_two"]
