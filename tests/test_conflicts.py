"""A relation or another index with the name of one of the ten: refused with both definitions, kept if they agree."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest
from command import (
    created_indexes,
    execute,
    nothing_changes,
    prepare,
    refuses,
    run,
    succeed,
)


def difference(part: str, declared: str, found: str) -> re.Pattern[str]:
    """Return a pattern for the line that compares one part of the declared index with the existing one."""
    return re.compile(rf"^ +{part} {{2,}}{re.escape(declared)} {{2,}}{re.escape(found)}$", re.MULTILINE)


class Conflict(NamedTuple):
    """An object with a declared name, and the part in which it differs."""

    made_by: str
    part: str
    declared: str
    found: str
    name: str = "ix_activity_type"


OPTED_OUT = "((flag_type)::text = 'opted_out'::text)"

CONFLICTS = {
    "another column": Conflict("CREATE INDEX ix_activity_type ON activity (status)", "key", "activity_type", "status"),
    "another order of columns": Conflict(
        "CREATE INDEX ix_webhook_event_processed ON webhook_event (event_type, processed)",
        "key",
        "processed, event_type",
        "event_type, processed",
        "ix_webhook_event_processed",
    ),
    "a column more": Conflict(
        "CREATE INDEX ix_activity_type ON activity (activity_type, status)",
        "key",
        "activity_type",
        "activity_type, status",
    ),
    "a column less": Conflict(
        "CREATE INDEX ix_webhook_event_processed ON webhook_event (processed)",
        "key",
        "processed, event_type",
        "processed",
        "ix_webhook_event_processed",
    ),
    "an expression": Conflict(
        "CREATE INDEX ix_activity_type ON activity (lower(activity_type))",
        "key",
        "activity_type",
        "lower((activity_type)::text)",
    ),
    "ascending": Conflict(
        "CREATE INDEX ix_activity_conversation_created ON activity (conversation_id, created_at)",
        "key",
        "conversation_id, created_at DESC",
        "conversation_id, created_at",
        "ix_activity_conversation_created",
    ),
    "nulls last": Conflict(
        "CREATE INDEX ix_activity_conversation_created ON activity (conversation_id, created_at DESC NULLS LAST)",
        "key",
        "conversation_id, created_at DESC",
        "conversation_id, created_at DESC NULLS LAST",
        "ix_activity_conversation_created",
    ),
    "a B-tree for a hash": Conflict(
        "CREATE INDEX ix_contact_phone_hash ON contact (phone)", "method", "hash", "btree", "ix_contact_phone_hash"
    ),
    "a hash for a B-tree": Conflict(
        "CREATE INDEX ix_activity_type ON activity USING hash (activity_type)", "method", "btree", "hash"
    ),
    "no predicate": Conflict(
        "CREATE INDEX ix_contact_flag_opted_out ON contact_flag (flag_type, contact_id)",
        "predicate",
        "flag_type = 'opted_out'",
        "none",
        "ix_contact_flag_opted_out",
    ),
    "another predicate": Conflict(
        "CREATE INDEX ix_contact_flag_opted_out ON contact_flag (flag_type, contact_id) WHERE flag_type <> 'opted_out'",
        "predicate",
        OPTED_OUT,
        "((flag_type)::text <> 'opted_out'::text)",
        "ix_contact_flag_opted_out",
    ),
    "a predicate too many": Conflict(
        "CREATE INDEX ix_activity_type ON activity (activity_type) WHERE activity_type IS NOT NULL",
        "predicate",
        "none",
        "(activity_type IS NOT NULL)",
    ),
    "unique": Conflict("CREATE UNIQUE INDEX ix_activity_type ON activity (activity_type)", "unique", "no", "yes"),
    "another collation": Conflict(
        'CREATE INDEX ix_activity_type ON activity (activity_type COLLATE "POSIX")',
        "key",
        "activity_type",
        'activity_type COLLATE "POSIX"',
    ),
    "another operator class": Conflict(
        "CREATE INDEX ix_activity_type ON activity (activity_type varchar_pattern_ops)",
        "key",
        "activity_type",
        "activity_type varchar_pattern_ops",
    ),
    "INCLUDE": Conflict(
        "CREATE INDEX ix_activity_type ON activity (activity_type) INCLUDE (status)", "include", "none", "status"
    ),
    "a unique constraint": Conflict(
        "ALTER TABLE activity ADD CONSTRAINT ix_activity_type UNIQUE (activity_type)", "unique", "no", "yes"
    ),
    "another table": Conflict(
        "CREATE TABLE call (activity_type varchar(20)); CREATE INDEX ix_activity_type ON call (activity_type)",
        "table",
        "activity",
        "call",
    ),
    "a table": Conflict("CREATE TABLE ix_activity_type (id integer)", "kind", "index", "table"),
    "a view": Conflict("CREATE VIEW ix_activity_type AS SELECT 1 AS one", "kind", "index", "view"),
    "a materialized view": Conflict(
        "CREATE MATERIALIZED VIEW ix_activity_type AS SELECT 1 AS one", "kind", "index", "materialized view"
    ),
    "a sequence": Conflict("CREATE SEQUENCE ix_activity_type", "kind", "index", "sequence"),
    "a composite type": Conflict("CREATE TYPE ix_activity_type AS (one integer)", "kind", "index", "composite type"),
}

SQLITE_CONFLICTS = {
    "another column": Conflict("CREATE INDEX ix_activity_type ON activity (status)", "key", "activity_type", "status"),
    "ascending": CONFLICTS["ascending"],
    "descending": Conflict(
        "CREATE INDEX ix_activity_type ON activity (activity_type DESC)", "key", "activity_type", "activity_type DESC"
    ),
    "an expression": Conflict(
        "CREATE INDEX ix_activity_type ON activity (lower(activity_type))",
        "key",
        "activity_type",
        "lower(activity_type)",
    ),
    "partial": Conflict(
        "CREATE INDEX ix_contact_flag_opted_out ON contact_flag (flag_type, contact_id) WHERE flag_type = 'opted_out'",
        "predicate",
        "none",
        "flag_type = 'opted_out'",
        "ix_contact_flag_opted_out",
    ),
    "unique": CONFLICTS["unique"],
    "another collation": Conflict(
        "CREATE INDEX ix_activity_type ON activity (activity_type COLLATE NOCASE)",
        "key",
        "activity_type",
        "activity_type COLLATE NOCASE",
    ),
    "another table": Conflict(
        "CREATE INDEX ix_activity_type ON campaign (campaign_type)", "table", "activity", "campaign"
    ),
    "a table": CONFLICTS["a table"],
    "a view": CONFLICTS["a view"],
}


def check_refusal(url: str, conflict: Conflict) -> None:
    """Check that up names the index, compares the differing part, says what to do, and changes nothing."""
    refused = refuses(url, "up", exit_code=4).stderr

    assert f"\n  {conflict.name}\n" in refused
    assert difference(conflict.part, conflict.declared, conflict.found).search(refused), refused
    freed = f"ename or drop {conflict.name} if nothing needs it"
    if conflict.part == "kind":
        freed = f"Give {conflict.name} another name in the revision file"
    assert refused.splitlines()[-1].endswith(f"{freed}, then run: python cli.py up")


@pytest.mark.parametrize("conflict", CONFLICTS.values(), ids=CONFLICTS.keys())
def test_a_declared_name_with_another_definition_is_refused_with_the_difference(crm, conflict):
    execute(crm, conflict.made_by)

    check_refusal(crm, conflict)


@pytest.mark.parametrize("conflict", SQLITE_CONFLICTS.values(), ids=SQLITE_CONFLICTS.keys())
def test_a_declared_name_with_another_definition_is_refused_on_sqlite_too(sqlite_crm, conflict):
    execute(sqlite_crm, conflict.made_by)

    check_refusal(sqlite_crm, conflict)


def test_no_hint_asks_to_drop_a_table(any_crm):
    execute(any_crm, CONFLICTS["a table"].made_by, CONFLICTS["ascending"].made_by)
    hint = refuses(any_crm, "up", exit_code=4).stderr.splitlines()[-1]

    assert hint == (
        "Give ix_activity_type another name in the revision file, then replace ix_activity_conversation_created:"
        " python cli.py up --replace"
    )


def test_down_asks_to_rename_a_table_that_has_the_name_of_an_index(any_crm):
    prepare(any_crm)
    execute(any_crm, "DROP INDEX ix_activity_type", CONFLICTS["a table"].made_by)

    hint = refuses(any_crm, "down", exit_code=4).stderr.splitlines()[-1]
    assert hint == "Rename ix_activity_type, then run: python cli.py down"


def test_down_where_up_was_refused_has_nothing_to_roll_back(any_crm):
    execute(any_crm, CONFLICTS["ascending"].made_by, CONFLICTS["another column"].made_by)
    run("up", url=any_crm)
    with nothing_changes(any_crm):
        assert succeed("down", url=any_crm).lines[0].startswith("Nothing to roll back")


def test_all_differences_of_all_indexes_are_named_in_one_go(crm):
    execute(
        crm,
        "CREATE TABLE ix_conversation_contact_id (id integer)",
        "CREATE UNIQUE INDEX ix_contact_phone_hash ON contact (email) INCLUDE (phone) WHERE phone IS NOT NULL",
        CONFLICTS["ascending"].made_by,
    )
    refused = refuses(crm, "up", exit_code=4).stderr

    assert difference("kind", "index", "table").search(refused)
    assert difference("key", "conversation_id, created_at DESC", "conversation_id, created_at").search(refused)
    for part, declared, found in (
        ("method", "hash", "btree"),
        ("key", "phone", "email"),
        ("unique", "no", "yes"),
        ("include", "none", "phone"),
        ("predicate", "none", "(phone IS NOT NULL)"),
    ):
        assert difference(part, declared, found).search(refused), refused


def test_status_and_plan_show_the_index_that_has_a_declared_name(crm):
    execute(crm, CONFLICTS["ascending"].made_by, CONFLICTS["a view"].made_by)
    status = run("status", "--json", url=crm).json()
    states = {each["name"]: each["state"] for each in status["indexes"]}
    plan = run("plan", url=crm)

    assert states["ix_activity_conversation_created"] == "different"
    assert states["ix_activity_type"] == "view"
    assert plan.exit_code == 4
    assert "created_at DESC" in plan.stderr


def test_a_refusal_as_json_lists_the_differences(crm):
    execute(crm, CONFLICTS["ascending"].made_by)
    with nothing_changes(crm):
        document = run("up", "--json", url=crm).json()

    assert document["exit_code"] == 4
    assert document["differences"] == {
        "ix_activity_conversation_created": [
            {
                "part": "key",
                "declared": "conversation_id, created_at DESC",
                "found": "conversation_id, created_at",
            }
        ]
    }


@pytest.mark.parametrize("command", ["down", "up"])
def test_an_index_that_was_replaced_by_hand_after_up_is_never_dropped(crm, command):
    prepare(crm)
    execute(crm, "DROP INDEX ix_activity_type", "CREATE INDEX ix_activity_type ON activity (status)")
    refused = refuses(crm, command, exit_code=4)

    assert difference("key", "activity_type", "status").search(refused.stderr)
    assert len(created_indexes(crm)) == 10
    assert run("status", url=crm).exit_code == 4


def test_an_index_that_was_replaced_by_hand_after_up_is_never_dropped_on_sqlite(sqlite_crm):
    prepare(sqlite_crm)
    execute(sqlite_crm, "DROP INDEX ix_activity_type", "CREATE INDEX ix_activity_type ON activity (status)")
    refused = refuses(sqlite_crm, "down", exit_code=4)

    assert difference("key", "activity_type", "status").search(refused.stderr)
    assert len(created_indexes(sqlite_crm)) == 10


def test_an_index_whose_definition_is_written_differently_is_kept(crm):
    execute(
        crm,
        "CREATE INDEX ix_contact_flag_opted_out ON contact_flag USING btree"
        " (flag_type ASC NULLS LAST, contact_id int4_ops) WHERE 'opted_out' = flag_type::text",
        "DROP INDEX ix_contact_flag_opted_out",
        "CREATE INDEX ix_contact_flag_opted_out ON contact_flag USING btree"
        " (flag_type ASC NULLS LAST, contact_id int4_ops) WHERE (flag_type)::text = 'opted_out'::text",
        "CREATE INDEX ix_activity_type ON activity (activity_type) WITH (fillfactor = 70)",
    )
    result = succeed("up", url=crm)

    assert len(result.announced()) == 8
    assert run("status", url=crm).exit_code == 0
