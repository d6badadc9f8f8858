"""New tables that a publication would send to subscribers at once, and what to do about it."""

from __future__ import annotations

from typing import NamedTuple

from indexer.errors import Problem
from indexer.text import identifier


class Publishing(NamedTuple):
    """The tables that a run creates, and what publishes them; without tables nothing is published.

    Attributes:
        tables: their names.
        publications: those that a new table joins, each with its kind.
        statements: SQL that creates the same tables on a subscriber.
        subscriptions: the most likely names of the subscriptions on the subscribers.
    """

    tables: tuple[str, ...] = ()
    publications: tuple[str, ...] = ()
    statements: tuple[str, ...] = ()
    subscriptions: tuple[str, ...] = ()

    @property
    def problems(self) -> list[Problem]:
        """Return why the run must not create the tables yet, with the statements that prepare a subscriber."""
        if not self.tables:
            return []
        sentence = (
            f"{', '.join(self.tables)} would be published at once by {', '.join(self.publications)}, "
            "and a subscriber without these tables stops replicating"
        )
        return [Problem(sentence, "Create the same tables, empty, on each subscriber first:", self.statements)]

    @property
    def warnings(self) -> list[str]:
        """Return what to do on the subscribers after the run."""
        if not self.tables:
            return []
        names = self.subscriptions or ("NAME",)
        refresh = "; ".join(f"ALTER SUBSCRIPTION {identifier(name)} REFRESH PUBLICATION" for name in names)
        return [f"{', '.join(self.tables)} are published. After the run, execute on each subscriber: {refresh}"]


NOT_PUBLISHED = Publishing()
