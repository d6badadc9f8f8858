"""Output to a full disk, to a reader or a terminal that is gone, to a closed descriptor: a run continues."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from typing import Any

import pytest
from command import CLI, HEAD, created_indexes, prepare, revisions
from scenes import assert_all_valid, lock_holder, old_snapshot, open_writer, until_phase

from indexer.console import progress
from indexer.events import Blocker, BlockersFound
from indexer.text import visible

FULL = "/dev/full"
needs_full = pytest.mark.skipif(not os.path.exists(FULL), reason="there is no /dev/full here")


def start(*arguments: str, url: str, **streams: Any) -> subprocess.Popen[str]:
    """Start the command line with these streams."""
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    environment = {**os.environ, "DATABASE_URL": url}
    return subprocess.Popen([sys.executable, CLI, *arguments], env=environment, text=True, **given)


@needs_full
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_run_whose_output_cannot_be_written_is_carried_out_and_reports_it(
    sqlite_base_url, options, unbuffered, monkeypatch
):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with open(FULL, "w") as full, start("up", *options, url=sqlite_base_url, stdout=full) as up:
        _, said = up.communicate()
    assert up.returncode == 1
    assert said.startswith("Error: The output cannot be written: No space left on device.\n")
    assert_all_valid(sqlite_base_url)


@needs_full
def test_a_full_output_does_not_change_the_exit_code(sqlite_base_url, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    with open(FULL, "w") as full, start("check", url=sqlite_base_url, stdout=full) as check:
        _, said = check.communicate()
    assert check.returncode == 3
    assert "The output cannot be written" in said


@needs_full
def test_help_that_has_no_room_is_no_traceback(sqlite_base_url):
    with open(FULL, "w") as full, start("--help", url=sqlite_base_url, stdout=full) as asked:
        _, said = asked.communicate()
    assert (asked.returncode, said) == (1, "Error: The output cannot be written: No space left on device.\n")


@needs_full
def test_an_error_that_cannot_be_printed_keeps_its_exit_code(sqlite_base_url):
    with open(FULL, "w") as full, start("up", "--to", "nowhere", url=sqlite_base_url, stderr=full) as up:
        up.communicate()
    assert up.returncode == 2


def test_the_exit_code_does_not_depend_on_a_reader_of_stderr(sqlite_base_url):
    reading, writing = os.pipe()
    os.close(reading)
    with (
        open(writing, "w") as stderr,
        start("plan", "--to", HEAD, "--verbose", url=sqlite_base_url, stderr=stderr) as plan,
    ):
        assert "CREATE INDEX" in plan.communicate()[0]
    assert plan.returncode == 0


def test_a_note_without_a_reader_does_not_lose_the_answer(tmp_path):
    unset = ("DATABASE_URL", "DATABASE_URL_FILE", "MIGRATION_DATABASE_URL", "MIGRATION_DATABASE_URL_FILE")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    prepare(f"sqlite:///{tmp_path}/crm.db", to="base")
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stderr:
        command = [sys.executable, CLI, "check", "--json"]
        check = subprocess.run(command, env=environment, cwd=tmp_path, stdout=-1, stderr=stderr, check=False)
    assert check.returncode == 3
    assert json.loads(check.stdout)["pending"] == [HEAD]


@pytest.mark.parametrize("closed", [(1,), (0, 1, 2)], ids=str)
def test_a_run_whose_streams_are_closed_is_carried_out(sqlite_base_url, closed):
    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    with start("up", url=sqlite_base_url, preexec_fn=close) as up:
        up.communicate()
    assert up.returncode == 0
    assert_all_valid(sqlite_base_url)
    assert revisions(sqlite_base_url)[HEAD] == "applied"


# Signals of a terminal ----------------------------------------------------------------------------------------------


def test_a_terminal_that_closes_ends_a_run_in_order(base_url):
    terminal, its = pty.openpty()

    def adopt_terminal() -> None:
        os.setsid()
        os.close(os.open(os.ttyname(0), os.O_RDWR))  # the first one that a session opens is its own

    with old_snapshot(base_url):
        up = start("up", url=base_url, stdin=its, stdout=its, stderr=its, preexec_fn=adopt_terminal)
        os.close(its)
        until_phase(base_url, "waiting for old snapshots")
        os.close(terminal)
        assert up.wait(30) == 129
        assert created_indexes(base_url) == {}
        assert lock_holder(base_url) is None


def test_a_hangup_after_another_signal_is_not_a_second_one(base_url):
    with old_snapshot(base_url), start("up", url=base_url) as up:  # as systemd sends them with SendSIGHUP
        until_phase(base_url, "waiting for old snapshots")
        up.send_signal(signal.SIGTERM)
        up.send_signal(signal.SIGHUP)
        _, said = up.communicate()
    assert up.returncode in (129, 143)
    assert "Interrupted by" in said
    assert created_indexes(base_url) == {}


@pytest.mark.parametrize("ignored", [signal.SIGHUP, signal.SIGINT], ids=["nohup", "in the background"])
def test_a_signal_that_is_ignored_from_the_start_ends_nothing(base_url, ignored):
    with open_writer(base_url) as writer:
        up = start("up", url=base_url, preexec_fn=lambda: signal.signal(ignored, signal.SIG_IGN))
        until_phase(base_url, "waiting for writers before build")
        up.send_signal(ignored)
        writer.end()
        _, said = up.communicate()
    assert (up.returncode, said) == (0, "")
    assert_all_valid(base_url)


def test_a_statement_to_copy_is_not_wrapped_on_a_narrow_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    blocker = Blocker(1, "web", "crm_app", None, "1", 2.0, "SELECT", "writes", "SELECT " + "word " * 30)
    bars = progress.Bars()
    bars(BlockersFound((blocker,)))
    bars.close()
    assert f"end it: {visible(blocker.ending)}\n" in capsys.readouterr().out
