"""PostgreSQL's planner, asked with EXPLAIN in one read-only transaction that is rolled back."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple, TypeVar

from peewee import DataError, OperationalError, ProgrammingError
from psycopg2.errors import QueryCanceled

import models
from indexer.catalog import CatalogEntry, Table
from indexer.errors import IndexerError
from indexer.inheritance import Child
from indexer.postgres.explain import NotUnderstood
from indexer.postgres.settings import QUICK
from indexer.postgres.statements import QUOTED, sendable
from indexer.records.table import placed
from indexer.spec import Index
from indexer.text import identifier
from indexer.verify.planner import LONGEST_RUN, Heir, Plan, Refused, Scan, Statement

T = TypeVar("T")

RIGHTS = """
    SELECT CURRENT_USER::pg_catalog.text AS role,
           pg_catalog.has_schema_privilege(%(schema)s, 'USAGE') AS may_use
"""

INDEXES = """
    SELECT c.relname AS name
      FROM pg_catalog.pg_index AS i
      JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
      JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
     WHERE n.nspname = %(schema)s
       AND t.relname = ANY (%(tables)s::pg_catalog.text[])
"""

BEGIN = (
    "SET TRANSACTION READ ONLY",
    *(
        f"SET LOCAL {name} TO DEFAULT" for name in (*QUICK, "row_security")
    ),  # an application's session has none of these
    "SET LOCAL statement_timeout = '5s'",
    "SET LOCAL lock_timeout = '2s'",
)

NO_SCAN = (
    "DISCARD PLANS",  # a prepared statement keeps the one it has, whatever is set after that
    "SET LOCAL plan_cache_mode = force_generic_plan",
    "SET LOCAL max_parallel_workers_per_gather = 0",
    "SET LOCAL enable_seqscan = off",
)
NO_SORT = (
    *NO_SCAN,
    "SET LOCAL enable_indexscan = on",
    "SET LOCAL enable_indexonlyscan = on",
    "SET LOCAL enable_sort = off",
    "SET LOCAL enable_hashagg = off",
)
# On few rows all indexes cost the same. Among bitmaps of one cost the planner begins with the one that finds least.
SELECTIVE = (
    *NO_SCAN,
    "SET LOCAL enable_indexscan = off",
    "SET LOCAL enable_indexonlyscan = off",
    "SET LOCAL enable_bitmapscan = on",
    "SET LOCAL cpu_operator_cost = 0",
    "SET LOCAL cpu_index_tuple_cost = 0",
)
NO_INDEX = (
    "SET LOCAL enable_seqscan = on",
    "SET LOCAL enable_sort = on",
    "SET LOCAL enable_hashagg = on",
    "SET LOCAL enable_indexscan = off",
    "SET LOCAL enable_indexonlyscan = off",
    "SET LOCAL enable_bitmapscan = off",
)
DISABLED = 1e9  # before version 18 a part that is switched off and cannot be avoided adds ten times this to the cost

LONGER = f"SET LOCAL statement_timeout = '{LONGEST_RUN}s'"

PREPARED = "verify"


class PostgresPlanner:
    """The planner of one session. Every question first undoes what the one before has set, or broken."""

    def __init__(self, migrator: Any) -> None:
        self.migrator = migrator
        self.database = migrator.database
        self.catalog = migrator.catalog

    def check_rights(self) -> None:
        """A schema that may not be used hides its tables."""
        (rights,) = self.catalog.rows(RIGHTS)
        if not rights["may_use"]:
            role, schema = rights["role"], self.catalog.schema
            grant = f"GRANT USAGE ON SCHEMA {identifier(schema)} TO {identifier(role)}"
            raise IndexerError(f"Role {role} may not use schema {schema}.", grant)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask in one transaction that is rolled back, about tables named with their schema."""
        with self.database.manual_commit(), placed(models.TABLES, self.catalog.schema):
            self.database.begin()
            try:
                path = sendable(f"SET LOCAL search_path TO {self._path()}")
                self.database.execute_sql("; ".join((*BEGIN, path, "SAVEPOINT verify")))
                yield
            finally:
                self.database.rollback()

    def preamble(self) -> str:
        """Return the statement after which the operators are those that the planner was asked about."""
        return f"SET search_path TO {self._path()};"

    def _path(self) -> str:
        try:
            return str(self.catalog.predicates.path([table._meta.table_name for table in models.TABLES]))
        except NotUnderstood as reason:
            raise IndexerError(f"The queries cannot be asked about: {reason}.", "Then run verify again.") from None

    def children(self, tables: Mapping[str, Table]) -> list[Heir]:
        """The tables that inherit from these, in any schema."""
        found = self.migrator.children(tables)
        return [Heir(child.parent, self._named(child.schema, child.name), child.has_rows) for child in found]

    def indexes(self, tables: Mapping[str, Table]) -> dict[str, CatalogEntry]:
        """The indexes of these tables in the schema, and those of their children in any."""
        names = [row["name"] for row in self.catalog.rows(INDEXES, tables=list(tables))]
        found: dict[str, CatalogEntry] = self.catalog.find(names)
        for child in self.migrator.children(tables):
            found.update(self._indexes_of(child))
        return found

    def _indexes_of(self, child: Child) -> dict[str, CatalogEntry]:
        """The indexes of a child; they and it have their schema in their names if that is not ours."""
        table = self._named(child.schema, child.name)
        catalog = self.migrator.beside(child.schema, child.namespace).catalog
        return {
            self._named(child.schema, each.name): each._replace(definition=each.definition._replace(table=table))
            for each in catalog.indexes_on([child.name])
            if each.definition
        }

    def _named(self, schema: str, name: str) -> str:
        return name if schema == self.catalog.schema else f"{schema}.{name}"

    def read(self, question: Callable[[], T]) -> T:
        """Ask with the session's own settings."""
        with _refusing():
            self.database.execute_sql("ROLLBACK TO SAVEPOINT verify")
            return question()

    def now(self, query: Statement) -> Plan:
        """EXPLAIN, with the session's own settings."""
        return self._explain(query)

    def forced(self, query: Statement, index: Index) -> Iterator[Plan]:
        """EXPLAIN without sequential scans, then without sorts, then with the most selective index."""
        for settings in (NO_SCAN, NO_SORT):
            yield self._explain(query, settings)
        yield self._explain(query, SELECTIVE)._replace(cost=None)

    @contextmanager
    def prepared(self, query: Statement, keeping: Collection[int] = ()) -> Iterator[Statement]:
        """PREPARE is not undone by a rollback, so this ends with a DEALLOCATE whatever happens."""
        number, place = count(1), count()

        def numbered(found: re.Match[str]) -> str:
            is_parameter = found[0] == "%s" and next(place) not in keeping
            return f"${next(number)}" if is_parameter else found[0]

        text = re.sub(f"{QUOTED.pattern}|%s", numbered, query.text)
        kept = tuple(value for place, value in enumerate(query.parameters) if place in keeping)
        given = tuple(value for place, value in enumerate(query.parameters) if place not in keeping)
        self._ask(Statement(f"PREPARE {PREPARED} AS {text}", kept))
        try:
            values = f"({', '.join(['%s'] * len(given))})" if given else ""
            yield Statement(f"EXECUTE {PREPARED}{values}", given)
        finally:
            self._ask(Statement(f"DEALLOCATE {PREPARED}"))

    def cost_of_scanning(self, query: Statement) -> float | None:
        """EXPLAIN without indexes."""
        return self._explain(query, NO_INDEX).cost

    def milliseconds(self, query: Statement) -> float | None:
        """EXPLAIN ANALYZE."""
        self._ask(Statement(LONGER))  # by itself: in version 12 a timeout holds from the next message on
        try:
            explain = sendable(f"EXPLAIN (ANALYZE, FORMAT JSON) {query.text}")
            (document,) = self.database.execute_sql(explain, query.parameters).fetchone()
            return float(document[0]["Execution Time"])
        except OperationalError as error:
            if not isinstance(error.__context__, QueryCanceled):
                raise
            return None

    def written_out(self, query: Statement) -> str:
        """The text that psycopg2 sends."""
        return str(
            self.database.cursor().mogrify(sendable(query.text), query.parameters).decode("utf-8", "surrogateescape")
        )

    def _explain(self, query: Statement, settings: Sequence[str] = ()) -> Plan:
        explain = Statement(f"EXPLAIN (VERBOSE, FORMAT JSON) {query.text}", query.parameters)
        (document,) = self._ask(explain, settings).fetchone()
        root = document[0]["Plan"]
        nodes = tuple(_nodes(root))
        cost = float(root["Total Cost"])
        return Plan(
            scans=tuple(self._scan(node, of) for node, of in nodes if "Index Name" in node),
            sorts=any("Sort" in node["Node Type"] for node, _ in nodes),
            cost=cost if cost < DISABLED else None,
            whole=frozenset(self._named(of.schema, of.table) for node, of in nodes if node["Node Type"] == "Seq Scan"),
        )

    def _scan(self, node: dict[str, Any], of: _Relation) -> Scan:
        """The use of an index; columns of other tables stand in its condition with another prefix."""
        condition = re.sub(r"'(?:[^']|'')*'", "", node.get("Index Cond", ""))
        own = re.sub(rf"(?<![\w.\"]){re.escape(of.prefix)}\.", "", condition)
        columns = re.findall(r"(?<![\w.])[a-z_]\w*(?![\w.])", own)
        return Scan(self._named(of.schema, node["Index Name"]), frozenset(columns))

    def _ask(self, query: Statement, settings: Sequence[str] = ()) -> Any:
        """One round trip."""
        with _refusing():
            text = "; ".join(("ROLLBACK TO SAVEPOINT verify", *settings, sendable(query.text)))
            return self.database.execute_sql(text, query.parameters)


@contextmanager
def _refusing() -> Iterator[None]:
    """A table, a column or an operator is not there: that is an answer. A lost connection is not."""
    try:
        yield
    except (ProgrammingError, DataError) as error:
        raise Refused(str(error).splitlines()[0]) from error


class _Relation(NamedTuple):
    """The table that a part of a plan reads, and the prefix that its columns have there."""

    schema: str = ""
    table: str = ""
    prefix: str = ""


NONE = _Relation()


def _nodes(node: dict[str, Any], above: _Relation = NONE) -> Iterator[tuple[dict[str, Any], _Relation]]:
    """Each part of a plan with its table; a bitmap's is named in the part above it alone."""
    if "Relation Name" in node:
        above = _Relation(node["Schema"], node["Relation Name"], identifier(node["Alias"]))
    yield node, above
    for child in node.get("Plans", ()):
        yield from _nodes(child, above)
