"""The functions of the extension pgstattuple, which read a whole index; called only where they can be trusted."""

from __future__ import annotations

from peewee import Entity, PeeweeException

from indexer.care.facts import HASH, Facts, Inside
from indexer.postgres.session.database import sendable
from indexer.postgres.session.reader import CatalogReader
from indexer.spec import BTREE
from indexer.text import reason

FUNCTIONS = {BTREE: "pgstatindex", HASH: "pgstathashindex"}
NOT_INSTALLED = "the extension pgstattuple is not installed"

# Everybody can create a function of this name: only that of the extension counts, in C (13), for a regclass.
FUNCTION = """
    SELECT n.nspname AS schema,
           pg_catalog.has_schema_privilege(n.oid, 'USAGE')
           AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE') AS is_callable,
           CURRENT_USER::pg_catalog.text AS role
      FROM pg_catalog.pg_extension AS e
      JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
       AND d.refobjid = e.oid
       AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
       AND d.deptype = 'e'
      JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
     WHERE e.extname = 'pgstattuple'
       AND p.proname = %(function)s
       AND p.prolang = 13
       AND p.pronargs = 1
       AND p.proargtypes[0] = 'pg_catalog.regclass'::pg_catalog.regtype
"""

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
    for found in reader.rows(FUNCTION, function=function):
        if not found["is_callable"]:
            return f"role {found['role']} may not call {function} of the extension pgstattuple"
        return _called(reader, facts, found["schema"], function)
    return NOT_INSTALLED


def _called(reader: CatalogReader, facts: Facts, schema: str, function: str) -> Inside | str:
    context = reader.database.get_sql_context()
    name = sendable(str(context.sql(Entity(schema, function)).query()[0]))
    index = str(reader.database.get_sql_context().sql(Entity(reader.schema, facts.name)).query()[0])
    try:
        (row,) = reader.rows(CALLS[facts.method].format(function=name), index=index)
    except PeeweeException as error:  # dropped meanwhile, or damaged
        return f"{function} fails: {reason(error)}"
    return Inside(**row)
