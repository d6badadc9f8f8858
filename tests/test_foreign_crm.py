"""A CRM that another tool made and filled: 50,000 activities, and not a row of it is touched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any, NamedTuple

import command
import foreign_crm
import pytest
from command import BASE, HEAD, Result, catalog, created_indexes, execute, indexes, is_postgres, run, specified
from playhouse.db_url import connect
from roles import as_owner, new_database

import models
import queries

ACTIVITIES = 50_000


class Moment(NamedTuple):
    """The catalog and the answers of the database at one point of the journey."""

    catalog: list[tuple[Any, ...]]
    indexes: dict[str, str]
    answers: dict[str, Any]


class Journey(NamedTuple):
    """One CRM from before `up` to after `down`."""

    url: str
    rows_before: dict[str, tuple[int, str]]
    before: Moment
    up: Result
    status: Result
    applied: Moment
    down: Result
    after: Moment
    rows_after: dict[str, tuple[int, str]]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def journey(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    """Yield the journey, which is made once for all tests."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('foreign') / 'crm.db'}"
        yield travel(url, loaded_by=url)
    else:
        with new_database(request.getfixturevalue("postgres_server")) as url:
            yield travel(as_owner(url), loaded_by=url)


def travel(url: str, loaded_by: str) -> Journey:
    """Make the CRM, fill it as a superuser, then up, status and down as its owner."""
    with closing(command.connect(url)) as connection, closing(command.connect(loaded_by)) as loader:
        foreign_crm.create_schema(connection)
        connection.commit()
        if is_postgres(url):  # load without checking foreign keys: only a superuser may
            execute_on(loader, "SET session_replication_role = replica")
        foreign_crm.load(loader, activities=ACTIVITIES)
        return Journey(
            url=url,
            rows_before=foreign_crm.fingerprint(connection),
            before=look(url),
            up=run("up", url=url),
            status=run("status", url=url),
            applied=look(url),
            down=run("down", url=url),
            after=look(url),
            rows_after=foreign_crm.fingerprint(connection),
        )


def execute_on(connection: Any, statement: str) -> None:
    """Execute a statement in an open session."""
    with closing(connection.cursor()) as cursor:
        cursor.execute(statement)


def look(url: str) -> Moment:
    """Look at everything but the rows."""
    return Moment(catalog(url), indexes(url), answers(url))


def answers(url: str) -> dict[str, Any]:
    """Return the answers to the application's queries."""
    with closing(connect(url)) as database:
        models.database.initialize(database)
        phone = models.Contact.get_by_id(17).phone
        openphone_id = models.Activity.get_by_id(4_711).openphone_id
        return {
            "the contact of a phone number": queries.contact_by_phone(phone).id,
            "an activity seen before": queries.activity_seen(openphone_id),
            "an activity never seen": queries.activity_seen("AC-none"),
            "events that wait": [event.id for event in queries.unprocessed_events("message.received", 20)],
            "events by type": queries.event_counts(),
            "members of a campaign": sorted(each.id for each in queries.campaign_members(7, "sent")),
            "contacts that opted out": queries.opted_out_among(range(1, 5_000)),
            "a long conversation": sorted(
                each.id for each in queries.conversation_history(1, before=datetime(2024, 3, 1), limit=50)
            ),
            "voicemails": queries.activities_of_type("voicemail").count(),
        }


def test_the_crm_is_as_large_as_it_claims(journey):
    assert journey.rows_before["activity"][0] == ACTIVITIES
    assert [question for question, answer in journey.before.answers.items() if not answer] == ["an activity never seen"]


def test_up_status_and_down_succeed(journey):
    assert [journey.up.exit_code, journey.status.exit_code, journey.down.exit_code] == [0, 0, 0]
    assert journey.up.stderr == journey.status.stderr == journey.down.stderr == ""


def test_up_builds_the_ten_as_specified(journey):
    built = {name: journey.applied.indexes[name] for name in specified(journey.url)}

    assert built == specified(journey.url)


def test_not_a_row_of_any_table_is_changed(journey):
    assert journey.rows_before.keys() == set(foreign_crm.TABLES)
    assert journey.rows_after == journey.rows_before


def test_up_leaves_tables_constraints_and_indexes_of_others_as_they_are(journey):
    assert other_objects(journey.applied) == other_objects(journey.before)


def test_down_leaves_nothing_but_the_record_of_revisions(journey):
    assert other_objects(journey.after) == journey.before.catalog
    assert created_indexes(journey.url) == {}
    assert execute(journey.url, "SELECT count(*) FROM schema_revision") == [(0,)]


def other_objects(moment: Moment) -> list[tuple[Any, ...]]:
    """Return the catalog without the ten indexes and the tool's tables."""
    return [row for row in moment.catalog if not any(_is_created_by_tool(str(part)) for part in row[:3])]


def _is_created_by_tool(name: str) -> bool:
    return name in command.TEN_NAMES or "schema_revision" in name


def test_the_unique_constraints_on_the_indexed_columns_stay(journey):
    for name in ("contact_phone_key", "activity_openphone_id_key") if is_postgres(journey.url) else ():
        assert name in {row[1] for row in journey.after.catalog}
    for statement in (
        "INSERT INTO contact (first_name, last_name, phone) SELECT 'a', 'b', phone FROM contact WHERE id = 17",
        "INSERT INTO activity (openphone_id) SELECT openphone_id FROM activity WHERE id = 4711",
    ):
        with pytest.raises(Exception, match=r"(?i)unique"):
            execute(journey.url, statement)


def test_the_other_tools_revision_stays_where_it_was(journey):
    assert execute(journey.url, "SELECT version_num FROM alembic_version") == [(BASE,)]


def test_the_applications_queries_answer_the_same_with_and_without_the_indexes(journey):
    assert journey.applied.answers == journey.before.answers
    assert journey.after.answers == journey.before.answers


def test_no_table_is_created_for_a_crm_that_has_its_own(journey):
    assert "created 7 tables" not in journey.up.stdout
    assert HEAD in next(line for line in journey.up.lines if "Predicted: " not in line)
