"""Databases on which a careless tool does harm: refused before anything changes, or brought to what is declared."""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import sqlite3
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

import foreign_crm
import psycopg2
import pytest
from command import (
    HEAD,
    SEVEN_TABLES,
    SIX_INDEXED_TABLES,
    TEN_NAMES,
    Result,
    broken,
    connect,
    execute,
    file_of,
    indexes,
    is_postgres,
    nothing_changes,
    ours,
    prepare,
    relations_in,
    run,
    run_script,
    specified,
    succeed,
    tables,
)
from roles import PASSWORD, another_role, as_role


@pytest.fixture
def crm(postgres_url: str) -> str:
    """URL of a PostgreSQL database with another tool's tables in it."""
    make_crm(postgres_url)
    return postgres_url


@pytest.fixture
def sqlite_crm(sqlite_url: str) -> str:
    """URL of a SQLite file with another tool's tables in it."""
    make_crm(sqlite_url)
    return sqlite_url


@pytest.fixture
def any_crm(database_url: str) -> str:
    """URL of a database with another tool's tables, on SQLite and on PostgreSQL."""
    make_crm(database_url)
    return database_url


def make_crm(url: str, schema: str | None = None) -> None:
    """Create another tool's tables."""
    with closing(connect(url)) as connection:
        foreign_crm.create_schema(connection, schema)


def difference(part: str, declared: str, found: str) -> re.Pattern[str]:
    """The line of an error that sets one part of an index as declared against what was found."""
    return re.compile(rf"^ +{part} {{2,}}{re.escape(declared)} {{2,}}{re.escape(found)}$", re.MULTILINE)


def refuses(url: str, *arguments: str, exit_code: int) -> Result:
    """A command that has to refuse, and to change nothing at all."""
    with nothing_changes(url):
        result = run(*arguments, url=url)
    assert result.exit_code == exit_code, result
    assert result.stdout == ""
    return result


# A name of ours on something else ------------------------------------------------------------------------------------


class Trap(NamedTuple):
    """Something that carries a name of ours, and the part in which it is different."""

    made_by: str
    part: str
    declared: str
    found: str
    name: str = "ix_activity_type"


OPTED_OUT = "((flag_type)::text = 'opted_out'::text)"

TRAPS = {
    "another column": Trap("CREATE INDEX ix_activity_type ON activity (status)", "key", "activity_type", "status"),
    "another order of columns": Trap(
        "CREATE INDEX ix_webhook_event_processed ON webhook_event (event_type, processed)",
        "key",
        "processed, event_type",
        "event_type, processed",
        "ix_webhook_event_processed",
    ),
    "a column more": Trap(
        "CREATE INDEX ix_activity_type ON activity (activity_type, status)",
        "key",
        "activity_type",
        "activity_type, status",
    ),
    "a column less": Trap(
        "CREATE INDEX ix_webhook_event_processed ON webhook_event (processed)",
        "key",
        "processed, event_type",
        "processed",
        "ix_webhook_event_processed",
    ),
    "an expression": Trap(
        "CREATE INDEX ix_activity_type ON activity (lower(activity_type))",
        "key",
        "activity_type",
        "lower(activity_type::text)",
    ),
    "ascending": Trap(
        "CREATE INDEX ix_activity_conversation_created ON activity (conversation_id, created_at)",
        "key",
        "conversation_id, created_at DESC",
        "conversation_id, created_at",
        "ix_activity_conversation_created",
    ),
    "nulls last": Trap(
        "CREATE INDEX ix_activity_conversation_created ON activity (conversation_id, created_at DESC NULLS LAST)",
        "key",
        "conversation_id, created_at DESC",
        "conversation_id, created_at DESC NULLS LAST",
        "ix_activity_conversation_created",
    ),
    "a B-tree for a hash": Trap(
        "CREATE INDEX ix_contact_phone_hash ON contact (phone)", "method", "hash", "btree", "ix_contact_phone_hash"
    ),
    "a hash for a B-tree": Trap(
        "CREATE INDEX ix_activity_type ON activity USING hash (activity_type)", "method", "btree", "hash"
    ),
    "no predicate": Trap(
        "CREATE INDEX ix_contact_flag_opted_out ON contact_flag (flag_type, contact_id)",
        "predicate",
        "flag_type = 'opted_out'",
        "none",
        "ix_contact_flag_opted_out",
    ),
    "another predicate": Trap(
        "CREATE INDEX ix_contact_flag_opted_out ON contact_flag (flag_type, contact_id) WHERE flag_type <> 'opted_out'",
        "predicate",
        OPTED_OUT,
        "((flag_type)::text <> 'opted_out'::text)",
        "ix_contact_flag_opted_out",
    ),
    "a predicate too many": Trap(
        "CREATE INDEX ix_activity_type ON activity (activity_type) WHERE activity_type IS NOT NULL",
        "predicate",
        "none",
        "(activity_type IS NOT NULL)",
    ),
    "unique": Trap("CREATE UNIQUE INDEX ix_activity_type ON activity (activity_type)", "unique", "no", "yes"),
    "another collation": Trap(
        'CREATE INDEX ix_activity_type ON activity (activity_type COLLATE "POSIX")',
        "key",
        "activity_type",
        'activity_type COLLATE "POSIX"',
    ),
    "another operator class": Trap(
        "CREATE INDEX ix_activity_type ON activity (activity_type varchar_pattern_ops)",
        "key",
        "activity_type",
        "activity_type varchar_pattern_ops",
    ),
    "INCLUDE": Trap(
        "CREATE INDEX ix_activity_type ON activity (activity_type) INCLUDE (status)", "include", "none", "status"
    ),
    "a unique constraint": Trap(
        "ALTER TABLE activity ADD CONSTRAINT ix_activity_type UNIQUE (activity_type)", "unique", "no", "yes"
    ),
    "another table": Trap(
        "CREATE TABLE call (activity_type varchar(20)); CREATE INDEX ix_activity_type ON call (activity_type)",
        "table",
        "activity",
        "call",
    ),
    "a table": Trap("CREATE TABLE ix_activity_type (id integer)", "kind", "index", "table"),
    "a view": Trap("CREATE VIEW ix_activity_type AS SELECT 1 AS one", "kind", "index", "view"),
    "a materialized view": Trap(
        "CREATE MATERIALIZED VIEW ix_activity_type AS SELECT 1 AS one", "kind", "index", "materialized view"
    ),
    "a sequence": Trap("CREATE SEQUENCE ix_activity_type", "kind", "index", "sequence"),
    "a composite type": Trap("CREATE TYPE ix_activity_type AS (one integer)", "kind", "index", "composite type"),
}

SQLITE_TRAPS = {
    "another column": Trap("CREATE INDEX ix_activity_type ON activity (status)", "key", "activity_type", "status"),
    "ascending": TRAPS["ascending"],
    "descending": Trap(
        "CREATE INDEX ix_activity_type ON activity (activity_type DESC)", "key", "activity_type", "activity_type DESC"
    ),
    "an expression": Trap(
        "CREATE INDEX ix_activity_type ON activity (lower(activity_type))", "key", "activity_type", "(expression)"
    ),
    "partial": Trap(
        "CREATE INDEX ix_contact_flag_opted_out ON contact_flag (flag_type, contact_id) WHERE flag_type = 'opted_out'",
        "predicate",
        "none",
        "flag_type = 'opted_out'",
        "ix_contact_flag_opted_out",
    ),
    "unique": TRAPS["unique"],
    "another collation": Trap(
        "CREATE INDEX ix_activity_type ON activity (activity_type COLLATE NOCASE)",
        "key",
        "activity_type",
        "activity_type COLLATE NOCASE",
    ),
    "another table": Trap("CREATE INDEX ix_activity_type ON campaign (campaign_type)", "table", "activity", "campaign"),
    "a table": TRAPS["a table"],
    "a view": TRAPS["a view"],
}


def check_refusal(url: str, trap: Trap) -> None:
    """Up names the index, sets the part that is different side by side, says what to do, and changes nothing."""
    refused = refuses(url, "up", exit_code=4).stderr

    assert f"\n  {trap.name}\n" in refused
    assert difference(trap.part, trap.declared, trap.found).search(refused), refused
    assert refused.splitlines()[-1].endswith(
        f"ename or drop it if nobody needs it ({trap.name}), then: python cli.py up"
    )


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS.keys())
def test_a_name_of_ours_on_something_else_is_refused_with_the_difference(crm, trap):
    execute(crm, trap.made_by)

    check_refusal(crm, trap)


@pytest.mark.parametrize("trap", SQLITE_TRAPS.values(), ids=SQLITE_TRAPS.keys())
def test_a_name_of_ours_on_something_else_is_refused_on_sqlite_too(sqlite_crm, trap):
    execute(sqlite_crm, trap.made_by)

    check_refusal(sqlite_crm, trap)


def test_down_where_up_was_refused_has_nothing_to_roll_back(any_crm):
    execute(any_crm, TRAPS["ascending"].made_by, TRAPS["another column"].made_by)
    run("up", url=any_crm)
    with nothing_changes(any_crm):
        assert succeed("down", url=any_crm).lines[0].startswith("Nothing to roll back")


def test_all_differences_of_all_indexes_are_named_in_one_go(crm):
    execute(
        crm,
        "CREATE TABLE ix_conversation_contact_id (id integer)",
        "CREATE UNIQUE INDEX ix_contact_phone_hash ON contact (email) INCLUDE (phone) WHERE phone IS NOT NULL",
        TRAPS["ascending"].made_by,
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


def test_status_and_plan_show_what_stands_under_a_name_of_ours(crm):
    execute(crm, TRAPS["ascending"].made_by, TRAPS["a view"].made_by)
    status = run("status", "--json", url=crm).json()
    states = {each["name"]: each["state"] for each in status["indexes"]}
    plan = run("plan", url=crm)

    assert states["ix_activity_conversation_created"] == "different"
    assert states["ix_activity_type"] == "view"
    assert plan.exit_code == 4
    assert "created_at DESC" in plan.stderr


def test_a_refusal_as_json_lists_the_differences(crm):
    execute(crm, TRAPS["ascending"].made_by)
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
    assert len(ours(crm)) == 10
    assert run("status", url=crm).exit_code == 4


def test_an_index_that_was_replaced_by_hand_after_up_is_never_dropped_on_sqlite(sqlite_crm):
    prepare(sqlite_crm)
    execute(sqlite_crm, "DROP INDEX ix_activity_type", "CREATE INDEX ix_activity_type ON activity (status)")
    refused = refuses(sqlite_crm, "down", exit_code=4)

    assert difference("key", "activity_type", "status").search(refused.stderr)
    assert len(ours(sqlite_crm)) == 10


def test_an_index_that_says_the_same_in_other_words_is_kept(crm):
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


# What a cancelled build leaves ---------------------------------------------------------------------------------------


def cancel_while_a_writer_is_open(url: str, table: str, statement: str, timeout: str = "lock_timeout") -> None:
    """Send a concurrent build or drop that has to wait for an open transaction, until the server cancels it."""
    with closing(psycopg2.connect(url)) as writer, closing(connect(url)) as session:
        writer.cursor().execute(f"INSERT INTO {table} (id) VALUES (-1)")
        session.cursor().execute(f"SET {timeout} = '200ms'")
        with pytest.raises((psycopg2.errors.LockNotAvailable, psycopg2.errors.QueryCanceled)):
            session.cursor().execute(statement)


@pytest.mark.parametrize("timeout", ["lock_timeout", "statement_timeout"])
def test_an_invalid_index_of_ours_is_rebuilt(crm, timeout):
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
    assert ours(crm) == specified(crm)


def test_an_index_that_was_rebuilt_is_ours_and_dropped_by_down(crm):
    cancel_while_a_writer_is_open(
        crm, "activity", "CREATE INDEX CONCURRENTLY ix_activity_type ON activity (activity_type)"
    )
    succeed("up", url=crm)
    succeed("down", url=crm)

    assert ours(crm) == {}


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

    assert difference("key", "activity_type", "status").search(refused.stderr)
    assert broken(crm) == {"ix_activity_type"}


@pytest.mark.parametrize(("command", "left"), [("up", TEN_NAMES), ("down", set())])
def test_a_drop_that_was_cancelled_half_way_is_repaired_by_up_and_completed_by_down(crm, command, left):
    prepare(crm)
    cancel_while_a_writer_is_open(crm, "activity", "DROP INDEX CONCURRENTLY ix_activity_type")
    assert broken(crm) == {"ix_activity_type"}

    succeed(command, url=crm)

    assert broken(crm) == set()
    assert set(ours(crm)) == left


# Schemas -------------------------------------------------------------------------------------------------------------


def put_first_in_search_path(url: str, *schemas: str) -> None:
    """Set the search path that every new session starts with."""
    path = ", ".join(f'"{schema}"' for schema in schemas)
    execute(url, f"ALTER DATABASE {urlsplit(url).path[1:]} SET search_path = {path}")


def test_tables_in_the_first_schema_of_the_search_path_are_indexed_there(postgres_url):
    make_crm(postgres_url, "crm")
    put_first_in_search_path(postgres_url, "crm", "public")
    result = succeed("up", url=postgres_url)

    assert ours(postgres_url) == specified(postgres_url, "crm")
    assert "schema_revision" in relations_in("crm", postgres_url)
    assert relations_in("public", postgres_url) == set()
    assert "(schema crm)" in result.lines[-1]
    succeed("down", url=postgres_url)
    assert ours(postgres_url) == {}


def test_an_empty_schema_before_that_of_the_tables_stays_empty(crm):
    execute(crm, "CREATE SCHEMA crm")
    put_first_in_search_path(crm, "crm", "public")
    succeed("up", url=crm)

    assert ours(crm) == specified(crm)
    assert relations_in("crm", crm) == set()


def test_decoys_in_a_schema_before_that_of_the_tables_are_not_taken_for_ours(crm):
    execute(
        crm,
        "CREATE SCHEMA decoy",
        "CREATE TABLE decoy.activity (activity_type varchar(20), status varchar(20))",
        "CREATE INDEX ix_activity_openphone_id ON decoy.activity (status)",
        "CREATE TABLE decoy.ix_activity_type (id integer)",
        "CREATE VIEW decoy.ix_contact_phone_hash AS SELECT 1 AS one",
        "CREATE TABLE decoy.schema_revision (revision integer)",
        "CREATE TABLE decoy.pg_class (relname integer)",
    )
    put_first_in_search_path(crm, "decoy", "public", "pg_catalog")
    decoys = relations_in("decoy", crm)
    succeed("up", url=crm)
    built = {name for name in relations_in("public", crm) if name.startswith("ix_")}

    assert built == TEN_NAMES
    assert relations_in("decoy", crm) == decoys
    assert execute(crm, f"SELECT state FROM public.schema_revision WHERE revision = '{HEAD}'") == [("applied",)]
    succeed("down", url=crm)
    assert relations_in("decoy", crm) == decoys
    assert not relations_in("public", crm) & TEN_NAMES


def test_schema_chooses_a_schema_that_is_not_on_the_search_path(postgres_url):
    make_crm(postgres_url, "Our CRM")
    succeed("up", "--schema", "Our CRM", url=postgres_url)
    status = run("status", "--schema", "Our CRM", url=postgres_url)

    assert ours(postgres_url) == specified(postgres_url, '"Our CRM"')
    assert relations_in("public", postgres_url) == set()
    assert status.exit_code == 0
    succeed("down", "--schema", "Our CRM", url=postgres_url)
    assert ours(postgres_url) == {}


def test_schema_has_the_tables_of_an_empty_database_created_there(postgres_url):
    execute(postgres_url, "CREATE SCHEMA crm")
    succeed("up", "--schema", "crm", url=postgres_url)

    assert relations_in("public", postgres_url) == set()
    assert relations_in("crm", postgres_url) > SEVEN_TABLES | TEN_NAMES


def test_the_script_of_plan_works_in_the_chosen_schema(postgres_url):
    execute(postgres_url, "CREATE SCHEMA crm")
    script = succeed("plan", "--sql", "--schema", "crm", url=postgres_url).stdout
    run_script(script, postgres_url)

    assert relations_in("public", postgres_url) == set()
    assert run("status", "--schema", "crm", url=postgres_url).exit_code == 0


def test_tables_in_a_schema_off_the_search_path_are_pointed_at_and_none_are_made_in_public(postgres_url):
    make_crm(postgres_url, "crm")
    refused = refuses(postgres_url, "up", exit_code=1)

    assert "--schema crm" in refused.stderr
    assert relations_in("public", postgres_url) == set()


def test_a_schema_that_is_pointed_at_is_quoted_for_the_shell(postgres_url):
    make_crm(postgres_url, "Tenant A")

    (option,) = re.findall("add (--schema '.*')", refuses(postgres_url, "up", exit_code=1).stderr)
    succeed("up", *shlex.split(option), url=postgres_url)


def test_a_schema_that_is_not_there_is_wrong_usage(crm):
    refused = refuses(crm, "up", "--schema", "nowhere", exit_code=2)

    assert "nowhere" in refused.stderr
    assert "--schema" in refused.stderr


def test_two_schemas_in_one_database_are_migrated_each_on_its_own(postgres_url):
    make_crm(postgres_url, "one")
    make_crm(postgres_url, "two")
    succeed("up", "--schema", "one", url=postgres_url)
    assert not relations_in("two", postgres_url) & TEN_NAMES
    succeed("up", "--schema", "two", url=postgres_url)
    succeed("down", "--schema", "one", url=postgres_url)

    assert not relations_in("one", postgres_url) & TEN_NAMES
    assert relations_in("two", postgres_url) > TEN_NAMES


# Rights --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def role(superuser_url: str) -> Iterator[str]:
    """A role that may log in and owns nothing; made by a superuser, gone after the test with all that is its own."""
    with another_role(superuser_url, "GRANT USAGE, CREATE ON SCHEMA public TO {role}") as name:
        yield name


def me(url: str) -> str:
    """The role of the test itself."""
    return execute(url, "SELECT current_user")[0][0]


def hand_over(url: str, role: str, *names: str) -> None:
    """Make the role the owner of tables, as only a superuser may who is a member of neither role."""
    execute(url, *(f"ALTER TABLE {name} OWNER TO {role}" for name in names))


def refuses_role(role: str, url: str, *arguments: str) -> str:
    """What is said to a role that may not do this, when nothing changes."""
    with nothing_changes(url):
        result = run(*arguments, url=as_role(url, role))
    assert result.exit_code == 1, result
    return result.stderr


def test_a_role_that_owns_five_of_the_six_tables_is_told_which_one_it_does_not(superuser_url, crm, role):
    hand_over(superuser_url, role, *SIX_INDEXED_TABLES - {"contact_flag"})
    said = refuses_role(role, crm, "up")

    assert re.findall(r"^  - (.*)", said, re.MULTILINE) == [
        f"table public.contact_flag belongs to role {me(crm)}, and only its owner can index it"
    ]


def test_a_role_that_owns_all_six_tables_needs_no_more(superuser_url, crm, role):
    hand_over(superuser_url, role, *SIX_INDEXED_TABLES)
    succeed("up", url=as_role(crm, role))
    assert ours(crm) == specified(crm)
    succeed("down", "--no-alembic", url=as_role(crm, role))
    assert ours(crm) == {}


def test_policies_and_constraints_of_a_table_do_not_make_its_partial_index_another_one(superuser_url, crm, role):
    hand_over(superuser_url, role, *SIX_INDEXED_TABLES)
    execute(
        superuser_url,
        "DELETE FROM contact_flag",
        "ALTER TABLE contact_flag ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE contact_flag FORCE ROW LEVEL SECURITY",
        "ALTER TABLE contact_flag ADD CHECK (flag_type <> 'opted_out')",
        "CREATE POLICY positive ON contact_flag USING (contact_id > 0)",
        f"ALTER ROLE {role} SET constraint_exclusion = on",
    )
    url = as_role(crm, role)
    succeed("up", url=url)
    assert run("check", url=url).exit_code == 0
    assert succeed("up", url=url).announced() == []
    succeed("down", "--no-alembic", url=url)

    assert ours(crm) == {}


def test_what_is_to_be_granted_is_named_as_sql_writes_it(superuser_url, crm):
    role, schema = f'web-app {uuid.uuid4().hex[:8]} "x"', 'Te "nant'
    as_sql = '"{}"'.format(role.replace('"', '""'))
    execute(superuser_url, f"CREATE ROLE {as_sql} LOGIN PASSWORD '{PASSWORD}'")
    execute(crm, 'CREATE SCHEMA "Te ""nant"')
    execute(crm, *(f'ALTER TABLE {table} SET SCHEMA "Te ""nant"' for table in SIX_INDEXED_TABLES))
    execute(crm, f'GRANT USAGE ON SCHEMA "Te ""nant" TO {as_sql}')
    try:
        url = as_role(crm, role)
        (grant,) = re.findall(r"GRANT CREATE .*", run("up", "--schema", schema, url=url).stderr)
        assert grant == f'GRANT CREATE ON SCHEMA "Te ""nant" TO {as_sql};'
        execute(crm, grant)
    finally:
        execute(superuser_url, f"DROP OWNED BY {as_sql} CASCADE", f"DROP ROLE {as_sql}")


def test_a_member_of_the_owning_role_may_index(superuser_url, crm, role):
    execute(superuser_url, f"CREATE ROLE {role}_owner", f"GRANT {role}_owner TO {role}")
    hand_over(superuser_url, f"{role}_owner", *SIX_INDEXED_TABLES)
    execute(superuser_url, f"GRANT USAGE, CREATE ON SCHEMA public TO {role}_owner")
    result = run("up", url=as_role(crm, role))
    execute(superuser_url, f"DROP OWNED BY {role}_owner CASCADE", f"DROP ROLE {role}_owner")

    assert result.exit_code == 0, result
    assert len(result.announced()) == 10


def test_a_role_that_may_not_create_in_the_schema_is_told_what_to_grant(superuser_url, crm, role):
    hand_over(superuser_url, role, *SIX_INDEXED_TABLES)
    execute(crm, f"REVOKE CREATE ON SCHEMA public FROM PUBLIC, {role}")

    assert f"GRANT CREATE ON SCHEMA public TO {role}" in refuses_role(role, crm, "up")


def test_a_role_that_may_only_read_can_ask_for_status_and_plan(crm, role):
    execute(crm, f"REVOKE CREATE ON SCHEMA public FROM PUBLIC, {role}")
    with nothing_changes(crm):
        assert run("status", url=as_role(crm, role)).exit_code == 3
        assert run("plan", url=as_role(crm, role)).exit_code == 1


def test_a_role_whose_sessions_are_read_only_is_told_so(superuser_url, crm, role):
    hand_over(superuser_url, role, *SIX_INDEXED_TABLES)
    execute(superuser_url, f"ALTER ROLE {role} SET default_transaction_read_only = on")
    said = refuses_role(role, crm, "up")

    assert re.findall(r"^  - .*", said, re.MULTILINE) == [
        "  - the session is read-only: default_transaction_read_only is on for this role, database or server"
    ]


def test_a_role_that_owns_nothing_cannot_take_off_what_another_built(crm, role):
    succeed("up", url=crm)
    execute(crm, f"GRANT SELECT ON schema_revision, contact_flag TO {role}")
    said = refuses_role(role, crm, "down")

    assert "may not write public.schema_revision" in said
    assert all(f"table public.{table} belongs to role {me(crm)}" in said for table in SIX_INDEXED_TABLES)


@pytest.mark.parametrize("command", ["status", "down"])
def test_a_role_that_may_not_read_the_record_of_revisions_is_told_so_in_words(crm, role, command):
    succeed("up", url=crm)
    said = refuses_role(role, crm, command)

    assert "schema_revision" in said
    assert role in said
    assert "ProgrammingError" not in said


def test_a_role_that_may_not_read_the_table_of_a_partial_index_is_told_so_in_words(crm, role):
    succeed("up", url=crm)
    execute(crm, f"GRANT SELECT ON schema_revision TO {role}")
    with nothing_changes(crm):
        result = run("status", url=as_role(crm, role))

    assert result.exit_code == 0 or ("contact_flag" in result.stderr and role in result.stderr)
    assert "ProgrammingError" not in result.stderr


# Tables that are not what they should be -----------------------------------------------------------------------------


def problems(url: str, *arguments: str) -> list[str]:
    """What a refused run complains about, when nothing changes."""
    return re.findall(r"^  - (.*)", refuses(url, *arguments, exit_code=1).stderr, re.MULTILINE)


def qualified(name: str, url: str) -> str:
    """A table as messages name it."""
    return f"public.{name}" if is_postgres(url) else name


def test_a_missing_table_is_named(any_crm):
    execute(any_crm, "DROP TABLE webhook_event")

    assert problems(any_crm, "up") == [f"table {qualified('webhook_event', any_crm)} is missing"]


def test_a_missing_column_is_named(any_crm):
    execute(any_crm, "ALTER TABLE webhook_event RENAME COLUMN processed TO done")

    assert problems(any_crm, "up") == [f"table {qualified('webhook_event', any_crm)} has no column processed"]


def test_a_view_in_place_of_a_table_is_refused(any_crm):
    execute(
        any_crm,
        "ALTER TABLE webhook_event RENAME TO delivery",
        "CREATE VIEW webhook_event AS SELECT * FROM delivery",
    )
    (problem,) = problems(any_crm, "up")

    assert problem.startswith(f"{qualified('webhook_event', any_crm)} is a view")


def test_all_problems_come_at_once(any_crm):
    execute(
        any_crm,
        "DROP TABLE webhook_event",
        "DROP TABLE contact_flag",
        "ALTER TABLE activity RENAME COLUMN openphone_id TO provider_id",
        "ALTER TABLE activity RENAME COLUMN created_at TO made_at",
    )
    activity = qualified("activity", any_crm)

    assert sorted(problems(any_crm, "up")) == sorted(
        [
            f"table {qualified('webhook_event', any_crm)} is missing",
            f"table {qualified('contact_flag', any_crm)} is missing",
            f"table {activity} has no column openphone_id",
            f"table {activity} has no column created_at",
        ]
    )


def test_problems_about_the_role_and_the_tables_come_at_once(superuser_url, crm, role):
    hand_over(superuser_url, role, *SIX_INDEXED_TABLES - {"conversation"})
    execute(
        superuser_url,
        "DROP TABLE webhook_event",
        f"REVOKE CREATE ON SCHEMA public FROM PUBLIC, {role}",
        f"ALTER ROLE {role} SET default_transaction_read_only = on",
    )
    said = refuses_role(role, crm, "up")

    assert len(re.findall(r"^  - ", said, re.MULTILINE)) == 4
    for problem in ("webhook_event is missing", "conversation belongs to", "GRANT CREATE", "read-only"):
        assert problem in said


def test_a_database_with_tables_but_none_of_ours_is_refused(database_url):
    execute(database_url, "CREATE TABLE product (id integer)", "CREATE TABLE price (id integer)")

    assert sorted(problems(database_url, "up")) == sorted(
        f"table {qualified(name, database_url)} is missing" for name in SIX_INDEXED_TABLES
    )
    assert tables(database_url) == {"product", "price"}


def test_a_partitioned_table_is_refused(crm):
    execute(
        crm,
        "ALTER TABLE webhook_event RENAME TO delivery",
        "CREATE TABLE webhook_event (LIKE delivery) PARTITION BY RANGE (created_at)",
        "CREATE TABLE webhook_event_2025 PARTITION OF webhook_event FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
    )
    (problem,) = problems(crm, "up")

    assert problem.startswith("public.webhook_event is a partitioned table")


def test_a_table_of_revisions_that_is_another_tools_is_left_alone(any_crm):
    execute(any_crm, "CREATE TABLE schema_revision (version integer)", "INSERT INTO schema_revision VALUES (7)")
    refused = refuses(any_crm, "up", exit_code=1)

    assert "schema_revision is not this tool's" in refused.stderr
    assert execute(any_crm, "SELECT version FROM schema_revision") == [(7,)]


# SQLite files --------------------------------------------------------------------------------------------------------

PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2


def as_anybody() -> None:
    """Give up what lets root write where nobody may: file permissions then count for root too."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "cannot give up the rights of root")


def run_as_anybody(*arguments: str, url: str) -> Result:
    """Run a command for which the permissions of a file mean something, even if the tests are run by root."""
    return run(*arguments, url=url, before=as_anybody if os.geteuid() == 0 and sys.platform == "linux" else None)


def test_a_file_that_may_not_be_written_is_refused(sqlite_crm):
    file_of(sqlite_crm).chmod(0o444)
    with nothing_changes(sqlite_crm):
        refused = run_as_anybody("up", url=sqlite_crm)
        status = run_as_anybody("status", url=sqlite_crm)

    assert refused.exit_code == 1
    assert f"the file {file_of(sqlite_crm)} cannot be written" in refused.stderr
    assert status.exit_code == 3


def test_a_folder_that_may_not_be_written_is_refused(sqlite_crm):
    folder = file_of(sqlite_crm).parent
    folder.chmod(0o555)
    with nothing_changes(sqlite_crm):
        refused = run_as_anybody("up", url=sqlite_crm)
        status = run_as_anybody("status", url=sqlite_crm)
    folder.chmod(0o755)

    assert refused.exit_code == 1
    assert f"the folder {folder} cannot be written" in refused.stderr
    assert status.exit_code == 3


def test_behind_a_symbolic_link_the_real_folder_counts(sqlite_crm, tmp_path):
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "crm.db").symlink_to(file_of(sqlite_crm))
    url = f"sqlite:///{folder / 'crm.db'}"
    real = file_of(sqlite_crm).parent
    real.chmod(0o555)
    refused = run_as_anybody("up", url=url)
    real.chmod(0o755)

    assert refused.exit_code == 1
    assert f"the folder {real} cannot be written" in refused.stderr

    folder.chmod(0o555)
    done = run_as_anybody("up", url=url)
    folder.chmod(0o755)

    assert done.exit_code == 0, done.stderr
    assert ours(sqlite_crm) == specified(sqlite_crm)


def test_no_file_is_made_in_a_folder_that_may_not_be_written(sqlite_url):
    folder = file_of(sqlite_url).parent
    folder.chmod(0o555)
    with nothing_changes(sqlite_url):
        refused = run_as_anybody("up", url=sqlite_url)
    folder.chmod(0o755)

    assert refused.exit_code in (1, 7)
    assert str(folder) in refused.stderr


def test_a_trigger_that_is_called_like_an_index_is_none_of_our_business(sqlite_crm):
    execute(
        sqlite_crm,
        "CREATE TRIGGER ix_activity_type AFTER INSERT ON activity BEGIN UPDATE setting SET value = 1; END",
    )
    succeed("up", url=sqlite_crm)

    assert ours(sqlite_crm) == specified(sqlite_crm)
    assert run("status", url=sqlite_crm).exit_code == 0


def test_names_are_compared_without_regard_to_case_as_sqlite_does(sqlite_crm):
    execute(sqlite_crm, "CREATE INDEX IX_Activity_Type ON Activity (Activity_Type)")
    result = succeed("up", url=sqlite_crm)

    assert "  ix_activity_type kept: it stood there already" in result.lines
    succeed("down", url=sqlite_crm)
    assert [name for name in indexes(sqlite_crm) if name.lower() in TEN_NAMES] == ["IX_Activity_Type"]


@contextmanager
def long_read(url: str) -> Iterator[None]:
    """An application that holds a read transaction open on the file: nobody can commit meanwhile."""
    with closing(sqlite3.connect(file_of(url))) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM setting").fetchone()
        yield


def test_a_run_that_cannot_be_committed_leaves_the_file_as_it_was_and_says_so(sqlite_crm):
    with nothing_changes(sqlite_crm), long_read(sqlite_crm):  # in this order: closing a file gives up its locks
        result = run("up", "--no-wait", url=sqlite_crm)

    assert result.exit_code == 5
    assert "a reader holds the file" in result.stderr


def test_a_revision_is_not_called_applied_before_it_is_committed(sqlite_crm):
    with long_read(sqlite_crm):
        result = run("up", "--no-wait", url=sqlite_crm)

    assert result.exit_code == 5
    assert f"{HEAD}  applied" not in result.stdout
