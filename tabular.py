"""Tables for people, as text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

NARROWEST, WIDE = 110, 500  # columns: on a terminal at least so many, in a log


def drawn(
    titles: Sequence[str], rows: Sequence[Sequence[Any]], right: Collection[str] = (), folding: Collection[str] = ()
) -> str:
    """A table that never cuts a name: on a narrow terminal some columns fold, in a log nothing does.

    A column in which nothing stands is left out.

    Args:
        titles: of the columns.
        rows: their cells: ``rich.text.Text`` as it is, anything else as its string.
        right: titles of the columns that are set to the right.
        folding: titles of those that may fold.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    filled = [place for place in range(len(titles)) if any(str(row[place]) for row in rows)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in (titles[place] for place in filled):
        table.add_column(title, no_wrap=title not in folding, justify="right" if title in right else "left")
    for row in rows:
        cells = (row[place] for place in filled)
        table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in cells))
    console = Console(highlight=False)
    terminal, console.width = console.width, WIDE
    if console.is_terminal:
        console.width = max(terminal, NARROWEST, console.measure(table).minimum)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
