"""Tables as text: on any terminal no name is cut, and no text is taken for markup."""

from __future__ import annotations

import re
import sys

import pytest

from indexer.console.tables import drawn

LONG = "ix_" + "long_" * 10 + " of several words"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stdout be a terminal, 40 columns wide."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")


def test_a_name_is_never_cut_on_a_narrow_terminal(narrow):
    table = drawn(("index", "table", "for"), [(LONG, LONG, "one thing")], folding=("for",))

    assert table.count(LONG) == 2
    assert "…" not in table


def test_a_folding_column_takes_several_lines_on_a_narrow_terminal_and_breaks_no_word(narrow):
    purpose = "a word or two " * 20
    table = drawn(("index", "for"), [("ix_short", purpose)], folding=("for",))

    assert max(map(len, table.splitlines())) <= 40 + len("\x1b[1m\x1b[0m" * 4)
    assert table.count("word") == 20


def test_on_a_narrow_terminal_the_least_needed_columns_are_left_out_and_named(narrow):
    titles, row = ("index", "table", "method", "state"), ("ix_activity_type", "activity", "btree", "valid")
    table = drawn(titles, [row], less_needed=("method", "table"))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", table).splitlines()

    assert [line.split() for line in shown[:2]] == [
        ["index", "table", "state"],
        ["ix_activity_type", "activity", "valid"],
    ]
    assert shown[2:] == ["Columns left out, because the terminal is too narrow: method."]


def test_the_longest_word_of_a_folding_column_takes_the_room_of_a_less_needed_column(narrow):
    name = "(ix_campaign_membership_campaign_status)"
    table = drawn(("what", "by", "indexes"), [("up", "operator", f"1 rebuilt {name}")], (), ("indexes",), ("by",))

    assert name in table
    assert "operator" not in table


def test_no_column_is_left_out_if_there_is_room():
    table = drawn(("index", "method"), [("ix_activity_type", "btree")], less_needed=("method",))

    assert table.splitlines()[0].split() == ["index", "method"]


def test_in_a_log_a_row_is_a_line():
    rows = [(LONG, "a word or two " * 10)] * 2

    assert len(drawn(("index", "for"), rows, folding=("for",)).splitlines()) == 3


def test_an_empty_column_is_left_out():
    assert drawn(("index", "found", "size"), [("ix_a", "", 1), ("ix_b", "", "")]).split() == [
        *("index", "size"),
        *("ix_a", "1", "ix_b"),
    ]


def test_a_name_with_brackets_is_no_markup():
    assert "ix_[red]a[/red]" in drawn(("index",), [("ix_[red]a[/red]",)])


def test_numbers_are_aligned_to_the_right_on_request():
    assert drawn(("rows",), [("1",), ("1000",)], right=("rows",)).splitlines()[1:] == ["   1", "1000"]


def test_on_a_terminal_titles_are_bold_and_a_style_is_a_colour(narrow, monkeypatch):
    rows = [("ix_a", ("valid", "green"))]
    monkeypatch.delenv("NO_COLOR", raising=False)

    assert drawn(("index", "state"), rows).splitlines() == [
        "\x1b[1mindex\x1b[0m  \x1b[1mstate\x1b[0m",
        "ix_a   \x1b[32mvalid\x1b[0m",
    ]
    monkeypatch.setenv("NO_COLOR", "1")
    assert drawn(("index", "state"), rows).splitlines() == ["index  state", "ix_a   valid"]


def test_wide_and_combining_characters_are_counted_as_a_terminal_shows_them():
    table = drawn(("for", "size"), [("漢字", 1), ("e\u0301", 2), ("abc", 3)])

    assert table.splitlines() == ["for   size", "漢字  1", "e\u0301     2", "abc   3"]
