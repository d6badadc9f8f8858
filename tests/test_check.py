"""`check` shows what is wrong with each index, advises about its neighbours, and changes nothing."""

from __future__ import annotations

import re
from contextlib import closing
from typing import Any

import foreign_crm
import pytest
from command import (
    BASE,
    HEAD,
    SEVEN_TABLES,
    TEN_NAMES,
    Result,
    connect,
    execute,
    file_of,
    is_postgres,
    nothing_changes,
    prepare,
    run,
    specified,
    succeed,
)
from leftovers import ccnew, ccold, not_live, not_ready, not_valid
from roles import another_role, as_role
from scenes import ByHand, open_writer, transaction, until_phase

NAME = "ix_activity_type"
ON = "activity (activity_type)"
DOCUMENT = {"database", "revision", "head", "pending", "exit_code", "indexes", "warnings", "advice"}
INDEX = {"name", "table", "state", "finding", "differences", "origin", "renamed_from"}
ADVICE = {"kind", "index", "about", "text"}


@pytest.fixture
def url(database_url: str) -> str:
    """Return a database at the head."""
    prepare(database_url)
    return database_url


@pytest.fixture
def postgres(postgres_url: str) -> str:
    """Return a database at the head, on PostgreSQL."""
    prepare(postgres_url)
    return postgres_url


def check(url: str, exit_code: int = 0) -> dict[str, Any]:
    """Return what ``check --json`` says; it must change nothing and exit as expected."""
    with nothing_changes(url):
        result = run("check", "--json", url=url)
    document = result.json()
    assert result.exit_code == document["exit_code"] == exit_code, result
    assert len(result.lines) == 1
    return document


def finding(url: str, exit_code: int = 4, name: str = NAME) -> dict[str, Any]:
    """Return what ``check`` says about one index; nothing must be wrong with the other nine."""
    indexes = {each["name"]: each for each in check(url, exit_code)["indexes"]}
    others = {each["finding"] for each in indexes.values() if each["name"] != name}
    assert others == ({"valid"} if exit_code == 4 else {"missing"})
    return indexes[name]


def found(url: str, exit_code: int = 4, name: str = NAME) -> tuple[str, str]:
    """Return state and finding of one index."""
    index = finding(url, exit_code, name)
    return index["state"], index["finding"]


def shown(url: str, exit_code: int = 4) -> Result:
    """Return what ``check`` prints without ``--json``."""
    with nothing_changes(url):
        result = run("check", url=url)
    assert result.exit_code == exit_code, result
    return result


def advice(url: str, exit_code: int = 0) -> set[tuple[str, str | None, str | None]]:
    """Return the advice: kind, index, and the declared index that it is about."""
    given = check(url, exit_code)["advice"]
    assert all(each.keys() == ADVICE and each["text"] for each in given)
    return {(each["kind"], each["index"], each["about"]) for each in given}


# All well ------------------------------------------------------------------------------------------------------------


def test_with_all_indexes_valid_there_is_no_finding_and_no_advice(url):
    document = check(url)

    assert document.keys() >= DOCUMENT
    assert all(each.keys() >= INDEX for each in document["indexes"])
    assert {each["name"] for each in document["indexes"]} == TEN_NAMES
    assert {(each["state"], each["finding"]) for each in document["indexes"]} == {("valid", "valid")}
    assert {each["origin"] for each in document["indexes"]} == {"created"}
    assert (document["revision"], document["head"], document["pending"]) == (HEAD, HEAD, [])
    assert document["warnings"] == document["advice"] == []


def test_the_table_for_people_names_every_index_with_its_finding(url):
    lines = shown(url, 0).lines

    for name in TEN_NAMES:
        (line,) = [line for line in lines if line.startswith(name)]
        assert " valid" in line


def test_indexes_built_without_the_tool_are_as_good(database_url):
    prepare(database_url, "base")
    execute(database_url, *specified(database_url).values())
    document = check(database_url, 3)

    assert {each["finding"] for each in document["indexes"]} == {"valid"}
    assert document["pending"] == [HEAD]


# Nothing applied yet -------------------------------------------------------------------------------------------------


def test_on_an_empty_database_the_revision_is_pending_and_nothing_is_made(database_url):
    document = check(database_url, 3)

    assert (document["revision"], document["pending"]) == (None, [HEAD])
    assert {each["finding"] for each in document["indexes"]} == {"missing"}
    assert is_postgres(database_url) or not file_of(database_url).exists()


def test_at_the_base_the_revision_is_pending(database_url):
    prepare(database_url, "base")
    document = check(database_url, 3)

    assert (document["revision"], document["pending"]) == (BASE, [HEAD])
    assert "python cli.py up" in shown(database_url, 3).stdout


def test_after_down_the_revision_is_pending(url):
    succeed("down", url=url)

    assert check(url, 3)["pending"] == [HEAD]


def test_a_run_that_did_not_end_is_pending(url):
    execute(url, f"UPDATE schema_revision SET state = 'applying', applied_at = NULL WHERE revision = '{HEAD}'")

    assert check(url, 3)["pending"] == [HEAD]


def test_a_conflict_with_a_pending_revision_is_shown(database_url):
    prepare(database_url, "base")
    execute(database_url, f"CREATE INDEX {NAME} ON activity (status)")

    assert found(database_url, 3) == ("different", "different definition")


# What can be wrong ---------------------------------------------------------------------------------------------------


def test_a_missing_index_is_found(url):
    execute(url, f"DROP INDEX {NAME}")

    assert found(url) == ("missing", "missing")
    assert finding(url)["differences"] == []


def test_an_index_that_was_given_another_name_is_missing_and_the_other_name_is_advised(url):
    execute(url, f"DROP INDEX {NAME}", f"CREATE INDEX theirs ON {ON}")

    assert found(url) == ("missing", "missing")
    assert advice(url, 4) == {("twin", "theirs", NAME)}


def test_another_definition_is_found_with_the_part_that_differs(url):
    execute(url, f"DROP INDEX {NAME}", f"CREATE INDEX {NAME} ON activity (status)")
    index = finding(url)

    assert (index["state"], index["finding"]) == ("different", "different definition")
    assert index["differences"] == [{"part": "key", "declared": "activity_type", "found": "status"}]


def test_each_part_that_differs_is_set_side_by_side_for_people(url):
    execute(url, f"DROP INDEX {NAME}", f"CREATE UNIQUE INDEX {NAME} ON activity (status, direction DESC)")
    text = shown(url).stdout

    assert re.search(r"\bkey +activity_type +status, direction DESC$", text, re.MULTILINE), text
    assert re.search(r"^ +unique +no +yes$", text, re.MULTILINE), text
    assert re.search(r"declared +found", text)


def test_what_postgresql_alone_is_to_do_is_compared(postgres):
    execute(
        postgres,
        "DROP INDEX ix_contact_phone_hash",
        "CREATE INDEX ix_contact_phone_hash ON contact (phone)",
        "DROP INDEX ix_contact_flag_opted_out",
        "CREATE INDEX ix_contact_flag_opted_out ON contact_flag (flag_type, contact_id)",
    )
    differing = {each["name"]: each for each in check(postgres, 4)["indexes"] if each["finding"] != "valid"}

    assert differing.keys() == {"ix_contact_phone_hash", "ix_contact_flag_opted_out"}
    assert differing["ix_contact_phone_hash"]["differences"] == [
        {"part": "method", "declared": "hash", "found": "btree"}
    ]
    assert [each["part"] for each in differing["ix_contact_flag_opted_out"]["differences"]] == ["predicate"]


def test_an_index_of_another_table_is_found(url):
    execute(url, f"DROP INDEX {NAME}", f"CREATE INDEX {NAME} ON campaign (campaign_type)")
    index = finding(url)

    assert (index["state"], index["finding"]) == ("different", "different table")
    assert {"part": "table", "declared": "activity", "found": "campaign"} in index["differences"]


@pytest.mark.parametrize(
    ("kind", "made_by"),
    [("table", f"CREATE TABLE {NAME} (id integer)"), ("view", f"CREATE VIEW {NAME} AS SELECT 1 AS one")],
)
def test_what_is_not_an_index_is_found(url, kind, made_by):
    execute(url, f"DROP INDEX {NAME}", made_by)

    assert found(url) == (kind, "not an index")


def test_an_index_that_is_not_ready_is_found(postgres):
    execute(postgres, f"DROP INDEX {NAME}")
    not_ready(postgres, NAME, ON)

    assert found(postgres) == ("invalid", "not ready")


def test_an_index_that_is_not_valid_is_found(postgres):
    not_valid(postgres, NAME, "activity")

    assert found(postgres) == ("invalid", "not valid")


def test_an_index_that_is_not_live_is_found(postgres):
    not_live(postgres, NAME, "activity")

    assert found(postgres) == ("invalid", "not live")


def test_an_index_that_is_being_built_is_found(postgres):
    execute(postgres, f"DROP INDEX {NAME}")
    with open_writer(postgres):
        by_hand = ByHand(postgres, f"CREATE INDEX CONCURRENTLY {NAME} ON {ON}")
        until_phase(postgres, "waiting for writers")
        state = found(postgres)
        text = shown(postgres).stdout
    by_hand.end()

    assert state == ("in progress", "being built")
    assert re.search(rf"^{NAME} .*being built", text, re.MULTILINE)
    assert check(postgres)["exit_code"] == 0


def test_an_invalid_index_with_another_definition_is_first_of_all_another_one(postgres):
    execute(postgres, f"DROP INDEX {NAME}")
    not_ready(postgres, NAME, "activity (status)")

    assert found(postgres)[0] in ("different", "invalid")
    assert finding(postgres)["differences"] == [{"part": "key", "declared": "activity_type", "found": "status"}]


def test_an_index_that_was_kept_from_before_is_marked(database_url):
    prepare(database_url, "base")
    execute(database_url, f"CREATE INDEX {NAME} ON {ON}")
    succeed("up", url=database_url)
    kept = {each["name"] for each in check(database_url)["indexes"] if each["origin"] == "adopted"}

    assert kept == {NAME}
    assert re.search(rf"^{NAME} .*(adopted|before)", shown(database_url, 0).stdout, re.MULTILINE)


def test_all_that_is_wrong_is_found_in_one_go(postgres):
    execute(
        postgres,
        *(f"DROP INDEX {name}" for name in ("ix_contact_phone_hash", "ix_conversation_contact_id")),
        "CREATE TABLE ix_conversation_contact_id (id integer)",
        "DROP INDEX ix_activity_openphone_id",
        "CREATE INDEX ix_activity_openphone_id ON activity (status)",
    )
    not_valid(postgres, "ix_webhook_event_event_type", "webhook_event")
    wrong = {each["name"]: each["finding"] for each in check(postgres, 4)["indexes"] if each["finding"] != "valid"}
    text = shown(postgres).stdout

    assert wrong == {
        "ix_contact_phone_hash": "missing",
        "ix_conversation_contact_id": "not an index",
        "ix_activity_openphone_id": "different definition",
        "ix_webhook_event_event_type": "not valid",
    }
    for name, what in wrong.items():
        assert re.search(rf"^{name} .*{what}", text, re.MULTILINE), text


def test_a_missing_table_is_the_end_of_its_indexes(url):
    execute(url, "DROP TABLE webhook_event")
    document = check(url, 4)
    missing = {each["name"] for each in document["indexes"] if each["finding"] == "missing"}

    assert missing == {"ix_webhook_event_processed", "ix_webhook_event_event_type"}


def test_status_exits_as_check_does(url):
    assert run("status", url=url).exit_code == 0
    execute(url, f"DROP INDEX {NAME}", f"CREATE INDEX {NAME} ON activity (status)")
    assert run("status", url=url).exit_code == 4
    execute(url, f"DELETE FROM schema_revision WHERE revision = '{HEAD}'")
    assert run("status", url=url).exit_code == 3


# Advice --------------------------------------------------------------------------------------------------------------


def test_a_duplicate_is_advised(url):
    execute(url, f"CREATE INDEX theirs ON {ON}")

    assert advice(url) == {("twin", "theirs", NAME)}
    assert "theirs" in shown(url, 0).stdout


def test_a_duplicate_of_what_is_declared_is_not_called_the_same_as_what_exists(url):
    execute(url, f"DROP INDEX {NAME}", f"CREATE INDEX {NAME} ON activity (status)", f"CREATE INDEX theirs ON {ON}")

    assert (
        f"theirs has the definition that is declared for {NAME}, which has another one." in run("check", url=url).stdout
    )


def test_every_duplicate_is_advised(url):
    execute(url, *(f"CREATE INDEX theirs_{number} ON {ON}" for number in range(3)))

    assert advice(url) == {("twin", f"theirs_{number}", NAME) for number in range(3)}


def test_a_unique_constraint_that_serves_the_same_key_is_advised(database_url):
    with closing(connect(database_url)) as connection:
        foreign_crm.create_schema(connection)
    execute(database_url, "DROP TABLE alembic_version")
    succeed("up", url=database_url)
    given = advice(database_url)

    assert {(kind, about) for kind, _, about in given} == {
        ("serves the same key", "ix_contact_phone_hash"),
        ("serves the same key", "ix_activity_openphone_id"),
    }
    if is_postgres(database_url):
        assert {index for _, index, _ in given} == {"contact_phone_key", "activity_openphone_id_key"}


def test_a_unique_index_that_serves_the_same_key_is_advised(url):
    execute(url, f"CREATE UNIQUE INDEX theirs ON {ON}")

    assert advice(url) == {("serves the same key", "theirs", NAME)}


def test_an_index_of_another_method_that_serves_the_same_key_is_advised(postgres):
    execute(postgres, "CREATE INDEX theirs ON contact (phone)")

    assert advice(postgres) == {("serves the same key", "theirs", "ix_contact_phone_hash")}


def test_an_index_in_capitals_is_not_its_own_duplicate(sqlite_url):
    prepare(sqlite_url)
    execute(sqlite_url, f"DROP INDEX {NAME}", f"CREATE INDEX {NAME.upper()} ON activity (activity_type)")

    assert not advice(sqlite_url)
    assert run("check", url=sqlite_url).exit_code == 0


def test_what_the_tables_lack_is_said(url):
    execute(url, "ALTER TABLE webhook_event RENAME TO gone")
    for command in ("check", "status"):
        assert "webhook_event is missing." in "".join(run(command, "--json", url=url).json()["warnings"])


def test_an_index_of_another_definition_has_no_origin(url):
    execute(url, f"DROP INDEX {NAME}", f"CREATE INDEX {NAME} ON activity (status)")
    (found,) = (each for each in run("check", "--json", url=url).json()["indexes"] if each["name"] == NAME)

    assert found["origin"] is None


def test_a_wider_index_that_makes_a_declared_one_superfluous_is_advised(url):
    execute(url, "CREATE INDEX theirs ON activity (activity_type, status)")
    ((kind, index, about),) = advice(url)

    assert kind in ("superfluous", "serves the same key")
    assert (index, about) == ("theirs", NAME)


def test_an_index_that_a_declared_one_makes_superfluous_is_advised(url):
    execute(url, "CREATE INDEX theirs ON campaign_membership (campaign_id)")

    assert advice(url) == {("superfluous", "theirs", "ix_campaign_membership_campaign_status")}


def test_of_two_other_indexes_the_superfluous_one_is_advised_and_no_declared_one_is_named(url):
    execute(url, "CREATE INDEX narrow ON activity (status)", "CREATE INDEX wide ON activity (status, direction)")

    assert advice(url) in (set(), {("superfluous", "narrow", None)})


def test_what_only_looks_like_it_is_not_advised(url):
    execute(
        url,
        "CREATE INDEX another_column ON activity (status)",
        "CREATE INDEX begins_otherwise ON activity (direction, activity_type)",
        "CREATE INDEX partial ON activity (activity_type, direction) WHERE direction = 'incoming'",
        "CREATE INDEX an_expression ON activity (lower(activity_type), status)",
        "CREATE INDEX another_table ON campaign (campaign_type)",
        "CREATE INDEX other_words ON conversation (last_activity_type)",
    )

    assert advice(url) == set()


def test_another_collation_or_operator_class_does_not_serve_the_same(postgres):
    execute(
        postgres,
        'CREATE INDEX another_collation ON activity (activity_type COLLATE "POSIX", status)',
        "CREATE INDEX a_hash_has_no_prefix ON conversation USING hash (name)",
        "CREATE INDEX only_some ON contact_flag (flag_type, contact_id) WHERE flag_type = 'office_number'",
    )

    assert advice(postgres) == set()


def test_an_invalid_index_makes_nothing_superfluous(postgres):
    not_ready(postgres, "theirs", "activity (activity_type, status)")

    assert "superfluous" not in {kind for kind, *_ in advice(postgres)}


@pytest.mark.parametrize("leave", [ccnew, ccold])
def test_a_leftover_of_a_cancelled_reindex_is_advised(postgres, leave):
    left = leave(postgres, NAME, "activity")

    assert advice(postgres) == {("leftover", left, NAME)}
    execute(postgres, re.findall(f"{left} is left from .*: (DROP .*);", shown(postgres, 0).stdout)[0])
    assert advice(postgres) == set()


def test_every_leftover_of_several_cancelled_reindexes_is_advised(postgres):
    first = ccnew(postgres, NAME, "activity")
    ccnew(postgres, NAME, "activity")

    assert advice(postgres) == {("leftover", first, NAME), ("leftover", f"{first}1", NAME)}


def test_a_leftover_of_another_index_on_the_table_is_advised_too(postgres):
    execute(postgres, "CREATE INDEX theirs ON activity (status)")
    left = ccnew(postgres, "theirs", "activity")

    assert advice(postgres) == {("leftover", left, None)}


def test_advice_has_no_exit_code_of_its_own(database_url):
    prepare(database_url, "base")
    execute(database_url, f"CREATE INDEX theirs ON {ON}")
    assert advice(database_url, 3) == {("twin", "theirs", NAME)}


def test_a_revision_whose_file_was_changed_after_it_was_applied_is_advised(url):
    execute(url, f"UPDATE schema_revision SET checksum = 'another' WHERE revision = '{HEAD}'")
    given = check(url)["advice"]

    assert [each["kind"] for each in given] == ["changed file"]
    assert HEAD in given[0]["text"]
    assert HEAD in shown(url, 0).stdout


# Reading only --------------------------------------------------------------------------------------------------------


def test_check_does_not_wait_for_writers_builds_and_runs(postgres):
    execute(postgres, f"DROP INDEX {NAME}")
    with open_writer(postgres):
        by_hand = ByHand(postgres, f"CREATE INDEX CONCURRENTLY {NAME} ON {ON}")
        until_phase(postgres, "waiting for writers")
        assert run("check", url=postgres).exit_code == 4
    by_hand.end()


@pytest.mark.parametrize("command", ["check", "plan", "up"])
def test_a_locked_table_is_reported_with_the_session_that_has_locked_it(postgres, command):
    with transaction(postgres, "LOCK TABLE contact_flag IN ACCESS EXCLUSIVE MODE") as locker:
        said = run(command, url=postgres)
        assert said.exit_code == 1
        assert f"  - pid {locker.pid} (" in said.stderr
        assert f"end it: SELECT pg_catalog.pg_terminate_backend({locker.pid})" in said.stderr
        assert run("history", url=postgres).exit_code == 0


def test_a_role_that_may_only_read_can_check(superuser_url, postgres):
    """The superuser makes the role."""
    execute(postgres, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with another_role(superuser_url, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}") as role:
        result = run("check", url=as_role(postgres, role))

    assert result.exit_code == 0, result


def test_check_looks_only_into_the_chosen_schema(postgres):
    copies = (f"CREATE TABLE tenant.{table} (LIKE public.{table})" for table in SEVEN_TABLES)
    execute(postgres, "CREATE SCHEMA tenant", *copies, "CREATE INDEX theirs ON tenant.activity (activity_type)")
    with nothing_changes(postgres):
        assert run("check", "--schema", "tenant", url=postgres).exit_code == 3
    assert advice(postgres) == set()


def test_an_unreachable_database_is_7():
    assert run("check", url="postgresql://clerk@127.0.0.1:1/crm").exit_code == 7
