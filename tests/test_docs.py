"""The README is correct: its session is run, and its tables are compared with the code."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import click
from command import erase, run

import migrate_10992629d68e as migration
from indexer import Index, IndexerError, __version__
from indexer.catalog import CatalogEntry
from indexer.cli.commands import cli
from indexer.decide import Action
from indexer.errors import Interrupted
from indexer.events import Blocker, Event
from indexer.plans import PENDING
from indexer.records.provenance import ADOPTED, CREATED, RENAMED
from indexer.records.revisions import APPLIED, APPLYING, REVERTED, REVERTING
from indexer.revisions.scaffold import Written
from indexer.signals import SIGNALS
from indexer.spec import Difference
from indexer.urls import DEFAULT, VARIABLES

ROOT = Path(migration.__file__).resolve().parent
README = (ROOT / "README.md").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
COMMANDS = [cli, *cli.commands.values()]

VARIES = (
    (r"\b\d+(\.\d+)? (µs|ms|s)\b", "SOME TIME"),
    (r"(, )?\b\d+(\.\d+)? (bytes|kB|MB)", ""),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d UTC by \S+", "THEN BY SOMEBODY"),
    (r"(?<=\S) {2,}", " "),  # columns are as wide as what stands in them
    (r" +$", ""),
)


def section(title: str) -> str:
    """Return the text under a heading of the README."""
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    return text


def rows(text: str) -> list[list[str]]:
    """Return the cells of all tables in a text, without the marks of code."""
    return [[cell.replace("`", "") for cell in row] for row in cells(text)]


def cells(text: str) -> list[list[str]]:
    """Return the cells of all tables in a text."""
    lines = re.findall(r"^\|(?!---).*", text, re.MULTILINE)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def session() -> list[tuple[str, str]]:
    """Return the commands of the README's terminal session, each with its output."""
    (text,) = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    return re.findall(r"^\$ python cli\.py (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)


def normal(output: str) -> str:
    """Return an output without the parts that differ from run to run and from machine to machine."""
    for pattern, stand_in in VARIES:
        output = re.sub(pattern, stand_in, output, flags=re.MULTILINE)
    return output.strip()


def in_table(index: Index) -> list[str]:
    """Return the row of an index in the README's table."""
    method = {"btree": "B-tree", "hash": "hash"}[index.on_postgresql.using]
    predicate = f" WHERE {index.on_postgresql.where}" if index.on_postgresql.where else ""
    return [index.name, index.table, ", ".join(map(str, index.key)), method + predicate, "B-tree", index.purpose]


def exit_codes(kind: type[IndexerError] = IndexerError) -> set[int]:
    """Return the exit codes of all errors."""
    return {kind.exit_code}.union(*map(exit_codes, kind.__subclasses__()))


def test_the_session_is_what_the_program_prints(tmp_path):
    environment = {name: value for name, value in os.environ.items() if "DATABASE_URL" not in name}
    for command, shown in session():
        done = subprocess.run(
            [sys.executable, ROOT / "cli.py", *command.split()],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        pattern = r"\n(?:.*\n)+?".join(map(re.escape, normal(shown).split("\n...\n")))
        assert re.fullmatch(pattern, normal(done.stdout)), f"python cli.py {command} prints:\n{done.stdout}"


def test_the_session_shows_up_status_plan_and_down():
    assert [command for command, _ in session()] == ["up", "status", "plan down", "down"]


def test_the_two_commands_are_in_the_readme_word_by_word():
    blocks = re.findall(r"```sh\n(.*?)\n```", README, re.DOTALL)
    assert blocks[:2] == [
        "pip install -r requirements.txt && python cli.py up",
        "pip install -r requirements-dev.txt && pytest",
    ]


def test_the_second_command_is_the_one_of_ci():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert any(line.startswith("pip install") and line.endswith("-r requirements-dev.txt") for line in lines)
    assert lines[-1] == "pytest"


def test_the_table_of_indexes_is_that_of_the_migration():
    header, *table = rows(section("The ten indexes"))
    assert header == ["name", "table", "key", "PostgreSQL", "SQLite", "what for"]
    assert table == [in_table(index) for index in migration.INDEXES]


def test_every_command_is_in_the_table_of_commands():
    documented = [re.split(r" |$", command)[0] for command, _ in rows(section("Commands"))[1:]]
    assert sorted(documented) == sorted(cli.commands)


def test_every_option_is_explained():
    explained = set(re.findall(r"--[a-z][a-z-]+", section("Commands") + section("Configuration")))
    parameters = [each for command in COMMANDS for each in command.get_params(click.Context(command))]
    names = {name for each in parameters for name in each.opts if isinstance(each, click.Option)}
    # Click keeps the help option of a command that has run, and only that one has the short name, too.
    assert explained == names - {"-h"}
    assert "`-h`" in section("Configuration")


def test_the_environment_variables_are_explained_and_so_is_the_default():
    text = section("Configuration")
    assert all(f"`{name}`" in text and f"`{name}_FILE`" in text for name in VARIABLES)
    assert f"`{DEFAULT}`" in text


def test_every_exit_code_is_in_the_table_of_exit_codes():
    documented = {int(code) for codes, _ in rows(section("Exit codes"))[1:] for code in codes.split(", ")}
    interrupted = {Interrupted(number).exit_code for number in SIGNALS}
    assert documented == {0, PENDING} | exit_codes() | interrupted


def test_the_keys_of_each_document_are_listed(sqlite_url, tmp_path):
    listed = {row[0]: row[1] for row in rows(section("JSON")) if len(row) == 2}
    for command in ("up", "status", "check", "plan", "stamp head", "history", "wait", "down"):
        who = "up, down" if command in ("up", "down") else command.split()[0]
        assert ", ".join(run(*command.split(), "--json", url=sqlite_url).json()) == listed[who]
    assert ", ".join(Written._fields) == listed["new"]
    erase(sqlite_url)
    for command in ("seed --rows 20", "verify", f"bench --rows 100 --out {tmp_path}"):
        assert ", ".join(run(*command.split(), "--json", url=sqlite_url).json()) == listed[command.split()[0]]
    failure = run("up", "--json", "--to", "nowhere", url=sqlite_url)
    assert listed["an error"].startswith(", ".join(failure.json()) + ";")


def test_every_event_is_in_the_table_of_events_with_its_keys():
    listed = {row[0]: row[2] for row in rows(section("JSON")) if len(row) == 3}
    for event in get_args(Event):
        keys = ["index" if name == "target" else name for name in event._fields]
        assert listed[event.__name__] == ", ".join(keys), event.__name__
    (blocker,) = re.findall(r"A blocker has (.*?)\. Times", section("JSON"), re.DOTALL)
    assert re.findall(r"`(\w+)`", blocker) == list(Blocker._fields)


def test_the_glossary_lists_every_value_of_the_code():
    values = {row[0]: set(re.findall(r"`([^`]+)`", row[2])) for row in cells(section("JSON")) if len(row) == 3}
    assert values["`action`"] == {action.value for action in Action}
    assert values["`origin`"] == {CREATED, ADOPTED, RENAMED}
    assert values["`state` of a revision"] == {APPLYING, APPLIED, REVERTING, REVERTED}
    assert values["`differences`"] == set(Difference._fields)
    flaws = {
        CatalogEntry("ix", "index", valid=valid, worker=worker).flaw for valid in (True, False) for worker in (None, 1)
    }
    assert flaws <= values["`finding`"]


def test_the_layout_names_every_file_at_the_top_and_no_other():
    named = set(re.findall(r"^([\w.]+\.py)", section("Layout"), re.MULTILINE))
    assert named == {path.name for path in ROOT.glob("*.py")}


def test_every_file_the_readme_names_exists():
    for name in re.findall(r"^([\w./]+)", section("Layout"), re.MULTILINE):
        assert (ROOT / name).exists(), name


def test_the_changelog_begins_with_this_version():
    assert re.search(r"^## (\S+)", CHANGELOG, re.MULTILINE).group(1) == __version__
