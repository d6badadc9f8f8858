"""Roles that own some of the tables, or none: told what they lack before anything changes."""

from __future__ import annotations

import re
import uuid

import pytest
from command import (
    SIX_INDEXED_TABLES,
    created_indexes,
    execute,
    nothing_changes,
    run,
    specified,
    succeed,
)
from roles import PASSWORD, as_role


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


def test_the_error_for_a_role_that_owns_five_of_the_six_tables_names_the_sixth(superuser_url, crm, role):
    hand_over(superuser_url, role, *SIX_INDEXED_TABLES - {"contact_flag"})
    said = refuses_role(role, crm, "up")

    assert re.findall(r"^  - (.*)", said, re.MULTILINE) == [
        f"table public.contact_flag belongs to role {me(crm)}, and only its owner can index it"
    ]


def test_a_role_that_owns_all_six_tables_needs_no_more(superuser_url, crm, role):
    hand_over(superuser_url, role, *SIX_INDEXED_TABLES)
    succeed("up", url=as_role(crm, role))
    assert created_indexes(crm) == specified(crm)
    succeed("down", "--no-alembic", url=as_role(crm, role))
    assert created_indexes(crm) == {}


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

    assert created_indexes(crm) == {}


def test_names_in_grants_are_quoted_as_sql_requires(superuser_url, crm):
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


def test_a_role_that_may_not_create_in_the_schema_gets_the_grant(superuser_url, crm, role):
    hand_over(superuser_url, role, *SIX_INDEXED_TABLES)
    execute(crm, f"REVOKE CREATE ON SCHEMA public FROM PUBLIC, {role}")

    assert f"GRANT CREATE ON SCHEMA public TO {role}" in refuses_role(role, crm, "up")


def test_a_role_that_may_only_read_can_ask_for_status_and_plan(crm, role):
    execute(crm, f"REVOKE CREATE ON SCHEMA public FROM PUBLIC, {role}")
    with nothing_changes(crm):
        assert run("status", url=as_role(crm, role)).exit_code == 3
        assert run("plan", url=as_role(crm, role)).exit_code == 1


def test_the_error_for_a_role_whose_sessions_are_read_only_says_so(superuser_url, crm, role):
    hand_over(superuser_url, role, *SIX_INDEXED_TABLES)
    execute(superuser_url, f"ALTER ROLE {role} SET default_transaction_read_only = on")
    said = refuses_role(role, crm, "up")

    assert re.findall(r"^  - .*", said, re.MULTILINE) == [
        "  - the session is read-only: default_transaction_read_only is on for this role, database or server"
    ]


def test_a_role_that_owns_nothing_cannot_drop_the_indexes_of_another(crm, role):
    succeed("up", url=crm)
    execute(crm, f"GRANT SELECT ON schema_revision, contact_flag TO {role}")
    said = refuses_role(role, crm, "down")

    assert "may not write public.schema_revision" in said
    assert all(f"table public.{table} belongs to role {me(crm)}" in said for table in SIX_INDEXED_TABLES)


@pytest.mark.parametrize("command", ["status", "down"])
def test_the_error_for_a_role_that_may_not_read_the_record_of_revisions_says_so(crm, role, command):
    succeed("up", url=crm)
    said = refuses_role(role, crm, command)

    assert "schema_revision" in said
    assert role in said
    assert "ProgrammingError" not in said


def test_the_error_for_a_role_that_may_not_read_the_table_of_a_partial_index_says_so(crm, role):
    succeed("up", url=crm)
    execute(crm, f"GRANT SELECT ON schema_revision TO {role}")
    with nothing_changes(crm):
        result = run("status", url=as_role(crm, role))

    assert result.exit_code == 0 or ("contact_flag" in result.stderr and role in result.stderr)
    assert "ProgrammingError" not in result.stderr


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
