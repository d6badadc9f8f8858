"""An index is called redundant only if another one serves all its queries, in `check` and in `verify`."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from command import execute
from kinds import runner_of
from peewee import CharField, Model, ModelSelect

from indexer import Column, Expression, Index, Variant, desc
from indexer.connection import connect
from indexer.definition import Definition, makes_redundant
from indexer.verify.query import Query, once
from indexer.verify.result import QueryResult
from indexer.verify.verify import verify

A, B = Column("a"), Column("b")


def of(*key: Column | Expression, method: str = "btree", **attributes: Any) -> Definition:
    return Definition("note", method, key, **attributes)


@pytest.mark.parametrize(
    ("other", "index", "expected"),
    [
        pytest.param(of(A), of(A), True, id="the same"),
        pytest.param(of(A, B), of(A), True, id="wider"),
        pytest.param(of(A), of(A, B), False, id="narrower"),
        pytest.param(of(B, A), of(A), False, id="another order of the columns"),
        pytest.param(of(A)._replace(table="job"), of(A), False, id="another table"),
        pytest.param(of(A), of(A, predicate="b = 1"), False, id="all rows instead of few"),
        pytest.param(of(A, predicate="b = 1"), of(A), False, id="few rows instead of all"),
        pytest.param(of(A, B, predicate="b = 1"), of(A, predicate="b = 1"), True, id="the same few rows"),
        pytest.param(of(desc(A), B), of(A), False, id="another direction"),
        pytest.param(of(A._replace(nulls="first"), B), of(A), False, id="another order of NULLs"),
        pytest.param(of(A._replace(collation="C"), B), of(A), False, id="another collation"),
        pytest.param(of(A._replace(opclass="text_pattern_ops"), B), of(A), False, id="another operator class"),
        pytest.param(of(A), of(Expression("lower(a)")), False, id="a column instead of an expression"),
        pytest.param(of(Expression("lower(a)"), B), of(Expression("lower(a)")), True, id="the same expression"),
        pytest.param(of(A), of(A, include=("b",)), False, id="without a stored column"),
        pytest.param(of(A, B), of(A, include=("b",)), True, id="the stored column in the key"),
        pytest.param(of(A, include=("b", "c")), of(A, include=("b",)), True, id="more stored columns"),
        pytest.param(of(A, unique=True), of(A), True, id="unique as well"),
        pytest.param(of(A), of(A, unique=True), False, id="not unique"),
        pytest.param(of(A, B, unique=True), of(A, unique=True), False, id="unique in more columns"),
        pytest.param(of(A, unique=True, constraint="key"), of(A, unique=True), True, id="a unique constraint"),
        pytest.param(
            of(A, unique=True), of(A, unique=True, nulls_distinct=False), False, id="unique but for several NULLs"
        ),
        pytest.param(of(A), of(A, method="hash"), True, id="a B-tree instead of a hash"),
        pytest.param(of(A, method="hash"), of(A), False, id="a hash instead of a B-tree"),
        pytest.param(of(A), of(A, method="gin"), False, id="a B-tree instead of a GIN index"),
        pytest.param(of(A), of(A, method="gist"), False, id="a B-tree instead of a GiST index"),
        pytest.param(of(A), of(A, method="brin"), False, id="a B-tree instead of a BRIN index, which is far smaller"),
        pytest.param(of(A, method="gin"), of(A, method="gin"), True, id="the same GIN index"),
    ],
)
def test_an_index_makes_another_one_redundant_that_it_can_replace_for_every_query(other, index, expected):
    assert makes_redundant(other, index) is expected


# On real databases ---------------------------------------------------------------------------------------------------


class Job(Model):
    """A queue, of which few rows are waiting."""

    id = CharField(20, primary_key=True)
    name = CharField(100)
    state = CharField(20)


WAITING = Index("job_waiting", "job", ("id",), where="state = 'waiting'")
UNIQUE = Index("job_unique_name", "job", ("name",), unique=True)
LOWER = Index("job_lower_name", "job", (Expression("lower(name)"),))
STATE = Index("job_state", "job", ("state",))
TABLE = "CREATE TABLE job (id varchar(20) PRIMARY KEY, name varchar(100), state varchar(20))"
ROWS = """
    INSERT INTO job (id, name, state)
      WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000)
    SELECT 'job ' || n, 'name ' || n, CASE WHEN n % 2000 = 0 THEN 'waiting' ELSE 'done' END FROM numbers
"""


def next_jobs() -> ModelSelect:
    return Job.select().where(Job.state == "waiting").order_by(Job.id)


def jobs_in(state: str) -> ModelSelect:
    return Job.select().where(Job.state > state)


def make_jobs(url: str, *indexes: Index) -> None:
    execute(url, TABLE, ROWS, "ANALYZE job")
    with runner_of(url, *indexes) as runner:
        runner.up()


def advised(url: str, *indexes: Index) -> set[tuple[str, str | None, str | None]]:
    with runner_of(url, *indexes) as runner:
        return {(each.kind, each.other, each.about) for each in runner.inspector.check().advice}


def result_of(url: str, query: Query, *indexes: Index) -> QueryResult:
    migrator = connect(url)
    with closing(migrator.database):
        (result,) = verify(migrator, [query], [Job], indexes).results
        return result


def test_check_does_not_advise_against_a_partial_index_a_unique_one_and_one_of_an_expression(database_url):
    indexes = (WAITING, UNIQUE, LOWER)
    make_jobs(database_url, *indexes)
    execute(database_url, "CREATE INDEX other_id ON job (id, name)", "CREATE INDEX other_name ON job (name, id)")

    assert advised(database_url, *indexes) == set()


def test_check_advises_against_an_index_of_the_same_few_rows(database_url):
    make_jobs(database_url, WAITING)
    execute(database_url, "CREATE INDEX other ON job (id, name) WHERE state = 'waiting'")

    assert advised(database_url, WAITING) == {("serves the same key", "other", WAITING.name)}


def test_check_does_not_advise_to_drop_an_index_for_one_that_lacks_its_stored_column(postgres_url):
    make_jobs(postgres_url, STATE)
    execute(postgres_url, "CREATE INDEX storing ON job (name) INCLUDE (state)", "CREATE INDEX wide ON job (name, id)")

    assert advised(postgres_url, STATE) == set()


def test_verify_does_not_call_a_partial_index_redundant_because_of_the_primary_key(database_url):
    make_jobs(database_url, WAITING)
    query = Query(WAITING.name, next_jobs, once)
    result = result_of(database_url, query, WAITING)
    execute(database_url, f"DROP INDEX {WAITING.name}")
    without = result_of(database_url, query, WAITING)

    assert (result.usable, result.served_by) == (True, None)
    assert not without.served
    assert not any("redundant" in str(note) for note in (*result.notes, *without.notes))


def test_verify_lets_an_index_that_finds_the_rows_of_the_predicate_serve_without_calling_the_partial_one_redundant(
    database_url,
):
    make_jobs(database_url, WAITING)
    execute(database_url, "CREATE INDEX other ON job (state, id)")
    execute(database_url, f"DROP INDEX {WAITING.name}")
    result = result_of(database_url, Query(WAITING.name, next_jobs, once), WAITING)

    assert (result.usable, result.served_by) == (False, "other")
    assert [str(note) for note in result.notes] == [
        f"other serves next_jobs(). {WAITING.name} is missing. Build it: indexer up"
    ]


def test_verify_does_not_let_a_hash_serve_a_range(postgres_url):
    make_jobs(postgres_url, STATE)
    execute(postgres_url, "CREATE INDEX other ON job USING hash (state)")
    result = result_of(postgres_url, Query(STATE.name, jobs_in, lambda count: [("done",)]), STATE)

    assert (result.usable, result.served_by) == (True, None)


def test_check_does_not_take_a_b_tree_for_a_gin_index_of_the_same_column(postgres_url):
    tags = Index("ix_tags", "tagged", ("tags",), on_postgresql=Variant("gin"))
    execute(postgres_url, "CREATE TABLE tagged (id serial PRIMARY KEY, tags text[])")
    with runner_of(postgres_url, tags) as runner:
        runner.up()
    execute(postgres_url, "CREATE INDEX other ON tagged (tags)")
    assert advised(postgres_url, tags) == set()
