"""Partitioned tables in the place of the CRM's ordinary ones, and their indexes by plain SQL."""

from __future__ import annotations

import pytest
from command import ask, execute, nothing_changes
from kinds import runner_of

from indexer import Index, Variant, desc
from indexer.decide import Action
from indexer.errors import PreflightFailed

ROWS = "(openphone_id, activity_type, created_at)"
YEARS = (2022, 2023, 2024)
OF_ACTIVITY = ("ix_activity_openphone_id", "ix_activity_conversation_created", "ix_activity_type")

LEAVES = [*(f"activity_{year}" for year in YEARS), "activity_default"]
NEWEST = Index("ix_newest", "activity", ("activity_type", desc("created_at")))
OPENED = Index("ix_opened", "activity", ("id",), on_postgresql=Variant(where="activity_type = 'message'"))
NEWEST_ON = "(activity_type, created_at DESC)"


def by_range(url: str, table: str = "activity", rows: int = 300, years: tuple[int, ...] = YEARS) -> None:
    """Put a table partitioned by year of created_at in the place of an ordinary one, with a default partition."""
    shell(url, table, "RANGE (created_at)")
    for year in years:
        add_year(url, year, table)
    execute(url, f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
    if rows and years and table == "activity":
        fill(url, rows, years)


def shell(url: str, table: str, by: str) -> None:
    """Put an empty partitioned table without partitions in the place of an ordinary one."""
    execute(
        url,
        f"ALTER TABLE {table} RENAME TO {table}_before",
        f"CREATE TABLE {table} (LIKE {table}_before INCLUDING DEFAULTS) PARTITION BY {by}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO PUBLIC",
    )


def add_year(url: str, year: int, table: str = "activity") -> None:
    """Add the partition of a year."""
    execute(
        url,
        f"CREATE TABLE {table}_{year} PARTITION OF {table} FOR VALUES FROM ('{year}-01-01') TO ('{year + 1}-01-01')",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table}_{year} TO PUBLIC",
    )


def fill(url: str, rows: int, years: tuple[int, ...] = YEARS) -> None:
    """Write activities evenly to these years."""
    execute(
        url,
        f"INSERT INTO activity {ROWS} SELECT 'AC' || n, 'message',"
        f" pg_catalog.make_timestamp({years[0]} + n % {len(years)}, 1 + n % 12, 1, 0, 0, 0)"
        f" FROM generate_series(1, {rows}) AS n",
    )


def index_parents(url: str) -> None:
    """Build the three indexes of activity at once, as PostgreSQL does in plain, with leaf indexes of its own names."""
    execute(
        url,
        "CREATE INDEX ix_activity_openphone_id ON activity (openphone_id)",
        "CREATE INDEX ix_activity_conversation_created ON activity (conversation_id, created_at DESC)",
        "CREATE INDEX ix_activity_type ON activity (activity_type)",
    )


LEAF_INDEXES = """
      WITH RECURSIVE tree (oid, root) AS (
           SELECT c.oid, c.relname FROM pg_class AS c WHERE c.relname = ANY ('{%s}') AND c.relkind = 'I'
            UNION ALL
           SELECT h.inhrelid, tree.root FROM tree JOIN pg_inherits AS h ON h.inhparent = tree.oid)
    SELECT tree.root, t.relname, c.relname, i.indisvalid, pg_get_indexdef(c.oid)
      FROM tree
      JOIN pg_class AS c ON c.oid = tree.oid AND c.relkind = 'i'
      JOIN pg_index AS i ON i.indexrelid = c.oid
      JOIN pg_class AS t ON t.oid = i.indrelid
     ORDER BY 1, 2
"""


def leaf_indexes(url: str, *names: str) -> list[tuple[str, str, str, bool, str]]:
    """Return the index attached to each of these on each leaf: declared name, table, name, validity, definition."""
    return ask(url, LEAF_INDEXES % ",".join(names))


def covered(url: str, name: str) -> list[str]:
    """Return the leaves on which a valid index is attached to this one."""
    return [table for _, table, _, is_valid, _ in leaf_indexes(url, name) if is_valid]


# A revision of any indexes -------------------------------------------------------------------------------------------


def up(url: str, *declared: Index, **options: object) -> dict[str, Action]:
    """Apply a revision of these indexes in this process; return what was done about each."""
    with runner_of(url, *declared, **options) as runner:
        return {step.index.name: step.action for step in runner.up().steps}


def down(url: str, *declared: Index, **options: object) -> dict[str, Action]:
    """Revert a revision of these indexes in this process; return what was done about each."""
    with runner_of(url, *declared, **options) as runner:
        return {step.index.name: step.action for step in runner.down().steps}


def findings(url: str, *declared: Index) -> dict[str, str]:
    """Return what check says of each index."""
    with runner_of(url, *declared) as runner:
        check = runner.inspector.check()
        return {step.index.name: check.finding(step) for step in check.status.steps}


def problems(url: str, *declared: Index, **options: object) -> list[str]:
    """Return what preflight says against up, which must change nothing."""
    with nothing_changes(url), runner_of(url, *declared, **options) as runner, pytest.raises(PreflightFailed) as failed:
        runner.up()
    return list(failed.value.problems)
