"""What ``reindex`` would do, what would stop it, and what it did: results, no behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from indexer import preflight
from indexer.care.choice import Candidate, Criteria, OfLeaf
from indexer.care.deep import CORRUPT, Finding
from indexer.errors import Command, Different, Hint, IndexerError, PreflightFailed
from indexer.events import Blocker
from indexer.options import DEFAULTS
from indexer.plans import PENDING, Rest
from indexer.records.baseline import Baseline
from indexer.spec import Index
from indexer.steps import Step, StepPlanner
from indexer.text import are, few
from indexer.tuples import NamedTuple

MOST_NAMES = 10  # of rebuilt indexes, which can be those of many partitions
MATTERS = 1024 * 1024  # bytes; less room than that is not worth a warning


class LeftOut(NamedTuple):
    """An index that is not rebuilt, and why not, as a phrase that follows its name."""

    candidate: Candidate
    reason: Hint


class Leftover(NamedTuple):
    """An invalid index that an interrupted REINDEX CONCURRENTLY has left.

    Attributes:
        step: drops it.
        of: the index that it is left of.
    """

    step: Step
    of: Candidate


class ReindexPlan(NamedTuple):
    """What ``reindex`` would do now, and what would stop it.

    Attributes:
        at: when it was made, in UTC.
        command: the command of the run.
        chosen: the indexes to be rebuilt, in the order of the chain.
        stale: those that may be judged otherwise once the statistics of their tables are new.
        learned: the baselines that are worth recording, by the revision and the index.
        problems: why it must not run, one sentence each.
        blockers: the sessions that it would have to wait for if it began now.
    """

    criteria: Criteria
    at: datetime
    command: Command
    planner: StepPlanner
    chosen: tuple[Candidate, ...]
    left_out: tuple[LeftOut, ...]
    leftovers: tuple[Leftover, ...]
    stale: tuple[Candidate, ...] = ()
    learned: Mapping[str, Mapping[str, Baseline]] = {}
    problems: tuple[str, ...] = ()
    blockers: tuple[Blocker, ...] = ()
    warnings: tuple[str | Hint, ...] = ()

    @property
    def obstructed(self) -> list[Candidate]:
        """The indexes that cannot be rebuilt before something else is done."""
        return [each.candidate for each in self.left_out if each.candidate.obstacle]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to rebuild, to drop, to judge again or to record."""
        return not (self.chosen or self.leftovers or self.stale or self.learned)

    @property
    def steps(self) -> list[Step]:
        """The steps that drop leftovers and rebuild, if no other session comes between."""
        return [*(each.step for each in self.leftovers), *(each.planner.reindex(each.step) for each in self.chosen)]

    @property
    def concerned(self) -> list[Index]:
        """The indexes that are dropped, rebuilt or judged again."""
        again = [each.step.index for each in self.stale if each not in self.chosen]
        return [*(step.index for step in self.steps), *again]

    @property
    def room(self) -> int:
        """The bytes that the largest rebuild needs; 0 if there is none."""
        return max((each.room for each in self.chosen), default=0)


class Rebuilt(NamedTuple):
    """An index that was rebuilt. Sizes are in bytes, None where they cannot be told; ``seconds`` includes all waits.

    Attributes:
        by_another: whether another session rebuilt it, which this run waited for.
        finding: what the deep check of the new index found.
        leaf: where it is the index of a leaf of a partitioned table.
    """

    target: Index
    bytes_before: int | None
    bytes: int | None
    seconds: float
    by_another: bool = False
    finding: Finding | None = None
    leaf: OfLeaf | None = None

    @property
    def name(self) -> str:
        """The name of the index; with its schema if that is another one than its partitioned table's."""
        return self.leaf.label if self.leaf else self.target.name

    @property
    def declared(self) -> str:
        """The name of the declared index; of a leaf, that of its partitioned table."""
        return self.leaf.of if self.leaf else self.target.name


class Remains(NamedTuple):
    """What rebuilds that did not end well have left, as phrases.

    Attributes:
        rebuilt: the names of the indexes that are rebuilt all the same.
        left: the names of incomplete copies and of old indexes; None where that cannot be read.
        holders: the sessions that a drop of these has to wait for.
    """

    rebuilt: tuple[str, ...]
    left: tuple[str, ...] | None
    holders: tuple[Blocker, ...] = ()

    def __str__(self) -> str:
        phrases = [f"{', '.join(few(self.rebuilt, MOST_NAMES))} {are(self.rebuilt)} rebuilt"] if self.rebuilt else []
        if self.left:
            users = ", ".join(few([f"pid {each.pid}" if each.pid else each.role for each in self.holders]))
            because = f", because {users} may still use {'it' if len(self.left) == 1 else 'them'}" if users else ""
            phrases.append(f"{', '.join(self.left)} {are(self.left)} left{because}; the next run drops what is left")
        return "; ".join(phrases)

    @property
    def sentence(self) -> str:
        """The phrases as a sentence before another one; nothing if nothing is left."""
        if self.left is None:
            return "An incomplete copy may remain, or the old index; the next run drops it, and the index is valid. "
        return f"{self}. " if self.rebuilt or self.left else ""


class Reindexed(NamedTuple):
    """What a run of ``reindex`` did.

    Attributes:
        dropped: the names of the leftovers that it dropped.
        analyzed: the names of the tables whose statistics it gathered first.
        room: the bytes that the largest rebuild needed.
        rest: what the window has left to a later run.
    """

    rebuilt: tuple[Rebuilt, ...]
    left_out: tuple[LeftOut, ...]
    dropped: tuple[str, ...]
    analyzed: tuple[str, ...]
    room: int
    seconds: float
    warnings: tuple[str | Hint, ...] = ()
    rest: Rest | None = None

    @property
    def corrupt(self) -> list[Rebuilt]:
        """The indexes that are corrupt although they have just been rebuilt."""
        return [each for each in self.rebuilt if each.finding and each.finding.state == CORRUPT]

    @property
    def exit_code(self) -> int:
        """4 if an index is corrupt, else 3 if anything is left, else 0."""
        if self.corrupt:
            return Different.exit_code
        return PENDING if self.rest else 0


def check(plan: ReindexPlan) -> None:
    """Raise PreflightFailed or Different if the run must not start."""
    if error := refusal(plan):
        raise error


def refusal(plan: ReindexPlan) -> IndexerError | None:
    """Return why the run must not start, if it must not; an obstacle matters only where the index is named."""
    obstructed = plan.obstructed if plan.criteria.names else []
    different = [each for each in obstructed if each.step.differences or each.step.obstacles]
    others = [each for each in obstructed if each not in different]
    again = plan.command
    if plan.problems:
        return PreflightFailed(plan.problems, Hint("Fix this, then run: ", again))
    if others:
        hint = Hint("First run: ", others[0].remedy, "\nThen run: ", again)
        return PreflightFailed([f"{each.name} {each.obstacle}" for each in others], hint)
    if not different:
        return None
    return Different(
        "Nothing was changed. These indexes are not what their revisions declare:",
        preflight.conflict_hint([each.step for each in different], "up", DEFAULTS),
        {each.name: (*each.step.differences, *each.step.obstacles) for each in different},
    )


def room_needed(plan: ReindexPlan) -> list[str]:
    """Return how much disk the rebuilds need unless that is little, which the user has to compare with what is free."""
    rooms = {each.name: each.room for each in plan.chosen}
    return [plan.planner.dialect.room_needed(rooms)] if sum(rooms.values()) >= MATTERS else []
