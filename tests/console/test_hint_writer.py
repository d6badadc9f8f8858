"""Hints as text: the program's name, the quotes of a shell, and the options to repeat."""

from __future__ import annotations

import json

import pytest

from indexer.console.hints import HintWriter
from indexer.errors import Command, Hint, IndexerError, lines_of

OPTIONS = {"up": ("--database-url", "--schema"), "seed": ("--database-url", "--schema"), "bench": ("--database-url",)}


@pytest.fixture
def write() -> HintWriter:
    """Return the writer of a call that named a server and a schema."""
    return HintWriter("crm", {"--database-url": "URL", "--schema": "'a b'"}, lambda name: OPTIONS.get(name, ()))


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (Command("up"), "crm up --database-url URL --schema 'a b'"),
        (Command("up", "--replace"), "crm up --replace --database-url URL --schema 'a b'"),
        (Command("up", "--schema", "other"), "crm up --schema other --database-url URL"),
        (Command("bench"), "crm bench --database-url URL"),
        (Command("new", "two words"), "crm new 'two words'"),
        (Command("new", "it's\n"), "crm new $'it\\'s\\n'"),
        (Command("seed", "--database-url", "sqlite:///demo.db"), "crm seed --database-url sqlite:///demo.db"),
    ],
    ids=lambda each: str(each).partition("\n")[0],
)
def test_a_command_has_the_options_that_were_typed_and_that_it_takes(write, command, line):
    assert write(Hint("Run: ", command, ".")) == f"Run: {line}."


def test_without_a_writer_a_hint_names_the_installed_program():
    assert str(Hint("Run: ", Command("up", "--replace"), ".")) == "Run: indexer up --replace."


def test_the_writer_of_a_schema_names_that_schema(write):
    named = write.with_typed({"--schema": "two"})
    assert named(Hint(Command("up"))) == "crm up --database-url URL --schema two"


def test_a_text_without_a_command_is_not_changed(write):
    assert write("python cli.py up") == write(Hint("python cli.py up")) == "python cli.py up"


def test_a_document_contains_its_hints_as_text(write):
    document = {"warnings": [Hint("Build it: ", Command("new", "x"))], "hint": Hint()}
    assert json.loads(json.dumps(document, default=write)) == {"warnings": ["Build it: crm new x"], "hint": ""}


def test_a_hint_in_a_hint_is_a_part_of_it():
    inner = Hint("run: ", Command("up"))
    assert Hint("To build it, ", inner, ".").parts == ("To build it, ", "run: ", Command("up"), ".")
    assert lines_of(["", "First.", Hint(), inner]) == Hint("First.", "\n", "run: ", Command("up"))


def test_the_commands_of_a_hint_can_be_replaced():
    hint = Hint("Run: ", Command("up", "--published"))
    assert hint.with_commands(lambda each: Command("seed", *each[1:])) == Hint("Run: ", Command("seed", "--published"))


def test_the_hint_of_an_error_has_no_control_characters_in_its_text():
    assert IndexerError("x", Hint("a\x1bb\n", Command("up"))).hint == Hint("a\\x1bb\n", Command("up"))
