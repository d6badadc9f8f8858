"""What people and machines read about a window and about replicas. No database here."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from indexer import Index
from indexer.catalog import Place
from indexer.console import documents
from indexer.console.hints import HintWriter
from indexer.console.progress import in_a_line
from indexer.console.text import of_outcome
from indexer.decide import Action
from indexer.definition import Definition
from indexer.errors import Command
from indexer.events import BuildPredicted, Laggard, Postponed, ReplicaAwaited, RevisionPaused, WindowClosed
from indexer.pace.pace import CLOSED
from indexer.pace.window import parse
from indexer.plans import Outcome, Rest
from indexer.steps import Step

INDEX = Index("ix_a", "activity", ("a",))
ZONE = parse("daily 01:00-05:00 Europe/Vienna").zone
CLOSES = datetime(2026, 11, 28, 5, tzinfo=ZONE)
DROP = "SELECT pg_catalog.pg_drop_replication_slot('s');"
REST = Rest(
    {"ix_b": CLOSED, "ix_c": CLOSED},
    datetime(2026, 11, 29, 0, tzinfo=timezone.utc),
    "Sun 29 Nov 2026, 01:00 CET",
    Command("up", "--window", "sat,sun 01:00-05:00 Europe/Vienna"),
)
NEXT = (
    "The window opens next on Sun 29 Nov 2026, 01:00 CET. "
    "Then run: python cli.py up --window 'sat,sun 01:00-05:00 Europe/Vienna'"
)


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        (
            BuildPredicted(INDEX, 754.2, 4_200_000_000, "measured in this run", CLOSES),
            "  ix_a: about 12 min 34 s expected for 4005 MB of activity (measured in this run); "
            "the window closes at 05:00 CET",
        ),
        (Postponed(INDEX, CLOSED), "  ix_a left: the window is closed"),
        (
            WindowClosed(("ix_a", "ix_b")),
            "The window has closed; ix_a, ix_b are built to the end, and nothing else begins.",
        ),
        (RevisionPaused("1", ("ix_a",), 3.0), "1  not complete after 3.0 s: 1 index left"),
        (
            ReplicaAwaited(
                INDEX, (Laggard("standby", "b, ::1", 20480, 4), Laggard("logical slot", "s", 1, 9, DROP)), 61.5
            ),
            "  ix_a waits for replication, 1 min 2 s so far:\n"
            "    standby b, ::1: 20 kB behind, for 4.0 s or longer\n"
            "    logical slot s, which is not in use: 1 bytes behind, for 9.0 s or longer\n"
            f"      end it: {DROP}",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_event_in_lines(event, lines):
    assert in_a_line(event) == lines


def test_events_as_json_have_times_in_utc_and_replicas_by_their_fields():
    predicted = documents.of_event(BuildPredicted(INDEX, 1.23456, 10, "a cautious guess", CLOSES))
    assert {name: predicted[name] for name in ("index", "seconds", "closes")} == {
        "index": "ix_a",
        "seconds": 1.235,
        "closes": "2026-11-28T04:00:00Z",
    }
    awaited = documents.of_event(ReplicaAwaited(INDEX, (Laggard("standby", "b", 1, 2),), 1.0))
    assert awaited["replicas"] == [{"kind": "standby", "name": "b", "bytes": 1, "seconds": 2, "ending": ""}]


def outcome(*steps: Step, rest: Rest = REST) -> Outcome:
    return Outcome("up", "0", "0", steps, (), 2.0, (), rest)


def test_the_end_of_a_run_says_what_was_done_what_is_left_and_how_to_continue():
    built = Step(Action.CREATE, INDEX, Definition("activity", "btree", ("a",)))
    answer = of_outcome(outcome(built), Place("sqlite:///x.db"))
    line = HintWriter("python cli.py")(answer.line)
    assert line == f"Done in 2.0 s: 1 created; 2 indexes are left (ix_b, ix_c). {NEXT}"
    assert answer.exit_code == 3
    document = {name: answer.document[name] for name in ("left", "opens", "exit_code", "indexes")}
    assert document == {
        "left": {"ix_b": CLOSED, "ix_c": CLOSED},
        "opens": "2026-11-29T00:00:00Z",
        "exit_code": 3,
        "indexes": {"ix_a": "create"},
    }


def test_a_run_that_has_done_nothing_says_so():
    write = HintWriter("python cli.py")
    nothing = "Nothing was changed on sqlite:///x.db, because the window is closed"
    closed = of_outcome(outcome(), Place("sqlite:///x.db"))
    assert write(closed.line) == f"{nothing}; 2 indexes are left (ix_b, ix_c). {NEXT}"
    record = of_outcome(outcome(rest=REST._replace(left={})), Place("sqlite:///x.db"))
    assert write(record.line) == f"{nothing}; only the record is left. {NEXT}"
