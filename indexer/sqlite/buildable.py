"""Why an index that SQLite creates would be of no use, or would stop the application's next INSERT."""

from __future__ import annotations

from collections.abc import Iterable

from indexer.definition import Definition, Expression
from indexer.sqlite.statement import quoted_names

ROWID = {"rowid", "oid", "_rowid_"}  # a predicate can use it, an expression of a key cannot


def misspelled(definition: Definition, columns: Iterable[str]) -> str | None:
    """Return a problem if a name in double quotes is no column: SQLite takes it for a string.

    Args:
        columns: of the table; case does not matter.
    """
    known = {column.lower() for column in columns}
    used = [name for sql in _expressions(definition) for name in quoted_names(sql)]
    used += [name for name in quoted_names(definition.predicate or "") if name.lower() not in ROWID]
    unknown = next((name for name in used if name.lower() not in known), None)
    return unknown and f"no such column: {unknown}; a string is written in single quotes"


def _expressions(definition: Definition) -> list[str]:
    return [part.sql for part in definition.key if isinstance(part, Expression)]
