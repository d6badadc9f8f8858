"""What the planner says about one query and its index, for arguments as they occur."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

from indexer.catalog import Found
from indexer.spec import Definition, Index
from proof.planner import Plan, Planner, Query, Scan
from proof.probes import Arguments, Probe

SAMPLES = 4  # arguments to try before it is said that the index is not chosen
METHODS = ("btree", "hash")  # those that serve any equality


class Evidence(NamedTuple):
    """What was found out about one query.

    Attributes:
        query: the statement, with ``arguments`` for which the index is chosen if there are any.
        passed_over: arguments for which the index is not chosen although it is for ``arguments``.
        now: the plan that the database would follow now.
        usable: can the index serve the query?
        plan: the first plan found in which it does; None if there is none, or if each has another index in its place.
        generic: can it serve the query for any arguments? None if it cannot serve at all.
        as_parameter: the same of a query that makes a parameter of what the index's predicate speaks of.
        preferred: the index of the same table in the plan that the database would follow now.
        others: other indexes that serve the query.
    """

    query: Query
    arguments: Arguments
    passed_over: tuple[Arguments, ...]
    now: Plan
    usable: bool
    plan: Plan | None
    generic: bool | None
    as_parameter: bool | None
    preferred: str | None
    others: frozenset[str]


class _Case(NamedTuple):
    """A query with one set of arguments, and the plan for it."""

    arguments: Arguments
    query: Query
    now: Plan


class Inquiry:
    """The questions to the planner of one database, whose ``indexes`` are all those of the tables asked about."""

    def __init__(self, database: Any, planner: Planner, indexes: Mapping[str, Found]) -> None:
        self.database = database
        self.planner = planner
        self.indexes = indexes

    def look_into(self, probe: Probe, index: Index, stands: bool) -> Evidence:
        """Gather the evidence about a query; the models are bound, and the planner is ready to be asked.

        A planner shows its favourite alone. Where that is another index of the table whatever is forced, one that
        ``stands`` as the revision says is only more expensive, and not unfit.
        """
        (arguments, query, now), passed_over = self._as_it_occurs(probe, index)
        plan, others, outdone = self._first_using(index, chain([now], self.planner.forced(query, index)))
        generic = self._serving_any(query, index, stands)
        # A partial index may hold the rows of these arguments and of no others.
        whole_ones = generic
        if query.constants:
            whole_ones |= self._serving_any(query, index, stands, query.constants)
        others = frozenset(name for name in others if name in whole_ones or not self._predicate(name))
        whole = index.name in whole_ones or not self._predicate(index.name)
        plan = plan if whole else None
        usable = plan is not None or (whole and stands and outdone)
        return Evidence(
            query=query,
            arguments=arguments,
            passed_over=passed_over,
            now=now,
            usable=usable,
            plan=plan,
            generic=index.name in generic if usable else None,
            as_parameter=self._as_parameter(probe, arguments, index) if usable else None,
            preferred=self._used_on(index.table, now),
            others=others | self._of_same_key(index),
        )

    def serving(self, plan: Plan, index: Index) -> frozenset[str]:
        """The indexes of a plan that do for its query what the declared one is to do.

        Such an index begins with a column that the query compares for equality, and no condition on a declared
        column needs a look into the table: each is searched for, implied by the predicate, or on a column that the
        index has as it is declared. Where the declared index is to deliver an order, nothing is sorted.
        """
        if plan.sorts and any(column.descending for column in index.key):
            return frozenset()
        return frozenset(scan.name for scan in plan.scans if self._does_the_job(scan, index))

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

    def query(self, ask: Callable[..., Any], arguments: Arguments) -> Query:
        """The statement that a question sends; it is not executed."""
        try:
            with _listening(self.database):
                ask(*arguments)
        except _Asked as asked:
            text, parameters = self.database.get_sql_context().sql(asked.query).query()
            return Query(text, tuple(parameters))
        raise AssertionError("the question was answered without a query")

    def _with_constants(self, ask: Callable[..., Any], arguments: Arguments) -> Query:
        """The statement, and which of its parameters stay as they are when something else is asked for."""
        query, other = self.query(ask, arguments), self.query(ask, tuple(map(_another, arguments)))
        pairs = enumerate(zip(query.parameters, other.parameters, strict=False))
        return query._replace(constants=frozenset(place for place, (one, two) in pairs if one == two))

    def _as_it_occurs(self, probe: Probe, index: Index) -> tuple[_Case, tuple[Arguments, ...]]:
        """A case in which the index is chosen, and the arguments tried before; if it never is, the first case."""
        cases: list[_Case] = []
        for arguments in self.planner.read(lambda: probe.sample(SAMPLES)):
            query = self._with_constants(probe.ask, arguments)
            cases.append(_Case(arguments, query, self.planner.now(query)))
            if index.name in self.serving(cases[-1].now, index):
                return cases[-1], tuple(case.arguments for case in cases[:-1])
        return cases[0], ()

    def _first_using(self, index: Index, plans: Iterable[Plan]) -> tuple[Plan | None, frozenset[str], bool]:
        """The first plan in which the index serves, the others that serve in the plans up to that, and if none does:
        has one of them another index of the table in its place?
        """
        others: frozenset[str] = frozenset()
        instead: set[str | None] = set()
        for plan in plans:
            serving = self.serving(plan, index)
            others |= serving - {index.name}
            if index.name in serving:
                return plan, others, False
            instead.add(self._used_on(index.table, plan))
        return None, others, bool(instead - {None, index.name})

    def _serving_any(
        self, query: Query, index: Index, stands: bool = False, keeping: Collection[int] = ()
    ) -> frozenset[str]:
        """The indexes that serve the query with a plan for any arguments, and any parameters but those kept."""
        with self.planner.prepared(query, keeping) as execution:
            plan, others, outdone = self._first_using(index, self.planner.forced(execution, index))
            return others | {index.name} if plan or (stands and outdone) else others

    def _as_parameter(self, probe: Probe, arguments: Arguments, index: Index) -> bool | None:
        if probe.as_parameter is None or self._predicate(index.name) is None:
            return None
        return index.name in self._serving_any(self.query(probe.as_parameter, arguments), index)

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


class _Asked(Exception):
    def __init__(self, query: Any) -> None:
        super().__init__()
        self.query = query


@contextmanager
def _listening(database: Any) -> Iterator[None]:
    """Let the database hear queries, and raise _Asked instead of executing them."""

    def listen(query: Any, **_: Any) -> None:
        raise _Asked(query)

    database.execute = listen
    try:
        yield
    finally:
        del database.execute
