"""The rows and the bytes of distributed tables: those of their shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from indexer.care.sums import total
from indexer.catalog import Table
from indexer.postgres.citus.reading import Parts, of_cluster
from indexer.postgres.session.reader import CatalogReader
from indexer.tuples import NamedTuple

# Before PostgreSQL 14 reltuples is also 0 for a table that was never counted; an empty one has nothing on disk.
ROWS_AND_BYTES = """
    SELECT c.relname AS name,
           CASE
           WHEN c.reltuples > 0 OR c.relpages > 0 THEN NULLIF(c.reltuples, -1)::pg_catalog.int8
           WHEN pg_catalog.pg_relation_size(c.oid) = 0 THEN 0 END AS rows,
           pg_catalog.pg_table_size(c.oid) AS bytes
      FROM pg_catalog.pg_class AS c
     WHERE c.relnamespace = %(namespace)s
       AND c.relkind = 'r'
       AND c.relname = ANY (%(names)s::pg_catalog.text[])
"""

INDEXES = """
    SELECT c.relname AS name,
           NULLIF(c.reltuples, -1)::pg_catalog.int8 AS rows,
           pg_catalog.pg_relation_size(c.oid) AS bytes
      FROM pg_catalog.pg_class AS c
     WHERE c.relnamespace = %(namespace)s
       AND c.relkind = 'i'
       AND c.relname = ANY (%(names)s::pg_catalog.text[])
"""


class Size(NamedTuple):
    """The rows of a table or the tuples of an index, as far as they were counted, and its bytes; None if not known."""

    rows: int | None
    bytes: int | None


UNKNOWN = Size(None, None)


def tables_of_cluster(reader: CatalogReader, tables: Mapping[str, Table], sizes: bool) -> dict[str, Table]:
    """Return these tables, the distributed ones with the rows and bytes of their shards on all nodes."""
    found = {name: Size(table.rows, table.bytes) for name, table in tables.items()}
    question = (ROWS_AND_BYTES, reader.schema, *tables)
    known = reader.recall(question, lambda: of_cluster(reader, found, list(tables), _sizes, _whole))
    return {name: _sized(table, known.get(name, UNKNOWN), sizes) for name, table in tables.items()}


def sizes_of_cluster(reader: CatalogReader, names: Sequence[str]) -> dict[str, Size]:
    """Return the sizes of these tables, of the distributed ones on all nodes; without those that are not known."""
    return of_cluster(reader, _sizes(reader, names), names, _sizes, _whole)


def _sized(table: Table, size: Size, sizes: bool) -> Table:
    return table._replace(rows=size.rows, bytes=size.bytes if sizes else None)


def _sizes(reader: CatalogReader, names: Sequence[str]) -> dict[str, Size]:
    return {row["name"]: Size(row["rows"], row["bytes"]) for row in reader.rows(ROWS_AND_BYTES, names=list(names))}


def index_sizes_of_cluster(reader: CatalogReader, names: Sequence[str]) -> dict[str, Size]:
    """Return the sizes of these indexes, of the distributed ones on all nodes; without those that are not known."""
    return of_cluster(reader, _index_sizes(reader, names), names, _index_sizes, _whole_index)


def _index_sizes(reader: CatalogReader, names: Sequence[str]) -> dict[str, Size]:
    return {row["name"]: Size(row["rows"], row["bytes"]) for row in reader.rows(INDEXES, names=list(names))}


def _whole_index(name: str, parts: Parts) -> Size:
    return Size(total(each.rows for each in parts.all), total(each.bytes for each in parts.all))


def _whole(name: str, parts: Parts) -> Size:
    """Return the size of a table; a copy has its own bytes, and the same rows."""
    return Size(total(each.rows for each in parts.shards), total(each.bytes for each in parts.all))
