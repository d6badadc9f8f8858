"""What a hash index cannot do, and where many equal values make it slow."""

from __future__ import annotations

import pytest
from command import execute, is_postgres
from counters import change

import queries
from indexer.care.hashes import hash_distinct
from indexer.connection import connect
from indexer.revisions.chain import load
from indexer.verify.verify import verify
from models import TABLES

PHONE = "ix_contact_phone_hash"
FILL = "INSERT INTO contact (first_name, last_name, phone) SELECT 'A', 'B', {phone} FROM generate_series(1, 20000) AS n"
PHONES = {
    "all different": ("'+1' || n", ""),
    "few": ("'+1' || (n % 10)", "has about 10 different values, each for 2,000 rows"),
    "NULL but for few": ("CASE WHEN n % 100 = 0 THEN '+1' || n END", ""),
    "one of half the rows": ("CASE WHEN n % 2 = 0 THEN '+1' ELSE '+1' || n END", "has one value for about "),
}


@pytest.mark.parametrize(("phone", "advice"), PHONES.values(), ids=PHONES)
def test_equal_values_are_advised_against_where_they_fill_chains_of_pages(head_url, phone, advice):
    change(head_url, FILL.format(phone=phone), "ANALYZE contact")
    with connect(head_url, read_only=True) as migrator:
        migrator.settle(["contact"])
        found = hash_distinct(migrator, [PHONE, "ix_activity_type"])
    assert set(found) == ({PHONE} if advice else set())
    assert advice in found.get(PHONE, "")


def test_nothing_is_advised_without_statistics(any_head_url):
    if is_postgres(any_head_url):
        execute(any_head_url, FILL.format(phone="'+1'"))
    with connect(any_head_url, read_only=True) as migrator:
        migrator.settle(["contact"])
        assert hash_distinct(migrator, [PHONE]) == {}


def test_what_a_hash_index_cannot_do_is_said_once_an_index(head_url):
    with connect(head_url, read_only=True) as migrator:
        report = verify(migrator, [*queries.QUERIES, *queries.QUERIES], TABLES, load(".").indexes)
    notes = [note for result in report.results for note in result.notes if "nor be unique" in str(note)]
    assert len(notes) == 1
    assert report.exit_code == 0
