"""Tables that inherit from an indexed one: PostgreSQL reads them with it, but no index is inherited."""

from __future__ import annotations

from contextlib import closing

from command import Result, connect, created_indexes, execute, run, specified, succeed
from kinds import runner_of
from roles import another_role

from indexer import Column, Expression, Variant
from indexer.postgres.inheritance import name_on
from indexer.spec import LONGEST_NAME, Index

ROWS = "SELECT n, 'AC' || n, n % 100, 'message', now() FROM generate_series(1, 2000) AS n"
COLUMNS = "(id, openphone_id, conversation_id, activity_type, created_at)"
OF_ACTIVITY = ["ix_activity_conversation_created", "ix_activity_openphone_id", "ix_activity_type"]


def inherit(url: str, name: str, parent: str = "activity", filled: bool = True) -> None:
    """Create a table that inherits from another, with rows or without."""
    execute(url, f"CREATE TABLE {name} () INHERITS ({parent})")
    if filled:
        execute(url, f"INSERT INTO {name} {COLUMNS} {ROWS}")


def lacking(result: Result) -> dict[str, list[str]]:
    """Return the indexes that tables with rows lack, by table."""
    found: dict[str, list[str]] = {}
    for each in result.json()["uncovered"]:
        if each["has_rows"]:
            found.setdefault(each["table"], []).append(each["index"])
    return {table: sorted(names) for table, names in found.items()}


def to_type(url: str) -> list[str]:
    """Return the statements that check shows."""
    lines = run("check", url=url).stdout.splitlines()
    return [line.strip() for line in lines if line.startswith(("  CREATE INDEX", "  DROP INDEX"))]


def test_up_warns_of_a_child_with_rows_and_check_fails_until_it_is_indexed(base_url: str) -> None:
    inherit(base_url, "activity_2023")
    warning = "1 table that inherits from activity and holds rows is not indexed by up"
    assert warning in succeed("plan", url=base_url).stdout
    up = succeed("up", url=base_url)
    assert warning in up.stdout + up.stderr
    check = run("check", "--json", url=base_url)
    assert (check.exit_code, lacking(check)) == (4, {"public.activity_2023": OF_ACTIVITY})
    execute(base_url, *to_type(base_url))
    succeed("check", url=base_url)
    again = succeed("up", url=base_url)
    assert "inherit" not in again.stdout + again.stderr
    assert created_indexes(base_url) == specified(base_url)


def test_children_of_children_and_those_in_other_schemas_count(head_url: str) -> None:
    inherit(head_url, "activity_old", filled=False)
    execute(head_url, "CREATE SCHEMA archive")
    inherit(head_url, "archive.activity", parent="activity_old")
    check = run("check", "--json", url=head_url)
    assert (check.exit_code, lacking(check)) == (4, {"archive.activity": OF_ACTIVITY})
    execute(head_url, *to_type(head_url))
    succeed("check", url=head_url)


def test_a_child_gets_an_index_of_any_kind_and_one_that_has_it_is_covered(base_url: str) -> None:
    kinds = (
        Index("ix_a", "activity", (Expression("lower(activity_type)"),), where="status <> 'x'", include=("id",)),
        Index("ix_b", "activity", (Column("body", opclass="text_pattern_ops", collation="C"),)),
        Index("ix_c", "activity", (Expression("to_tsvector('simple', body)"),), on_postgresql=Variant("gin")),
    )
    inherit(base_url, "activity_2023")
    with runner_of(base_url, *kinds) as runner:
        runner.up()
        uncovered = runner.inspector.status().uncovered
        assert [each.target.name for each in uncovered] == ["ix_a", "ix_b", "ix_c"]
        execute(base_url, *(statement for each in uncovered for statement in each.statements))
        assert runner.inspector.status().uncovered == ()


def test_a_child_without_rows_is_advice_and_does_not_fail_check(head_url: str) -> None:
    inherit(head_url, "activity_next", filled=False)
    check = succeed("check", "--json", url=head_url)
    about = {each["about"] for each in check.json()["advice"] if each["kind"] == "empty child"}
    assert sorted(about) == OF_ACTIVITY
    assert "inherits" not in succeed("plan", url=head_url).stdout
    execute(head_url, f"INSERT INTO activity_next {COLUMNS} {ROWS}")  # and nothing has counted them yet
    assert run("check", url=head_url).exit_code == 4


def test_an_index_of_any_name_covers_a_child_unless_it_is_different_or_broken(head_url: str) -> None:
    inherit(head_url, "activity_2023")
    execute(
        head_url,
        "CREATE INDEX by_type ON activity_2023 (activity_type) INCLUDE (id)",
        "CREATE UNIQUE INDEX by_openphone ON activity_2023 (openphone_id)",
        "CREATE INDEX by_time ON activity_2023 (conversation_id, created_at)",
    )
    check = run("check", "--json", url=head_url)
    assert lacking(check) == {"public.activity_2023": ["ix_activity_conversation_created"]}


def test_the_leftover_of_an_interrupted_build_on_a_child_is_dropped_first(head_url: str, superuser_url: str) -> None:
    inherit(head_url, "activity_2023")
    execute(head_url, *to_type(head_url))
    # Only a superuser can make an index invalid without a crash.
    execute(
        superuser_url,
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_activity_type_activity_2023'::regclass",
    )
    drop, create = to_type(head_url)
    assert drop == 'DROP INDEX CONCURRENTLY "public"."ix_activity_type_activity_2023";'
    execute(head_url, drop, create)
    succeed("check", url=head_url)


def test_a_name_that_is_taken_is_not_proposed(head_url: str) -> None:
    inherit(head_url, "activity_2023")
    execute(head_url, "CREATE TABLE ix_activity_type_activity_2023 (id integer)")
    execute(head_url, *to_type(head_url))
    succeed("check", url=head_url)


def test_an_index_of_a_child_needs_the_predicate_too(head_url: str) -> None:
    execute(
        head_url,
        "CREATE TABLE flags_2023 () INHERITS (contact_flag)",
        "INSERT INTO flags_2023 (id, contact_id, flag_type) VALUES (1, 1, 'opted_out')",
        "CREATE INDEX whole ON flags_2023 (flag_type, contact_id)",
    )
    assert lacking(run("check", "--json", url=head_url)) == {"public.flags_2023": ["ix_contact_flag_opted_out"]}
    (statement,) = to_type(head_url)
    assert " WHERE " in statement
    execute(head_url, statement)
    succeed("check", url=head_url)


def test_the_owner_of_a_child_of_another_role_is_named(head_url: str, superuser_url: str) -> None:
    inherit(head_url, "activity_2023")
    # Only a superuser can give a table to a role that the owner is no member of.
    with another_role(superuser_url) as role:
        execute(superuser_url, f"ALTER TABLE activity_2023 OWNER TO {role}")
        assert f"-- as {role}, who owns public.activity_2023:" in run("check", url=head_url).stdout


def test_a_child_in_a_schema_that_our_role_may_not_use_is_inspected_too(head_url: str, superuser_url: str) -> None:
    # Only a superuser can let a table of another role inherit from the owner's.
    execute(
        superuser_url,
        "CREATE SCHEMA closed",
        "CREATE TABLE closed.flags () INHERITS (contact_flag)",
        "INSERT INTO closed.flags (id, contact_id, flag_type) VALUES (1, 1, 'opted_out')",
    )
    assert lacking(run("check", "--json", url=head_url)) == {"closed.flags": ["ix_contact_flag_opted_out"]}
    execute(superuser_url, *to_type(head_url)[-1:])
    succeed("check", url=head_url)
    succeed("verify", url=head_url)


def test_a_temporary_child_is_ignored(head_url: str) -> None:
    with closing(connect(head_url)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE mine () INHERITS (activity)")
        cursor.execute("INSERT INTO mine (id) VALUES (1)")
        assert succeed("check", "--json", url=head_url).json()["uncovered"] == []


def test_a_name_on_a_child_is_never_cut_by_the_server() -> None:
    index = Index("ix_activity_type", table="activity", columns=("activity_type",))
    first, second = (name_on(index, "ä" * 31 + end) for end in "ab")
    assert first != second
    assert max(len(name.encode()) for name in (first, second)) <= LONGEST_NAME


def test_verify_names_the_child_that_a_query_reads_from_end_to_end(head_url: str) -> None:
    inherit(head_url, "activity_2023")
    execute(head_url, "CREATE SCHEMA archive")
    inherit(head_url, "archive.activity", parent="activity_2023")
    result = run("verify", "--json", url=head_url)
    assert (result.exit_code, sorted(result.json()["not_served"])) == (4, OF_ACTIVITY)
    notes = [note for query in result.json()["queries"] for note in query["notes"]]
    assert any(
        "reads all rows of activity_2023, archive.activity: ix_activity_type is not inherited" in note for note in notes
    )
    execute(head_url, *to_type(head_url))
    succeed("verify", url=head_url)


def test_verify_does_not_take_another_index_of_a_child_for_the_one_it_lacks(head_url: str) -> None:
    inherit(head_url, "activity_2023")
    # In the order that the query wants, but for all conversations.
    execute(head_url, "CREATE INDEX by_time ON activity_2023 (created_at DESC)")
    history = "ix_activity_conversation_created"
    assert history in run("verify", "--json", url=head_url).json()["not_served"]
    execute(head_url, "CREATE INDEX by_conversation ON activity_2023 (conversation_id, created_at DESC)")
    assert history not in run("verify", "--json", url=head_url).json()["not_served"]


def test_verify_passes_with_a_child_without_rows(head_url: str) -> None:
    inherit(head_url, "activity_next", filled=False)
    report = succeed("verify", "--json", url=head_url).json()
    assert {query["served_by"] for query in report["queries"] if query["index"] in OF_ACTIVITY} == {None}
    history = next(query for query in report["queries"] if query["index"] == "ix_activity_conversation_created")
    assert "have to be sorted as long as activity_next has no ix_activity_conversation_created" in " ".join(
        history["notes"]
    )


def test_what_looks_at_the_parent_alone_says_which_tables_it_leaves_out(head_url: str) -> None:
    inherit(head_url, "activity_2023")
    execute(head_url, "CREATE SCHEMA archive")
    inherit(head_url, "archive.activity", parent="activity_2023")
    children = "archive.activity, public.activity_2023"
    left_out = (
        f"Only activity itself is measured, checked and rebuilt here, not the tables that inherit from it: {children}."
    )
    for arguments in (
        ("status",),
        ("check", "--deep", "ix_activity_type"),
        ("health",),
        ("reindex", "ix_activity_type"),
    ):
        assert f"Note: {left_out}" in run(*arguments, url=head_url).stdout, arguments
    assert "inherit" not in run("reindex", "ix_contact_phone_hash", url=head_url).stdout


def test_down_leaves_the_indexes_of_children_and_shows_what_drops_them(base_url: str) -> None:
    inherit(base_url, "activity_2023")
    succeed("up", url=base_url)
    execute(base_url, *to_type(base_url))
    planned, said = (succeed(*command, url=base_url).stdout for command in (("plan", "down"), ("down",)))

    assert (
        "down leaves 3 indexes on tables that inherit, because up made none there. To drop them: DROP INDEX" in planned
    )
    (line,) = (line for line in said.splitlines() if "down leaves" in line)
    execute(base_url, *line.partition("To drop them: ")[2].split("; "))
    assert created_indexes(base_url) == {}
    assert execute(base_url, "SELECT 1 FROM pg_indexes WHERE tablename = 'activity_2023'") == []


def test_a_child_of_another_role_is_named_with_the_role_that_can_index_it(superuser_url: str, head_url: str) -> None:
    """Only a superuser can let the table of another role inherit from one of the owner's."""
    inherit(superuser_url, "of_another")
    check = run("check", url=head_url)

    assert check.exit_code == 4
    assert check.stdout.count("-- as postgres, who owns public.of_another:") == 3
    execute(superuser_url, *to_type(head_url))
    succeed("check", url=head_url)
