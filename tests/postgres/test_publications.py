"""Replication continues: a table that a publication would send is not created before its subscribers have it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import pytest
from command import (
    HEAD,
    SEVEN_TABLES,
    TEN_NAMES,
    connect,
    created_indexes,
    execute,
    nothing_changes,
    prepare,
    run,
    succeed,
    tables,
)
from roles import as_owner, make_roles, new_database
from scenes import own_server, until

FOR_ALL, FOR_SCHEMA = "FOR ALL TABLES", "FOR TABLES IN SCHEMA public"
KINDS = [FOR_ALL, FOR_SCHEMA]


@pytest.fixture(scope="module")
def logical_server() -> Iterator[str]:
    """Yield the URL of a server with logical decoding: wal_level can only be set when it starts."""
    with own_server(wal_level="logical", max_replication_slots="10", max_wal_senders="10") as server:
        make_roles(server.url)
        yield server.url


@pytest.fixture
def publisher(logical_server: str) -> Iterator[str]:
    """Yield the URL of an empty database for its superuser, who alone may publish all tables and subscribe."""
    with new_database(logical_server) as url:
        yield url


@pytest.fixture
def subscriber(logical_server: str) -> Iterator[str]:
    """Yield the URL of another database on the same server."""
    with new_database(logical_server) as url:
        yield url


def publish(url: str, kind: str) -> None:
    """Create a publication; FOR TABLES IN SCHEMA came with PostgreSQL 15."""
    if kind == FOR_SCHEMA and execute(url, "SHOW server_version_num") < [("150000",)]:
        pytest.skip("a server before 15 cannot publish a schema")
    execute(url, f"CREATE PUBLICATION everything {kind}")


def subscribe(publisher: str, subscriber: str) -> Iterator[None]:
    """Subscribe until the test ends; within one server the slot has to be created before, or both would wait."""
    execute(publisher, "SELECT pg_create_logical_replication_slot('copy', 'pgoutput')")
    execute(
        subscriber,
        f"CREATE SUBSCRIPTION copy CONNECTION '{publisher}' PUBLICATION everything WITH (create_slot = false)",
    )
    yield
    execute(subscriber, "ALTER SUBSCRIPTION copy DISABLE")
    execute(subscriber, "ALTER SUBSCRIPTION copy SET (slot_name = NONE)", "DROP SUBSCRIPTION copy")
    inactive = "SELECT 1 FROM pg_replication_slots WHERE slot_name = 'copy' AND NOT active"
    until(lambda: execute(publisher, inactive), "the end of the walsender")
    execute(publisher, "SELECT pg_drop_replication_slot('copy')")


@pytest.fixture
def replicating(publisher: str, subscriber: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A publisher with the seven tables and a subscriber that follows them; yields the owner's URL of the publisher."""
    seven = [statement for statement in base_tables(as_owner(publisher)) if "schema_revision" not in statement]
    for url in (publisher, subscriber):
        execute(as_owner(url), *seven)
    publish(publisher, request.param)
    yield from (as_owner(publisher) for _ in subscribe(publisher, subscriber))


def base_tables(url: str) -> list[str]:
    """Return the statements that create the seven tables."""
    prepare(url, "base")
    script = succeed("plan", "--sql", "--to", "base", url=_emptied(url)).stdout
    return re.findall(r"^CREATE .*(?=;$)", script, re.MULTILINE)


def _emptied(url: str) -> str:
    execute(url, *(f"DROP TABLE {table} CASCADE" for table in tables(url)))
    return url


def arrives(publisher: str, subscriber: str) -> bool:
    """Write a row, and wait until the subscriber has it."""
    ((written,),) = execute(
        publisher, "INSERT INTO campaign (name, status, created_at) VALUES ('x', 'draft', now()) RETURNING id"
    )
    until(lambda: execute(subscriber, f"SELECT 1 FROM campaign WHERE id = {written}"), "the row on the subscriber")
    return True


def creations(said: str) -> list[str]:
    """Return the statements that an error says to execute on each subscriber."""
    return re.findall(r"^  (CREATE TABLE .*);$", said, re.MULTILINE)


@pytest.mark.parametrize("replicating", KINDS, indirect=True)
def test_replication_continues_after_up_and_down(replicating, publisher, subscriber):
    assert arrives(publisher, subscriber)
    with nothing_changes(publisher):
        refused = run("up", url=replicating)
    assert refused.exit_code == 1
    assert "everything (FOR" in refused.stderr
    execute(as_owner(subscriber), *creations(refused.stderr))
    result = succeed(*refused.next_command(), url=replicating)
    assert created_indexes(replicating).keys() == TEN_NAMES
    assert arrives(publisher, subscriber)

    assert "REFRESH" not in result.stdout
    succeed("down", url=replicating)
    assert arrives(publisher, subscriber)
    assert execute(subscriber, "SELECT 1 FROM schema_revision_log") == []


def test_no_table_is_created_in_a_published_database_before_the_subscribers_have_it(publisher):
    publish(publisher, FOR_ALL)
    url = as_owner(publisher)
    with nothing_changes(publisher):
        refused = run("up", url=url)
    assert refused.exit_code == 1
    assert len(creations(refused.stderr)) == len(SEVEN_TABLES) + 2

    succeed(*refused.next_command(), url=url)
    assert created_indexes(url).keys() == TEN_NAMES


def test_the_slot_of_a_first_copy_is_not_taken_for_a_subscription(publisher):
    publish(publisher, FOR_ALL)
    slots = ["followers", "pg_16393_sync_16385_7459268236441229346"]
    for slot in slots:
        execute(publisher, f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
    planned = run("plan", "--published", url=as_owner(publisher))
    for slot in slots:
        execute(publisher, f"SELECT pg_drop_replication_slot('{slot}')")

    assert planned.exit_code == 0
    named = re.findall(r"ALTER SUBSCRIPTION (\w+) REFRESH PUBLICATION", planned.stdout)
    assert named == ["followers"]


@pytest.mark.parametrize("command", [("plan",), ("stamp", HEAD), ("seed", "--rows", "100")])
def test_other_commands_create_no_published_table_either(publisher, command):
    """`stamp` finds the ten indexes, `seed` an empty database."""
    url = as_owner(publisher)
    if command[0] != "seed":
        succeed("up", url=url)
        execute(url, "DROP TABLE schema_revision, schema_revision_log")
    publish(publisher, FOR_ALL)
    with nothing_changes(publisher):
        refused = run(*command, url=url)
    assert refused.exit_code == 1

    succeed(*refused.next_command(), url=url)


def test_bench_publishes_none_of_its_rows(publisher, tmp_path):
    publish(publisher, FOR_ALL)
    refused = run("bench", "--rows", "100", "--out", str(tmp_path / "out"), url=as_owner(publisher))

    assert refused.exit_code == 1
    assert "publication everything (FOR ALL TABLES)" in refused.stderr


def test_tables_that_exist_need_no_subscriber_to_be_prepared(publisher):
    url = as_owner(publisher)
    succeed("up", url=url)
    publish(publisher, FOR_ALL)
    succeed("down", url=url)

    assert created_indexes(url) == {}


def test_a_publication_of_other_tables_or_of_another_schema_does_not_matter(publisher):
    url = as_owner(publisher)
    with closing(connect(publisher)) as session:
        cursor = session.cursor()
        cursor.execute("CREATE SCHEMA other")
        cursor.execute("CREATE TABLE other.thing (id integer PRIMARY KEY)")
        if session.server_version >= 150000:
            cursor.execute("CREATE PUBLICATION of_a_schema FOR TABLES IN SCHEMA other")
        cursor.execute("CREATE PUBLICATION of_a_table FOR TABLE other.thing")
    succeed("up", url=url)


@pytest.mark.parametrize("replicating", KINDS[:1], indirect=True)
def test_a_subscriber_builds_its_own_indexes_and_records_its_own_runs(replicating, publisher, subscriber):
    own = as_owner(subscriber)
    refused = run("up", url=replicating)
    execute(own, *creations(refused.stderr))
    said = succeed(*refused.next_command(), url=replicating).stdout
    assert "schema_revision, schema_revision_log are published, but each database records its own runs: " in said
    assert run("status", url=own).exit_code == 3
    succeed("up", url=own)
    assert arrives(publisher, subscriber)
    succeed("down", url=replicating)
    succeed("up", url=replicating)

    assert arrives(publisher, subscriber)
    assert created_indexes(own).keys() == TEN_NAMES
    assert [each["direction"] for each in succeed("history", "--json", url=own).json()["history"]] == ["up"]


@pytest.mark.parametrize("replicating", KINDS[:1], indirect=True)
def test_records_that_a_subscription_copies_are_no_records_of_the_subscriber(replicating, publisher, subscriber):
    own = as_owner(subscriber)
    refused = run("up", url=replicating)
    execute(own, *creations(refused.stderr))
    succeed(*refused.next_command(), url=replicating)
    execute(subscriber, "ALTER SUBSCRIPTION copy REFRESH PUBLICATION")
    until(lambda: execute(subscriber, "SELECT 1 FROM schema_revision_log"), "the rows of the publisher")
    for command in ("status", "up"):
        with nothing_changes(subscriber):
            refused = run(command, url=own)
        assert refused.exit_code == 1
        assert "schema_revision is a copy that a subscription writes" in refused.stderr
    execute(own, *(line.strip() for line in refused.stderr.splitlines() if line.startswith("  BEGIN")))
    assert "schema_revision_log is not written, because it is a copy" in succeed("up", url=own).stdout
    succeed("down", url=replicating)

    assert arrives(publisher, subscriber)
    succeed("check", url=own)
