"""Tables that record revisions are read and written only if they can run no code of another role and hide no row."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from command import BASE, TEN_NAMES, created_indexes, execute, nothing_changes, revisions, run, succeed
from roles import another_role, as_role
from scenes import open_writer, running, until_phase

COMMANDS = ("status", "check", "history", "plan", "up", "down", "stamp head")
COLUMNS = (
    "revision varchar(32) PRIMARY KEY, down_revision varchar(32), description text, state varchar(16),"
    " started_at timestamp, applied_at timestamp, duration_ms integer, checksum varchar(64), tool_version varchar(32),"
    " applied_by varchar(255), existed_before text"
)
VERSION_TABLE = (
    "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
    f"INSERT INTO alembic_version VALUES ('{BASE}')",
)
SPY = (
    "CREATE TABLE {schema}.ran (by_role name)",
    "GRANT INSERT ON {schema}.ran TO PUBLIC",
    "CREATE FUNCTION {schema}.spy() RETURNS trigger LANGUAGE plpgsql"
    " AS $$ BEGIN INSERT INTO {schema}.ran VALUES (current_user); RETURN NEW; END $$",
)


@pytest.fixture
def other_role(superuser_url: str, base_url: str) -> Iterator[str]:
    """Yield a role that may create in public, as all may before PostgreSQL 15, and has a spy in its own schema."""
    rights = ("GRANT USAGE, CREATE ON SCHEMA public TO {role}", "CREATE SCHEMA {role} AUTHORIZATION {role}")
    with another_role(superuser_url, *rights) as role:
        execute(as_role(superuser_url, role), *(statement.format(schema=role) for statement in SPY))
        execute(superuser_url, f"GRANT USAGE ON SCHEMA {role} TO PUBLIC")
        yield role


def nothing_ran(url: str, other_role: str) -> bool:
    """Return whether the other role's spy was never called."""
    return execute(url, f"SELECT * FROM {other_role}.ran") == []


def remedy(said: str) -> str:
    """Return the statement that an error says to execute."""
    (statement,) = re.findall(r"^  ((?:ALTER|DROP) .*);$", said, re.MULTILINE)
    return statement


FLAWS = {
    "another role's table": (
        "belongs to role {role}",
        ["DROP TABLE schema_revision"],
        [
            f"CREATE TABLE public.schema_revision ({COLUMNS})",
            "CREATE TRIGGER spy BEFORE INSERT OR DELETE ON public.schema_revision EXECUTE FUNCTION {role}.spy()",
            "GRANT ALL ON public.schema_revision TO PUBLIC",
        ],
    ),
    "another role's view": (
        "is a view",
        ["ALTER TABLE schema_revision RENAME TO kept"],
        [
            "CREATE VIEW public.schema_revision AS SELECT NULL::varchar AS revision, NULL::varchar AS down_revision",
            "GRANT ALL ON public.schema_revision TO PUBLIC",
        ],
    ),
    "a trigger by the right to make one": (
        "has the trigger spy",
        ["GRANT TRIGGER ON schema_revision TO {role}"],
        ["CREATE TRIGGER spy BEFORE INSERT OR DELETE ON public.schema_revision EXECUTE FUNCTION {role}.spy()"],
    ),
    "a foreign key by the right to refer": (
        "is referenced by table {role}.referrer",
        ["GRANT REFERENCES ON schema_revision TO {role}"],
        [
            "CREATE TABLE {role}.referrer (revision varchar(32) REFERENCES public.schema_revision ON DELETE CASCADE)",
        ],
    ),
    "a rule": (
        "has the rule quiet",
        ["CREATE RULE quiet AS ON DELETE TO schema_revision DO INSTEAD NOTHING"],
        [],
    ),
    "a child table": (
        "has the child table public.more",
        ["CREATE TABLE more () INHERITS (schema_revision)"],
        [],
    ),
    "forced row security": (
        "may hide rows from role crm_owner by row-level security",
        [
            "ALTER TABLE schema_revision ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE schema_revision FORCE ROW LEVEL SECURITY",
        ],
        [],
    ),
}


@pytest.mark.parametrize("name", FLAWS)
def test_every_command_refuses_a_record_that_cannot_be_trusted_with_the_remedy(
    superuser_url, base_url, other_role, name
):
    sentence, by_owner, by_stranger = FLAWS[name]
    execute(base_url, *(statement.format(role=other_role) for statement in by_owner))
    execute(as_role(base_url, other_role), *(statement.format(role=other_role) for statement in by_stranger))
    # Traps are set for superusers. Row security is none: a superuser sees all rows.
    url = base_url if "row security" in name else superuser_url

    with nothing_changes(superuser_url):
        refused = [run(*command.split(), url=url) for command in COMMANDS]
    assert [result.exit_code for result in refused] == [1] * len(COMMANDS)
    assert all(f"public.schema_revision {sentence.format(role=other_role)}" in result.stderr for result in refused)
    execute(superuser_url, remedy(refused[0].stderr))
    succeed("up", url=url)

    assert nothing_ran(superuser_url, other_role)
    assert created_indexes(base_url).keys() == TEN_NAMES


def test_a_trigger_created_during_a_build_does_not_run(superuser_url, base_url, other_role):
    execute(base_url, f"GRANT TRIGGER ON schema_revision TO {other_role}")
    with open_writer(superuser_url) as writer, running("up", url=superuser_url) as up:
        until_phase(superuser_url, "waiting for writers")
        trigger = "CREATE TRIGGER spy BEFORE INSERT OR DELETE ON public.schema_revision"
        execute(as_role(base_url, other_role), f"{trigger} EXECUTE FUNCTION {other_role}.spy()")
        writer.end()
        result = up.end()

    assert result.exit_code == 1
    assert "has the trigger spy" in result.stderr
    assert nothing_ran(superuser_url, other_role)
    execute(superuser_url, "DROP TRIGGER spy ON schema_revision")
    succeed("up", url=base_url)


def test_the_record_of_another_role_can_be_given_to_the_owner_if_its_rows_can_be_trusted(
    superuser_url, base_url, other_role
):
    execute(base_url, "DROP TABLE schema_revision")
    execute(as_role(base_url, other_role), f"CREATE TABLE public.schema_revision ({COLUMNS})")
    refused = run("up", url=base_url)
    assert refused.exit_code == 1
    (given,) = re.findall(r"if its rows can be trusted: (.*?)\)", refused.stderr)
    execute(superuser_url, given)
    succeed("up", url=base_url)

    assert created_indexes(base_url).keys() == TEN_NAMES


@pytest.mark.parametrize("planted", ["table", "trigger"])
def test_a_version_table_that_cannot_be_trusted_is_neither_read_nor_written(
    superuser_url, base_url, other_role, planted
):
    if planted == "table":
        execute(
            as_role(base_url, other_role),
            "CREATE TABLE public.alembic_version (version_num varchar(32) PRIMARY KEY)",
            f"INSERT INTO public.alembic_version VALUES ('{BASE}')",
            "GRANT ALL ON public.alembic_version TO PUBLIC",
        )
    else:
        execute(base_url, *VERSION_TABLE)
        execute(base_url, f"GRANT TRIGGER ON alembic_version TO {other_role}")
    trigger = "CREATE TRIGGER spy BEFORE UPDATE ON public.alembic_version"
    execute(as_role(base_url, other_role), f"{trigger} EXECUTE FUNCTION {other_role}.spy()")
    said = succeed("up", url=superuser_url).stdout

    because = "has the trigger spy" if planted == "trigger" else f"belongs to role {other_role}"
    assert f"Note: alembic_version is not updated, because it {because}" in said
    assert execute(superuser_url, "SELECT version_num FROM alembic_version") == [(BASE,)]
    assert run("down", url=superuser_url).exit_code == 1  # a later revision may be recorded there
    succeed("down", "--yes", url=superuser_url)
    assert nothing_ran(superuser_url, other_role)


@pytest.mark.parametrize("table", ["schema_revision", "alembic_version"])
def test_row_security_that_does_not_apply_to_the_owner_changes_nothing(base_url, table):
    execute(base_url, *VERSION_TABLE)
    execute(base_url, f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    succeed("up", url=base_url)
    assert revisions(base_url)["10992629d68e"] == "applied"
    succeed("down", url=base_url)

    assert execute(base_url, "SELECT version_num FROM alembic_version") == [(BASE,)]


def test_forced_row_security_on_alembics_table_is_a_note(base_url):
    execute(base_url, *VERSION_TABLE)
    force = "ALTER TABLE alembic_version"
    execute(base_url, f"{force} ENABLE ROW LEVEL SECURITY", f"{force} FORCE ROW LEVEL SECURITY")
    said = succeed("up", url=base_url).stdout

    assert "alembic_version is not updated, because it may hide rows from role crm_owner" in said


def test_forced_row_security_on_a_table_of_the_queries_is_a_note_of_verify(base_url):
    succeed("seed", "--rows", "200", url=base_url)
    force = "ALTER TABLE activity"
    execute(base_url, f"{force} ENABLE ROW LEVEL SECURITY", f"{force} FORCE ROW LEVEL SECURITY")
    verified = run("verify", url=base_url)
    assert verified.exit_code != 1, verified.stderr
    assert "row-level security may hide rows of activity from role crm_owner" in verified.stdout
