"""Alembic's own record of the same database: read to tell who made what, moved only if it is one revision away."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

from peewee import CharField, Model, fn

from indexer.catalog import ORDINARY, Table
from indexer.chain import Chain, Revision
from indexer.migrator import CatalogMigrator
from indexer.tables import bound
from indexer.words import identifier

VERSION_TABLE = "alembic_version"
COLUMN = "version_num"
AT, PAST, BELOW = "at", "past", "below"


class Versions(NamedTuple):
    """The revisions that Alembic says the database is at: one as a rule, several after a fork, none at its base.

    ``rows`` is None where there is no such table. ``known`` are the revisions of our own chain, in order; any other
    is taken for a later one. ``obstacle`` is the right that we lack.
    """

    rows: tuple[str, ...] | None
    known: tuple[str, ...]
    obstacle: str | None = None

    def place(self, revision: Revision) -> str | None:
        """Where Alembic stands, seen from a revision: at it, past it or below; None where it has nothing to say."""
        if self.rows is None or not revision.in_alembic:
            return None
        if self.rows == (revision.id,):
            return AT
        before = self.known[: self.known.index(revision.id)]
        return BELOW if not self.rows or any(row in before for row in self.rows) else PAST

    def later_than(self, revision: Revision) -> tuple[str, ...]:
        """The revisions beyond this one that Alembic stands at."""
        if self.place(revision) != PAST:
            return ()
        return tuple(row for row in self.rows or () if row != revision.id)

    @property
    def cannot_be_read(self) -> bool:
        """Is there a table that does not let us look into it?"""
        return self.rows is None and self.obstacle is not None

    @property
    def can_be_moved(self) -> bool:
        """Is there a table, and may we change it?"""
        return self.rows is not None and self.obstacle is None

    def is_at(self, revision: str) -> bool:
        """Does Alembic stand at this revision and no other?"""
        return self.rows == (revision,)

    def left_alone(self, start: str, end: str) -> str | None:
        """Why a move of ours is not recorded with Alembic, as a sentence; None if it is, or need not be."""
        if self.obstacle and self.rows in (None, (start,)):
            return f"{VERSION_TABLE} is left as it is, because {self.obstacle}."
        if self.rows is None or self.rows in ((start,), (end,)):
            return None
        return f"{VERSION_TABLE} is left as it is, because it {self._reason()}."

    def _reason(self) -> str:
        held = ", ".join(self.rows or ())
        if not held:
            return "is empty"
        if len(self.rows or ()) > 1:
            return f"holds several revisions: {held}"
        place = "is not the one next to this move" if held in self.known else "this version does not know"
        return f"holds {held}, which {place}"


class AlembicVersion:
    """The version table in the schema of our tables."""

    def __init__(self, migrator: CatalogMigrator, chain: Chain) -> None:
        self.migrator = migrator
        self.chain = chain

    @cached_property
    def _model(self) -> Any:
        class AlembicVersion(Model):
            version_num = CharField(32, primary_key=True)

        return bound(AlembicVersion, VERSION_TABLE, self.migrator)

    def read(self, tables: dict[str, Table]) -> Versions:
        """What the table holds; one of that name without Alembic's column is somebody else's."""
        table = tables.get(VERSION_TABLE)
        if table is None or table.kind != ORDINARY or COLUMN not in table.columns:
            return Versions(None, self.chain.ids)
        name = self.migrator.qualified(VERSION_TABLE)
        obstacle = (
            f"role {table.role} may not read and update it: "
            f"GRANT SELECT, UPDATE ON {name} TO {identifier(table.role)}; "
            "after the run stamp brings it in step"
        )
        if not table.readable:
            return Versions(None, self.chain.ids, obstacle)
        rows = self._model.select(self._model.version_num).order_by(self._model.version_num).tuples()
        held = tuple(row for (row,) in rows if row is not None)  # the table may have been made without its key
        return Versions(held, self.chain.ids, None if table.updatable else obstacle)

    def move(self, start: str, end: str) -> Any:
        """The statement that moves Alembic from one revision to the other, if it stands there and nowhere else."""
        other = self._model.alias()
        elsewhere = fn.EXISTS(other.select().where(other.version_num != start))
        return self._model.update(version_num=end).where(self._model.version_num == start, ~elsewhere)
