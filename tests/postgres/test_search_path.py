"""The schema of the tables: found on the search path once, or named by --schema."""

from __future__ import annotations

import re
import shlex
from urllib.parse import urlsplit

from command import (
    HEAD,
    SEVEN_TABLES,
    TEN_NAMES,
    created_indexes,
    execute,
    make_crm,
    refuses,
    relations_in,
    run,
    run_script,
    specified,
    succeed,
)


def put_first_in_search_path(url: str, *schemas: str) -> None:
    """Set the search path that every new session starts with."""
    path = ", ".join(f'"{schema}"' for schema in schemas)
    execute(url, f"ALTER DATABASE {urlsplit(url).path[1:]} SET search_path = {path}")


def test_tables_in_the_first_schema_of_the_search_path_are_indexed_there(postgres_url):
    make_crm(postgres_url, "crm")
    put_first_in_search_path(postgres_url, "crm", "public")
    result = succeed("up", url=postgres_url)

    assert created_indexes(postgres_url) == specified(postgres_url, "crm")
    assert "schema_revision" in relations_in("crm", postgres_url)
    assert relations_in("public", postgres_url) == set()
    assert "(schema crm)" in result.lines[-1]
    succeed("down", url=postgres_url)
    assert created_indexes(postgres_url) == {}


def test_an_empty_schema_before_that_of_the_tables_stays_empty(crm):
    execute(crm, "CREATE SCHEMA crm")
    put_first_in_search_path(crm, "crm", "public")
    succeed("up", url=crm)

    assert created_indexes(crm) == specified(crm)
    assert relations_in("crm", crm) == set()


def test_decoys_in_a_schema_before_that_of_the_tables_are_ignored(crm):
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

    assert created_indexes(postgres_url) == specified(postgres_url, '"Our CRM"')
    assert relations_in("public", postgres_url) == set()
    assert status.exit_code == 0
    succeed("down", "--schema", "Our CRM", url=postgres_url)
    assert created_indexes(postgres_url) == {}


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


def test_a_schema_that_does_not_exist_is_wrong_usage(crm):
    refused = refuses(crm, "up", "--schema", "nowhere", exit_code=2)

    assert "nowhere" in refused.stderr
    assert "--schema" in refused.stderr


def test_two_schemas_in_one_database_are_migrated_separately(postgres_url):
    make_crm(postgres_url, "one")
    make_crm(postgres_url, "two")
    succeed("up", "--schema", "one", url=postgres_url)
    assert not relations_in("two", postgres_url) & TEN_NAMES
    succeed("up", "--schema", "two", url=postgres_url)
    succeed("down", "--schema", "one", url=postgres_url)

    assert not relations_in("one", postgres_url) & TEN_NAMES
    assert relations_in("two", postgres_url) > TEN_NAMES
