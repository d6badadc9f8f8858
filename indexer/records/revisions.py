"""The table of revisions: one row each, written before the first build and completed after the last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from peewee import CharField, DateTimeField, IntegerField, Model, TextField

from indexer import __version__
from indexer.catalog import META_TABLE, Table
from indexer.errors import Command, Hint
from indexer.records.baseline import Baseline, Checked, baselines_from, checks_from, encoded
from indexer.records.table import RecordTable, current_user, from_json, now
from indexer.spec import Index
from indexer.text import visible
from indexer.tuples import NamedTuple

APPLYING, APPLIED, REVERTING = "applying", "applied", "reverting"
REVERTED = "reverted"  # recorded only where Alembic goes on saying that the revision is applied
UNUSED: tuple[Any, ...] = (None, [], [[], [], {}], [[], None])  # what an index does not declare
# In the stored form of ``existed_before`` these are the keys of the other dictionaries: no index can have such a name.
# A version that does not know one of them takes it for a name, and ignores it.
MADE, BASELINES, CHECKS = "", "\0baselines", "\0checks"


class Record(NamedTuple):
    """What is recorded of one revision. Times are UTC, durations milliseconds.

    Attributes:
        existed_before: the indexes that are older than ``up``, so that ``down`` leaves them: the names that they had
            then, by the names that they have now.
        made: the OIDs of the indexes that an unfinished run has made or was about to drop, by name.
        baselines: what its indexes were like when they were fresh, by name.
        checks: the last deep check that found an index clean, by name.
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
    made: Mapping[str, int] = {}
    baselines: Mapping[str, Baseline] = {}
    checks: Mapping[str, Checked] = {}


class SchemaRevision(Model):
    """One row a revision; ``existed_before`` holds the dictionaries of a record as one, in JSON.

    A column for each would have to be added to existing tables, which breaks the replication of a published one.
    """

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


class RevisionTable(RecordTable):
    """The records of one database and schema."""

    name = META_TABLE
    declared = SchemaRevision

    def read(self, tables: Mapping[str, Table]) -> dict[str, Record]:
        """Return all records by revision; none where the table does not exist.

        Raises:
            PreflightFailed: the table is another tool's, cannot be trusted or may not be read.
            IndexerError: a row holds what no run has written.
        """
        rows = self.model.select().dicts() if self.exists(tables) else []
        return {row["revision"]: self._record(row) for row in rows}

    def _record(self, row: dict[str, Any]) -> Record:
        before, made, baselines, checks = _decoded(row["existed_before"])
        stamp = Hint(" Then record what exists: ", Command("stamp", visible(str(row["revision"]))))
        self.check_row(row, {"existed_before": _is_of(str, before) and _is_of(int, made)}, stamp)
        return Record(**{**row, "existed_before": before, "made": made, "baselines": baselines, "checks": checks})

    def replace(self, record: Record, **expressions: Any) -> list[Any]:
        """Return the statements that put a record in the place of the one of the same revision.

        Expressions take the place of its values: a script lets the server tell time and role.
        """
        columns = self.declared._meta.sorted_field_names
        row = {name: value for name, value in record._asdict().items() if name in columns}
        row = {**row, "existed_before": _encoded(record), **expressions}
        return [*self.create(), self.delete(record.revision), self.model.insert(**row).returning()]

    def update(self, record: Record, **expressions: Any) -> Any:
        """Return the statement that updates what a record says of indexes, and these columns."""
        changed = self.model.update(existed_before=_encoded(record), **expressions)
        return changed.where(self.model.revision == record.revision)

    def delete(self, revision: str) -> Any:
        """Return the statement that deletes the record of a revision."""
        return self.model.delete().where(self.model.revision == revision)


def new_record(
    revision: str,
    down_revision: str | None,
    description: str,
    indexes: Sequence[Index] = (),
    existed_before: Mapping[str, str] | None = None,
    made: Mapping[str, int] | None = None,
) -> Record:
    """Return the record of a revision that is about to be applied, by the user who runs this process."""
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
        applied_by=current_user(),
        existed_before=existed_before or {},
        made=made or {},
    )


def about(record: Record, earlier: Record, anew: Collection[str]) -> Record:
    """Return a record with what the earlier one says of indexes, but for those of these names, which are made anew.

    It also says something of the indexes of single partitions, which no revision declares.
    """
    baselines = {name: each for name, each in earlier.baselines.items() if name not in anew}
    checks = {name: each for name, each in earlier.checks.items() if name not in anew}
    return record._replace(baselines=baselines, checks=checks)


def applied(record: Record, seconds: float) -> Record:
    """Return a record once its revision is applied."""
    return record._replace(state=APPLIED, applied_at=now(), duration_ms=round(seconds * 1000), made={})


def reverting(record: Record, left: Collection[str]) -> Record:
    """Return a record while its revision is being reverted, which leaves the indexes of these names."""
    before = {**{name: name for name in left}, **record.existed_before}
    return record._replace(state=REVERTING, started_at=now(), existed_before=before)


def reverted(record: Record, left: Collection[str]) -> Record:
    """Return a record once its revision is reverted, which has left the indexes of these names."""
    before = {name: former for name, former in record.existed_before.items() if name in left}
    record = record._replace(state=REVERTED, existed_before=before, made={}, baselines={}, checks={})
    return record._replace(applied_by=current_user(), started_at=now(), applied_at=None, duration_ms=None)


def checksum(indexes: Sequence[Index]) -> str:
    """Return a fingerprint of what a revision declares, which tells a changed file."""
    return hashlib.sha256(json.dumps(list(map(_declared, indexes))).encode()).hexdigest()[:16]


def _declared(index: Index) -> list[Any]:
    """Return what an index is declared to be; what the first version could not declare counts only where it is."""
    on = index.on_postgresql
    declared = [index.name, index.table, *map(str, index.key), index.unique, on.using, on.where]
    later = {
        "where": index.where,
        "include": list(index.include),
        "on_postgresql": [list(map(str, on.columns or ())), list(on.include), dict(sorted(on.storage.items()))],
        "on_sqlite": [list(map(str, index.on_sqlite.columns or ())), index.on_sqlite.where],
    }
    used = {name: value for name, value in later.items() if value not in UNUSED}
    return [*declared, used] if used else declared


def _encoded(record: Record) -> str:
    others = {MADE: dict(record.made), BASELINES: encoded(record.baselines), CHECKS: encoded(record.checks)}
    stored = {key: json.dumps(content, sort_keys=True) for key, content in others.items() if content}
    return json.dumps({**record.existed_before, **stored}, sort_keys=True)


def _decoded(stored: str) -> tuple[Any, Any, dict[str, Baseline], dict[str, Checked]]:
    """Return the dictionaries of a record from their stored form; no dictionary where the first two cannot be read."""
    names = from_json(stored)
    if isinstance(names, list):  # as the first version stored them
        return {str(name): str(name) for name in names}, {}, {}, {}
    if not isinstance(names, dict):
        return None, None, {}, {}
    made, baselines, checks = (from_json(names.pop(key, "{}")) for key in (MADE, BASELINES, CHECKS))
    return names, made, baselines_from(baselines), checks_from(checks)


def beside_baselines(record: Record) -> tuple[str, str]:
    """Return what is stored of a record beside its baselines, and these, each as JSON."""
    stored = json.loads(_encoded(record))
    baselines = stored.pop(BASELINES, "{}")
    return json.dumps(stored, sort_keys=True), baselines


def _is_of(kind: type, stored: Any) -> bool:
    return isinstance(stored, dict) and all(isinstance(value, kind) for value in stored.values())
