"""The documentation is correct: what the program knows is written by docs.write, and the rest agrees with the code."""

import re
from pathlib import Path

import click
import pytest
from command import execute

import indexer
import migrate_10992629d68e as migration
from docs.write import all_commands, files, written
from indexer.advice import CHANGED_FILE, EMPTY_CHILD
from indexer.care.advice import KINDS
from indexer.care.deep import CANNOT_TELL, CLEAN, CORRUPT
from indexer.care.evidence import BASELINE, EXACT, STATISTICS
from indexer.catalog import CatalogEntry
from indexer.cli.commands import cli
from indexer.decide import Action
from indexer.definition import Difference
from indexer.events import Blocker
from indexer.records.baseline import LEARNED
from indexer.records.provenance import ADOPTED, CREATED, RENAMED
from indexer.records.revisions import APPLIED, APPLYING, REVERTED, REVERTING
from indexer.urls import DEFAULT, VARIABLES

ROOT = Path(migration.__file__).resolve().parent
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in files()}
README = TEXTS["README.md"]
LONGEST_README = 1800  # words
PROGRAM = "python cli.py "
OF_OTHERS = {"--network", "--rm", "--build"}  # options of docker


def blocks(language: str, text: str) -> list[str]:
    """Return the blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)\n```", text, re.MULTILINE | re.DOTALL)


def cells(text: str) -> list[list[str]]:
    """Return the cells of all tables in a text."""
    lines = re.findall(r"^\|(?! ?---).*", text, re.MULTILINE)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings of a text, as GitHub names them."""
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", TEXTS)
def test_what_the_program_knows_is_up_to_date(name, postgres_url):
    assert written(ROOT / name, postgres_url) == TEXTS[name], f"{name} is out of date: run python -m docs.write"


def test_the_readme_is_short():
    assert len(README.split()) < LONGEST_README


def test_the_two_commands_are_in_the_readme_word_by_word():
    environment = "python3 -m venv .venv && . .venv/bin/activate"
    lines = [block for block in blocks("sh", README) if "venv" in block]
    assert lines == [
        f"{environment} && pip install -r requirements.txt && python cli.py up",
        f"{environment} && pip install -r requirements-dev.txt && pytest",
    ]


def test_the_second_command_is_the_one_of_ci():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert any(line.startswith("pip install") and line.endswith("-r requirements-dev.txt") for line in lines)
    assert lines[-1] == "pytest"


@pytest.mark.parametrize("name", TEXTS)
def test_every_link_leads_somewhere(name):
    for link in re.findall(r"\]\(([^)]+)\)", TEXTS[name]):
        file, _, anchor = link.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.exists(), link
        assert not anchor or anchor in anchors(path.read_text()), link


def test_the_readme_links_to_each_of_its_sections_and_to_each_page():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert {f"#{each}" for each in anchors(README)} - {"#indexer"} == {each for each in links if each[0] == "#"}
    assert set(TEXTS) - {"README.md"} <= {link.partition("#")[0] for link in links}


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_in_the_documentation_exists_with_its_options(name):
    for line in re.findall(rf"{PROGRAM}([^`\n]*)", TEXTS[name]):
        words = line.partition("#")[0].split()
        if words and words[0].islower() and not words[0].startswith("-"):
            given = {word for word in words if re.fullmatch(r"--[a-z-]+", word)}
            assert given - {"--help"} <= cli.options_of(words[0]), line


@pytest.mark.parametrize("name", TEXTS)
def test_every_option_in_the_documentation_exists(name):
    parameters = [
        each for command in [cli, *all_commands().values()] for each in command.get_params(click.Context(cli))
    ]
    known = {option for each in parameters for option in each.opts} | {"--help"}
    mentioned = set(re.findall(r"(?<![\w<!-])--[a-z][a-z-]+", TEXTS[name]))
    assert mentioned - OF_OTHERS <= known


def test_the_environment_variables_are_explained_and_so_is_the_default():
    text = TEXTS["docs/commands.md"]
    assert all(f"`{name}`" in text and f"`{name}_FILE`" in text for name in VARIABLES)
    assert f"`{DEFAULT}`" in text


def test_the_keys_of_a_blocker_are_listed():
    (blocker,) = re.findall(r"A blocker has (.*?)\. For", TEXTS["docs/json.md"], re.DOTALL)
    assert re.findall(r"`(\w+)`", blocker) == list(Blocker._fields)


def test_the_glossary_lists_every_value_of_the_code():
    rows = [row for row in cells(TEXTS["docs/json.md"]) if len(row) == 3]
    values = {row[0]: set(re.findall(r"`([^`]+)`", row[2])) for row in rows}
    assert values["`action`"] == {action.value for action in Action}
    assert values["`origin`"] == {CREATED, ADOPTED, RENAMED}
    assert values["`state` of a revision"] == {APPLYING, APPLIED, REVERTING, REVERTED}
    assert values["`differences`"] == set(Difference._fields)
    assert values["`kind` of advice"] == {*KINDS, CHANGED_FILE, EMPTY_CHILD}
    assert values["`evidence`"] == {BASELINE, LEARNED, EXACT, STATISTICS}
    assert values["`result` of a deep check"] == {CLEAN, CORRUPT, CANNOT_TELL}
    flaws = {
        CatalogEntry("ix", "index", valid=valid, worker=worker).flaw for valid in (True, False) for worker in (None, 1)
    }
    assert flaws <= values["`finding`"]


def test_the_sql_of_the_documentation_can_be_executed(head_url):
    for text in TEXTS.values():
        execute(head_url, *blocks("sql", text))


def test_the_examples_of_a_revision_can_be_executed():
    for block in blocks("python", TEXTS["docs/revisions.md"]):
        exec(block, {})


def test_every_public_name_is_explained():
    assert [name for name in indexer.__all__ if f"`{name}" not in TEXTS["docs/library.md"]] == []


def test_the_layout_names_every_file_at_the_top_and_no_other():
    named = set(re.findall(r"^([\w.]+\.py)", TEXTS["docs/development.md"], re.MULTILINE))
    assert named == {path.name for path in ROOT.glob("*.py")}


def test_every_file_of_the_layout_exists():
    (layout,) = blocks("", TEXTS["docs/development.md"])
    for name in re.findall(r"^([\w./]+)", layout, re.MULTILINE):
        assert (ROOT / name).exists(), name


def test_the_changelog_begins_with_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## (\S+)", changelog, re.MULTILINE).group(1) == indexer.__version__
