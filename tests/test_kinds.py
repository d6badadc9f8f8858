"""Every kind of index is built, compared whole, scripted, kept if another tool made it, and dropped."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from command import execute, indexes, run_script
from kinds import runner_of

from indexer import Column, Expression, Index, Variant, desc
from indexer.errors import Different, PreflightFailed

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


TRIGRAMS = Column("body", opclass="gin_trgm_ops")

POSTGRESQL = {
    "an expression": Kind(
        index(Expression("lower(title)")),
        "USING btree (lower((title)::text))",
        "(upper(title))",
        "key",
        "lower((title)::text)",
        "upper((title)::text)",
    ),
    "an expression of an operator": Kind(
        index(desc(Expression("weight * 2", nulls="last")), "owner"),
        "USING btree (((weight * (2)::numeric)) DESC NULLS LAST, owner)",
        "((weight * 2) DESC, owner)",
        "key",
        "(weight * (2)::numeric) DESC NULLS LAST, owner",
        "(weight * (2)::numeric) DESC, owner",
    ),
    "an expression with a collation of its own": Kind(
        index(Expression("""lower(title COLLATE "POSIX")""")),
        """USING btree (lower(((title)::text COLLATE "POSIX")))""",
        "(lower(title))",
        "key",
        """lower(title COLLATE "POSIX")""",
        "lower((title)::text)",
    ),
    "INCLUDE": Kind(
        index("owner", include=("title",)),
        "USING btree (owner) INCLUDE (title)",
        "(owner) INCLUDE (title, weight)",
        "include",
        "title",
        "title, weight",
    ),
    "an operator class": Kind(
        index(Column("title", opclass="varchar_pattern_ops"), Column("owner", opclass="int4_ops")),
        "USING btree (title varchar_pattern_ops, owner)",
        "(title, owner)",
        "key",
        "title varchar_pattern_ops, owner",
        "title, owner",
    ),
    "a collation": Kind(
        index(Column("title", collation="POSIX")),
        'USING btree (title COLLATE "POSIX")',
        '(title COLLATE "C")',
        "key",
        'title COLLATE "POSIX"',
        'title COLLATE "C"',
    ),
    "an order of NULLs": Kind(
        index(Column("made", nulls="first"), desc(Column("owner", nulls="first"))),
        "USING btree (made NULLS FIRST, owner DESC)",
        "(made NULLS FIRST, owner DESC NULLS LAST)",
        "key",
        "made NULLS FIRST, owner DESC",
        "made NULLS FIRST, owner DESC NULLS LAST",
    ),
    "storage parameters": Kind(
        index("owner", on=Variant(storage={"fillfactor": 70})),
        "USING btree (owner) WITH (fillfactor='70')",
        "(owner) WITH (fillfactor = 80)",
        "storage",
        "fillfactor=70",
        "fillfactor=80",
    ),
    "a predicate": Kind(
        index("owner", where="weight > 1"),
        "USING btree (owner) WHERE (weight > (1)::numeric)",
        "(owner) WHERE weight > 2",
        "predicate",
        "(weight > '1'::numeric)",
        "(weight > (2)::numeric)",
    ),
    "brin": Kind(
        index("made", on=Variant("brin", storage={"pages_per_range": 32, "autosummarize": True})),
        "USING brin (made) WITH (autosummarize=on, pages_per_range='32')",
        "USING brin (made) WITH (pages_per_range = 16)",
        "storage",
        "autosummarize=on, pages_per_range=32",
        "pages_per_range=16",
    ),
    "spgist": Kind(index("body", on=Variant("spgist")), "USING spgist (body)", "(body)", "method", "spgist", "btree"),
    "gin of a document": Kind(
        index(Column("facts", opclass="jsonb_path_ops"), on=Variant("gin", storage={"fastupdate": False})),
        "USING gin (facts jsonb_path_ops) WITH (fastupdate=off)",
        "USING gin (facts) WITH (fastupdate = off)",
        "key",
        "facts jsonb_path_ops",
        "facts",
    ),
    "gin of words": Kind(
        index(Expression("to_tsvector('english', body)"), on=Variant("gin")),
        "USING gin (to_tsvector('english'::regconfig, body))",
        "USING gin (to_tsvector('simple', body))",
        "key",
        "to_tsvector('english'::regconfig, body)",
        "to_tsvector('simple'::regconfig, body)",
    ),
    "gin of trigrams": Kind(
        index(TRIGRAMS, on=Variant("gin")),
        "USING gin (body extensions.gin_trgm_ops)",
        "USING gin (to_tsvector('simple', body))",
        "key",
        "body extensions.gin_trgm_ops",
        "to_tsvector('simple'::regconfig, body)",
    ),
    "a column of its own on each database": Kind(
        index("owner", on=Variant(columns=("made",), where="owner > 0")),
        "USING btree (made) WHERE (owner > 0)",
        "(owner) WHERE (owner > 0)",
        "key",
        "made",
        "owner",
    ),
    "an extension's function": Kind(
        index(Expression("soundex(title)")),
        "USING btree (extensions.soundex((title)::text))",
        "(extensions.metaphone(title, 4))",
        "key",
        "extensions.soundex((title)::text)",
        "extensions.metaphone((title)::text, 4)",
    ),
    "a type of an extension": Kind(
        index(Expression("lower(name)")),
        "USING btree (lower((name)::text))",
        "(name)",
        "key",
        "lower(name)",
        "name",
    ),
    "an access method of an extension": Kind(
        index("owner", Column("id"), on=Variant("bloom", storage={"length": 80})),
        "USING bloom (owner, id) WITH (length='80')",
        "USING bloom (owner) WITH (length = 80)",
        "key",
        "owner, id",
        "owner",
    ),
}
PARAMETERS = Kind(
    index(Column("body", opclass="gist_trgm_ops(siglen=32)"), on=Variant("gist")),
    "USING gist (body extensions.gist_trgm_ops (siglen='32'))",
    "USING gist (body extensions.gist_trgm_ops)",
    "key",
    "body extensions.gist_trgm_ops(siglen=32)",
    "body extensions.gist_trgm_ops",
)
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
def notes(superuser_url: str, postgres_url: str) -> str:
    """Return the URL of a PostgreSQL database with one table; only a superuser creates the extensions."""
    execute(superuser_url, "CREATE SCHEMA extensions", "GRANT USAGE ON SCHEMA extensions TO PUBLIC")
    for extension in ("pg_trgm", "fuzzystrmatch", "citext", "bloom"):
        execute(superuser_url, f"CREATE EXTENSION {extension} SCHEMA extensions")
    execute(postgres_url, NOTE, "ALTER TABLE note ADD COLUMN facts jsonb, ADD COLUMN name extensions.citext")
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


def test_parameters_of_an_operator_class_are_compared(notes):
    (version,) = execute(notes, "SHOW server_version_num")[0]
    if int(version) < 130000:
        with runner_of(notes, PARAMETERS.index) as runner, pytest.raises(PreflightFailed, match="from version 13"):
            runner.up()
    else:
        goes_up_and_down(notes, PARAMETERS)


@pytest.mark.parametrize("kind", SQLITE.values(), ids=SQLITE)
def test_each_kind_of_index_is_built_compared_and_dropped_on_sqlite(sqlite_notes, kind):
    goes_up_and_down(sqlite_notes, kind)
