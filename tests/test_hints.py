"""Every hint is typed as it is printed, and either works or says why not."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from command import BASE, CLI, HEAD, execute, prepare, run

import cli
from indexer import errors

NAME, TABLE = "ix_activity_type", "activity"
OTHER = f"CREATE INDEX {NAME} ON {TABLE} (openphone_id)"
TWIN = "CREATE INDEX by_type ON activity (activity_type)"


class Scene(NamedTuple):
    """A command that prints a hint, and what its command does when it is typed.

    ``made`` are the statements before it, ``there`` is the revision that the database is brought to first.
    """

    there: str
    made: tuple[str, ...]
    command: str
    exit_code: int
    typed: str
    then: int = 0


SCENES = {
    "wrong usage": Scene("head", (), "up --frobnicate", 2, "up --help"),
    "status of a pending revision": Scene("base", (), "status", 3, "up"),
    "status of a missing index": Scene("head", (f"DROP INDEX {NAME}",), "status", 4, "up"),
    "check of a pending revision": Scene("base", (), "check", 3, "up"),
    "check of a missing index": Scene("head", (f"DROP INDEX {NAME}",), "check", 4, "up"),
    "plan": Scene("base", (), "plan", 0, "up"),
    "plan to a revision": Scene("base", (), f"plan --to {HEAD}", 0, f"up --to {HEAD}"),
    "plan of a renaming": Scene("base", (TWIN,), "plan --adopt-renamed", 0, "up --adopt-renamed"),
    "plan of the way back": Scene("head", (), "plan down", 0, "down"),
    "plan down with what stood there before": Scene(
        "head", (), "plan down --include-adopted", 0, "down --include-adopted"
    ),
    "another index under the name": Scene("base", (OTHER,), "up", 4, "up --replace"),
    "another index under the name, in plan": Scene("base", (OTHER,), "plan", 4, "up --replace"),
    "a twin": Scene("base", (TWIN,), "check", 3, "up"),
    "a stamp of what is missing": Scene("base", (), f"stamp {HEAD}", 4, f"up --to {HEAD}"),
    "a stamp of what is beyond": Scene("head", (), "stamp base", 4, f"down --to {BASE}"),
    "a column is missing": Scene("base", ("ALTER TABLE activity DROP COLUMN activity_type",), "up", 1, "up", 1),
    "verify without the indexes": Scene("base", (), "verify", 4, "up"),
    "verify of another index": Scene("base", (OTHER,), "verify", 4, "up --replace"),
}


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_the_command_of_a_hint_works_as_it_is_printed(database_url, scene):
    prepare(database_url, to=scene.there)
    execute(database_url, *scene.made)
    told = run(*scene.command.split(), url=database_url)
    assert told.exit_code == scene.exit_code, told
    assert re.search(rf"python cli\.py {re.escape(scene.typed)}(?=[\s.,:;)']|$)", told.stdout + told.stderr), told
    assert run(*scene.typed.split(), url=database_url).exit_code == scene.then


@pytest.mark.parametrize(
    ("command", "left_out"),
    [
        ("plan down --adopt-renamed", "plan down"),
        ("plan --include-adopted", "plan"),
        ("plan --sql --json", "plan --sql"),
        ("verify --sql --json", "verify --json"),
        ("bench --schema public", "bench --help"),
        ("bench --rows 10", "bench --rows 10000 --help"),
        ("seed --rows 200000000", "seed --rows 1000000 --help"),
    ],
)
def test_without_the_option_that_is_to_be_left_out_the_command_works(sqlite_url, tmp_path, command, left_out):
    prepare(sqlite_url)
    refused = run(*command.split(), url=sqlite_url)
    assert (refused.exit_code, refused.stderr.startswith("Error: ")) == (2, True), refused
    assert run(*left_out.format(folder=tmp_path / "out").split(), url=sqlite_url).exit_code == 0


def test_an_unknown_revision_names_those_that_there_are(sqlite_url):
    refused = run("up", "--to", "nowhere", url=sqlite_url)
    named = re.search(r"Name one of: (.*)\.", refused.stderr)[1].split(", ")
    assert named == [BASE, HEAD]
    assert [run("plan", "--to", each, url=sqlite_url).exit_code for each in named] == [0, 0]


def test_the_schemas_that_hold_the_tables_are_named_and_work(postgres_url):
    prepare(postgres_url)
    refused = run("status", "--all-schemas", "nowhere_*", url=postgres_url)
    assert refused.exit_code == 2
    assert "These do: public." in refused.stderr
    assert run("status", "--all-schemas", "public", url=postgres_url).exit_code == 0


def test_a_folder_that_is_missing_can_be_made_as_the_hint_says(tmp_path):
    url = f"sqlite:///{tmp_path}/missing/crm.db"
    refused = run("up", url=url)
    subprocess.run(re.search(r"mkdir -p .*", refused.stderr)[0].split(), check=True)
    assert run("up", url=url).exit_code == 0


def test_new_says_how_to_give_a_message(sqlite_url):
    assert 'Type: python cli.py new "message"' in run("new", " ", url=sqlite_url).stderr


# None without an entry -----------------------------------------------------------------------------------------------

ROOT = CLI.parent
ERRORS = {
    name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, errors.IndexerError)
}
WITH_A_HINT_OF_THEIR_OWN = {"Interrupted", "Held"}


def hints() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of every hint that an error is given in the code; a name stands for a constant."""
    for path in sorted([*ROOT.glob("*.py"), *ROOT.glob("indexer/**/*.py"), *ROOT.glob("proof/**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ERRORS:
                given = [*node.args[1:2], *(each.value for each in node.keywords if each.arg == "hint")]
                yield from ((f"{path.relative_to(ROOT)}:{node.lineno}", ast.unparse(each)) for each in given)


def test_every_error_has_a_hint():
    without = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted([*ROOT.glob("*.py"), *ROOT.glob("indexer/**/*.py"), *ROOT.glob("proof/**/*.py")])
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ERRORS - WITH_A_HINT_OF_THEIR_OWN
        if len(node.args) + len(node.keywords) < 2
    ]
    assert without == []


def test_no_hint_says_to_run_again_what_was_not_changed():
    assert [place for place, text in hints() if re.search(r"\b[Mm]end\b|the same command again, it", text)] == []


@pytest.mark.parametrize("text", sorted({text for _, text in hints() if "python cli.py" in text}))
def test_every_command_that_a_hint_names_is_a_command_with_these_options(text):
    for typed in re.findall(r"python cli\.py ([\w -]+)", text):
        name, *options = typed.split()
        known = {name for each in cli.cli.commands[name].params for name in each.opts}
        assert [each for each in options if each.startswith("--") and each not in known] == []
