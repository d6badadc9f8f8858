"""The program ``indexer`` works on the project in the current folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import CLI, Result, execute

START = "from indexer.cli.start import main; main()"
REVISION = """
from indexer import Index

revision = "a1"
down_revision = None
INDEXES = (Index("ix_book_title", table="book", columns=("title",)),)


def upgrade(migrator):
    migrator.migrate(*(migrator.add_index(index) for index in INDEXES))


def downgrade(migrator):
    migrator.migrate(*(migrator.drop_index(index) for index in INDEXES))
"""
MODELS = """
from peewee import CharField, DateTimeField, ForeignKeyField, Model, SqliteDatabase

database = SqliteDatabase("library.db")


class Base(Model):
    created_at = DateTimeField(null=True)

    class Meta:
        database = database


class Book(Base):
    title = CharField()
    author = ForeignKeyField("self", null=True)


class Author(Base):
    name = CharField()


class Loan(Base):
    book = ForeignKeyField(Book)
"""
FAILING = {
    "a syntax error": ("x = 1\nclass", 2, "invalid syntax", "Correct models.py."),
    "a missing package": (
        "\n\nimport nowhere",
        3,
        "No module named 'nowhere'",
        "Install nowhere where this program is",
    ),
    "an error": ("def f():\n    raise ValueError('no key')\nf()", 2, "no key", "Correct models.py."),
    "an exit": ("import sys\nsys.exit(0)", 2, "it ends the program (sys.exit)", "Correct models.py."),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with one revision and with models."""
    (tmp_path / "migrate_a1.py").write_text(REVISION)
    (tmp_path / "models.py").write_text(MODELS)
    return tmp_path


def indexer(folder: Path, *arguments: str, start: str = START) -> Result:
    """Run the program in a folder."""
    environment = {name: value for name, value in os.environ.items() if "DATABASE_URL" not in name}
    done = subprocess.run(
        [sys.executable, "-c", start, *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(CLI.parent), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def test_without_tables_the_models_of_the_file_count_but_not_their_base_class(folder):
    result = indexer(folder, "plan")
    assert "create the tables author, book, loan (" in result.stdout
    assert (result.stderr, result.exit_code) == ("No database URL is given: using the database of models.py.\n", 0)
    assert "To do it, run: indexer up" in result.stdout


def test_tables_are_those_that_the_models_name(folder):
    (folder / "models.py").write_text(f"{MODELS}\nTABLES = [Book]\n")
    assert "create the tables book (" in indexer(folder, "plan").stdout


def test_models_can_be_a_package_of_several_modules(folder):
    (folder / "models").mkdir()
    (folder / "models.py").rename(folder / "models" / "tables.py")
    (folder / "models" / "__init__.py").write_text("from models.tables import Author, Base, Book, Loan")
    assert "create the tables author, book, loan (" in indexer(folder, "plan").stdout


def test_a_url_wins_over_the_database_of_the_models(folder):
    assert indexer(folder, "up", "--database-url", "sqlite:///other.db").exit_code == 0
    assert sorted(each.name for each in folder.glob("*.db")) == ["other.db"]
    assert ("loan",) in execute(f"sqlite:///{folder}/other.db", "SELECT name FROM sqlite_master")


@pytest.mark.parametrize("database", ["DatabaseProxy()", "SqliteDatabase(None)"])
def test_without_an_initialised_database_the_program_says_why_it_takes_the_default_file(folder, database):
    text = MODELS.replace('SqliteDatabase("library.db")', database).replace("CharField,", "CharField, DatabaseProxy,")
    (folder / "models.py").write_text(text)
    assert indexer(folder, "plan").stderr == (
        f"No database URL is given: using the file {folder}/crm.db, because the database of models.py is not"
        " initialised.\n"
    )


def test_models_that_are_bound_to_several_databases_leave_the_choice_to_the_user(folder):
    other = "\n\nclass Note(Model):\n    class Meta:\n        database = SqliteDatabase('notes.db')\n"
    (folder / "models.py").write_text(MODELS + other)
    result = indexer(folder, "status")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "bound to several databases" in result.stderr
    assert "--database-url URL" in result.stderr


@pytest.mark.parametrize(("text", "line", "reason", "hint"), FAILING.values(), ids=FAILING)
def test_models_that_cannot_be_imported_are_named_with_the_line_and_the_reason(folder, text, line, reason, hint):
    (folder / "models.py").write_text(text)
    result = indexer(folder, "up")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"Error: models.py cannot be imported, line {line}: {reason}." in result.stderr
    assert hint in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in indexer(folder, "up", "--verbose").stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("plan", "models.py cannot be imported, line 2: invalid syntax.\nCorrect models.py."),
        ("verify", "queries.py cannot be imported, line 1: models.py, line 2: invalid syntax.\nCorrect queries.py."),
    ],
)
def test_the_program_of_a_project_names_the_module_that_cannot_be_imported(folder, command, said):
    (folder / "models.py").write_text("x = 1\nclass")
    (folder / "queries.py").write_text("from models import Book")
    start = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); from importlib import import_module as load\n"
        "from indexer.cli.start import run\n"
        f"run('python app.py', {str(folder)!r}, lambda: load('models').TABLES, lambda: load('queries').QUERIES, None)"
    )
    result = indexer(folder, command, "--database-url", "sqlite:///library.db", start=start)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"Error: {said}\n")


def test_a_command_that_needs_no_module_imports_none(folder):
    (folder / "models.py").write_text("raise RuntimeError")
    assert indexer(folder, "--help").exit_code == 0
    assert indexer(folder, "status", "--database-url", "sqlite:///library.db").exit_code == 3


def test_verify_says_of_broken_queries_what_python_cli_py_says(folder):
    (folder / "queries.py").write_text("QUERIES = (\n")
    result = indexer(folder, "verify")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Error: queries.py cannot be imported, line 1: '(' was never closed.\nCorrect queries.py.\n" in result.stderr


def test_models_and_queries_import_their_neighbours(folder):
    (folder / "storage.py").write_text("from peewee import SqliteDatabase\ndatabase = SqliteDatabase('near.db')\n")
    near = "from storage import database"
    (folder / "models.py").write_text(MODELS.replace('database = SqliteDatabase("library.db")', near))
    (folder / "queries.py").write_text("from models import Book\n\nQUERIES = ()\n")
    result = indexer(folder, "status")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (3, "sqlite:///near.db has none of the tables")


@pytest.mark.parametrize("arguments", [("plan",), ("plan", "--sql"), ("up",)], ids=" ".join)
def test_plan_refuses_a_revision_file_as_up_does(folder, arguments):
    (folder / "migrate_a1.py").write_text(REVISION.replace("migrator.add_index", "migrator.add_indx"))
    result = indexer(folder, *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "migrate_a1.py, line 10: upgrade() of revision a1 uses add_indx" in result.stderr


def test_an_empty_folder_is_told_what_is_missing_and_how_to_begin(tmp_path):
    result = indexer(tmp_path, "up")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"There is no migrate_*.py in {tmp_path}." in result.stderr
    assert "indexer new 'what the first index is for'" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_help_is_not_about_one_project(folder):
    text = indexer(folder, "--help").stdout
    assert text.startswith("Usage: indexer [OPTIONS]")
    assert "CRM" not in text
