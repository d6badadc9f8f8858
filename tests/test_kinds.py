"""Every kind of index is built, compared whole, scripted, kept if another tool made it, and dropped."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from command import execute, indexes, run_script
from kinds import runner_of

from indexer import Column, Expression, Index, Variant, desc
from indexer.errors import Different

NOTE = """
    CREATE TABLE note (
        id integer PRIMARY KEY,
        title varchar(100),
        body text,
        owner integer,
        weight numeric,
        made timestamp
    )
"""


class Kind(NamedTuple):
    """A kind of index: how it is declared and stored, and another one that differs in one part."""

    index: Index
    stored: str
    other: str
    part: str
    declared: str
    found: str


def index(*columns: str | Column | Expression, on: Variant | None = None, **attributes) -> Index:
    return Index("ix", "note", columns, **({"on_postgresql": on} if on else {}), **attributes)


POSTGRESQL = {
    "an expression": Kind(
        index(Expression("lower(title)")),
        "USING btree (lower((title)::text))",
        "(upper(title))",
        "key",
        "lower((title)::text)",
        "upper((title)::text)",
    ),
}


SQLITE = {
    "an expression": Kind(
        index(Expression("lower(title)")), "((lower(title)))", "(upper(title))", "key", "lower(title)", "upper(title)"
    ),
    "a predicate": Kind(
        index("title", where="owner = 1"),
        "(title) WHERE owner = 1",
        "(title) WHERE owner = 2",
        "predicate",
        "owner = 1",
        "owner = 2",
    ),
    "a collation and a direction": Kind(
        index(desc(Expression("title || body", collation="nocase"))),
        "((title || body) COLLATE nocase DESC)",
        "((title || body) DESC)",
        "key",
        "title || body COLLATE NOCASE DESC",
        "title || body DESC",
    ),
}


@pytest.fixture
def notes(postgres_url: str) -> str:
    """Return the URL of a PostgreSQL database with one table."""
    execute(postgres_url, NOTE)
    return postgres_url


@pytest.fixture
def sqlite_notes(sqlite_url: str) -> str:
    """Return the URL of a SQLite file with one table."""
    execute(sqlite_url, NOTE)
    return sqlite_url


def goes_up_and_down(url: str, kind: Kind) -> None:
    """Check that up, down and the script agree on an index, that another tool's is kept, and another one refused."""
    with runner_of(url, kind.index) as runner:
        runner.up()
        built = indexes(url)["ix"]
        assert built.endswith(kind.stored)
        assert runner.inspector.status().steps[0].state == "valid"
        assert not runner.up().changed
        runner.down()
        assert "ix" not in indexes(url)
        run_script(runner.script(runner.inspector.plan()), url)
        assert indexes(url)["ix"] == built
        assert runner.inspector.status().steps[0].state == "valid"
        runner.down()

        execute(url, built.replace("INDEX ix ", "INDEX by_hand "))
        assert runner.inspector.plan().steps[0].other_name == "by_hand"
        execute(url, "DROP INDEX by_hand", f"CREATE INDEX ix ON note {kind.other}")
        with pytest.raises(Different) as refused:
            runner.up()
        assert [tuple(each) for each in refused.value.found["ix"]] == [(kind.part, kind.declared, kind.found)]


@pytest.mark.parametrize("kind", POSTGRESQL.values(), ids=POSTGRESQL)
def test_each_kind_of_index_is_built_compared_and_dropped(notes, kind):
    goes_up_and_down(notes, kind)


@pytest.mark.parametrize("kind", SQLITE.values(), ids=SQLITE)
def test_each_kind_of_index_is_built_compared_and_dropped_on_sqlite(sqlite_notes, kind):
    goes_up_and_down(sqlite_notes, kind)
