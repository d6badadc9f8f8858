"""The progress of a run: fractions of a build, lines in a log, events in JSON, bars on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import pairwise

import pytest
from command import CLI, HEAD, TEN, TEN_NAMES, connect, created_indexes, execute, prepare, specified, succeed
from scenes import Run, fill_activity, frozen, open_writer, own_server, running, until, until_phase

from indexer.connection import connect as connected
from indexer.events import Event, Progress
from indexer.postgres.run.watch import Counters, counted, fraction
from indexer.revisions.chain import load
from indexer.runner import Runner

ROOT = CLI.parent

FIRST = "ix_activity_openphone_id"

# The progress of a concurrent build of 400,000 rows on a server (15), with a blocker in each of the three waits:
# phase, blocks in all and done, tuples in all and done.
RECORDED = (
    ("waiting for writers before build", 0, 0, 0, 0),
    ("building index: scanning table", 7693, 251, 0, 0),
    ("building index: scanning table", 7693, 3581, 0, 0),
    ("building index: scanning table", 7693, 7672, 0, 0),
    ("building index: sorting live tuples", 7693, 7693, 0, 0),
    ("building index: sorting live tuples", 0, 0, 400000, 0),
    ("building index: loading tuples in tree", 0, 0, 400000, 6113),
    ("building index: loading tuples in tree", 0, 0, 400000, 124683),
    ("building index: loading tuples in tree", 0, 0, 400000, 400000),
    ("waiting for writers before validation", 0, 0, 400000, 400000),
    ("index validation: scanning index", 6485, 417, 0, 0),
    ("index validation: scanning index", 6485, 4150, 0, 0),
    ("index validation: scanning index", 6485, 6443, 0, 0),
    ("index validation: sorting tuples", 0, 0, 0, 0),
    ("index validation: scanning table", 7693, 380, 0, 0),
    ("index validation: scanning table", 7693, 5149, 0, 0),
    ("index validation: scanning table", 7693, 7692, 0, 0),
    ("waiting for old snapshots", 7693, 7692, 0, 0),
)

# The number ---------------------------------------------------------------------------------------------------------


def known(sequence: tuple) -> list[float]:
    """Return the fractions of a sequence, without the phases that have none."""
    fractions = [fraction(Counters(*each)) for each in sequence]
    return [each for each in fractions if each is not None]


def test_the_fraction_of_a_recorded_build_only_rises_and_ends_near_one():
    fractions = known(RECORDED)
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] < 0.05
    assert 0.9 <= fractions[-1] < 1


@pytest.mark.parametrize("phase", sorted({phase for phase, *_ in RECORDED if re.search("^waiting|sorting", phase)}))
def test_waits_and_uncounted_sorts_have_no_fraction(phase):
    assert fraction(Counters(phase, 0, 0, 0, 0)) is None


@pytest.mark.parametrize("counters", [each for each in RECORDED if each[0].startswith("waiting")], ids=lambda c: c[0])
def test_counters_of_an_earlier_phase_are_not_used_for_a_wait(counters):
    assert fraction(Counters(*counters)) is None


def test_a_phase_of_a_later_server_has_no_number():
    assert fraction(Counters("polishing", 10, 5, 10, 5)) is None


@pytest.mark.parametrize("phase", sorted({phase for phase, *_ in RECORDED}))
def test_counters_beyond_their_total_are_cut_to_it(phase):
    assert fraction(Counters(phase, 10, 11, 10, 11)) == fraction(Counters(phase, 10, 10, 10, 10))


def test_blocks_are_counted_in_scans_and_tuples_in_loading():
    assert counted(Counters("building index: scanning table", 9, 3, 0, 0)) == (3, 9, "blocks")
    assert counted(Counters("building index: loading tuples in tree", 0, 0, 9, 3)) == (3, 9, "tuples")


def test_a_hash_index_has_a_number_while_it_scans():
    assert 0 < fraction(Counters("building index", 100, 50, 0, 0)) < 1


# For a machine ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["up", "down"])
def test_json_is_one_object_a_line_and_the_last_one_sums_up(database_url, command):
    prepare(database_url, to="base" if command == "up" else "head")
    result = succeed(command, "--json", url=database_url)
    *events, summary = map(json.loads, result.lines)
    assert result.stderr == ""
    assert all("event" in each for each in events)
    assert (summary["direction"], summary["changed"], summary["indexes"].keys()) == (command, True, TEN_NAMES)
    finished = [each["index"] for each in events if each["event"] == "IndexFinished"]
    assert sorted(finished) == sorted(TEN_NAMES)
    assert [each["event"] for each in events][:: len(events) - 1] == ["RevisionStarted", "RevisionFinished"]


def test_every_event_about_an_index_names_it_and_none_comes_after_it_is_finished(any_base_url):
    events = [json.loads(line) for line in succeed("up", "--json", url=any_base_url).lines]
    for name in TEN_NAMES:
        about = [each["event"] for each in events if each.get("index") == name]
        assert (about[0], about[-1]) == ("StatementStarted", "IndexFinished")
        assert about.count("IndexFinished") == 1


def progress(up: Run, phase: str) -> dict | None:
    """Return the first progress event of a phase that has a fraction."""
    events = [each for each in up.events if (each["event"], each.get("phase")) == ("Progress", phase)]
    return next((each for each in events if each["fraction"] is not None), None)


def progress_in(phase: str, up: Run, url: str) -> dict:
    """Return the progress that is reported while a build is stopped in a phase.

    On a busy machine a build may have left the phase before it is stopped: then the build of the next index is.
    """
    while True:
        with suppress(AssertionError), frozen(until_phase(url, phase, counting=True)):
            return until(lambda: progress(up, phase), phase, seconds=11)
        assert up.is_running, "the build ended before any progress was reported"


def test_a_build_on_postgresql_reports_its_progress():
    with own_server() as server, server.new_database() as url:
        fill_activity(url, 300_000)
        with running("up", "--json", "--jobs", "1", url=url) as up:
            phases = ("building index: scanning table", "building index: loading tuples in tree")
            events = [progress_in(phase, up, url) for phase in phases]
            up.succeed()
    assert 0 <= events[0]["fraction"] < events[1]["fraction"] < 1
    assert [each["unit"] for each in events] == ["blocks", "tuples"]


# SQLite -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def large_sqlite(sqlite_base_url: str) -> Iterator[str]:
    """Return the URL of a SQLite file with 400,000 activities."""
    execute(
        sqlite_base_url,
        """
        WITH RECURSIVE counter (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM counter WHERE i < 400000)
        INSERT INTO activity (openphone_id, conversation_id, activity_type, created_at)
        SELECT hex(randomblob(8)), i % 1000, CASE i % 3 WHEN 0 THEN 'call' WHEN 1 THEN 'message' END, i FROM counter
        """,
    )
    return sqlite_base_url


@pytest.mark.parametrize(
    "name", [FIRST, "ix_activity_type", "ix_activity_conversation_created"], ids=["unique", "few values", "two columns"]
)
def test_on_sqlite_the_fraction_rises_evenly_to_one(large_sqlite, name):
    events: list[Event] = []
    migrator = connected(large_sqlite)
    with closing(migrator.database):
        Runner(migrator, load(ROOT), report=events.append).up()
    fractions = [each.fraction for each in events if isinstance(each, Progress) and each.target.name == name]
    assert len(fractions) >= 3
    assert fractions == sorted(fractions)
    assert 0.8 <= fractions[-1] <= 1
    steps = [later - earlier for earlier, later in pairwise(fractions)]
    assert max(steps) - min(steps) < 0.05  # evenly: none was cut because the whole was taken for smaller than it is


# In a log -----------------------------------------------------------------------------------------------------------


def test_a_log_has_a_line_at_the_start_and_at_the_end_of_each_index(any_base_url):
    lines = succeed("up", url=any_base_url).lines
    for name in TEN_NAMES:
        start = next(number for number, line in enumerate(lines) if re.match(rf"  CREATE INDEX .*\b{name}\b", line))
        end = next(number for number, line in enumerate(lines) if re.match(rf"  {name} created in \d", line))
        assert start < end
    assert len(lines) == 2 * len(TEN) + 3  # the revision before them, its end and the sum after them
    assert lines[-1].startswith("Done in ")


def test_a_log_says_the_same_wait_once_and_not_every_moment(base_url):
    with open_writer(base_url) as writer, running("up", url=base_url) as up:
        up.line(f"pid {writer.pid}")
        up.wait(2.5)
        assert "".join(up.lines).count(f"{FIRST} waiting for writers") == 1
        writer.end()
        up.succeed()


def test_a_log_and_json_hold_no_control_characters(base_url):
    printed = succeed("up", url=base_url).stdout + succeed("down", "--json", url=base_url).stdout
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f]", printed) is None


# On a terminal ------------------------------------------------------------------------------------------------------


class Terminal:
    """A run on a pseudo-terminal of 160 columns, and its output."""

    def __init__(self, *arguments: str, url: str) -> None:
        self._parent_end, child_end = pty.openpty()
        environment = {**os.environ, "DATABASE_URL": url, "TERM": "xterm-256color", "COLUMNS": "160"}
        environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [sys.executable, CLI, *arguments], stdin=child_end, stdout=child_end, stderr=child_end, env=environment
        )
        os.close(child_end)
        self.drawn = ""

    def until_drawn(self, part: str) -> None:
        """Read until this part is drawn."""
        while part not in self.drawn:
            more = self._read()
            assert more, f"ended without {part!r}: {self.drawn}"
            self.drawn += more

    def end(self) -> int:
        """Read until the end, and return the exit code."""
        while more := self._read():
            self.drawn += more
        os.close(self._parent_end)
        return self.process.wait(30)

    def _read(self) -> str:
        try:
            return os.read(self._parent_end, 65536).decode(errors="replace")
        except OSError:  # how Linux says that the other side is closed
            return ""


def screen(drawn: str, columns: int = 160) -> list[str]:
    """Return the final lines of a terminal, emulated just enough for rich, which moves up and erases lines."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", drawn):
        if part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif part == "\r":
            column = 0
        elif part.startswith("\x1b["):
            number = int(re.sub(r"\D", "", part) or 1)
            row = row - number if part.endswith("A") else row
            lines[row] = "" if part.endswith("K") else lines[row]
        else:
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines if line.strip()]


def test_on_a_terminal_a_build_has_a_bar_until_it_ends(base_url):
    with open_writer(base_url) as writer:
        terminal = Terminal("up", url=base_url)
        terminal.until_drawn("waiting for writers before build")
        terminal.until_drawn(f"pid {writer.pid}")
        terminal.until_drawn("total")
    assert terminal.end() == 0
    left = screen(terminal.drawn)
    assert "━" in terminal.drawn
    assert "━" not in "".join(left)
    assert not [line for line in left if "total" in line]
    assert sorted(re.findall(r"^  (\w+) created in", "\n".join(left), re.MULTILINE)) == sorted(TEN_NAMES)
    assert left[-1].startswith("Done in ")
    assert terminal.drawn.count("\x1b[?25h") >= terminal.drawn.count("\x1b[?25l")  # the cursor is back


def test_an_interrupted_run_takes_its_bars_off_the_terminal_and_gives_the_cursor_back(base_url):
    with open_writer(base_url):
        terminal = Terminal("up", url=base_url)
        terminal.until_drawn("waiting for writers before build")
        until_phase(base_url, "waiting for writers before build")
        terminal.process.terminate()
        assert terminal.end() == 143
    assert "━" not in "".join(screen(terminal.drawn))
    assert terminal.drawn.rindex("\x1b[?25h") > terminal.drawn.rindex("\x1b[?25l")


def test_on_a_terminal_a_revision_with_nothing_to_do_draws_nothing(sqlite_head_url):
    terminal = Terminal("up", url=sqlite_head_url)
    assert terminal.end() == 0
    assert len(screen(terminal.drawn)) == 1


def test_sqlite_has_a_bar_too(large_sqlite):
    terminal = Terminal("up", url=large_sqlite)
    terminal.until_drawn("building index")
    assert re.search(r"[1-9]\d?%", terminal.drawn)
    assert terminal.end() == 0
    assert created_indexes(large_sqlite) == specified(large_sqlite)
    with closing(connect(large_sqlite)) as connection:
        assert connection.execute("SELECT state FROM schema_revision WHERE revision = ?", [HEAD]).fetchone()
