"""Every kind of index is built, compared whole, scripted, kept if another tool made it, and dropped."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

import pytest
from command import ask, broken, execute, indexes, run_script
from kinds import runner_of

from indexer import Column, Expression, Index, Variant, desc
from indexer.decide import Action
from indexer.errors import Different, PreflightFailed

NOTE = """
    CREATE TABLE note (
        id integer PRIMARY KEY,
        title varchar(100),
        body text,
        owner integer,
        weight numeric,
        made timestamp,
        "E mail" varchar(100)
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
    "an expression with signs and quotes": Kind(
        index(Expression("""lower("E mail") || '100%% ;--'"""), Expression("owner % 10"), on=Variant("BTREE")),
        """USING btree (((lower(("E mail")::text) || '100%% ;--'::text)), ((owner % 10)))""",
        """((lower("E mail") || '100% ;--'), (owner % 10))""",
        "key",
        """(lower(("E mail")::text) || '100%% ;--'::text), (owner % 10)""",
        """(lower(("E mail")::text) || '100% ;--'::text), (owner % 10)""",
    ),
    "a part of a document": Kind(
        index(Expression("facts ->> 'kind'"), Expression("facts ? 'a'"), where="facts @> '{}'"),
        """USING btree (((facts ->> 'kind'::text)), ((facts ? 'a'::text))) WHERE (facts @> '{}'::jsonb)""",
        """((facts -> 'kind'), (facts ? 'a')) WHERE facts @> '{}'""",
        "key",
        "(facts ->> 'kind'::text), (facts ? 'a'::text)",
        "(facts -> 'kind'::text), (facts ? 'a'::text)",
    ),
    "a choice": Kind(
        index(
            Expression("CASE WHEN owner > 1 THEN 'many' ELSE coalesce(title, '') END"),
            unique=True,
            on=Variant(where="owner IN (1, 2) OR NOT title LIKE 'a%'"),
        ),
        "WHERE ((owner = ANY (ARRAY[1, 2])) OR (NOT ((title)::text ~~ 'a%'::text)))",
        "((CASE WHEN owner > 1 THEN 'many' ELSE coalesce(title, '') END)) WHERE owner IN (1, 2) OR NOT title LIKE 'a%'",
        "unique",
        "yes",
        "no",
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
        "USING brin (made) WITH (autosummarize='on', pages_per_range='32')",
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
    "a column of its own on each database": Kind(
        index("owner", on=Variant(columns=("made",), where="owner > 0")),
        "USING btree (made) WHERE (owner > 0)",
        "(owner) WHERE (owner > 0)",
        "key",
        "made",
        "owner",
    ),
}
EXTENSIONS = ("pg_trgm", "fuzzystrmatch", "citext", "bloom")
OF_EXTENSIONS = {
    "gin of trigrams": Kind(
        index(TRIGRAMS, on=Variant("gin")),
        "USING gin (body extensions.gin_trgm_ops)",
        "USING gin (to_tsvector('simple', body))",
        "key",
        "body extensions.gin_trgm_ops",
        "to_tsvector('simple'::regconfig, body)",
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
    "parameters": Kind(
        index(Column("body", opclass="gist_trgm_ops(siglen=32)"), on=Variant("gist")),
        "USING gist (body extensions.gist_trgm_ops (siglen='32'))",
        "USING gist (body extensions.gist_trgm_ops)",
        "key",
        "body extensions.gist_trgm_ops(siglen=32)",
        "body extensions.gist_trgm_ops",
    ),
}
OF_EXTENSIONS_IN_12 = {title: kind for title, kind in OF_EXTENSIONS.items() if title != "parameters"}

SQLITE = {
    "an expression with signs and quotes": Kind(
        index(Expression("""lower(title) || '100%% ;--?'"""), Expression("owner % 10")),
        """((lower(title) || '100%% ;--?'), (owner % 10))""",
        """((lower(title) || '100% ;--?'), (owner % 10))""",
        "key",
        """lower(title) || '100%% ;--?', owner % 10""",
        """lower(title) || '100% ;--?', owner % 10""",
    ),
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
    execute(postgres_url, NOTE, "ALTER TABLE note ADD COLUMN facts jsonb")
    return postgres_url


def named(kinds: dict[str, Kind]) -> dict[str, Kind]:
    """Return the kinds by the names of their indexes."""
    return {name: kind._replace(index=replace(kind.index, name=name)) for name, kind in slugs(kinds)}


def slugs(kinds: dict[str, Kind]) -> list[tuple[str, Kind]]:
    return [(f"ix_{title.replace(' ', '_').replace(chr(39), '')}".lower(), kind) for title, kind in kinds.items()]


def go_up_and_down(url: str, kinds: dict[str, Kind]) -> None:
    """Check that up, an offline up and a script build the same, that it is kept and found again, and what differs."""
    kinds = named(kinds)
    declared = [kind.index for kind in kinds.values()]
    with runner_of(url, *declared) as runner:
        runner.up()
        built = indexes(url)
        stored = {name: built[name][-len(kind.stored) :] for name, kind in kinds.items()}
        assert stored == {name: kind.stored for name, kind in kinds.items()}
        assert {step.index.name: step.state for step in runner.inspector.status().steps} == dict.fromkeys(
            kinds, "valid"
        )
        assert not runner.up().changed
        runner.down()
        assert not indexes(url)
        run_script(runner.script(runner.inspector.plan()), url)
        assert indexes(url) == built
        assert not runner.up().changed
        runner.down()

        execute(url, *(definition.replace(f"INDEX {name} ", f"INDEX x_{name} ") for name, definition in built.items()))
        duplicates = {step.index.name: step.other_name for step in runner.inspector.plan().steps}
        assert duplicates == {name: f"x_{name}" for name in kinds}
        execute(url, *(f"DROP INDEX x_{name}" for name in kinds))
        execute(url, *(f"CREATE INDEX {name} ON note {kind.other}" for name, kind in kinds.items()))
        with pytest.raises(Different) as refused:
            runner.up()
        assert {name: tuple(map(tuple, parts)) for name, parts in refused.value.found.items()} == {
            name: ((kind.part, kind.declared, kind.found),) for name, kind in kinds.items()
        }
    with runner_of(url, *declared, replace=True, offline=True) as runner:
        runner.up()
    assert indexes(url) == built


def test_every_kind_of_index_is_built_compared_and_dropped(notes):
    go_up_and_down(notes, POSTGRESQL)


def test_every_kind_of_index_is_built_compared_and_dropped_on_sqlite(sqlite_url):
    execute(sqlite_url, NOTE)
    go_up_and_down(sqlite_url, SQLITE)


def test_what_an_extension_brings_is_found_in_its_schema_and_compared(superuser_url, notes):
    """Only a superuser creates all of these extensions."""
    available = {name for (name,) in execute(superuser_url, "SELECT name FROM pg_available_extensions")}
    if not set(EXTENSIONS) <= available:
        pytest.skip("a server without these extensions")
    execute(superuser_url, "CREATE SCHEMA extensions", "GRANT USAGE ON SCHEMA extensions TO PUBLIC")
    execute(superuser_url, *(f"CREATE EXTENSION {name} SCHEMA extensions" for name in EXTENSIONS))
    execute(notes, "ALTER TABLE note ADD COLUMN name extensions.citext")
    go_up_and_down(notes, OF_EXTENSIONS if version(notes) >= 13 else OF_EXTENSIONS_IN_12)


def test_the_schema_of_an_extension_that_our_role_may_not_use_is_named_with_the_grant(superuser_url, notes):
    """Only a superuser creates the extension."""
    if not ask(superuser_url, "SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'"):
        pytest.skip("no pg_trgm")
    execute(superuser_url, "CREATE SCHEMA extensions", "CREATE EXTENSION pg_trgm SCHEMA extensions")
    declared = replace(OF_EXTENSIONS["gin of trigrams"].index, name="ix_a"), index(Expression("similarity(body, 'x')"))
    with runner_of(notes, *declared) as runner, pytest.raises(PreflightFailed) as refused:
        runner.up()
    (of_class, of_function) = refused.value.problems
    grant = "GRANT USAGE ON SCHEMA extensions TO crm_owner"
    assert of_class == f"ix_a needs operator class gin_trgm_ops, whose schema role crm_owner may not use: {grant}"
    assert of_function.endswith(f"role crm_owner may not use the schema of function similarity: {grant}")


def test_an_extension_that_is_missing_is_named_and_brings_what_lacks(superuser_url, notes):
    """Only a superuser creates the extensions everywhere."""
    if not ask(superuser_url, "SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'"):
        pytest.skip("no pg_trgm")
    with runner_of(notes, OF_EXTENSIONS["gin of trigrams"].index) as runner:
        with pytest.raises(PreflightFailed) as refused:
            runner.up()
        execute(superuser_url, re.search("CREATE EXTENSION pg_trgm$", refused.value.problems[0])[0])
        assert runner.up().changed


def test_an_invalid_index_of_any_kind_is_rebuilt(superuser_url, notes):
    """Only a superuser can make an index invalid at will."""
    kinds = named(POSTGRESQL)
    with runner_of(notes, *(kind.index for kind in kinds.values())) as runner:
        runner.up()
        built = indexes(notes)
        invalid = "UPDATE pg_index SET indisvalid = false WHERE indrelid = 'note'::regclass AND NOT indisprimary"
        execute(superuser_url, invalid)
        assert {step.action for step in runner.up().steps} == {Action.REBUILD}
    assert (indexes(notes), broken(notes)) == (built, set())


def test_parameters_of_an_operator_class_are_refused_where_the_server_has_none(superuser_url, notes):
    """Only a superuser creates the extension."""
    if version(notes) >= 13:
        pytest.skip("a server that has them")
    execute(superuser_url, "CREATE EXTENSION pg_trgm")
    with runner_of(notes, OF_EXTENSIONS["parameters"].index) as runner, pytest.raises(PreflightFailed) as refused:
        runner.up()
    assert "which PostgreSQL has from version 13" in str(refused.value)


def version(url: str) -> int:
    """Return the major version of the server."""
    return int(ask(url, "SELECT current_setting('server_version_num')")[0][0]) // 10000
