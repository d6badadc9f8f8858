"""Deep checks: whether an index finds every row of its table. What the adapters answer, and the order of the checks.

A deep check reads the index itself, not the catalog. On PostgreSQL amcheck reads all of it, where it can be called. It
does not notice which rows the index lacks, so sampled rows are looked up by the index as well. On SQLite
``PRAGMA integrity_check`` reads all of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from indexer.errors import Hint, IndexerError
from indexer.records.baseline import Checked
from indexer.records.table import now
from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.migrator import CatalogMigrator

CLEAN, CORRUPT, CANNOT_TELL = "clean", "corrupt", "cannot tell"
SEVERITY = (CLEAN, CANNOT_TELL, CORRUPT)
AMCHECK, LOOKUPS, INTEGRITY_CHECK = "amcheck", "lookups", "integrity_check"
LONGEST = 600.0  # seconds for one index


class Finding(NamedTuple):
    """What a deep check found out about one index.

    Attributes:
        state: CLEAN, CORRUPT or CANNOT_TELL. After lookups CLEAN means no more than that the rows looked up were found.
        by: AMCHECK, LOOKUPS or INTEGRITY_CHECK; None where none of them was possible.
        text: what was found, or why it cannot be told, as a sentence; empty where amcheck found nothing.
        looked_up: how many rows were looked up, beside amcheck as well; None where none was.
        found: how many of them were found.
        collation_version: the versions of its collations during the check, as ``Measured`` has them.
        is_failed: whether the check did not come to its end, so that it cannot be told what it would have found.
        corrupt_parts: the names of those that are corrupt, of the indexes that the database stores as this one.
    """

    name: str
    state: str
    by: str | None
    text: str | Hint = ""
    seconds: float = 0.0
    looked_up: int | None = None
    found: int | None = None
    collation_version: str | None = None
    is_failed: bool = False
    corrupt_parts: tuple[str, ...] = ()

    @property
    def result(self) -> str:
        """The result in a few words."""
        if self.state != CLEAN or self.looked_up is None:
            return self.state
        found = f"{self.found:,} of {self.looked_up:,} found"
        return found if self.by == LOOKUPS else f"{self.state}, and {found}"


def checked(finding: Finding, began: datetime, before: Checked | None) -> Checked:
    """Return what is recorded of an index that was found clean.

    Each lookup is a scan that the server counts, as are those of checks before; amcheck scans nothing.

    Args:
        began: when the check began.
        before: what was recorded of the index.
    """
    scans, scans_from = (before.scans, before.scans_from) if before else (0, None)
    if finding.looked_up:
        scans, scans_from = scans + finding.looked_up, scans_from or began
    return Checked(now(), finding.collation_version, scans, scans_from)


def together(name: str, findings: Sequence[tuple[str, Finding]]) -> Finding:
    """Return what was found of an index that is stored as several: it is as bad as the worst of them.

    Args:
        findings: at least one, each with where it was found.
    """
    of_parts = [finding for _, finding in findings]
    worst = max(findings, key=lambda each: SEVERITY.index(each[1].state))
    looked_up = [finding.looked_up for finding in of_parts if finding.looked_up is not None]
    first = next((f"{where}: {finding.text}" for where, finding in findings if finding is worst[1]), "")
    return Finding(
        name,
        worst[1].state,
        next((finding.by for finding in of_parts if finding.by), None),
        first if worst[1].text else "",
        looked_up=sum(looked_up) if looked_up else None,
        found=sum(finding.found or 0 for finding in of_parts) if looked_up else None,
        is_failed=any(finding.is_failed for finding in of_parts),
    )


def of_leaves(name: str, findings: Sequence[Finding]) -> Finding:
    """Return what was found of the index of a partitioned table, from the findings of those of its leaves."""
    if len(findings) == 1:
        return findings[0]._replace(name=name)
    whole = together(name, [(finding.name, finding) for finding in findings])
    worst = next(finding for finding in findings if finding.state == whole.state)
    return whole._replace(
        text=Hint(f"{worst.name}: ", worst.text) if worst.text and worst.state != CLEAN else "",
        seconds=sum(finding.seconds for finding in findings),
        collation_version=worst.collation_version,
        corrupt_parts=tuple(finding.name for finding in findings if finding.state == CORRUPT),
    )


class Deep(NamedTuple):
    """The deep check of one database.

    Attributes:
        findings: one for each index that was checked.
        others: how many other indexes of the database depend on a collation that can change.
        stopped: why not all indexes were checked.
    """

    findings: tuple[Finding, ...] = ()
    others: int = 0
    warnings: tuple[str | Hint, ...] = ()
    stopped: IndexerError | None = None

    @property
    def corrupt(self) -> tuple[str, ...]:
        """The names of the indexes that are corrupt."""
        return tuple(finding.name for finding in self.findings if finding.state == CORRUPT)

    @property
    def to_rebuild(self) -> tuple[str, ...]:
        """The names of what is corrupt: of an index that is stored as several, of those."""
        corrupt = (finding for finding in self.findings if finding.state == CORRUPT)
        return tuple(name for finding in corrupt for name in finding.corrupt_parts or (finding.name,))

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the indexes whose check failed."""
        return tuple(finding.name for finding in self.findings if finding.is_failed)


class Checker(ABC):
    """Checks the indexes of one database, each by itself.

    Attributes:
        advice: what would let the checks say more, such as a right that our role lacks; known after the first check.
        stopped: why no further index is to be checked; None as long as there is no reason.
    """

    def __init__(self) -> None:
        self.advice: list[str | Hint] = []
        self.stopped: IndexerError | None = None

    @abstractmethod
    def check(self, name: str) -> Finding:
        """Check the index of this name, in a transaction that is rolled back. Changes nothing."""

    def builds_delayed(self) -> list[str]:
        """Return the builds of other sessions that wait until a check ends, one phrase each.

        Raises:
            Locked: a run of this tool builds in another schema.
        """
        return []

    def others(self, names: Sequence[str]) -> int:
        """Return how many indexes of the database, besides these, depend on a collation that can change."""
        return 0


def deep_check(
    migrator: CatalogMigrator, names: Sequence[str], heap: bool = False, longest: float = LONGEST
) -> Iterator[Finding]:
    """Check indexes one after another, and yield what was found. Takes no lock and records nothing: the caller does.

    Args:
        names: of valid indexes in the migrator's schema.
        heap: whether amcheck also looks for rows that the index lacks; it reads the whole table for that.
        longest: how many seconds the check of one index may take.
    """
    checker = migrator.care.checker(heap, longest)
    for name in names:
        yield checker.check(name)
        if checker.stopped:
            return
