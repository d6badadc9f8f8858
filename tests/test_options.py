"""The record of what the user asks of a run, and the words of the command line for it."""

from __future__ import annotations

import pytest

from indexer.errors import Blocked, Command, Locked
from indexer.options import Options
from indexer.pace.window import parse

ALL = Options(
    adopt_renamed=True,
    replace=True,
    include_adopted=True,
    below_later=True,
    alembic=False,
    version_table="audit.version",
    published=True,
    window=parse("sat 01:00-05:00"),
    max_replica_lag=30.0,
)
PACE = ("--window", "sat 01:00-05:00", "--max-replica-lag", "30")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            "up",
            ("--adopt-renamed", "--replace", "--no-alembic", "--published", "--version-table", "audit.version", *PACE),
        ),
        (
            "down",
            ("--include-adopted", "--below-later", "--no-alembic", "--published", "--version-table", "audit.version"),
        ),
        ("stamp", ("--no-alembic", "--published", "--version-table", "audit.version")),
    ],
)
def test_a_command_is_given_the_options_it_has(command, words):
    assert ALL.words(command) == words
    assert Options().words(command) == ()


def test_a_command_goes_to_the_named_revision():
    assert Options(replace=True).command("up", "base") == Command("up", "--to", "base", "--replace")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        pytest.param(Options(wait_lock=2), Locked, id="the limit for another run"),
        pytest.param(Options(max_wait=2), Blocked, id="the limit for any other session"),
        pytest.param(Options(wait_lock=2, max_wait=1), Locked, id="both limits"),
    ],
)
def test_a_wait_ends_at_its_limit_and_not_before(options, error):
    with pytest.raises(error):
        options.check_wait(2, "the file is locked")
    options.check_wait(0.9, "the file is locked")
    Options().check_wait(1e6, "the file is locked")
