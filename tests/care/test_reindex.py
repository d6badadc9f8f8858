"""reindex rebuilds what it is asked for, says what it leaves out, and keeps the records true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from signal import SIGTERM
from typing import Any

import pytest
from command import (
    CLI,
    HEAD,
    TEN_NAMES,
    Result,
    ask,
    broken,
    created_indexes,
    execute,
    is_postgres,
    nothing_changes,
    prepare,
    refuses,
    revisions,
    run,
    specified,
    succeed,
)
from corruption import ROWS, need_amcheck, sort_by
from kinds import runner_of
from leftovers import ccnew, ccold, not_ready
from roles import APPLICATION, OWNER, as_owner, new_database
from scenes import (
    ByHand,
    application,
    assert_all_valid,
    fill_activity,
    old_snapshot,
    open_reader,
    open_writer,
    running,
    until,
    until_dropping,
    until_phase,
)
from windows import closing_in

from indexer import Index
from indexer.care.choice import Criteria
from indexer.care.deep import AMCHECK, LOOKUPS, deep_check
from indexer.care.rebuilds import Reindexed
from indexer.care.reindex import Reindexer
from indexer.catalog import Place
from indexer.cli.options import Size
from indexer.connection import connect as connect_to
from indexer.console.reindex import of_run
from indexer.errors import Blocked, Interrupted
from indexer.events import IndexChecked, WindowClosed
from indexer.options import Options
from indexer.records.baseline import REINDEX, UP, Baseline
from indexer.records.revisions import Record
from indexer.revisions.chain import load
from indexer.runner import Runner
from indexer.signals import Stop

ROOT = str(CLI.parent)
NAME, OTHER = "ix_activity_openphone_id", "ix_activity_type"
LEFTOVERS = r"SELECT relname FROM pg_class WHERE relname ~ '_cc(new|old)\d*$'"
WRITE_ELSEWHERE = "INSERT INTO webhook_event (event_type) VALUES ('written')"
FILE = "SELECT oid::int8, relfilenode::int8 FROM pg_class WHERE relname = '{name}'"


@contextmanager
def runner(url: str, **options: Any) -> Iterator[Runner]:
    """Yield a runner on the project's revisions, in this process."""
    with closing(connect_to(url)) as migrator:
        yield Runner(migrator, load(ROOT), options=Options(**options))


def reindex(url: str, *names: str, **criteria: Any) -> Reindexed:
    """Rebuild indexes in this process."""
    with runner(url) as found:
        return Reindexer(found).run(Criteria(names, **criteria))


def recorded(url: str) -> Record:
    """Return the record of the head revision."""
    with runner(url) as found:
        return found.inspector.revisions.read(found.migrator.catalog.tables(["schema_revision"]))[HEAD]


def baseline(url: str, name: str = NAME) -> Baseline:
    """Return the baseline of an index."""
    return recorded(url).baselines[name]


@pytest.fixture
def up_url(any_base_url: str) -> str:
    """Return the URL of a database that ``up`` has brought to the head."""
    with runner(any_base_url) as found:
        found.up()
    return any_base_url


@pytest.fixture
def online_url(base_url: str) -> str:
    """Return the URL of such a database on PostgreSQL."""
    with runner(base_url) as found:
        found.up()
    return base_url


@contextmanager
def bloated(server: str) -> Iterator[str]:
    """Yield the URL of a database with an index that a rebuild would make a third as large."""
    with new_database(server) as superuser_url:
        url = as_owner(superuser_url)
        prepare(url, to="base")
        fill_activity(url, 30_000)
        with runner(url) as found:
            found.up()
        execute(url, "DELETE FROM activity WHERE id % 3 <> 0", "VACUUM ANALYZE activity")
        until(lambda: ask(url, "SELECT 1 FROM pg_stat_user_tables WHERE relname = 'activity' AND n_live_tup < 11000"))
        yield url


# Which indexes -------------------------------------------------------------------------------------------------------


def planned(url: str, *names: str, **criteria: Any) -> tuple[list[str], dict[str, str]]:
    """Return the indexes that would be rebuilt, and why each other one would not be."""
    with runner(url) as found:
        plan = Reindexer(found).plan(Criteria(names, **criteria))
    return [each.name for each in plan.chosen], {each.candidate.name: str(each.reason) for each in plan.left_out}


def assert_limits_leave_out(url: str) -> None:
    """Check that what is not bloated over the limit, larger or younger is left out with the reason."""
    chosen, reasons = planned(url, bloated_over=3.5)
    assert chosen == []
    assert re.search(r"a rebuild would leave about .* \([23]\.\d\d times, not over 3\.5\)$", reasons[NAME])
    assert planned(url, NAME, bloated_over=1.8) == ([NAME], {})
    assert planned(url)[0] == [NAME]
    chosen, reasons = planned(url, max_size=1024 * 1024)
    assert chosen == []
    assert re.fullmatch(r"has \d+ kB, more than the 1024 kB allowed", reasons[NAME])
    assert planned(url, NAME, min_age=1) == ([], {NAME: "was built 0 hours ago, less than the 1 day required"})
    assert planned(url, NAME, min_age=0) == ([NAME], {})


def assert_dry_run_shows_statements(dry: Result, document: dict[str, Any]) -> None:
    """Check a dry run as text and as JSON."""
    assert f"  {NAME} has " in dry.stdout
    statements = re.findall(r"^    (.*);$", dry.stdout, re.MULTILINE)
    assert statements == document["statements"]
    assert statements == [
        f'DROP INDEX CONCURRENTLY "public"."{OTHER}_ccnew"',
        f'REINDEX INDEX CONCURRENTLY "public"."{NAME}"',
    ]
    assert dry.next_command() == ["reindex", "--bloated-over", "1.8"]
    (rebuild,) = document["rebuilds"]
    assert rebuild.items() >= {"index": NAME, "table": "activity", "evidence": "baseline"}.items()
    assert rebuild["bytes"] > 2.5 * rebuild["bytes_after_rebuild"]


def assert_only_the_bloated_one_is_rebuilt(done: Result) -> None:
    """Check that each other index has its reason, and that the disk that is needed is said first."""
    assert re.findall(r"^  (\w+) rebuilt in", done.stdout, re.MULTILINE) == [NAME]
    (reasons,) = re.findall(r"^Left out:\n((?:  .*\n)+)", done.stdout, re.MULTILINE)
    assert {line.split()[0] for line in reasons.splitlines()} == TEN_NAMES - {NAME}
    assert "  ix_conversation_contact_id has 8192 bytes; cannot tell" in reasons
    room = next(number for number, line in enumerate(done.lines) if "of disk beside the old index" in line)
    assert room < next(number for number, line in enumerate(done.lines) if line.startswith("  DROP INDEX"))


def assert_rebuild_is_recorded(url: str, before: Baseline) -> None:
    """Check that the baseline is that of the rebuild and says still when the index was created; check the history."""
    after = baseline(url)
    assert (before.by, after.by) == (UP, REINDEX)
    assert (after.bytes, after.tuples) == (size(url, NAME), 10_000)
    assert after.bytes < 0.6 * before.bytes
    assert after.at.year > after.built_at.year == before.built_at.year
    assert baseline(url, OTHER).by == UP
    line = succeed("history", url=url).lines[1]
    gains = rf"reindex +{HEAD} .* 1 dropped \({OTHER}_ccnew\); 1 rebuilt \({NAME} \d+ kB -> \d+ kB\)"
    assert re.search(gains, line), line
    entry = succeed("history", "--json", url=url).json()["history"][0]
    bytes_before, bytes_after = entry["sizes"][NAME]
    assert (entry["direction"], entry["indexes"][NAME]) == ("reindex", "reindex")
    assert (bytes_before > 2.5 * bytes_after, bytes_after) == (True, size(url, NAME))


def test_the_bloated_index_and_a_leftover_are_shown_rebuilt_and_dropped_and_recorded(postgres_server):
    with bloated(postgres_server) as url:
        assert_limits_leave_out(url)
        ccnew(url, OTHER, "activity")
        execute(url, "UPDATE schema_revision SET existed_before = replace(existed_before, '20', '19')")
        with nothing_changes(url):
            dry = succeed("reindex", "--dry-run", "--bloated-over", "1.8", url=url)
            document = succeed("reindex", "--dry-run", "--json", url=url).json()
        assert_dry_run_shows_statements(dry, document)
        before = baseline(url)
        assert_only_the_bloated_one_is_rebuilt(succeed("reindex", "--bloated-over", "1.8", url=url))
        assert_rebuild_is_recorded(url, before)
        assert reindex(url, bloated_over=1.8).rebuilt == ()
        chosen, reasons = planned(url, NAME, OTHER, min_age=1)  # an index is as young as its rebuild
        assert (chosen, reasons.keys()) == ([OTHER], {NAME})


def test_a_named_index_is_rebuilt_whatever_its_ratio(up_url):
    before = indexes_on_disk(up_url)
    done = reindex(up_url, OTHER)
    assert [(each.target.name, each.by_another) for each in done.rebuilt] == [(OTHER, False)]
    assert done.left_out == ()
    changed = {name for name, file in indexes_on_disk(up_url).items() if before[name] != file}
    assert changed == ({OTHER} if is_postgres(up_url) else set())
    assert_all_valid(up_url)


def indexes_on_disk(url: str) -> dict[str, Any]:
    """Return the file of each declared index; SQLite shows none."""
    if not is_postgres(url):
        return dict.fromkeys(TEN_NAMES)
    return {name: ask(url, FILE.format(name=name))[0] for name in TEN_NAMES}


@pytest.mark.parametrize(
    ("size", "count"), [("8192", 8192), ("1kB", 1024), ("1.5 mb", 3 << 19), ("500MB", 500 << 20), ("2GB", 2 << 30)]
)
def test_a_size_has_a_unit_of_1024_and_is_typed_again_as_it_was(size, count):
    assert Size().convert(size, None, None) == count
    (_, typed) = Criteria(max_size=count).words()
    assert Size().convert(typed, None, None) == count


def test_a_size_that_cannot_be_read_is_wrong_usage(sqlite_url):
    assert run("reindex", "--max-size", "big", url=sqlite_url).exit_code == 2
    for option, value in (("--min-age", "nan"), ("--min-age", "1e9"), ("--bloated-over", "inf")):
        assert run("reindex", option, value, url=sqlite_url).exit_code == 2


def test_statistics_that_may_be_old_are_gathered_first_and_the_index_is_judged_again(base_url):
    fill_activity(base_url, 30_000)
    with runner(base_url) as found:
        found.up()
    execute(base_url, "ANALYZE activity", "DELETE FROM activity WHERE id % 3 <> 0")
    until(lambda: ask(base_url, "SELECT 1 FROM pg_stat_user_tables WHERE relname = 'activity' AND n_dead_tup > 0"))
    shown = succeed("reindex", "--dry-run", url=base_url).stdout
    assert "would rebuild no index" in shown
    assert "ANALYZE of activity" in shown
    done = succeed("reindex", "--json", url=base_url).json()
    assert [each["index"] for each in done["rebuilt"]] == [NAME]
    assert done["analyzed"] == ["activity"]


def test_new_statistics_can_show_that_nothing_is_to_be_rebuilt(base_url):
    fill_activity(base_url, 30_000)
    with runner(base_url) as found:
        found.up()
    grow = "INSERT INTO activity (openphone_id) SELECT repeat(md5(i::text), 3) FROM generate_series(30001, 80000) AS i"
    execute(base_url, "ANALYZE activity", grow)
    until(lambda: ask(base_url, "SELECT 1 FROM pg_stat_user_tables WHERE relname = 'activity' AND n_live_tup > 70000"))
    shown = succeed("reindex", url=base_url)
    assert '  ANALYZE "public"."activity"' in shown.lines
    assert "Nothing to rebuild after ANALYZE of activity" in shown.lines[-1]


# What cannot be rebuilt ----------------------------------------------------------------------------------------------


def test_an_unknown_index_ends_in_2_with_the_statement_to_rebuild_it_by_hand(online_url):
    execute(online_url, "CREATE INDEX other_index ON activity (status)")
    refused = refuses(online_url, "reindex", "other_index", exit_code=2)
    (statement,) = re.findall(r"execute: (REINDEX .*);", refused.stderr)
    before = ask(online_url, FILE.format(name="other_index"))
    execute(online_url, statement)
    assert ask(online_url, FILE.format(name="other_index")) != before


def test_a_misspelt_name_ends_in_2_with_the_name_that_it_may_be(sqlite_head_url):
    refused = refuses(sqlite_head_url, "reindex", "ix_activity_typ", exit_code=2)
    assert "No revision declares ix_activity_typ: ix_activity_typ may be ix_activity_type." in refused.stderr
    assert "execute" not in refused.stderr
    assert "execute" not in refuses(sqlite_head_url, "reindex", "IX_ACTIVITY_TYPE", exit_code=2).stderr


def test_tables_in_another_schema_are_named_with_the_option(head_url):
    execute(head_url, "ALTER SCHEMA public RENAME TO tenant_a", "CREATE SCHEMA public")
    for names in ([], [NAME]):
        refused = refuses(head_url, "reindex", *names, exit_code=1)
        assert "the tables are in schema tenant_a: add --schema tenant_a" in refused.stderr
        assert "cli.py up" not in refused.stderr
    succeed("reindex", NAME, "--schema", "tenant_a", url=head_url)


def test_a_missing_index_ends_in_1_and_up_builds_it(any_head_url):
    execute(any_head_url, f"DROP INDEX {OTHER}")
    refused = refuses(any_head_url, "reindex", OTHER, exit_code=1)
    assert f"{OTHER} does not exist" in refused.stderr
    up, again = re.findall(r"run: python cli\.py (.*)", refused.stderr)
    succeed(*up.split(), url=any_head_url)
    succeed(*again.split(), url=any_head_url)


def test_an_invalid_index_ends_in_1_and_up_rebuilds_it(head_url):
    execute(head_url, f"DROP INDEX {OTHER}")
    not_ready(head_url, OTHER, "activity (activity_type)")
    refused = refuses(head_url, "reindex", OTHER, exit_code=1)
    assert f"{OTHER} is invalid (not ready)" in refused.stderr
    assert refused.next_command() == ["reindex", OTHER]
    succeed("up", url=head_url)
    succeed("reindex", OTHER, url=head_url)


def test_another_index_of_the_name_ends_in_4_with_the_difference(any_head_url):
    execute(any_head_url, f"DROP INDEX {OTHER}", f"CREATE INDEX {OTHER} ON activity (status)")
    refused = refuses(any_head_url, "reindex", OTHER, exit_code=4)
    assert re.search(r"key +activity_type +status", refused.stderr)
    assert "up --replace" in refused.stderr


def test_without_names_what_cannot_be_rebuilt_is_left_out_with_the_next_step(any_head_url):
    execute(any_head_url, f"DROP INDEX {OTHER}", f"DROP INDEX {NAME}", f"CREATE INDEX {NAME} ON activity (status)")
    shown = succeed("reindex", url=any_head_url).stdout
    assert f"{OTHER} does not exist; run: python cli.py up" in shown
    assert f"{NAME} is not the declared index; run: python cli.py check" in shown


@pytest.mark.parametrize("command", ["up", "down"])
def test_the_indexes_of_an_unfinished_revision_are_rebuilt_after_it_is_finished(base_url, command):
    """A rebuild gives an index another OID, and that of an unfinished run tells who made it."""
    if command == "down":
        succeed("up", url=base_url)
    hold = open_reader(base_url) if command == "down" else open_writer(base_url, WRITE_ELSEWHERE)
    blocked = OTHER if command == "down" else "ix_webhook_event_processed"
    with hold, running(command, "--json", "--jobs", "1", url=base_url) as killed:
        killed.event("StatementStarted", index=blocked)
        killed.kill()
    kept, *_ = until(lambda: sorted(created_indexes(base_url).keys() - broken(base_url)))  # the server ends the build
    refused = run("reindex", kept, url=base_url)
    assert refused.exit_code == 1
    assert f"whose {command} is unfinished" in refused.stderr
    succeed("down", url=base_url)
    assert created_indexes(base_url) == {}


@pytest.mark.parametrize("right", ["GRANT SELECT ON schema_revision TO", "REVOKE SELECT ON schema_revision FROM"])
def test_a_role_that_does_not_own_the_table_gets_the_grant_and_its_command_again(head_url, app_url, right):
    execute(head_url, f"{right} {APPLICATION}")
    with nothing_changes(head_url):
        refused = run("reindex", NAME, "--max-size", "1GB", url=app_url)
    assert refused.exit_code == 1, refused
    belongs = (
        r"table (\S+) belongs to role \w+, and only its owner can (?:index it|drop what an interrupted rebuild leaves)"
    )
    assert re.findall(belongs, refused.stderr) == ["public.activity"]
    assert refused.next_command() == ["reindex", NAME, "--max-size", "1GB"]


def test_a_database_without_the_indexes_is_said_in_one_line(any_base_url):
    shown = succeed("reindex", url=any_base_url)
    assert "10 indexes that do not exist (ix_activity_openphone_id, " in shown.stdout
    assert len(shown.lines) == 3
    assert "run: python cli.py up" in shown.lines[1]


# Corruption ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [AMCHECK, LOOKUPS])
def test_a_corrupt_index_is_clean_after_its_rebuild_and_is_no_longer_suspected(online_url, superuser_url, by):
    """A superuser tells the catalog another collation, as an upgrade of the system does."""
    if by == AMCHECK:
        need_amcheck(superuser_url, OWNER)
    execute(online_url, *ROWS, "ANALYZE")
    sort_by(superuser_url, "en-x-icu", NAME)
    assert run("check", "--deep", NAME, url=online_url).exit_code == 4
    done = succeed("reindex", NAME, "--json", url=online_url).json()
    (rebuilt,) = done["rebuilt"]
    assert rebuilt["checked_by"] == by
    assert rebuilt["check"] == ("clean, and 2,000 of 2,000 found" if by == AMCHECK else "2,000 of 2,000 found")
    assert recorded(online_url).checks.keys() == {NAME}
    assert recorded(online_url).checks[NAME].scans == 2000
    succeed("check", "--deep", NAME, url=online_url)


def test_an_index_that_is_corrupt_although_it_is_new_ends_in_4(online_url, superuser_url, monkeypatch):
    """A superuser tells the catalog another collation while the check is about to begin."""
    execute(online_url, *ROWS, "ANALYZE")

    def too_late(migrator: Any, names: list[str]) -> Any:
        sort_by(superuser_url, "en-x-icu", *names)
        return deep_check(migrator, names)

    monkeypatch.setattr("indexer.care.reindex.deep_check", too_late)
    done = reindex(online_url, NAME)
    assert done.exit_code == 4
    assert f"{NAME} is corrupt although it is new: " in str(of_run(done, Place("here")).line)
    assert recorded(online_url).checks == {}


def test_the_statement_that_ends_the_warning_of_postgresql_counts_the_other_indexes(online_url, superuser_url):
    """A superuser makes the catalog remember another version of a collation."""
    if int(execute(online_url, "SHOW server_version_num")[0][0]) < 130000:
        pytest.skip("PostgreSQL 12 records no version of a libc collation, and the wheel may have no ICU")
    execute(superuser_url, 'CREATE COLLATION mine FROM "en-x-icu"', f"ALTER COLLATION mine OWNER TO {OWNER}")
    execute(superuser_url, "UPDATE pg_collation SET collversion = '1' WHERE collname = 'mine'")
    execute(superuser_url, "CREATE TABLE other (name text COLLATE mine)", "CREATE INDEX ON other (name)")
    execute(online_url, *ROWS, "ANALYZE")
    sort_by(superuser_url, "mine", NAME, OTHER)
    printed = " ".join(succeed("reindex", NAME, url=online_url).stdout.split())
    assert "what else sorts by it: 2 other indexes. Then run: ALTER COLLATION" in printed
    printed = " ".join(succeed("reindex", OTHER, url=online_url).stdout.split())
    assert "what else sorts by it: 1 other index. Then run: ALTER COLLATION" in printed
    execute(online_url, re.search(r"ALTER COLLATION .* REFRESH VERSION", printed)[0])
    assert "REFRESH VERSION" not in succeed("reindex", NAME, url=online_url).stdout


# What is recorded ----------------------------------------------------------------------------------------------------


def size(url: str, name: str) -> int:
    """Return the bytes of an index."""
    return ask(url, f"SELECT pg_relation_size('public.{name}')")[0][0]


def test_who_made_an_index_stays_as_it_is_recorded(base_url):
    """REINDEX CONCURRENTLY gives an index another OID."""
    execute(base_url, f"CREATE INDEX {OTHER} ON activity (activity_type)")
    with runner(base_url) as found:
        found.up()
    reindex(base_url, NAME, OTHER)
    assert recorded(base_url).existed_before == {OTHER: OTHER}
    with open_reader(base_url), running("down", "--json", url=base_url) as killed:
        killed.event("StatementStarted", index="ix_activity_conversation_created")
        killed.kill()
    succeed("down", url=base_url)
    assert created_indexes(base_url).keys() == {OTHER}


def test_a_down_and_an_up_that_are_killed_after_a_rebuild_go_on(online_url):
    reindex(online_url, NAME, OTHER)
    for command in ("down", "up"):
        hold = open_reader if command == "down" else open_writer
        with hold(online_url), running(command, "--json", "--jobs", "1", url=online_url) as killed:
            killed.event("StatementStarted", index=OTHER if command == "down" else NAME)
            killed.kill()
        succeed(command, url=online_url)
        assert created_indexes(online_url) == ({} if command == "down" else specified(online_url))
    succeed("down", url=online_url)
    assert created_indexes(online_url) == {}


def test_a_record_that_cannot_be_written_stops_no_rebuild(online_url, superuser_url):
    """A superuser takes the table of records away."""
    execute(
        superuser_url, "ALTER TABLE schema_revision OWNER TO CURRENT_USER", "GRANT SELECT ON schema_revision TO PUBLIC"
    )
    done = succeed("reindex", NAME, "--json", url=online_url).json()
    assert [each["index"] for each in done["rebuilt"]] == [NAME]
    assert any("GRANT SELECT, INSERT" in warning for warning in done["warnings"])


def test_without_a_record_the_hint_records_the_revision(any_head_url):
    execute(any_head_url, "DELETE FROM schema_revision")
    shown = run("reindex", NAME, url=any_head_url)
    assert shown.exit_code == 0, shown
    command = re.search(r"Record that: python cli\.py (\w+)", shown.stdout)[1]
    succeed(command, url=any_head_url)
    assert revisions(any_head_url)[HEAD] == "applied"
    assert "Record it" not in succeed("reindex", NAME, url=any_head_url).stdout


# Leftovers -----------------------------------------------------------------------------------------------------------


def leftovers(url: str) -> set[str]:
    """Return what has a name that REINDEX CONCURRENTLY gives."""
    return {name for (name,) in ask(url, LEFTOVERS)}


def test_leftovers_are_dropped_even_if_nothing_is_rebuilt(online_url):
    left = {ccnew(online_url, OTHER, "activity"), ccold(online_url, OTHER, "activity")}
    ccnew(online_url, OTHER, "activity")
    assert leftovers(online_url) == {*left, f"{OTHER}_ccnew1"}
    done = reindex(online_url)
    assert set(done.dropped) == {*left, f"{OTHER}_ccnew1"}
    assert done.rebuilt == ()
    assert leftovers(online_url) == set()
    assert_all_valid(online_url)


def test_down_drops_what_is_left_of_its_indexes(online_url):
    ccnew(online_url, OTHER, "activity")
    ccold(online_url, OTHER, "activity")
    succeed("down", url=online_url)
    assert created_indexes(online_url) == {}
    assert leftovers(online_url) == set()


def test_what_only_looks_like_a_leftover_stays(online_url):
    execute(
        online_url,
        f"CREATE INDEX {OTHER}_ccnew ON activity (activity_type)",  # valid
        "CREATE INDEX other_index ON activity (status)",
    )
    ccnew(online_url, "other_index", "activity")  # of an index that is not declared
    not_ready(online_url, f"{OTHER}_ccold", "activity (status)")  # of another definition
    before = leftovers(online_url)
    assert reindex(online_url, OTHER).dropped == ()
    assert leftovers(online_url) == before


def test_a_name_that_was_cut_is_recognised_in_the_catalog(postgres_url):
    long = Index("ix_" + "é" * 30, table="note", columns=("title",))
    execute(postgres_url, "CREATE TABLE note (id integer PRIMARY KEY, title text)")
    with runner_of(postgres_url, long) as found:
        found.up()
        ccnew(postgres_url, long.name, "note")
        ccnew(postgres_url, long.name, "note")
        assert len(leftovers(postgres_url)) == 2
        done = Reindexer(found).run(Criteria())
    assert len(done.dropped) == 2
    assert leftovers(postgres_url) == set()


def test_a_leftover_that_a_reader_holds_is_waited_for(online_url):
    left = ccold(online_url, OTHER, "activity")
    with open_reader(online_url):
        refused = run("reindex", "--max-wait", "0.2", "--retries", "0", url=online_url)
        assert (refused.exit_code, left in refused.stderr) == (6, True), refused
    succeed("reindex", url=online_url)
    assert leftovers(online_url) == set()


# Beside others -------------------------------------------------------------------------------------------------------


def test_another_session_that_rebuilds_the_index_is_joined(online_url):
    with old_snapshot(online_url) as snapshot:
        by_hand = ByHand(online_url, f"REINDEX INDEX CONCURRENTLY {OTHER}")
        until_phase(online_url, "waiting for old snapshots")
        with running("reindex", OTHER, "--json", url=online_url) as joining:
            assert joining.event("Joined", index=OTHER)["worker"] == by_hand.pid
            snapshot.end()
            by_hand.end()
            done = joining.succeed().json()
    assert [(each["index"], each["by_another_session"]) for each in done["rebuilt"]] == [(OTHER, True)]
    assert joining.find("StatementStarted") is None
    assert baseline(online_url, OTHER).by == REINDEX
    assert_all_valid(online_url)


def test_after_another_session_gave_up_its_rebuild_this_one_begins(online_url):
    with old_snapshot(online_url) as snapshot:
        by_hand = ByHand(online_url, f"REINDEX INDEX CONCURRENTLY {OTHER}")
        until_phase(online_url, "waiting for old snapshots")
        with running("reindex", OTHER, "--json", url=online_url) as joining:
            joining.event("Joined", index=OTHER)
            execute(online_url, f"SELECT pg_cancel_backend({by_hand.pid})")
            by_hand.end()
            joining.event("StatementStarted", statement=f'DROP INDEX CONCURRENTLY "public"."{OTHER}_ccnew"')
            snapshot.end()
            done = joining.succeed().json()
    assert [(each["index"], each["by_another_session"]) for each in done["rebuilt"]] == [(OTHER, False)]
    assert leftovers(online_url) == set()


def test_the_writes_and_reads_of_an_application_go_on(online_url):
    with application(online_url, "statement_timeout = '3s'") as at_work:
        reindex(online_url, *sorted(TEN_NAMES))
        at_work.wait_for_rounds()
    assert_all_valid(online_url)


@pytest.mark.parametrize(
    ("hold", "phase"),
    [(open_writer, "waiting before the start"), (open_reader, "waiting for readers before marking dead")],
)
def test_a_limited_wait_ends_with_the_blocker_and_leaves_the_index_valid(online_url, hold, phase):
    with hold(online_url) as blocker:
        with pytest.raises(Blocked) as refused, runner(online_url, max_wait=0.3, retries=0) as found:
            Reindexer(found).run(Criteria((OTHER,)))
        assert f"{OTHER}, {phase} for:" in refused.value.message
        assert f"pg_terminate_backend({blocker.pid})" in refused.value.message
        remains = f"{OTHER} is rebuilt; {OTHER}_ccold is left, because pid {blocker.pid} may still use it; "
        assert str(refused.value.hint).startswith(remains) is (hold is open_reader)
        with runner(online_url) as found:
            assert blocker.pid in {each.pid for each in Reindexer(found).plan(Criteria((OTHER,))).blockers}
        assert created_indexes(online_url) == specified(online_url)
    reindex(online_url)
    assert_all_valid(online_url)


def test_a_rebuild_that_was_given_up_while_readers_held_the_old_index_is_done_once_they_end(online_url):
    before = ask(online_url, FILE.format(name=OTHER))
    with (
        open_reader(online_url) as reader,
        running("reindex", OTHER, "--json", "--max-wait", "0.3", "--retries", "9", url=online_url) as giving_up,
    ):
        until_dropping(online_url)
        after = ask(online_url, FILE.format(name=OTHER))
        reader.end()
        done = giving_up.succeed().json()
    assert [(each["index"], each["by_another_session"]) for each in done["rebuilt"]] == [(OTHER, False)]
    assert before != after == ask(online_url, FILE.format(name=OTHER))  # it was rebuilt once
    assert leftovers(online_url) == set()


def test_what_another_run_has_rebuilt_meanwhile_is_not_rebuilt_again_nor_waited_for_without_a_wait(online_url):
    with old_snapshot(online_url) as snapshot, running("reindex", OTHER, url=online_url) as first:
        until_phase(online_url, "waiting for old snapshots")
        assert run("reindex", NAME, "--no-wait", url=online_url).exit_code == 5
        with running("reindex", OTHER, "--json", url=online_url) as second:
            second.event("LockWaited")
            snapshot.end()
            first.succeed()
            done = second.succeed().json()
    assert (done["rebuilt"], done["exit_code"]) == ([], 0)
    reasons = {each["index"]: each["reason"] for each in done["left_out"]}
    assert reasons == {OTHER: "has just been rebuilt by another run"}


def test_offline_an_index_is_rebuilt_by_a_plain_statement_in_its_place(online_url):
    ((oid, file),) = ask(online_url, FILE.format(name=OTHER))
    shown = succeed("reindex", OTHER, "--offline", url=online_url).stdout
    assert f'  REINDEX INDEX "public"."{OTHER}"\n' in shown
    ((same, other),) = ask(online_url, FILE.format(name=OTHER))
    assert (same == oid, other == file) == (True, False)


def test_offline_a_writer_is_waited_for_no_longer_than_the_limit(online_url):
    offline = runner(online_url, offline=True, max_wait=0.3, retries=0)
    with open_writer(online_url), pytest.raises(Blocked), offline as found:
        Reindexer(found).run(Criteria((OTHER,)))


def test_outside_of_the_window_nothing_begins_and_the_command_that_continues_is_printed(online_url):
    ccnew(online_url, OTHER, "activity")
    tomorrow = f"{datetime.now(timezone.utc) + timedelta(days=1):%a}".lower()
    with nothing_changes(online_url):
        closed = run("reindex", NAME, OTHER, "--window", f"{tomorrow} 01:00-02:00 UTC", url=online_url)
    assert closed.exit_code == 3, closed
    assert "Nothing was changed on " in closed.stdout
    assert f"because the window is closed; 3 indexes are left ({OTHER}_ccnew, {NAME}, {OTHER})" in closed.stdout
    command = closed.next_command()
    assert command == ["reindex", NAME, OTHER, "--window", f"{tomorrow} 01:00-02:00 UTC"]
    today = f"{datetime.now(timezone.utc):%a}".lower()
    done = succeed(*command[:-1], f"{today},{tomorrow} 00:00-24:00 UTC", url=online_url)
    assert "2 rebuilt" in done.lines[-1]


def test_the_next_command_names_only_what_is_not_rebuilt_after_a_signal_or_the_end_of_the_window(online_url):
    stop, names = Stop(), (NAME, OTHER)

    def interrupt(event: object) -> None:
        if isinstance(event, IndexChecked):  # right after the first rebuild
            stop.ask(SIGTERM)

    with closing(connect_to(online_url)) as migrator, pytest.raises(Interrupted) as interrupted:
        Reindexer(Runner(migrator, load(ROOT), report=interrupt, stop=stop)).run(Criteria(names, max_size=1 << 30))
    assert f"{NAME} is rebuilt" in interrupted.value.message
    assert interrupted.value.hint.parts[-1] == ("reindex", OTHER, "--max-size", "1GB")

    with open_reader(online_url) as reader:

        def end_the_reader(event: object) -> None:
            if isinstance(event, WindowClosed):
                reader.end()

        options = Options(window=closing_in(4))
        with closing(connect_to(online_url)) as migrator:
            done = Reindexer(Runner(migrator, load(ROOT), options=options, report=end_the_reader)).run(Criteria(names))
    assert [each.target.name for each in done.rebuilt] == [NAME]
    assert done.rest.command[:3] == ("reindex", OTHER, "--window")


def test_a_wait_of_a_rebuild_is_reported_with_the_blocker(online_url):
    with old_snapshot(online_url) as snapshot, running("reindex", NAME, "--json", url=online_url) as watched:
        waiting = watched.event("Waiting", index=NAME, phase="waiting for old snapshots")
        snapshot.end()
        watched.succeed()
    assert waiting["blockers"][0]["pid"] == snapshot.pid


# Before a run --------------------------------------------------------------------------------------------------------


def test_a_dry_run_on_a_missing_file_creates_none(sqlite_url):
    with nothing_changes(sqlite_url):
        succeed("reindex", "--dry-run", url=sqlite_url)
        succeed("reindex", url=sqlite_url)
