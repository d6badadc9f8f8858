"""The log: one row for each run of a revision, with what was done, when and by whom. The oldest rows are deleted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from peewee import CharField, DateTimeField, IntegerField, Model, Node, TextField, Value, fn

from indexer import __version__
from indexer.catalog import LOG_TABLE, Table
from indexer.decide import Action
from indexer.records.table import RecordTable, current_user, from_json, now
from indexer.steps import Step
from indexer.tuples import NamedTuple

KEPT = 100  # entries
# No index has this name: in the stored form of ``indexes`` it is the key of ``sizes``, and in that one of ``builds``. A
# version that does not know it ignores it.
SIZES = BUILDS = ""


class Build(NamedTuple):
    """What a build has taken, and what was predicted of it. Times are seconds, without those of waits.

    Attributes:
        bytes: the size of the index.
        work: as in ``indexer.pace.rate``, with the index as it is.
        predicted_bytes: None where its size could not be told.
        predicted_seconds: None where no earlier build was on record.
    """

    bytes: int
    seconds: float
    work: int
    predicted_bytes: int | None = None
    predicted_seconds: float | None = None


class Entry(NamedTuple):
    """What a command did about one revision. Times are UTC, durations milliseconds.

    Attributes:
        direction: ``up``, ``down``, ``stamp`` or ``reindex``.
        indexes: what was done about each index, by its name, without those that were left alone.
        sizes: the bytes of each rebuilt index before and after, by its name.
        builds: what each index has taken that ``up`` has built, by its name.
    """

    revision: str
    direction: str
    finished_at: datetime
    duration_ms: int
    by: str
    tool_version: str
    indexes: dict[str, str]
    sizes: Mapping[str, Sequence[int]] = {}
    builds: Mapping[str, Build] = {}


class SchemaRevisionLog(Model):
    """One row an entry, numbered under the run lock: no sequence can lag behind; ``indexes`` is JSON."""

    id = IntegerField(primary_key=True)
    revision = CharField(32)
    direction = CharField(8)
    finished_at = DateTimeField()
    duration_ms = IntegerField()
    by = CharField(255)
    tool_version = CharField(32)
    indexes = TextField()


class LogTable(RecordTable):
    """The entries of one database and schema; runs go on without the table where it cannot be written."""

    name = LOG_TABLE
    declared = SchemaRevisionLog
    is_required = False

    def read(self, tables: Mapping[str, Table]) -> list[Entry]:
        """Return all entries, the last one first; none where the table does not exist.

        Raises:
            PreflightFailed: the table is another tool's, cannot be trusted or may not be read.
            IndexerError: a row holds what no run has written.
        """
        rows = self.model.select().order_by(self.model.id.desc()).dicts() if self.exists(tables) else []
        return [self._entry(row) for row in rows]

    def _entry(self, row: dict[str, Any]) -> Entry:
        indexes = from_json(row["indexes"])
        self.check_row(row, {"indexes": isinstance(indexes, dict)})
        sizes = from_json(indexes.pop(SIZES, "{}"))
        sizes = sizes if isinstance(sizes, dict) else {}
        builds = _builds(sizes.pop(BUILDS, None))
        del row["id"]
        return Entry(**{**row, "indexes": indexes, "sizes": sizes, "builds": builds})

    def insert(self, entry: Entry, **expressions: Any) -> list[Any]:
        """Return the statements that add an entry and delete the oldest; expressions take the place of its values.

        The number is selected with the values: Citus allows no subquery among those of an INSERT.
        """
        earlier, fields = self.model.alias(), self.model._meta.fields
        values = {**entry._asdict(), "indexes": _encoded(entry), **expressions}
        del values["sizes"], values["builds"]
        row = {
            "id": fn.COALESCE(fn.MAX(earlier.id), 0) + 1,
            **{name: _selected(value, fields[name]) for name, value in values.items()},
        }
        oldest = self.model.select(fn.MAX(self.model.id) - KEPT)
        return [
            *self.create(),
            self.model.insert_from(earlier.select(*row.values()), [fields[name] for name in row]).returning(),
            self.model.delete().where(self.model.id <= oldest),
        ]


def _selected(value: Any, field: Any) -> Any:
    return value if isinstance(value, Node) else Value(value, converter=field.db_value)


def _encoded(entry: Entry) -> str:
    sizes: dict[str, Any] = dict(entry.sizes)
    if entry.builds:
        sizes[BUILDS] = entry.builds  # as lists
    return json.dumps({**entry.indexes, **({SIZES: json.dumps(sizes)} if sizes else {})})


def _builds(stored: Any) -> dict[str, Build]:
    """Return the builds from their stored form, without those that another version has written differently."""
    lists = stored if isinstance(stored, dict) else {}
    fits = {name: each for name, each in lists.items() if isinstance(each, list) and len(each) == len(Build._fields)}
    return {name: Build(*each) for name, each in fits.items()}


def new_entry(
    revision: str,
    direction: str,
    steps: Iterable[Step],
    seconds: float,
    sizes: Mapping[str, Sequence[int]] | None = None,
    builds: Mapping[str, Build] | None = None,
) -> Entry:
    """Return the entry about what ends now, done by the user who runs this process."""
    return Entry(
        revision=revision,
        direction=direction,
        finished_at=now(),
        duration_ms=round(seconds * 1000),
        by=current_user(),
        tool_version=__version__,
        indexes={
            step.index.name: step.action.value for step in steps if step.action not in (Action.LEAVE, Action.ABSENT)
        },
        sizes=sizes or {},
        builds=builds or {},
    )
