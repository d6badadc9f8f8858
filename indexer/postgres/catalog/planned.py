"""What PostgreSQL knows of indexes that do not exist yet: the statistics of their tables. SELECTs and EXPLAIN only."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from peewee import Entity, PeeweeException

from indexer.care.facts import Column
from indexer.care.sizes import NUMBERS
from indexer.definition import Column as NamedColumn
from indexer.definition import Definition, KeyPart
from indexer.postgres.expression.explain import search_path
from indexer.postgres.session.reader import CatalogReader
from indexer.predict.planned import KeyColumn, Planned

Key = TypeVar("Key", bound=Hashable)

MERGES_SINCE = 130000  # the first version whose B-trees store equal keys once
FILLFACTORS = {"hash": 75}
MOST_EXPLAINED = 100  # partitions: the planner locks each of them
SAMPLED_EACH = 300  # rows that ANALYZE looks at for each unit of the statistics target

# Before PostgreSQL 14, reltuples is 0 also for a table that was never counted; relpages is 0 then, too. The tables of a
# partitioned one are its leaves.
TABLES = """
    WITH RECURSIVE tree (name, oid, kind) AS (
         SELECT t.relname,
                t.oid,
                t.relkind
           FROM pg_catalog.pg_class AS t
          WHERE t.relnamespace = %(namespace)s
            AND t.relkind IN ('r', 'p')
            AND t.relname = ANY (%(tables)s::pg_catalog.text[])
          UNION ALL
         SELECT tree.name,
                c.oid,
                c.relkind
           FROM tree
           JOIN pg_catalog.pg_inherits AS h ON h.inhparent = tree.oid
           JOIN pg_catalog.pg_class AS c ON c.oid = h.inhrelid
          WHERE tree.kind = 'p')
    SELECT tree.name,
           l.oid::pg_catalog.int8 AS oid,
           l.relname AS leaf,
           n.nspname AS schema,
           l.relpersistence = 'p' AS is_logged,
           l.relkind <> 'f' AS has_rows,
           CASE WHEN l.reltuples > 0 OR l.relpages > 0 THEN NULLIF(l.reltuples, -1)::pg_catalog.float8 END AS rows,
           l.relpages AS pages,
           pg_catalog.pg_relation_size(l.oid) AS bytes,
           pg_catalog.current_setting('block_size')::pg_catalog.int4 AS page,
           pg_catalog.current_setting('default_statistics_target')::pg_catalog.int4 AS target
      FROM tree
      JOIN pg_catalog.pg_class AS l ON l.oid = tree.oid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = l.relnamespace
     WHERE tree.kind <> 'p'
"""

# pg_stats shows the columns that our role may read. Equal values are not stored once if they may differ in their bytes:
# numbers with a scale or a negative zero, and values made of others.
COLUMNS = """
    WITH known AS MATERIALIZED (
         SELECT s.schemaname,
                s.tablename,
                s.attname,
                s.avg_width,
                s.n_distinct,
                s.null_frac,
                s.most_common_freqs,
                s.most_common_vals
           FROM pg_catalog.pg_stats AS s
          WHERE s.schemaname = ANY (%(schemas)s::pg_catalog.text[])
            AND s.tablename = ANY (%(leaves)s::pg_catalog.text[])
            AND s.attname = ANY (%(columns)s::pg_catalog.text[])
            AND NOT s.inherited)
    SELECT a.attrelid::pg_catalog.int8 AS oid,
           a.attname AS name,
           CASE WHEN a.attlen > 0 THEN a.attlen END AS length,
           s.avg_width AS width,
           s.n_distinct AS distinct,
           s.null_frac AS nulls,
           s.most_common_freqs AS frequencies,
           w.common_width,
           w.common_tuple,
           y.typtype IN ('b', 'e')
           AND y.typelem = 0
           AND y.typname NOT IN ('numeric', 'float4', 'float8', 'jsonb', 'interval')
           AND COALESCE(o.collisdeterministic, true) AS merges
      FROM pg_catalog.pg_attribute AS a
      JOIN pg_catalog.pg_class AS t ON t.oid = a.attrelid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
      JOIN pg_catalog.pg_type AS d ON d.oid = a.atttypid
      JOIN pg_catalog.pg_type AS y ON y.oid = COALESCE(NULLIF(d.typbasetype, 0), d.oid)
      LEFT JOIN pg_catalog.pg_collation AS o ON o.oid = a.attcollation
      LEFT JOIN known AS s
             ON s.schemaname = n.nspname
            AND s.tablename = t.relname
            AND s.attname = a.attname
      LEFT JOIN LATERAL (
           SELECT pg_catalog.sum(m.frequency * (pg_catalog.octet_length(m.value) + 1))
                  / NULLIF(pg_catalog.sum(m.frequency), 0) AS common_width,
                  pg_catalog.sum(m.frequency * ((pg_catalog.octet_length(m.value) + 16) / 8 * 8))
                  / NULLIF(pg_catalog.sum(m.frequency), 0) AS common_tuple
             FROM ROWS FROM (
                      pg_catalog.unnest(s.most_common_vals::pg_catalog.text::pg_catalog.text[]),
                      pg_catalog.unnest(s.most_common_freqs)) AS m (value, frequency)
            WHERE y.typname IN ('text', 'varchar', 'bpchar')) AS w ON true
     WHERE a.attrelid = ANY (%(oids)s::pg_catalog.oid[])
       AND a.attname = ANY (%(columns)s::pg_catalog.text[])
       AND NOT a.attisdropped
"""

# The planner knows what share of the rows meets a condition. It waits for no lock.
SELECTED = """
    SET LOCAL search_path TO {path};
    SET LOCAL lock_timeout TO '100ms';
    SET LOCAL max_parallel_workers_per_gather TO 0;
    EXPLAIN (FORMAT JSON)
     SELECT
       FROM {source}
      WHERE (
{condition}
      )
"""

LOWERED = re.compile(
    r"(?:pg_catalog\.)?(?:lower|upper)\(\(?\"?(\w+)\"?\)?(?:::(?:pg_catalog\.)?text)?\)", re.IGNORECASE
)


class PostgresPlanned:
    """The planned indexes of one schema.

    Args:
        explains: whether the planner can be asked how many rows a predicate selects.
    """

    def __init__(self, reader: CatalogReader, explains: bool = True) -> None:
        self.reader = reader
        self.explains = explains

    def read(self, definitions: Mapping[Key, Definition]) -> dict[Key, list[Planned]]:
        """Return what each of these indexes will be like on each table that holds rows, by name.

        Args:
            definitions: resolved, by the name of the index, or whatever tells them apart; their tables exist.
        """
        tables = self.reader.ask(TABLES, tables=list({each.table for each in definitions.values()}))
        names = {name for each in definitions.values() for name in _columns_of(each)}
        found = self.reader.ask(
            COLUMNS,
            oids=[table["oid"] for table in tables],
            schemas=list({table["schema"] for table in tables}),
            leaves=[table["leaf"] for table in tables],
            columns=list(names),
        )
        columns = {(row.pop("oid"), row.pop("name")): _key_column(row) for row in found}
        return {
            name: self._on_tables(definition, [each for each in tables if each["name"] == definition.table], columns)
            for name, definition in definitions.items()
        }

    def _on_tables(
        self, definition: Definition, tables: Sequence[dict[str, Any]], columns: Mapping[tuple[int, str], KeyColumn]
    ) -> list[Planned]:
        leaves = [table for table in tables if table["has_rows"]]
        rows = [_rows(table) for table in leaves]
        share = self._share(definition, leaves, sum(each or 0 for each in rows)) if definition.predicate else 1.0
        return [
            self._planned(definition, table, each, share, columns) for table, each in zip(leaves, rows, strict=True)
        ]

    def _planned(
        self,
        definition: Definition,
        table: dict[str, Any],
        rows: float | None,
        share: float | None,
        columns: Mapping[tuple[int, str], KeyColumn],
    ) -> Planned:
        storage = dict(each.split("=", 1) for each in definition.storage)
        merges = storage.get("deduplicate_items", "on") in ("on", "true", "yes", "1")
        return Planned(
            table=table["leaf"],
            rows=rows,
            table_bytes=table["bytes"],
            share=share,
            columns=tuple(_described(definition, table["oid"], columns)),
            why="" if rows is not None else f"{table['leaf']} was never analyzed",
            sampled=SAMPLED_EACH * table["target"],
            method=definition.method,
            page=table["page"],
            fillfactor=int(storage.get("fillfactor", FILLFACTORS.get(definition.method, 90))),
            merges=merges and self.reader.database.server_version >= MERGES_SINCE,
            is_logged=table["is_logged"],
        )

    def _share(self, definition: Definition, leaves: Sequence[dict[str, Any]], rows: float) -> float | None:
        """Return the share of the rows that meet the predicate, as the planner estimates it; None where it cannot."""
        if not rows:
            return 1.0
        if not self.explains or len(leaves) > MOST_EXPLAINED:
            return None
        table = self._quoted(self.reader.schema, definition.table)
        is_plain = len(leaves) == 1 and leaves[0]["leaf"] == definition.table
        query = SELECTED.format(
            path=search_path(self.reader),
            source=f"ONLY {table}" if is_plain else table,
            condition=definition.predicate,
        )
        try:
            (document,) = self.reader.database.execute_sql(query.replace("%", "%%")).fetchone()
        except PeeweeException:
            return None
        return min(float(document[0]["Plan"]["Plan Rows"]) / rows, 1.0)

    def _quoted(self, *names: str | None) -> str:
        return str(self.reader.database.get_sql_context().sql(Entity(*filter(None, names))).query()[0])


def _rows(table: dict[str, Any]) -> float | None:
    """Return how many rows a table has, as the planner estimates them by its pages; None where it was never counted."""
    if not table["bytes"]:
        return 0.0
    if table["rows"] is None:
        return None
    pages = table["bytes"] / table["page"]
    return float(table["rows"] * pages / table["pages"]) if table["pages"] else float(table["rows"])


def _key_column(row: dict[str, Any]) -> KeyColumn:
    of_key = {name: row.pop(name) for name in ("common_width", "common_tuple", "merges")}
    frequencies = tuple(row.pop("frequencies") or ())
    return KeyColumn(Column(**row), frequencies, **of_key)


def _columns_of(definition: Definition) -> Iterable[str]:
    return (name for name in (*map(_column_of, definition.key), *definition.include) if name)


def _column_of(part: KeyPart) -> str | None:
    """Return the column whose values are much like those of a part of a key; None if there is none."""
    if isinstance(part, NamedColumn):
        return part.name
    lowered = LOWERED.fullmatch(part.sql)
    return lowered[1] if lowered else None


def _described(
    definition: Definition, oid: int, columns: Mapping[tuple[int, str], KeyColumn]
) -> Iterable[KeyColumn | None]:
    """Yield what is known of each column; None for an expression of which nothing is."""
    for name in map(_column_of, definition.key):
        found = columns.get((oid, name)) if name else None
        yield _as_selected(found, name, definition.predicate) if found and name else None
    for name in definition.include:
        found = columns.get((oid, name))
        yield found._replace(column=found.column._replace(is_key=False)) if found else None


def _as_selected(column: KeyColumn, name: str, predicate: str | None) -> KeyColumn:
    """Return a column as it is in the rows that a predicate selects, as far as its text tells."""
    if not predicate or re.search(r"\bOR\b", predicate, re.IGNORECASE):
        return column
    named = rf"\(?\b\"?{re.escape(name)}\"?\)?(?:::[\w. ]+)?"
    equal = re.search(rf"{named}\s*(?:=|OPERATOR\(pg_catalog\.=\))\s*'((?:[^']|'')*)'", predicate)
    is_null = re.search(rf"{named}\s+IS\s+NULL", predicate, re.IGNORECASE)
    not_null = re.search(rf"{named}\s+IS\s+NOT\s+NULL", predicate, re.IGNORECASE)
    if equal and column.column.length is None:
        width = len(equal[1].replace("''", "'").encode()) + 1
        length = None if width in NUMBERS else width  # a text is not aligned as a number of that length is
        column = column._replace(column=column.column._replace(width=width, length=length), common_width=None)
    return column._replace(is_fixed=bool(equal or is_null), is_not_null=bool(not_null))
