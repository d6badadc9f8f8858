"""The functions of the extension pgstattuple, which read a whole index; called only where they can be trusted."""

from __future__ import annotations

from peewee import Entity, PeeweeException

from indexer.care.facts import HASH, Facts, Inside
from indexer.postgres.care.extension import function_of
from indexer.postgres.session.database import sendable
from indexer.postgres.session.reader import CatalogReader
from indexer.spec import BTREE
from indexer.text import reason

FUNCTIONS = {BTREE: "pgstatindex", HASH: "pgstathashindex"}
NOT_INSTALLED = "the extension pgstattuple is not installed"

CALLS = {
    BTREE: """
    SELECT f.leaf_pages AS leaves,
           NULLIF(f.avg_leaf_density, 'NaN') / 100 AS density
      FROM {function}(%(index)s::pg_catalog.regclass) AS f
""",
    HASH: """
    SELECT f.overflow_pages AS leaves,
           f.bucket_pages AS buckets,
           f.live_items AS tuples
      FROM {function}(%(index)s::pg_catalog.regclass) AS f
""",
}


def look_inside(reader: CatalogReader, facts: Facts) -> Inside | str:
    """Return what reading a whole index tells, or why it cannot be read, as the end of a sentence."""
    if facts.method not in FUNCTIONS:
        return f"no function reads an index of the access method {facts.method}"
    function = FUNCTIONS[facts.method]
    found = function_of(reader, "pgstattuple", function, "regclass")
    if found.schema is None:
        return NOT_INSTALLED
    if not found.is_callable:
        return f"role {found.role} may not call {function} of the extension pgstattuple"
    return _called(reader, facts, found.schema, function)


def _called(reader: CatalogReader, facts: Facts, schema: str, function: str) -> Inside | str:
    context = reader.database.get_sql_context()
    name = sendable(str(context.sql(Entity(schema, function)).query()[0]))
    index = str(reader.database.get_sql_context().sql(Entity(reader.schema, facts.name)).query()[0])
    try:
        (row,) = reader.rows(CALLS[facts.method].format(function=name), index=index)
    except PeeweeException as error:  # dropped meanwhile, or damaged
        return f"{function} fails: {reason(error)}"
    return Inside(**row)
