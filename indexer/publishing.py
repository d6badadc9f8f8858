"""Tables that would be sent to subscribers as soon as they are made, and what to do about it."""

from __future__ import annotations

from typing import NamedTuple

from indexer.errors import Problem
from indexer.text import identifier


class Publishing(NamedTuple):
    """The tables about to be made, and what publishes them.

    Attributes:
        tables: their names.
        publications: those that a new table is part of, each with what it is for.
        statements: SQL that makes the same tables on a subscriber.
        subscriptions: the names that the subscribers' subscriptions most likely have.
    """

    tables: tuple[str, ...] = ()
    publications: tuple[str, ...] = ()
    statements: tuple[str, ...] = ()
    subscriptions: tuple[str, ...] = ()

    @property
    def problems(self) -> list[Problem]:
        """Return why a run must not make them yet, with the statements that prepare a subscriber."""
        if not self.tables:
            return []
        sentence = (
            f"{', '.join(self.tables)} would be published at once by {', '.join(self.publications)}, "
            "and a subscriber without these tables stops replicating"
        )
        return [Problem(sentence, "Make the same tables on each subscriber first, empty:", self.statements)]

    @property
    def warnings(self) -> list[str]:
        """Return what is left to do on the subscribers once the tables are made."""
        if not self.tables:
            return []
        names = self.subscriptions or ("NAME",)
        refresh = "; ".join(f"ALTER SUBSCRIPTION {identifier(name)} REFRESH PUBLICATION" for name in names)
        return [f"{', '.join(self.tables)} are published: when the run is done, on each subscriber: {refresh}"]


NOT_PUBLISHED = Publishing()
