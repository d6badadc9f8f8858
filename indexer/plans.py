"""What a run is made of and what it leaves: a move for each revision, a plan of them, an outcome, a status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from indexer.advice import Advice
from indexer.catalog import Place, Table
from indexer.decide import Action, Step
from indexer.errors import Different, Hint, IndexerError, PreflightFailed
from indexer.events import Blocker
from indexer.inheritance import Uncovered
from indexer.options import DEFAULTS, Options
from indexer.records import provenance
from indexer.records.alembic import NOT_IN_ALEMBIC, InAlembic
from indexer.records.provenance import RevisionState
from indexer.records.revisions import REVERTED, Record
from indexer.revisions.chain import Chain, Revision
from indexer.spec import Difference
from indexer.text import shell

PENDING = 3  # exit code


class RevisionPlan(NamedTuple):
    """One revision to be applied or reverted, with a step for each of its indexes.

    ``record`` is what our table holds about it, ``alembic`` what Alembic has to do with it.
    """

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
    def is_undoable(self) -> bool:
        """Whether there is anything for ``down`` to do."""
        return self.is_applied or (self.record is not None and self.record.state != REVERTED)

    @property
    def is_due(self) -> bool:
        """Whether there is anything for ``up`` to do."""
        return self.record is None or not self.is_applied or any(step.action is not Action.KEEP for step in self.steps)

    @property
    def left(self) -> list[str]:
        """The names of the indexes that ``down`` leaves."""
        return [step.index.name for step in self.steps if step.action is Action.LEAVE]

    def existed_before(self) -> dict[str, str]:
        """Return what ``up`` must not take for its own before it begins: former names by present names."""
        return provenance.existed_before(self.steps, self.record, self.state)

    def origin(self, step: Step) -> str | None:
        """Return where the index of a step comes from: created, adopted, renamed, or None where that is unknown."""
        return provenance.origin(step, self.record, self.state)

    def renamed_from(self, step: Step) -> str | None:
        """Return the other name that an existing index had before ``up``, if it had one."""
        return provenance.former_name(step, self.record)


class Plan(NamedTuple):
    """All that a run would do, and all that would stop it: ``problems``, and ``later`` ones unless that is allowed.

    ``start`` is None on an empty database. ``base_tables`` are the tables that an empty database is given first,
    ``blockers`` the sessions that the steps would have to wait for if they began now, ``warnings`` sentences about
    what does not stop the run. The command of the run needs these ``options``, and to name the revision ``to``.
    """

    direction: str
    start: str | None
    end: str
    moves: tuple[RevisionPlan, ...]
    base_tables: tuple[str, ...]
    tables: dict[str, Table]
    options: Options = DEFAULTS
    to: str | None = None
    problems: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    blockers: tuple[Blocker, ...] = ()
    warnings: tuple[str | Hint, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of all moves in order."""
        return tuple(step for move in self.moves for step in move.steps)

    @property
    def refused(self) -> tuple[Step, ...]:
        """The steps that stop the run, because something else stands under the name."""
        return tuple(step for step in self.steps if step.action is Action.REFUSE)

    @property
    def is_empty(self) -> bool:
        """Is there nothing to do?"""
        return not self.moves and not self.base_tables

    @property
    def command(self) -> str:
        """The command of the run."""
        return _command(self.direction, self.options, self.to)

    @property
    def unrecorded(self) -> tuple[str, ...]:
        """The revisions of which nothing is missing but our record, where that is all there is to do."""
        stays = self.start == self.end and all(step.action is Action.KEEP for step in self.steps)
        missing = stays and all(move.record is None for move in self.moves)
        return tuple(move.revision.id for move in self.moves) if missing else ()

    @property
    def exit_code(self) -> int:
        """What the run itself would exit with."""
        refused = Different.exit_code if self.refused else 0
        return PreflightFailed.exit_code if self.problems or self.later else refused

    @property
    def refusal(self) -> IndexerError | None:
        """Why the run must not start, if it must not."""
        if self.problems or self.later:
            then = "Correct this, then" if self.problems else "To go below it all the same"
            return PreflightFailed((*self.problems, *self.later), f"{then}: {self.command}")
        if not self.refused:
            return None
        return Different(
            "Nothing was changed, because something else stands under a name of ours:",
            way_out(self.refused, self.direction, self.options, self.to),
            {step.index.name: (*step.differences, *step.obstacles) for step in self.refused},
        )

    def check(self) -> None:
        """Raises PreflightFailed or Different when the run must not start."""
        if self.refusal:
            raise self.refusal


class Outcome(NamedTuple):
    """What a run did."""

    direction: str
    start: str | None
    end: str
    steps: tuple[Step, ...]
    base_tables: tuple[str, ...]
    seconds: float
    warnings: tuple[str | Hint, ...] = ()

    @property
    def changed(self) -> bool:
        """Was there anything to do?"""
        return self.start != self.end or any(step.changes for step in self.steps)


class Stamp(NamedTuple):
    """A revision that was recorded without building anything; ``changed`` is false when it was recorded already."""

    revision: str
    changed: bool
    warnings: tuple[str | Hint, ...] = ()


class Status(NamedTuple):
    """Where the database stands: the chain, its records, and every index of every revision.

    ``current`` is None on an empty database. ``uncovered`` are the indexes of applied revisions that are missing on
    tables that inherit from theirs.
    """

    place: Place
    current: str | None
    chain: Chain
    base: Record | None
    moves: tuple[RevisionPlan, ...]
    warnings: tuple[str | Hint, ...] = ()
    uncovered: tuple[Uncovered, ...] = ()

    @property
    def pending(self) -> tuple[Revision, ...]:
        """The revisions that are not applied."""
        return tuple(move.revision for move in self.moves if not move.is_applied)

    @property
    def refused(self) -> tuple[Step, ...]:
        """The steps that would stop ``up``, because something else stands under the name."""
        return tuple(step for move in self.moves for step in move.steps if step.action is Action.REFUSE)

    @property
    def drifted(self) -> tuple[Step, ...]:
        """The indexes of applied revisions that ``up`` would have to repair."""
        return tuple(step for move in self.moves if move.is_applied for step in move.steps if not step.stands)

    @property
    def unindexed(self) -> tuple[Uncovered, ...]:
        """The uncovered ones where there are rows to be found."""
        return tuple(each for each in self.uncovered if each.child.has_rows)

    @property
    def exit_code(self) -> int:
        """4 when an index of an applied revision does not stand, else 3 when a revision is pending, else 0."""
        return Different.exit_code if self.drifted or self.unindexed else PENDING if self.pending else 0


class Check(NamedTuple):
    """Whether the database is what its revisions say, and what else a look at its indexes suggests."""

    status: Status
    advice: tuple[Advice, ...]


def way_out(refused: Sequence[Step], direction: str = "up", options: Options = DEFAULTS, to: str | None = None) -> str:
    """What helps, and what to type, where something else stands under names of ours.

    What a run with ``--replace`` refuses has to be renamed or dropped by hand.
    """
    replaceable = [step for step in refused if step.can_be_replaced and not options.replace]
    others = [step for step in refused if step not in replaceable]
    again, replacing = _command(direction, options, to), _command("up", options._replace(replace=True), to)
    if direction == "down":
        first = "" if others else "Put ours in its place first: python cli.py up --replace. Or rename or drop it"
        return f"{first or 'Rename or drop it'} if nobody needs it ({_names(refused)}), then: {again}"
    rename = "Rename" if others else f"Replace it: {replacing}. Or rename"
    then = f" replace the rest ({_names(replaceable)}): {replacing}" if others and replaceable else f": {again}"
    return f"{rename} or drop it if nobody needs it ({_names(others or replaceable)}), then{then}"


def _command(direction: str, options: Options, to: str | None) -> str:
    return " ".join(("python cli.py", direction, *(("--to", to) if to else ()), *map(shell, options.words(direction))))


def _names(steps: Sequence[Step]) -> str:
    return ", ".join(step.conflict.name if step.conflict else step.index.name for step in steps)


def refuse_different(
    target: str, missing_tables: Sequence[str], forward: Sequence[RevisionPlan], back: Sequence[RevisionPlan]
) -> None:
    """Refuse to call a database what it is not.

    Args:
        target: the revision it is said to be at.
        missing_tables: tables of ours that are not there.
        forward: the moves that lead to the target: all of their indexes have to stand.
        back: the moves beyond it: none of theirs may.

    Raises:
        Different: with everything that is not so.
    """
    missing: dict[str, tuple[Difference, ...]] = {
        f"table {name}": (Difference("state", "there", "missing"),) for name in missing_tables
    }
    for step in (step for move in forward for step in move.steps if not step.stands):
        missing[step.index.name] = step.differences or (Difference("state", "valid", step.state),)
    ahead = [move for move in back if any(step.found for step in move.steps)]
    beyond = {
        step.index.name: (Difference("state", "absent", step.state),)
        for move in ahead
        for step in move.steps
        if step.found
    }
    if missing or beyond:
        raise Different(
            f"Nothing was recorded, because the database is not what revision {target} says:",
            _way_to(target, ahead),
            {**missing, **beyond},
        )


def _way_to(target: str, ahead: Sequence[RevisionPlan]) -> str:
    """Return what brings the database to a revision, where these moves beyond it have left indexes."""
    if not ahead:
        return f"Build what is missing: python cli.py up --to {target}"
    if all(move.is_undoable for move in ahead):
        return f"Drop what is beyond it: python cli.py down --to {target}"
    names = ", ".join(step.index.name for move in ahead for step in move.steps if step.found)
    return f"Drop what is beyond it if nobody needs it ({names}), then: python cli.py stamp {target}"
