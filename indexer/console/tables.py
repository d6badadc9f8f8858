"""Tables as text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from io import StringIO
from typing import Any, NamedTuple

from indexer.text import visible

GAP = 2  # columns of a terminal between two columns of a table
FOLDED = 24  # columns that a text needs before it may break between words
WIDE = 500  # columns in a log


class _Column(NamedTuple):
    """A column of a table: its title and its cells, as rich's texts."""

    title: str
    cells: list[Any]
    folds: bool

    @property
    def longest(self) -> int:
        """The width of its longest cell."""
        return max(int(cell.cell_len) for cell in self.cells)

    @property
    def least(self) -> int:
        """The width below which it cannot be read."""
        if not self.folds:
            return self.longest
        words = (len(word) for cell in self.cells for word in cell.plain.split())
        return max(min(self.longest, FOLDED), *words, 0)


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
        rows: their cells: a text with its style, as rich names styles, or anything else as its string.
        right: titles of the columns that are set to the right.
        folding: titles of those that may fold.
        less_needed: titles of those that may be left out, the least needed first.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    texts = [[_text(cell) for cell in row] for row in rows]
    cells = (list(column) for column in zip(map(Text, titles), *texts, strict=True))
    columns = [_Column(str(each[0]), each, str(each[0]) in folding) for each in cells if any(map(str, each[1:]))]
    shown = _that_fit(columns, console.width, less_needed)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for column in shown:
        justify: Any = "right" if column.title in right else "left"
        table.add_column(column.cells[0], min_width=column.least, no_wrap=not column.folds, justify=justify)
    for row in zip(*(column.cells[1:] for column in shown), strict=True):
        table.add_row(*row)
    console.width = max(console.width, _width(shown))
    console.file = drawing = StringIO()  # Console.capture() writes to stdout, too: nothing, and yet it may fail
    console.print(table)
    left_out = [column.title for column in columns if column not in shown]
    lines = [line.rstrip() for line in drawing.getvalue().splitlines()]
    if left_out:
        lines.append(f"Columns left out, because the terminal is too narrow: {', '.join(left_out)}.")
    return "\n".join(lines)


def _that_fit(columns: list[_Column], width: int, less_needed: Sequence[str]) -> list[_Column]:
    """Return the columns that fit beside each other, without the least needed ones."""
    for title in less_needed:
        if _width(columns) <= width:
            break
        columns = [column for column in columns if column.title != title]
    return columns


def _width(columns: Sequence[_Column]) -> int:
    return sum(column.least + GAP for column in columns) - GAP


def _text(cell: Any) -> Any:
    """Return a cell as rich's text, without a character that a terminal would obey."""
    from rich.text import Text

    text, style = cell if isinstance(cell, tuple) else (str(cell), "")
    return Text(visible(text), style)
