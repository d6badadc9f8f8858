"""Which indexes ``reindex`` rebuilds, and why it leaves the others out. Pure: no database here."""

from __future__ import annotations

from datetime import datetime, timedelta

from indexer.care.advice import rebuilt
from indexer.care.evidence import Evidence
from indexer.errors import Command
from indexer.records.baseline import LEARNED, Baseline
from indexer.records.revisions import APPLYING, REVERTING, Record
from indexer.revisions.revision import Revision
from indexer.steps import Step, StepPlanner
from indexer.text import counted, in_bytes
from indexer.tuples import NamedTuple

BLOATED = 2.0  # times what a rebuild would leave
UNFINISHED = {APPLYING: "up", REVERTING: "down"}  # which command goes on with a revision in this state
UNITS = ((1 << 40, "TB"), (1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB"), (1, "B"))


class Criteria(NamedTuple):
    """Which indexes the user wants to be rebuilt.

    Attributes:
        names: only these; all declared ones if there are none.
        bloated_over: only those that are more than this many times larger than a rebuild would leave them. None is the
            default: ``BLOATED``, and no limit for indexes that are named.
        max_size: only those of at most this many bytes.
        min_age: only those that were not built within this many days.
    """

    names: tuple[str, ...] = ()
    bloated_over: float | None = None
    max_size: int | None = None
    min_age: float | None = None

    @property
    def limit(self) -> float | None:
        """The ratio over which an index is rebuilt; None if any is."""
        return BLOATED if self.bloated_over is None and not self.names else self.bloated_over

    def words(self) -> tuple[str, ...]:
        """Return the arguments and options that ask for the same."""
        given = {
            "--bloated-over": self.bloated_over and f"{self.bloated_over:g}",
            "--max-size": self.max_size is not None and _exactly(self.max_size),
            "--min-age": self.min_age is not None and f"{self.min_age:g}",
        }
        return (*self.names, *(word for option, value in given.items() if value for word in (option, str(value))))


class OfLeaf(NamedTuple):
    """Which leaf of a partitioned table an index is on.

    Attributes:
        of: the name of the declared index, which is that of the partitioned table.
        label: the name of the index, with its schema if that is another one than the partitioned table's.
        table: that of the leaf, in the same way.
        namespace: the OID of its schema.
        owned: whether our role has the rights of the owner of the leaf.
    """

    of: str
    label: str
    table: str
    schema: str
    namespace: int
    owner: str
    owned: bool


class Candidate(NamedTuple):
    """A declared index that ``reindex`` considers.

    Attributes:
        step: what ``up`` would do about it, which tells its state.
        record: what is recorded of its revision.
        planner: of the steps in its schema.
        evidence: what a rebuild would gain; None if it cannot be rebuilt.
        leaf: where it is the index of a leaf of a partitioned table.
    """

    revision: Revision
    step: Step
    record: Record | None
    planner: StepPlanner
    evidence: Evidence | None = None
    leaf: OfLeaf | None = None

    @property
    def name(self) -> str:
        """The name of the index; with its schema if that is another one than its partitioned table's."""
        return self.leaf.label if self.leaf else self.step.index.name

    @property
    def table(self) -> str:
        """The name of its table, in the same way."""
        return self.leaf.table if self.leaf else self.step.index.table

    @property
    def declared(self) -> str:
        """The name of the declared index; of a leaf, that of its partitioned table."""
        return self.leaf.of if self.leaf else self.step.index.name

    @property
    def baseline(self) -> Baseline | None:
        """The index as it was when it was fresh, if that is recorded."""
        return self.record.baselines.get(self.name) if self.record else None

    @property
    def obstacle(self) -> str:
        """Why the index cannot be rebuilt, as a phrase that follows its name; nothing if it can be."""
        found, record = self.step.found, self.record
        if found is None:
            return "does not exist"
        if found.definition is None or self.step.differences:
            return "is not the declared index"
        if record and record.state in UNFINISHED:
            return f"belongs to revision {self.revision.id}, whose {UNFINISHED[record.state]} is unfinished"
        if found.worker and not found.usable:
            return f"is being built or dropped by another session (pid {found.worker})"
        if found.unknown:
            return f"is {found.flaw}"
        return "" if found.usable else f"is invalid ({self.step.finding})"

    @property
    def remedy(self) -> Command:
        """What to run where there is an obstacle."""
        if self.step.state not in ("missing", "valid", "invalid", "in progress"):
            return Command("check")
        unfinished = UNFINISHED.get(self.record.state) if self.record else None
        return Command(unfinished or "up")

    @property
    def size(self) -> int | None:
        """The bytes that it has now; None where they cannot be told."""
        return self.evidence.bytes if self.evidence else None

    @property
    def room(self) -> int:
        """The bytes that its rebuild needs, beside the index as it is now; 0 where that cannot be told."""
        return (self.evidence.bytes_after_rebuild if self.evidence else None) or self.size or 0


def excluded_by(candidate: Candidate, criteria: Criteria, at: datetime) -> str:
    """Return which limit keeps an index from being rebuilt, its size or its age, as a phrase; nothing if none does.

    Args:
        at: the present time.
    """
    size, baseline = candidate.size, candidate.baseline
    if criteria.max_size is not None and size is not None and size > criteria.max_size:
        return f"has {in_bytes(size)}, more than the {in_bytes(criteria.max_size)} allowed"
    if criteria.min_age is not None and baseline and baseline.by != LEARNED:
        age = at - baseline.at
        if age < timedelta(days=criteria.min_age):
            return f"was built {_days(age)} ago, less than the {in_days(criteria.min_age)} required"
    return ""


def not_bloated(candidate: Candidate, criteria: Criteria, at: datetime) -> str:
    """Return why an index is not taken for bloated, as a phrase; nothing if it is, or if that does not matter."""
    evidence, limit = candidate.evidence, criteria.limit
    ratio = evidence.ratio if evidence else None
    if limit is None or (ratio is not None and ratio > limit):
        return ""
    left = gain(evidence, at)
    return left if ratio is None else f"{left} ({ratio:.2f} times, not over {limit:g})"


def is_to_be_analyzed(candidate: Candidate, criteria: Criteria, at: datetime) -> bool:
    """Return whether new statistics of its table may change the decision about an index."""
    is_stale = candidate.evidence is not None and candidate.evidence.is_stale
    return is_stale and criteria.limit is not None and not excluded_by(candidate, criteria, at)


def gain(evidence: Evidence | None, at: datetime) -> str:
    """Return what a rebuild would leave of an index at this time, as a phrase that follows its name."""
    if evidence and evidence.bytes_after_rebuild is not None:
        return f"has {rebuilt(evidence.bytes, evidence, at)}"
    size = f"has {in_bytes(evidence.bytes)}; " if evidence and evidence.bytes is not None else ""
    return f"{size}cannot tell what a rebuild would leave: {evidence.why if evidence else 'it cannot be read'}"


def _days(age: timedelta) -> str:
    return in_days(age.days) if age.days else counted(round(max(age.total_seconds(), 0) / 3600), "hour")


def in_days(days: float) -> str:
    """Return a number of days with its unit."""
    return f"{days:g} {'day' if days == 1 else 'days'}"


def _exactly(count: int) -> str:
    """Return a size in the largest unit that divides it."""
    unit, name = next((unit, name) for unit, name in UNITS if count % unit == 0)
    return f"{count // unit}{name}"
