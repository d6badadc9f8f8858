"""What SQLite would do with a query: EXPLAIN QUERY PLAN, and INDEXED BY to force an index."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from peewee import OperationalError

from indexer.errors import Command, Hint, UsageError
from indexer.query_planner import Plan, QueryPlanner, Refused, Scan, Statement
from indexer.spec import Index

USE = re.compile(r"(?:SEARCH|SCAN) .*?USING (?P<covering>COVERING )?INDEX (?P<name>.*?)(?: \((?P<condition>.*)\))?$")
NO_SUCH_PLAN = ("no query solution", "no such index")


class SqliteQueryPlanner(QueryPlanner):
    """The planner of one file. EXPLAIN QUERY PLAN leaves nothing behind, and gives no costs."""

    def reading(self) -> AbstractContextManager[None]:
        """Read the tables."""
        return _refusing()

    def plan(self, statement: Statement) -> Plan:
        """Return the plan that SQLite would follow now."""
        with _refusing():
            explain = f"EXPLAIN QUERY PLAN {statement.text}"
            steps = [row[-1] for row in self.database.execute_sql(explain, statement.parameters)]
        uses = [use for use in map(USE.match, steps) if use]
        return Plan(
            scans=tuple(Scan(use["name"], _columns(use["condition"]), bool(use["covering"])) for use in uses),
            sorts=any("TEMP B-TREE" in step for step in steps),
        )

    def forced_plans(self, statement: Statement, index: Index) -> Iterator[Plan]:
        """Yield the plan with the index, if there is one that gains by it, and the best plan for the parameters."""
        try:
            plan = self._with(statement, index, f'INDEXED BY "{index.name}"')
            if self._gains(plan, statement, index):
                yield plan
        except Refused as error:
            if not str(error).startswith(NO_SUCH_PLAN):
                raise
        yield self.plan(statement)

    def _with(self, statement: Statement, index: Index, clause: str) -> Plan:
        """Return the plan of the statement with a clause after the table of the index."""
        source = rf'"{index.table}" AS "t\d+"'
        text = re.sub(source, lambda found: f"{found[0]} {clause}", statement.text)
        return self.plan(Statement(text, statement.parameters))

    def _gains(self, plan: Plan, statement: Statement, index: Index) -> bool:
        """Return whether a plan searches the index, reads it instead of the table, or needs no sort because of it.

        SQLite would read all rows in the order of the index, too, if it has to use it.
        """
        whole = [scan for scan in plan.scans if scan.name == index.name and not scan.columns]
        if not whole or all(scan.covers for scan in whole):
            return True
        return not plan.sorts and self._with(statement, index, "NOT INDEXED").sorts

    @contextmanager
    def prepared(self, statement: Statement, keeping: Collection[int] = ()) -> Iterator[Statement]:
        """Give the statement NULL for its parameters, from which SQLite learns nothing about a partial index.

        The parameters to keep become literals, because INDEXED BY is refused before parameters are known.
        """
        unknown = (None,) * (len(statement.parameters) - len(keeping))
        yield Statement(self._with_literals(statement, keeping), unknown)

    def milliseconds(self, statement: Statement) -> float | None:
        """Raise UsageError: SQLite has no EXPLAIN ANALYZE."""
        hint = Hint("Leave out --analyze. To measure the queries: ", Command("bench"))
        raise UsageError("SQLite has no EXPLAIN ANALYZE.", hint)

    def literal(self, statement: Statement) -> str:
        """Return the statement with its parameters as SQLite quotes them."""
        return self._with_literals(statement, range(len(statement.parameters)))

    def _with_literals(self, statement: Statement, positions: Collection[int]) -> str:
        numbered = enumerate(statement.parameters)
        literals = (self._quoted(value) if position in positions else "?" for position, value in numbered)
        return re.sub(r"\?", lambda _: next(literals), statement.text)

    def _quoted(self, value: Any) -> str:
        return str(self.catalog.rows("SELECT quote(?)", value)[0][0])


@contextmanager
def _refusing() -> Iterator[None]:
    """Raise Refused for a missing table, column or plan; a locked file is another error."""
    try:
        yield
    except OperationalError as error:
        if "no such" in str(error) or str(error).startswith(NO_SUCH_PLAN):
            raise Refused(str(error)) from error
        raise


def _columns(condition: str | None) -> frozenset[str]:
    return frozenset(re.findall(r"(<expr>|\w+)[=<>]", condition or ""))
