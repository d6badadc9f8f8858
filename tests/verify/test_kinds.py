"""`verify` recognises an index of any kind as serving its query, and no other one in its place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from command import execute, is_postgres
from kinds import runner_of
from peewee import CharField, DateTimeField, IntegerField, Model, ModelSelect, TextField, fn
from peewee import Expression as Operation

from indexer import Column, Expression, Index, Variant, desc
from indexer.connection import connect
from indexer.verify.query import Query, rows_of
from indexer.verify.result import Report
from indexer.verify.verify import verify


class Note(Model):
    """A table that has nothing to do with the CRM."""

    title = CharField(100)
    body = TextField()
    owner = IntegerField()
    made = DateTimeField()


def by_title(title: str) -> ModelSelect:
    return Note.select().where(fn.LOWER(Note.title) == title.lower())


def with_word(word: str) -> ModelSelect:
    return Note.select().where(Note.body.contains(word))


def like_word(word: str) -> ModelSelect:
    return Note.select().where(Operation(Note.body, "%%", word))  # an operator of the extension


def of_owner(owner: int) -> ModelSelect:
    return Note.select().where(Note.owner == owner, Note.title != "").order_by(Note.made.desc())


def since(made: str) -> ModelSelect:
    return Note.select().where(Note.made > made)


def latest() -> ModelSelect:
    return Note.select().order_by(fn.LOWER(Note.title).desc()).limit(5)


INDEXES = {
    by_title: Index("ix_by_title", "note", (Expression("lower(title)"),), include=("id",)),
    of_owner: Index("ix_of_owner", "note", ("owner", desc("made")), where="title <> ''"),
    latest: Index("ix_latest", "note", (desc(Expression("lower(title)")), "made")),
}
ON_POSTGRESQL = {
    **INDEXES,
    with_word: Index("ix_with_word", "note", (Column("body", opclass="gin_trgm_ops"),), on_postgresql=Variant("gin")),
    like_word: Index("ix_like_word", "note", (Column("body", opclass="gist_trgm_ops"),), on_postgresql=Variant("gist")),
    since: Index("ix_since", "note", ("made",), on_postgresql=Variant("brin")),
}
SAMPLES = {
    by_title: rows_of(Note.title, otherwise=("Title",)),
    with_word: rows_of(Note.body, otherwise=("word",)),
    like_word: rows_of(Note.body, otherwise=("word",)),
    of_owner: rows_of(Note.owner, otherwise=(1,)),
    since: rows_of(Note.made, otherwise=("2025-01-01",)),
    latest: lambda count: [()],
}
ROWS = """
    INSERT INTO note (title, body, owner, made)
      WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 3000)
    SELECT 'Title ' || n, 'A body with the word ' || n, n % 500, '2025-01-01 00:00:00' FROM numbers
"""


def make_notes(url: str) -> dict:
    """Create and fill the table, and return the indexes by their queries."""
    of_type = "serial PRIMARY KEY" if is_postgres(url) else "integer PRIMARY KEY"
    execute(url, f"CREATE TABLE note (id {of_type}, title varchar(100), body text, owner integer, made timestamp)")
    execute(url, ROWS if not is_postgres(url) else ROWS.replace("'2025-01-01 00:00:00'", "now()"), "ANALYZE note")
    return ON_POSTGRESQL if is_postgres(url) else INDEXES


@contextmanager
def verified(url: str, indexes: dict) -> Iterator[Report]:
    migrator = connect(url)
    queries = [Query(index.name, function, SAMPLES[function]) for function, index in indexes.items()]
    with closing(migrator.database):
        yield verify(migrator, queries, [Note], list(indexes.values()))


@pytest.fixture
def notes(request: pytest.FixtureRequest, database_url: str) -> str:
    """Return the URL of a database with the extension that one index needs; only a superuser creates it in 12."""
    if is_postgres(database_url):
        superuser_url = request.getfixturevalue("superuser_url")
        if not execute(superuser_url, "SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'"):
            pytest.skip("no pg_trgm")
        execute(superuser_url, "CREATE EXTENSION pg_trgm")
    return database_url


def test_an_index_of_any_kind_serves_its_query(notes):
    indexes = make_notes(notes)
    with runner_of(notes, *indexes.values()) as runner:
        runner.up()
    with verified(notes, indexes) as report:
        assert {result.index: result.notes for result in report.results if not result.usable} == {}
        assert report.exit_code == 0


def test_an_index_of_the_column_does_not_serve_the_query_of_its_expression(notes):
    indexes = make_notes(notes)
    with runner_of(notes, *indexes.values()) as runner:
        runner.up()
    execute(notes, "DROP INDEX ix_by_title", "DROP INDEX ix_latest", "CREATE INDEX ix_by_title ON note (title)")
    with verified(notes, indexes) as report:
        assert [result.index for result in report.results if not result.usable] == ["ix_by_title", "ix_latest"]
        assert report.exit_code == 4
