"""`stamp` records a revision whose indexes exist already, and refuses to record one whose indexes do not."""

from __future__ import annotations

import alembic_app
import pytest
from alembic_app import current
from command import (
    BASE,
    HEAD,
    TEN_NAMES,
    Result,
    ask,
    created_indexes,
    execute,
    file_of,
    is_postgres,
    nothing_changes,
    revisions,
    run,
    specified,
    succeed,
    tables,
)
from leftovers import not_valid
from scenes import old_snapshot, running, transaction, until, until_idle, until_phase

FIRST, NAME = "ix_activity_openphone_id", "ix_activity_type"


@pytest.fixture
def built(any_base_url: str) -> str:
    """Return a database with the ten built by hand and no record of them."""
    execute(any_base_url, *specified(any_base_url).values())
    return any_base_url


def refuses(url: str, *arguments: str) -> Result:
    """Check that stamp finds something else than the revision says, and changes nothing."""
    with nothing_changes(url):
        result = run("stamp", *arguments, url=url)
    assert result.exit_code == 4, result
    return result


# Forward -------------------------------------------------------------------------------------------------------------


def test_ten_that_exist_are_recorded_and_not_built(built):
    before = created_indexes(built)
    result = succeed("stamp", HEAD, url=built)

    assert result.announced() == []
    assert result.lines[-1].endswith(f" is at {HEAD}.")
    assert created_indexes(built) == before
    assert revisions(built) == {BASE: "applied", HEAD: "applied"}
    assert run("check", url=built).exit_code == 0
    assert succeed("up", url=built).lines[0].startswith("Nothing to do")


def test_a_stamp_as_json_says_whether_anything_changed(built):
    first = succeed("stamp", HEAD, "--json", url=built).json()
    with nothing_changes(built):
        second = succeed("stamp", HEAD, "--json", url=built).json()

    assert (first["revision"], first["changed"]) == (HEAD, True)
    assert (second["revision"], second["changed"]) == (HEAD, False)
    assert first["database"] == second["database"]


def test_a_database_without_any_record_is_stamped(built):
    execute(built, "DROP TABLE schema_revision")
    succeed("stamp", HEAD, url=built)

    assert revisions(built)[HEAD] == "applied"


@pytest.mark.parametrize("name", ["head", HEAD[:4]])
def test_a_revision_may_be_named_as_everywhere(built, name):
    succeed("stamp", name, url=built)

    assert revisions(built)[HEAD] == "applied"


def test_a_run_that_did_not_end_is_recorded_as_ended_when_all_exist(any_head_url):
    execute(any_head_url, f"UPDATE schema_revision SET state = 'applying', applied_at = NULL WHERE revision = '{HEAD}'")
    succeed("stamp", HEAD, url=any_head_url)

    assert revisions(any_head_url)[HEAD] == "applied"


def test_a_missing_index_is_named_and_nothing_recorded(built):
    execute(built, f"DROP INDEX {NAME}")
    result = refuses(built, HEAD)

    assert NAME in result.stderr
    assert "missing" in result.stderr
    assert "ix_contact_phone_hash" not in result.stderr


def test_all_ten_are_named_where_none_exists(any_base_url):
    said = refuses(any_base_url, HEAD).stderr

    assert all(name in said for name in TEN_NAMES)


def test_a_different_index_is_set_side_by_side(built):
    execute(built, f"DROP INDEX {NAME}", f"CREATE INDEX {NAME} ON activity (status)")
    document = refuses(built, HEAD, "--json").json()

    assert document["exit_code"] == 4
    assert document["differences"] == {NAME: [{"part": "key", "declared": "activity_type", "found": "status"}]}
    assert f"up --to {HEAD} --replace" in document["hint"]


def test_an_invalid_index_is_not_recorded(base_url):
    execute(base_url, *specified(base_url).values())
    not_valid(base_url, NAME, "activity")
    result = refuses(base_url, HEAD)

    assert NAME in result.stderr


def test_an_empty_database_cannot_be_stamped_with_the_head(database_url):
    refuses(database_url, HEAD)

    assert is_postgres(database_url) or not file_of(database_url).exists()


def test_no_stamp_makes_the_tables_of_an_empty_database(database_url):
    run("stamp", BASE, url=database_url)

    assert is_postgres(database_url) or not file_of(database_url).exists() or "contact" not in tables(database_url)
    assert not is_postgres(database_url) or "contact" not in tables(database_url)


# Back ----------------------------------------------------------------------------------------------------------------


def test_the_base_is_recorded_where_none_of_the_ten_exists(any_head_url):
    execute(any_head_url, *(f"DROP INDEX {name}" for name in TEN_NAMES))
    result = succeed("stamp", BASE, url=any_head_url)

    assert result.lines[-1].endswith(f" is at {BASE}.")
    assert revisions(any_head_url) == {BASE: "applied"}
    assert run("status", url=any_head_url).exit_code == 3


def test_the_base_is_not_recorded_while_one_of_the_ten_exists(any_head_url):
    execute(any_head_url, *(f"DROP INDEX {name}" for name in TEN_NAMES - {NAME}))
    result = refuses(any_head_url, BASE)

    assert NAME in result.stderr
    assert "ix_contact_phone_hash" not in result.stderr


def test_the_base_can_be_named_as_everywhere(any_base_url):
    with nothing_changes(any_base_url):
        assert succeed("stamp", "base", "--json", url=any_base_url).json()["changed"] is False


# With Alembic --------------------------------------------------------------------------------------------------------


def test_a_stamp_moves_alembic_with_it(database_url):
    alembic_app.upgrade(database_url, BASE)
    execute(database_url, *specified(database_url).values())
    succeed("stamp", HEAD, url=database_url)
    assert current(database_url) == (HEAD,)
    alembic_app.upgrade(database_url)
    alembic_app.downgrade(database_url, HEAD)
    execute(database_url, *(f"DROP INDEX IF EXISTS {name}" for name in TEN_NAMES))
    succeed("stamp", BASE, url=database_url)

    assert current(database_url) == (BASE,)


def test_a_refused_stamp_leaves_alembic_where_it_is(database_url):
    alembic_app.upgrade(database_url, BASE)
    refuses(database_url, HEAD)

    assert current(database_url) == (BASE,)


def test_no_alembic_leaves_alembic_where_it_is(database_url):
    alembic_app.upgrade(database_url, BASE)
    execute(database_url, *specified(database_url).values())
    succeed("stamp", HEAD, "--no-alembic", url=database_url)

    assert current(database_url) == (BASE,)
    assert revisions(database_url)[HEAD] == "applied"


def test_indexes_that_alembic_built_can_be_stamped_and_dropped(database_url):
    alembic_app.upgrade(database_url, HEAD)
    succeed("stamp", HEAD, url=database_url)
    succeed("down", url=database_url)

    assert created_indexes(database_url) == {}
    assert current(database_url) == (BASE,)


def test_a_later_revision_of_alembic_is_left_alone(database_url):
    alembic_app.upgrade(database_url, alembic_app.LATER)
    result = succeed("stamp", HEAD, url=database_url)

    assert current(database_url) == (alembic_app.LATER,)
    assert alembic_app.LATER in result.stdout + result.stderr


# Usage ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("deadbeef",), (HEAD, "--force")], ids=["none", "unknown", "by force"])
def test_a_revision_that_cannot_be_stamped_is_wrong_usage(built, arguments):
    with nothing_changes(built):
        assert run("stamp", *arguments, url=built).exit_code == 2


RUN_LOCK = """
    SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
     WHERE locktype = 'advisory' AND granted AND objsubid = 1
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def test_a_stamp_waits_for_a_run_that_is_at_work(base_url):
    with old_snapshot(base_url), running("up", "--jobs", "1", url=base_url) as up:
        until_phase(base_url, "waiting for old snapshots")
        ((key,),) = ask(base_url, RUN_LOCK)
        up.kill()
    until_idle(base_url)
    execute(base_url, f"DROP INDEX IF EXISTS {FIRST}", *specified(base_url).values())
    asking = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'indexer%' AND query ~ 'advisory'"
    with (
        transaction(base_url, f"SELECT pg_advisory_lock({key})") as other,
        running("stamp", HEAD, url=base_url) as stamp,
    ):
        until(lambda: ask(base_url, asking) or not stamp.is_running, "a stamp that asks for the lock")
        assert stamp.is_running
        assert revisions(base_url)[HEAD] == "applying"
        other.end()
        stamp.succeed()
    assert revisions(base_url)[HEAD] == "applied"
