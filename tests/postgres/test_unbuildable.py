"""All that a database would refuse to index is reported before the first change, at once."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg2
import pytest
from command import (
    broken,
    created_indexes,
    execute,
    file_of,
    nothing_changes,
    refuses,
    run,
    specified,
    succeed,
)
from kinds import runner_of
from roles import OWNER

from indexer import Column, Expression, Index, Variant, desc
from indexer.connection import connect
from indexer.errors import PreflightFailed
from models import TABLES

# Types ---------------------------------------------------------------------------------------------------------------


def give_types(url: str, *columns: tuple[str, str, str]) -> None:
    """Give columns other types: table, column, type."""
    for table, column, column_type in columns:
        default = f"ALTER TABLE {table} ALTER {column} DROP DEFAULT, ALTER {column} DROP NOT NULL"
        execute(url, default, f"ALTER TABLE {table} ALTER {column} TYPE {column_type} USING NULL")


def test_up_refuses_and_lists_every_column_whose_type_cannot_be_indexed(base_url):
    execute(
        base_url,
        "CREATE DOMAIN document AS json",
        "CREATE TYPE pair AS (key text, value json)",
        "CREATE TYPE flag AS ENUM ('vip')",
    )
    give_types(
        base_url,
        ("contact", "phone", "json"),
        ("activity", "openphone_id", "json[]"),
        ("activity", "activity_type", "document"),
        ("webhook_event", "event_type", "point"),
        ("webhook_event", "processed", "pair"),
        ("campaign_membership", "status", "xml"),
        ("contact_flag", "flag_type", "flag"),
    )
    with nothing_changes(base_url):
        plan, refused = run("plan", url=base_url), run("up", url=base_url)

    assert (plan.exit_code, refused.exit_code) == (1, 1)
    for column, type_name, method in (
        ("contact.phone", "json", "hash"),
        ("activity.openphone_id", "json[]", "btree"),
        ("activity.activity_type", "public.document", "btree"),
        ("webhook_event.event_type", "point", "btree"),
        ("webhook_event.processed", "public.pair", "btree"),
        ("campaign_membership.status", "xml", "btree"),
    ):
        assert f"public.{column} has type {type_name}, and {method} has no operator class for it" in refused.stderr
    assert 'invalid input value for enum public.flag: "opted_out"' in refused.stderr
    assert refused.stderr.count("\n  - ") == 7


def test_columns_of_every_indexable_type_are_indexed(superuser_url, base_url):
    execute(
        base_url,
        "CREATE DOMAIN number AS varchar(20) CHECK (VALUE <> '')",
        "CREATE DOMAIN numbers AS number",
        "CREATE TYPE pair AS (key text, value integer[])",
        "CREATE TYPE flag AS ENUM ('opted_out')",
    )
    give_types(
        base_url,
        ("contact", "phone", "numbers"),
        ("activity", "openphone_id", "flag[]"),
        ("activity", "activity_type", "int4range"),
        ("webhook_event", "event_type", "inet"),
        ("webhook_event", "processed", "pair"),
        ("campaign_membership", "status", "jsonb"),
        ("contact_flag", "flag_type", "flag"),
    )
    succeed("up", url=base_url)

    assert len(created_indexes(base_url)) == 10
    assert broken(base_url) == set()


def test_a_range_is_hashed_only_if_the_type_of_its_bounds_is(base_url):
    execute(
        base_url,
        "CREATE TYPE prices AS RANGE (subtype = money)",
        "CREATE TYPE weights AS RANGE (subtype = float8)",
    )
    give_types(base_url, ("contact", "phone", "prices[]"), ("activity", "activity_type", "prices"))
    refused = refuses(base_url, "up", exit_code=1)
    assert "public.contact.phone has type public.prices[], and hash has no operator class for it" in refused.stderr
    assert refused.stderr.count("\n  - ") == 1
    give_types(base_url, ("contact", "phone", "weights[]"))
    succeed("up", url=base_url)


@pytest.fixture
def problems(base_url: str) -> Iterator[Callable[[Index], list[str]]]:
    """Yield a function that returns why the server would refuse an index on the base tables."""
    execute(base_url, "CREATE TYPE mood AS ENUM ('good')", "CREATE DOMAIN answer AS integer CHECK (VALUE > 0)")
    execute(base_url, "ALTER TABLE activity ADD COLUMN answer answer, ADD COLUMN key uuid")
    execute(base_url, "ALTER TABLE activity ADD COLUMN last_seen timestamptz, ADD COLUMN mood mood")
    migrator = connect(base_url)
    migrator.settle(["contact", "activity"])
    with closing(migrator.database):
        yield lambda index: migrator.unbuildable([index], {})


def test_what_the_server_lacks_is_refused_before_an_empty_database_gets_its_tables(postgres_url):
    column = Column("phone", opclass="gin_trgm_ops")
    lacking = (
        Index("ix_a", "contact", (column,), on_postgresql=Variant("gin")),
        Index("ix_b", "contact", ("phone",), on_postgresql=Variant("bloom")),
        Index("ix_c", "contact", (Column("phone", collation="klingon"), Expression("lower(email)"))),
    )
    with (
        runner_of(postgres_url, *lacking, models=TABLES) as runner,
        nothing_changes(postgres_url),
        pytest.raises(PreflightFailed) as refused,
    ):
        runner.up()
    assert [problem.partition(",")[0] for problem in refused.value.problems] == [
        "ix_b needs access method bloom",
        "ix_a needs operator class gin_trgm_ops",
        "ix_c needs collation klingon",
    ]


METHODS = {
    "two columns": (Index("ix", "contact", ("phone", "email"), on_postgresql=Variant("hash")), "hash takes one"),
    "descending": (Index("ix", "contact", (desc("phone"),), on_postgresql=Variant("hash")), "hash keeps no order"),
    "unique": (Index("ix", "contact", ("phone",), unique=True, on_postgresql=Variant("hash")), "hash cannot be"),
    "no such method": (Index("ix", "contact", ("phone",), on_postgresql=Variant("bitmap")), "does not have"),
    "method of tables": (Index("ix", "contact", ("phone",), on_postgresql=Variant("heap")), "access method heap"),
    "no class": (Index("ix", "contact", ("phone",), on_postgresql=Variant("gin")), "gin has no operator class"),
    "too many": (Index("ix", "contact", ("phone",) * 33), "an index can have 32"),
    "method of an extension": (
        Index("ix", "contact", ("phone",), on_postgresql=Variant("bloom")),
        "ix needs access method bloom, which this database does not have: CREATE EXTENSION bloom",
    ),
    "class of an extension": (
        Index("ix", "contact", (Column("phone", opclass="gin_trgm_ops"),), on_postgresql=Variant("gin")),
        "ix needs operator class gin_trgm_ops, which this database does not have: CREATE EXTENSION pg_trgm",
    ),
    "class of an extension for text": (
        Index("ix", "contact", ("phone",), on_postgresql=Variant("gin")),
        "CREATE EXTENSION pg_trgm, and name its gin_trgm_ops with opclass",
    ),
    "class of an extension for numbers": (
        Index("ix", "contact", ("id",), on_postgresql=Variant("gist")),
        "gist has no operator class for it: CREATE EXTENSION btree_gist",
    ),
    "class of an extension for numbers by name": (
        Index("ix", "contact", (Column("id", opclass="gist_int4_ops"),), on_postgresql=Variant("gist")),
        "ix needs operator class gist_int4_ops, which this database does not have: CREATE EXTENSION btree_gist",
    ),
    "class of an extension with the name of a B-tree's": (
        Index("ix", "contact", (Column("id", opclass="int4_ops"),), on_postgresql=Variant("gin")),
        "int4_ops, which is not one of access method gin: CREATE EXTENSION btree_gin",
    ),
    "no class for jsonb": (
        Index("ix", "contact", (Expression("contact_metadata::jsonb"),), on_postgresql=Variant("gist")),
        "gist has no operator class for it: use access method gin instead",
    ),
    "no class for an array": (
        Index("ix", "contact", (Expression("ARRAY[id]"),), on_postgresql=Variant("spgist")),
        "spgist has no operator class for it: use access method gin instead",
    ),
    "misspelt class": (
        Index("ix", "contact", (Column("phone", opclass="text_patern_ops"),)),
        "does not have: text_patern_ops may be text_pattern_ops",
    ),
    "misspelt method": (
        Index("ix", "contact", ("phone",), on_postgresql=Variant("btre")),
        "does not have: btre may be btree",
    ),
    "misspelt collation": (
        Index("ix", "contact", (Column("phone", collation="POSX"),)),
        "does not have: POSX may be POSIX",
    ),
    "class that is not the default": (
        Index("ix", "contact", (Expression("inet '::1'"),), on_postgresql=Variant("gist")),
        "gist has no default operator class for it: name one with opclass, such as inet_ops",
    ),
    "class of another method": (
        Index("ix", "contact", (Column("phone", opclass="jsonb_path_ops"),)),
        "operator class jsonb_path_ops, which is not one of access method btree",
    ),
    "class for another type": (
        Index("ix", "contact", (Column("id", opclass="text_pattern_ops"),)),
        "operator class text_pattern_ops, which does not take the type of its column",
    ),
    "class for an expression of another type": (
        Index("ix", "contact", (Expression("lower(phone)", opclass="int4_ops"),)),
        "operator class int4_ops, which does not take the type of its column",
    ),
    "collation": (
        Index("ix", "contact", (Column("phone", collation="klingon"),)),
        "ix needs collation klingon, which this database does not have",
    ),
    "collation of a number": (
        Index("ix", "contact", (Column("id", collation="C"),)),
        "public.contact.id has type integer, and takes no collation",
    ),
    "INCLUDE": (
        Index("ix", "contact", ("phone",), include=("email",), on_postgresql=Variant("hash")),
        "access method hash stores none beside the key",
    ),
    "order of NULLs": (
        Index("ix", "contact", (Column("phone", nulls="first"),), on_postgresql=Variant("hash")),
        "ix has an order of NULLs, and access method hash keeps no order",
    ),
    "unknown parameter": (
        Index("ix", "contact", ("phone",), on_postgresql=Variant(storage={"fastupdate": True})),
        "ix has storage parameter fastupdate, and access method btree has only fillfactor",
    ),
    "value of a parameter": (
        Index("ix", "contact", ("phone",), on_postgresql=Variant(storage={"fillfactor": 5})),
        "ix has fillfactor = 5, which has to be a number from 10 to 100",
    ),
}
PREDICATES = {
    "now()": ("created_at > now() - interval '90 days'", "can change: remove it from the predicate"),
    "CURRENT_DATE": ("created_at > CURRENT_DATE", "uses current_date, whose result can change"),
    "time zone": ("last_seen::date > '2025-01-01'", "whose result can change, with the time zone"),
    "formatting": ("to_char(created_at, 'YYYY') = '2025'", "uses to_char, whose result can change"),
    "two kinds of time": ("created_at > last_seen", "whose result can change, with the time zone"),
    "now in a literal": ("last_seen > 'now'", "uses 'now', which is the time at which it is read"),
    "today in a literal": ("created_at > 'Today 12:00'::timestamp", "uses 'Today 12:00', which is the time"),
    "literal without a zone": (
        "body <> '1' AND last_seen > '2025-01-01'",
        "uses '2025-01-01', whose meaning depends on TimeZone: write the zone, as in '2024-01-01 00:00+00'",
    ),
    "literal in another order": (
        "created_at > '01/02/2025'",
        "uses '01/02/2025', whose meaning depends on DateStyle: write the year first",
    ),
    "random()": ("random() > 0.5", "uses random"),
    "missing column": ("deleted_at IS NULL", 'column "deleted_at" does not exist'),
    "other type": ("created_at = 7", "operator does not exist"),
    "operator of an extension": ("ARRAY[id] # 3 = 1", "an extension's operator is written OPERATOR(schema.#)"),
    "subquery": ("id = (SELECT 1)", "a subquery, an aggregate"),
    "aggregate": ("count(*) > 1", "a subquery, an aggregate"),
    "not a condition": ("id", "must be type boolean, not type integer"),
}


EXPRESSIONS = {
    "missing column": ("lower(nickname)", 'does not work on public.activity: column "nickname" does not exist'),
    "missing function": ("fold(activity_type)", "function fold(character varying) does not exist"),
    "other type": ("lower(id)", "function lower(integer) does not exist"),
    "formatting": ("to_char(created_at, 'YYYY')", "can change: call an IMMUTABLE function instead, such as date_part"),
    "joining": ("concat(activity_type, status)", "can change: write || and coalesce instead"),
    "another function": ("to_json(id) ->> 'a'", "can change: call an IMMUTABLE function instead, or remove it from"),
    "time zone": ("last_seen::date", "whose result can change, with the time zone"),
    "subquery": ("(SELECT 1)", "a subquery, an aggregate"),
    "no class": ("point(id, id)", "has type point, and btree has no operator class for it: cast it to another type"),
}


@pytest.mark.parametrize(("sql", "said"), EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_an_expression_that_no_index_can_have_is_a_problem(problems, sql, said):
    (problem,) = problems(Index("ix", "activity", (Expression(sql),)))

    assert problem.startswith(f"the expression {sql} of ix ")
    assert said in problem


@pytest.mark.parametrize(("index", "said"), METHODS.values(), ids=METHODS)
def test_an_index_that_the_access_method_does_not_support_is_a_problem(problems, index, said):
    (problem,) = problems(index)
    assert said in problem


@pytest.mark.parametrize(("where", "said"), PREDICATES.values(), ids=PREDICATES)
def test_a_predicate_that_no_index_can_have_is_a_problem(problems, where, said):
    index = Index("ix", "activity", ("id",), on_postgresql=Variant(where=where))
    (problem,) = problems(index)

    assert problem.startswith("the predicate of ix ")
    assert said in problem


FINE = (
    "activity_type = 'call' AND status IS NOT NULL",
    "created_at > '2025-01-01'",
    "last_seen > '2025-01-01 00:00+00' AND created_at < '2025-01-31' AND last_seen < 'infinity'",
    "created_at - interval '1 day 2:00' > '2025-01-01' AND body = 'now'",
    "date_trunc('day', created_at) > '2025-01-01'",
    "duration_seconds BETWEEN 1 AND 9 OR 1 / duration_seconds = 0",
    "mood = 'good' AND answer = 42",
    "mood IN ('good') AND key IS DISTINCT FROM '00000000-0000-0000-0000-000000000000'",
    "to_numbers->>0 = '+1'",
    "body LIKE '%call%' AND lower(email_from) ~ '^a' AND length(body) < 9",
    "CASE activity_type WHEN 'call' THEN true ELSE GREATEST(1, id) = 2 END",
    "(duration_seconds, id) > (1, 2)",
    "NULLIF(duration_seconds, 0) > 9",
    "true",
)


def test_a_predicate_that_an_index_can_have_is_no_problem(problems, postgres_url):
    for number, where in enumerate(FINE):
        index = Index(f"ix_{number}", "activity", ("id",), on_postgresql=Variant(where=where))
        execute(postgres_url, f"CREATE INDEX ix_{number} ON activity (id) WHERE {where}")
        assert problems(index) == [], where


def test_a_missing_table_or_column_is_not_reported_here(problems):
    assert problems(Index("ix", "nowhere", ("a",), on_postgresql=Variant(where="a = 1"))) == []
    assert problems(Index("ix", "contact", ("nowhere",))) == []


def test_a_virtual_generated_column_is_named(base_url):
    with suppress(psycopg2.Error):  # before version 18 there are none
        execute(
            base_url,
            "ALTER TABLE contact DROP COLUMN phone",
            "ALTER TABLE contact ADD COLUMN phone text GENERATED ALWAYS AS ('+' || last_name) VIRTUAL",
        )
    result = run("up", url=base_url)

    assert result.exit_code == 1
    named = "public.contact.phone is a virtual generated column", "table public.contact has no column phone"
    assert any(name in result.stderr for name in named)


def test_a_stored_generated_column_is_indexed(base_url):
    execute(
        base_url,
        "ALTER TABLE contact DROP COLUMN phone",
        "ALTER TABLE contact ADD COLUMN phone text GENERATED ALWAYS AS ('+' || last_name) STORED",
    )
    succeed("up", url=base_url)


def test_up_refuses_with_the_grant_if_the_role_may_not_use_the_default_tablespace(superuser_url, postgres_url):
    """Only a superuser creates tablespaces."""
    name = postgres_url.rpartition("/")[2]
    try:
        execute(superuser_url, "SET allow_in_place_tablespaces = on", f"CREATE TABLESPACE {name} LOCATION ''")
    except psycopg2.Error as error:
        pytest.skip(f"no tablespace without a directory of its own: {error}")
    execute(superuser_url, f"ALTER DATABASE {name} SET default_tablespace = {name}")
    try:
        with nothing_changes(postgres_url):
            refused = run("up", url=postgres_url)
        assert refused.exit_code == 1
        grant = f"GRANT CREATE ON TABLESPACE {name} TO {OWNER}"
        assert grant in refused.stderr
        execute(superuser_url, grant)
        succeed("up", url=postgres_url)
        succeed("down", url=postgres_url)
    finally:
        execute(superuser_url, f"ALTER DATABASE {name} RESET default_tablespace")
        execute(superuser_url, f"DROP OWNED BY {OWNER} CASCADE")
        execute(superuser_url, f"DROP TABLESPACE {name}")


# What cannot be known before -----------------------------------------------------------------------------------------

LONG = "SELECT string_agg(md5(i::text), '') FROM generate_series(1, 400) AS i"


def test_one_index_that_cannot_be_built_does_not_stop_the_others(base_url):
    execute(
        base_url,
        "ALTER TABLE activity ALTER openphone_id TYPE text, ALTER activity_type TYPE text",
        f"INSERT INTO activity (openphone_id, activity_type) SELECT long, long FROM ({LONG}) AS made (long)",
    )
    failed = run("up", url=base_url)

    assert failed.exit_code == 1
    assert len(created_indexes(base_url)) == 8
    assert broken(base_url) == set()
    for name in ("ix_activity_openphone_id", "ix_activity_type"):
        assert f"Building {name} failed: index row" in failed.stderr
    assert "Shorten the values that are too long" in failed.stderr
    assert run("status", url=base_url).exit_code == 3
    execute(base_url, "UPDATE activity SET openphone_id = '', activity_type = ''")
    succeed("up", url=base_url)
    assert len(created_indexes(base_url)) == 10


# SQLite --------------------------------------------------------------------------------------------------------------


def test_up_refuses_an_index_on_a_collation_that_only_the_application_has(sqlite_base_url):
    with closing(sqlite3.connect(file_of(sqlite_base_url))) as application:
        application.create_collation("german", lambda one, other: (one > other) - (one < other))
        application.execute("ALTER TABLE contact ADD COLUMN other TEXT COLLATE german")
        application.execute("ALTER TABLE contact RENAME COLUMN phone TO former_phone")
        application.execute("ALTER TABLE contact RENAME COLUMN other TO phone")
        application.commit()
    with nothing_changes(sqlite_base_url):
        plan, refused = run("plan", url=sqlite_base_url), run("up", url=sqlite_base_url)

    assert (plan.exit_code, refused.exit_code) == (1, 1)
    assert "ix_contact_phone_hash cannot be built on contact: no such collation sequence: german" in refused.stderr


def test_up_refuses_to_index_a_virtual_table(sqlite_base_url):
    execute(
        sqlite_base_url,
        "ALTER TABLE webhook_event RENAME TO former",
        "CREATE VIRTUAL TABLE webhook_event USING fts5(processed, event_type)",
    )
    with nothing_changes(sqlite_base_url):
        planned, refused = run("plan", url=sqlite_base_url), run("up", url=sqlite_base_url)

    assert (planned.exit_code, refused.exit_code) == (1, 1)
    assert "webhook_event is a virtual table, not an ordinary table" in planned.stderr
    assert "webhook_event is a virtual table, not an ordinary table" in refused.stderr


def test_a_virtual_table_and_a_broken_view_do_not_fail_any_command(sqlite_base_url):
    with closing(sqlite3.connect(file_of(sqlite_base_url))) as application:
        application.execute("PRAGMA writable_schema = on")
        row = "('table', 'places', 'places', 0, 'CREATE VIRTUAL TABLE places USING its_own(a)')"
        application.execute(f"INSERT INTO sqlite_master VALUES {row}")
        application.execute("CREATE VIEW broken AS SELECT lost FROM nowhere")
        application.commit()
    for command in ("plan", "up", "check", "status", "verify", "down"):
        succeed(command, url=sqlite_base_url)


def test_up_refuses_to_index_a_view_of_a_dropped_table(sqlite_base_url):
    execute(sqlite_base_url, "DROP TABLE webhook_event", "CREATE VIEW webhook_event AS SELECT lost FROM nowhere")
    refused = run("up", url=sqlite_base_url)

    assert refused.exit_code == 1
    assert "webhook_event is a view, not an ordinary table" in refused.stderr


@pytest.mark.parametrize(
    ("column", "index", "exit_code"),
    [("BINARY", "binary", 0), ("NOCASE", "nocase", 0), ("NOCASE", "BINARY", 4), ("BINARY", "NOCASE", 4)],
)
def test_an_index_with_the_columns_own_collation_counts_as_the_same(sqlite_base_url, column, index, exit_code):
    execute(
        sqlite_base_url,
        "DROP TABLE webhook_event",
        f"CREATE TABLE webhook_event (id INTEGER PRIMARY KEY, processed, event_type TEXT COLLATE {column})",
        f"CREATE INDEX ix_webhook_event_event_type ON webhook_event (event_type COLLATE {index})",
    )
    assert run("up", url=sqlite_base_url).exit_code == exit_code


def test_text_that_is_not_utf8_does_not_fail_any_command(sqlite_head_url):
    execute(
        sqlite_head_url,
        "UPDATE schema_revision SET applied_by = CAST(x'ff6d65' AS TEXT)",
        "CREATE INDEX another ON activity (activity_type)",
        "PRAGMA writable_schema = on",
        "UPDATE sqlite_master SET name = CAST(x'78ff' AS TEXT), sql = 'CREATE INDEX ' || CAST(x'78ff' AS TEXT)"
        " || ' ON activity (activity_type)' WHERE name = 'another'",
    )
    assert r"by \xffme" in succeed("status", url=sqlite_head_url).stdout
    assert r"x\xff is a duplicate of ix_activity_type" in succeed("check", url=sqlite_head_url).stdout
    succeed("down", url=sqlite_head_url)


def test_generated_columns_and_tables_without_rowids_are_indexed(sqlite_base_url):
    execute(
        sqlite_base_url,
        "ALTER TABLE contact RENAME COLUMN phone TO former_phone",
        "ALTER TABLE contact ADD COLUMN phone TEXT GENERATED ALWAYS AS (trim(former_phone)) VIRTUAL",
        "DROP TABLE webhook_event",
        "CREATE TABLE webhook_event (id INTEGER PRIMARY KEY, processed, event_type) WITHOUT ROWID",
    )
    succeed("up", url=sqlite_base_url)

    assert created_indexes(sqlite_base_url) == specified(sqlite_base_url)


def test_a_file_that_is_not_regular_is_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        refused = run("status", url=f"sqlite:///{path}")
        assert refused.exit_code == 7
        assert f"{path} is not a regular file" in refused.stderr


def test_a_symbolic_link_to_itself_is_refused(tmp_path: Path):
    (tmp_path / "crm.db").symlink_to("crm.db")
    for command in ("status", "up"):
        refused = run(command, url=f"sqlite:///{tmp_path}/crm.db")
        assert refused.exit_code == 7
        assert "points back to itself" in refused.stderr
