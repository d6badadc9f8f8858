"""The example of `new` in a project that has nothing to do with a CRM: its index and its query are of that project."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from command import indexes, revisions
from peewee import BlobField, BooleanField, CharField, DateField, ForeignKeyField, Model, TextField, UUIDField

import indexer
from indexer import Index, Query, Runner, connect, load
from indexer.migrator import CatalogMigrator
from indexer.revisions.scaffold import Written, write_revision
from indexer.verify.verify import verify


class Author(Model):
    """A table whose key is no number."""

    id = UUIDField(primary_key=True)
    name = CharField(unique=True)


class Book(Model):
    """A table with an index of two columns."""

    title = TextField()
    isbn = CharField()
    shelf = CharField()
    is_lent = BooleanField()
    cover = BlobField(null=True)
    published = DateField(null=True)
    author = ForeignKeyField(Author, index=False)

    class Meta:
        indexes = ((("isbn", "title"), True),)


MODELS = [Author, Book]


def new(folder: Path, models: list[Any] = MODELS) -> Written:
    return write_revision(str(folder), "Books", models)


@contextmanager
def migrating(url: str, **how: bool) -> Iterator[CatalogMigrator]:
    migrator = connect(url, **how)
    try:
        yield migrator
    finally:
        migrator.database.close()


def queries_in(code: str) -> list[Query]:
    """Return the queries of the code that was printed."""
    names: dict[str, Any] = {}
    exec(code, names)
    return list(names["QUERIES"])


def test_an_example_is_on_a_column_that_has_no_index_in_the_order_of_their_use(tmp_path):
    names = [new(tmp_path).index_name for _ in range(5)]
    assert names[:4] == ["ix_book_author_id", "ix_book_shelf", "ix_book_published", "ix_book_title"]
    assert names[4] == "ix_my_table_my_column", "no column of a kind that is searched by is left"


def test_without_models_the_example_says_what_to_replace(tmp_path):
    for _ in range(2):
        assert "replace my_table and my_column" in Path(new(tmp_path, []).file).read_text()
    declared = [index for revision in load(tmp_path) for index in revision.indexes]
    assert [(index.table, index.columns) for index in declared] == [("my_table", ("my_column",))] * 2


def test_a_name_that_is_taken_or_too_long_is_not_used_again(tmp_path):
    first = new(tmp_path)
    Path(first.file).write_text(Path(first.file).read_text().replace('("author_id",)', '("shelf",)'))
    assert new(tmp_path).index_name not in ("ix_book_author_id", "ix_book_shelf")

    class Long(Model):
        title = CharField()

        class Meta:
            table_name = "t" * 60

    assert new(tmp_path, [Long]).index_name.startswith("ix_")
    load(tmp_path)


def test_all_that_the_comments_show_can_be_said(tmp_path):
    text = Path(new(tmp_path).file).read_text()
    shown = re.findall(r"^#     [a-z ]+ {2,}(\w+=\S.*?)(?: {2,}.*)?$", text, re.MULTILINE)
    names = {name: getattr(indexer, name) for name in indexer.__all__}
    assert len(shown) == 6
    for argument in shown:
        arguments = argument if argument.startswith("columns=") else f"columns=('id',), {argument}"
        assert isinstance(eval(f"Index('ix_shown', table='shown', {arguments})", names), Index)


def test_the_first_query_is_a_whole_file_and_the_next_one_is_added(tmp_path):
    first = new(tmp_path)
    assert first.is_first_query
    (query,) = queries_in(first.query)
    (tmp_path / "queries.py").write_text(first.query)
    second = new(tmp_path)
    assert not second.is_first_query
    code, _, entry = second.query.partition("# In QUERIES:\n")
    (other,) = queries_in(f"{code}\nQUERIES = (\n{entry})")
    assert [query.index, other.index] == [first.index_name, second.index_name]


def test_the_files_satisfy_the_linter_with_the_settings_of_any_project(tmp_path):
    written = new(tmp_path)
    (tmp_path / "queries.py").write_text(written.query)
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "E4,E7,E9,F,I", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_first_revision_goes_up_serves_its_query_and_goes_down(tmp_path, database_url):
    written = new(tmp_path)
    assert written.down_revision is None
    chain, queries = load(tmp_path), queries_in(written.query)
    with migrating(database_url) as migrator:
        assert Runner(migrator, chain, lambda: MODELS).up().end == written.revision
    with migrating(database_url, read_only=True) as reader:
        inspector = Runner(reader, chain).inspector
        assert inspector.check().status.exit_code == 0
        report = verify(inspector.migrator, queries, MODELS, inspector.declared)
    assert [result.index for result in report.results if result.usable] == [written.index_name]
    before = indexes(database_url)
    with migrating(database_url) as migrator:
        assert Runner(migrator, chain).down().end == "base"
    assert before.keys() - indexes(database_url).keys() == {written.index_name}
    assert revisions(database_url) == {"base": "applied"}
