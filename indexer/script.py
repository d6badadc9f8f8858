"""A plan as a script for the database's own shell, which records the revisions as a run would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from peewee import ValueLiterals

from indexer.decide import CREATIONS
from indexer.dialect import Part, ScriptValues
from indexer.migrator import CatalogMigrator
from indexer.plans import Plan, RevisionPlan
from indexer.recorder import BASE_DESCRIPTION, Recorder
from indexer.records.log import new_entry
from indexer.records.provenance import Provenance
from indexer.records.revisions import APPLIED, REVERTED, REVERTING, Record, new_record, reverted
from indexer.steps import Step
from indexer.tuples import NamedTuple


def script_of(
    plan: Plan, migrator: CatalogMigrator, recorder: Recorder, base: str, models: Callable[[], Sequence[Any]]
) -> str:
    """Return the script of a plan.

    What it records as time, duration and role are expressions that the server evaluates, not values of this process:
    a script is often printed on one day by one person and executed on another day by another.
    """
    script = _Script(plan.direction, migrator, recorder, migrator.dialect.script_values)
    parts = [script.base(base, models())] if plan.base_tables else []
    for revision_plan in plan.revisions:
        parts += script.revision(revision_plan)
    return str(migrator.dialect.script(parts))


class _Script(NamedTuple):
    """Writes the parts of one script."""

    direction: str
    migrator: CatalogMigrator
    recorder: Recorder
    server: ScriptValues

    def base(self, revision: str, models: Sequence[Any]) -> Part:
        """Return the part that creates the base schema."""
        record = new_record(revision, None, BASE_DESCRIPTION)
        tables = self.migrator.dialect.table_statements(models)
        begins = self._text(self._beginning(record))
        ends = self._text([*self._entry(record, "up", ()), self._applied(record)])
        return Part([*begins, *tables, *ends])

    def revision(self, revision_plan: RevisionPlan) -> list[Part]:
        """Return the parts that apply or revert a revision: record its start, change indexes, record its end."""
        record, statements = self._as_planned(revision_plan)
        return [
            Part(self._text(self._beginning(record, revision_plan.record is not None))),
            Part(statements, atomic=False),
            Part(self._text(self._ending(revision_plan, record))),
            Part(self._text(self._measuring(revision_plan, record)), atomic=False),
        ]

    def _text(self, nodes: Sequence[Any]) -> list[str]:
        """Return the statements as text, their values in place."""
        return [str(self.migrator.make_context().sql(ValueLiterals(node)).query()[0]) for node in nodes]

    def _as_planned(self, revision_plan: RevisionPlan) -> tuple[Record, list[str]]:
        """Return the record that the script begins with, as if it had sent all of its statements, and those."""
        record = self.recorder.begun(revision_plan, self.direction)
        planned = Provenance(record)
        statements = [(step, statement) for step in revision_plan.steps for statement in step.statements]
        for step, statement in statements:
            planned.begin(step, statement)
        record = record._replace(existed_before=planned.existed_before, made={})
        return record, [statement for _, statement in statements]

    def _beginning(self, record: Record, is_recorded: bool = False) -> list[Any]:
        """Return what records the start; what is recorded of ``up`` stays until ``down`` ends."""
        revisions = self.recorder.revisions
        if record.state == REVERTING and is_recorded:
            return [revisions.update(record, state=REVERTING, started_at=self.server.start)]
        return revisions.replace(record, started_at=self.server.start, applied_by=self.server.role)

    def _ending(self, revision_plan: RevisionPlan, record: Record) -> list[Any]:
        """Return what records the end; the entry of the log comes first, because it needs the time of the start."""
        entry = self._entry(record, self.direction, revision_plan.steps)
        alembic = self.recorder.following(revision_plan, self.direction)
        if self.direction == "up":
            return [*entry, *alembic, self._applied(self.recorder.without_replaced(revision_plan, record))]
        if revision_plan.alembic.stays:
            return [*entry, self._reverted(record, revision_plan.left)]
        return [*entry, *alembic, self.recorder.revisions.delete(record.revision)]

    def _measuring(self, revision_plan: RevisionPlan, record: Record) -> list[Any]:
        """Return what keeps the sizes of the new indexes, with which ``health`` compares later ones.

        It comes last, so that the record is complete whatever becomes of it.
        """
        names = [step.index.name for step in revision_plan.steps if step.action in CREATIONS]
        if self.direction != "up" or not names:
            return []
        applied = self.recorder.without_replaced(revision_plan, record)
        stored = self.migrator.dialect.stored_with_baselines(applied, names)
        model = self.recorder.revisions.model
        return [] if stored is None else [model.update(existed_before=stored).where(model.revision == record.revision)]

    def _entry(self, record: Record, direction: str, steps: Sequence[Step]) -> list[Any]:
        if not self.recorder.log.is_trusted:
            return []
        model = self.recorder.revisions.model
        elapsed = model.select(self.server.elapsed).where(model.revision == record.revision)
        entry = new_entry(record.revision, direction, steps, 0)
        values = {"finished_at": self.server.now, "duration_ms": elapsed, "by": self.server.role}
        return self.recorder.log.insert(entry, **values)

    def _applied(self, record: Record) -> Any:
        return self.recorder.revisions.update(
            record,
            state=APPLIED,
            started_at=self.server.whole,
            applied_at=self.server.now,
            duration_ms=self.server.elapsed,
        )

    def _reverted(self, record: Record, left: Sequence[str]) -> Any:
        return self.recorder.revisions.update(
            reverted(record, left),
            state=REVERTED,
            started_at=self.server.now,
            applied_at=None,
            duration_ms=None,
            applied_by=self.server.role,
        )
