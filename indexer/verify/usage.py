"""What the planner says about one query and its index, for arguments as they occur."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import chain
from typing import Any, NamedTuple

from indexer.catalog import Table
from indexer.spec import Definition, Index
from indexer.verify.planner import Plan, Planner, Scan, Statement
from indexer.verify.query import Arguments, Query

SAMPLES = 4  # arguments to try before it is said that the index is not chosen
METHODS = ("btree", "hash")  # those that serve any equality


class Evidence(NamedTuple):
    """What was found out about one query.

    Attributes:
        statement: the statement, with ``arguments`` for which the index is chosen if there are any.
        passed_over: arguments for which the index is not chosen although it is for ``arguments``.
        now: the plan that the database would follow now.
        usable: can the index serve the query?
        plan: the first plan found in which it does; None if there is none, or if each has another index in its place.
        generic: can it serve the query for any arguments? None if it cannot serve at all.
        as_parameter: the same of a query that makes a parameter of what the index's predicate speaks of.
        preferred: the index of the same table in the plan that the database would follow now.
        whole: the children of the table that are read from end to end whatever is forced.
        empty: the children without rows, for whose sake ``plan`` has to sort.
        others: other indexes that serve the query.
    """

    statement: Statement
    arguments: Arguments
    passed_over: tuple[Arguments, ...]
    now: Plan
    usable: bool
    plan: Plan | None
    generic: bool | None
    as_parameter: bool | None
    preferred: str | None
    whole: frozenset[str]
    empty: frozenset[str]
    others: frozenset[str]


class _Case(NamedTuple):
    """A query with one set of arguments, and the plan for it."""

    arguments: Arguments
    statement: Statement
    now: Plan


class _Search(NamedTuple):
    """The first plan in which an index serves, and the others that serve in the plans up to that.

    If there is none: has one of them another index of the table in its place, and which children do all read whole?
    """

    plan: Plan | None
    others: frozenset[str]
    outdone: bool
    whole: frozenset[str]


class Inquiry:
    """The questions to the planner of one database about these tables; all their indexes are read at once."""

    def __init__(self, database: Any, planner: Planner, tables: Mapping[str, Table]) -> None:
        self.database = database
        self.planner = planner
        self.heirs = planner.children(tables)
        self.indexes = planner.indexes(tables)

    def look_into(self, query: Query, index: Index, stands: bool) -> Evidence:
        """Gather the evidence about a query; the models are bound, and the planner is ready to be asked.

        A planner shows its favourite alone. Where that is another index of the table whatever is forced, one that
        ``stands`` as the revision says is only more expensive, and not unfit.
        """
        (arguments, statement, now), passed_over = self._as_it_occurs(query, index)
        plan, others, outdone, whole = self._first_using(index, chain([now], self.planner.forced(statement, index)))
        generic = self._serving_any(statement, index, stands)
        # A partial index may hold the rows of these arguments and of no others.
        whole_ones = generic
        if statement.constants:
            whole_ones |= self._serving_any(statement, index, stands, statement.constants)
        others = frozenset(name for name in others if name in whole_ones or not self._predicate(name))
        for_any = index.name in whole_ones or not self._predicate(index.name)
        plan = plan if for_any else None
        usable = plan is not None or (for_any and stands and outdone)
        return Evidence(
            statement=statement,
            arguments=arguments,
            passed_over=passed_over,
            now=now,
            usable=usable,
            plan=plan,
            generic=index.name in generic if usable else None,
            as_parameter=self._as_parameter(query, arguments, index) if usable else None,
            preferred=self._used_on(index.table, now),
            whole=whole,
            empty=self.empty(index.table) if plan and plan.sorts else frozenset(),
            others=others if whole else others | self._of_same_key(index),
        )

    def serving(self, plan: Plan, index: Index) -> frozenset[str]:
        """The indexes of a plan that do for its query what the declared one is to do.

        Such an index begins with a column that the query compares for equality, and no condition on a declared
        column needs a look into the table: each is searched for, implied by the predicate, or on a column that the
        index has as it is declared. Where the declared index is to deliver an order, nothing is sorted. None serves
        while the table, or one that is read with it, is read whole. Where one has no rows yet and no index, the planner
        cannot be kept from sorting its nothing, so that a sort tells nothing there.
        """
        if plan.sorts and any(column.descending for column in index.key) and not self.empty(index.table):
            return frozenset()
        if index.table in plan.whole or self.read_whole(plan, index):
            return frozenset()
        heirs = self.children(index.table) | self.empty(index.table)
        doing = (scan.name for scan in plan.scans if self._does_the_job(scan, index))
        return frozenset(name for name in doing if self._table(name) not in heirs)

    def children(self, table: str) -> frozenset[str]:
        """The tables with rows that inherit from a table."""
        return frozenset(heir.name for heir in self.heirs if heir.parent == table and heir.has_rows)

    def empty(self, table: str) -> frozenset[str]:
        """The tables without rows that inherit from a table."""
        return frozenset(heir.name for heir in self.heirs if heir.parent == table and not heir.has_rows)

    def read_whole(self, plan: Plan, index: Index) -> frozenset[str]:
        """The children of the index's table that a plan reads whole, or by an index that is made for something else."""
        children = self.children(index.table)
        scanned = {self._table(scan.name) for scan in plan.scans}
        served = {self._table(scan.name) for scan in plan.scans if self._does_the_job(scan, index)}
        return children & (plan.whole | (scanned - served))

    def _does_the_job(self, scan: Scan, index: Index) -> bool:
        definition = self._definition(scan.name)
        if definition is None or definition.method == "brin":  # which finds blocks, each to be searched
            return False
        declared = {column.name for column in index.key}
        compared = {column.name for column in index.key if not column.descending}
        implied = declared.intersection(re.findall(r"\w+", definition.predicate or ""))
        plain = {part.removesuffix(" DESC") for part in definition.key}  # no other collation or operator class
        first = definition.key[0].split(" ")[0]
        return first in compared and declared <= scan.columns | implied | plain

    def _statement(self, select: Callable[..., Any], arguments: Arguments) -> Statement:
        """Return the statement of a query, with the parameters that stay the same whatever is asked for."""
        text, parameters = select(*arguments).sql()
        _, others = select(*map(_another, arguments)).sql()
        pairs = enumerate(zip(parameters, others, strict=False))
        return Statement(text, tuple(parameters), frozenset(place for place, (one, two) in pairs if one == two))

    def _as_it_occurs(self, query: Query, index: Index) -> tuple[_Case, tuple[Arguments, ...]]:
        """A case in which the index is chosen, and the arguments tried before; if it never is, the first case."""
        cases: list[_Case] = []
        for arguments in self.planner.read(lambda: query.sample(SAMPLES)):
            statement = self._statement(query.selected, arguments)
            cases.append(_Case(arguments, statement, self.planner.now(statement)))
            if index.name in self.serving(cases[-1].now, index):
                return cases[-1], tuple(case.arguments for case in cases[:-1])
        return cases[0], ()

    def _first_using(self, index: Index, plans: Iterable[Plan]) -> _Search:
        """Look for a plan in which the index serves."""
        others: frozenset[str] = frozenset()
        instead: set[str | None] = set()
        whole = self.children(index.table)
        for plan in plans:
            serving = self.serving(plan, index)
            others |= serving - {index.name}
            if index.name in serving:
                return _Search(plan, others, False, frozenset())
            unserved = self.read_whole(plan, index)
            whole &= unserved
            instead.add(None if unserved else self._used_on(index.table, plan))
        return _Search(None, others, bool(instead - {None, index.name}), whole)

    def _serving_any(
        self, statement: Statement, index: Index, stands: bool = False, keeping: Collection[int] = ()
    ) -> frozenset[str]:
        """The indexes that serve the query with a plan for any arguments, and any parameters but those kept."""
        with self.planner.prepared(statement, keeping) as execution:
            plan, others, outdone, _ = self._first_using(index, self.planner.forced(execution, index))
            return others | {index.name} if plan or (stands and outdone) else others

    def _as_parameter(self, query: Query, arguments: Arguments, index: Index) -> bool | None:
        if query.as_parameter is None or self._predicate(index.name) is None:
            return None
        return index.name in self._serving_any(self._statement(query.as_parameter, arguments), index)

    def _of_same_key(self, index: Index) -> frozenset[str]:
        """Other whole indexes whose key is that of the declared one, or begins with it."""
        key = tuple(map(str, index.key))
        return frozenset(
            name
            for name, found in self.indexes.items()
            if found.definition
            and found.usable
            and name != index.name
            and found.definition.table == index.table
            and found.definition.method in METHODS
            and found.definition.predicate is None
            and found.definition.key[: len(key)] == key
        )

    def _used_on(self, table: str, plan: Plan) -> str | None:
        """The first index of a table that a plan uses."""
        definitions = ((scan.name, self._definition(scan.name)) for scan in plan.scans)
        return next((name for name, definition in definitions if definition and definition.table == table), None)

    def _table(self, name: str) -> str | None:
        definition = self._definition(name)
        return definition.table if definition else None

    def _predicate(self, name: str) -> str | None:
        definition = self._definition(name)
        return definition.predicate if definition else None

    def _definition(self, name: str) -> Definition | None:
        found = self.indexes.get(name)
        return found.definition if found else None


def _another(argument: Any) -> Any:
    """A value that nobody has asked for; what is no single value stays, and stands in the text anyhow."""
    if isinstance(argument, str):
        return f"{argument}?"
    return argument + 1 if isinstance(argument, int) else argument
