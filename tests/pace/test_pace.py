"""What may begin in a window: by the predicted time, which rests on what other builds have taken. No database here."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from indexer import Index
from indexer.decide import Action
from indexer.definition import Definition
from indexer.events import BuildPredicted, Postponed, Warned, WindowClosed
from indexer.pace.pace import CLOSED, Left, Pace
from indexer.pace.rate import EARLIER, GUESS, MATTERS, THIS_RUN, Rate, rate_of
from indexer.pace.window import parse
from indexer.records.log import Entry
from indexer.steps import Step

MB = 1024 * 1024
OPEN = datetime(2026, 11, 28, 4, tzinfo=timezone.utc)  # an hour before the end
NO_RATE = Rate()
WINDOW = parse("sat 01:00-05:00")
SMALL, LARGE = Index("ix_small", "small", ("a",)), Index("ix_large", "large", ("a",))
SIZES = {"small": 10 * MB, "large": 100_000 * MB}


def step(index: Index = SMALL, action: Action = Action.CREATE) -> Step:
    return Step(action, index, Definition(index.table, "btree", ("a",)))


def entry(seconds: float, **indexes: str) -> Entry:
    return Entry("1", "up", OPEN, round(seconds * 1000), "someone", "1.0", indexes)


class Run:
    """A pace by a clock that the test sets, and the events that it reports."""

    def __init__(self, now: datetime = OPEN, rate: Rate = NO_RATE, window=WINDOW) -> None:
        self.now, self.events = now, []
        self.pace = Pace(window, lambda: self.now, rate, SIZES, self.events.append)

    def leaves(self, step: Step) -> str | None:
        """Return why a step must not begin; None if it may."""
        try:
            self.pace.check(step)
        except Left:
            return self.pace.left[step.index]
        return None


def test_without_a_window_everything_may_begin():
    run = Run(window=None)
    assert run.leaves(step(LARGE)) is None
    assert (run.pace.is_closed(), run.pace.opens(), run.events) == (False, None, [])


def test_a_build_begins_if_it_is_expected_to_end_in_time_and_the_prediction_is_said_once():
    run = Run()
    assert [run.leaves(step()), run.leaves(step())] == [None, None]
    (predicted,) = run.events
    assert predicted == BuildPredicted(SMALL, pytest.approx(10 / 6), 10 * MB, GUESS, OPEN + timedelta(hours=1))


def test_a_build_that_would_not_end_in_time_is_left_with_the_reason():
    run = Run(OPEN + timedelta(minutes=59, seconds=59))
    reason = "about 1.7 s expected (a cautious guess), and the window closes in 1.0 s"
    assert run.leaves(step()) == reason
    assert run.events == [Postponed(SMALL, reason)]


def test_a_build_that_fits_into_no_window_is_said_to_and_begins_in_a_longer_one():
    run = Run()
    assert run.leaves(step(LARGE))
    (warned, _) = run.events
    assert isinstance(warned, Warned)
    assert "277 min 47 s, and the window is open for 240 min 0 s: give a longer --window" in warned.text
    assert Run(window=parse("sat 00:00-24:00")).leaves(step(LARGE)) is None


@pytest.mark.parametrize(
    ("action", "is_left"),
    [
        (Action.CREATE, True),
        (Action.REBUILD, True),
        (Action.REPLACE, True),
        (Action.RENAME, True),
        (Action.KEEP, False),
        (Action.WAIT, False),
    ],
)
def test_nothing_begins_in_a_closed_window_but_what_changes_nothing(action, is_left):
    run = Run(OPEN + timedelta(hours=1))
    assert run.pace.is_closed()
    assert run.leaves(step(action=action)) == (CLOSED if is_left else None)
    assert run.pace.opens() == OPEN + timedelta(days=6, hours=21)


def test_what_takes_no_time_begins_until_the_last_moment():
    assert Run(OPEN + timedelta(minutes=59, seconds=59)).leaves(step(action=Action.RENAME)) is None


def test_a_build_that_goes_on_after_the_end_of_the_window_is_said_once():
    run = Run(OPEN + timedelta(hours=1, seconds=-1), Rate(1e-9, MATTERS, THIS_RUN))
    run.pace.look([SMALL])
    assert run.events == []
    run.pace.check(step(action=Action.RENAME))
    run.pace._closes -= 1
    run.pace.look([SMALL])
    run.pace.look([SMALL])
    assert run.events == [WindowClosed(("ix_small",))]


# The rate -----------------------------------------------------------------------------------------------------------


def test_the_slowest_build_of_this_run_counts():
    rate = Rate().measured(1.0, 10 * MB).measured(4.0, 20 * MB).measured(1.0, 20 * MB)
    assert rate.predict(100 * MB) == (20.0, 100 * MB, THIS_RUN)


def test_a_build_of_this_run_counts_more_than_an_earlier_one():
    assert Rate(1.0, 100 * MB, EARLIER).measured(1.0, 10 * MB).predict(100 * MB).seconds == 10.0


def test_a_build_on_a_small_table_measures_nothing():
    assert Rate().measured(60, MATTERS - 1) == Rate()


def test_a_much_larger_table_is_expected_to_take_longer_for_each_byte():
    rate = Rate().measured(1.0, 10 * MB)
    assert rate.predict(100 * MB).seconds == 10.0
    assert rate.predict(200 * MB).seconds == 60.0


def test_no_build_is_expected_to_take_less_than_a_second():
    assert Rate().predict(0).seconds == 1.0


def test_the_last_run_in_the_log_that_has_built_enough_gives_the_rate():
    sizes = {"ix_small": 10 * MB, "ix_large": 40 * MB, "ix_tiny": 1}
    entries = [
        entry(900, ix_tiny="create", ix_large="keep"),
        entry(5, ix_small="create", ix_large="rebuild", ix_gone="create"),
        entry(700, ix_small="create"),
    ]
    # Two builds may have run at once, so each may have taken all of the time.
    assert rate_of(entries, sizes).predict(100 * MB) == (20.0, 100 * MB, EARLIER)
    assert rate_of(entries[:1], sizes) == Rate()
    assert rate_of([], sizes) == Rate()


def test_a_guess_is_replaced_by_building_on_the_smallest_table_that_can_tell_first():
    tables = {"tiny", *SIZES}
    assert Run().pace.probe(tables) == "small"
    assert Run().pace.probe({"tiny", "large"}) == "large"
    assert Run().pace.probe({"tiny"}) is None
    assert Run(rate=Rate(1e-9, MATTERS, EARLIER)).pace.probe(tables) is None
    assert Run(window=None).pace.probe(tables) is None
