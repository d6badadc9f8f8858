"""The meta table: one row a revision, written before the first build and completed after the last."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timezone
from functools import cached_property
from typing import Any, NamedTuple

from peewee import CharField, DateTimeField, IntegerField, Model, TextField, ValueLiterals

from indexer import __version__
from indexer.catalog import META_TABLE
from indexer.errors import PreflightFailed
from indexer.migrator import CatalogMigrator
from indexer.spec import Index

APPLYING, APPLIED, REVERTING = "applying", "applied", "reverting"


class Record(NamedTuple):
    """What the meta table says of one revision.

    ``existed_before`` names the indexes that stood there before ``up``, so that ``down`` leaves them. Times are UTC,
    durations milliseconds.
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
    existed_before: tuple[str, ...] = ()


class History:
    """The records of one database and schema. The table is made by the first write, never by a read."""

    def __init__(self, migrator: CatalogMigrator) -> None:
        self.migrator = migrator

    @cached_property
    def _model(self) -> Any:
        return _model(self.migrator.database, self.migrator.schema)

    def exists(self) -> bool:
        """Is there a meta table? Raises PreflightFailed when a table of that name is another tool's."""
        table = self.migrator.catalog.tables([META_TABLE]).get(META_TABLE)
        if table is None:
            return False
        name = self.migrator.qualified(META_TABLE)
        if not table.readable:
            raise PreflightFailed(
                [f"table {name}, where the revisions are recorded, belongs to role {table.owner} and cannot be read"],
                f"GRANT SELECT ON {name} TO {table.role}",
            )
        missing = [name for name in Record._fields if name not in table.columns]
        if missing:
            raise PreflightFailed(
                [f"table {name} is not this tool's: it has no column {', '.join(missing)}"],
                "Rename that table; this tool records its revisions under the name.",
            )
        return True

    def read(self) -> dict[str, Record]:
        """All records by revision; none when there is no table."""
        if not self.exists():
            return {}
        return {row["revision"]: _record(row) for row in self._model.select().dicts()}

    def write(self, record: Record) -> None:
        """Put this record in place of the one of the same revision, in one transaction."""
        with self.migrator.database.atomic():
            for statement in self.statements(record):
                self.migrator.database.execute(statement)

    def remove(self, revision: str) -> None:
        """Forget a revision."""
        self.migrator.database.execute(self._removal(revision))

    def statements(self, record: Record, exists: bool | None = None) -> list[Any]:
        """What ``write`` executes, as peewee nodes."""
        exists = self.exists() if exists is None else exists
        table = [] if exists else [self._model._schema._create_table(safe=False)]
        return [*table, self._removal(record.revision), self._model.insert(**_row(record)).returning()]

    def script(self, records: Iterable[Record], removed: Iterable[str] = ()) -> list[str]:
        """The statements that bring these records in and take those out, with their values written into them."""
        exists = self.exists()
        nodes = [self._removal(revision) for revision in removed]
        for record in records:
            nodes += self.statements(record, exists)
            exists = True
        return [str(self.migrator.make_context().sql(ValueLiterals(node)).query()[0]) for node in nodes]

    def _removal(self, revision: str) -> Any:
        return self._model.delete().where(self._model.revision == revision)


def begun(
    revision: str,
    down_revision: str | None,
    description: str,
    indexes: Sequence[Index] = (),
    existed_before: Collection[str] = (),
) -> Record:
    """The record of a revision that is about to be applied, by whoever runs this process."""
    return Record(
        revision=revision,
        down_revision=down_revision,
        description=description,
        state=APPLYING,
        started_at=_now(),
        applied_at=None,
        duration_ms=None,
        checksum=checksum(indexes),
        tool_version=__version__,
        applied_by=_whoever(),
        existed_before=tuple(sorted(existed_before)),
    )


def completed(record: Record, seconds: float) -> Record:
    """The same record once its revision stands."""
    return record._replace(state=APPLIED, applied_at=_now(), duration_ms=round(seconds * 1000))


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


def _model(database: Any, in_schema: str | None) -> type[Model]:
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

    SchemaRevision._meta.set_database(database)
    SchemaRevision._meta.schema = in_schema
    SchemaRevision._meta.set_table_name(META_TABLE)
    return SchemaRevision


def _row(record: Record) -> dict[str, Any]:
    return {**record._asdict(), "existed_before": json.dumps(record.existed_before)}


def _record(row: dict[str, Any]) -> Record:
    return Record(**{**row, "existed_before": tuple(json.loads(row["existed_before"]))})


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)


def _whoever() -> str:
    import getpass  # half a millisecond, and only for whoever changes something

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a numeric id without an entry in /etc/passwd, as in a container
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"[:255]
