"""Indexes older than the tool: they are kept, renamed or replaced, and `down` undoes only what `up` did."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
import pytest
from command import (
    BASE,
    HEAD,
    TEN,
    TEN_NAMES,
    ask,
    broken,
    catalog_without_records,
    connect,
    created_indexes,
    execute,
    indexes,
    is_postgres,
    nothing_changes,
    prepare,
    refuses,
    revisions,
    run,
    specified,
    statements_of,
    succeed,
)
from leftovers import not_ready
from scenes import (
    Run,
    assert_all_valid,
    open_reader,
    open_writer,
    running,
    transaction,
    until,
    until_dropping,
    until_idle,
    until_phase,
)

NAME = "ix_activity_type"
DUPLICATE = "CREATE INDEX other_index ON activity (activity_type)"
WRONG = f"CREATE INDEX {NAME} ON activity (status)"
LONGEST = "i" * 63
ODD_NAMES = ("By Hand", 'say "so"', "it's;--", LONGEST, "índice_ünïque_電話")


def quoted(name: str) -> str:
    """Return a name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def make(url: str, name: str, as_named: str | None = None) -> None:
    """Make one of the ten by hand, under its own name or another."""
    execute(url, specified(url)[name].replace(f"INDEX {name} ", f"INDEX {quoted(as_named or name)} "))


def come_from(url: str) -> dict[str, tuple[str | None, str | None]]:
    """Return the origin of each index and the name it had, as status shows them."""
    found = run("status", "--json", url=url).json()["indexes"]
    return {each["name"]: (each["origin"], each["renamed_from"]) for each in found}


def others_than_created(url: str) -> dict[str, tuple[str | None, str | None]]:
    """Return the indexes that `up` did not build."""
    return {name: origin for name, origin in come_from(url).items() if origin != ("created", None)}


def identity(url: str, name: str) -> tuple[int, int]:
    """Return OID and file of a relation of PostgreSQL: a rename keeps both."""
    query = f"SELECT oid::bigint, relfilenode::bigint FROM pg_class WHERE oid = 'public.{quoted(name)}'::regclass"
    (found,) = ask(url, query)
    return found


def names(url: str) -> set[str]:
    """Return all indexes but those of constraints."""
    return set(indexes(url))


# Kept ----------------------------------------------------------------------------------------------------------------


def test_an_identical_index_of_the_right_name_is_adopted_and_left_by_down(any_base_url):
    make(any_base_url, NAME)
    before = catalog_without_records(any_base_url)
    result = succeed("up", url=any_base_url)

    assert not [statement for statement in result.announced() if NAME in statement]
    assert others_than_created(any_base_url) == {NAME: ("adopted", None)}
    down = succeed("down", url=any_base_url)
    assert catalog_without_records(any_base_url) == before
    assert NAME in down.stdout


def test_all_ten_may_exist_already(any_base_url):
    for name in TEN_NAMES:
        make(any_base_url, name)
    result = succeed("up", url=any_base_url)

    assert result.announced() == []
    assert set(come_from(any_base_url).values()) == {("adopted", None)}
    succeed("down", url=any_base_url)
    assert created_indexes(any_base_url) == specified(any_base_url)
    assert revisions(any_base_url).get(HEAD) is None


def test_status_shows_for_each_index_whether_it_was_created_adopted_or_renamed(any_base_url):
    make(any_base_url, NAME)
    make(any_base_url, "ix_contact_phone_hash", as_named="other_index")
    succeed("up", "--adopt-renamed", url=any_base_url)
    shown = run("status", url=any_base_url).stdout

    assert re.search(rf"^{NAME} .*adopted", shown, re.MULTILINE)
    assert re.search(r"^ix_contact_phone_hash .*renamed.*other_index", shown, re.MULTILINE)
    assert re.search(r"^ix_conversation_contact_id .*created", shown, re.MULTILINE)


def test_include_adopted_drops_older_indexes_too(any_base_url):
    make(any_base_url, NAME)
    make(any_base_url, "ix_contact_phone_hash", as_named="other_index")
    succeed("up", "--adopt-renamed", url=any_base_url)
    before = names(any_base_url) - TEN_NAMES
    succeed("down", "--include-adopted", url=any_base_url)

    assert names(any_base_url) == before
    assert HEAD not in revisions(any_base_url)


def test_without_a_record_no_index_has_an_origin(any_base_url):
    assert set(come_from(any_base_url).values()) == {(None, None)}


def test_an_adopted_index_that_up_rebuilds_counts_as_created(any_base_url):
    make(any_base_url, NAME)
    succeed("up", url=any_base_url)
    execute(any_base_url, f"DROP INDEX {NAME}")
    succeed("up", url=any_base_url)

    assert come_from(any_base_url)[NAME] == ("created", None)
    succeed("down", url=any_base_url)
    assert created_indexes(any_base_url) == {}


# The same under another name -----------------------------------------------------------------------------------------


def test_up_names_a_duplicate_and_builds_the_index_beside_it(any_base_url):
    execute(any_base_url, DUPLICATE)
    result = succeed("up", url=any_base_url)
    (line,) = [line for line in result.lines if "other_index" in line]

    assert NAME in line
    assert "--adopt-renamed" in line
    assert created_indexes(any_base_url) == specified(any_base_url)
    assert "other_index" in names(any_base_url)
    assert come_from(any_base_url)[NAME] == ("created", None)
    succeed("down", url=any_base_url)
    assert "other_index" in names(any_base_url)
    assert created_indexes(any_base_url) == {}


def test_a_duplicate_is_renamed_when_that_is_asked_for_and_renamed_back_by_down(any_base_url):
    execute(any_base_url, DUPLICATE)
    before = catalog_without_records(any_base_url)
    succeed("up", "--adopt-renamed", url=any_base_url)

    assert created_indexes(any_base_url) == specified(any_base_url)
    assert "other_index" not in names(any_base_url)
    assert others_than_created(any_base_url) == {NAME: ("renamed", "other_index")}
    succeed("down", url=any_base_url)
    assert catalog_without_records(any_base_url) == before


def test_a_rename_builds_nothing(base_url):
    for name in TEN_NAMES:
        make(base_url, name, as_named=f"old_{name}")
    before = {name: identity(base_url, f"old_{name}") for name in TEN_NAMES}
    result = succeed("up", "--adopt-renamed", url=base_url)

    assert not [statement for statement in result.announced() if statement.startswith("CREATE")]
    assert {name: identity(base_url, name) for name in TEN_NAMES} == before
    succeed("down", url=base_url)
    assert {name: identity(base_url, f"old_{name}") for name in TEN_NAMES} == before


def test_duplicates_of_all_ten_indexes_are_renamed_and_renamed_back(any_base_url):
    for name in TEN_NAMES:
        make(any_base_url, name, as_named=f"old_{name}")
    before = names(any_base_url)
    succeed("up", "--adopt-renamed", url=any_base_url)
    assert created_indexes(any_base_url) == specified(any_base_url)
    assert come_from(any_base_url) == {name: ("renamed", f"old_{name}") for name in TEN_NAMES}
    succeed("down", url=any_base_url)

    assert names(any_base_url) == before


@pytest.mark.parametrize("old", ODD_NAMES)
def test_an_index_of_any_name_is_renamed_and_gets_it_back(any_base_url, old):
    make(any_base_url, NAME, as_named=old)
    before = names(any_base_url)
    assert old in before
    succeed("up", "--adopt-renamed", url=any_base_url)
    assert come_from(any_base_url)[NAME] == ("renamed", old)
    succeed("down", url=any_base_url)

    assert names(any_base_url) == before


def test_of_several_duplicates_one_is_renamed(any_base_url):
    duplicates = {"other_index", "other_index_2", "another_index"}
    for name in duplicates:
        make(any_base_url, NAME, as_named=name)
    before = names(any_base_url)
    succeed("up", "--adopt-renamed", url=any_base_url)
    origin, old = come_from(any_base_url)[NAME]

    assert origin == "renamed"
    assert names(any_base_url) & duplicates == duplicates - {old}
    succeed("down", url=any_base_url)
    assert names(any_base_url) == before


def test_a_duplicate_is_not_renamed_where_the_index_exists(any_base_url):
    make(any_base_url, NAME)
    execute(any_base_url, DUPLICATE)
    succeed("up", "--adopt-renamed", url=any_base_url)

    assert come_from(any_base_url)[NAME] == ("adopted", None)
    assert "other_index" in names(any_base_url)


def test_a_second_up_forgets_no_old_name(any_base_url):
    execute(any_base_url, DUPLICATE)
    succeed("up", "--adopt-renamed", url=any_base_url)
    execute(any_base_url, "DROP INDEX ix_contact_phone_hash")
    succeed("up", url=any_base_url)

    assert others_than_created(any_base_url) == {NAME: ("renamed", "other_index")}
    succeed("down", url=any_base_url)
    assert "other_index" in names(any_base_url)


NEAR_DUPLICATES = {
    "another_column": "activity (status)",
    "a_column_more": "activity (activity_type, status)",
    "descending": "activity (activity_type DESC)",
    "ascending": "activity (conversation_id, created_at)",
    "an_expression": "activity (lower(activity_type))",
    "another_order": "webhook_event (event_type, processed)",
    "another_table": "campaign (campaign_type)",
    "partial": "activity (activity_type) WHERE activity_type IS NOT NULL",
}
ALMOST_TWINS_ON_SQLITE = {
    **NEAR_DUPLICATES,
    "another_collation": "activity (activity_type COLLATE NOCASE)",
    "only_opted_out": "contact_flag (flag_type, contact_id) WHERE flag_type = 'opted_out'",
}
ALMOST_TWINS_ON_POSTGRESQL = {
    **NEAR_DUPLICATES,
    "another_collation": 'activity (activity_type COLLATE "POSIX")',
    "another_operator_class": "activity (activity_type varchar_pattern_ops)",
    "nulls_last": "activity (conversation_id, created_at DESC NULLS LAST)",
    "include": "activity (activity_type) INCLUDE (status)",
    "another_method": "activity USING hash (activity_type)",
    "a_btree_for_a_hash": "contact (phone)",
    "no_predicate": "contact_flag (flag_type, contact_id)",
    "another_predicate": "contact_flag (flag_type, contact_id) WHERE flag_type = 'office_number'",
}


def test_an_index_that_differs_in_any_part_is_never_renamed(any_base_url):
    almost = ALMOST_TWINS_ON_POSTGRESQL if is_postgres(any_base_url) else ALMOST_TWINS_ON_SQLITE
    execute(
        any_base_url,
        *(f"CREATE INDEX {name} ON {on}" for name, on in almost.items()),
        "CREATE UNIQUE INDEX a_unique_one ON activity (activity_type)",
    )
    before = indexes(any_base_url)
    result = succeed("up", "--adopt-renamed", url=any_base_url)

    assert before.items() <= indexes(any_base_url).items()
    assert created_indexes(any_base_url) == specified(any_base_url)
    assert others_than_created(any_base_url) == {}
    assert len([statement for statement in result.announced() if statement.startswith("CREATE")]) == 10
    succeed("down", url=any_base_url)
    assert indexes(any_base_url) == before


@pytest.mark.parametrize(
    ("name", "constraint"),
    [
        (NAME, "ALTER TABLE activity ADD CONSTRAINT other_index EXCLUDE USING btree (activity_type WITH =)"),
        ("ix_contact_phone_hash", "ALTER TABLE contact ADD CONSTRAINT other_index EXCLUDE USING hash (phone WITH =)"),
    ],
)
def test_the_index_of_a_constraint_is_never_renamed(base_url, name, constraint):
    execute(base_url, constraint)
    before = catalog_without_records(base_url)
    succeed("up", "--adopt-renamed", url=base_url)

    assert come_from(base_url)[name] == ("created", None)
    assert_all_valid(base_url)
    succeed("down", url=base_url)
    assert catalog_without_records(base_url) == before


def test_an_invalid_duplicate_is_never_renamed(base_url):
    not_ready(base_url, "other_index", "activity (activity_type)")
    succeed("up", "--adopt-renamed", url=base_url)

    assert come_from(base_url)[NAME] == ("created", None)
    assert broken(base_url) == {"other_index"}
    assert created_indexes(base_url) == specified(base_url)


def test_a_duplicate_in_another_schema_is_ignored(base_url):
    execute(
        base_url,
        "CREATE SCHEMA other",
        "CREATE TABLE other.activity (activity_type varchar(20))",
        "CREATE INDEX other_index ON other.activity (activity_type)",
    )
    result = succeed("up", "--adopt-renamed", url=base_url)

    assert come_from(base_url)[NAME] == ("created", None)
    assert "other_index" not in result.stdout
    assert "other_index" in names(base_url)


def test_an_invalid_index_gives_way_to_a_valid_duplicate_or_is_rebuilt(base_url):
    not_ready(base_url, NAME, "activity (activity_type)")
    execute(base_url, DUPLICATE)
    succeed("up", "--adopt-renamed", url=base_url)

    assert_all_valid(base_url)


@contextmanager
def index_locked(url: str, name: str) -> Iterator[None]:
    """Hold a transaction open that has changed a setting of an index: no other session can rename it."""
    with transaction(url, f"ALTER INDEX {name} SET (fillfactor = 80)") as session:
        yield session


def test_a_rename_gives_up_waiting_for_a_lock_and_is_tried_again(base_url):
    execute(base_url, DUPLICATE)
    with (
        index_locked(base_url, "other_index") as session,
        running("up", "--json", "--adopt-renamed", url=base_url) as up,
    ):
        up.event("Retrying", index=NAME)
        session.end()
        up.succeed()

    assert come_from(base_url)[NAME] == ("renamed", "other_index")
    assert_all_valid(base_url)


def test_a_rename_that_cannot_have_its_lock_is_given_up_in_the_end_and_done_by_the_next_run(base_url):
    execute(base_url, DUPLICATE)
    with index_locked(base_url, "other_index"):
        result = run("up", "--adopt-renamed", "--retries", "0", url=base_url)
    assert result.exit_code == 6
    assert "other_index" in result.stderr
    succeed("up", "--adopt-renamed", url=base_url)

    assert come_from(base_url)[NAME] == ("renamed", "other_index")


# What is remembered after a crash ------------------------------------------------------------------------------------

FIRST = "ix_activity_openphone_id"
EVENT_WRITTEN = "INSERT INTO webhook_event (event_type) VALUES ('written')"


def kill_after_the_first_index(url: str, *arguments: str) -> None:
    """Kill a run when it is done with the largest table, activity, and held up at the next, webhook_event."""
    execute(url, "INSERT INTO activity (body) SELECT repeat(i::text, 9) FROM generate_series(1, 2000) AS i")
    with open_writer(url, EVENT_WRITTEN), running("up", "--jobs", "1", *arguments, url=url) as killed:
        until_phase(url, "waiting for writers")
        killed.kill()
    until_idle(url)
    assert revisions(url)[HEAD] == "applying"


@pytest.mark.parametrize("finished", [True, False], ids=["finished by up", "undone at once"])
def test_the_old_name_of_a_renamed_index_survives_a_killed_run(base_url, finished):
    make(base_url, FIRST, as_named="other_index")
    before = catalog_without_records(base_url)
    kill_after_the_first_index(base_url, "--adopt-renamed")
    assert "other_index" not in names(base_url)
    assert come_from(base_url)[FIRST] == ("renamed", "other_index")
    if finished:
        succeed("up", url=base_url)
        assert others_than_created(base_url) == {FIRST: ("renamed", "other_index")}
    succeed("down", url=base_url)

    assert catalog_without_records(base_url) == before


@pytest.mark.parametrize("finished", [True, False], ids=["finished by up", "undone at once"])
def test_a_killed_run_keeps_adopted_and_created_indexes_apart(base_url, finished):
    make(base_url, NAME)
    before = catalog_without_records(base_url)
    kill_after_the_first_index(base_url)
    assert created_indexes(base_url).keys() >= {NAME, FIRST}
    if finished:
        succeed("up", url=base_url)
        assert others_than_created(base_url) == {NAME: ("adopted", None)}
    succeed("down", url=base_url)

    assert catalog_without_records(base_url) == before


def test_a_rename_back_that_was_killed_is_finished_by_the_next_down(base_url):
    make(base_url, FIRST, as_named="other_index")
    make(base_url, "ix_webhook_event_event_type", as_named="other_index_2")
    before = catalog_without_records(base_url)
    succeed("up", "--adopt-renamed", url=base_url)
    with open_reader(base_url, "SELECT count(*) FROM webhook_event"), running("down", url=base_url) as killed:
        until_dropping(base_url)
        killed.kill()
    until_idle(base_url)
    assert revisions(base_url)[HEAD] == "reverting"
    succeed("down", url=base_url)

    assert catalog_without_records(base_url) == before


def test_an_interrupted_run_on_sqlite_has_renamed_nothing(sqlite_base_url):
    execute(sqlite_base_url, DUPLICATE)
    with closing(connect(sqlite_base_url)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM contact").fetchone()  # no other session can commit meanwhile
        with running("up", "--json", "--adopt-renamed", url=sqlite_base_url) as killed:
            killed.event("LockWaited")
            killed.kill()
    assert "other_index" in names(sqlite_base_url)
    assert revisions(sqlite_base_url) == {BASE: "applied"}
    succeed("up", "--adopt-renamed", url=sqlite_base_url)

    assert come_from(sqlite_base_url)[NAME] == ("renamed", "other_index")


# Replaced ------------------------------------------------------------------------------------------------------------


def test_another_definition_is_refused_and_replace_is_named(any_base_url):
    execute(any_base_url, WRONG)
    refused = refuses(any_base_url, "up", exit_code=4)
    assert "--replace" in refused.stderr


def test_replace_puts_the_declared_index_in_its_place_and_leaves_nothing_else(any_base_url):
    execute(any_base_url, WRONG)
    before = names(any_base_url)
    succeed("up", "--replace", url=any_base_url)

    assert created_indexes(any_base_url) == specified(any_base_url)
    assert names(any_base_url) == before | TEN_NAMES
    assert come_from(any_base_url)[NAME] == ("created", None)
    assert run("check", url=any_base_url).exit_code == 0
    succeed("down", url=any_base_url)
    assert created_indexes(any_base_url) == {}


def wrong_in_every_way(url: str) -> None:
    """Put each of the ten under its name, but descending, unique, or otherwise not as declared."""
    for number, (name, table, key, *_) in enumerate(TEN):
        changed = key.replace(")", " DESC)") if "DESC" not in key else key.replace(" DESC", "")
        execute(url, f"CREATE {'UNIQUE ' if number % 3 == 0 else ''}INDEX {name} ON {table} {changed}")


def test_all_ten_can_be_replaced_at_once(any_base_url):
    wrong_in_every_way(any_base_url)
    before = names(any_base_url)
    succeed("up", "--replace", url=any_base_url)

    assert created_indexes(any_base_url) == specified(any_base_url)
    assert names(any_base_url) == before


def test_replace_works_in_a_maintenance_window_too(base_url):
    wrong_in_every_way(base_url)
    before = names(base_url)
    succeed("up", "--replace", "--offline", url=base_url)

    assert created_indexes(base_url) == specified(base_url)
    assert names(base_url) == before


def test_an_index_that_was_altered_after_up_is_replaced(any_head_url):
    execute(any_head_url, f"DROP INDEX {NAME}", WRONG)
    assert run("check", url=any_head_url).exit_code == 4
    succeed("up", "--replace", url=any_head_url)

    assert created_indexes(any_head_url) == specified(any_head_url)
    assert run("check", url=any_head_url).exit_code == 0


def test_an_invalid_index_of_another_definition_is_replaced(base_url):
    not_ready(base_url, NAME, "activity (status)")
    succeed("up", "--replace", url=base_url)

    assert_all_valid(base_url)


def test_replace_touches_nothing_that_is_as_declared(head_url):
    kept = {name: identity(head_url, name) for name in TEN_NAMES - {NAME}}
    execute(head_url, f"DROP INDEX {NAME}", WRONG)
    result = succeed("up", "--replace", url=head_url)

    assert {name: identity(head_url, name) for name in TEN_NAMES - {NAME}} == kept
    assert all(NAME in statement for statement in result.announced())


def test_replace_where_all_is_as_declared_does_nothing(any_head_url):
    with nothing_changes(any_head_url):
        assert succeed("up", "--replace", url=any_head_url).lines[0].startswith("Nothing to do")


REFUSED_EVEN_SO = {
    "another table": ("CREATE TABLE call (activity_type varchar(20))", f"CREATE INDEX {NAME} ON call (activity_type)"),
    "a table": (f"CREATE TABLE {NAME} (id integer)",),
    "a view": (f"CREATE VIEW {NAME} AS SELECT 1 AS one",),
}


@pytest.mark.parametrize("made_by", REFUSED_EVEN_SO.values(), ids=REFUSED_EVEN_SO)
def test_an_object_that_is_no_index_of_the_same_table_is_never_replaced(any_base_url, made_by):
    execute(any_base_url, *made_by)
    refused = refuses(any_base_url, "up", "--replace", exit_code=4)
    assert NAME in refused.stderr


def test_the_index_of_a_constraint_is_never_replaced(base_url):
    execute(base_url, f"ALTER TABLE activity ADD CONSTRAINT {NAME} UNIQUE (activity_type)")
    refused = refuses(base_url, "up", "--replace", exit_code=4)
    assert "constraint" in refused.stderr


NEEDED = {
    "a foreign key": (
        f"CREATE UNIQUE INDEX {NAME} ON activity (openphone_id)",
        "CREATE TABLE call (openphone_id varchar(100) REFERENCES activity (openphone_id))",
    ),
    "the replica identity": (
        "ALTER TABLE activity ALTER COLUMN id SET NOT NULL",
        f"CREATE UNIQUE INDEX {NAME} ON activity (id)",
        f"ALTER TABLE activity REPLICA IDENTITY USING INDEX {NAME}",
    ),
}


@pytest.mark.parametrize("made_by", NEEDED.values(), ids=NEEDED)
def test_an_index_with_dependent_objects_is_not_replaced_and_they_are_named(base_url, made_by):
    execute(base_url, *made_by)
    refused = refuses(base_url, "up", "--replace", exit_code=4)
    assert re.search(r"needed by +nothing +(call_openphone_id_fkey|REPLICA IDENTITY)", refused.stderr), refused.stderr


def test_an_index_with_dependent_objects_is_not_dropped_and_they_are_named(head_url):
    execute(head_url, f"DROP INDEX {NAME}", *NEEDED["a foreign key"])
    execute(head_url, "DELETE FROM schema_revision WHERE revision = '10992629d68e'")
    with nothing_changes(head_url):
        refused = run("plan", "--replace", url=head_url)

    assert refused.exit_code == 4
    assert "call_openphone_id_fkey" in refused.stderr


def test_a_name_that_a_replacement_needs_is_named_when_it_is_taken(any_base_url):
    execute(any_base_url, WRONG, f"CREATE INDEX {NAME}_replacing ON contact (last_name)")
    for command in ("up", "check", "status"):
        said = run(command, url=any_base_url)
        assert f"{NAME}_replacing" in said.stdout + said.stderr
        assert "--replace" not in said.stdout + said.stderr
    refused = run("up", "--replace", url=any_base_url)

    assert f"Rename or drop {NAME}_replacing if nothing needs it" in refused.stderr
    execute(any_base_url, f"DROP INDEX {NAME}_replacing")
    succeed(*refused.next_command(), url=any_base_url)
    assert_all_valid(any_base_url)


def test_a_plan_to_replace_shows_what_would_change(any_base_url):
    execute(any_base_url, WRONG)

    assert "    key: status, to be activity_type\n" in succeed("plan", "--replace", url=any_base_url).stdout


def test_one_that_cannot_be_replaced_stops_the_others_before_any_change(base_url):
    execute(base_url, WRONG, "CREATE VIEW ix_contact_phone_hash AS SELECT 1 AS one")
    refused = refuses(base_url, "up", "--replace", exit_code=4)
    assert "ix_contact_phone_hash" in refused.stderr


@pytest.mark.parametrize("command", ["check", "status", "up", "plan"])
@pytest.mark.parametrize("to", ["base", "head"])
def test_every_refusal_names_the_command_that_replaces(database_url, command, to):
    prepare(database_url, to)
    execute(database_url, f"DROP INDEX IF EXISTS {NAME}", WRONG)
    said = run(command, url=database_url)

    assert (
        f"To replace {NAME}, run: python cli.py up --replace. Or rename or drop {NAME} if nothing needs it"
        in said.stdout + said.stderr
    )


@pytest.mark.parametrize("command", ["check", "status", "up", "plan"])
@pytest.mark.parametrize("made_by", REFUSED_EVEN_SO.values(), ids=REFUSED_EVEN_SO)
@pytest.mark.parametrize("to", ["base", "head"])
def test_what_up_cannot_replace_has_to_leave_the_name_of_the_index_first(database_url, command, made_by, to):
    prepare(database_url, to)
    execute(database_url, f"DROP INDEX IF EXISTS {NAME}", *made_by)
    said = run(command, url=database_url)

    first = f"Rename or drop {NAME} if nothing needs it"
    if made_by != REFUSED_EVEN_SO["another table"]:
        first = f"Give {NAME} another name in the revision file"
    assert f"{first}, then run: python cli.py up\n" in said.stdout + said.stderr
    assert "--replace" not in said.stdout + said.stderr


@pytest.mark.parametrize("command", ["check", "status", "up", "plan"])
def test_if_only_some_can_be_replaced_the_error_ends_with_a_command_that_works(any_base_url, command):
    execute(any_base_url, WRONG, "CREATE VIEW ix_contact_phone_hash AS SELECT 1 AS one")
    said = run(command, url=any_base_url)

    first = "Give ix_contact_phone_hash another name in the revision file"
    assert f"{first}, then replace {NAME}: " in said.stdout + said.stderr
    execute(any_base_url, "DROP VIEW ix_contact_phone_hash")
    succeed(*said.next_command(), url=any_base_url)
    assert_all_valid(any_base_url)


def test_a_replacement_that_is_refused_asks_for_itself_again(any_base_url):
    execute(any_base_url, f"CREATE VIEW {NAME} AS SELECT 1 AS one")

    assert run("up", "--replace", url=any_base_url).next_command() == ["up", "--replace"]


# Replaced while queries go on ----------------------------------------------------------------------------------------


@pytest.fixture
def wrong(head_url: str) -> str:
    """Return a database on which one of the ten was altered by hand after `up`."""
    execute(head_url, f"DROP INDEX {NAME}", WRONG)
    return head_url


class Watch:
    """Checks all the time whether a valid index of a name exists."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True
        self._done = threading.Event()
        self.looks = self.gaps = 0
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        query = (
            f"SELECT count(*) FROM pg_index JOIN pg_class ON oid = indexrelid WHERE relname = '{NAME}' AND indisvalid"
        )
        with self._connection.cursor() as cursor:
            while not self._done.is_set():
                cursor.execute(query)
                self.looks += 1
                self.gaps += cursor.fetchone() != (1,)

    def end(self) -> None:
        """Look no more; there must never have been none."""
        self._done.set()
        self._thread.join()
        self._connection.close()
        assert self.looks > 10
        assert self.gaps == 0


def serving(url: str) -> str:
    """Return the definition of the valid index of this name."""
    assert NAME not in broken(url)
    return indexes(url)[NAME]


def test_there_is_no_moment_without_a_valid_index_of_the_name(wrong):
    watch = Watch(wrong)
    succeed("up", "--replace", url=wrong)
    watch.end()

    assert_all_valid(wrong)


@contextmanager
def building_the_new_one(url: str) -> Iterator[Run]:
    """Run a replacement that waits for a writer before it can build; queries use the old index."""
    with open_writer(url), running("up", "--json", "--replace", url=url) as up:
        until_phase(url, "waiting for writers before build")
        assert "(status)" in serving(url)
        yield up


@contextmanager
def waiting_to_swap(url: str) -> Iterator[Run]:
    """Run a replacement that has built the new index and cannot rename yet; queries use the old one."""
    with index_locked(url, NAME), running("up", "--json", "--replace", url=url) as up:
        up.event("Retrying", index=NAME)
        assert "(status)" in serving(url)
        assert f"{NAME}_replacing" in names(url) - broken(url)
        yield up


@contextmanager
def dropping_the_old_one(url: str) -> Iterator[Run]:
    """Run a replacement that waits for a reader before it can drop the old index; queries use the new one."""
    with open_reader(url), running("up", "--json", "--replace", url=url) as up:
        until_dropping(url)
        assert serving(url) == specified(url)[NAME]
        yield up


STEPS = (building_the_new_one, waiting_to_swap, dropping_the_old_one)
WORKERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query ~ 'INDEX'"
)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
@pytest.mark.parametrize("worker", ["is ended too", "continues"])
def test_a_replacement_killed_in_any_step_is_resumed(wrong, step, worker):
    with step(wrong) as killed:
        killed.kill()
        if worker == "is ended too":
            execute(wrong, f"{WORKERS} AND pid <> pg_backend_pid() AND application_name LIKE 'indexer%'")
    until_idle(wrong)
    assert serving(wrong)
    watch = Watch(wrong)
    succeed("up", "--replace", url=wrong)
    watch.end()

    assert_all_valid(wrong)
    assert not [name for name in names(wrong) if "_replac" in name]
    assert come_from(wrong)[NAME] == ("created", None)
    assert run("check", url=wrong).exit_code == 0


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_a_replacement_killed_in_any_step_is_undone_by_down(wrong, step):
    with step(wrong) as killed:
        killed.kill()
        execute(wrong, f"{WORKERS} AND pid <> pg_backend_pid() AND application_name LIKE 'indexer%'")
    until_idle(wrong)
    with transaction(wrong, "LOCK TABLE pg_catalog.pg_class IN ACCESS SHARE MODE"):
        assert run("plan", "down", url=wrong).exit_code == 0
    succeed("down", url=wrong)

    assert created_indexes(wrong).keys() == {NAME}
    assert "(status)" in serving(wrong)
    assert not [name for name in names(wrong) if "_replac" in name]
    assert revisions(wrong) == {BASE: "applied"}


def test_a_way_back_killed_while_it_makes_the_earlier_index_valid_again_is_ended_by_the_next(wrong):
    for_good = f"{WORKERS} AND pid <> pg_backend_pid() AND application_name LIKE 'indexer%'"
    with dropping_the_old_one(wrong) as killed:
        killed.kill()
        execute(wrong, for_good)
    until_idle(wrong)
    with open_writer(wrong), running("down", "--json", url=wrong) as killed:
        until(lambda: ask(wrong, f"SELECT 1 FROM pg_class WHERE relname = '{NAME}_replaced_ccnew'"))
        killed.kill()
        execute(wrong, for_good)
    succeed("down", url=wrong)

    assert created_indexes(wrong).keys() == {NAME}
    assert "(status)" in serving(wrong)
    assert not [name for name in names(wrong) if "_replac" in name]


@pytest.mark.parametrize("done", range(4))
def test_the_script_of_a_replacement_cut_off_after_any_statement_is_resumed(wrong, done):
    script = succeed("plan", "--replace", "--sql", url=wrong).stdout
    begun = statements_of(script.partition("CREATE INDEX")[0])
    execute(wrong, *statements_of(script)[: len(begun) + done])
    succeed("up", "--replace", url=wrong)

    assert_all_valid(wrong)
    assert not [name for name in names(wrong) if "_replac" in name]
    assert others_than_created(wrong) == {}


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_a_replacement_stopped_by_a_signal_in_any_step_is_resumed(wrong, step):
    with step(wrong) as stopped:
        stopped.send(signal.SIGTERM)
        assert stopped.end().exit_code == 143
    until_idle(wrong)
    assert serving(wrong)
    succeed("up", "--replace", url=wrong)

    assert_all_valid(wrong)
    assert not [name for name in names(wrong) if "_replac" in name]


def test_a_swap_gives_up_waiting_for_a_lock_and_is_tried_again(wrong):
    with index_locked(wrong, NAME) as session, running("up", "--json", "--replace", url=wrong) as up:
        up.event("Retrying", index=NAME)
        session.end()
        up.succeed()

    assert_all_valid(wrong)
    assert not [name for name in names(wrong) if "_replac" in name]


@pytest.mark.parametrize("step", [building_the_new_one, dropping_the_old_one], ids=lambda step: step.__name__)
def test_check_advises_on_the_leftovers_of_a_killed_replacement(wrong, step):
    with step(wrong) as killed:
        killed.kill()
        execute(wrong, f"{WORKERS} AND pid <> pg_backend_pid() AND application_name LIKE 'indexer%'")
    until_idle(wrong)
    (left,) = {name for name in names(wrong) if "_replac" in name}
    advice = run("check", "--json", url=wrong).json()["advice"]

    assert ("leftover", left, NAME) in {(each["kind"], each["index"], each["about"]) for each in advice}


def test_a_leftover_of_a_replacement_that_is_no_longer_needed_is_dropped_by_up(wrong):
    """The index is repaired by hand after the run was killed."""
    with building_the_new_one(wrong) as killed:
        killed.kill()
    until_idle(wrong)
    execute(wrong, f"DROP INDEX {NAME}", f"CREATE INDEX {NAME} ON activity (activity_type)")
    succeed("up", "--replace", url=wrong)

    assert_all_valid(wrong)
    assert not [name for name in names(wrong) if "_replac" in name]


def test_another_index_with_the_temporary_name_is_not_dropped(wrong):
    execute(wrong, "CREATE TABLE call (id integer)", f"CREATE INDEX {NAME}_replacing ON call (id)")
    run("up", "--replace", url=wrong)

    assert indexes(wrong)[f"{NAME}_replacing"].endswith("ON public.call USING btree (id)")
    assert serving(wrong)


CONFLICTS = (
    f"CREATE INDEX {NAME}_replacing ON contact (last_name)",
    f"CREATE INDEX {NAME}_replacing ON activity (status)",
    f"CREATE INDEX {NAME}_replaced ON contact (last_name)",
    f"CREATE INDEX {NAME}_replaced ON activity (status)",
    f"CREATE TABLE {NAME}_replaced (a integer)",
)


@pytest.mark.parametrize("conflict", CONFLICTS)
def test_another_index_with_a_temporary_name_is_neither_dropped_nor_called_a_leftover(any_base_url, conflict):
    succeed("up", url=any_base_url)
    execute(any_base_url, conflict)
    report = run("check", "--json", url=any_base_url).json()
    succeed("up", "--replace", url=any_base_url)
    succeed("down", url=any_base_url)

    assert "leftover" not in {each["kind"] for each in report["advice"]}
    execute(any_base_url, conflict.split(" ON ")[0].split(" (")[0].replace("CREATE", "DROP"))  # it still exists


def test_a_name_that_is_taken_stops_a_replacement_before_any_change(any_base_url):
    execute(any_base_url, f"CREATE INDEX {NAME} ON activity (status)", CONFLICTS[0])
    with nothing_changes(any_base_url):
        assert run("up", "--replace", url=any_base_url).exit_code == 4


def test_a_replacement_of_a_partial_index_continues_with_the_index_already_built(base_url):
    execute(
        base_url,
        "CREATE INDEX ix_contact_flag_opted_out ON contact_flag (contact_id)",
        "CREATE INDEX ix_contact_flag_opted_out_replacing ON contact_flag (flag_type, contact_id)"
        " WHERE flag_type = 'opted_out'",
    )
    succeed("up", "--replace", url=base_url)

    assert_all_valid(base_url)
    assert not [name for name in names(base_url) if "_replac" in name]


def test_a_way_back_whose_old_name_is_taken_is_refused_before_any_change(any_base_url):
    execute(any_base_url, DUPLICATE)
    succeed("up", "--adopt-renamed", url=any_base_url)
    execute(any_base_url, "CREATE INDEX other_index ON activity (status)")
    refused = refuses(any_base_url, "down", exit_code=1)
    assert (
        f"{NAME} cannot get its former name other_index back, because another index has that name now" in refused.stderr
    )
    assert "down --include-adopted" in refused.stderr
    succeed("down", "--include-adopted", url=any_base_url)
    assert "other_index" in names(any_base_url)


# Beside the constraints of a real CRM --------------------------------------------------------------------------------


def test_the_unique_constraints_of_a_crm_are_neither_renamed_nor_replaced(any_crm):
    before = catalog_without_records(any_crm)
    succeed("up", "--adopt-renamed", "--replace", url=any_crm)

    assert created_indexes(any_crm) == specified(any_crm)
    assert others_than_created(any_crm) == {}
    succeed("down", url=any_crm)
    assert catalog_without_records(any_crm) == before


# Records that an earlier version wrote -------------------------------------------------------------------------------

BEFORE_THIS = """
    CREATE TABLE schema_revision (
        revision VARCHAR(32) NOT NULL PRIMARY KEY,
        down_revision VARCHAR(32),
        description TEXT NOT NULL,
        state VARCHAR(16) NOT NULL,
        started_at TIMESTAMP NOT NULL,
        applied_at TIMESTAMP,
        duration_ms INTEGER,
        checksum VARCHAR(64) NOT NULL,
        tool_version VARCHAR(32) NOT NULL,
        applied_by VARCHAR(255) NOT NULL,
        existed_before TEXT NOT NULL)
"""


@pytest.fixture
def recorded_before(any_crm: str) -> str:
    """Return a database that version 0.1.0 brought to the head; one of the ten is older."""
    moment = "'2025-09-01 12:00:00'"
    rest = f"'applied', {moment}, {moment}, 5, 'unknown', '0.1.0', 'operator@host'"
    execute(
        any_crm,
        "DELETE FROM alembic_version",
        *specified(any_crm).values(),
        BEFORE_THIS,
        f"INSERT INTO schema_revision VALUES ('{HEAD}', '{BASE}', 'ten', {rest}, '[\"{NAME}\"]')",
    )
    return any_crm


def test_the_record_of_an_earlier_version_is_read_without_a_change(recorded_before):
    with nothing_changes(recorded_before):
        assert run("status", url=recorded_before).exit_code == 0
        assert others_than_created(recorded_before) == {NAME: ("adopted", None)}
        assert run("check", url=recorded_before).exit_code == 0
        assert succeed("history", "--json", url=recorded_before).json()["history"] == []


def test_indexes_that_an_earlier_version_built_are_dropped_and_those_it_adopted_are_kept(recorded_before):
    succeed("down", url=recorded_before)

    assert created_indexes(recorded_before).keys() == {NAME}


def test_indexes_of_an_earlier_version_are_repaired(recorded_before):
    execute(recorded_before, "DROP INDEX ix_contact_phone_hash")
    succeed("up", url=recorded_before)

    assert created_indexes(recorded_before) == specified(recorded_before)
    assert others_than_created(recorded_before) == {NAME: ("adopted", None)}
