"""The command line: help, start-up, the documents of --json, and errors."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command import CLI, HEAD, TEN_NAMES, Result, execute, nothing_changes, prepare, run, succeed

from indexer import __version__
from indexer.cli.commands import cli
from indexer.text import counted

COMMANDS = sorted(cli.commands)
ARGUMENTS = {"stamp": ["base"], "seed": ["--rows", "20"]}
UNREACHABLE = "postgresql://clerk@127.0.0.1:1/crm"
SLOW_TO_IMPORT = {"peewee", "playhouse", "psycopg2", "rich", "matplotlib", "sqlite3"}

FOREIGN_META_TABLE = "CREATE TABLE schema_revision (installed_rank integer, version varchar(50))"
OTHER_INDEX = "CREATE INDEX ix_activity_type ON activity (direction)"


def document(result: Result) -> dict[str, Any]:
    """Return the JSON document on stdout, which has to be all that is printed there."""
    content = json.loads(result.stdout)
    assert result.stdout == json.dumps(content) + "\n"
    return content


def failure(result: Result) -> dict[str, Any]:
    """Return the document of an error, which has to agree with stderr and the exit code."""
    content = document(result)
    assert content["exit_code"] == result.exit_code
    assert content["error"] in result.stderr
    assert content["hint"] in result.stderr
    return content


def imported(*arguments: str, url: str = UNREACHABLE) -> set[str]:
    """Return the top-level modules that a command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", CLI, *arguments],
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(re.findall(r"^import time:.*\| +(\w+)", done.stderr, re.MULTILINE))


def project(directory: Path, migration: str) -> Path:
    """Copy the program with one more migration; return the path of its cli.py."""
    root = CLI.parent
    for file in root.glob("*.py"):
        shutil.copy(file, directory)
    shutil.copytree(root / "indexer", directory / "indexer", ignore=shutil.ignore_patterns("__pycache__"))
    (directory / "migrate_next.py").write_text(migration)
    return directory / "cli.py"


def run_project(program: Path, *arguments: str) -> Result:
    """Run the copy, on a SQLite file beside it."""
    done = subprocess.run(
        [sys.executable, program, *arguments, "--database-url", f"sqlite:///{program.parent}/crm.db"],
        capture_output=True,
        text=True,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_command_to_type_next_repeats_the_url_that_was_typed_but_no_password(sqlite_url, kind):
    typed = sqlite_url if kind == "sqlite" else UNREACHABLE.replace("clerk", "clerk:secret")
    said = run("plan", "--database-url", typed, url="sqlite:///elsewhere.db")
    if kind == "sqlite":
        assert said.lines[-1] == f"Nothing was changed. To do it, run: python cli.py up --database-url {sqlite_url}"
    assert "secret" not in said.stdout + said.stderr


def test_a_command_to_type_next_does_not_repeat_what_the_environment_says(sqlite_url):
    assert run("plan", url=sqlite_url).lines[-1] == "Nothing was changed. To do it, run: python cli.py up"


def test_a_command_to_type_next_begins_as_the_environment_says(sqlite_url, monkeypatch):
    monkeypatch.setenv("INDEXER_PROGRAM", "docker run --rm crm")
    assert run("plan", url=sqlite_url).lines[-1] == "Nothing was changed. To do it, run: docker run --rm crm up"
    assert "Usage: docker run --rm crm up" in run("up", "--bogus", url=sqlite_url).stderr


# Help ----------------------------------------------------------------------------------------------------------------


def test_help_lists_every_command_with_a_description():
    listed = dict(
        re.findall(r"^  (\w+) +(\S.*)$", succeed("--help", url="").stdout.partition("Commands:")[2], re.MULTILINE)
    )
    assert sorted(listed) == COMMANDS
    assert {"up", "down", "status", "plan"} <= listed.keys()
    assert all(listed.values())


NOT_USED = {"bench": {"--schema"}, "completion": {"--database-url", "--schema"}, "new": {"--database-url", "--schema"}}
NOT_USED |= {"serve": {"--json"}}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_explains_itself_without_a_database(command, option):
    text = succeed(command, option, url=UNREACHABLE).stdout
    assert f"cli.py {command}" in text
    for shared in ("--database-url", "--schema", "--json", "--verbose"):
        explained = re.search(rf"^  {shared}( [A-Z]+)? +\S", text, re.MULTILINE)
        assert bool(explained) == (shared not in NOT_USED.get(command, ()))


def test_help_says_where_the_database_is_taken_from():
    text = succeed("--help", url="").stdout
    assert all(
        word in text for word in ("--database-url", "MIGRATION_DATABASE_URL", "DATABASE_URL", "sqlite:///crm.db")
    )


def test_version_is_that_of_the_package():
    assert __version__ in succeed("--version", url="").stdout


@pytest.mark.parametrize("arguments", [("frobnicate",), ("up", "--frobnicate"), ("plan", "sideways")], ids=" ".join)
def test_wrong_usage_is_exit_code_2(arguments, sqlite_url):
    result = run(*arguments, url=sqlite_url)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--help" in result.stderr


MISUSED = [
    ("up", "--jobs", "abc"),
    ("up", "--bogus"),
    ("stamp",),
    ("plan", "sideways"),
    ("completion",),
    ("frobnicate",),
]


@pytest.mark.parametrize("arguments", MISUSED, ids=" ".join)
def test_wrong_usage_is_a_document_too_and_does_not_change_stderr(arguments, sqlite_url):
    result = run(*arguments, "--json", url=sqlite_url)
    content = document(result)
    assert content.keys() == {"error", "hint", "exit_code"}
    assert content["exit_code"] == result.exit_code == 2
    assert content["error"] in " ".join(result.stderr.split())
    assert "--help" in content["hint"]
    assert result.stderr == run(*arguments, url=sqlite_url).stderr


@pytest.mark.parametrize(
    "arguments",
    [("up", "--to", ""), ("down", "--to", ""), ("plan", "--to", ""), ("plan", "down", "--to", ""), ("stamp", "")],
    ids=" ".join,
)
def test_an_empty_revision_is_wrong_usage_and_changes_nothing(arguments, database_url):
    succeed("up", url=database_url)
    with nothing_changes(database_url):
        result = run(*arguments, url=database_url)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "No revision is called ''" in result.stderr


def test_an_empty_schema_is_wrong_usage_and_not_that_of_the_search_path(postgres_url):
    with nothing_changes(postgres_url):
        result = run("up", "--schema", "", url=postgres_url)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "schema is empty" in result.stderr


# Start-up ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("--help",), ("up", "--help"), ("--version",)], ids=" ".join)
def test_help_imports_no_database_and_no_drawing(arguments):
    modules = imported(*arguments)
    assert "click" in modules
    assert modules & SLOW_TO_IMPORT == set()


@pytest.mark.parametrize("command", ["up", "status", "check"])
def test_a_command_with_nothing_to_do_imports_neither_drawing_nor_what_only_a_run_uses(command, any_head_url):
    modules = imported(command, url=any_head_url)
    assert "peewee" in modules
    assert modules & {"rich", "matplotlib", "asyncio", "pathlib", "urllib", "shutil"} == set()


# Documents -----------------------------------------------------------------------------------------------------------


def test_up_and_down_end_with_one_document(database_url):
    up = succeed("up", "--json", url=database_url).json()
    assert (up["direction"], up["from"], up["to"], up["changed"]) == ("up", None, HEAD, True)
    assert up["indexes"] == dict.fromkeys(TEN_NAMES, "create")
    down = succeed("down", "--json", url=database_url).json()
    assert (down["direction"], down["from"], down["changed"]) == ("down", HEAD, True)
    assert down["indexes"] == dict.fromkeys(TEN_NAMES, "drop")


@pytest.mark.parametrize("command", ["up", "down"])
def test_nothing_to_do_is_a_document_too(database_url, command):
    succeed("up", url=database_url)
    succeed(command, url=database_url)
    content = document(succeed(command, "--json", url=database_url))
    assert content["changed"] is False
    assert content["indexes"] == {}


def test_a_run_with_json_prints_one_event_a_line_and_the_outcome_last(database_url):
    result = succeed("up", "--json", url=database_url)
    *events, outcome = result.story()
    assert result.stderr == ""
    assert sum(event["event"] == "StatementStarted" for event in events) == 10
    assert outcome["to"] == HEAD


def test_status_is_one_document_with_the_exit_code_in_it(database_url):
    pending = run("status", "--json", url=database_url)
    assert document(pending)["exit_code"] == pending.exit_code == 3
    assert document(pending)["pending"] == [HEAD]
    succeed("up", url=database_url)
    content = document(succeed("status", "--json", url=database_url))
    assert (content["exit_code"], content["revision"], content["pending"]) == (0, HEAD, [])
    assert {index["name"]: index["state"] for index in content["indexes"]} == dict.fromkeys(TEN_NAMES, "valid")


def test_every_index_of_status_and_plan_carries_its_definition_and_its_purpose(database_url):
    keys = {"name", "table", "method", "columns", "predicate", "purpose", "state", "bytes", "differences"}
    status = document(run("status", "--json", url=database_url))["indexes"]
    plan = document(run("plan", "--json", url=database_url))["steps"]
    assert all(keys <= index.keys() and index["purpose"] for index in [*status, *plan])
    assert all({"action", "statements", "table_rows", "table_bytes"} <= step.keys() for step in plan)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_plan_is_one_document_with_the_statements_of_the_run(database_url, direction):
    succeed("up", url=database_url)
    if direction == "up":
        succeed("down", url=database_url)
    steps = document(run("plan", direction, "--json", url=database_url))["steps"]
    planned = [statement for step in steps for statement in step["statements"]]
    assert len(planned) == 10
    assert sorted(planned) == succeed(direction, url=database_url).announced()


def test_a_plan_that_would_be_refused_is_a_document_with_the_reasons(database_url):
    execute(database_url, "CREATE TABLE contact (id integer)")
    result = run("plan", "--json", url=database_url)
    assert document(result)["exit_code"] == result.exit_code == 1
    assert any("activity" in problem for problem in document(result)["problems"])


def test_a_script_and_a_document_are_not_mixed(sqlite_url):
    result = run("plan", "--sql", "--json", url=sqlite_url)
    assert result.stdout == "" or document(result)


@pytest.mark.parametrize(("count", "said"), [(0, "0 entries"), (1, "1 entry"), (2, "2 entries")])
def test_a_number_has_the_right_form_of_its_noun(count, said):
    assert counted(count, "entry", "entries") == said
    assert counted(count, "session") == f"{count} session{'' if count == 1 else 's'}"


# Failures ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["up", "down", "plan", "status"])
def test_an_unreachable_database_is_a_document_with_exit_code_7(command):
    assert failure(run(command, "--json", url=UNREACHABLE))["exit_code"] == 7


@pytest.mark.parametrize("command", ["up", "down", "plan"])
def test_an_unknown_revision_is_a_document_with_exit_code_2(database_url, command):
    assert failure(run(command, "--json", "--to", "nowhere", url=database_url))["exit_code"] == 2


def test_a_refusal_by_preflight_is_a_document_with_all_problems(database_url):
    execute(database_url, "CREATE TABLE contact (id integer)")
    content = failure(run("up", "--json", url=database_url))
    assert content["exit_code"] == 1
    assert len(content["problems"]) > 1


def test_an_index_with_another_definition_is_a_document_with_the_differences(database_url):
    succeed("up", "--to", "base", url=database_url)
    execute(database_url, OTHER_INDEX)
    content = failure(run("up", "--json", url=database_url))
    assert content["exit_code"] == 4
    assert content["differences"] == {
        "ix_activity_type": [{"part": "key", "declared": "activity_type", "found": "direction"}]
    }


@pytest.mark.parametrize("command", ["up", "down", "plan", "status"])
def test_another_tools_table_with_the_name_of_the_record_is_refused_and_unchanged(database_url, command):
    execute(database_url, FOREIGN_META_TABLE)
    with nothing_changes(database_url):
        result = run(command, url=database_url)
        content = failure(run(command, "--json", url=database_url))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "schema_revision is not this tool's" in result.stderr
    assert "Rename that table" in content["hint"]


def test_a_chain_that_is_broken_is_an_error_with_the_names_of_the_files(tmp_path):
    program = project(
        tmp_path,
        f'revision = "{HEAD}"\ndown_revision = "x"\nINDEXES = ()\ndef upgrade(m): ...\ndef downgrade(m): ...\n',
    )
    result = run_project(program, "up")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "migrate_10992629d68e.py and migrate_next.py" in result.stderr
    assert not (tmp_path / "crm.db").exists()


UNFORESEEN = "Unexpected error: surprise."


def surprised(directory: Path) -> Path:
    """Copy the program with models that fail unexpectedly; return the path of its cli.py."""
    program = project(directory, "")
    (directory / "migrate_next.py").unlink()
    failing = (
        "class Tables(list):\n    def __iter__(self):\n        raise AttributeError('surprise')\n\nTABLES = Tables()\n"
    )
    (directory / "models.py").write_text(failing)
    return program


def test_an_unexpected_error_shows_no_traceback_and_how_to_see_it(tmp_path):
    result = run_project(surprised(tmp_path), "up")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {UNFORESEEN}")
    assert "--verbose" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unexpected_error_is_a_document_too(tmp_path):
    content = failure(run_project(surprised(tmp_path), "up", "--json"))
    assert content["error"] == UNFORESEEN


def test_verbose_shows_the_traceback_and_the_error_all_the_same(tmp_path):
    result = run_project(surprised(tmp_path), "up", "--verbose")
    assert "Traceback" in result.stderr
    assert "models.py" in result.stderr
    assert re.search(f"^Error: {UNFORESEEN}", result.stderr, re.MULTILINE)


# On paper ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"bench", "completion", "new", "serve"}))
def test_output_that_is_no_terminal_holds_no_colours(sqlite_url, command):
    result = run(command, *ARGUMENTS.get(command, []), url=sqlite_url)
    assert result.stdout or result.stderr
    assert "\x1b" not in result.stdout + result.stderr


def test_an_error_that_is_not_on_a_terminal_holds_no_colours():
    assert run("up", url=UNREACHABLE).stderr.startswith("Error: ")


@pytest.mark.parametrize("command", ["up", "status", "plan"])
def test_a_reader_that_went_away_gets_no_traceback(sqlite_url, command):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, CLI, command, "--database-url", sqlite_url],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writer)
    assert done.stderr == ""


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("option", ["--published", "--no-alembic"])
def test_an_option_of_both_ways_is_for_a_plan_of_either(sqlite_url, direction, option):
    prepare(sqlite_url, to="head" if direction == "down" else "base")
    assert succeed("plan", direction, option, url=sqlite_url).next_command() == [direction, option]
