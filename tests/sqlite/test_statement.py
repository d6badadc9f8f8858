"""The key and the predicate of an index, read from the statement that created it, however it is written."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from command import execute, file_of, nothing_changes
from kinds import runner_of
from peewee import Model, SqliteDatabase, TextField

from indexer import Column, Expression, Index, Variant, desc
from indexer.errors import PreflightFailed
from indexer.sqlite.statement import Statement, normal, read

INDEX = Index("ix", "note", ("id", Expression("lower(title)")), where="owner = 1 AND title <> 'a (b'")
SAME = (
    "CREATE INDEX ix ON note (id, lower(title)) WHERE owner = 1 AND title <> 'a (b'",
    "create index ix on note(id,lower( title )) where (owner==1 and title!='a (b')",
    'CREATE INDEX "ix" ON "note" ("id" ASC, (lower("title"))) WHERE "owner" = 1 AND [title] <> \'a (b\'',
    "CREATE INDEX ix ON note (id, LOWER(`title`)/* folded */) WHERE owner=1\n-- mine\n AND title <> 'a (b'",
)
OTHER = (
    "CREATE INDEX ix ON note (id, lower(title)) WHERE owner = 1 AND title <> 'a(b'",
    "CREATE INDEX ix ON note (id, lower(title)) WHERE owner = 1",
    "CREATE INDEX ix ON note (id, lower(title) COLLATE NOCASE) WHERE owner = 1 AND title <> 'a (b'",
    "CREATE INDEX ix ON note (id, lower(title) DESC) WHERE owner = 1 AND title <> 'a (b'",
    "CREATE INDEX ix ON note (id, upper(title)) WHERE owner = 1 AND title <> 'a (b'",
    "CREATE INDEX ix ON note (id, title) WHERE owner = 1 AND title <> 'a (b'",
)


@pytest.fixture
def note(sqlite_url: str) -> str:
    """Return the URL of a SQLite file with one table."""
    execute(sqlite_url, "CREATE TABLE note (id integer PRIMARY KEY, title text, owner integer)")
    return sqlite_url


def test_an_index_is_the_same_however_its_statement_is_written(note):
    states = {}
    with runner_of(note, INDEX) as runner:
        for statement in (*SAME, *OTHER):
            execute(note, statement)
            states[statement] = runner.inspector.status().steps[0].state
            execute(note, "DROP INDEX ix")
    assert states == {**dict.fromkeys(SAME, "valid"), **dict.fromkeys(OTHER, "different")}


def test_the_parts_of_a_statement_are_found():
    sql = "CREATE UNIQUE INDEX \"a (b\" ON t (f(a, 'x,y') COLLATE \"de\" DESC, (b || ')')) WHERE (a) IN (1, 2)"
    assert read(sql) == Statement(("f(a, 'x,y')", "b || ')'"), "(a) in (1, 2)")
    assert read("") == Statement()
    assert normal("((a)  ||(b))") == "(a) || (b)"


def test_an_index_is_the_same_after_its_column_is_renamed(note):
    execute(note, SAME[0])
    with closing(sqlite3.connect(file_of(note))) as application:
        application.execute("ALTER TABLE note RENAME COLUMN title TO heading")
    renamed = Index("ix", "note", ("id", Expression("lower(heading)")), where="owner = 1 AND heading <> 'a (b'")
    with runner_of(note, renamed) as runner:
        assert runner.inspector.status().steps[0].state == "valid"


PROBLEMS = {
    "missing column": (Index("ix", "note", (Expression("lower(body)"),)), "no such column: body"),
    "missing column of a predicate": (Index("ix", "note", ("id",), where="body IS NULL"), "no such column: body"),
    "misspelled in quotes": (Index("ix", "note", (Expression('lower("titel")'),)), "no such column: titel; a string"),
    "string in double quotes": (Index("ix", "note", ("id",), where='title = "open"'), "no such column: open; a string"),
    "random": (Index("ix", "note", (Expression("random() + id"),)), "non-deterministic"),
    "time": (Index("ix", "note", (Expression("datetime('now')"),)), "ix cannot be built on note: non-deterministic"),
    "local time": (Index("ix", "note", (Expression("date(title, 'localtime')"),)), "non-deterministic use of date()"),
    "time for some rows": (Index("ix", "note", (Expression("coalesce(title, julianday())"),)), "use of julianday()"),
    "time in a predicate": (Index("ix", "note", ("id",), where="id = 9 AND title > date('now')"), "use of date()"),
    "time form": (Index("ix", "note", (Expression("strftime('%s', 'now')"),)), "use of strftime()"),
    "current time": (Index("ix", "note", (Expression("CURRENT_TIMESTAMP || title"),)), "non-deterministic"),
    "NULLs last": (Index("ix", "note", (Column("title", nulls="last"),)), "SQLite keeps them first in ascending"),
    "NULLs first": (Index("ix", "note", (desc(Column("title", nulls="first")),)), "SQLite keeps them first"),
}


@pytest.mark.parametrize(("index", "said"), PROBLEMS.values(), ids=PROBLEMS)
def test_what_sqlite_cannot_build_is_refused_before_the_first_change(note, index, said):
    with nothing_changes(note), runner_of(note, index) as runner, pytest.raises(PreflightFailed) as refused:
        runner.up()
    assert said in str(refused.value)


def test_the_time_is_refused_before_an_empty_file_gets_its_tables(sqlite_url):
    class Note(Model):
        made = TextField()

        class Meta:
            table_name = "note"

    index = Index("ix", "note", (Expression("made > date('now')"),))
    with runner_of(sqlite_url, index, models=[Note]) as runner, pytest.raises(PreflightFailed, match="non-determ"):
        runner.up()
    assert not file_of(sqlite_url).exists()


def test_an_expression_is_evaluated_with_the_applications_functions_and_without_its_constraints(sqlite_url):
    application = SqliteDatabase(file_of(sqlite_url))
    application.register_function(lambda text: text, "same", 1, deterministic=True)
    with closing(application):
        application.execute_sql("CREATE TABLE note (id integer PRIMARY KEY, title text NOT NULL CHECK (title > 'a'))")
    given, now = (Index("ix", "note", (Expression(f"same({of})"),)) for of in ("title", "date('now')"))
    with runner_of(application, now) as runner, pytest.raises(PreflightFailed, match="non-deterministic use of date"):
        runner.up()
    with runner_of(application, given) as runner:
        runner.up()
        assert runner.inspector.status().steps[0].state == "valid"


def test_a_name_in_double_quotes_can_be_a_column_a_function_a_collation_a_type_or_the_rowid(note):
    key = Expression("""\"lower\"("TITLE" COLLATE "nocase" || CAST("owner" AS "text") || ' "x"')""")
    with runner_of(note, Index("ix", "note", (key,), where='"rowid" > 1')) as runner:
        runner.up()
        assert runner.inspector.status().steps[0].state == "valid"


def test_an_order_of_nulls_is_left_out_where_it_is_sqlites_own_or_another_variant_is_declared(note):
    ordered = Index("ix", "note", (Column("title", nulls="first"), desc(Column("owner", nulls="last"))))
    varied = Index("iy", "note", (Column("title", nulls="last"),), on_sqlite=Variant(columns=("title",)))
    with runner_of(note, ordered, varied) as runner:
        runner.up()
        assert [step.state for step in runner.inspector.status().steps] == ["valid", "valid"]
