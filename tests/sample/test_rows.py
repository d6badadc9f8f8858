"""The made-up CRM: the same for the same seed, consistent, and believable."""

import hashlib
import json
import re
import sqlite3
import time
from collections import Counter
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from command import execute, file_of, prepare
from peewee import CharField, ForeignKeyField, Model
from playhouse.db_url import connect

import models
import sample
from indexer.connection import connect as open_migrator
from sample import rows as made
from sample.sqlite import SPELLING

FIELDS = [field for model in models.TABLES for field in model._meta.sorted_fields]
REFERENCES = [(field, field.rel_model) for field in FIELDS if isinstance(field, ForeignKeyField)]
NAMES = [model._meta.table_name for model in models.TABLES]


def filled(url: str, activities: int, seed: int = sample.SEED) -> str:
    """Put a CRM into an empty database, and return its URL."""
    prepare(url, to="base")
    migrator = open_migrator(url)
    migrator.settle(NAMES)
    sample.fill(migrator, activities, True, lambda event: None, seed)
    migrator.database.close()
    return url


def rows(crm: str, table: str) -> list[dict[str, Any]]:
    """Return the rows of a table of a SQLite file."""
    with closing(sqlite3.connect(file_of(crm))) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY id")]


def column(crm: str, table: str, name: str) -> list[Any]:
    """Return the values of a column."""
    return [row[name] for row in rows(crm, table)]


def checksum(values: Any) -> str:
    """Return a checksum of anything that Python can write."""
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


def checksums(url: str) -> dict[str, str]:
    """Return a checksum over every value in a database, as the models read it, by table."""
    database = connect(url)
    with database, database.bind_ctx(models.TABLES):
        return {
            model._meta.table_name: checksum(list(model.select().order_by(model.id).tuples()))
            for model in models.TABLES
        }


@pytest.fixture(scope="module")
def crm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the URL of a SQLite file with 20,000 activities."""
    return filled(f"sqlite:///{tmp_path_factory.mktemp('made') / 'crm.db'}", 20_000, seed=7)


# Always the same ------------------------------------------------------------------------------------------------------


def test_the_rows_of_a_seed_are_the_same_on_every_machine_and_python(sqlite_url: str):
    filled(sqlite_url, 2_000, seed=1)
    assert checksum([rows(sqlite_url, table) for table in NAMES]) == "1b36311b18f29822"


def test_the_same_seed_makes_the_same_rows_and_another_seed_other_rows_in_every_table(tmp_path: Path):
    same, again, other = (
        checksums(filled(f"sqlite:///{tmp_path / name}.db", 1_000, seed))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert same == again
    assert not set(same.items()) & set(other.items())


def test_the_rows_do_not_depend_on_how_many_are_inserted_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    at_once = checksums(filled(f"sqlite:///{tmp_path / 'one.db'}", 2_000))
    monkeypatch.setattr(made, "BATCH", 77)
    assert checksums(filled(f"sqlite:///{tmp_path / 'other.db'}", 2_000)) == at_once


def test_both_databases_hold_the_same_values(sqlite_url: str, postgres_url: str):
    for url in (sqlite_url, postgres_url):
        filled(url, 3_000, seed=3)
    assert checksums(sqlite_url) == checksums(postgres_url)


def test_an_amount_of_money_is_the_same_text_on_both_databases(sqlite_url: str, postgres_url: str):
    as_text = "SELECT CAST(total_sales AS text) FROM contact WHERE total_sales IS NOT NULL ORDER BY id"
    for url in (sqlite_url, postgres_url):
        filled(url, 4_000)
    amounts = execute(sqlite_url, as_text)
    assert amounts == execute(postgres_url, as_text)
    assert len(amounts) > 100


def test_values_are_stored_as_peewee_stores_them(sqlite_url: str):
    filled(sqlite_url, 1_000)
    database = connect(sqlite_url)
    stored = {}
    with database, database.bind_ctx(models.TABLES):
        for model in models.TABLES:
            before = execute(sqlite_url, f"SELECT * FROM {model._meta.table_name} WHERE id % 50 = 1")
            for row in list(model.select().where(model.id % 50 == 1)):
                row.save()  # writes every field
            stored[model] = before, execute(sqlite_url, f"SELECT * FROM {model._meta.table_name} WHERE id % 50 = 1")
    assert all(before == after and before for before, after in stored.values())


def test_an_id_given_by_the_database_follows_those_of_the_made_up_rows(database_url: str):
    filled(database_url, 200)
    database = connect(database_url)
    with database, database.bind_ctx(models.TABLES):
        assert models.Contact.create(first_name="Ada", last_name="Byron").id == 21
        assert models.ContactFlag.create(contact=21, flag_type="opted_out").id == 31


# Consistent -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activities", [1, 7, 10, 199, 10_001])
def test_any_size_has_as_many_rows_as_it_says(database_url: str, activities: int):
    filled(database_url, activities)
    found = {table: execute(database_url, f"SELECT count(*), max(id) FROM {table}")[0] for table in NAMES}
    assert found == {table: (count, count or None) for table, count in sample.counts(activities).items()}


def test_the_largest_size_is_counted_at_once_and_its_ids_fit_into_four_bytes():
    begun = time.monotonic()
    assert max(sample.counts(sample.MOST).values()) < 2**31
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(("field", "to"), REFERENCES, ids=lambda each: getattr(each, "column_name", None))
def test_every_reference_leads_to_a_row(crm: str, field: ForeignKeyField, to: type[Model]):
    found = {id for id in column(crm, field.model._meta.table_name, field.column_name) if id is not None}
    assert found
    assert found <= set(column(crm, to._meta.table_name, "id"))


@pytest.mark.parametrize("model", models.TABLES, ids=NAMES)
def test_every_value_fits_its_column(crm: str, model: type[Model]):
    fields = {field.column_name: field for field in model._meta.sorted_fields}
    for row in rows(crm, model._meta.table_name):
        for name, value in row.items():
            assert value is not None or fields[name].null
            if isinstance(fields[name], CharField):
                assert value is None or len(value) <= fields[name].max_length
            if isinstance(fields[name], models.JSONField) and value is not None:
                assert json.loads(value)


@pytest.mark.parametrize("model", models.TABLES, ids=NAMES)
def test_unique_columns_hold_unique_values(crm: str, model: type[Model]):
    for field in model._meta.sorted_fields:
        if field.unique or field.column_name == "openphone_id":
            values = [value for value in column(crm, model._meta.table_name, field.column_name) if value is not None]
            assert len(values) == len(set(values)) > 0


def test_an_activity_is_with_the_contact_of_its_conversation(crm: str):
    contacts = {row["id"]: row["contact_id"] for row in rows(crm, "conversation")}
    assert all(row["contact_id"] == contacts[row["conversation_id"]] for row in rows(crm, "activity"))


def test_a_conversation_knows_its_last_activity(crm: str):
    last = {row["conversation_id"]: row for row in rows(crm, "activity")}
    for row in rows(crm, "conversation"):
        noted = row["last_activity_at"], row["last_activity_type"], row["last_activity_id"]
        activity = last.get(row["id"], {})
        assert noted == tuple(map(activity.get, ("created_at", "activity_type", "openphone_id")))


def test_a_membership_points_to_messages_of_its_own_contact(crm: str):
    activities = [{}, *rows(crm, "activity")]
    directions = {"sent_activity_id": "outgoing", "reply_activity_id": "incoming"}
    for row in rows(crm, "campaign_membership"):
        for name, direction in directions.items():
            if row[name]:
                found = activities[row[name]]
                assert (found["contact_id"], found["activity_type"], found["direction"]) == (
                    row["contact_id"],
                    "message",
                    direction,
                )


def test_a_message_of_a_campaign_calls_its_contact_by_name(crm: str):
    names = [None, *column(crm, "contact", "first_name")]
    sent = [row for row in rows(crm, "campaign_membership") if row["message_sent"]]
    assert sent
    assert all(row["message_sent"].startswith(f"Hi {names[row['contact_id']]}, ") for row in sent)


def test_no_contact_is_in_a_campaign_twice(crm: str):
    pairs = [(row["campaign_id"], row["contact_id"]) for row in rows(crm, "campaign_membership")]
    assert len(pairs) == len(set(pairs))


def test_an_event_is_about_one_of_the_latest_activities(crm: str):
    latest = rows(crm, "activity")[-5_000:]
    for event, activity in zip(rows(crm, "webhook_event"), latest, strict=True):
        payload = json.loads(event["payload"])
        content = payload["data"]["object"]["id"], payload["createdAt"], payload["type"]
        assert content == (activity["openphone_id"], activity["created_at"], event["event_type"])


# Believable -----------------------------------------------------------------------------------------------------------


def test_phone_numbers_are_in_e164_and_belong_to_one_contact_each(crm: str):
    phones = column(crm, "contact", "phone")
    assert len(set(phones)) == len(phones)
    assert all(re.fullmatch(r"\+1[2-9]9\d[2-9]\d{6}", phone) for phone in phones)


def test_phone_numbers_stay_unique_when_an_area_is_full(sqlite_base_url: str):
    insert = sample.statements(SPELLING, str)["contact"]
    with closing(sqlite3.connect(file_of(sqlite_base_url), isolation_level=None)) as connection:
        for beginning in (1, 8_000_001, 16_000_001):
            connection.execute(insert, {**sample.parameters(200), "first": beginning, "last": beginning + 199})
    assert len(set(column(sqlite_base_url, "contact", "phone"))) == 600


def test_one_event_in_a_hundred_waits(crm: str):
    processed = column(crm, "webhook_event", "processed")
    assert processed.count(0) / len(processed) == pytest.approx(0.01, rel=0.3)


def test_two_flags_in_a_hundred_are_opt_outs(crm: str):
    types = column(crm, "contact_flag", "flag_type")
    assert types.count("opted_out") / len(types) == pytest.approx(0.02, rel=0.3)


def test_campaigns_are_of_very_different_size(sqlite_url: str):
    filled(sqlite_url, 200_000)
    sizes = Counter(column(sqlite_url, "campaign_membership", "campaign_id")).values()
    assert max(sizes) > 20 * median(sizes) > 1_000
    assert 100 <= sorted(sizes)[1] < max(sizes) <= 10_000  # the last one is cut off
    assert len(sizes) == sample.counts(200_000)["campaign"]


def test_conversations_are_of_very_different_length(crm: str):
    lengths = Counter(column(crm, "activity", "conversation_id")).values()
    assert max(lengths) > 20 * median(lengths)
    assert min(lengths) == 1


def test_bodies_are_of_some_hundred_bytes(crm: str):
    lengths = [len(body.encode()) for body in column(crm, "activity", "body") if body]
    assert min(lengths) >= 100
    assert max(lengths) <= 300
    assert len(lengths) / 20_000 == pytest.approx(0.83, rel=0.05)


def test_activities_come_in_the_order_of_time_over_five_years_and_by_day(crm: str):
    moments = [datetime.fromisoformat(moment) for moment in column(crm, "activity", "created_at")]
    assert moments == sorted(moments)
    assert moments[-1] - moments[0] > timedelta(days=4.9 * 365)
    assert all(8 <= moment.hour < 20 for moment in moments)


def test_most_activities_are_messages_and_few_are_voicemails(crm: str):
    shares = {kind: count / 20_000 for kind, count in Counter(column(crm, "activity", "activity_type")).items()}
    assert shares == pytest.approx({"message": 0.81, "call": 0.15, "voicemail": 0.02, "email": 0.02}, rel=0.2)
