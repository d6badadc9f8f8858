"""Whether the planner needs a narrow index beside a wide one: EXPLAIN in a read-only transaction that is rolled back.

What a search of an index costs without its table is shown by a bitmap scan, which the planner makes of the cheaper one.
A SELECT of the columns of the wide index alone is answered from that without reading the table, which the narrow one
cannot do: so its plan shows what the wide one costs at most, though both exist. If it uses the narrow index all the
same, the wide one is dearer by more than reading the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from peewee import Context, Entity, PeeweeException

from indexer.care.needless import Candidate, Costs, Needless, worst
from indexer.postgres.session.database import sendable
from indexer.postgres.session.reader import CatalogReader
from indexer.tuples import NamedTuple

CPU_TUPLE_COST = 0.01  # PostgreSQL's default
BEGIN = (
    "SET TRANSACTION READ ONLY",
    "SET LOCAL statement_timeout = '5s'",
    "SET LOCAL lock_timeout = '2s'",
    f"SET LOCAL cpu_tuple_cost = {CPU_TUPLE_COST}",
    "SET LOCAL max_parallel_workers_per_gather = 0",
    "SAVEPOINT care",
)
NO_SEQSCAN = "SET LOCAL enable_seqscan = off"
BY_BITMAP = (NO_SEQSCAN, "SET LOCAL enable_indexscan = off", "SET LOCAL enable_indexonlyscan = off")
WITHOUT_TABLE = (NO_SEQSCAN, "SET LOCAL enable_bitmapscan = off")
AGAIN = "ROLLBACK TO SAVEPOINT care"

# A frequent value, a rarer one, and one that is not frequent, as text; the planner is asked about each.
VALUES = """
    SELECT ARRAY (
           SELECT DISTINCT v.value
             FROM pg_catalog.unnest(ARRAY [
                  f.frequent[1],
                  f.frequent[pg_catalog.array_length(f.frequent, 1)],
                  f.others[1 + pg_catalog.array_length(f.others, 1) / 2]]) AS v (value)
            WHERE v.value IS NOT NULL) AS samples
      FROM (
      SELECT s.most_common_vals::pg_catalog.text::pg_catalog.text[] AS frequent,
             s.histogram_bounds::pg_catalog.text::pg_catalog.text[] AS others
        FROM pg_catalog.pg_stats AS s
       WHERE s.schemaname = %(schema)s
         AND s.tablename = %(table)s
         AND s.attname = %(column)s
         AND NOT s.inherited) AS f
"""


class Node(NamedTuple):
    """A node of a plan: its cost, the rows that it returns, and the index that it uses."""

    cost: float
    rows: float
    uses: str | None

    @property
    def cost_of_index(self) -> float:
        """The cost of an index-only scan without that of returning its rows."""
        return self.cost - CPU_TUPLE_COST * self.rows


def needless(catalog: CatalogReader, candidates: Sequence[Candidate]) -> list[Needless]:
    """Return the narrow indexes that the planner hardly needs; none where it cannot be asked."""
    if not candidates:
        return []
    version = str(catalog.rows("SELECT pg_catalog.current_setting('server_version') AS version")[0]["version"])
    with _read_only(catalog.database):
        found = [(candidate, worst(_costs(catalog, candidate))) for candidate in candidates]
    return [Needless(candidate, costs, version.split()[0]) for candidate, costs in found if costs]


@contextmanager
def _read_only(database: Any) -> Iterator[None]:
    with database.manual_commit():
        database.begin()
        try:
            database.execute_sql("; ".join(BEGIN))
            yield
        finally:
            database.rollback()


def _costs(catalog: CatalogReader, candidate: Candidate) -> list[Costs]:
    """Return the costs for each sampled value for which the planner uses one of the two; none where it cannot tell."""
    try:
        found = catalog.rows(VALUES, table=candidate.table, column=candidate.column)
        samples = [value for row in found for value in row["samples"]]
        return [costs for value in samples if (costs := _costs_of(catalog, candidate, value))]
    except PeeweeException:  # a lock, a type without an operator of PostgreSQL's own, a missing right
        if catalog.database.is_lost:
            raise
        catalog.database.execute_sql(AGAIN)
        return []


def _costs_of(catalog: CatalogReader, candidate: Candidate, value: str) -> Costs | None:
    """Return the costs for a value; None where the planner would use neither index for it."""
    chosen = _explained(catalog, candidate, ("*",), value)
    if not {node.uses for node in chosen} & {candidate.narrow, candidate.wide}:
        return None
    cheaper = _explained(catalog, candidate, ("*",), value, BY_BITMAP)[-1]
    if cheaper.uses == candidate.wide:
        return Costs(chosen[0].cost, cheaper.cost, cheaper.cost)
    (wide, *_) = _explained(catalog, candidate, candidate.wide_columns, value, WITHOUT_TABLE)
    is_searched = cheaper.uses == candidate.narrow and wide.uses == candidate.wide
    return Costs(chosen[0].cost, cheaper.cost, wide.cost_of_index if is_searched else float("inf"))


def _explained(
    catalog: CatalogReader, candidate: Candidate, columns: Sequence[str], value: str, settings: Sequence[str] = ()
) -> list[Node]:
    """Return the nodes of the plan that reads these columns of the rows with a value, the uppermost first."""
    context: Context = catalog.database.get_sql_context().literal("EXPLAIN (FORMAT JSON) SELECT ")
    for place, column in enumerate(columns):
        context.literal(", " if place else "")
        context = context.literal("*") if column == "*" else context.sql(Entity(column))
    context.literal(" FROM ").sql(Entity(catalog.schema, candidate.table)).literal(" WHERE ")
    context.sql(Entity(candidate.column)).literal(" OPERATOR(pg_catalog.=) ")
    text = "; ".join((AGAIN, *settings, sendable(str(context.query()[0])) + "%s"))
    (document,) = catalog.database.execute_sql(text, [value]).fetchone()
    return list(_nodes(document[0]["Plan"]))


def _nodes(node: dict[str, Any]) -> Iterator[Node]:
    yield Node(node["Total Cost"], node["Plan Rows"], node.get("Index Name"))
    for child in node.get("Plans", ()):
        yield from _nodes(child)
