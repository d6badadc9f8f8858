"""Results: the plan of a run, its outcome, the status of a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from indexer.advice import Advice
from indexer.catalog import Place, Table
from indexer.decide import Action
from indexer.errors import PENDING as PENDING
from indexer.errors import Command, Different, Hint, IndexerError, PreflightFailed, Unreachable
from indexer.events import Blocker
from indexer.options import DEFAULTS, Options
from indexer.pace.pace import CLOSED, Pace
from indexer.records import provenance
from indexer.records.alembic import NOT_IN_ALEMBIC, AlembicState, InAlembic
from indexer.records.provenance import RevisionState
from indexer.records.revisions import Record
from indexer.replication import Replication, Standby
from indexer.revisions.chain import Chain
from indexer.revisions.revision import Revision
from indexer.server import Uncovered
from indexer.steps import Step
from indexer.text import few
from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.care.deep import Deep
    from indexer.predict.forecast import Forecast
    from indexer.records.log import Build


class RevisionPlan(NamedTuple):
    """One revision to be applied or reverted, with a step for each of its indexes, and what is recorded of it."""

    revision: Revision
    steps: tuple[Step, ...]
    record: Record | None
    alembic: InAlembic = NOT_IN_ALEMBIC

    @property
    def state(self) -> RevisionState:
        """What has become of the revision."""
        found = [step.found is not None for step in self.steps if step.known_to_alembic]
        return provenance.state_of(self.record, self.alembic, found)

    @property
    def is_applied(self) -> bool:
        """Whether the revision counts as applied."""
        return self.state.is_applied

    @property
    def is_due(self) -> bool:
        """Whether there is anything for ``up`` to do."""
        return self.record is None or not self.is_applied or any(step.action is not Action.KEEP for step in self.steps)

    @property
    def left(self) -> list[str]:
        """The names of the indexes that ``down`` leaves."""
        return [step.index.name for step in self.steps if step.action is Action.LEAVE]

    def origin(self, step: Step) -> str | None:
        """Return where the index of a step comes from: created, adopted, renamed, or None where that is unknown."""
        return provenance.origin(step, self.record, self.state)

    def renamed_from(self, step: Step) -> str | None:
        """Return the other name that an existing index had before ``up``, if it had one."""
        return provenance.former_name(step, self.record)


class State(NamedTuple):
    """What is recorded, and which tables exist: read at once, before anything is decided."""

    tables: dict[str, Table]
    records: dict[str, Record]
    alembic: AlembicState

    @property
    def replaced(self) -> frozenset[str]:
        """The names on record that replacements gave to the indexes they replaced."""
        return frozenset(name for record in self.records.values() for name in record.existed_before)

    def unknown(self, chain: Chain) -> list[str]:
        """Return the recorded revisions that this version of the tool does not know."""
        return [revision for revision in self.records if revision not in chain.ids]


class Plan(NamedTuple):
    """All that a run would do, and all that would stop it.

    Attributes:
        direction: ``up`` or ``down``.
        start: the revision that the database is at; None for an empty database.
        end: the revision that it would be at after the run.
        revisions: those to be applied or reverted, in the order in which that is done.
        base_tables: the tables that an empty database is given first.
        state: what was recorded when the plan was made, and which tables existed.
        options: what the command of the run needs to allow.
        to: the revision that the user named.
        later: later revisions, which stop ``down`` unless ``below_later`` is given.
        blockers: the sessions that the run would have to wait for if it began now.
        standby: how far the server is behind, if it is a standby.
        replication: what follows the server; None if that was not asked.
        forecast: what its builds are expected to take; None if that was not asked for, or there is none.
    """

    direction: str
    start: str | None
    end: str
    revisions: tuple[RevisionPlan, ...]
    base_tables: tuple[str, ...]
    state: State
    options: Options = DEFAULTS
    to: str | None = None
    problems: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    blockers: tuple[Blocker, ...] = ()
    warnings: tuple[str | Hint, ...] = ()
    standby: Standby | None = None
    replication: Replication | None = None
    forecast: Forecast | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of all revisions in order."""
        return tuple(step for revision_plan in self.revisions for step in revision_plan.steps)

    @property
    def refused(self) -> tuple[Step, ...]:
        """The steps that stop the run, because something else has the name of the index."""
        return tuple(step for step in self.steps if step.is_refused)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.revisions and not self.base_tables

    @property
    def command(self) -> Command:
        """The command of the run."""
        return self.options.command(self.direction, self.to)

    @property
    def unrecorded(self) -> tuple[str, ...]:
        """The revisions of which only our record is missing, if there is nothing else to do."""
        stays = self.start == self.end and all(step.action is Action.KEEP for step in self.steps)
        missing = stays and all(revision_plan.record is None for revision_plan in self.revisions)
        return tuple(revision_plan.revision.id for revision_plan in self.revisions) if missing else ()

    @property
    def exit_code(self) -> int:
        """What the run itself would exit with."""
        if self.problems or self.later:
            return PreflightFailed.exit_code
        return Different.exit_code if self.refused else 0


class StampPlan(NamedTuple):
    """What ``stamp`` would record, and all that would stop it.

    Attributes:
        forward: the revisions up to it; all of their indexes have to be valid.
        back: the later revisions, the last one first; none of their indexes may exist.
        options: what the command needs to allow.
    """

    revision: str
    forward: tuple[RevisionPlan, ...]
    back: tuple[RevisionPlan, ...]
    missing_tables: tuple[str, ...]
    problems: tuple[str, ...]
    options: Options
    alembic: AlembicState
    base_is_recorded: bool
    warnings: tuple[str | Hint, ...]

    @property
    def command(self) -> Command:
        """The command that stamps."""
        return Command("stamp", self.revision, *self.options.words("stamp"))


class Rest(NamedTuple):
    """What a run leaves to a later one, because its window does not let it begin more.

    Attributes:
        left: why each index is left, by its name.
        opens: when the window opens next, in UTC.
        shown: the same moment as the clocks of the window's zone show it.
        command: the command that continues.
    """

    left: Mapping[str, str]
    opens: datetime
    shown: str
    command: Command


def rest_of(plan: Plan, done: Sequence[RevisionPlan], pace: Pace) -> Rest | None:
    """Return what is left of a plan after these revisions, the last of which may be incomplete; None if nothing is."""
    if pace.window is None or (len(done) == len(plan.revisions) and not pace.left):
        return None
    taken = {step.index for each in done for step in each.steps}
    left = [step.index for step in plan.steps if step.changes and step.index not in taken]
    opens = pace.window.opens(pace.now())
    reasons = {index.name: pace.left.get(index, CLOSED) for index in left}
    return Rest(reasons, opens, pace.window.shown(opens), plan.command)


class Outcome(NamedTuple):
    """What a run did.

    Attributes:
        end: the revision that the database is at; None for an empty database that was left so.
        steps: those that were taken.
        seconds: the duration of the run.
        rest: what its window has left to a later run.
        builds: what each build has taken, and what was predicted of it, by the name of the index.
        forecast: what was predicted of the run; None if it was to build nothing, or it was not known.
    """

    direction: str
    start: str | None
    end: str | None
    steps: tuple[Step, ...]
    base_tables: tuple[str, ...]
    seconds: float
    warnings: tuple[str | Hint, ...] = ()
    rest: Rest | None = None
    builds: Mapping[str, Build] = {}
    forecast: Forecast | None = None

    @property
    def exit_code(self) -> int:
        """3 if anything is left, else 0."""
        return PENDING if self.rest else 0

    @property
    def changed(self) -> bool:
        """Whether the run changed the revision or any index."""
        return self.start != self.end or any(step.changes for step in self.steps)


class Stamp(NamedTuple):
    """A revision that was recorded without building anything; ``changed`` is false if it was recorded already."""

    revision: str
    changed: bool
    warnings: tuple[str | Hint, ...] = ()


class Status(NamedTuple):
    """The state of a database: its revision, its records, and every index of every revision.

    Attributes:
        current: the revision that the database is at; None for an empty database.
        base: the record of the base schema.
        uncovered: the indexes of applied revisions that are missing on tables that inherit from the indexed ones.
        standby: how far the server is behind, if it is a standby.
        problems: why the tables cannot have the indexes, each without a full stop.
    """

    place: Place
    current: str | None
    chain: Chain
    base: Record | None
    revisions: tuple[RevisionPlan, ...]
    warnings: tuple[str | Hint, ...] = ()
    uncovered: tuple[Uncovered, ...] = ()
    standby: Standby | None = None
    problems: tuple[str, ...] = ()

    @property
    def unfit(self) -> str:
        """Why the tables cannot have the indexes, in a sentence; empty if they can."""
        if not self.problems:
            return ""
        return f"The tables are not as the revisions need them: {'; '.join(few(self.problems))}."

    @property
    def pending(self) -> tuple[Revision, ...]:
        """The revisions that are not applied."""
        return tuple(revision_plan.revision for revision_plan in self.revisions if not revision_plan.is_applied)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of ``up`` about all indexes in order."""
        return tuple(step for revision_plan in self.revisions for step in revision_plan.steps)

    @property
    def refused(self) -> tuple[Step, ...]:
        """The steps that would stop ``up``, because something else has the name of the index."""
        return tuple(step for step in self.steps if step.is_refused)

    @property
    def drifted(self) -> tuple[Step, ...]:
        """The indexes of applied revisions that ``up`` would have to repair."""
        applied = (revision_plan for revision_plan in self.revisions if revision_plan.is_applied)
        steps = [step for revision_plan in applied for step in revision_plan.steps]
        return tuple(step for step in steps if not step.is_valid and not step.is_unknown)

    @property
    def unknown(self) -> tuple[Step, ...]:
        """The indexes of which a part cannot be seen, because a node of a cluster does not answer."""
        return tuple(step for step in self.steps if step.is_unknown)

    @property
    def unindexed(self) -> tuple[Uncovered, ...]:
        """The uncovered indexes on tables that hold rows."""
        return tuple(each for each in self.uncovered if each.child.has_rows)

    @property
    def exit_code(self) -> int:
        """Return 4 if an index of an applied revision is missing or different.

        Else 7 if a node does not answer, 3 if a revision is pending, and 0 if all is well.
        """
        if self.drifted or self.unindexed:
            return Different.exit_code
        if self.unknown:
            return Unreachable.exit_code
        return PENDING if self.pending else 0


class Check(NamedTuple):
    """The status of a database, with advice about the indexes of its tables.

    Attributes:
        deep: what the deep checks found; None without them.
    """

    status: Status
    advice: tuple[Advice, ...]
    deep: Deep | None = None

    @property
    def corrupt(self) -> tuple[str, ...]:
        """The names of the indexes that a deep check found corrupt."""
        return self.deep.corrupt if self.deep else ()

    def finding(self, step: Step) -> str:
        """Return what is wrong with an index, in a word or two; "valid" if nothing is."""
        return "corrupt" if step.index.name in self.corrupt else step.finding

    @property
    def exit_code(self) -> int:
        """4 if an index is missing, different or corrupt; what stopped the checks; 1 if one failed; else as status."""
        if self.corrupt or self.status.exit_code == Different.exit_code or self.deep is None:
            return Different.exit_code if self.corrupt else self.status.exit_code
        if self.deep.stopped:
            return self.deep.stopped.exit_code
        return IndexerError.exit_code if self.deep.failed else self.status.exit_code
