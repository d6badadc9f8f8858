"""A plain owner beside roles whose sessions it may not look at: all that is hidden is unknown, and never absent."""

import uuid
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from command import execute, prepare, run, succeed
from postgres_server import with_database
from scenes import assert_all_stand, assert_none_stands, build_all, open_reader, open_writer, running


@pytest.fixture
def superuser_url(postgres_server: str) -> Iterator[str]:
    name = "test_" + uuid.uuid4().hex[:12]
    with closing(psycopg2.connect(postgres_server)) as admin, admin.cursor() as cursor:
        admin.autocommit = True
        for role in ("crm_owner", "crm_app"):
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
            if not cursor.fetchone():
                cursor.execute(f"CREATE ROLE {role} LOGIN")
        cursor.execute(f"CREATE DATABASE {name} OWNER crm_owner TEMPLATE template0")
        url = with_database(postgres_server, name)
        execute(url, "ALTER SCHEMA public OWNER TO crm_owner")
        execute(
            url,
            "ALTER DEFAULT PRIVILEGES FOR ROLE crm_owner GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO crm_app",
            "ALTER DEFAULT PRIVILEGES FOR ROLE crm_owner GRANT USAGE ON SEQUENCES TO crm_app",
        )
        yield url
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")


@pytest.fixture
def postgres_url(superuser_url: str) -> str:
    return superuser_url.replace("postgres@", "crm_owner@")


@pytest.fixture
def app_url(superuser_url: str) -> str:
    return superuser_url.replace("postgres@", "crm_app@")


@pytest.fixture
def owner_url(postgres_url: str) -> str:
    """The CRM's tables, owned by crm_owner."""
    prepare(postgres_url, to="base")
    return postgres_url


def test_a_plan_names_the_writer_of_a_hidden_session(owner_url: str, app_url: str) -> None:
    with open_writer(app_url) as writer:
        plan = run("plan", "--json", url=owner_url).json()
        (blocker,) = plan["blockers"]
        assert (blocker["pid"], blocker["role"], blocker["seconds"]) == (writer.pid, "crm_app", None)
        assert f"pid {writer.pid} (crm_app, somebody else)" in run("plan", url=owner_url).stdout
        succeed("plan", "--sql", url=owner_url)


def test_up_waits_for_a_hidden_writer(owner_url: str, app_url: str) -> None:
    with open_writer(app_url) as writer, running("up", "--json", url=owner_url) as up:
        waiting = up.event("Waiting")
        assert [blocker["pid"] for blocker in waiting["blockers"]] == [writer.pid]
        writer.end()
        up.succeed()
    assert_all_stand(owner_url)


@pytest.mark.parametrize("options", [[], ["--offline"]])
def test_up_gives_up_on_a_hidden_writer(owner_url: str, app_url: str, options: list[str]) -> None:
    with open_writer(app_url) as writer:
        gave_up = run("up", *options, "--max-wait", "0.2", "--retries", "0", url=owner_url)
        assert gave_up.exit_code == 6, gave_up
        assert f"pid {writer.pid} (crm_app" in gave_up.stderr


def test_down_waits_for_a_hidden_reader(owner_url: str, app_url: str) -> None:
    build_all(owner_url)
    with open_reader(app_url) as reader, running("down", "--json", url=owner_url) as down:
        waiting = down.event("Waiting")
        assert [blocker["pid"] for blocker in waiting["blockers"]] == [reader.pid]
        reader.end()
        down.succeed()
    assert_none_stands(owner_url)
