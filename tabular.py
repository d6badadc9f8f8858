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

    texts = [[cell if isinstance(cell, Text) else Text(str(cell)) for cell in row] for row in rows]
    columns = [column for column in zip(map(Text, titles), *texts, strict=True) if any(map(str, column[1:]))]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title, *cells in columns:
        widest = None if title.plain in folding else max(text.cell_len for text in (title, *cells))
        table.add_column(
            title, min_width=widest, no_wrap=widest is not None, justify="right" if title.plain in right else "left"
        )
    for row in zip(*(column[1:] for column in columns), strict=True):
        table.add_row(*row)
    console = Console(highlight=False)
    terminal, console.width = console.width, WIDE
    if console.is_terminal:
        console.width = max(terminal, NARROWEST, console.measure(table).minimum)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
