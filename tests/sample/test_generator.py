"""The made-up CRM: always the same for the same seed, whole in itself, and believable."""

import hashlib
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from threading import Timer
from typing import Any

import pytest
from command import execute, prepare
from peewee import CharField, ForeignKeyField, Model
from playhouse.db_url import connect

import models
from indexer.connect import connect as open_migrator
from indexer.errors import IndexerError, Interrupted
from indexer.signals import Stop
from proof import production
from proof.fill import fill
from proof.generator import MOST, Crm

SIGNALLING = """
import os, signal
from indexer.signals import SIGNALS, Stop
from proof.generator import Crm
from proof.production import production

for number in SIGNALS:
    signal.signal(number, lambda *_: None)  # unlike an ignored one, this is not inherited
crm = Crm(60_000)
with production(crm, Stop()) as batches:
    for number in SIGNALS:
        os.killpg(0, number)
    made = {table: sum(len(columns["id"]) for columns in batches(table)) for table in crm.counts}
print("all" if made == crm.counts else made)
"""

FIELDS = [field for model in models.TABLES for field in model._meta.sorted_fields]
REFERENCES = [(field, field.rel_model) for field in FIELDS if isinstance(field, ForeignKeyField)]
NAMES = [model._meta.table_name for model in models.TABLES]


def rows(crm: Crm, table: str) -> Iterator[dict[str, Any]]:
    """The rows of a table, one by one."""
    for columns in crm.batches(table):
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))


def column(crm: Crm, table: str, name: str) -> list[Any]:
    """The values of a column."""
    return [row[name] for row in rows(crm, table)]


def fingerprint(crm: Crm) -> str:
    """A checksum over all that is generated."""
    told = repr([list(rows(crm, table)) for table in crm.counts])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def checksums(url: str) -> dict[str, str]:
    """A checksum over every value in a database, as the models read it, by table."""
    found = {}
    database = connect(url)
    with database, database.bind_ctx(models.TABLES):
        for model in models.TABLES:
            values = list(model.select().order_by(model.id).tuples())
            found[model._meta.table_name] = hashlib.sha256(repr(values).encode()).hexdigest()[:16]
    return found


def filled(url: str, crm: Crm) -> None:
    """Put a CRM into an empty database."""
    prepare(url, to="base")
    migrator = open_migrator(url)
    migrator.settle(NAMES)
    fill(migrator, crm, True, lambda event: None)
    migrator.database.close()


@pytest.fixture(scope="module")
def crm() -> Crm:
    return Crm(20_000, seed=7)


# Always the same ------------------------------------------------------------------------------------------------------


def test_the_rows_of_a_seed_are_the_same_on_every_machine_and_python():
    assert fingerprint(Crm(2_000, seed=1)) == "beb831e423d80e38"


def test_another_seed_makes_other_rows():
    assert fingerprint(Crm(200, seed=1)) == fingerprint(Crm(200, seed=1)) != fingerprint(Crm(200, seed=2))


def test_a_batch_depends_on_no_other_batch():
    one, other = Crm(30_000), Crm(30_000)
    last = list(one.batches("activity"))[-1]
    for table in reversed(other.counts):
        backwards = list(other.batches(table))
    assert backwards
    assert list(other.batches("activity"))[-1] == last


def test_a_second_process_makes_the_same_rows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(production, "WORTH_IT", 0)
    crm = Crm(12_000, seed=5)
    with production.production(crm, Stop()) as batches:
        made = {table: list(batches(table)) for table in crm.counts}
    assert made == {table: list(crm.batches(table)) for table in crm.counts}


def test_a_second_process_that_ends_too_early_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(production, "WORTH_IT", 0)
    monkeypatch.setattr(production, "PROJECT", tmp_path)  # where there is nothing to run
    with production.production(Crm(100), Stop()) as batches, pytest.raises(IndexerError, match="has ended"):
        next(batches("contact"))


def test_a_signal_to_the_whole_group_does_not_end_the_process_that_makes_the_rows():
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLING],
        cwd=production.PROJECT,
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "all\n", "")


def test_rows_that_take_long_to_make_keep_nobody_from_stopping():
    stop = Stop()
    asking = Timer(0.5, stop.ask, [signal.SIGTERM])
    with production.production(Crm(50_000_000), stop) as batches:
        asking.start()
        with pytest.raises(Interrupted, match="SIGTERM"):
            next(batches("contact"))
        asked = time.monotonic()
    assert time.monotonic() - asked < 1


def test_both_databases_hold_the_same_values(sqlite_url: str, postgres_url: str):
    for url in (sqlite_url, postgres_url):
        filled(url, Crm(1_000, seed=3))
    assert checksums(sqlite_url) == checksums(postgres_url)


def test_an_amount_of_money_is_the_same_text_on_both_databases(sqlite_url: str, postgres_url: str):
    as_text = "SELECT CAST(total_sales AS text) FROM contact WHERE total_sales IS NOT NULL ORDER BY id"
    for url in (sqlite_url, postgres_url):
        filled(url, Crm(4_000))
    amounts = execute(sqlite_url, as_text)
    assert amounts == execute(postgres_url, as_text)
    assert len(amounts) > 100


def test_another_seed_has_another_checksum_in_every_table(tmp_path: Path):
    urls = [f"sqlite:///{tmp_path / name}" for name in ("one.db", "other.db")]
    for seed, url in enumerate(urls):
        filled(url, Crm(1_000, seed))
    one, other = map(checksums, urls)
    assert not set(one.items()) & set(other.items())


def test_values_are_stored_as_peewee_stores_them(sqlite_url: str):
    filled(sqlite_url, Crm(1_000))
    database = connect(sqlite_url)
    stored = {}
    with database, database.bind_ctx(models.TABLES):
        for model in models.TABLES:
            before = execute(sqlite_url, f"SELECT * FROM {model._meta.table_name} WHERE id % 50 = 1")
            for row in list(model.select().where(model.id % 50 == 1)):
                row.save()  # writes every field
            stored[model] = before, execute(sqlite_url, f"SELECT * FROM {model._meta.table_name} WHERE id % 50 = 1")
    assert all(before == after and before for before, after in stored.values())


def test_an_id_given_by_the_database_follows_those_of_the_generator(database_url: str):
    filled(database_url, Crm(200))
    database = connect(database_url)
    with database, database.bind_ctx(models.TABLES):
        assert models.Contact.create(first_name="Ada", last_name="Byron").id == 21
        assert models.ContactFlag.create(contact=21, flag_type="opted_out").id == 31


# Whole in itself ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activities", [1, 7, 10, 199, 10_001])
def test_any_size_has_as_many_rows_as_it_says(activities: int):
    crm = Crm(activities)
    assert {table: len(list(rows(crm, table))) for table in crm.counts} == crm.counts
    assert crm.rows == sum(crm.counts.values())


def test_the_largest_size_is_made_at_once_and_its_ids_fit_into_four_bytes():
    begun = time.monotonic()
    assert max(Crm(MOST).counts.values()) < 2**31
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(("field", "to"), REFERENCES, ids=lambda each: getattr(each, "column_name", None))
def test_every_reference_leads_to_a_row(crm: Crm, field: ForeignKeyField, to: type[Model]):
    found = {id for id in column(crm, field.model._meta.table_name, field.column_name) if id is not None}
    assert found
    assert found <= set(column(crm, to._meta.table_name, "id"))


@pytest.mark.parametrize("model", models.TABLES, ids=NAMES)
def test_every_value_fits_its_column_and_needs_no_escape(crm: Crm, model: type[Model]):
    fields = {field.column_name: field for field in model._meta.sorted_fields}
    for row in rows(crm, model._meta.table_name):
        assert set(row) <= set(fields)
        for name, value in row.items():
            assert value is not None or fields[name].null
            if isinstance(fields[name], CharField):
                assert value is None or len(value) <= fields[name].max_length
            assert not re.search(r"[\t\n\r\\]", str(value))


@pytest.mark.parametrize("model", models.TABLES, ids=NAMES)
def test_what_must_be_unique_is(crm: Crm, model: type[Model]):
    for field in model._meta.sorted_fields:
        if field.unique and field.column_name in next(crm.batches(model._meta.table_name)):
            values = [value for value in column(crm, model._meta.table_name, field.column_name) if value is not None]
            assert len(values) == len(set(values))


def test_an_activity_is_with_the_contact_of_its_conversation(crm: Crm):
    contacts = {row["id"]: row["contact_id"] for row in rows(crm, "conversation")}
    assert all(row["contact_id"] == contacts[row["conversation_id"]] for row in rows(crm, "activity"))


def test_a_conversation_knows_its_last_activity(crm: Crm):
    last = {row["conversation_id"]: row for row in rows(crm, "activity")}
    for row in rows(crm, "conversation"):
        told = row["last_activity_at"], row["last_activity_type"], row["last_activity_id"]
        activity = last.get(row["id"], {})
        assert told == tuple(map(activity.get, ("created_at", "activity_type", "openphone_id")))


def test_a_membership_points_to_messages_of_its_own_contact(crm: Crm):
    contacts = [None, *column(crm, "activity", "contact_id")]
    for row in rows(crm, "campaign_membership"):
        for name in ("sent_activity_id", "reply_activity_id"):
            assert contacts[row[name] or 0] in (None, row["contact_id"])


def test_nobody_is_in_a_campaign_twice(crm: Crm):
    pairs = [(row["campaign_id"], row["contact_id"]) for row in rows(crm, "campaign_membership")]
    assert len(pairs) == len(set(pairs))


# Believable -----------------------------------------------------------------------------------------------------------


def test_phone_numbers_are_in_e164_and_belong_to_one_contact_each(crm: Crm):
    phones = column(crm, "contact", "phone")
    assert len(set(phones)) == len(phones)
    assert all(re.fullmatch(r"\+1[2-9]\d\d[2-9]\d{6}", phone) for phone in phones)


def test_phone_numbers_stay_unique_when_an_area_is_full():
    crm = Crm(1)
    ids = [beginning + id for beginning in (0, 8_000_000, 16_000_000) for id in range(200)]
    assert len(set(map(crm.phone, ids))) == len(ids)


def test_one_event_in_a_hundred_waits(crm: Crm):
    processed = column(crm, "webhook_event", "processed")
    assert processed.count(0) / len(processed) == pytest.approx(0.01, rel=0.3)


def test_two_flags_in_a_hundred_are_opt_outs(crm: Crm):
    types = column(crm, "contact_flag", "flag_type")
    assert types.count("opted_out") / len(types) == pytest.approx(0.02, rel=0.3)


def test_campaigns_are_of_very_different_size():
    crm = Crm(200_000)
    sizes = Counter(column(crm, "campaign_membership", "campaign_id")).values()
    assert max(sizes) > 20 * median(sizes) > 1_000
    assert len(sizes) == crm.counts["campaign"]


def test_conversations_are_of_very_different_length(crm: Crm):
    lengths = Counter(column(crm, "activity", "conversation_id")).values()
    assert max(lengths) > 20 * median(lengths)
    assert min(lengths) == 1


def test_bodies_are_of_some_hundred_bytes(crm: Crm):
    lengths = [len(body.encode()) for body in column(crm, "activity", "body") if body]
    assert min(lengths) >= 100
    assert max(lengths) <= 300
    assert len(lengths) / crm.activities == pytest.approx(0.83, rel=0.05)


def test_activities_come_in_the_order_of_time_over_five_years_and_by_day(crm: Crm):
    moments = [datetime.fromisoformat(moment) for moment in column(crm, "activity", "created_at")]
    assert moments == sorted(moments)
    assert moments[-1] - moments[0] > timedelta(days=4.9 * 365)
    assert all(8 <= moment.hour < 20 for moment in moments)


def test_most_activities_are_messages_and_few_are_voicemails(crm: Crm):
    shares = {kind: count / crm.activities for kind, count in Counter(column(crm, "activity", "activity_type")).items()}
    assert shares == pytest.approx({"message": 0.81, "call": 0.15, "voicemail": 0.02, "email": 0.02}, rel=0.2)
