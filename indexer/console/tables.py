"""Tables as text."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from typing import Any

from indexer.console.output import BOLD, styled
from indexer.text import visible
from indexer.tuples import NamedTuple

GAP = 2  # columns of a terminal between two columns of a table
FOLDED = 24  # columns that a text needs before it may break between words
WIDE = 500  # columns in a log
STYLES = {"bold": BOLD, "dim": "\x1b[2m", "red": "\x1b[31m", "green": "\x1b[32m", "yellow": "\x1b[33m"}


class _Cell(NamedTuple):
    """A cell of a table, without a character that a terminal would obey."""

    text: str
    style: str = ""


class _Column(NamedTuple):
    """A column of a table; its first cell is the title."""

    cells: list[_Cell]
    folds: bool
    right: bool

    @property
    def title(self) -> str:
        """The title."""
        return self.cells[0].text

    @property
    def longest(self) -> int:
        """The width of its longest cell."""
        return max(_width(cell.text) for cell in self.cells)

    @property
    def least(self) -> int:
        """The width below which it cannot be read."""
        if not self.folds:
            return self.longest
        words = (_width(word) for cell in self.cells for word in cell.text.split())
        return max(min(self.longest, FOLDED), *words, 0)

    def lines(self, row: int, width: int) -> list[str]:
        """Return the lines of a cell, each as wide as the column."""
        text, style = self.cells[row]
        lines = [text]
        if _width(text) > width:
            from textwrap import wrap

            lines = wrap(text, width, break_long_words=False, break_on_hyphens=False)
        return [self._padded(line, style, width) for line in lines]

    def _padded(self, line: str, style: str, width: int) -> str:
        blanks = " " * (width - _width(line))
        painted = styled(line, STYLES[style]) if line and style and sys.stdout.isatty() else line
        return blanks + painted if self.right else painted + blanks


def drawn(
    titles: Sequence[str],
    rows: Sequence[Sequence[Any]],
    right: Collection[str] = (),
    folding: Collection[str] = (),
    less_needed: Sequence[str] = (),
) -> str:
    """Return a table that breaks no word: on a narrow terminal some columns fold, and some are left out, which it says.

    An empty column is always left out. In a log nothing folds.

    Args:
        titles: of the columns.
        rows: their cells: a text with its style, one of ``STYLES``, or anything else as its string.
        right: titles of the columns that are set to the right.
        folding: titles of those that may fold.
        less_needed: titles of those that may be left out, the least needed first.
    """
    width = _room()
    cells = zip(*([(title, "bold") for title in titles], *rows), strict=True)
    texts = ([_cell(cell) for cell in column] for column in cells)
    columns = [
        _Column(column, column[0].text in folding, column[0].text in right)
        for column in texts
        if any(cell.text for cell in column[1:])
    ]
    shown = _that_fit(columns, width, less_needed)
    widths = _widths(shown, width)
    lines = [line for row in range(len(rows) + 1) for line in _row(shown, widths, row)]
    left_out = [column.title for column in columns if column not in shown]
    if left_out:
        lines.append(f"Columns left out, because the terminal is too narrow: {', '.join(left_out)}.")
    return "\n".join(lines)


def _room() -> int:
    """Return how many columns there are."""
    if not sys.stdout.isatty():
        return WIDE
    from shutil import get_terminal_size

    return get_terminal_size().columns


def _row(columns: Sequence[_Column], widths: Sequence[int], row: int) -> list[str]:
    """Return the lines of a row, as many as its highest cell has."""
    cells = [column.lines(row, width) for column, width in zip(columns, widths, strict=True)]
    height = max(map(len, cells), default=0)
    filled = [lines + [" " * width] * (height - len(lines)) for lines, width in zip(cells, widths, strict=True)]
    return [(" " * GAP).join(parts).rstrip() for parts in zip(*filled, strict=True)]


def _that_fit(columns: list[_Column], width: int, less_needed: Sequence[str]) -> list[_Column]:
    """Return the columns that fit beside each other, without the least needed ones."""
    for title in less_needed:
        if _total([column.least for column in columns]) <= width:
            break
        columns = [column for column in columns if column.title != title]
    return columns


def _widths(columns: Sequence[_Column], width: int) -> list[int]:
    """Return the width of each column; the widest of those that fold gives way until all fit, if they can."""
    widths, least = [column.longest for column in columns], [column.least for column in columns]
    for _ in range(_total(widths) - width):
        able = [place for place in range(len(columns)) if widths[place] > least[place]]
        if able:
            widths[max(able, key=lambda place: widths[place])] -= 1
    return widths


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _cell(cell: Any) -> _Cell:
    text, style = cell if isinstance(cell, tuple) else (str(cell), "")
    return _Cell(visible(text), style)


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    wide = sum(east_asian_width(each) in "WF" for each in text)
    return len(text) + wide - sum(combining(each) > 0 for each in text)
