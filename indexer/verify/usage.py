"""What the planner does with one query and its index, for arguments that occur in the tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Any

from indexer.catalog import Table
from indexer.definition import Definition
from indexer.query_planner import Plan, QueryPlanner, Statement
from indexer.spec import Index
from indexer.tuples import NamedTuple
from indexer.verify.query import Arguments, Query
from indexer.verify.serving import Indexes

if TYPE_CHECKING:
    from peewee import SelectBase

    from indexer.steps import Step


SAMPLES = 4  # arguments tried before the index counts as not chosen


class Case(NamedTuple):
    """A query with one set of arguments, and the plan that the database would follow now."""

    arguments: Arguments
    statement: Statement
    plan: Plan


class IndexUsage(NamedTuple):
    """What the planner does with a query and its index.

    Attributes:
        case: the first arguments for which the index is chosen, or the first of all if it never is.
        passed_over: the arguments tried before, for which it is not chosen.
        plan: the first plan, of the current one and the forced ones, in which the index serves; None if there is none.
        usable, generic, generic_as_parameter: as in the result of the query.
        cost: the cost of the plan with the index or with another one that serves.
        preferred: the index of the same table that the current plan uses.
        unserved_children: the inheriting tables, or the leaves, that are read whole whatever is forced.
        empty_children: the inheriting tables without rows because of which ``plan`` has to sort.
        others: other indexes that serve the query.
        making_redundant: those of them that serve all queries of the index.
    """

    case: Case
    passed_over: tuple[Arguments, ...]
    plan: Plan | None
    usable: bool
    generic: bool | None
    generic_as_parameter: bool | None
    cost: float | None
    preferred: str | None
    unserved_children: frozenset[str]
    empty_children: frozenset[str]
    others: frozenset[str]
    making_redundant: frozenset[str]

    @property
    def served_by(self) -> str | None:
        """Another index that serves the query, one that makes the declared index redundant if there is one."""
        return min(self.making_redundant or self.others, default=None)

    @property
    def chosen(self) -> bool:
        """Whether the database would use the index now."""
        return self.plan is self.case.plan


class _Search(NamedTuple):
    """The first of several plans in which an index serves, and the other indexes that serve up to that plan.

    If there is none, ``outdone`` says whether one of the plans uses another index of the table instead, and
    ``unserved_children`` are those that no plan serves.
    """

    plan: Plan | None
    others: frozenset[str]
    outdone: bool = False
    unserved_children: frozenset[str] = frozenset()

    def serving(self, index: Index, exists: bool) -> frozenset[str]:
        """Return the indexes that serve, the one that was searched for included if it serves or is only outdone."""
        return self.others | {index.name} if self.plan or (exists and self.outdone) else self.others


class Usages:
    """The usage of the indexes of these tables; they are read once."""

    def __init__(self, planner: QueryPlanner, tables: Mapping[str, Table], declared: Mapping[str, Definition]) -> None:
        self.planner = planner
        self.tables = tables
        self.indexes = Indexes(planner.indexes(tables), planner.children(tables), tables, declared)

    def of(self, query: Query, step: Step) -> IndexUsage:
        """Return what the planner does with a query and the index of a step, inside the planner's session.

        A planner shows only the cheapest plan. If that always has another index of the table, one that exists as
        declared is usable all the same: it is only more expensive.

        Raises:
            Refused: the query cannot be planned.
        """
        index = step.index
        case, passed_over = self._case(query, index)
        search = self._search(index, chain([case.plan], self.planner.forced_plans(case.statement, index)))
        generic = None
        if not case.plan.is_distributed:
            generic = self._serving_generic(case.statement, index, step.is_valid)
        incomplete = self._incomplete(query, case, step, generic)
        usable = index.name in search.serving(index, step.is_valid) - incomplete
        plan = search.plan if usable else None
        others = search.others - incomplete
        making_redundant = frozenset() if search.unserved_children else self.indexes.making_redundant(index)
        others |= making_redundant
        return IndexUsage(
            case=case,
            passed_over=passed_over,
            plan=plan,
            usable=usable,
            generic=index.name in generic if usable and generic is not None else None,
            generic_as_parameter=self._as_parameter(query, case, index) if usable else None,
            cost=self._cost(case, plan, index, others),
            preferred=self.indexes.used_on(index.table, case.plan),
            unserved_children=search.unserved_children,
            empty_children=self.indexes.empty_children(index.table) if plan and plan.sorts else frozenset(),
            others=others,
            making_redundant=making_redundant,
        )

    def _incomplete(self, query: Query, case: Case, step: Step, generic: frozenset[str] | None) -> frozenset[str]:
        """Return the partial indexes that may hold the rows of these arguments alone.

        Args:
            generic: the indexes that serve in a plan for any parameters; None where there is no such plan, so that
                other arguments have to tell.
        """
        index, partial = step.index, self.indexes.partial
        if generic is None:
            if not partial:
                return partial
            others = statement_of(query.selected, tuple(map(_another, case.arguments)))
            return partial - self._search(index, self.planner.forced_plans(others, index)).serving(index, step.is_valid)
        incomplete, constants = partial - generic, case.statement.constants
        if incomplete and constants:
            incomplete -= self._serving_generic(case.statement, index, step.is_valid, constants)
        return incomplete

    def _case(self, query: Query, index: Index) -> tuple[Case, tuple[Arguments, ...]]:
        """Return a case in which the index is chosen, or the first case, and the arguments passed over."""
        cases: list[Case] = []
        with self.planner.reading():
            samples = query.sample(SAMPLES)
        for arguments in samples:
            statement = statement_of(query.selected, arguments)
            cases.append(Case(arguments, statement, self.planner.plan(statement)))
            if index.name in self.indexes.serving(cases[-1].plan, index):
                return cases[-1], tuple(case.arguments for case in cases[:-1])
        return cases[0], ()

    def _search(self, index: Index, plans: Iterable[Plan]) -> _Search:
        """Search the plans for one in which the index serves."""
        others: frozenset[str] = frozenset()
        instead: set[str | None] = set()
        unserved = self.indexes.filled_children(index.table)
        for plan in plans:
            serving = self.indexes.serving(plan, index)
            others |= serving - {index.name}
            if index.name in serving:
                return _Search(plan, others)
            unserved_here = self.indexes.unserved_children(plan, index)
            unserved &= unserved_here
            if not unserved_here:
                instead.add(self.indexes.used_on(index.table, plan))
        return _Search(None, others, bool(instead - {None, index.name}), unserved)

    def _serving_generic(
        self, statement: Statement, index: Index, exists: bool = False, keeping: Collection[int] = ()
    ) -> frozenset[str]:
        """Return the indexes that serve in a plan for any parameters, except those at the positions to keep."""
        with self.planner.prepared(statement, keeping) as prepared:
            return self._search(index, self.planner.forced_plans(prepared, index)).serving(index, exists)

    def _as_parameter(self, query: Query, case: Case, index: Index) -> bool | None:
        if query.as_parameter is None or index.name not in self.indexes.partial or case.plan.is_distributed:
            return None
        return index.name in self._serving_generic(statement_of(query.as_parameter, case.arguments), index)

    def _cost(self, case: Case, plan: Plan | None, index: Index, others: frozenset[str]) -> float | None:
        if plan is None and self.indexes.serving(case.plan, index) & others:
            plan = case.plan
        return plan.cost if plan else None


def statement_of(select: Callable[..., SelectBase], arguments: Arguments) -> Statement:
    """Return the statement of a query, with the positions of the parameters that no argument changes."""
    text, parameters = select(*arguments).sql()
    _, others = select(*map(_another, arguments)).sql()
    pairs = enumerate(zip(parameters, others, strict=False))
    return Statement(text, tuple(parameters), frozenset(place for place, (one, two) in pairs if one == two))


def _another(argument: Any) -> Any:
    """Return another value of the same type; a list is part of the text, and is returned unchanged."""
    if isinstance(argument, str):
        return f"{argument}?"
    if isinstance(argument, bool):
        return not argument
    if isinstance(argument, date):
        return argument - timedelta(days=1)
    return argument + 1 if isinstance(argument, int | float | Decimal) else argument
