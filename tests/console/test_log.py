"""Messages as JSON objects with time and level, and colours on a terminal alone."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from command import CLI, HEAD, TEN_NAMES, Result, execute, run
from scenes import open_writer, running

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def messages(text: str) -> list[dict[str, Any]]:
    """Return the messages of an output, each of which has its time and level first."""
    found = [json.loads(line) for line in text.splitlines()]
    now = datetime.now(timezone.utc)
    for each in found:
        assert list(each)[:3] == ["time", "level", "message"]
        assert timedelta(0) <= now - datetime.fromisoformat(each["time"].replace("Z", "+00:00")) < timedelta(minutes=5)
        assert each["level"] in ("info", "warning", "error")
        assert each["message"].strip() == each["message"] != ""
    return found


def logged(*arguments: str, url: str, exit_code: int = 0) -> Result:
    """Run a command with --log-format json."""
    result = run(*arguments, "--log-format", "json", url=url)
    assert result.exit_code == exit_code, result
    return result


def test_every_message_of_a_run_is_an_object_on_a_line(any_base_url):
    result = logged("up", url=any_base_url)
    found = messages(result.stdout)
    assert result.stderr == ""
    assert {each["index"] for each in found if each.get("event") == "IndexFinished"} == TEN_NAMES
    assert (found[-1]["level"], found[-1]["to"], found[-1]["exit_code"]) == ("info", HEAD, 0)
    assert found[-1]["message"].startswith("Done in ")


def test_a_wait_is_a_warning(base_url):
    with open_writer(base_url) as writer, running("up", "--log-format", "json", url=base_url) as up:
        line = up.line('"event": "Waiting"')
        writer.end()
        up.succeed()
    (waiting,) = messages(line)
    assert waiting["level"] == "warning"
    assert waiting["blockers"][0]["pid"] == writer.pid


def test_an_answer_names_its_database_and_has_the_level_of_its_exit_code(any_head_url):
    (answer,) = messages(logged("status", url=any_head_url).stdout)
    assert (answer["level"], answer["exit_code"], answer["revision"]) == ("info", 0, HEAD)
    assert answer["message"].startswith(answer["database"])
    execute(any_head_url, "DROP INDEX ix_activity_type")
    (answer,) = messages(logged("check", url=any_head_url, exit_code=4).stdout)
    assert answer["level"] == "error"
    assert answer["message"].endswith("Missing or different: ix_activity_type. To repair it, run: python cli.py up")


def test_a_pending_revision_is_a_warning(any_base_url):
    (answer,) = messages(logged("status", url=any_base_url, exit_code=3).stdout)
    assert answer["level"] == "warning"


def test_an_error_is_an_object_with_its_hint(sqlite_base_url):
    result = logged("up", "--to", "nowhere", url=sqlite_base_url, exit_code=2)
    (error,) = messages(result.stderr)
    assert (error["level"], error["message"]) == ("error", "No revision is called 'nowhere'.")
    assert error["hint"].startswith("Name one of: ")
    assert (error["exit_code"], result.stdout) == (2, "")


@pytest.mark.parametrize("options", [("--log-format", "json"), ("--log-format=json",)], ids=" ".join)
def test_wrong_usage_is_an_object(options, sqlite_url):
    result = run("up", *options, "--unknown", url=sqlite_url)
    (error,) = messages(result.stderr)
    assert (result.exit_code, result.stdout, error["exit_code"]) == (2, "", 2)
    assert "--unknown" in error["message"]
    assert error["hint"] == "See the options: python cli.py up --help"


def test_a_traceback_is_an_object(sqlite_base_url):
    command = [sys.executable, CLI, "up", "--to", "nowhere", "--verbose", "--log-format", "json"]
    done = subprocess.run(command, env={**os.environ, "DATABASE_URL": sqlite_base_url}, stderr=-1, text=True)
    assert [each["message"].startswith("Traceback") for each in messages(done.stderr)] == [True, False]


def test_documents_and_scripts_stay_what_they_are(sqlite_base_url):
    document = logged("status", "--json", url=sqlite_base_url, exit_code=3).json()
    assert "level" not in document
    assert run("plan", "--sql", url=sqlite_base_url) == logged("plan", "--sql", url=sqlite_base_url)


def test_each_of_several_schemas_is_an_object_and_so_is_the_total(postgres_url):
    execute(postgres_url, "CREATE SCHEMA a", "CREATE SCHEMA b")
    found = messages(logged("status", "--schema", "a", "--schema", "b", url=postgres_url, exit_code=3).stdout)
    assert [each.get("schema") for each in found] == ["a", "b", None]
    assert [each["level"] for each in found] == ["warning"] * 3
    assert found[0]["message"].startswith("a: has none of the tables.")


def test_the_note_of_a_default_database_is_an_object(tmp_path):
    unset = ("DATABASE_URL", "MIGRATION_DATABASE_URL", "INDEXER_DATABASE_URL")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    command = [sys.executable, CLI, "status", "--log-format", "json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    (note,) = messages(done.stderr)
    assert note["message"].startswith("No database URL is given")


# Colours ------------------------------------------------------------------------------------------------------------


def on_terminal(*arguments: str, url: str, **variables: str) -> str:
    """Return what a command prints on a terminal."""
    terminal, its = pty.openpty()
    environment = {**os.environ, "DATABASE_URL": url, "TERM": "xterm-256color", "COLUMNS": "200", **variables}
    process = subprocess.Popen([sys.executable, CLI, *arguments], env=environment, stdin=its, stdout=its, stderr=its)
    os.close(its)
    output = b""
    with suppress(OSError):  # the other end is closed
        while read := os.read(terminal, 4096):
            output += read
    process.wait()
    os.close(terminal)
    return output.decode()


@pytest.mark.parametrize("command", ["status", "up"])
def test_there_are_colours_on_a_terminal_unless_the_user_wants_none(command, sqlite_head_url):
    assert "\x1b[32m" in on_terminal("status", url=sqlite_head_url)
    without = on_terminal(command, url=sqlite_head_url, NO_COLOR="1")
    assert not COLOUR.search(without), without


def test_the_bars_of_a_run_have_no_colours_either(sqlite_base_url):
    with_bars = on_terminal("up", url=sqlite_base_url, NO_COLOR="1")
    assert "ix_activity_type created" in with_bars
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", with_bars)


def test_objects_on_a_terminal_have_no_colours_and_no_bars(sqlite_base_url):
    said = on_terminal("up", "--log-format", "json", url=sqlite_base_url)
    assert len(messages(said)) > 20


def test_there_are_no_colours_in_a_pipe(sqlite_head_url):
    assert "\x1b" not in run("status", url=sqlite_head_url).stdout + run("up", "--to", "x", url=sqlite_head_url).stderr
