"""SELECTs on the catalog of one schema, by named parameters."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from indexer.catalog import META_TABLES, MOMENT
from indexer.postgres.session.database import OnlineDatabase

EXISTS = """
    SELECT 1
      FROM pg_catalog.pg_class AS c
     WHERE c.relnamespace = %(namespace)s
       AND c.relname = %(table)s
"""

T = TypeVar("T")


class CatalogReader:
    """Reads rows about one schema of one PostgreSQL database.

    Attributes:
        schema: its name; None until it is known.
        namespace: its OID; None until it is known.
        missing: the indexed tables that did not exist when the schema was found.
    """

    def __init__(
        self, database: OnlineDatabase, schema: str | None, namespace: int | None = None, is_citus: bool = False
    ) -> None:
        self.database = database
        self.schema = schema
        self.namespace = namespace
        self.missing: frozenset[str] = frozenset()
        self._is_citus: bool | None = is_citus

    @property
    def is_citus(self) -> bool:
        """Whether the database is part of a Citus cluster."""
        return bool(self._is_citus)

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of one SELECT as dictionaries; parameters are named, as in ``%(namespace)s``."""
        return self._rows(query, parameters)

    def ask(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of a SELECT that a run repeats, and that takes the server longer to plan than to execute."""
        return self._rows(query, parameters, often=True)

    def lacks(self, table: str) -> bool:
        """Return whether an indexed table does not exist; asks only if it did not when the schema was found."""
        return table in self.missing and not self.rows(EXISTS, table=table)

    def recall(self, question: object, ask: Callable[[], T]) -> T:
        """Return the answer of a moment ago to the same question about the database, else what ``ask`` returns.

        For what does not depend on other runs, and a plan asks several times, or the plan of each schema asks.
        """
        answers = self.database.answers
        for known in [known for known, (answered, _) in answers.items() if time.monotonic() - answered >= MOMENT]:
            del answers[known]
        if question not in answers:
            answer = ask()
            answers[question] = time.monotonic(), answer
        found: T = answers[question][1]
        return found

    def _rows(self, query: str, parameters: dict[str, Any], often: bool = False) -> list[dict[str, Any]]:
        known = {"schema": self.schema, "namespace": self.namespace, "meta_tables": list(META_TABLES)}
        names, rows = self.database.fetch(query, {**known, **parameters}, often)
        return [dict(zip(names, row, strict=True)) for row in rows]
