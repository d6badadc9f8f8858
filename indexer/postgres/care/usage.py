"""What a PostgreSQL server has counted of indexes and tables, since when, and how old its statistics are. SELECTs only.

A crash loses all that was counted, even that of a single server process. It leaves the time of the start as it was, and
pg_stat_database.stats_reset NULL from PostgreSQL 15 on. But the times of the counters of the whole server begin anew,
and those of single ones can be reset: the least of them is the time since which the server counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import Any

from peewee import Entity

from indexer.care.statistics import Statistics
from indexer.care.sums import sum_index_counts, sum_statistics, sum_table_counts, total
from indexer.care.usage import IndexCounts, ServerCounts, TableCounts
from indexer.catalog import META_TABLE, Place
from indexer.postgres.catalog.catalog import PostgresCatalog
from indexer.postgres.catalog.leaves import by_schema, labelled, leaf_tables
from indexer.postgres.citus.counters import server_of_cluster
from indexer.postgres.citus.reading import Parts, of_cluster
from indexer.postgres.session.database import sendable
from indexer.postgres.session.reader import CatalogReader

COUNTS_WAL, KNOWS_LAST_SCAN = 140000, 160000

# A standby is a client without a database that streams; one that copies the files, or only the log, is none. Which of
# them our role may not see in more detail counts as one.
SERVER = """
    SELECT pg_catalog.concat(pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time())) AS identity,
           pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1) AS version,
           pg_catalog.timezone('UTC', pg_catalog.clock_timestamp()) AS now,
           pg_catalog.timezone('UTC', d.stats_reset) AS reset,
           pg_catalog.timezone('UTC', LEAST(b.stats_reset, a.stats_reset{wal})) AS started,
           pg_catalog.current_setting('track_counts')::boolean AS is_counting,
           pg_catalog.pg_is_in_recovery() AS in_recovery,
           (
           SELECT pg_catalog.count(*)
             FROM pg_catalog.pg_stat_replication AS r
             JOIN pg_catalog.pg_stat_activity AS s ON s.pid = r.pid
            WHERE s.datid IS NULL
              AND r.state IS DISTINCT FROM 'backup'
              AND r.application_name NOT IN ('pg_basebackup', 'pg_receivewal')) AS standbys
      FROM pg_catalog.pg_stat_database AS d,
           pg_catalog.pg_stat_bgwriter AS b,
           pg_catalog.pg_stat_archiver AS a
     WHERE d.datname = pg_catalog.current_database()
"""
WAL = ", (SELECT w.stats_reset FROM pg_catalog.pg_stat_wal AS w)"

INDEXES = """
    SELECT c.relname AS name,
           pg_catalog.pg_stat_get_numscans(c.oid) AS scans,
           pg_catalog.pg_stat_get_tuples_returned(c.oid) AS entries,
           pg_catalog.pg_stat_get_blocks_hit(c.oid) AS hits,
           pg_catalog.pg_stat_get_blocks_fetched(c.oid) - pg_catalog.pg_stat_get_blocks_hit(c.oid) AS reads,
           pg_catalog.timezone('UTC', {last_scan}) AS last_scan,
           CASE WHEN pg_catalog.age(x.xmin) OPERATOR(pg_catalog.<=) (
                     SELECT pg_catalog.age(d.xmin)
                       FROM pg_catalog.pg_database AS d
                      WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
                THEN pg_catalog.age(x.xmin) END AS age
      FROM pg_catalog.pg_class AS t
      JOIN pg_catalog.pg_index AS i ON i.indrelid = t.oid
      JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
      JOIN pg_catalog.pg_attribute AS x
        ON x.attrelid = c.oid
       AND x.attnum = 1
     WHERE t.relnamespace = %(namespace)s
       AND c.relkind IN ('i', 'I')
"""
OF_TABLES = """
       AND t.relname = ANY (%(tables)s::pg_catalog.text[])
"""
LAST_SCAN, NOT_KNOWN = "pg_catalog.pg_stat_get_lastscan(c.oid)", "NULL::pg_catalog.timestamptz"

TABLES = """
    SELECT t.relname AS name,
           pg_catalog.pg_stat_get_tuples_inserted(t.oid) AS inserts,
           pg_catalog.pg_stat_get_tuples_updated(t.oid) - pg_catalog.pg_stat_get_tuples_hot_updated(t.oid) AS updates
      FROM pg_catalog.pg_class AS t
     WHERE t.relnamespace = %(namespace)s
       AND t.relkind = 'r'
"""

FOREIGN_KEYS = """
    SELECT t.relname AS name,
           ARRAY (
           SELECT a.attname::pg_catalog.text
             FROM pg_catalog.unnest(k.conkey) AS u (number)
             JOIN pg_catalog.pg_attribute AS a
               ON a.attrelid = t.oid
              AND a.attnum = u.number) AS columns
      FROM pg_catalog.pg_class AS t
      JOIN pg_catalog.pg_constraint AS k ON k.conrelid = t.oid
     WHERE t.relnamespace = %(namespace)s
       AND t.relname = ANY (%(tables)s::pg_catalog.text[])
       AND k.contype = 'f'
"""

# Neither counted nor estimated, as after an upgrade, a table of ten blocks, for which the planner takes one that was
# never vacuumed, holds some rows; a smaller one may hold the remains of a transaction that was rolled back.
# pg_stats hides columns that our role may not read, and all those of a table with row-level security for it: then it is
# not known whether there are statistics.
STATISTICS = """
    SELECT t.relname AS table,
           CASE
           WHEN pg_catalog.pg_stat_get_live_tuples(t.oid) > 0 OR t.reltuples > 0
           THEN GREATEST(pg_catalog.pg_stat_get_live_tuples(t.oid), t.reltuples::pg_catalog.int8)
           WHEN pg_catalog.pg_relation_size(t.oid) < 10 * pg_catalog.current_setting('block_size')::pg_catalog.int8
                OR pg_catalog.pg_stat_get_last_analyze_time(t.oid) IS NOT NULL
                OR pg_catalog.pg_stat_get_last_autoanalyze_time(t.oid) IS NOT NULL THEN 0 END AS rows,
           CASE WHEN pg_catalog.has_table_privilege(t.oid, 'SELECT') AND NOT pg_catalog.row_security_active(t.oid)
                THEN EXISTS (
                SELECT 1
                  FROM pg_catalog.pg_stats AS s
                 WHERE s.schemaname = %(schema)s
                   AND s.tablename = t.relname) END AS exist,
           pg_catalog.timezone('UTC', GREATEST(pg_catalog.pg_stat_get_last_analyze_time(t.oid),
                                               pg_catalog.pg_stat_get_last_autoanalyze_time(t.oid))) AS analyzed_at,
           CASE WHEN NOT pg_catalog.pg_is_in_recovery() AND pg_catalog.current_setting('track_counts')::boolean
                THEN pg_catalog.pg_stat_get_mod_since_analyze(t.oid) END AS modified,
           CASE WHEN t.relhassubclass
                 AND pg_catalog.has_table_privilege(t.oid, 'SELECT')
                 AND NOT pg_catalog.row_security_active(t.oid)
                THEN EXISTS (
                SELECT 1
                  FROM pg_catalog.pg_inherits AS h
                 WHERE h.inhparent = t.oid
                   AND pg_catalog.pg_relation_size(h.inhrelid) > 0)
                AND NOT EXISTS (
                SELECT 1
                  FROM pg_catalog.pg_stats AS s
                 WHERE s.schemaname = %(schema)s
                   AND s.tablename = t.relname
                   AND s.inherited)
                ELSE false END AS lacks_inherited
      FROM pg_catalog.pg_class AS t
     WHERE t.relnamespace = %(namespace)s
       AND t.relkind = 'r'
"""

# Autovacuum never gathers those of a partitioned table as a whole, by which its joins and groups are planned. How many
# rows it had then is known since version 14.
STATISTICS_OF_PARENTS = """
    SELECT t.relname AS table,
           CASE WHEN pg_catalog.has_table_privilege(t.oid, 'SELECT') AND NOT pg_catalog.row_security_active(t.oid)
                THEN EXISTS (
                SELECT 1
                  FROM pg_catalog.pg_stats AS s
                 WHERE s.schemaname = %(schema)s
                   AND s.tablename = t.relname
                   AND s.inherited) END AS exist,
           pg_catalog.timezone('UTC', pg_catalog.pg_stat_get_last_analyze_time(t.oid)) AS analyzed_at,
           CASE WHEN t.reltuples > 0 THEN t.reltuples::pg_catalog.int8 END AS rows_then
      FROM pg_catalog.pg_class AS t
     WHERE t.relnamespace = %(namespace)s
       AND t.relkind = 'p'
"""


def counts(catalog: PostgresCatalog, place: Place, tables: Sequence[str]) -> ServerCounts:
    """Return what the server has counted of these tables and their indexes."""
    version, given = catalog.database.server_version, list(tables)
    query = SERVER.format(wal=WAL if version >= COUNTS_WAL else "")
    (server,) = catalog.rows(query)
    if catalog.is_citus:
        server = server_of_cluster(catalog, server, query)
    keys: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for row in catalog.rows(FOREIGN_KEYS, tables=given):
        keys[row["name"]].append(tuple(row["columns"]))
    indexes, written = _indexes(catalog, given), _tables(catalog, given)
    if catalog.partitioned:
        indexes, written = _with_leaves(catalog, given, indexes, written)
    return ServerCounts(
        place=place,
        **server,
        indexes=indexes,
        tables={name: each._replace(foreign_keys=tuple(keys[name])) for name, each in written.items()},
        records=_records(catalog),
    )


def _indexes(reader: CatalogReader, tables: Sequence[str]) -> dict[str, IndexCounts]:
    found = _stored_indexes(reader, tables)

    def whole(name: str, parts: Parts) -> IndexCounts:  # the transactions of each node have other numbers
        return sum_index_counts(parts.all)._replace(age=found[name].age)

    return of_cluster(reader, found, tables, _stored_indexes, whole)


def _stored_indexes(reader: CatalogReader, tables: Sequence[str]) -> dict[str, IndexCounts]:
    last_scan = LAST_SCAN if reader.database.server_version >= KNOWS_LAST_SCAN else NOT_KNOWN
    rows = reader.rows((INDEXES + OF_TABLES).format(last_scan=last_scan), tables=list(tables))
    return {row.pop("name"): IndexCounts(**row) for row in rows}


def _tables(reader: CatalogReader, tables: Sequence[str]) -> dict[str, TableCounts]:
    found = _stored_tables(reader, tables)
    return of_cluster(reader, found, tables, _stored_tables, lambda _, parts: sum_table_counts(parts.shards))


def _stored_tables(reader: CatalogReader, tables: Sequence[str]) -> dict[str, TableCounts]:
    rows = reader.rows(TABLES + OF_TABLES, tables=list(tables))
    return {row["name"]: TableCounts(row["inserts"], row["updates"]) for row in rows}


def _with_leaves(
    catalog: PostgresCatalog, tables: Sequence[str], indexes: dict[str, IndexCounts], written: dict[str, TableCounts]
) -> tuple[dict[str, IndexCounts], dict[str, TableCounts]]:
    """Return the counts with those of partitioned tables and their indexes, which are the sums of their leaves'.

    A leaf index may be younger than the partitioned one, whose age counts.
    """
    leaf_indexes, leaves = catalog.leaves(list(indexes)), leaf_tables(catalog, tables)
    of_indexes, of_tables = dict[str, IndexCounts](), dict[str, TableCounts]()
    for reader, group in by_schema(catalog, chain.from_iterable(leaves.values())):
        names = [leaf.name for leaf in group]
        of_indexes |= {
            labelled(catalog, str(reader.schema), name): each for name, each in _indexes(reader, names).items()
        }
        of_tables |= {
            labelled(catalog, str(reader.schema), name): each for name, each in _tables(reader, names).items()
        }
    for name, each_index in leaf_indexes.items():
        found = [of_indexes[leaf.label] for leaf in each_index if leaf.label in of_indexes]
        if catalog.is_citus and len(found) < len(each_index):  # a node does not answer
            del indexes[name]
            continue
        indexes[name] = sum_index_counts([indexes[name], *found])._replace(age=indexes[name].age)
    for name in catalog.partitioned & frozenset(tables):
        found_tables = [of_tables[leaf.label] for leaf in leaves.get(name, ()) if leaf.label in of_tables]
        if catalog.is_citus and len(found_tables) < len(leaves.get(name, ())):
            written.pop(name, None)
            continue
        written[name] = sum_table_counts([TableCounts(0, 0), *found_tables])
    return indexes, written


def _records(catalog: PostgresCatalog) -> dict[str, int]:
    """Return how many transactions ago each record was written; none where our role may not read them."""
    table = catalog.tables([META_TABLE]).get(META_TABLE)
    if table is None or not table.readable:
        return {}
    context = catalog.database.get_sql_context().literal("SELECT revision, pg_catalog.age(xmin) AS age FROM ")
    query = sendable(str(context.sql(Entity(catalog.schema, META_TABLE)).query()[0]))
    return {row["revision"]: row["age"] for row in catalog.rows(query)}


def statistics(catalog: PostgresCatalog, tables: Sequence[str]) -> dict[str, Statistics]:
    """Return the statistics of these tables, by name."""
    found = _of_tables(catalog, tables)
    return {**found, **_of_parents(catalog, tables)} if catalog.partitioned else found


def _of_parents(catalog: PostgresCatalog, tables: Sequence[str]) -> dict[str, Statistics]:
    """Return the statistics of those of these tables that are partitioned."""
    leaves, of_leaves = leaf_tables(catalog, tables), dict[str, Statistics]()
    for reader, group in by_schema(catalog, chain.from_iterable(leaves.values())):
        for name, each in _of_tables(reader, [leaf.name for leaf in group]).items():
            label = labelled(catalog, str(reader.schema), name)
            of_leaves[label] = each._replace(table=label)
    if catalog.is_citus:  # no node gathers statistics of the whole table
        known = {name: [of_leaves.get(leaf.label) for leaf in group] for name, group in leaves.items()}
        return {
            name: sum_statistics(name, [each for each in group if each]) for name, group in known.items() if all(group)
        }
    rows = catalog.rows(STATISTICS_OF_PARENTS + OF_TABLES, tables=list(tables))
    return {
        row["table"]: _of_parent(row, [of_leaves[leaf.label] for leaf in leaves.get(row["table"], ())]) for row in rows
    }


def _of_parent(row: dict[str, Any], leaves: Sequence[Statistics]) -> Statistics:
    """Return the statistics of a partitioned table: of what has changed in a leaf since its own, it is not told."""
    rows, modified = total([0, *(leaf.rows for leaf in leaves)]), total([0, *(leaf.modified for leaf in leaves)])
    then = row.pop("rows_then")
    difference = abs(rows - then) if rows is not None and then is not None else 0
    of_leaf = next((leaf.flaw for leaf in leaves if leaf.flaw), None)
    if modified is not None and difference > modified:
        return Statistics(**row, rows=rows, modified=difference, rows_then=then, of_leaf=of_leaf)
    return Statistics(**row, rows=rows, modified=modified, of_leaf=of_leaf)


def _of_tables(reader: CatalogReader, tables: Sequence[str]) -> dict[str, Statistics]:
    found = _stored_statistics(reader, tables)
    return of_cluster(reader, found, tables, _stored_statistics, lambda name, parts: sum_statistics(name, parts.shards))


def _stored_statistics(reader: CatalogReader, tables: Sequence[str]) -> dict[str, Statistics]:
    rows = reader.rows(STATISTICS + OF_TABLES, tables=list(tables))
    return {row["table"]: _statistics(row) for row in rows}


def _statistics(row: dict[str, Any]) -> Statistics:
    is_uncounted = row["exist"] is not False and row["analyzed_at"] is None
    lacks_inherited = row.pop("lacks_inherited")
    of_leaf = f"{row['table']} has no statistics of the rows in the tables that inherit from it"
    return Statistics(**row, is_uncounted=is_uncounted, of_leaf=of_leaf if lacks_inherited else None)
