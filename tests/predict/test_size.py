"""What is predicted of an index's size against the size that it has once it is built, on rows of many kinds."""

from __future__ import annotations

from typing import Any

import pytest
from command import execute
from kinds import runner_of

from indexer import Index, Variant, desc
from indexer.definition import Expression

ROWS = 60_000
COLUMNS = {
    "id": "g",
    "md5": "md5(g::text)",
    "uid": "md5('u' || g)::uuid",
    "half": "CASE WHEN g % 2 = 0 THEN md5((g % 7)::text) END",
    "few": "(ARRAY ['new', 'open', 'closed', 'waiting for customer']) [1 + (g * 7919 % 16)::int / 5]",
    "customer": f"(random() * {ROWS} / 5)::int",
    "agent": f"(random() * {ROWS} / 50)::int",
    "name": f"'user' || (power(random(), 3) * {ROWS})::bigint || '@example.com'",
    "source": "CASE WHEN random() < 0.5 THEN 'unknown' ELSE md5(random()::text) END",
    "at": "now() - random() * interval '1 year'",
    "deleted_at": "CASE WHEN random() < 0.2 THEN now() END",
    "rare": "random() < 0.02",
    "price": "(random() * 1000)::int::numeric",
    "tags": "ARRAY [g, g + 1]",
}
FILL = (
    f"CREATE TABLE sold AS SELECT {', '.join(f'{value} AS {name}' for name, value in COLUMNS.items())}"
    f" FROM generate_series(1, {ROWS}) AS g",
    "VACUUM (ANALYZE) sold",
)


def index(name: str, *columns: Any, on: Variant | None = None, **more: Any) -> Index:
    return Index(name, "sold", columns, on_postgresql=on or Variant(), **more)


KINDS = (
    index("different"[:9], "id"),
    index("long_text", "md5"),
    index("uuids", "uid"),
    index("with_nulls", "half"),
    index("few_values", "few"),
    index("of_a_few_rows", "customer"),
    index("of_many_rows", "agent"),
    index("descending", desc("at")),
    index("two_columns", "customer", desc("at")),
    index("two_with_few", "agent", "few"),
    index("text_and_time", "few", "at"),
    index("not_merged", "price"),
    index("included", "agent", include=("few", "at")),
    index("partial", "customer", where="rare"),
    index("of_one_value", "few", "id", where="few = 'open'"),
    index("of_a_long_value", "few", "id", where="few = 'waiting for customer'"),
    index("not_null", "agent", where="deleted_at IS NOT NULL"),
    index("hashed", "md5", on=Variant(using="hash")),
    index("hashed_few", "few", on=Variant(using="hash")),
    index("hashed_many", "agent", on=Variant(using="hash")),
    index("hashed_nulls", "half", on=Variant(using="hash")),
    index("loose", "id", on=Variant(storage={"fillfactor": 70})),
    index("lowered", Expression("lower(md5)")),
)
UNKNOWN = {
    index("skewed", "name"): "it is not known how many of its rows will have the same key",
    index(
        "computed", Expression("length(name)")
    ): "nothing is known of the values of its expression before it is built",
    index("inverted", "tags", on=Variant(using="gin")): "the size of a gin index depends on more than statistics tell",
}


@pytest.fixture(scope="module")
def predicted_and_built(postgres_server: str):
    """Return the prediction and the size of each index; one run for all, because it takes seconds."""
    from roles import as_owner, new_database

    with new_database(postgres_server) as superuser_url:
        url = as_owner(superuser_url)
        execute(url, *FILL)
        with runner_of(url, *KINDS, *UNKNOWN) as runner:
            forecast = runner.plan(forecasts=True).forecast
            runner.up()
        sizes = dict(execute(url, "SELECT relname, pg_relation_size(oid) FROM pg_class WHERE relkind = 'i'"))
        ((version,),) = execute(url, "SHOW server_version_num")
    return forecast.predictions, {**sizes, "merges": int(version) >= 130000}


@pytest.mark.parametrize("name", [each.name for each in KINDS])
def test_the_size_of_an_index_is_predicted_within_a_quarter(predicted_and_built, name):
    predictions, sizes = predicted_and_built
    assert predictions[name].bytes == pytest.approx(sizes[name], rel=0.25), predictions[name]


@pytest.mark.parametrize("each", UNKNOWN, ids=lambda each: each.name)
def test_a_size_that_cannot_be_told_is_not_guessed(predicted_and_built, each):
    predictions, sizes = predicted_and_built
    found = predictions[each.name]
    if each.name == "skewed" and not sizes["merges"]:  # then each row takes as much as any other
        assert found.bytes == pytest.approx(sizes[each.name], rel=0.25)
        return
    assert (found.bytes, found.why) == (None, UNKNOWN[each])
    assert found.bytes_at_most is None or found.bytes_at_most >= sizes[each.name]


def test_the_wal_and_the_room_to_sort_in_follow_from_the_size(predicted_and_built):
    predictions, sizes = predicted_and_built
    assert predictions["long_text"].wal_bytes == pytest.approx(0.92 * sizes["long_text"], rel=0.05)
    assert predictions["long_text"].sort_bytes == 0  # it is sorted in memory


def test_a_table_without_statistics_tells_no_size_and_an_empty_one_does(postgres_url):
    execute(postgres_url, "CREATE TABLE sold (id int)", "CREATE TABLE empty (id int)")
    execute(postgres_url, "ALTER TABLE sold SET (autovacuum_enabled = off)", "INSERT INTO sold VALUES (1)")
    with runner_of(postgres_url, index("unknown", "id"), Index("nothing", "empty", ("id",))) as runner:
        forecast = runner.plan(forecasts=True).forecast
        runner.up()
    assert (forecast.unknown, forecast.bytes_at_most) == (("unknown",), None)
    assert forecast.predictions["unknown"].why == "sold was never analyzed"
    assert forecast.predictions["nothing"].bytes == 8192
    assert execute(postgres_url, "SELECT pg_relation_size('nothing')") == [(8192,)]
