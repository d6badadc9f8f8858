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


def test_with_all_indexes_valid_there_is_no_finding_and_no_advice(any_head_url):
    document = check(any_head_url)

    assert document.keys() >= DOCUMENT
    assert all(each.keys() >= INDEX for each in document["indexes"])
    assert {each["name"] for each in document["indexes"]} == TEN_NAMES
    assert {(each["state"], each["finding"]) for each in document["indexes"]} == {("valid", "valid")}
    assert {each["origin"] for each in document["indexes"]} == {"created"}
    assert (document["revision"], document["head"], document["pending"]) == (HEAD, HEAD, [])
    assert document["warnings"] == document["advice"] == []


def test_the_printed_table_names_every_index_with_its_finding(any_head_url):
    lines = shown(any_head_url, 0).lines

    for name in TEN_NAMES:
        (line,) = [line for line in lines if line.startswith(name)]
        assert " valid" in line


def test_indexes_built_without_the_tool_are_as_good(any_base_url):
    execute(any_base_url, *specified(any_base_url).values())
    document = check(any_base_url, 3)

    assert {each["finding"] for each in document["indexes"]} == {"valid"}
    assert document["pending"] == [HEAD]


# Nothing applied yet -------------------------------------------------------------------------------------------------


def test_on_an_empty_database_the_revision_is_pending_and_nothing_is_made(database_url):
    document = check(database_url, 3)

    assert (document["revision"], document["pending"]) == (None, [HEAD])
    assert {each["finding"] for each in document["indexes"]} == {"missing"}
    assert is_postgres(database_url) or not file_of(database_url).exists()


def test_at_the_base_the_revision_is_pending(any_base_url):
    document = check(any_base_url, 3)

    assert (document["revision"], document["pending"]) == (BASE, [HEAD])
    assert "python cli.py up" in shown(any_base_url, 3).stdout


def test_after_down_the_revision_is_pending(any_head_url):
    succeed("down", url=any_head_url)

    assert check(any_head_url, 3)["pending"] == [HEAD]


def test_a_run_that_did_not_end_is_pending(any_head_url):
    execute(any_head_url, f"UPDATE schema_revision SET state = 'applying', applied_at = NULL WHERE revision = '{HEAD}'")

    assert check(any_head_url, 3)["pending"] == [HEAD]


def test_a_conflict_with_a_pending_revision_is_shown(any_base_url):
    execute(any_base_url, f"CREATE INDEX {NAME} ON activity (status)")

    assert found(any_base_url, 3) == ("different", "different definition")


# What can be wrong ---------------------------------------------------------------------------------------------------


def test_a_missing_index_is_found(any_head_url):
    execute(any_head_url, f"DROP INDEX {NAME}")

    assert found(any_head_url) == ("missing", "missing")
    assert finding(any_head_url)["differences"] == []


def test_an_index_that_was_given_another_name_is_missing_and_the_other_name_is_advised(any_head_url):
    execute(any_head_url, f"DROP INDEX {NAME}", f"CREATE INDEX other_index ON {ON}")

    assert found(any_head_url) == ("missing", "missing")
    assert advice(any_head_url, 4) == {("duplicate", "other_index", NAME)}
    (given,) = check(any_head_url, 4)["advice"]
    assert given["text"].endswith("Rename it: python cli.py up --adopt-renamed")


def test_another_definition_is_found_with_the_part_that_differs(any_head_url):
    execute(any_head_url, f"DROP INDEX {NAME}", f"CREATE INDEX {NAME} ON activity (status)")
    index = finding(any_head_url)

    assert (index["state"], index["finding"]) == ("different", "different definition")
    assert index["differences"] == [{"part": "key", "declared": "activity_type", "found": "status"}]


def test_check_prints_each_part_that_differs_side_by_side(any_head_url):
    execute(any_head_url, f"DROP INDEX {NAME}", f"CREATE UNIQUE INDEX {NAME} ON activity (status, direction DESC)")
    text = shown(any_head_url).stdout

    assert re.search(r"\bkey +activity_type +status, direction DESC$", text, re.MULTILINE), text
    assert re.search(r"^ +unique +no +yes$", text, re.MULTILINE), text
    assert re.search(r"declared +found", text)


def test_what_postgresql_alone_is_to_do_is_compared(head_url):
    execute(
        head_url,
        "DROP INDEX ix_contact_phone_hash",
        "CREATE INDEX ix_contact_phone_hash ON contact (phone)",
        "DROP INDEX ix_contact_flag_opted_out",
        "CREATE INDEX ix_contact_flag_opted_out ON contact_flag (flag_type, contact_id)",
    )
    differing = {each["name"]: each for each in check(head_url, 4)["indexes"] if each["finding"] != "valid"}

    assert differing.keys() == {"ix_contact_phone_hash", "ix_contact_flag_opted_out"}
    assert differing["ix_contact_phone_hash"]["differences"] == [
        {"part": "method", "declared": "hash", "found": "btree"}
    ]
    assert [each["part"] for each in differing["ix_contact_flag_opted_out"]["differences"]] == ["predicate"]


def test_an_index_of_another_table_is_found(any_head_url):
    execute(any_head_url, f"DROP INDEX {NAME}", f"CREATE INDEX {NAME} ON campaign (campaign_type)")
    index = finding(any_head_url)

    assert (index["state"], index["finding"]) == ("different", "different table")
    assert {"part": "table", "declared": "activity", "found": "campaign"} in index["differences"]


@pytest.mark.parametrize(
    ("kind", "made_by"),
    [("table", f"CREATE TABLE {NAME} (id integer)"), ("view", f"CREATE VIEW {NAME} AS SELECT 1 AS one")],
)
def test_an_object_that_is_no_index_is_found(any_head_url, kind, made_by):
    execute(any_head_url, f"DROP INDEX {NAME}", made_by)

    assert found(any_head_url) == (kind, "not an index")


def test_an_index_that_is_not_ready_is_found(head_url):
    execute(head_url, f"DROP INDEX {NAME}")
    not_ready(head_url, NAME, ON)

    assert found(head_url) == ("invalid", "not ready")


def test_an_index_that_is_not_valid_is_found(head_url):
    not_valid(head_url, NAME, "activity")

    assert found(head_url) == ("invalid", "not valid")


def test_an_index_that_is_not_live_is_found(head_url):
    not_live(head_url, NAME, "activity")

    assert found(head_url) == ("invalid", "not live")


def test_an_index_that_is_being_built_is_found(head_url):
    execute(head_url, f"DROP INDEX {NAME}")
    with open_writer(head_url):
        by_hand = ByHand(head_url, f"CREATE INDEX CONCURRENTLY {NAME} ON {ON}")
        until_phase(head_url, "waiting for writers")
        state = found(head_url)
        text = shown(head_url).stdout
    by_hand.end()

    assert state == ("in progress", "being built")
    assert re.search(rf"^{NAME} .*being built", text, re.MULTILINE)
    assert check(head_url)["exit_code"] == 0


def test_an_invalid_index_with_another_definition_is_first_of_all_another_one(head_url):
    execute(head_url, f"DROP INDEX {NAME}")
    not_ready(head_url, NAME, "activity (status)")

    assert found(head_url)[0] in ("different", "invalid")
    assert finding(head_url)["differences"] == [{"part": "key", "declared": "activity_type", "found": "status"}]


def test_an_index_that_was_kept_from_before_is_marked(any_base_url):
    execute(any_base_url, f"CREATE INDEX {NAME} ON {ON}")
    succeed("up", url=any_base_url)
    kept = {each["name"] for each in check(any_base_url)["indexes"] if each["origin"] == "adopted"}

    assert kept == {NAME}
    assert re.search(rf"^{NAME} .*(adopted|before)", shown(any_base_url, 0).stdout, re.MULTILINE)


def test_all_that_is_wrong_is_found_in_one_go(head_url):
    execute(
        head_url,
        *(f"DROP INDEX {name}" for name in ("ix_contact_phone_hash", "ix_conversation_contact_id")),
        "CREATE TABLE ix_conversation_contact_id (id integer)",
        "DROP INDEX ix_activity_openphone_id",
        "CREATE INDEX ix_activity_openphone_id ON activity (status)",
    )
    not_valid(head_url, "ix_webhook_event_event_type", "webhook_event")
    wrong = {each["name"]: each["finding"] for each in check(head_url, 4)["indexes"] if each["finding"] != "valid"}
    text = shown(head_url).stdout

    assert wrong == {
        "ix_contact_phone_hash": "missing",
        "ix_conversation_contact_id": "not an index",
        "ix_activity_openphone_id": "different definition",
        "ix_webhook_event_event_type": "not valid",
    }
    for name, what in wrong.items():
        assert re.search(rf"^{name} .*{what}", text, re.MULTILINE), text


def test_a_missing_table_is_the_end_of_its_indexes(any_head_url):
    execute(any_head_url, "DROP TABLE webhook_event")
    document = check(any_head_url, 4)
    missing = {each["name"] for each in document["indexes"] if each["finding"] == "missing"}

    assert missing == {"ix_webhook_event_processed", "ix_webhook_event_event_type"}


def test_status_exits_as_check_does(any_head_url):
    assert run("status", url=any_head_url).exit_code == 0
    execute(any_head_url, f"DROP INDEX {NAME}", f"CREATE INDEX {NAME} ON activity (status)")
    assert run("status", url=any_head_url).exit_code == 4
    execute(any_head_url, f"DELETE FROM schema_revision WHERE revision = '{HEAD}'")
    assert run("status", url=any_head_url).exit_code == 3


# Advice --------------------------------------------------------------------------------------------------------------


def test_a_duplicate_is_advised(any_head_url):
    execute(any_head_url, f"CREATE INDEX other_index ON {ON}")

    assert advice(any_head_url) == {("duplicate", "other_index", NAME)}
    assert "other_index" in shown(any_head_url, 0).stdout


def test_a_duplicate_of_what_is_declared_is_not_called_the_same_as_what_exists(any_head_url):
    execute(
        any_head_url,
        f"DROP INDEX {NAME}",
        f"CREATE INDEX {NAME} ON activity (status)",
        f"CREATE INDEX other_index ON {ON}",
    )

    assert (
        f"other_index has the definition declared for {NAME}, and {NAME} has another one."
        in run("check", url=any_head_url).stdout
    )


def test_every_duplicate_is_advised(any_head_url):
    execute(any_head_url, *(f"CREATE INDEX theirs_{number} ON {ON}" for number in range(3)))

    assert advice(any_head_url) == {("duplicate", f"theirs_{number}", NAME) for number in range(3)}


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


def test_a_unique_index_that_serves_the_same_key_is_advised(any_head_url):
    execute(any_head_url, f"CREATE UNIQUE INDEX other_index ON {ON}")

    assert advice(any_head_url) == {("serves the same key", "other_index", NAME)}


def test_an_index_of_another_method_that_serves_the_same_key_is_advised(head_url):
    execute(head_url, "CREATE INDEX other_index ON contact (phone)")

    assert advice(head_url) == {("serves the same key", "other_index", "ix_contact_phone_hash")}


def test_an_index_in_capitals_is_not_its_own_duplicate(sqlite_head_url):
    execute(sqlite_head_url, f"DROP INDEX {NAME}", f"CREATE INDEX {NAME.upper()} ON activity (activity_type)")

    assert not advice(sqlite_head_url)
    assert run("check", url=sqlite_head_url).exit_code == 0


def test_check_and_status_warn_of_a_missing_table(any_head_url):
    execute(any_head_url, "ALTER TABLE webhook_event RENAME TO gone")
    for command in ("check", "status"):
        assert "webhook_event is missing." in "".join(run(command, "--json", url=any_head_url).json()["warnings"])


def test_an_index_of_another_definition_has_no_origin(any_head_url):
    execute(any_head_url, f"DROP INDEX {NAME}", f"CREATE INDEX {NAME} ON activity (status)")
    (found,) = (each for each in run("check", "--json", url=any_head_url).json()["indexes"] if each["name"] == NAME)

    assert found["origin"] is None


def test_a_wider_index_that_makes_a_declared_one_superfluous_is_advised(any_head_url):
    execute(any_head_url, "CREATE INDEX other_index ON activity (activity_type, status)")
    ((kind, index, about),) = advice(any_head_url)

    assert kind in ("superfluous", "serves the same key")
    assert (index, about) == ("other_index", NAME)


def test_an_index_that_a_declared_one_makes_superfluous_is_advised(any_head_url):
    execute(any_head_url, "CREATE INDEX other_index ON campaign_membership (campaign_id)")

    assert advice(any_head_url) == {("superfluous", "other_index", "ix_campaign_membership_campaign_status")}


def test_of_two_other_indexes_the_superfluous_one_is_advised_and_no_declared_one_is_named(any_head_url):
    execute(
        any_head_url, "CREATE INDEX narrow ON activity (status)", "CREATE INDEX wide ON activity (status, direction)"
    )

    assert advice(any_head_url) in (set(), {("superfluous", "narrow", None)})


def test_an_index_that_only_resembles_a_leftover_is_not_advised(any_head_url):
    execute(
        any_head_url,
        "CREATE INDEX another_column ON activity (status)",
        "CREATE INDEX begins_otherwise ON activity (direction, activity_type)",
        "CREATE INDEX partial ON activity (activity_type, direction) WHERE direction = 'incoming'",
        "CREATE INDEX an_expression ON activity (lower(activity_type), status)",
        "CREATE INDEX another_table ON campaign (campaign_type)",
        "CREATE INDEX other_words ON conversation (last_activity_type)",
    )

    assert advice(any_head_url) == set()


def test_another_collation_or_operator_class_does_not_serve_the_same(head_url):
    execute(
        head_url,
        'CREATE INDEX another_collation ON activity (activity_type COLLATE "POSIX", status)',
        "CREATE INDEX a_hash_has_no_prefix ON conversation USING hash (name)",
        "CREATE INDEX only_some ON contact_flag (flag_type, contact_id) WHERE flag_type = 'office_number'",
    )

    assert advice(head_url) == set()


def test_an_invalid_index_makes_nothing_superfluous(head_url):
    not_ready(head_url, "other_index", "activity (activity_type, status)")

    assert "superfluous" not in {kind for kind, *_ in advice(head_url)}


@pytest.mark.parametrize("leave", [ccnew, ccold])
def test_a_leftover_of_a_cancelled_reindex_is_advised(head_url, leave):
    left = leave(head_url, NAME, "activity")

    assert advice(head_url) == {("leftover", left, NAME)}
    execute(head_url, re.findall(f"{left} is left from .*: (DROP .*);", shown(head_url, 0).stdout)[0])
    assert advice(head_url) == set()


def test_every_leftover_of_several_cancelled_reindexes_is_advised(head_url):
    first = ccnew(head_url, NAME, "activity")
    ccnew(head_url, NAME, "activity")

    assert advice(head_url) == {("leftover", first, NAME), ("leftover", f"{first}1", NAME)}


def test_a_leftover_of_another_index_on_the_table_is_advised_too(head_url):
    execute(head_url, "CREATE INDEX other_index ON activity (status)")
    left = ccnew(head_url, "other_index", "activity")

    assert advice(head_url) == {("leftover", left, None)}


def test_an_invalid_index_by_hand_with_the_name_of_a_leftover_is_none(head_url):
    not_ready(head_url, f"{NAME}_ccnew", "activity (status)")

    assert advice(head_url) == set()


def test_advice_has_no_exit_code_of_its_own(any_base_url):
    execute(any_base_url, f"CREATE INDEX other_index ON {ON}")
    assert advice(any_base_url, 3) == {("duplicate", "other_index", NAME)}


def test_a_revision_whose_file_was_changed_after_it_was_applied_is_advised(any_head_url):
    execute(any_head_url, f"UPDATE schema_revision SET checksum = 'another' WHERE revision = '{HEAD}'")
    given = check(any_head_url)["advice"]

    assert [each["kind"] for each in given] == ["changed file"]
    assert HEAD in given[0]["text"]
    assert HEAD in shown(any_head_url, 0).stdout


# Reading only --------------------------------------------------------------------------------------------------------


def test_check_does_not_wait_for_writers_builds_and_runs(head_url):
    execute(head_url, f"DROP INDEX {NAME}")
    with open_writer(head_url):
        by_hand = ByHand(head_url, f"CREATE INDEX CONCURRENTLY {NAME} ON {ON}")
        until_phase(head_url, "waiting for writers")
        assert run("check", url=head_url).exit_code == 4
    by_hand.end()


@pytest.mark.parametrize("command", ["check", "plan", "up"])
def test_a_locked_table_is_reported_with_the_session_that_has_locked_it(head_url, command):
    with transaction(head_url, "LOCK TABLE contact_flag IN ACCESS EXCLUSIVE MODE") as locker:
        said = run(command, url=head_url)
        assert said.exit_code == 1
        assert f"  - pid {locker.pid} (" in said.stderr
        assert f"end it: SELECT pg_catalog.pg_terminate_backend({locker.pid})" in said.stderr
        assert run("history", url=head_url).exit_code == 0


def test_a_role_that_may_only_read_can_check(superuser_url, head_url):
    """The superuser makes the role."""
    execute(head_url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with another_role(superuser_url, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}") as role:
        result = run("check", url=as_role(head_url, role))

    assert result.exit_code == 0, result


def test_check_looks_only_into_the_chosen_schema(head_url):
    copies = (f"CREATE TABLE tenant.{table} (LIKE public.{table})" for table in SEVEN_TABLES)
    execute(head_url, "CREATE SCHEMA tenant", *copies, "CREATE INDEX other_index ON tenant.activity (activity_type)")
    with nothing_changes(head_url):
        assert run("check", "--schema", "tenant", url=head_url).exit_code == 3
    assert advice(head_url) == set()


def test_an_unreachable_database_is_7():
    assert run("check", url="postgresql://clerk@127.0.0.1:1/crm").exit_code == 7
