"""What the user allows beyond the usual: each is off unless asked for."""

from __future__ import annotations

from shlex import quote
from typing import NamedTuple

VERSION_TABLE = "alembic_version"


class Consent(NamedTuple):
    """What the user allows.

    Attributes:
        adopt_renamed: take over an identical index of another name by renaming it.
        replace: replace an index of ours that has another definition.
        include_adopted: drop also what stood there before ``up``.
        below_later: go below a later revision, Alembic's or one of ours that this version does not know.
        alembic: keep Alembic's version table in step; this one is on unless taken away.
        version_table: the name of that table, with its schema before a dot if it is not that of the other tables.
        published: make tables although a publication sends their rows to subscribers at once.
    """

    adopt_renamed: bool = False
    replace: bool = False
    include_adopted: bool = False
    below_later: bool = False
    alembic: bool = True
    version_table: str = VERSION_TABLE
    published: bool = False

    def options(self, direction: str) -> tuple[str, ...]:
        """Return the options that say this to ``up`` or to ``down``; what only the other one takes is left out."""
        said = {
            "--adopt-renamed": self.adopt_renamed and direction == "up",
            "--replace": self.replace and direction == "up",
            "--include-adopted": self.include_adopted and direction == "down",
            "--yes": self.below_later and direction == "down",
            "--no-alembic": not self.alembic,
            "--published": self.published,
        }
        named = ("--version-table", quote(self.version_table)) if self.version_table != VERSION_TABLE else ()
        return (*(option for option, given in said.items() if given), *named)


CAUTIOUS = Consent()
