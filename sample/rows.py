"""How many rows a made-up CRM has, and the statements that insert them.

Every value follows from the number of its row by whole-number arithmetic, in which PostgreSQL and SQLite agree.
Both get the same rows for the same number of activities and the same seed, on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from indexer.errors import UsageError
from sample.sql import PRIME, SMALLEST_CAMPAIGN, Spelling, multiplier
from sample.tables import TABLES

MOST = 100_000_000  # activities: the ids fit into four bytes, and all products of the expressions into eight
SEED = 1
BATCH = 20_000  # rows of a statement
WHOLE = ("conversation", "campaign_membership")  # one statement for all rows, because it reads all activities
LARGEST_CAMPAIGN = 10_000  # members


def counts(activities: int) -> dict[str, int]:
    """Return how many rows each table has, referenced tables first.

    Raises:
        UsageError: too many activities.
    """
    if activities > MOST:
        raise UsageError(f"No more than {MOST:,} activities can be made.", "Use fewer: --rows 1000000")
    contacts, memberships = max(1, activities // 10), activities // 5
    return {
        "contact": contacts,
        "conversation": max(1, activities * 12 // 100),
        "activity": activities,
        "campaign": _campaigns(memberships, min(LARGEST_CAMPAIGN, contacts)),
        "campaign_membership": memberships,
        "contact_flag": activities * 15 // 100,
        "webhook_event": activities // 4,
    }


def batches(activities: int) -> Iterator[tuple[str, int, int]]:
    """Yield the table, the first and the last number of each batch, in the order in which they can be inserted."""
    for table, count in counts(activities).items():
        size = max(1, count) if table in WHOLE else BATCH
        for first in range(1, count + 1, size):
            yield table, first, min(first + size - 1, count)


def parameters(activities: int, seed: int = SEED) -> dict[str, int]:
    """Return the parameters of all statements; to these the first and the last number of a batch are added."""
    rows = counts(activities)
    return {
        "shift": seed * multiplier("seed") % PRIME,
        "contacts": rows["contact"],
        "conversations": rows["conversation"],
        "activities": activities,
        "campaigns": rows["campaign"],
        "largest": min(LARGEST_CAMPAIGN, rows["contact"]),
        "memberships": rows["campaign_membership"],
        "events": rows["webhook_event"],
    }


def statements(spelling: Spelling, quoted: Callable[[str], str]) -> dict[str, str]:
    """Return the statement that inserts a batch into each table.

    Args:
        quoted: returns the name of a table as a statement needs it.
    """
    escaped = {table: quoted(table).replace("%", spelling.percent) for table in TABLES}
    named = {name: spelling.parameter.format(name) for name in (*parameters(1), "first", "last")}
    return {
        table: rows(spelling).insert(table).replace("%", spelling.percent).format(**escaped, **named)
        for table, rows in TABLES.items()
    }


def _campaigns(memberships: int, largest: int) -> int:
    """Return how many campaigns have so many members; their sizes are those of ``sql.SIZE``."""
    count = members = 0
    while members < memberships:
        count += 1
        members += min(SMALLEST_CAMPAIGN * PRIME // (count * multiplier("size") % PRIME + 1), largest)
    return count
