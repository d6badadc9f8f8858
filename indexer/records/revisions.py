"""The meta table: one row a revision, written before the first build and completed after the last."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

from peewee import CharField, DateTimeField, IntegerField, Model, TextField

from indexer import __version__
from indexer.catalog import META_TABLE, Table
from indexer.records.table import OwnTable, from_json
from indexer.spec import Index
from indexer.text import visible

APPLYING, APPLIED, REVERTING = "applying", "applied", "reverting"
REVERTED = "reverted"  # recorded only where Alembic goes on saying that the revision is applied


class Record(NamedTuple):
    """What the meta table says of one revision.

    ``existed_before`` holds the indexes that stood there before ``up``, so that ``down`` leaves them: the names they
    had then, by the names they have now. Times are UTC, durations milliseconds.
    """

    revision: str
    down_revision: str | None
    description: str
    state: str
    started_at: datetime
    applied_at: datetime | None
    duration_ms: int | None
    checksum: str
    tool_version: str
    applied_by: str
    existed_before: Mapping[str, str]


class History(OwnTable):
    """The records of one database and schema."""

    name = META_TABLE
    columns = Record._fields

    @staticmethod
    def declared() -> type[Model]:
        """One row a revision."""

        class SchemaRevision(Model):
            revision = CharField(32, primary_key=True)
            down_revision = CharField(32, null=True)
            description = TextField()
            state = CharField(16)
            started_at = DateTimeField()
            applied_at = DateTimeField(null=True)
            duration_ms = IntegerField(null=True)
            checksum = CharField(64)
            tool_version = CharField(32)
            applied_by = CharField(255)
            existed_before = TextField()

        return SchemaRevision

    def read(self, tables: dict[str, Table]) -> dict[str, Record]:
        """All records by revision; none when there is no meta table among the tables."""
        rows = self.model.select().dicts() if self.stands(tables) else []
        return {row["revision"]: self._record(row) for row in rows}

    def _record(self, row: dict[str, Any]) -> Record:
        """Return a row as a record; raises IndexerError where somebody has put into it what no run has written."""
        before = _read_back(row["existed_before"])
        record = Record(**{**row, "existed_before": before})
        then = f" Then record what is there: python cli.py stamp {visible(str(record.revision))}"
        self.check(_readable(record), row, "revision", then)
        return record

    def writing(self, record: Record, **expressions: Any) -> list[Any]:
        """The statements that put this record in place of the one of the same revision, as peewee nodes.

        ``expressions`` take the place of values: in a script the server is to say the time and the role.
        """
        row = {**_row(record), **expressions}
        return [*self.making(), self.removal(record.revision), self.model.insert(**row).returning()]

    def changing(self, revision: str, existed_before: Mapping[str, str], **changes: Any) -> Any:
        """Return the statement that changes what is recorded of a revision."""
        changed = self.model.update(existed_before=_stored(existed_before), **changes)
        return changed.where(self.model.revision == revision)

    def removal(self, revision: str) -> Any:
        """The statement that forgets a revision."""
        return self.model.delete().where(self.model.revision == revision)


def begun(
    revision: str,
    down_revision: str | None,
    description: str,
    indexes: Sequence[Index] = (),
    existed_before: Mapping[str, str] | None = None,
) -> Record:
    """The record of a revision that is about to be applied, by whoever runs this process."""
    return Record(
        revision=revision,
        down_revision=down_revision,
        description=description,
        state=APPLYING,
        started_at=now(),
        applied_at=None,
        duration_ms=None,
        checksum=checksum(indexes),
        tool_version=__version__,
        applied_by=whoever(),
        existed_before=existed_before or {},
    )


def completed(record: Record, seconds: float) -> Record:
    """The same record once its revision stands; what a killed run has noted of its own is done with."""
    before = {name: former for name, former in record.existed_before.items() if name}
    return record._replace(state=APPLIED, applied_at=now(), duration_ms=round(seconds * 1000), existed_before=before)


def reverting(record: Record, left: Collection[str]) -> Record:
    """The same record while its revision is being taken back, and these indexes are left."""
    before = {**{name: name for name in left}, **record.existed_before}
    return record._replace(state=REVERTING, started_at=now(), existed_before=before)


def reverted(record: Record, left: Collection[str]) -> Record:
    """The same record once its revision was taken back, and these indexes were left."""
    before = {name: former for name, former in record.existed_before.items() if name in left}
    return record._replace(
        state=REVERTED, started_at=now(), applied_at=None, duration_ms=None, applied_by=whoever(), existed_before=before
    )


def checksum(indexes: Sequence[Index]) -> str:
    """A fingerprint of what a revision declares, so that a changed file can be noticed."""
    declared = [
        [
            index.name,
            index.table,
            *map(str, index.key),
            index.unique,
            index.on_postgresql.using,
            index.on_postgresql.where,
        ]
        for index in indexes
    ]
    return hashlib.sha256(json.dumps(declared).encode()).hexdigest()[:16]


def _row(record: Record) -> dict[str, Any]:
    return {**record._asdict(), "existed_before": _stored(record.existed_before)}


def _stored(existed_before: Mapping[str, str]) -> str:
    return json.dumps(dict(existed_before), sort_keys=True)


def _read_back(stored: str) -> Any:
    """Return the names that indexes had before; anything but a dictionary where nothing of the kind is stored."""
    names = from_json(stored)
    return {str(name): str(name) for name in names} if isinstance(names, list) else names


def _readable(record: Record) -> dict[str, bool]:
    """Return for each column that a run reads whether it holds what a run writes; SQLite keeps any value in any."""
    names = record.existed_before
    return {
        "started_at": isinstance(record.started_at, datetime),
        "applied_at": record.applied_at is None or isinstance(record.applied_at, datetime),
        "duration_ms": record.duration_ms is None or isinstance(record.duration_ms, int),
        "existed_before": isinstance(names, dict) and all(isinstance(name, str) for name in names.values()),
    }


def now() -> datetime:
    """The time in UTC, in whole seconds."""
    return datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)


def whoever() -> str:
    """Who runs this process, and where."""
    import getpass  # half a millisecond, and only for whoever changes something

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a numeric id without an entry in /etc/passwd, as in a container
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"[:255]
