"""The statements that record a revision: in our table, in Alembic's, and in the log."""

from __future__ import annotations

from typing import Any

from indexer.decide import Action
from indexer.options import Options
from indexer.plans import RevisionPlan
from indexer.records.alembic import AlembicTable
from indexer.records.log import LogTable
from indexer.records.provenance import existed_before
from indexer.records.revisions import APPLIED, Record, RevisionTable, about, applied, new_record, reverted, reverting
from indexer.tuples import NamedTuple

BASE_DESCRIPTION = "base schema"


class Recorder(NamedTuple):
    """Gives the statements that record revisions, as peewee nodes; it executes none."""

    revisions: RevisionTable
    log: LogTable
    alembic: AlembicTable
    options: Options

    def begun(self, revision_plan: RevisionPlan, direction: str) -> Record:
        """Return the record of a revision that a run begins or resumes."""
        revision = revision_plan.revision
        record, made = revision_plan.record, revision_plan.record.made if revision_plan.record else {}
        before = existed_before(revision_plan.steps, record, revision_plan.state) if direction == "up" else {}
        new = new_record(revision.id, revision.down_revision, revision.description, revision.indexes, before, made)
        if direction == "down":
            return reverting(record or new, revision_plan.left)
        anew = [step.index.name for step in revision_plan.steps if step.action not in (Action.KEEP, Action.COMPLETE)]
        return about(new, record, anew) if record else new

    def ending(self, revision_plan: RevisionPlan, direction: str, record: Record, seconds: float) -> list[Any]:
        """Return the statements that record a revision as applied or reverted, in our table and in Alembic's."""
        alembic = self.following(revision_plan, direction)
        if direction == "up":
            done = record if record.state == APPLIED else applied(record, seconds)
            return [*alembic, *self.revisions.replace(self.without_replaced(revision_plan, done))]
        if revision_plan.alembic.stays:
            return self.revisions.replace(reverted(record, revision_plan.left))
        return [*alembic, self.revisions.delete(record.revision)]

    def base(self, revision: str, seconds: float) -> list[Any]:
        """Return the statements that record the base schema."""
        return self.revisions.replace(applied(new_record(revision, None, BASE_DESCRIPTION), seconds))

    def following(self, revision_plan: RevisionPlan, direction: str) -> list[Any]:
        """Return what moves Alembic along with a revision, if it is to be moved."""
        return [self.alembic.move(revision_plan.revision, direction)] if revision_plan.alembic.follows else []

    def without_replaced(self, revision_plan: RevisionPlan, record: Record) -> Record:
        """Return the record without the replaced indexes: a run that replaces has dropped all of them."""
        if not self.options.replace:
            return record
        replaced = {step.index.replaced for step in revision_plan.steps}
        before = {name: former for name, former in record.existed_before.items() if name not in replaced}
        return record._replace(existed_before=before)
