"""What ``verify`` found out about each query."""

from __future__ import annotations

from dataclasses import dataclass

from indexer.catalog import Place
from indexer.errors import Hint, NotServed
from indexer.replication import Standby


@dataclass(frozen=True)
class QueryResult:
    """Whether one query is served, and by which index.

    Attributes:
        query: the call that executes the query, as text.
        usable: whether the planner uses the index when it has to use one, and no condition on its columns is left over;
            or it always uses another index of the table, and the declared one exists.
        chosen: whether it uses the index now, for sampled arguments.
        generic: whether it uses the index in a plan made for any parameters. None if the index is not usable.
        generic_as_parameter: the same if a parameter stands for what the index's predicate compares with. None if
            there is no predicate.
        served_by: another index that serves the query as well.
        cost_with: the cost with an index, in the planner's unit.
        cost_without: the cost without any index. Both are None where the database gives no costs.
        milliseconds: how long the query took; None if it was not run, or took too long.
        fits: whether the tables have what the query reads. If not, nothing else is known.
        notes: what else to know, one sentence each.
        sql: the query with its parameters as literals.
    """

    index: str
    query: str
    usable: bool = False
    chosen: bool = False
    generic: bool | None = None
    generic_as_parameter: bool | None = None
    served_by: str | None = None
    cost_with: float | None = None
    cost_without: float | None = None
    milliseconds: float | None = None
    fits: bool = True
    notes: tuple[str | Hint, ...] = ()
    sql: str | None = None

    @property
    def served(self) -> bool:
        """Whether an index serves the query, the declared one or another."""
        return self.usable or self.served_by is not None


@dataclass(frozen=True)
class Report:
    """The results of the queries of one database, in their order.

    Attributes:
        preamble: the statement to execute before the queries in the database's own shell, if there is one.
        without_query: the declared indexes that no query is declared for.
        standby: how far the server is behind, if it is a standby.
    """

    place: Place
    results: tuple[QueryResult, ...]
    preamble: str = ""
    without_query: tuple[str, ...] = ()
    standby: Standby | None = None

    @property
    def unserved(self) -> tuple[str, ...]:
        """The indexes whose queries no index serves, each once."""
        return tuple(dict.fromkeys(result.index for result in self.results if not result.served))

    @property
    def fitting_unserved(self) -> tuple[str, ...]:
        """Those of ``unserved`` with a query that the tables fit."""
        fitting = {result.index for result in self.results if result.fits}
        return tuple(name for name in self.unserved if name in fitting)

    @property
    def exit_code(self) -> int:
        """4 if a query is not served."""
        return NotServed.exit_code if self.unserved else 0
