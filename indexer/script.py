"""A plan as a script for the database's own shell, which records the revisions as a run would."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from peewee import SQL, ValueLiterals

from indexer.decide import Step
from indexer.migrator import Part
from indexer.plans import Plan, RevisionPlan
from indexer.records.log import new_entry
from indexer.records.provenance import Provenance
from indexer.records.revisions import APPLIED, REVERTED, REVERTING, Record, new_record, reverted

if TYPE_CHECKING:
    from indexer.runner import Runner

BASE_DESCRIPTION = "base schema"


def script_of(plan: Plan, runner: Runner) -> str:
    """Return the script of a plan.

    What it records as time, duration and role are expressions that the server evaluates, not values of this process:
    a script is often printed on one day by one person and run on another by somebody else.
    """
    return _Script(plan, runner).text()


class _Script:
    """Writes one script."""

    def __init__(self, plan: Plan, runner: Runner) -> None:
        self.plan = plan
        self.runner = runner
        self.migrator = runner.migrator
        self.history = runner.history
        self.now, self.start, self.whole, self.elapsed, self.role = map(SQL, self.migrator.script_values)

    def text(self) -> str:
        """Return the whole script."""
        parts = [self._base()] if self.plan.base_tables else []
        for move in self.plan.moves:
            record, statements = self._as_planned(move)
            parts += [
                Part(self._written_out(self._beginning(record, move.record is not None))),
                Part(statements, atomic=False),
                Part(self._written_out(self._ending(move, record))),
            ]
        return self.migrator.script(parts)

    def _written_out(self, nodes: Sequence[Any]) -> list[str]:
        """Return the statements as text, their values in place."""
        return [str(self.migrator.make_context().sql(ValueLiterals(node)).query()[0]) for node in nodes]

    def _base(self) -> Part:
        record = new_record(self.runner.chain.base, None, BASE_DESCRIPTION)
        made = self.migrator.table_statements(self.runner.models())
        begins = self._written_out(self._beginning(record))
        ends = [*self._entry(record, "up", ()), self._applied(record)]
        return Part([*begins, *made, *self._written_out(ends)])

    def _as_planned(self, move: RevisionPlan) -> tuple[Record, list[str]]:
        """Return the record that the script begins with, as if it had sent all of its statements, and those."""
        record = self.runner.begun(move, self.plan.direction)
        planned = Provenance(record)
        statements = [(step, statement) for step in move.steps for statement in step.statements]
        for step, statement in statements:
            planned.begin(step, statement)
        record = record._replace(existed_before=planned.existed_before, made={})
        return record, [statement for _, statement in statements]

    def _beginning(self, record: Record, recorded: bool = False) -> list[Any]:
        """Return what records the start of a move; what is recorded of the way up stays until the way back ends."""
        if record.state == REVERTING and recorded:
            return [self.history.update(record, state=REVERTING, started_at=self.start)]
        return self.history.replace(record, started_at=self.start, applied_by=self.role)

    def _ending(self, move: RevisionPlan, record: Record) -> list[Any]:
        """Return what records a move at its end; the entry comes first, because it needs the time of the start."""
        direction = self.plan.direction
        entry = self._entry(record, direction, move.steps)
        alembic = self.runner.following(move, direction)
        if direction == "up":
            return [*entry, *alembic, self._applied(self.runner.without_what_was_replaced(move, record))]
        if move.alembic.stays:
            return [*entry, self._reverted(record, move.left)]
        return [*entry, *alembic, self.history.delete(record.revision)]

    def _entry(self, record: Record, direction: str, steps: Sequence[Step]) -> list[Any]:
        if not self.runner.journal.is_trusted:
            return []
        model = self.history.model
        elapsed = model.select(self.elapsed).where(model.revision == record.revision)
        entry = new_entry(record.revision, direction, steps, 0)
        return self.runner.journal.insert(entry, finished_at=self.now, duration_ms=elapsed, by=self.role)

    def _applied(self, record: Record) -> Any:
        return self.history.update(
            record, state=APPLIED, started_at=self.whole, applied_at=self.now, duration_ms=self.elapsed
        )

    def _reverted(self, record: Record, left: Sequence[str]) -> Any:
        return self.history.update(
            reverted(record, left),
            state=REVERTED,
            started_at=self.now,
            applied_at=None,
            duration_ms=None,
            applied_by=self.role,
        )
