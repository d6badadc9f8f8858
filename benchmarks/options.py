"""What the parts of the benchmark are told on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks import contestants, results

T = TypeVar("T")


def parser(
    description: str | None, rounds: int, contest: bool = False, on_postgresql: bool = True
) -> argparse.ArgumentParser:
    """A parser with the options that the parts share."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--rows", type=int, default=1_000_000, help="activities; the other tables in proportion")
    made.add_argument("--rounds", type=int, default=rounds, help="how often each is measured")
    made.add_argument("--results", type=Path, default=results.FOLDER, metavar="FOLDER", help="where results go")
    if on_postgresql:
        made.add_argument("--database-url", metavar="URL", help="a server to make databases on, else a throw-away one")
    if contest:
        made.add_argument("--only", nargs="+", choices=contestants.NAMES, metavar="NAME", help=_names())
    return made


def _names() -> str:
    return f"beside the two psql baselines only these: {', '.join(contestants.NAMES)}"


def rounds_of(items: Sequence[T], rounds: int) -> Iterator[T]:
    """The items, so many rounds, each round in the opposite order of the one before."""
    for number in range(rounds):
        yield from items if number % 2 == 0 else reversed(items)
