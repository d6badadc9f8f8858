"""What PostgreSQL would do with a query: EXPLAIN in one read-only transaction that is rolled back."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain, count
from typing import TYPE_CHECKING, Any

from peewee import DataError, Model, NotSupportedError, OperationalError, PeeweeException, ProgrammingError
from psycopg2.errors import QueryCanceled

from indexer.catalog import PARTITIONED, PARTITIONED_INDEX, CatalogEntry, Table
from indexer.errors import Command, Hint, IndexerError, NotReadable, StatementFailed
from indexer.postgres.catalog.leaves import Leaf, by_schema, leaf_tables
from indexer.postgres.expression.explain import NotUnderstood
from indexer.postgres.session.database import QUOTED, sendable
from indexer.postgres.session.server_errors import sqlstate
from indexer.postgres.session.settings import QUICK
from indexer.query_planner import LONGEST_RUN, Plan, QueryPlanner, Refused, Scan, Statement
from indexer.records.table import placed
from indexer.server import Child
from indexer.spec import Index
from indexer.text import identifier
from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.migrator import CatalogMigrator

# An application's session has none of the settings that this tool's sessions are pinned to.
BEGIN = (
    "SET TRANSACTION READ ONLY",
    *(f"SET LOCAL {name} TO DEFAULT" for name in (*QUICK, "row_security")),
    "SET LOCAL statement_timeout = '5s'",
    "SET LOCAL lock_timeout = '2s'",
)


def _switch(state: str, *kinds: str) -> tuple[str, ...]:
    return tuple(f"SET LOCAL enable_{kind} = {state}" for kind in kinds)


NO_SCAN = (
    "DISCARD PLANS",  # a prepared statement keeps its plan, whatever is set after it was made
    "SET LOCAL plan_cache_mode = force_generic_plan",
    "SET LOCAL max_parallel_workers_per_gather = 0",
    "SET LOCAL enable_seqscan = off",
)
INDEX_SCANS = ("indexscan", "indexonlyscan")
NO_SORT = (*NO_SCAN, *_switch("on", *INDEX_SCANS), *_switch("off", "sort", "hashagg"))
# On few rows all indexes cost the same. Of bitmaps with the same cost the planner takes the most selective one first.
SELECTIVE = (
    *NO_SCAN,
    *_switch("off", *INDEX_SCANS),
    *_switch("on", "bitmapscan"),
    "SET LOCAL cpu_operator_cost = 0",
    "SET LOCAL cpu_index_tuple_cost = 0",
)
NO_INDEX = (*_switch("on", "seqscan", "sort", "hashagg"), *_switch("off", *INDEX_SCANS, "bitmapscan"))
DISABLED = 1e9  # before version 18 the cost of a plan with a disabled node is ten times this and more

LONGER = f"SET LOCAL statement_timeout = '{LONGEST_RUN}s'"

PREPARED = "verify"

UNSTEADY = "Connect without a pooler, or with one that pools sessions, and run the same command again."
EXPLAINED = ("42501", "55P03")  # a missing right, a lock: their hints say more


class PostgresQueryPlanner(QueryPlanner):
    """The planner of one session. Each question first undoes the settings of the one before, or its failure."""

    def __init__(self, migrator: CatalogMigrator, models: Sequence[type[Model]]) -> None:
        super().__init__(migrator)
        self.models = models
        self._attached: dict[str, str] = {}

    def tables(self, names: Sequence[str]) -> dict[str, Table]:
        """Return the tables; raise NotReadable if our role may not use their schema and so would find none."""
        for problem in self.migrator.server.missing_rights_to_read({}):
            raise NotReadable(f"{problem[0].upper()}{problem[1:]}.", f"{problem.lead} {problem.statements[0]};")
        return super().tables(names)

    def children(self, tables: Mapping[str, Table]) -> list[Child]:
        """Return the tables that inherit from these, and the leaves of those that are partitioned, in any schema."""
        inheriting = self.migrator.server.children(tables)
        children = [child._replace(name=self._named(child.schema, child.name)) for child in inheriting]
        return [*children, *(_as_child(leaf) for leaf in self._leaves(tables))]

    def _leaves(self, tables: Mapping[str, Table]) -> list[Leaf]:
        partitioned = [table.name for table in tables.values() if table.kind == PARTITIONED]
        leaves = leaf_tables(self.catalog, partitioned) if partitioned else {}
        return list(chain.from_iterable(leaves.values()))

    def indexes(self, tables: Mapping[str, Table]) -> dict[str, CatalogEntry]:
        """Return the indexes of these tables in the schema, and those of their children in any.

        Leaf indexes that are attached to a partitioned one go by its name; the others of a leaf are its own.
        """
        found = super().indexes(tables)
        leaves = self._leaves(tables)
        if leaves:
            parents = [name for name, entry in found.items() if entry.kind == PARTITIONED_INDEX]
            attached = self.catalog.physical(parents)
            self._attached = {leaf.label: of for of, group in attached.items() for leaf in group}
        for reader, group in by_schema(self.catalog, leaves):
            there = self.migrator.dialect.beside(reader.schema, reader.namespace).catalog
            for each in there.unattached_on([leaf.name for leaf in group]):
                definition = each.definition._replace(table=self._named(str(reader.schema), each.definition.table))
                found[self._named(str(reader.schema), each.name)] = each._replace(definition=definition)
        for child in self.migrator.server.children(tables):
            table = self._named(child.schema, child.name)
            for each in self.migrator.dialect.beside(child.schema, child.namespace).catalog.indexes_on([child.name]):
                definition = each.definition._replace(table=table)
                found[self._named(child.schema, each.name)] = each._replace(definition=definition)
        return found

    def _named(self, schema: str, name: str) -> str:
        """Return the name of a table or an index in plans: with its schema, unless that is the migrator's."""
        return name if schema == self.migrator.schema else f"{schema}.{name}"

    @contextmanager
    def session(self) -> Iterator[None]:
        """Begin a read-only transaction and roll it back at the end; the models name their tables with the schema."""
        with self.database.manual_commit(), placed(self.models, self.migrator.schema):
            self.database.begin()
            try:
                path = sendable(f"SET LOCAL search_path TO {self._path}")
                self.database.execute_sql("; ".join((*BEGIN, path, "SAVEPOINT verify")))
                yield
            finally:
                self.database.rollback()

    def preamble(self) -> str:
        """Return the statement that sets the search path on which the queries were planned."""
        return f"SET search_path TO {self._path};"

    @cached_property
    def _path(self) -> str:
        """The search path on which an operator means what it means to the application."""
        try:
            return str(self.catalog.expressions.path([model._meta.table_name for model in self.models]))
        except NotUnderstood as reason:
            again = Hint("Then run again: ", Command("verify"))
            raise IndexerError(f"The queries cannot be planned: {reason}.", again) from None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read the tables under the settings of the session."""
        with refusing():
            self.database.execute_sql("ROLLBACK TO SAVEPOINT verify")
            yield

    def plan(self, statement: Statement) -> Plan:
        """Return the plan under the settings of the session."""
        return self._explain(statement)

    def forced_plans(self, statement: Statement, index: Index) -> Iterator[Plan]:
        """Yield the plans without sequential scans, then without sorts, then with the most selective index."""
        for settings in (NO_SCAN, NO_SORT):
            yield self._explain(statement, settings)
        yield self._explain(statement, SELECTIVE)._replace(cost=None)

    @contextmanager
    def prepared(self, statement: Statement, keeping: Collection[int] = ()) -> Iterator[Statement]:
        """PREPARE the statement, and DEALLOCATE it at the end: a rollback does not undo a PREPARE."""
        number, place = count(1), count()

        def numbered(found: re.Match[str]) -> str:
            is_parameter = found[0] == "%s" and next(place) not in keeping
            return f"${next(number)}" if is_parameter else found[0]

        text = re.sub(f"{QUOTED.pattern}|%s", numbered, statement.text)
        kept = tuple(value for place, value in enumerate(statement.parameters) if place in keeping)
        given = tuple(value for place, value in enumerate(statement.parameters) if place not in keeping)
        self._send(Statement(f"PREPARE {PREPARED} AS {text}", kept))
        try:
            values = f"({', '.join(['%s'] * len(given))})" if given else ""
            yield Statement(f"EXECUTE {PREPARED}{values}", given)
        finally:
            self._send(Statement(f"DEALLOCATE {PREPARED}"))

    def cost_without_indexes(self, statement: Statement) -> float | None:
        """Return the cost of the plan that uses no index."""
        return self._explain(statement, NO_INDEX).cost

    def milliseconds(self, statement: Statement) -> float | None:
        """Run EXPLAIN ANALYZE and return the execution time; None if it was stopped after LONGEST_RUN seconds."""
        self._send(Statement(LONGER))  # a separate message: in version 12 a timeout holds from the next message on
        try:
            explain = sendable(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.text}")
            (document,) = self.database.execute_sql(explain, statement.parameters).fetchone()
            return float(document[0]["Execution Time"])
        except OperationalError as error:
            if not isinstance(error.__context__, QueryCanceled):
                raise
            return None

    def literal(self, statement: Statement) -> str:
        """Return the text that psycopg2 sends."""
        sent: bytes = self.database.cursor().mogrify(sendable(statement.text), statement.parameters)
        return sent.decode("utf-8", "surrogateescape")

    def translate_error(self, error: PeeweeException) -> IndexerError:
        """Return the error to raise; unless it is a missing right or a lock, a pooler may be the reason."""
        failure = super().translate_error(error)
        if sqlstate(error) in EXPLAINED or not isinstance(failure, StatementFailed):
            return failure
        return StatementFailed(failure.message, UNSTEADY)

    def _explain(self, statement: Statement, settings: Sequence[str] = ()) -> Plan:
        explain = Statement(f"EXPLAIN (VERBOSE, FORMAT JSON) {statement.text}", statement.parameters)
        (document,) = self._send(explain, settings).fetchone()
        return self._plan(document[0]["Plan"])

    def _plan(self, root: dict[str, Any]) -> Plan:
        """Return what matters of the plan with this root."""
        return self._plan_of([root])

    def _plan_of(self, roots: Sequence[dict[str, Any]]) -> Plan:
        """Return what matters of these plans together."""
        nodes = tuple(pair for root in roots for pair in _nodes(root))
        costs = [float(root["Total Cost"]) for root in roots]
        whole = (read for node, read in nodes if node["Node Type"] == "Seq Scan")
        return Plan(
            scans=tuple(self._scan(node, read) for node, read in nodes if "Index Name" in node),
            sorts=any("Sort" in node["Node Type"] for node, _ in nodes),
            cost=sum(costs) if max(costs) < DISABLED else None,
            whole=frozenset(self._named(read.schema, read.table) for read in whole),
        )

    def _scan(self, node: dict[str, Any], read: _Relation) -> Scan:
        """Return the use of an index; columns of other tables have another prefix in its condition."""
        condition = re.sub(r"'(?:[^']|'')*'", "", node.get("Index Cond", ""))
        own = re.sub(rf"(?<![\w.\"]){re.escape(read.prefix)}\.", "", condition)
        columns = re.findall(r"(?<![\w.])[a-z_]\w*(?![\w.])", own)
        name = self._named(read.schema, node["Index Name"])
        return Scan(self._attached.get(name, name), frozenset(columns), table=self._named(read.schema, read.table))

    def _send(self, statement: Statement, settings: Sequence[str] = ()) -> Any:
        """Execute a statement under these settings, in one round trip."""
        with refusing():
            text = "; ".join(("ROLLBACK TO SAVEPOINT verify", *settings, sendable(statement.text)))
            return self.database.execute_sql(text, statement.parameters)


def _as_child(leaf: Leaf) -> Child:
    return Child(leaf.of, leaf.schema, leaf.label, leaf.namespace, "", True, leaf.has_rows, is_leaf=True)


@contextmanager
def refusing() -> Iterator[None]:
    """Raise Refused for a missing table, column or operator, or for a query that Citus cannot distribute.

    A lost connection is another error.
    """
    try:
        yield
    except NotSupportedError as error:
        raise Refused(str(error).splitlines()[0], is_unsupported=True) from error
    except (ProgrammingError, DataError) as error:
        raise Refused(str(error).splitlines()[0]) from error


class _Relation(NamedTuple):
    """The table that a node of a plan reads, and the prefix of its columns there."""

    schema: str = ""
    table: str = ""
    prefix: str = ""


NONE = _Relation()


def _nodes(node: dict[str, Any], above: _Relation = NONE) -> Iterator[tuple[dict[str, Any], _Relation]]:
    """Yield each node of a plan with the table that it reads; that of a bitmap is named in the node above it alone."""
    if "Relation Name" in node:
        above = _Relation(node["Schema"], node["Relation Name"], identifier(node["Alias"]))
    yield node, above
    for child in node.get("Plans", ()):
        yield from _nodes(child, above)
