"""SELECTs on the catalog of one schema, by named parameters."""

from __future__ import annotations

from typing import Any

from indexer.catalog import META_TABLES
from indexer.postgres.session.database import OnlineDatabase


class CatalogReader:
    """Reads rows about one schema of one PostgreSQL database.

    Attributes:
        schema: its name; None until it is known.
        namespace: its OID; None until it is known.
    """

    def __init__(self, database: OnlineDatabase, schema: str | None, namespace: int | None = None) -> None:
        self.database = database
        self.schema = schema
        self.namespace = namespace

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of one SELECT as dictionaries; parameters are named, as in ``%(namespace)s``."""
        known = {"schema": self.schema, "namespace": self.namespace, "meta_tables": list(META_TABLES)}
        names, rows = self.database.fetch(query, {**known, **parameters})
        return [dict(zip(names, row, strict=True)) for row in rows]

    def ask(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of a SELECT that a run repeats, and that takes the server longer to plan than to execute."""
        return self.rows(self.database.prepared(query), **parameters)
