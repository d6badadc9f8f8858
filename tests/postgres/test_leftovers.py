"""Invalid indexes that a cancelled build or drop leaves: rebuilt by up, dropped by down."""

from __future__ import annotations

import re
from contextlib import closing

import psycopg2
import pytest
from command import (
    TEN_NAMES,
    broken,
    connect,
    created_indexes,
    execute,
    prepare,
    refuses,
    run,
    specified,
    succeed,
)


def cancel_while_a_writer_is_open(url: str, table: str, statement: str, timeout: str = "lock_timeout") -> None:
    """Send a concurrent build or drop that has to wait for an open transaction, until the server cancels it."""
    with closing(psycopg2.connect(url)) as writer, closing(connect(url)) as session:
        writer.cursor().execute(f"INSERT INTO {table} (id) VALUES (-1)")
        session.cursor().execute(f"SET {timeout} = '200ms'")
        with pytest.raises((psycopg2.errors.LockNotAvailable, psycopg2.errors.QueryCanceled)):
            session.cursor().execute(statement)


@pytest.mark.parametrize("timeout", ["lock_timeout", "statement_timeout"])
def test_an_invalid_declared_index_is_rebuilt(crm, timeout):
    build = "CREATE INDEX CONCURRENTLY ix_activity_type ON activity (activity_type)"
    cancel_while_a_writer_is_open(crm, "activity", build, timeout)
    assert broken(crm) == {"ix_activity_type"}

    plan = succeed("plan", url=crm)
    result = succeed("up", url=crm)

    assert "rebuild ix_activity_type on activity" in plan.stdout
    assert [statement for statement in result.announced() if "ix_activity_type" in statement] == [
        'CREATE INDEX CONCURRENTLY "ix_activity_type" ON "public"."activity" ("activity_type")',
        'DROP INDEX CONCURRENTLY "public"."ix_activity_type"',
    ]
    assert "9 created" in result.lines[-1]
    assert "1 rebuilt" in result.lines[-1]
    assert broken(crm) == set()
    assert created_indexes(crm) == specified(crm)


def test_an_index_that_up_has_rebuilt_is_dropped_by_down(crm):
    cancel_while_a_writer_is_open(
        crm, "activity", "CREATE INDEX CONCURRENTLY ix_activity_type ON activity (activity_type)"
    )
    succeed("up", url=crm)
    succeed("down", url=crm)

    assert created_indexes(crm) == {}


def test_an_invalid_index_is_seen_by_status_after_up(crm):
    prepare(crm)
    execute(crm, "DROP INDEX ix_campaign_membership_contact_id")
    cancel_while_a_writer_is_open(
        crm,
        "campaign_membership",
        "CREATE INDEX CONCURRENTLY ix_campaign_membership_contact_id ON campaign_membership (contact_id)",
    )
    status = run("status", url=crm)

    assert status.exit_code == 4
    assert re.search(r"^ix_campaign_membership_contact_id .* invalid", status.stdout, re.MULTILINE)


def test_an_invalid_index_with_another_definition_is_refused(crm):
    cancel_while_a_writer_is_open(crm, "activity", "CREATE INDEX CONCURRENTLY ix_activity_type ON activity (status)")
    refused = refuses(crm, "up", exit_code=4)

    assert re.search(r"^ +key +activity_type +status$", refused.stderr, re.MULTILINE)
    assert broken(crm) == {"ix_activity_type"}


@pytest.mark.parametrize(("command", "left"), [("up", TEN_NAMES), ("down", set())])
def test_a_drop_that_was_cancelled_half_way_is_repaired_by_up_and_completed_by_down(crm, command, left):
    prepare(crm)
    cancel_while_a_writer_is_open(crm, "activity", "DROP INDEX CONCURRENTLY ix_activity_type")
    assert broken(crm) == {"ix_activity_type"}

    succeed(command, url=crm)

    assert broken(crm) == set()
    assert set(created_indexes(crm)) == left
