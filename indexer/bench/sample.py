"""The rows that a project makes up for ``seed`` and ``bench``: what its module ``sample`` must offer.

A size is a number of rows of one table; the rows of the other tables are in proportion. ``sample/`` of the CRM is an
example.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from indexer.errors import UsageError

if TYPE_CHECKING:
    from indexer.bench.events import Tell
    from indexer.migrator import CatalogMigrator
    from indexer.runner import Runner

FUNCTIONS = ("counts", "fill", "seed")


class Sample(Protocol):
    """A module that makes up rows."""

    def counts(self, size: int, /) -> Mapping[str, int]:
        """Return how many rows of this size each table has, by its name; raise UsageError if they are too many."""

    def fill(self, migrator: CatalogMigrator, size: int, new: bool, tell: Tell, seed: int, /) -> None:
        """Write the rows into empty tables, tell ``Filled`` in the end, and gather statistics (ANALYZE).

        Args:
            new: whether this command has created the tables.
            tell: called with each event.
            seed: the same number makes the same rows.
        """

    def seed(self, runner: Runner, size: int, /, *, tell: Tell) -> Mapping[str, int]:
        """Create the tables if there are none, refuse those that hold rows, fill them, and return the counts."""


def sample_of(sample: Callable[[], Sample] | None) -> Sample:
    """Return the module that makes up a project's rows; ``sample`` is that of the project.

    Raises:
        UsageError: the project has none, or one that lacks a function.
    """
    found = sample() if sample else None
    missing = [name for name in FUNCTIONS if not hasattr(found, name)]
    if found is None or missing:
        lack = f"a module sample that has no {' and no '.join(missing)}" if found else "no module sample"
        raise UsageError(
            f"seed and bench need made-up rows, and this project has {lack}.",
            f"Write a module sample with the functions {', '.join(FUNCTIONS)}, as described in indexer.bench.sample.",
        )
    return found
