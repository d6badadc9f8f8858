"""The hypertables of TimescaleDB: tables whose rows are in chunks that inherit from them, each with indexes of its own.

TimescaleDB copies each index of a hypertable to all chunks, and refuses CONCURRENTLY. Its way is to build an index in
one transaction a chunk. This is what its documentation says; no TimescaleDB was at hand to run it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from indexer.catalog import Table
from indexer.decide import CREATIONS, Action
from indexer.errors import Problem
from indexer.postgres.session.reader import CatalogReader
from indexer.text import qualified

if TYPE_CHECKING:
    from indexer.postgres.dialect import PostgresDialect
    from indexer.steps import Step

PER_CHUNK = "timescaledb.transaction_per_chunk"
RENAMING = (Action.RENAME, Action.RENAME_BACK)  # which works as on any table
LEAD = (
    "Run in autocommit as the owner; a build blocks the writers of one chunk at a time, a drop locks all chunks for a"
    " moment (or add --offline):"
)

# The table is named in a question only if it belongs to the extension, and is no view of another role.
BELONGS_TO_THE_EXTENSION = """
    SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE')
           AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable
      FROM pg_catalog.pg_extension AS e
      JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
       AND d.refobjid = e.oid
       AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
       AND d.deptype = 'e'
      JOIN pg_catalog.pg_class AS c ON c.oid = d.objid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE e.extname = 'timescaledb'
       AND n.nspname = '_timescaledb_catalog'
       AND c.relname = 'hypertable'
       AND c.relkind = 'r'
"""

HYPERTABLES = """
    SELECT h.table_name AS name
      FROM _timescaledb_catalog.hypertable AS h
     WHERE h.schema_name = %(schema)s::pg_catalog.name
       AND h.table_name = ANY (%(tables)s::pg_catalog.name[])
"""


def hypertables(catalog: CatalogReader, tables: Iterable[str]) -> set[str]:
    """Return which of these tables are hypertables; none where our role may not read the extension's catalog."""
    if not any(row["readable"] for row in catalog.rows(BELONGS_TO_THE_EXTENSION)):
        return set()
    return {row["name"] for row in catalog.rows(HYPERTABLES, tables=list(tables))}


def unchangeable(dialect: PostgresDialect, steps: Sequence[Step], tables: Mapping[str, Table]) -> list[Problem]:
    """Return a problem for each hypertable on which these steps would build or drop indexes, with TimescaleDB's way."""
    statements: dict[str, list[str]] = {}
    for step in steps:
        table = tables.get(step.index.table)
        if table and table.is_hypertable and step.changes and step.action not in RENAMING and not dialect.offline:
            statements.setdefault(table.name, []).extend(_statements(dialect, step))
    return [
        Problem(f"{qualified(dialect.catalog.schema, name)} is a hypertable, which refuses CONCURRENTLY", LEAD, each)
        for name, each in statements.items()
    ]


def _statements(dialect: PostgresDialect, step: Step) -> list[str]:
    """Return what takes a step: an index that is in the way is dropped, and the declared one built chunk by chunk."""
    drop = [dialect.drop_index_statement(step.found.name)] if step.found else []
    if step.action not in CREATIONS:
        return drop
    declared = step.declared
    if not declared.unique:  # TimescaleDB builds a unique index in one transaction only
        declared = declared._replace(storage=(*declared.storage, PER_CHUNK))
    return [*drop, dialect.create_index(step.index.name, declared)]


def remarks(schema: str | None, tables: Iterable[Table]) -> list[str]:
    """Return what is not read of the hypertables among these tables, one sentence each."""
    return [
        f"{qualified(schema, table.name)} is a hypertable of TimescaleDB: of its indexes only what is outside of the"
        " chunks is measured, checked and rebuilt here."
        for table in tables
        if table.is_hypertable
    ]
