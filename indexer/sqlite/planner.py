"""SQLite's planner, asked with EXPLAIN QUERY PLAN; INDEXED BY holds it to one index."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from peewee import OperationalError

from indexer.catalog import CatalogEntry, Table
from indexer.errors import Command, Hint, UsageError
from indexer.spec import Index
from indexer.verify.planner import Heir, Plan, Refused, Scan, Statement

T = TypeVar("T")

INDEXES = """
    SELECT l.name
      FROM json_each(?) AS t
      JOIN pragma_index_list(t.value) AS l
"""

USE = re.compile(r"(?:SEARCH|SCAN) .*?USING (?:COVERING )?INDEX (?P<name>.*?)(?: \((?P<condition>.*)\))?$")
NO_SUCH_PLAN = ("no query solution", "no such index")


class SqlitePlanner:
    """The planner of one file. It tells no costs."""

    def __init__(self, migrator: Any) -> None:
        self.database = migrator.database
        self.catalog = migrator.catalog

    def check_rights(self) -> None:
        """Who has opened a file may read it."""

    @contextmanager
    def asking(self) -> Iterator[None]:
        """EXPLAIN QUERY PLAN leaves nothing behind."""
        yield

    def preamble(self) -> str:
        """A file has no schemas."""
        return ""

    def children(self, tables: Mapping[str, Table]) -> list[Heir]:
        """No table inherits from another."""
        return []

    def indexes(self, tables: Mapping[str, Table]) -> dict[str, CatalogEntry]:
        """The indexes of these tables in the file."""
        names = [name for (name,) in self.catalog.rows(INDEXES, json.dumps(sorted(tables)))]
        found: dict[str, CatalogEntry] = self.catalog.find(names)
        return found

    def read(self, question: Callable[[], T]) -> T:
        """Ask."""
        with _refusing():
            return question()

    def now(self, query: Statement) -> Plan:
        """EXPLAIN QUERY PLAN."""
        with _refusing():
            steps = [row[-1] for row in self.database.execute_sql(f"EXPLAIN QUERY PLAN {query.text}", query.parameters)]
        uses = [use for use in map(USE.match, steps) if use]
        return Plan(
            scans=tuple(Scan(use["name"], _columns(use["condition"])) for use in uses),
            sorts=any("TEMP B-TREE" in step for step in steps),
        )

    def forced(self, query: Statement, index: Index) -> Iterator[Plan]:
        """The plan that uses the index, if there is one, and the one that is best for these parameters."""
        source = rf'"{index.table}" AS "t\d+"'
        text = re.sub(source, lambda found: f'{found[0]} INDEXED BY "{index.name}"', query.text)
        try:
            yield self.now(Statement(text, query.parameters))
        except Refused as error:
            if not str(error).startswith(NO_SUCH_PLAN):
                raise
        yield self.now(query)

    @contextmanager
    def prepared(self, query: Statement, keeping: Collection[int] = ()) -> Iterator[Statement]:
        """SQLite looks at parameters where a partial index is concerned; it learns nothing from NULL.

        INDEXED BY is refused before they are known, so what is kept is written into the text.
        """
        yield Statement(self._with_literals(query, keeping), (None,) * (len(query.parameters) - len(keeping)))

    def cost_of_scanning(self, query: Statement) -> float | None:
        """Not told."""
        return None

    def milliseconds(self, query: Statement) -> float | None:
        """Not told either."""
        raise UsageError(
            "SQLite has no EXPLAIN ANALYZE.", Hint("Leave out --analyze; to measure times, run: ", Command("bench"))
        )

    def written_out(self, query: Statement) -> str:
        """Each parameter as SQLite would quote it."""
        return self._with_literals(query, range(len(query.parameters)))

    def _with_literals(self, query: Statement, places: Collection[int]) -> str:
        """The text with the parameters at these places written into it."""
        numbered = enumerate(query.parameters)
        literals = (self._literal(value) if place in places else "?" for place, value in numbered)
        return re.sub(r"\?", lambda _: next(literals), query.text)

    def _literal(self, value: Any) -> str:
        return str(self.catalog.rows("SELECT quote(?)", value)[0][0])


@contextmanager
def _refusing() -> Iterator[None]:
    """A table, a column or a plan is not there: that is an answer. A locked file is not."""
    try:
        yield
    except OperationalError as error:
        if "no such" in str(error) or str(error).startswith(NO_SUCH_PLAN):
            raise Refused(str(error)) from error
        raise


def _columns(condition: str | None) -> frozenset[str]:
    return frozenset(re.findall(r"(\w+)[=<>]", condition or ""))
