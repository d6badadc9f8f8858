"""What was done when and by whom: one small row for each move, the oldest ones forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from peewee import CharField, DateTimeField, IntegerField, Model, TextField, fn

from indexer import __version__
from indexer.catalog import LOG_TABLE, Table
from indexer.decide import Action, Step
from indexer.errors import PreflightFailed, Problem
from indexer.migrator import CatalogMigrator
from indexer.records.revisions import now, whoever
from indexer.records.table import OwnTable, from_json

KEPT = 100  # entries


class Entry(NamedTuple):
    """One move of one revision: ``up``, ``down`` or ``stamp``. Times are UTC, durations milliseconds.

    ``indexes`` says what was done about each index, by its name; those that were left alone are left out.
    """

    revision: str
    direction: str
    finished_at: datetime
    duration_ms: int
    by: str
    tool_version: str
    indexes: dict[str, str]


class Journal(OwnTable):
    """The entries of one database and schema, numbered under the run lock: no sequence can be behind them."""

    name = LOG_TABLE
    columns = Entry._fields

    @staticmethod
    def declared() -> type[Model]:
        """One row a move."""

        class SchemaRevisionLog(Model):
            id = IntegerField(primary_key=True)
            revision = CharField(32)
            direction = CharField(8)
            finished_at = DateTimeField()
            duration_ms = IntegerField()
            by = CharField(255)
            tool_version = CharField(32)
            indexes = TextField()

        return SchemaRevisionLog

    def __init__(self, migrator: CatalogMigrator) -> None:
        super().__init__(migrator)
        self._refusal: PreflightFailed | None = None

    def look(self, tables: dict[str, Table]) -> None:
        """Learn from the catalog whether the table exists; one that cannot be trusted is no log, and stops no run.

        Raises:
            PreflightFailed: another tool's table has the name.
        """
        self._refusal = None
        try:
            super().look(tables)
        except PreflightFailed as refusal:
            if self._table is None or not self._table.trust.flaw:
                raise
            self._refusal = refusal

    def stands(self, tables: dict[str, Table]) -> bool:
        """Return whether the table exists and can be read; raises PreflightFailed if it exists and cannot."""
        stands = super().stands(tables)
        if self._refusal:
            raise self._refusal
        return stands

    @property
    def is_trusted(self) -> bool:
        """Whether what has the name is our table, with nothing of other people attached to it."""
        return self._refusal is None

    @property
    def is_writable(self) -> bool:
        """Whether the table can be trusted, and our role may write to it or can try to make it."""
        return self.is_trusted and super().is_writable

    @property
    def obstacle(self) -> str:
        """Why the table is not written, with the statement that changes that."""
        if not self._refusal:
            return super().obstacle
        (problem,) = self._refusal.problems
        statements = problem.statements if isinstance(problem, Problem) else ()
        return ": ".join(filter(None, (problem.rpartition(": revisions")[0] or str(problem), *statements)))

    def sharing(self) -> list[Any]:
        """Return what lets the owner of the other tables work with a table that another role made."""
        return [] if self._refusal else super().sharing()

    def read(self, tables: dict[str, Table]) -> list[Entry]:
        """All entries, the last one first."""
        if not self.stands(tables):
            return []
        columns = [getattr(self.model, name) for name in ("id", *Entry._fields)]
        rows = self.model.select(*columns).order_by(self.model.id.desc())
        return [self._entry(row) for row in rows.dicts()]

    def _entry(self, row: dict[str, Any]) -> Entry:
        """Return a row as an entry; raises IndexerError where somebody has put into it what no run has written."""
        entry = Entry(**{**{name: row[name] for name in Entry._fields}, "indexes": from_json(row["indexes"])})
        readable = {
            "finished_at": isinstance(entry.finished_at, datetime),
            "duration_ms": isinstance(entry.duration_ms, int),
            "indexes": isinstance(entry.indexes, dict),
        }
        self.check(readable, row, "id")
        return entry

    def statements(self, entry: Entry, **expressions: Any) -> list[Any]:
        """What adds an entry and forgets the oldest, as peewee nodes; ``expressions`` take the place of values."""
        earlier = self.model.alias()
        following = earlier.select(fn.COALESCE(fn.MAX(earlier.id), 0) + 1)
        row = {"id": following, **entry._asdict(), "indexes": json.dumps(entry.indexes), **expressions}
        oldest = self.model.select(fn.MAX(self.model.id) - KEPT)
        return [
            *self.making(),
            self.model.insert(**row).returning(),
            self.model.delete().where(self.model.id <= oldest),
        ]


def entry_of(revision: str, direction: str, steps: Iterable[Step], seconds: float) -> Entry:
    """The entry about a move that ends now, made by whoever runs this process."""
    return Entry(
        revision=revision,
        direction=direction,
        finished_at=now(),
        duration_ms=round(seconds * 1000),
        by=whoever(),
        tool_version=__version__,
        indexes={
            step.index.name: step.action.value for step in steps if step.action not in (Action.LEAVE, Action.ABSENT)
        },
    )
