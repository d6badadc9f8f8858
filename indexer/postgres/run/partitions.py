"""Executes the step about an index of a partitioned table, partition by partition.

The parent indexes are made first, each with a statement that waits for a moment only, and attached once all below them
is done. Each leaf is work of its own, which the schedule does side by side with others: two leaves are two tables. The
tree is read again before each of these, and in the end: partitions are added and detached meanwhile, and a killed run
has left any of it undone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from indexer.catalog import CatalogEntry
from indexer.decide import CREATIONS, Action
from indexer.dialect import Brief
from indexer.errors import Command, Hint, StatementFailed
from indexer.events import PartitionFinished
from indexer.migrator import AGAIN, Work
from indexer.pace.pace import CLOSED, Left
from indexer.partitions import Part, Partition, in_words, leaves
from indexer.postgres.partitions import PartPlanner, clear_statements
from indexer.postgres.run.failures import Changed
from indexer.records.provenance import Provenance
from indexer.steps import Step
from indexer.text import qualified
from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.postgres.run.execution import Execution

IS_DONE = (Action.ATTACH, Action.KEEP, Action.ABSENT)
LOOKED_AGAIN = 1.0  # seconds


class LeafTask:
    """The work on one leaf, as the schedule needs to know it."""

    is_drop = False

    def __init__(self, part: Part) -> None:
        self.part = part
        self.index = part.step.index


class LeafProvenance(Provenance):
    """What a run does about the index on one leaf; one that others have made goes on record with the whole.

    Attributes:
        actions: what was done about it so far.
    """

    def __init__(self, whole: Provenance, partition: Partition) -> None:
        super().__init__()
        self._whole, self._partition = whole, partition
        self.actions: list[Action] = []

    def begin(self, step: Step, statement: str) -> None:
        """Note who has made an index right before it is attached."""
        if step.action is Action.ATTACH:
            self._attach(step)

    def finish(self, step: Step, after: CatalogEntry | None = None) -> None:
        """Note the result of a step; others may have attached their index in the meantime."""
        self.actions.append(step.action)
        if step.action is Action.KEEP:
            self._attach(step)

    def _attach(self, step: Step) -> None:
        if CREATIONS.isdisjoint(self.actions):
            self._whole.attach(qualified(self._partition.schema, step.index.name))


class Together(NamedTuple):
    """Tasks that the schedule executes side by side; the generator that yields them goes on after the last."""

    tasks: Sequence[Any]
    work: Callable[[Any], Work]


class InParts:
    """The execution of one step in parts.

    Args:
        execution: of the step.
        step: what was decided.
    """

    def __init__(self, execution: Execution, step: Step) -> None:
        self.execution, self.run = execution, execution.run
        self.index, self.step = step.index, step
        self._planner = PartPlanner(self.run.dialect, self.run.options)
        self._left = ""
        self._done = 0
        self._seconds: list[float] = []  # of the builds, without those of waits

    def execute(self) -> Work:
        """Execute the step and what follows from it, until nothing is to be done.

        Raises:
            Changed: what is left is no work in parts.
            Left: the window does not allow a leaf to begin any more.
            StatementFailed: something does not come to an end.
        """
        before: object = None
        while self.step.action in (Action.CREATE, Action.COMPLETE, Action.REBUILD) and self.step.parts:
            undone = [part for part in self.step.parts if not part.is_done]
            if before == (before := [(part.partition.oid, part.step.statements) for part in undone]):
                raise StatementFailed(f"{self.index.name} is not complete: {in_words(self.step.parts)}.", AGAIN)
            if self.step.action is Action.REBUILD:
                yield from self._clear()
            elif brief := [part for part in undone if part.step.statements and _is_brief(part)]:
                yield from self._execute_briefly(brief)
            else:
                yield from self._build(leaves(undone))
            self.step = self.execution.decide()
        if self.step.changes and not self.step.parts:
            raise Changed  # offline, one statement builds all of it
        if len(self._seconds) == len(leaves(self.step.parts)):  # none was built before this run
            self.run.pace.taken[self.index.name] = sum(self._seconds)

    def _clear(self) -> Work:
        """Drop the index, some placements of which have another one or none, so that all of it is built anew.

        The coordinator commits the index of a partition that is just being added a moment before the nodes do.
        """
        yield from self.execution.pause(LOOKED_AGAIN)
        self.step = self.execution.decide()
        if self.step.action is Action.REBUILD and self.step.found:
            clear = clear_statements(self.run.dialect, self.index, self.step.found, self.step.parts)
            yield from self.execution.execute_all(self.step, clear)

    def _execute_briefly(self, parts: Sequence[Part]) -> Work:
        """Make the indexes of partitioned tables without their partitions, and attach each to that above it."""
        for part in parts:
            yield from self.execution.execute_all(self.step, part.step.statements)

    def _build(self, undone: Sequence[Part]) -> Work:
        """Build, repair and attach the indexes of leaves, those of the largest first."""
        tasks = [LeafTask(part) for part in sorted(undone, key=lambda part: -part.partition.bytes)]
        sizes = {part.partition.table: part.partition.bytes for part in undone}
        self.run.lanes.add(sizes, (part.partition.table for part in undone))
        self.run.pace.learn(sizes)
        self._done = len(leaves(self.step.parts)) - len(undone)
        self._left = ""
        yield Together(tasks, self._work)
        if self._left:
            self.run.pace.left.setdefault(self.index, self._left)
            raise Left(self._left)

    def _work(self, task: LeafTask) -> Work:
        """Do what one leaf needs, statement by statement."""
        if self._left and self.run.pace.is_closed():
            return
        try:
            yield from self._execute_leaf(task.part)
        except Left:
            left = self.run.pace.left
            of_leaf = [index for index in left if index.name == task.index.name]
            reasons = [left.pop(index) for index in of_leaf] or [CLOSED]
            partition, schema = task.part.partition, self.run.dialect.catalog.schema or ""
            self._left = f"{partition.shown(partition.table, schema)}: {reasons[0]}"

    def _execute_leaf(self, part: Part) -> Work:
        from indexer.postgres.run.execution import Execution

        started, partition = time.monotonic(), part.partition
        run = self.run.beside(partition.schema, partition.namespace)
        provenance = LeafProvenance(self.execution.provenance, partition)
        execution = Execution(run, lambda: self._planner.part_now(self.index, part), provenance)
        actions = provenance.actions
        while not actions or actions[-1] not in IS_DONE:
            step = yield from execution.execute()
            provenance.finish(step)
            if step.action is Action.REFUSE:
                raise _replaced(step, partition.label)
            if step.action is Action.REBUILD and not step.statements:
                return  # the whole is built anew
        if (taken := self.run.pace.taken.pop(part.step.index.name, None)) is not None:
            self._seconds.append(taken)
        self._done += 1
        action = next((each for each in actions if each is not Action.WAIT), Action.KEEP)
        number, count = self._done, len(leaves(self.step.parts))
        schema = self.run.dialect.catalog.schema or ""
        table, name = (partition.shown(each, schema) for each in (partition.table, step.index.name))
        seconds = time.monotonic() - started
        self.run.report(PartitionFinished(self.index, table, name, action, number, count, seconds))


def _is_brief(part: Part) -> bool:
    """Return whether a part is no work of its own: an index without rows, or one that is attached once more."""
    if not part.partition.is_leaf:
        return True
    return part.is_attached and all(isinstance(statement, Brief) for statement in part.step.statements)


def _replaced(step: Step, table: str) -> StatementFailed:
    message = f"Index {step.index.name} on {table} was replaced by another session during the run."
    return StatementFailed(message, Hint("See what has the name now: ", Command("check")))
