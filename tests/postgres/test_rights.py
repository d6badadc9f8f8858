"""Rights and ownership: what is missing is listed at once with the statements that give it, and the tables that
record revisions belong to the owner of the others."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import foreign_crm
import pytest
from command import (
    HEAD,
    OWN_TABLES,
    SEVEN_TABLES,
    TEN_NAMES,
    connect,
    created_indexes,
    execute,
    is_postgres,
    nothing_changes,
    prepare,
    refuses,
    revisions,
    run,
    succeed,
)
from roles import OWNER, another_role, as_role
from scenes import open_writer, running, transaction, until_phase

OF_BEFORE = "schema_revision_log_id_seq"


def statements(said: str) -> str:
    """Return all statements of an error as one text to execute."""
    return "\n".join(re.findall(r"^  ((?:GRANT|ALTER) .*;)$", said, re.MULTILINE))


def owners(url: str) -> dict[str, str]:
    """Return the owner of each table of records."""
    query = "SELECT relname, pg_get_userbyid(relowner) FROM pg_class WHERE relkind = 'r' AND relname ~ '^schema_rev'"
    return dict(execute(url, query))


def belonging_to(role: str) -> dict[str, str]:
    """Return what ``owners`` returns if both tables belong to one role."""
    return dict.fromkeys(OWN_TABLES, role)


@contextmanager
def group(superuser_url: str, crm: str, members: int = 2) -> Iterator[tuple[str, list[str]]]:
    """Yield a role that owns the CRM's tables, and roles that may log in and are members of it."""
    name = "team_" + uuid.uuid4().hex[:8]
    logins = [f"{name}_{number}" for number in range(members)]
    execute(
        superuser_url,
        f"CREATE ROLE {name}",
        f"GRANT USAGE, CREATE ON SCHEMA public TO {name}",
        *(f"CREATE ROLE {login} LOGIN PASSWORD 'of the test' IN ROLE {name}" for login in logins),
        *(f"ALTER TABLE {table} OWNER TO {name}" for table in (*SEVEN_TABLES, "alembic_version")),
    )
    try:
        yield name, logins
    finally:
        execute(superuser_url, *(f"DROP OWNED BY {role} CASCADE" for role in (*logins, name)))
        execute(superuser_url, *(f"DROP ROLE {role}" for role in (*logins, name)))


# Whose the tables are ------------------------------------------------------------------------------------------------


def test_the_owner_can_drop_what_a_superuser_has_built(superuser_url, crm):
    succeed("up", url=superuser_url)
    assert owners(crm) == belonging_to(OWNER)
    succeed("status", url=crm)
    succeed("down", url=crm)

    assert created_indexes(crm) == {}


def test_a_script_run_by_a_superuser_gives_its_tables_to_the_owner(superuser_url, crm):
    prepare(superuser_url)
    assert owners(crm) == belonging_to(OWNER)


def test_every_member_of_the_owning_role_can_run_every_command(superuser_url, crm):
    with group(superuser_url, crm) as (name, logins):
        first, second = (as_role(superuser_url, login) for login in logins)
        succeed("up", url=first)
        assert owners(crm) == belonging_to(name)
        for command in ("status", "check", "history", "plan", "up", "stamp head", "down"):
            succeed(*command.split(), url=second)
        succeed("up", url=first)
        assert [each["direction"] for each in succeed("history", "--json", url=second).json()["history"]] == [
            "up",
            "down",
            "up",
        ]


def test_members_share_the_tables_by_grant_if_the_owning_role_may_not_create(superuser_url, crm):
    with group(superuser_url, crm) as (name, logins):
        execute(
            superuser_url,
            f"REVOKE CREATE ON SCHEMA public FROM PUBLIC, {name}",
            *(f"GRANT CREATE ON SCHEMA public TO {login}" for login in logins),
        )
        first, second = (as_role(superuser_url, login) for login in logins)
        succeed("up", url=first)
        assert owners(crm) == belonging_to(logins[0])
        succeed("down", url=second)
        assert created_indexes(crm) == {}


def test_tables_that_an_earlier_version_left_to_a_superuser_go_to_the_owner_with_the_next_run(superuser_url, crm):
    succeed("up", url=crm)
    execute(superuser_url, *(f"ALTER TABLE {table} OWNER TO postgres" for table in OWN_TABLES))
    succeed("down", url=superuser_url)

    assert owners(crm) == belonging_to(OWNER)


def test_a_table_in_use_keeps_its_owner_and_the_run_continues(superuser_url, crm):
    succeed("up", url=crm)
    execute(superuser_url, *(f"ALTER TABLE {table} OWNER TO postgres" for table in OWN_TABLES))
    dump = connect(superuser_url)
    dump.autocommit = False
    dump.cursor().execute("SELECT * FROM schema_revision")  # as pg_dump holds it for as long as it takes
    succeed("down", url=superuser_url)
    dump.close()

    assert owners(crm)["schema_revision"] == "postgres"
    assert created_indexes(crm) == {}


def test_tenants_of_several_roles_each_get_their_own_tables(superuser_url):
    with another_role(superuser_url) as one, another_role(superuser_url) as two:
        for role in (one, two):
            execute(superuser_url, f"CREATE SCHEMA {role} AUTHORIZATION {role}")
            execute(superuser_url, f"GRANT CREATE ON DATABASE {superuser_url.rpartition('/')[2]} TO {role}")
            connection = connect(as_role(superuser_url, role))
            foreign_crm.create_schema(connection, role)
            connection.close()
        succeed("up", "--all-schemas", "test_*", url=superuser_url)
        query = "SELECT relnamespace::regnamespace::text, relname, pg_get_userbyid(relowner) FROM pg_class"
        found = execute(superuser_url, f"{query} WHERE relkind = 'r' AND relname ~ '^schema_rev'")

        assert {(schema, owner) for schema, _, owner in found} == {(one, one), (two, two)}
        succeed("down", "--schema", one, url=as_role(superuser_url, one))


# What is missing -----------------------------------------------------------------------------------------------------


LACKING = {
    "everything": ("REVOKE ALL ON SCHEMA public FROM PUBLIC",),
    "only the schema": ("GRANT crm_owner TO {role}", "REVOKE CREATE ON SCHEMA public FROM PUBLIC, crm_owner"),
    "the inheritance of rights": ("ALTER ROLE {role} NOINHERIT",),
}


@pytest.mark.parametrize("recorded", [False, True], ids=["unrecorded", "recorded by a superuser"])
@pytest.mark.parametrize("lacking", LACKING)
@pytest.mark.parametrize("command", ["up", "down"])
def test_all_missing_rights_are_listed_at_once_with_the_statements_that_grant_them(
    superuser_url, crm, lacking, recorded, command
):
    """A superuser revokes rights, and grants them as the error says."""
    if recorded or command == "down":
        succeed("up", url=superuser_url)
        log, record = "schema_revision_log", "schema_revision"
        execute(superuser_url, f"ALTER TABLE {record} OWNER TO postgres", f"ALTER TABLE {log} OWNER TO postgres")
        execute(superuser_url, f"REVOKE ALL ON {record}, {log} FROM PUBLIC, {OWNER}")
        if command == "up":
            execute(superuser_url, "DROP INDEX ix_activity_type")
    with another_role(superuser_url) as role:
        execute(superuser_url, *(each.format(role=role) for each in LACKING[lacking]))
        url = as_role(superuser_url, role)
        with nothing_changes(superuser_url):
            refused = run(command, "--schema", "public", url=url)
        assert refused.exit_code == 1
        execute(superuser_url, statements(refused.stderr))
        succeed(command, "--schema", "public", url=url)

        assert created_indexes(crm).keys() == (TEN_NAMES if command == "up" else set())
        execute(superuser_url, f"REASSIGN OWNED BY {role} TO {OWNER}")


def test_for_a_table_of_a_superuser_the_hint_changes_its_owner_and_grants_no_role(superuser_url, crm):
    execute(superuser_url, "ALTER TABLE contact_flag OWNER TO postgres")
    refused = run("up", url=crm)
    given = statements(refused.stderr)
    assert given == "ALTER TABLE public.contact_flag OWNER TO crm_owner;"
    execute(superuser_url, given)

    succeed("up", url=crm)


def test_the_result_line_of_a_schema_contains_the_grant(superuser_url, crm):
    with another_role(superuser_url, "GRANT USAGE, CREATE ON SCHEMA public TO {role}") as role:
        refused = run("up", "--all-schemas", "public", url=as_role(superuser_url, role))
    (line,) = [line for line in (refused.stdout + refused.stderr).splitlines() if line.startswith("public: ")]

    assert f" GRANT crm_owner TO {role}; " in line
    assert "\\n" not in line


def test_down_needs_no_right_to_create(superuser_url, crm):
    succeed("up", url=crm)
    execute(superuser_url, "ALTER SCHEMA public OWNER TO postgres", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    succeed("down", url=crm)

    assert created_indexes(crm) == {}


def test_commands_that_only_read_print_the_grants_that_they_need(superuser_url, crm):
    succeed("up", url=crm)
    with another_role(superuser_url, "GRANT USAGE ON SCHEMA public TO {role}") as role:
        url = as_role(superuser_url, role)
        refused = run("status", url=url)
        assert refused.exit_code == 1
        execute(crm, statements(refused.stderr))
        for command in ("status", "check", "history"):
            succeed(command, url=url)


def test_a_role_that_may_not_use_the_schema_gets_the_grant_in_two_steps(superuser_url, crm):
    execute(superuser_url, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
    with another_role(superuser_url) as role:
        url = as_role(superuser_url, role)
        refused = run("status", url=url)
        assert refused.exit_code == 2
        assert "The search path contains no schema that this role can use" in refused.stderr
        assert run("status", "--schema", "public", url=url).exit_code == 3  # every role may read the catalog
        assert "GRANT USAGE, CREATE ON SCHEMA public" in run("up", "--schema", "public", url=url).stderr


def test_names_that_are_keywords_are_quoted_in_grants(superuser_url, postgres_url):
    execute(superuser_url, 'CREATE SCHEMA "order"', "CREATE ROLE \"user\" LOGIN PASSWORD 'of the test'")
    try:
        execute(superuser_url, 'ALTER SCHEMA "order" OWNER TO crm_owner')
        connection = connect(postgres_url)
        foreign_crm.create_schema(connection, "order")
        connection.close()
        url = as_role(superuser_url, "user")
        refused = run("up", "--schema", "order", url=url)
        execute(superuser_url, statements(refused.stderr))
        succeed("up", "--schema", "order", url=url)
    finally:
        execute(superuser_url, 'DROP SCHEMA "order" CASCADE', 'DROP OWNED BY "user"', 'DROP ROLE "user"')


# The log -------------------------------------------------------------------------------------------------------------


def refuse_entries(url: str) -> None:
    """Have every entry of the log refused."""
    if is_postgres(url):
        execute(url, "ALTER TABLE schema_revision_log ADD CONSTRAINT full_up CHECK (false) NOT VALID")
    else:
        body = "BEGIN SELECT RAISE(ABORT, 'full up'); END"
        execute(url, f"CREATE TRIGGER full_up BEFORE INSERT ON schema_revision_log {body}")


@pytest.mark.parametrize("command", ["up", "down", "stamp head"])
def test_a_log_that_cannot_be_written_is_a_warning_and_does_not_fail_a_run(any_base_url, command):
    if command != "up":
        succeed("up", url=any_base_url)
    if command.startswith("stamp"):
        execute(any_base_url, "DELETE FROM schema_revision")
    refuse_entries(any_base_url)
    result = succeed(*command.split(), url=any_base_url)

    assert re.search(r"schema_revision_log was not written, .*full.up", result.stdout + result.stderr, re.DOTALL)
    assert created_indexes(any_base_url).keys() == (set() if command == "down" else TEN_NAMES)
    assert revisions(any_base_url).get(HEAD) == (None if command == "down" else "applied")


def test_a_log_that_our_role_may_not_write_is_a_warning_before_the_run(superuser_url, crm):
    succeed("up", url=crm)
    execute(superuser_url, "ALTER TABLE schema_revision_log OWNER TO postgres")
    execute(superuser_url, f"REVOKE ALL ON schema_revision_log FROM {OWNER}")
    execute(superuser_url, f"GRANT SELECT ON schema_revision_log TO {OWNER}")
    said = succeed("down", url=crm).stdout

    (grant,) = re.findall(r"schema_revision_log is not written, .*(GRANT .*)\.$", said, re.MULTILINE)
    execute(superuser_url, grant)
    succeed("up", url=crm)
    assert [each["direction"] for each in succeed("history", "--json", url=crm).json()["history"]] == ["up", "up"]


def test_a_log_whose_sequence_is_behind_its_rows_is_written(superuser_url, crm):
    """An earlier version created it; the rows came by replication, and the owner has no right on the sequence."""
    succeed("up", url=crm)
    execute(
        superuser_url,
        f"CREATE SEQUENCE {OF_BEFORE}",
        f"ALTER TABLE schema_revision_log ALTER id SET DEFAULT nextval('{OF_BEFORE}')",
    )
    succeed("down", url=crm)

    assert execute(crm, "SELECT id, direction FROM schema_revision_log ORDER BY id") == [(1, "up"), (2, "down")]


def test_no_sequence_belongs_to_the_log(crm):
    succeed("up", url=crm)

    assert execute(crm, "SELECT relname FROM pg_class WHERE relkind = 'S' AND relname ~ 'schema_rev'") == []


LOGS_OF_OTHERS = {
    "forced row security": (
        "ALTER TABLE schema_revision_log ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE schema_revision_log FORCE ROW LEVEL SECURITY",
    ),
    "a rule": ("CREATE RULE quiet AS ON INSERT TO schema_revision_log DO INSTEAD NOTHING",),
}


@pytest.mark.parametrize("name", LOGS_OF_OTHERS)
def test_a_log_that_cannot_be_trusted_is_left_alone_and_does_not_fail_a_run(crm, name):
    succeed("up", url=crm)
    execute(crm, *LOGS_OF_OTHERS[name])
    script = succeed("plan", "down", "--sql", url=crm).stdout
    said = succeed("down", url=crm).stdout

    assert "schema_revision_log" not in script
    assert "public.schema_revision_log is not written, because" in said
    for command in ("status", "plan", "up", "check"):
        succeed(command, url=crm) if command != "status" else run(command, url=crm)
    assert run("history", url=crm).exit_code == 1


# Rights revoked from PUBLIC -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "withheld",
    [
        "SELECT ON pg_catalog.pg_roles, pg_catalog.pg_locks, pg_catalog.pg_settings",
        "EXECUTE ON FUNCTION pg_catalog.pg_get_userbyid(oid), pg_catalog.pg_try_advisory_lock(bigint)",
        "EXECUTE ON FUNCTION pg_catalog.pg_table_size(regclass), pg_catalog.pg_relation_size(regclass, text)",
        "USAGE ON TYPE pg_catalog.varchar, pg_catalog.int4",
        "SELECT ON pg_catalog.pg_namespace",
    ],
)
def test_missing_rights_on_the_catalog_are_granted_by_the_printed_statements(superuser_url, crm, withheld):
    # Only a superuser can take them away from everyone, and give them back.
    execute(superuser_url, f"REVOKE {withheld} FROM PUBLIC")
    refused = run("up", url=crm)

    assert refused.exit_code == 1
    execute(superuser_url, statements(refused.stderr))
    succeed("up", url=crm)
    succeed("check", url=crm)


def test_a_server_that_does_not_show_its_standbys_does_not_stop_a_run(superuser_url, crm):
    # Only a superuser can take the right away from everyone.
    execute(superuser_url, "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_stat_get_activity(integer) FROM PUBLIC")
    unseen = "Which standbys and replication slots follow this server cannot be told: it does not show them."
    assert unseen in succeed("plan", url=crm).stdout
    succeed("up", url=crm)


def test_default_privileges_that_revoke_the_owners_rights_are_found_before_the_first_change(crm):
    execute(crm, f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} REVOKE ALL ON TABLES FROM {OWNER}")
    refused = refuses(crm, "up", exit_code=1)
    execute(crm, statements(refused.stderr))
    succeed("up", url=crm)


@pytest.mark.parametrize(
    "revoked",
    [
        (f"ALTER DATABASE {{name}} OWNER TO postgres; REVOKE ALL ON DATABASE {{name}} FROM PUBLIC, {OWNER}"),
        "REVOKE EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) FROM PUBLIC",
        "REVOKE EXECUTE ON FUNCTION pg_catalog.version() FROM PUBLIC",
    ],
    ids=["connect", "set up its session", "learn what the server is"],
)
def test_a_role_that_may_not_begin_a_session_gets_the_grant(superuser_url, crm, revoked):
    # Only a superuser can revoke rights from PUBLIC.
    execute(superuser_url, revoked.format(name=crm.rpartition("/")[2]))
    refused = run("plan", url=crm)

    assert refused.exit_code == 7
    (grant,) = re.findall(r"GRANT .*;", refused.stderr)
    execute(superuser_url, grant)
    succeed("plan", url=crm)


def test_down_prints_what_lets_it_read_a_version_table_with_row_security(crm):
    succeed("up", url=crm)
    execute(crm, "ALTER TABLE alembic_version ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    refused = run("down", url=crm)

    assert refused.exit_code == 1
    (remedy,) = re.findall(r"ALTER TABLE .* ROW LEVEL SECURITY", refused.stderr)
    execute(crm, remedy)
    succeed("down", url=crm)


def test_a_role_that_may_not_log_in_gets_the_statement_that_lets_it(superuser_url, crm):
    # A superuser makes a separate role, because all tests share the owner.
    with another_role(superuser_url, "ALTER ROLE {role} NOLOGIN") as member:
        refused = run("plan", url=as_role(crm, member))
        assert refused.exit_code == 7
        execute(superuser_url, *re.findall(f"ALTER ROLE {member} LOGIN;", refused.stderr))
        succeed("wait", url=as_role(crm, member))


def test_a_record_that_another_session_drops_during_a_run_is_named_and_no_file_is_blamed(superuser_url, crm):
    # A superuser looks on.
    with open_writer(crm) as writer, running("up", url=crm) as up:
        until_phase(superuser_url, "waiting for writers")
        execute(crm, "DROP TABLE schema_revision")
        writer.end()
        result = up.end()
    assert result.exit_code == 1
    assert "Another session has dropped or renamed it" in result.stderr
    succeed("up", url=crm)


@pytest.mark.parametrize("mode", ["ACCESS EXCLUSIVE", "SHARE"])
@pytest.mark.parametrize("table", ["schema_revision", "alembic_version"])
def test_the_session_that_locks_a_record_is_named(crm, table, mode):
    succeed("up", url=crm)
    with transaction(crm, f"LOCK TABLE {table} IN {mode} MODE") as holder:
        refused = run("down", url=crm)
        assert refused.exit_code == 1
        assert f"pid {holder.pid} " in refused.stderr
        assert f"holds a lock on {table}" in refused.stderr
    succeed("down", url=crm)


@pytest.mark.parametrize("option", ["INHERIT FALSE, SET TRUE", "ADMIN TRUE, INHERIT FALSE, SET FALSE"])
def test_a_member_that_does_not_inherit_gets_the_grant_that_makes_it_inherit(superuser_url, crm, option):
    # Only a superuser makes roles. From 16 on it is the membership that inherits or does not.
    if int(execute(superuser_url, "SHOW server_version_num")[0][0]) < 160000:
        option = "ADMIN OPTION"
    with another_role(superuser_url, "GRANT crm_owner TO {role} WITH " + option) as member:
        if option == "ADMIN OPTION":
            execute(superuser_url, f"ALTER ROLE {member} NOINHERIT")
        url = as_role(crm, member)
        execute(superuser_url, statements(run("up", url=url).stderr))
        succeed("up", url=url)
        succeed("down", url=url)


def test_a_missing_right_on_a_function_of_the_first_statement_comes_with_the_grant(superuser_url, crm):
    # Only a superuser can take it away from everyone, and give it back.
    execute(superuser_url, "REVOKE EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) FROM PUBLIC")
    refused = run("plan", url=crm)

    (grant,) = re.findall(r"GRANT EXECUTE .*;", refused.stderr)
    execute(superuser_url, grant)
    succeed("plan", url=crm)
