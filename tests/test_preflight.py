"""Tables that are missing or not what they should be: all problems at once, and nothing changes."""

from __future__ import annotations

import re

from command import (
    SIX_INDEXED_TABLES,
    execute,
    is_postgres,
    refuses,
    run,
    tables,
)


def problems(url: str, *arguments: str) -> list[str]:
    """Return the problems of a refused run, which must change nothing."""
    return re.findall(r"^  - (.*)", refuses(url, *arguments, exit_code=1).stderr, re.MULTILINE)


def qualified(name: str, url: str) -> str:
    """Return the name of a table as messages write it."""
    return f"public.{name}" if is_postgres(url) else name


def test_a_missing_table_is_named(any_crm):
    execute(any_crm, "DROP TABLE webhook_event")

    assert problems(any_crm, "up") == [f"table {qualified('webhook_event', any_crm)} is missing"]


def test_a_missing_column_is_named(any_crm):
    execute(any_crm, "ALTER TABLE webhook_event RENAME COLUMN processed TO done")

    assert problems(any_crm, "up") == [f"table {qualified('webhook_event', any_crm)} has no column processed"]


def test_a_misspelt_column_is_corrected(any_crm):
    execute(any_crm, "ALTER TABLE webhook_event RENAME COLUMN processed TO procesed")

    assert problems(any_crm, "up") == [
        f"table {qualified('webhook_event', any_crm)} has no column processed: processed may be procesed"
    ]


def test_a_view_in_place_of_a_table_is_refused(any_crm):
    execute(
        any_crm,
        "ALTER TABLE webhook_event RENAME TO delivery",
        "CREATE VIEW webhook_event AS SELECT * FROM delivery",
    )
    (problem,) = problems(any_crm, "up")

    assert problem.startswith(f"{qualified('webhook_event', any_crm)} is a view")


def test_a_plan_says_that_the_run_would_be_refused(any_crm):
    execute(any_crm, "DROP TABLE webhook_event")

    assert run("up", url=any_crm).stderr.startswith("Error: Nothing was changed, because:\n  - table ")
    assert run("plan", url=any_crm).stderr.startswith("Error: up would be refused, because:\n  - table ")
    execute(any_crm, "CREATE TABLE webhook_event (processed boolean, event_type varchar(50))")
    execute(any_crm, "CREATE INDEX ix_activity_type ON activity (status)")
    assert run("plan", url=any_crm).stderr.startswith("Error: up would be refused. These names are in use, by an index")


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


def test_a_database_with_tables_but_none_of_the_crms_is_refused(database_url):
    execute(database_url, "CREATE TABLE product (id integer)", "CREATE TABLE price (id integer)")

    assert sorted(problems(database_url, "up")) == sorted(
        f"table {qualified(name, database_url)} is missing" for name in SIX_INDEXED_TABLES
    )
    assert tables(database_url) == {"product", "price"}
    assert refuses(database_url, "up", exit_code=1).stderr.splitlines()[-1] == (
        "up creates tables only in an empty database. Fix this, then run: python cli.py up"
    )


def test_a_table_of_revisions_that_is_another_tools_is_left_alone(any_crm):
    execute(any_crm, "CREATE TABLE schema_revision (version integer)", "INSERT INTO schema_revision VALUES (7)")
    refused = refuses(any_crm, "up", exit_code=1)

    assert "schema_revision is not this tool's" in refused.stderr
    assert execute(any_crm, "SELECT version FROM schema_revision") == [(7,)]
