"""In step with Alembic: both tools move the same database on and back, in any order, and neither is left behind."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import alembic_app
import pytest
from alembic_app import ALEMBIC_NAMES, DROPS_EIGHT, LATER, LEFT_BY_IT, UNKNOWN, current
from command import (
    BASE,
    HEAD,
    SEVEN_TABLES,
    SIX_INDEXED_TABLES,
    TEN_NAMES,
    Result,
    ask,
    created_indexes,
    execute,
    is_postgres,
    nothing_changes,
    revisions,
    run,
    specified,
    succeed,
)
from roles import another_role, as_role
from scenes import (
    assert_all_valid,
    assert_none_exist,
    open_writer,
    running,
    transaction,
    until,
    until_idle,
    until_phase,
)

# Every order of four tools in a row occurs in this one, and it is a way forward and back again and again.
EVERY_ORDER = "TTTTATTAATATAAAATTT"
ROW_LOCK = "UPDATE alembic_version SET version_num = version_num"


@pytest.fixture
def url(database_url: str) -> str:
    """Return a database that Alembic has brought to the base revision."""
    alembic_app.upgrade(database_url, BASE)
    return database_url


@pytest.fixture
def postgres(postgres_url: str) -> str:
    """Return such a database on PostgreSQL."""
    alembic_app.upgrade(postgres_url, BASE)
    return postgres_url


def go_up(url: str, tool: str) -> None:
    """Go forward to the head, by this Tool or by Alembic."""
    if tool == "A":
        alembic_app.upgrade(url, HEAD)
    else:
        succeed("up", url=url)


def go_down(url: str, tool: str) -> None:
    """Go back to the base, by this Tool or by Alembic."""
    if tool == "A":
        alembic_app.downgrade(url, BASE)
    else:
        succeed("down", url=url)


def assert_at_head(url: str) -> None:
    """Check that both tools and the catalog say that our revision is applied."""
    assert_all_valid(url)
    assert current(url) == (HEAD,)
    status = run("status", "--json", url=url)
    assert (status.exit_code, status.json()["revision"]) == (0, HEAD)


def assert_at_base(url: str) -> None:
    """Check that both tools and the catalog say that our revision is not applied."""
    assert_none_exist(url)
    assert current(url) == (BASE,)
    status = run("status", "--json", url=url)
    assert (status.exit_code, status.json()["revision"]) == (3, BASE)


def lines_about_alembic(result: Result) -> list[str]:
    """Return what a run said about Alembic's table."""
    return [line for line in (result.stdout + result.stderr).splitlines() if "alembic_version" in line]


def origin(url: str) -> dict[str, str | None]:
    """Return the origin of each index, as status shows it."""
    return {each["name"]: each["origin"] for each in run("status", "--json", url=url).json()["indexes"]}


@contextmanager
def nothing_moves(url: str) -> Iterator[None]:
    """Check that the block changes nothing, Alembic's table included."""
    before = current(url)
    with nothing_changes(url):
        yield
    assert current(url) == before


# Forward and back ----------------------------------------------------------------------------------------------------


def test_up_and_down_are_recorded_with_alembic_too(url):
    go_up(url, "T")
    assert_at_head(url)
    assert revisions(url)[HEAD] == "applied"
    go_down(url, "T")
    assert_at_base(url)


def test_alembic_upgrades_to_its_head_after_up_and_downgrades_again(url):
    go_up(url, "T")
    alembic_app.upgrade(url)
    assert current(url) == (DROPS_EIGHT,)
    alembic_app.downgrade(url, BASE)
    assert_at_base(url)


def test_down_drops_the_indexes_that_alembic_built(url):
    go_up(url, "A")
    result = succeed("down", url=url)

    assert len(result.announced()) == 10
    assert_at_base(url)


def test_down_drops_the_indexes_that_alembic_built_and_up_has_seen(url):
    go_up(url, "A")
    result = succeed("up", url=url)

    assert result.announced() == []
    assert set(origin(url).values()) == {"created"}
    go_down(url, "T")
    assert_at_base(url)


def test_up_rebuilds_the_indexes_that_alembic_dropped(url):
    go_up(url, "T")
    go_down(url, "A")
    assert_at_base(url)
    result = succeed("up", url=url)

    assert len(result.announced()) == 10
    assert_at_head(url)
    assert set(origin(url).values()) == {"created"}


def test_down_after_alembic_dropped_all_indexes_has_nothing_to_roll_back(url):
    go_up(url, "T")
    go_down(url, "A")
    result = succeed("down", url=url)

    assert result.announced() == []
    assert_at_base(url)


def test_both_tools_take_turns_in_every_order(url):
    for step, tool in enumerate(EVERY_ORDER):
        done = EVERY_ORDER[: step + 1]
        if step % 2 == 0:
            go_up(url, tool)
            assert_all_valid(url)
            assert current(url) == (HEAD,), done
            assert run("check", url=url).exit_code == 0, done
        else:
            go_down(url, tool)
            assert_none_exist(url)
            assert current(url) == (BASE,), done
            assert run("check", url=url).exit_code == 3, done


def test_alembic_is_not_mentioned_if_both_agree(url):
    for command in ("up", "up", "status", "check", "down", "down"):
        result = run(command, url=url)
        assert "left alone" not in result.stdout + result.stderr, (command, result)


def test_a_record_that_says_less_than_alembic_is_caught_up(url):
    """Alembic's record counts if the record of this tool is missing."""
    go_up(url, "T")
    execute(url, "DELETE FROM schema_revision")
    with nothing_moves(url):
        assert run("status", url=url).exit_code == 0
    go_down(url, "T")
    assert_at_base(url)


def test_a_plan_and_every_other_reading_command_leave_alembic_alone(url):
    go_up(url, "A")
    with nothing_moves(url):
        for command in ("status", "check", "history", "plan", "plan down", "plan down --sql"):
            assert run(*command.split(), url=url).exit_code == 0, command


# On SQLite two of the ten have other names with Alembic ---------------------------------------------------------------


@pytest.fixture
def sqlite(sqlite_url: str) -> str:
    """Return a file that Alembic has brought to the base revision."""
    alembic_app.upgrade(sqlite_url, BASE)
    return sqlite_url


def indexes_named_by_alembic(url: str) -> set[str]:
    """Return which of the two exist under Alembic's names."""
    names = ", ".join(f"'{name}'" for name in ALEMBIC_NAMES)
    return {name for (name,) in execute(url, f"SELECT name FROM sqlite_master WHERE name IN ({names})")}


def test_indexes_left_by_an_alembic_downgrade_are_pending_and_no_drift(sqlite):
    go_up(sqlite, "T")
    alembic_app.downgrade(sqlite, BASE, in_other_words=True)
    assert created_indexes(sqlite).keys() == set(ALEMBIC_NAMES.values())
    with nothing_moves(sqlite):
        status = run("status", "--json", url=sqlite)
    assert (status.exit_code, status.json()["revision"]) == (3, BASE)
    assert len(succeed("up", url=sqlite).announced()) == 8

    assert_at_head(sqlite)
    assert set(origin(sqlite).values()) == {"created"}


def test_indexes_left_by_alembic_after_a_later_revision_are_pending_and_no_drift(sqlite):
    alembic_app.upgrade(sqlite, LATER, in_other_words=True)
    succeed("up", url=sqlite)
    alembic_app.downgrade(sqlite, BASE, in_other_words=True)

    assert run("check", url=sqlite).exit_code == 3


def test_an_index_dropped_by_hand_is_drift_where_alembic_was_never_moved(url):
    succeed("up", "--no-alembic", url=url)
    execute(url, "DROP INDEX ix_activity_type")

    assert run("check", url=url).exit_code == 4


def test_indexes_that_alembic_built_under_other_names_are_advised_and_renamed(sqlite):
    alembic_app.upgrade(sqlite, HEAD, in_other_words=True)
    check = run("check", "--json", url=sqlite)
    assert check.exit_code == 4
    assert {
        each["index"]: each["about"] for each in check.json()["advice"] if each["kind"] == "duplicate"
    } == ALEMBIC_NAMES
    succeed("up", "--adopt-renamed", url=sqlite)

    assert_at_head(sqlite)
    assert indexes_named_by_alembic(sqlite) == set()
    go_down(sqlite, "T")
    assert_at_base(sqlite)
    assert indexes_named_by_alembic(sqlite) == ALEMBIC_NAMES.keys()


@pytest.mark.parametrize("seen", [False, True], ids=["never seen by up", "seen by up"])
@pytest.mark.parametrize("revision", [HEAD, LATER])
def test_down_drops_the_indexes_that_alembic_built_under_other_names(sqlite, revision, seen):
    alembic_app.upgrade(sqlite, revision, in_other_words=True)
    if seen:
        succeed("up", url=sqlite)
    with nothing_moves(sqlite):
        planned = succeed("plan", "down", "--yes", "--json", url=sqlite).json()
    result = succeed("down", "--yes", url=sqlite)

    assert_none_exist(sqlite)
    assert indexes_named_by_alembic(sqlite) == set()
    assert {f'DROP INDEX "{name}"' for name in ALEMBIC_NAMES} <= set(result.announced())
    assert sorted(result.announced()) == sorted(each for step in planned["steps"] for each in step["statements"])


def test_an_index_with_alembics_name_is_kept_and_named_if_alembic_has_not_run(sqlite):
    succeed("up", url=sqlite)
    execute(sqlite, "DROP INDEX ix_contact_phone_hash", "CREATE INDEX ix_contact_phone ON contact (phone)")
    alembic_app.put(sqlite, BASE)
    result = succeed("down", url=sqlite)

    assert indexes_named_by_alembic(sqlite) == {"ix_contact_phone"}
    said = "Note: ix_contact_phone is the same as ix_contact_phone_hash under another name, and is not dropped."
    assert said in result.lines


def test_both_tools_take_turns_although_two_names_differ(sqlite):
    """Indexes that Alembic has left under its own names do not matter: it says IF NOT EXISTS."""
    for step, tool in enumerate(EVERY_ORDER):
        done = EVERY_ORDER[: step + 1]
        if tool == "A" and step % 2 == 0:
            alembic_app.upgrade(sqlite, HEAD, in_other_words=True)
        elif tool == "A":
            alembic_app.downgrade(sqlite, BASE, in_other_words=True)
        else:
            (go_down if step % 2 else go_up)(sqlite, tool)
        assert current(sqlite) == (BASE if step % 2 else HEAD,), done
        check = run("check", "--json", url=sqlite)
        missing = {each["name"] for each in check.json()["indexes"] if each["finding"] != "valid"}
        if step % 2:
            assert (check.exit_code, missing >= TEN_NAMES - set(ALEMBIC_NAMES.values())) == (3, True), done
        else:
            assert missing <= (set(ALEMBIC_NAMES.values()) if tool == "A" else set()), done
            assert check.exit_code == (4 if missing else 0), done


# Reverted revisions that Alembic still records as applied -------------------------------------------------------------


def by_hand(url: str, name: str = "ix_activity_type") -> None:
    """Make one of the ten as the database's owner might."""
    execute(url, specified(url)[name])


@pytest.mark.parametrize("revision", [HEAD, LATER])
def test_a_reverted_revision_stays_reverted_whatever_alembic_records(url, revision):
    go_up(url, "T")
    alembic_app.upgrade(url, revision)
    succeed("down", "--yes", "--no-alembic", url=url)
    assert current(url) == (revision,)
    for _ in range(2):
        status = run("status", "--json", url=url)
        assert (status.exit_code, status.json()["revision"]) == (3, BASE)
        said = run("status", url=url).stdout
        assert re.search(rf"{HEAD}  .*, reverted 20..-..-.. ..:.. UTC by \S+\n", said), said
        assert succeed("down", "--yes", "--no-alembic", url=url).announced() == []
    go_up(url, "T")

    assert_all_valid(url)
    assert run("check", url=url).exit_code == 0


@pytest.mark.parametrize("revision", [HEAD, LATER])
def test_older_indexes_are_remembered_after_down(url, revision):
    by_hand(url)
    go_up(url, "T")
    alembic_app.upgrade(url, revision)
    for _ in range(3):
        succeed("down", "--yes", "--no-alembic", url=url)
        assert created_indexes(url).keys() == {"ix_activity_type"}
    go_up(url, "T")
    assert origin(url)["ix_activity_type"] == "adopted"
    succeed("down", "--yes", "--no-alembic", url=url)

    assert created_indexes(url).keys() == {"ix_activity_type"}


def test_an_index_made_by_hand_after_down_is_adopted_by_the_next_up(url):
    go_up(url, "A")
    succeed("down", "--no-alembic", url=url)
    by_hand(url)
    assert run("check", url=url).exit_code == 3
    assert origin(url)["ix_activity_type"] is None
    go_up(url, "T")

    assert origin(url)["ix_activity_type"] == "adopted"
    go_down(url, "T")
    assert created_indexes(url).keys() == {"ix_activity_type"}


def test_an_index_made_by_hand_after_an_alembic_downgrade_is_adopted_by_the_next_up(url):
    go_up(url, "T")
    go_down(url, "A")
    by_hand(url)
    assert origin(url)["ix_activity_type"] is None
    go_up(url, "T")

    assert origin(url)["ix_activity_type"] == "adopted"
    go_down(url, "T")
    assert created_indexes(url).keys() == {"ix_activity_type"}


def test_indexes_that_alembic_rebuilds_after_down_count_as_applied_again(url):
    go_up(url, "A")
    succeed("down", "--no-alembic", url=url)
    go_down(url, "A")
    go_up(url, "A")

    assert re.search(rf"{HEAD}  .*, applied by Alembic\n", run("status", url=url).stdout)
    assert_at_head(url)
    assert set(origin(url).values()) == {"created"}
    go_down(url, "T")
    assert_at_base(url)


def test_of_several_rows_one_may_be_the_neighbouring_one(url):
    alembic_app.put(url, BASE, UNKNOWN)
    succeed("up", url=url)
    for command in ("status", "check"):
        assert run(command, url=url).exit_code == 0
    assert succeed("up", url=url).announced() == []
    succeed("down", "--yes", url=url)

    assert_none_exist(url)
    assert current(url) == tuple(sorted((BASE, UNKNOWN)))


# Before the tables and after the ten ---------------------------------------------------------------------------------


def test_alembic_takes_over_the_tables_that_up_made(database_url):
    """An empty database is not Alembic's: up makes tables and no alembic_version."""
    succeed("up", url=database_url)

    assert current(database_url) == ()


def test_at_a_later_revision_the_ten_count_as_applied_and_up_keeps_them(url):
    alembic_app.upgrade(url, LATER)
    with nothing_moves(url):
        assert run("status", url=url).exit_code == 0
        assert run("check", url=url).exit_code == 0
    result = succeed("up", url=url)

    assert result.announced() == []
    assert_all_valid(url)
    assert current(url) == (LATER,)
    assert set(origin(url).values()) == {"created"}
    assert any(LATER in line for line in lines_about_alembic(result)), result


def test_up_at_a_later_revision_warns_in_one_line_each_time_and_succeeds(url):
    alembic_app.upgrade(url, LATER)
    succeed("up", url=url)
    with nothing_moves(url):
        (line,) = lines_about_alembic(succeed("up", url=url))

    assert LATER in line


@pytest.mark.parametrize("seen", [False, True], ids=["never seen by up", "seen by up"])
def test_down_below_a_later_revision_asks_for_yes_and_names_it(url, seen):
    alembic_app.upgrade(url, LATER)
    if seen:
        succeed("up", url=url)
    with nothing_moves(url):
        refused = run("down", url=url)

    assert refused.exit_code == 1
    assert LATER in refused.stderr
    assert "--below-later" in refused.stderr


def test_the_command_that_the_refusal_ends_with_goes_below_a_later_revision(url):
    alembic_app.upgrade(url, LATER)
    refused = run("down", url=url)

    assert refused.next_command() == ["down", "--below-later"]
    succeed(*refused.next_command(), url=url)
    assert_none_exist(url)


def test_below_a_later_revision_there_is_no_script_without_yes(url):
    alembic_app.upgrade(url, LATER)
    result = run("plan", "down", "--sql", url=url)

    assert (result.exit_code, result.stdout) == (1, "")
    assert LATER in result.stderr


def test_where_only_our_record_is_missing_the_plan_says_no_more_than_that(url):
    alembic_app.upgrade(url, HEAD)
    plan = succeed("plan", url=url)

    assert f"is already at {HEAD}; only the record of {HEAD} is missing." in plan.lines[0]
    assert "keep" not in plan.stdout
    assert "->" not in plan.stdout
    succeed(*plan.next_command(), url=url)
    assert succeed("plan", url=url).stdout.startswith("Nothing to do: ")


@pytest.mark.parametrize("seen", [False, True], ids=["never seen by up", "seen by up"])
def test_down_with_yes_drops_below_a_later_revision_and_leaves_alembics_table_alone(url, seen):
    alembic_app.upgrade(url, LATER)
    if seen:
        succeed("up", url=url)
    result = succeed("down", "--yes", url=url)

    assert_none_exist(url)
    assert current(url) == (LATER,)
    (line,) = lines_about_alembic(result)
    assert LATER in line


def test_up_builds_again_after_down_below_a_later_revision(url):
    alembic_app.upgrade(url, LATER)
    succeed("down", "--yes", url=url)
    result = succeed("up", url=url)

    assert len(result.announced()) == 10
    assert_all_valid(url)
    assert current(url) == (LATER,)


def test_yes_is_not_needed_where_alembic_is_at_no_later_revision(url):
    go_up(url, "T")
    succeed("down", "--yes", url=url)

    assert_at_base(url)


def test_the_eight_that_a_later_revision_drops_are_noticed_and_rebuilt(postgres):
    alembic_app.upgrade(postgres, HEAD)
    succeed("up", url=postgres)
    alembic_app.upgrade(postgres, DROPS_EIGHT)
    noticed = run("check", "--json", url=postgres)
    lost = {each["name"] for each in noticed.json()["indexes"] if each["finding"] == "missing"}
    repaired = succeed("up", url=postgres)

    assert noticed.exit_code == 4
    assert lost == TEN_NAMES - LEFT_BY_IT
    assert len(repaired.announced()) == 8
    assert_all_valid(postgres)
    assert current(postgres) == (DROPS_EIGHT,)
    assert run("check", url=postgres).exit_code == 0


def test_the_eight_are_noticed_without_any_record(postgres):
    alembic_app.upgrade(postgres, DROPS_EIGHT)
    assert run("status", url=postgres).exit_code == 4
    succeed("up", url=postgres)

    assert_all_valid(postgres)
    assert set(origin(postgres).values()) == {"created"}


def test_alembic_comes_back_through_the_revision_that_dropped_eight(postgres):
    alembic_app.upgrade(postgres, DROPS_EIGHT)
    succeed("up", url=postgres)
    alembic_app.downgrade(postgres, HEAD)
    assert_at_head(postgres)
    go_down(postgres, "T")
    assert_at_base(postgres)


def test_down_where_eight_are_gone_already_drops_the_other_two(postgres):
    alembic_app.upgrade(postgres, DROPS_EIGHT)
    alembic_app.downgrade(postgres, HEAD)  # which does not bring them back
    result = succeed("down", url=postgres)

    assert len(result.announced()) == 2
    assert_at_base(postgres)


# Both or neither -----------------------------------------------------------------------------------------------------


def refuse_writes(url: str, table: str, when: str = "") -> None:
    """Let every write to a table fail, as soon as it is tried; a table with a trigger would not even be tried."""
    if is_postgres(url):
        condition = re.sub(r"WHEN|NEW\.", "", when) or "true"
        execute(url, f"ALTER TABLE {table} ADD CONSTRAINT refusal CHECK (NOT ({condition})) NOT VALID")
    else:
        body = f"FOR EACH ROW {when} BEGIN SELECT RAISE(ABORT, 'not today'); END"
        execute(url, f"CREATE TRIGGER refusal BEFORE UPDATE ON {table} {body}")
        execute(url, f"CREATE TRIGGER another_refusal BEFORE INSERT ON {table} {body}")


def refuse_at_the_end(url: str, table: str) -> None:
    """Let every write to a table fail, but only when its transaction is committed: what it refers to is missing."""
    key = "version_num" if table == "alembic_version" else "revision"
    execute(
        url,
        "CREATE TABLE IF NOT EXISTS nothing (id varchar(32) PRIMARY KEY)",
        f"ALTER TABLE {table} ADD CONSTRAINT refusal FOREIGN KEY ({key}) REFERENCES nothing"
        " DEFERRABLE INITIALLY DEFERRED NOT VALID",
    )


def allow_writes(url: str, table: str) -> None:
    """Allow the writes again."""
    if is_postgres(url):
        execute(url, f"ALTER TABLE {table} DROP CONSTRAINT refusal")
    else:
        execute(url, "DROP TRIGGER refusal", "DROP TRIGGER another_refusal")


def fails(url: str, command: str) -> Result:
    """Run a command that the database does not let finish."""
    result = run(command, url=url)
    assert result.exit_code == 1, result
    return result


def test_up_is_not_recorded_with_us_when_it_cannot_be_recorded_with_alembic(url):
    refuse_writes(url, "alembic_version")
    fails(url, "up")
    assert current(url) == (BASE,)
    assert "schema_revision" not in _tables(url) or revisions(url).get(HEAD) != "applied"
    assert is_postgres(url) or created_indexes(url) == {}
    allow_writes(url, "alembic_version")
    succeed("up", url=url)

    assert_at_head(url)
    assert revisions(url)[HEAD] == "applied"


def test_up_is_not_recorded_with_alembic_when_it_cannot_be_recorded_with_us(url):
    go_up(url, "T")
    go_down(url, "T")  # now there is a table of this tool
    refuse_writes(url, "schema_revision", when="WHEN (NEW.state = 'applied')")
    fails(url, "up")
    assert current(url) == (BASE,)
    assert revisions(url).get(HEAD) != "applied"
    allow_writes(url, "schema_revision")
    succeed("up", url=url)

    assert_at_head(url)


def test_down_is_recorded_with_both_or_neither(url):
    go_up(url, "T")
    refuse_writes(url, "alembic_version")
    fails(url, "down")
    assert current(url) == (HEAD,)
    assert HEAD in revisions(url)
    allow_writes(url, "alembic_version")
    succeed("down", url=url)

    assert_at_base(url)
    assert HEAD not in revisions(url)


@pytest.mark.parametrize("table", ["alembic_version", "schema_revision"])
def test_both_rows_are_committed_in_one_transaction(postgres, table):
    go_up(postgres, "T")
    go_down(postgres, "T")
    before = revisions(postgres)
    refuse_at_the_end(postgres, table)
    fails(postgres, "up")
    assert current(postgres) == (BASE,)
    assert revisions(postgres).get(HEAD) == before.get(HEAD) or revisions(postgres)[HEAD] == "applying"
    allow_writes(postgres, table)
    succeed("up", url=postgres)

    assert_at_head(postgres)


def test_a_run_killed_while_it_waits_for_alembics_row_moves_both_or_neither(postgres):
    waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query ~ 'alembic_version'"
    with transaction(postgres, ROW_LOCK), running("up", url=postgres) as up:
        until(lambda: ask(postgres, f"{waiting} AND wait_event_type = 'Lock'"), "a run that waits for the row")
        up.kill()
    until(lambda: not ask(postgres, f"{waiting} AND pid <> pg_backend_pid()"), "the end of its session")

    assert (current(postgres) == (HEAD,)) == (revisions(postgres)[HEAD] == "applied")
    succeed("up", url=postgres)
    assert_at_head(postgres)


def test_a_run_killed_in_the_middle_has_moved_neither_and_the_next_moves_both(postgres):
    with open_writer(postgres), running("up", url=postgres) as killed:
        until_phase(postgres, "waiting for writers")
        killed.kill()
    until_idle(postgres)
    assert current(postgres) == (BASE,)
    assert revisions(postgres)[HEAD] == "applying"
    succeed("up", url=postgres)

    assert_at_head(postgres)
    go_down(postgres, "A")
    assert_at_base(postgres)


def _tables(url: str) -> set[str]:
    query = "SELECT tablename FROM pg_tables" if is_postgres(url) else "SELECT name FROM sqlite_master"
    return {name for (name,) in execute(url, query)}


# Other states of Alembic's table -------------------------------------------------------------------------------------


def test_several_rows_are_left_alone(url):
    alembic_app.put(url, BASE, UNKNOWN)
    up = succeed("up", url=url)
    assert_all_valid(url)
    down = succeed("down", "--yes", url=url)
    assert_none_exist(url)

    assert current(url) == tuple(sorted((BASE, UNKNOWN)))
    for result in (up, down):
        (line,) = lines_about_alembic(result)
        assert BASE in line
        assert UNKNOWN in line


def test_an_unknown_row_is_left_alone(url):
    alembic_app.put(url, UNKNOWN)
    assert run("status", url=url).exit_code in (3, 4)  # a later one should have the ten, an earlier one not yet
    result = succeed("up", url=url)

    assert_all_valid(url)
    assert current(url) == (UNKNOWN,)
    (line,) = lines_about_alembic(result)
    assert UNKNOWN in line


def test_an_empty_table_is_left_empty(url):
    alembic_app.put(url)
    assert run("status", url=url).exit_code == 3
    up = succeed("up", url=url)
    assert_all_valid(url)
    down = succeed("down", url=url)
    assert_none_exist(url)

    assert current(url) == ()
    assert len(lines_about_alembic(up)) == len(lines_about_alembic(down)) == 1


def test_a_revision_before_the_neighbouring_one_is_left_alone(url):
    """The last table was made by hand: Alembic is at a revision that does not follow the base, or is unknown."""
    alembic_app.put(url, "e1b04c7a9f35")
    succeed("up", url=url)

    assert_all_valid(url)
    assert current(url) == ("e1b04c7a9f35",)


def test_alembic_may_be_at_our_revision_while_no_index_exists(url):
    alembic_app.put(url, HEAD)
    assert run("status", url=url).exit_code == 4
    succeed("up", url=url)

    assert_at_head(url)


@pytest.mark.parametrize("command", ["up", "down"])
def test_no_alembic_never_touches_alembics_table(url, command):
    go_up(url, "A") if command == "down" else None
    before = current(url)
    result = succeed(command, "--no-alembic", url=url)

    assert created_indexes(url) == ({} if command == "down" else specified(url))
    assert current(url) == before
    assert len(result.announced()) == 10


def test_after_up_without_alembic_both_can_still_be_brought_together(url):
    succeed("up", "--no-alembic", url=url)
    assert run("status", url=url).exit_code == 0
    alembic_app.upgrade(url, HEAD)  # builds nothing: the original says IF NOT EXISTS

    assert_at_head(url)
    go_down(url, "T")
    assert_at_base(url)


@pytest.mark.parametrize(
    "made_by",
    [
        "CREATE TABLE alembic_version (version integer)",
        "CREATE TABLE alembic_version (id integer PRIMARY KEY, name varchar(20))",
        f"CREATE VIEW alembic_version AS SELECT '{BASE}' AS version_num",
    ],
    ids=["another column", "other columns", "a view"],
)
def test_a_table_of_another_shape_than_alembics_is_ignored(url, made_by):
    execute(url, "DROP TABLE alembic_version", made_by)
    if made_by.startswith("CREATE TABLE"):
        execute(url, "INSERT INTO alembic_version VALUES (7)" if "version int" in made_by else "SELECT 1")
    before = execute(url, "SELECT * FROM alembic_version")
    for command, left in (("up", TEN_NAMES), ("down", set())):
        succeed(command, url=url)
        assert created_indexes(url).keys() == left

    assert execute(url, "SELECT * FROM alembic_version") == before


def test_alembics_table_in_another_schema_than_the_tables_is_left_alone(postgres):
    execute(
        postgres,
        "CREATE SCHEMA crm",
        *(f"ALTER TABLE {table} SET SCHEMA crm" for table in SEVEN_TABLES),
    )
    succeed("up", "--schema", "crm", url=postgres)

    assert current(postgres) == (BASE,)
    assert created_indexes(postgres) == specified(postgres, "crm")


def test_alembics_table_in_another_schema_of_the_search_path_is_mentioned(postgres):
    (name,) = execute(postgres, "SELECT current_database()")[0]
    execute(
        postgres,
        "CREATE SCHEMA crm",
        *(f"ALTER TABLE {table} SET SCHEMA crm" for table in SEVEN_TABLES),
        f"ALTER DATABASE {name} SET search_path TO public, crm",
    )
    (line,) = lines_about_alembic(succeed("up", url=postgres))

    assert line == (
        f"Note: public.alembic_version is not updated, although it holds {BASE}: "
        "to keep it in step, add --version-table public.alembic_version"
    )
    assert current(postgres) == (BASE,)


def test_alembics_table_in_a_schema_of_any_name_is_moved(postgres_url):
    schema = 'Our "CRM"'
    execute(postgres_url, 'CREATE SCHEMA "Our ""CRM"""')
    alembic_app.upgrade(postgres_url, BASE, schema)
    succeed("up", "--schema", schema, url=postgres_url)
    assert current(postgres_url, schema) == (HEAD,)
    alembic_app.upgrade(postgres_url, LATER, schema)
    alembic_app.downgrade(postgres_url, HEAD, schema)
    succeed("down", "--schema", schema, url=postgres_url)

    assert current(postgres_url, schema) == (BASE,)
    assert_none_exist(postgres_url)


# Another name, another schema ----------------------------------------------------------------------------------------


@pytest.fixture(params=["other_versions", "tracking.alembic_version", '"with.dot".other_versions'])
def kept_elsewhere(request: pytest.FixtureRequest, postgres: str) -> str:
    """Return the name of Alembic's version table where Alembic keeps it somewhere else."""
    *schema, name = [part.strip('"') for part in re.findall(r'"[^"]*"|[^.]+', request.param)]
    execute(postgres, *(f'CREATE SCHEMA "{each}"' for each in schema))
    execute(postgres, *(f'ALTER TABLE alembic_version SET SCHEMA "{each}"' for each in schema))
    if name != "alembic_version":
        moved = ".".join(f'"{each}"' for each in (*schema, "alembic_version"))
        execute(postgres, f"ALTER TABLE {moved} RENAME TO {name}")
    return request.param


def test_a_version_table_of_another_name_or_schema_is_kept_in_step_once_it_is_named(postgres, kept_elsewhere):
    held = f"SELECT version_num FROM {kept_elsewhere}"
    (note,) = [line for line in run("status", url=postgres).lines if "--version-table" in line]
    option = shlex.split(note[note.index("--version-table") :])
    assert option == ["--version-table", kept_elsewhere]
    for command, revision in (("up", HEAD), ("down", BASE)):
        planned = succeed("plan", command, *option, url=postgres)
        assert planned.next_command() == [command, *option]
        said = succeed(*planned.next_command(), url=postgres).stdout
        assert "--version-table" not in said
        assert execute(postgres, held) == [(revision,)]

    check = run("check", *option, url=postgres)
    assert check.exit_code == 3
    assert check.next_command() == ["up", *option]


def test_a_version_table_that_is_not_named_is_not_changed_and_every_run_notes_it(postgres, kept_elsewhere):
    for command in ("plan", "up", "down"):
        assert f"although it holds {BASE}" in succeed(command, url=postgres).stdout

    assert execute(postgres, f"SELECT version_num FROM {kept_elsewhere}") == [(BASE,)]


def test_a_version_table_of_another_name_is_found_on_sqlite_too(sqlite):
    execute(sqlite, "ALTER TABLE alembic_version RENAME TO other_versions")
    assert "--version-table other_versions" in run("status", url=sqlite).stdout
    succeed("up", "--version-table", "other_versions", url=sqlite)

    assert execute(sqlite, "SELECT version_num FROM other_versions") == [(HEAD,)]


def test_a_version_table_of_another_chain_is_not_mentioned(postgres):
    execute(
        postgres,
        "DROP TABLE alembic_version",
        "CREATE TABLE other_versions (version_num varchar(32) PRIMARY KEY)",
        "INSERT INTO other_versions VALUES ('feedfacefeed')",
    )
    assert "other_versions" not in succeed("up", url=postgres).stdout


@pytest.mark.parametrize("name", ["nowhere", "nowhere.alembic_version", "a.b.c", ""])
def test_a_version_table_that_does_not_exist_is_wrong_usage(url, name):
    with nothing_moves(url):
        refused = run("up", "--version-table", name, url=url)

    assert refused.exit_code == 2


# Rights --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def role(superuser_url: str, postgres: str) -> Iterator[str]:
    """Return a role that owns the six tables and may only read Alembic's; a superuser makes it for the test."""
    rights = (
        "GRANT USAGE, CREATE ON SCHEMA public TO {role}",
        "GRANT SELECT ON alembic_version TO {role}",
        *(f"ALTER TABLE {table} OWNER TO {{role}}" for table in SIX_INDEXED_TABLES),
    )
    with another_role(superuser_url, *rights) as name:
        yield name


def test_a_missing_right_on_alembics_table_is_named_and_does_not_fail_the_run(postgres, role):
    said = succeed("up", url=as_role(postgres, role)).stdout

    assert re.search(r"^Note: alembic_version is not updated, .*GRANT SELECT, UPDATE ON .*alembic_version", said, re.M)
    assert_all_valid(postgres)
    assert current(postgres) == (BASE,)


def test_stamp_brings_alembic_in_step_once_the_right_is_given(postgres, role):
    succeed("up", url=as_role(postgres, role))
    execute(postgres, f"GRANT UPDATE ON alembic_version TO {role}")
    succeed("stamp", "head", url=as_role(postgres, role))

    assert_at_head(as_role(postgres, role))


def test_a_role_that_may_not_move_alembic_goes_without_it(postgres, role):
    succeed("up", "--no-alembic", url=as_role(postgres, role))

    assert_all_valid(postgres)
    assert current(postgres) == (BASE,)


def test_a_role_that_may_write_alembics_table_needs_not_own_it(postgres, role):
    execute(postgres, f"GRANT UPDATE ON alembic_version TO {role}")
    url = as_role(postgres, role)
    succeed("up", url=url)
    assert_at_head(url)
    succeed("down", url=url)
    assert_at_base(url)


def test_a_version_table_in_a_closed_schema_is_kept_in_step_with_the_rights_that_are_printed(postgres, role):
    execute(postgres, "CREATE SCHEMA closed", "ALTER TABLE alembic_version SET SCHEMA closed")
    execute(postgres, f"REVOKE ALL ON closed.alembic_version FROM {role}")
    option, url = ("--version-table", "closed.alembic_version"), as_role(postgres, role)
    grants = re.findall(r"GRANT .*? TO \w+", run("status", *option, url=url).stdout)
    assert [grant.split()[1] for grant in grants] == ["USAGE", "SELECT,"]
    execute(postgres, *grants)
    succeed("up", *option, url=url)

    assert execute(postgres, "SELECT version_num FROM closed.alembic_version") == [(HEAD,)]


@pytest.mark.parametrize(("command", "exit_code"), [("status", 3), ("check", 3), ("up", 0)])
def test_a_role_that_may_not_read_alembics_table_gets_the_grants_to_type(postgres, role, command, exit_code):
    execute(postgres, f"REVOKE ALL ON alembic_version FROM {role}")
    result = run(command, url=as_role(postgres, role))

    assert result.exit_code == exit_code
    assert "Note: alembic_version is not updated" in result.stdout
    execute(postgres, re.findall(r"GRANT SELECT[^;]+", result.stdout)[0])
    assert "is not updated" not in run(command, url=as_role(postgres, role)).stdout


def test_down_needs_yes_where_the_revision_of_alembic_cannot_be_read(superuser_url, postgres, role):
    """Alembic moves on as a superuser, because the tables are the role's."""
    succeed("up", url=as_role(postgres, role))
    alembic_app.upgrade(superuser_url, LATER)
    execute(postgres, f"REVOKE ALL ON alembic_version FROM {role}")
    with nothing_moves(superuser_url):
        refused = run("down", url=as_role(postgres, role))
    assert refused.exit_code == 1
    assert "alembic_version cannot be read" in refused.stderr
    succeed(*refused.next_command(), url=as_role(postgres, role))

    assert_none_exist(postgres)


# JSON ----------------------------------------------------------------------------------------------------------------


def test_json_stays_json_where_alembics_table_is_left_alone(url):
    alembic_app.upgrade(url, LATER)
    result = succeed("up", "--json", url=url)

    assert result.json()["to"] == HEAD
    assert all(isinstance(document, dict) for document in result.story())
    assert LATER in result.stdout + result.stderr
