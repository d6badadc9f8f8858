"""What PostgreSQL knows about indexes and their tables: sizes, statistics, counters. SELECTs that any role may run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from indexer.care.facts import Column, Facts, Inside, Statistics
from indexer.care.sums import sum_facts
from indexer.postgres.care.inside import look_inside
from indexer.postgres.catalog.leaves import by_schema
from indexer.postgres.catalog.measured import DEFINITION
from indexer.postgres.citus.reading import of_cluster
from indexer.postgres.session.reader import CatalogReader
from indexer.spec import BTREE
from indexer.text import fingerprint

if TYPE_CHECKING:
    from indexer.postgres.catalog.catalog import PostgresCatalog

MERGES_SINCE = 130000  # the first version whose B-trees store equal keys once
FILLFACTORS = {BTREE: 90, "hash": 75}

# Before PostgreSQL 14, reltuples is 0 also for a table that was never counted; relpages is 0 then, too.
FACTS = """
    SELECT c.relname AS name,
           m.amname AS method,
           pg_catalog.pg_relation_size(c.oid) AS bytes,
           pg_catalog.current_setting('block_size')::pg_catalog.int4 AS page,
           (
           SELECT o.option_value::pg_catalog.int4
             FROM pg_catalog.pg_options_to_table(c.reloptions) AS o
            WHERE o.option_name = 'fillfactor') AS fillfactor,
           i.indnatts = i.indnkeyatts
           AND NOT EXISTS (
               SELECT 1
                 FROM pg_catalog.pg_options_to_table(c.reloptions) AS o
                WHERE o.option_name = 'deduplicate_items'
                  AND NOT o.option_value::pg_catalog.bool) AS may_merge,
           i.indpred IS NOT NULL AS partial,
           i.indexprs IS NULL AND i.indpred IS NULL AS plain,
           pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1) AS server_version,
           {definition} AS definition,
           CASE WHEN c.reltuples > 0 OR c.relpages > 0 THEN NULLIF(c.reltuples, -1)::pg_catalog.int8 END AS tuples,
           c.relpages AS index_pages,
           CASE WHEN t.reltuples > 0 OR t.relpages > 0 THEN NULLIF(t.reltuples, -1)::pg_catalog.int8 END AS rows,
           t.relpages AS pages,
           pg_catalog.pg_relation_size(t.oid)
           / pg_catalog.current_setting('block_size')::pg_catalog.int4 AS pages_now,
           pg_catalog.pg_stat_get_live_tuples(t.oid) AS live,
           pg_catalog.pg_stat_get_dead_tuples(t.oid) AS dead,
           pg_catalog.pg_stat_get_mod_since_analyze(t.oid) AS modified,
           pg_catalog.timezone('UTC', GREATEST(
               pg_catalog.pg_stat_get_last_analyze_time(t.oid),
               pg_catalog.pg_stat_get_last_autoanalyze_time(t.oid))) AS analyzed_at,
           pg_catalog.timezone('UTC', GREATEST(
               pg_catalog.pg_stat_get_last_vacuum_time(t.oid),
               pg_catalog.pg_stat_get_last_autovacuum_time(t.oid))) AS vacuumed_at,
           pg_catalog.timezone('UTC', CASE
               WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.now()  -- a standby counts nothing
               ELSE GREATEST(
                   (
                   SELECT pg_catalog.pg_stat_get_db_stat_reset_time(d.oid)
                     FROM pg_catalog.pg_database AS d
                    WHERE d.datname = pg_catalog.current_database()),
                   LEAST(
                       pg_catalog.pg_stat_get_bgwriter_stat_reset_time(),
                       (SELECT a.stats_reset FROM pg_catalog.pg_stat_get_archiver() AS a)))
               END) AS counted_since
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
      JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
      JOIN pg_catalog.pg_am AS m ON m.oid = c.relam
"""
OF_NAMES = """
     WHERE c.relnamespace = %(namespace)s
       AND c.relkind = 'i'
       AND c.relname = ANY (%(names)s::pg_catalog.text[])
       AND i.indisvalid
       AND i.indisready
       AND i.indislive
"""

# pg_stats shows the columns that our role may read; those of an expression have the name that the index gives it.
COLUMNS = """
    SELECT c.relname AS name,
           NULLIF(x.attlen, -1) AS length,
           s.avg_width AS width,
           s.n_distinct AS distinct,
           s.null_frac AS nulls,
           s.most_common_freqs[1] AS commonest,
           x.attnum <= i.indnkeyatts AS is_key
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
      JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
      JOIN pg_catalog.pg_attribute AS x ON x.attrelid = c.oid
      LEFT JOIN pg_catalog.pg_attribute AS a
             ON a.attrelid = t.oid
            AND a.attnum = i.indkey[x.attnum - 1]
            AND a.attnum <> 0
      LEFT JOIN pg_catalog.pg_stats AS s
             ON s.schemaname = n.nspname
            AND s.tablename = CASE WHEN a.attnum IS NULL THEN c.relname ELSE t.relname END
            AND s.attname = COALESCE(a.attname, x.attname)
            AND NOT s.inherited
"""
COLUMNS_OF_NAMES = """
     WHERE c.relnamespace = %(namespace)s
       AND c.relname = ANY (%(names)s::pg_catalog.text[])
       AND x.attnum > 0
     ORDER BY c.relname, x.attnum
"""


class PostgresFacts:
    """The facts of the indexes of one schema, and of leaf indexes in any."""

    def __init__(self, catalog: PostgresCatalog) -> None:
        self.catalog = catalog
        self._leaves: dict[str, tuple[CatalogReader, str]] = {}

    def read(self, names: Sequence[str]) -> dict[str, list[Facts]]:
        """Return the facts of the usable indexes of these names; of a partitioned one those of its leaf indexes."""
        found = {name: [facts] for name, facts in _read(self.catalog, names).items()}
        leaves = self.catalog.leaves(names)
        for reader, group in by_schema(self.catalog, chain.from_iterable(leaves.values())):
            of_leaves = _read(reader, [leaf.name for leaf in group])
            for leaf in (leaf for leaf in group if leaf.name in of_leaves):
                self._leaves[leaf.label] = reader, leaf.name
                found.setdefault(leaf.of, []).append(of_leaves[leaf.name]._replace(name=leaf.label))
        return found

    def look_inside(self, facts: Facts) -> Inside | str:
        """Read the whole index by the extension pgstattuple."""
        reader, name = self._leaves.get(facts.name, (self.catalog, facts.name))
        return look_inside(reader, facts._replace(name=name))


def _read(reader: CatalogReader, names: Sequence[str]) -> dict[str, Facts]:
    found = _stored(reader, names)
    return of_cluster(reader, found, names, _stored, lambda name, parts: sum_facts(name, parts.all))


def _stored(reader: CatalogReader, names: Sequence[str]) -> dict[str, Facts]:
    columns = groupby(reader.rows(COLUMNS + COLUMNS_OF_NAMES, names=list(names)), lambda row: row.pop("name"))
    by_name = {name: tuple(Column(**row) for row in rows) for name, rows in columns}
    rows = reader.rows((FACTS + OF_NAMES).format(definition=DEFINITION), names=list(names))
    return {row["name"]: _facts(reader, row, by_name[row["name"]]) for row in rows}


def _facts(reader: CatalogReader, row: dict[str, Any], columns: tuple[Column, ...]) -> Facts:
    statistics = Statistics(**{field: row.pop(field) for field in Statistics._fields})
    is_merging = row["method"] == BTREE and reader.database.server_version >= MERGES_SINCE
    return Facts(
        fillfactor=row.pop("fillfactor") or FILLFACTORS.get(row["method"], 90),
        merges=row.pop("may_merge") and is_merging,
        definition=fingerprint(row.pop("definition")),
        columns=columns,
        statistics=statistics,
        **row,
    )
