"""The heartbeat of a run: a file that is touched as long as the run is alive."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import postgres_server
import pytest
from command import run, succeed
from scenes import open_writer, running, until, until_phase

from indexer.cli import heartbeat
from indexer.cli.heartbeat import beating
from indexer.console.output import echo

LONG_AGO = (1, 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a heartbeat."""
    return tmp_path / "heartbeat"


def is_fresh(path: Path) -> bool:
    """Return whether the file was touched after it was made old."""
    return path.exists() and path.stat().st_mtime > 1


def stays_old(path: Path, blocked: threading.Thread) -> bool:
    """Make the file old, and return whether it still is after many periods; a thread that is blocked is waited for."""
    os.utime(path, LONG_AGO)
    blocked.join(0.2)
    return not is_fresh(path)


def test_the_heartbeat_exists_while_a_run_waits_and_not_after_it(base_url, path):
    with open_writer(base_url) as writer, running("up", "--heartbeat", str(path), url=base_url) as up:
        until_phase(base_url, "waiting for writers before build")
        assert is_fresh(path)
        writer.end()
        up.succeed()
    assert not path.exists()


def test_the_heartbeat_begins_before_the_database_can_be_reached_and_ends_with_a_signal(path):
    url = f"postgresql://clerk@127.0.0.1:{postgres_server.free_port()}/crm"
    with running("up", "--wait-db", "60", "--json", url=url, INDEXER_HEARTBEAT=str(path)) as up:
        up.event("ServerAwaited")
        assert is_fresh(path)
        up.send(signal.SIGTERM)
        assert up.end().exit_code == 143
    assert not path.exists()


def test_the_file_is_touched_again_and_again(path, monkeypatch):
    monkeypatch.setattr(heartbeat, "PERIOD", 0.01)
    with beating(str(path)):
        for _ in range(3):
            os.utime(path, LONG_AGO)
            until(lambda: is_fresh(path))
        path.unlink()
        until(path.exists)
        assert path.read_bytes() == b""
    assert not path.exists()


def test_the_heartbeat_stops_while_nobody_reads_the_output(path, monkeypatch):
    monkeypatch.setattr(heartbeat, "PERIOD", 0.01)
    monkeypatch.setattr(heartbeat, "STUCK", 0.05)
    reading, writing = os.pipe()
    with open(reading) as reader, open(writing, "w") as stdout, beating(str(path)):
        monkeypatch.setattr(sys, "stdout", stdout)
        printing = threading.Thread(target=echo, args=("a long line " * 100_000,), daemon=True)
        printing.start()
        assert reader.read(1) == "a"
        until(lambda: stays_old(path, printing))
        threading.Thread(target=reader.read, daemon=True).start()  # until stdout is closed
        printing.join()
        until(lambda: is_fresh(path))


@pytest.mark.parametrize("kind", ["a folder that is missing", "a folder", "a file with content"])
def test_what_can_be_no_heartbeat_is_refused_and_left_alone(sqlite_base_url, tmp_path, kind):
    made = tmp_path / "made"
    if kind == "a folder":
        made.mkdir()
    elif kind == "a file with content":
        made.write_text("content")
    named = made / "heartbeat" if kind == "a folder that is missing" else made
    result = run("up", "--heartbeat", str(named), url=sqlite_base_url)
    assert result.exit_code == 2
    assert f"The heartbeat {named}" in result.stderr
    assert "Name a file in a folder that can be written" in result.stderr
    assert kind != "a file with content" or made.read_text() == "content"


def test_an_empty_file_that_a_killed_run_has_left_is_used_again(sqlite_base_url, path):
    path.touch()
    succeed("up", "--heartbeat", str(path), url=sqlite_base_url)
    assert not path.exists()
