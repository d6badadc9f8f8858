"""The command-line options that the parts of the benchmark share."""

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
    """Return a parser of the options.

    Args:
        description: of the part, for --help.
        rounds: the default number of rounds.
        contest: the part compares tools, so that --only can choose them.
        on_postgresql: the part works on a PostgreSQL server.
    """
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--rows", type=int, default=1_000_000, help="activities; the other tables in proportion")
    made.add_argument("--rounds", type=int, default=rounds, help="how often each is measured")
    made.add_argument("--results", type=Path, default=results.FOLDER, metavar="FOLDER", help="where results go")
    if on_postgresql:
        made.add_argument("--database-url", metavar="URL", help="a server to create databases on, else a temporary one")
    if contest:
        names = f"only these, beside the two psql baselines: {', '.join(contestants.NAMES)}"
        made.add_argument("--only", nargs="+", choices=contestants.NAMES, metavar="NAME", help=names)
    return made


def rounds_of(items: Sequence[T], rounds: int) -> Iterator[T]:
    """Yield the items of each round, in the opposite order of the round before."""
    for number in range(rounds):
        yield from items if number % 2 == 0 else reversed(items)
