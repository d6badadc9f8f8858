"""PostgreSQL's catalog: the indexes and tables of a schema, and what would stop a change. SELECTs only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from indexer.catalog import PARTITIONED, CatalogEntry, Collation, IndexFile, LeafIndex, Measured, Table
from indexer.definition import FIRST, LAST, Column, Definition, Expression, KeyPart
from indexer.postgres.catalog.trust import KINDS, TABLES, table_of
from indexer.postgres.citus import extension, statements
from indexer.postgres.expression.meaning import Expressions
from indexer.postgres.session.database import OnlineDatabase
from indexer.postgres.session.reader import CatalogReader

# The schema of a search path that holds most of these tables, or else its first; and whether there is Citus.
SCHEMA = """
    SELECT n.nspname AS schema,
           n.oid::bigint AS namespace,
           pg_catalog.array_agg(c.relname::pg_catalog.text) FILTER (WHERE c.oid IS NOT NULL) AS existing,
           pg_catalog.array_agg(c.relname::pg_catalog.text) FILTER (WHERE c.relkind = 'p') AS partitioned,
           EXISTS (
           SELECT 1
             FROM pg_catalog.pg_extension AS e
            WHERE e.extname = 'citus') AS is_citus,
           EXISTS (
           SELECT 1
             FROM pg_catalog.pg_extension AS e
            WHERE e.extname = 'timescaledb') AS is_timescale
      FROM pg_catalog.unnest(%(path)s::pg_catalog.text[]) WITH ORDINALITY AS path (name, position)
      JOIN pg_catalog.pg_namespace AS n ON n.nspname = path.name
      LEFT JOIN pg_catalog.pg_class AS c
             ON c.relnamespace = n.oid
            AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
            AND c.relname = ANY (%(tables)s::pg_catalog.text[])
     GROUP BY n.nspname, n.oid, path.position
     ORDER BY pg_catalog.count(c.oid) DESC, path.position
     LIMIT 1
"""

HOLDING = """
    SELECT n.nspname::pg_catalog.text COLLATE pg_catalog."C" AS schema,
           pg_catalog.count(*) FILTER (WHERE c.relkind = 'r') AS ordinary
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p')
       AND c.relname = ANY (%(tables)s::pg_catalog.text[])
       AND n.nspname !~ '^pg_'
     GROUP BY n.nspname
     ORDER BY schema
"""

# The key is composed from the catalog, not read from pg_get_indexdef: only for the whole definition does that leave out
# the defaults of a column, and its text would have to be parsed.
DEFINITIONS = """
    SELECT c.relname AS name,
           c.oid::pg_catalog.int8 AS oid,
           c.relkind::pg_catalog.text AS kind,
           i.indisvalid AS valid,
           i.indisready AS ready,
           i.indislive AS live,
           CASE WHEN c.relkind = 'i' AND %(sizes)s THEN pg_catalog.pg_relation_size(c.oid) END AS bytes,
           t.relname AS table_name,
           i.indrelid::pg_catalog.int8 AS table_oid,
           CASE WHEN c.relispartition THEN (
                SELECT h.inhparent::pg_catalog.int8
                  FROM pg_catalog.pg_inherits AS h
                 WHERE h.inhrelid = c.oid) END AS attached_to,
           CASE WHEN c.relispartition THEN (
                SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.relname)
                  FROM pg_catalog.pg_inherits AS h
                  JOIN pg_catalog.pg_class AS p ON p.oid = h.inhparent
                  JOIN pg_catalog.pg_namespace AS n ON n.oid = p.relnamespace
                 WHERE h.inhrelid = c.oid) END AS part_of,
           m.amname AS method,
           i.indisunique AS is_unique,
           (
           SELECT k.conname
             FROM pg_catalog.pg_constraint AS k
            WHERE k.conrelid = i.indrelid
              AND k.conindid = c.oid
              AND k.contype IN ('p', 'u', 'x')) AS constraint_name,
           CASE WHEN i.indisreplident THEN 'REPLICA IDENTITY'
                WHEN i.indisunique THEN (
                SELECT pg_catalog.min(k.conname)::pg_catalog.text
                  FROM pg_catalog.pg_depend AS d
                  JOIN pg_catalog.pg_constraint AS k ON k.oid = d.objid
                 WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                   AND d.refobjid = c.oid
                   AND d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
                   AND k.contype = 'f') END AS needed_by,
           pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS predicate,
           COALESCE(c.reloptions, '{}'::pg_catalog.text[]) AS storage,
           COALESCE((pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AS nulls_not_distinct,
           ARRAY (
           SELECT ARRAY [
                  a.attname::pg_catalog.text,
                  CASE WHEN a.attnum IS NULL THEN pg_catalog.pg_get_indexdef(i.indexrelid, k.position, false) END,
                  (i.indoption[k.position - 1] & 3)::pg_catalog.text,
                  (
                  SELECT CASE WHEN n.nspname <> 'pg_catalog' THEN pg_catalog.quote_ident(n.nspname) || '.' ELSE '' END
                         || pg_catalog.quote_ident(o.collname)
                    FROM pg_catalog.pg_collation AS o
                    JOIN pg_catalog.pg_namespace AS n ON n.oid = o.collnamespace
                   WHERE o.oid = i.indcollation[k.position - 1]
                     AND o.oid <> COALESCE(a.attcollation, 100)),  -- 100 is the database's default
                  (
                  SELECT CASE WHEN n.nspname <> 'pg_catalog' THEN pg_catalog.quote_ident(n.nspname) || '.' ELSE '' END
                         || pg_catalog.quote_ident(p.opcname)
                         || COALESCE('(' || pg_catalog.array_to_string(x.attoptions, ', ') || ')', '')
                    FROM pg_catalog.pg_opclass AS p
                    JOIN pg_catalog.pg_namespace AS n ON n.oid = p.opcnamespace
                   WHERE p.oid = i.indclass[k.position - 1]
                     AND (NOT p.opcdefault OR x.attoptions IS NOT NULL))]
             FROM pg_catalog.generate_series(1, i.indnkeyatts) AS k (position)
             JOIN pg_catalog.pg_attribute AS x
               ON x.attrelid = i.indexrelid
              AND x.attnum = k.position
             LEFT JOIN pg_catalog.pg_attribute AS a
                    ON a.attrelid = i.indrelid
                   AND a.attnum = i.indkey[k.position - 1]
                   AND a.attnum <> 0
            ORDER BY k.position) AS key,
           ARRAY (
           SELECT a.attname::pg_catalog.text
             FROM pg_catalog.generate_series(i.indnkeyatts + 1, i.indnatts) AS k (position)
             JOIN pg_catalog.pg_attribute AS a
               ON a.attrelid = i.indrelid
              AND a.attnum = i.indkey[k.position - 1]
            ORDER BY k.position) AS include
      FROM pg_catalog.pg_class AS c
      LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
      LEFT JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
      LEFT JOIN pg_catalog.pg_am AS m ON m.oid = c.relam
"""

INDEXES = f"""{DEFINITIONS}
     WHERE c.relnamespace = %(namespace)s
"""

BY_NAME = """
       AND c.relname = ANY (%(names)s::pg_catalog.text[])
"""

UNATTACHED = """
       AND NOT c.relispartition
"""

BY_TABLE = """
       AND c.relkind IN ('i', 'I')
       AND t.relnamespace = %(namespace)s
       AND t.relname = ANY (%(tables)s::pg_catalog.text[])
     ORDER BY c.relname
"""

# Whether an index can be used, and its size: a twentieth of what the whole definition takes.
BUILT = """
    SELECT c.relname AS name,
           c.oid::pg_catalog.int8 AS oid,
           c.relkind::pg_catalog.text AS kind,
           COALESCE(i.indisvalid, false) AS valid,
           COALESCE(i.indisready, false) AS ready,
           COALESCE(i.indislive, false) AS live,
           CASE WHEN c.relkind = 'i' THEN pg_catalog.pg_relation_size(c.oid) END AS bytes,
           CASE WHEN c.relkind = 'i' THEN c.reltuples::pg_catalog.int8 END AS tuples
      FROM pg_catalog.pg_class AS c
      LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
     WHERE c.relnamespace = %(namespace)s
       AND c.relname = %(name)s
"""

# REINDEX CONCURRENTLY and DROP INDEX CONCURRENTLY lock the index as ALTER INDEX does, a plain REINDEX all of it.
FILE = """
    SELECT c.relfilenode::pg_catalog.int8 AS number,
           (
           SELECT pg_catalog.min(l.pid)
             FROM pg_catalog.pg_locks AS l
            WHERE l.locktype = 'relation'
              AND l.database = (
                  SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
              AND l.relation = c.oid
              AND l.mode IN ('ShareUpdateExclusiveLock', 'AccessExclusiveLock')
              AND l.granted
              AND l.pid <> pg_catalog.pg_backend_pid()) AS worker
      FROM pg_catalog.pg_class AS c
     WHERE c.relnamespace = %(namespace)s
       AND c.relkind = 'i'
       AND c.relname = %(name)s
"""

# A query of its own, asked only about an index that is not usable: it triples the time that planning takes.
WORKERS = """
    SELECT c.relname AS name,
           l.pid
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
      JOIN pg_catalog.pg_locks AS l ON l.relation IN (c.oid, i.indrelid)
      LEFT JOIN pg_catalog.pg_stat_progress_create_index AS b ON b.pid = l.pid
     WHERE c.relnamespace = %(namespace)s
       AND c.relname = ANY (%(names)s::pg_catalog.text[])
       AND l.locktype = 'relation'
       AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
       AND l.mode = 'ShareUpdateExclusiveLock'
       AND l.granted
       AND l.pid <> pg_catalog.pg_backend_pid()
       AND (l.relation = c.oid
            OR b.pid IS NOT NULL
               AND COALESCE(b.index_relid, c.oid) = c.oid)
"""

ANY_TABLE = """
    SELECT c.relname AS name
      FROM pg_catalog.pg_class AS c
     WHERE c.relnamespace = %(namespace)s
       AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
       AND c.relname <> ALL (%(meta_tables)s::pg_catalog.text[])
       AND NOT EXISTS (
           SELECT 1
             FROM pg_catalog.pg_depend AS d
            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
              AND d.objid = c.oid
              AND d.deptype = 'e')
     LIMIT 1
"""

SERVER = """
    SELECT pg_catalog.current_setting('server_version_num')::integer AS number,
           pg_catalog.current_setting('server_version') AS version,
           pg_catalog.pg_is_in_recovery() AS in_recovery
"""

# The tables that look like Alembic's version table, and whether the indexed tables are in the same schema.
VERSION_TABLES = """
    SELECT n.nspname AS schema,
           c.relname AS name,
           EXISTS (
           SELECT 1
             FROM pg_catalog.pg_class AS o
            WHERE o.relnamespace = c.relnamespace
              AND o.relname = ANY (%(indexed)s::pg_catalog.text[])) AS is_beside_indexed
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.relkind = 'r'
       AND c.relnatts = 1
       AND c.relpersistence = 'p'
       AND n.nspname !~ '^pg_'
       AND EXISTS (
           SELECT 1
             FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = c.oid
              AND a.attnum = 1
              AND a.attname = 'version_num'
              AND a.atttypid IN ('pg_catalog.varchar'::pg_catalog.regtype, 'pg_catalog.text'::pg_catalog.regtype))
     ORDER BY n.nspname, c.relname
"""
MOST_VERSION_TABLES = 5  # that are read

ORDERS: dict[str, tuple[bool, str | None]] = {
    "0": (False, None),
    "1": (True, LAST),
    "2": (False, FIRST),
    "3": (True, None),
}
FLAGS = ("valid", "ready", "live", "needed_by", "bytes", "oid", "attached_to", "part_of")
OLDEST_MAJOR = 12
MISSES_ROWS = range(140000, 140004)
READ_ONLY = "the session is read-only: default_transaction_read_only is on for this role, database or server"


class PostgresCatalog(CatalogReader):
    """The catalog of one schema of one PostgreSQL database.

    Attributes:
        indexed: the names of the indexed tables.
        partitioned: those of them that are partitioned tables.
    """

    def __init__(
        self,
        database: OnlineDatabase,
        schema: str | None,
        namespace: int | None = None,
        is_citus: bool | None = None,
    ) -> None:
        super().__init__(database, schema, namespace)
        self.expressions = Expressions(self)
        self.indexed: list[str] = []
        self.partitioned: frozenset[str] = frozenset()
        self._is_citus = is_citus
        self._is_timescale = False

    def settle(self, tables: Sequence[str]) -> bool:
        """Find the schema and its OID; without a name, the schema of the search path that holds most of the tables.

        Returns:
            Whether the schema exists. If none holds any of the tables, it is the first of the path.
        """
        self.indexed = list(tables)
        path = list(self.database.path) if self.schema is None else [self.schema]
        found = self.ask(SCHEMA, tables=self.indexed, path=path)
        for row in found:
            self.schema, self.namespace, self._is_citus = row["schema"], row["namespace"], row["is_citus"]
            self.missing = frozenset(self.indexed).difference(row["existing"] or ())
            self.partitioned = frozenset(row["partitioned"] or ())
            self._is_timescale = row["is_timescale"]
        return bool(found)

    def beside(self, schema: str, namespace: int) -> PostgresCatalog:
        """Return the catalog of another schema of the same database."""
        return PostgresCatalog(self.database, schema, namespace, self._is_citus)

    @property
    def is_citus(self) -> bool:
        """Whether the database is part of a Citus cluster."""
        if self._is_citus is None:
            self._is_citus = bool(self.rows(extension.EXTENSION)[0]["is_citus"])
        return self._is_citus

    def schemas_holding(self, tables: Sequence[str]) -> list[str]:
        """Return the schemas that hold any of these tables."""
        return [row["schema"] for row in self.rows(HOLDING, tables=list(tables))]

    def other_schemas(self, tables: Sequence[str]) -> list[str]:
        """Return the other schemas that hold all of these tables as ordinary ones."""
        found = self.rows(HOLDING, tables=list(tables))
        return [row["schema"] for row in found if row["ordinary"] == len(tables) and row["schema"] != self.schema]

    def find(self, names: Sequence[str], sizes: bool = False) -> dict[str, CatalogEntry]:
        """Return what has these names in the schema, by name; on Citus, what it is in the whole cluster."""
        found = self._find_here(names, sizes)
        if not (self.is_citus and names):
            return found
        from indexer.postgres.citus.cluster import complete

        return complete(self, names, found)

    def _find_here(self, names: Sequence[str], sizes: bool) -> dict[str, CatalogEntry]:
        found = self._find(names, sizes)
        unusable = [name for name, each in found.items() if not each.usable]
        if not unusable:
            return found
        workers = self.workers(unusable)
        # Once more, because a session may have finished its build between the two queries.
        again = self._find([name for name in unusable if name not in workers], sizes)
        return {**found, **again, **{name: found[name]._replace(worker=pid) for name, pid in workers.items()}}

    def built(self, name: str) -> CatalogEntry | None:
        """Return what has a name after a statement; its definition is not read, except on Citus."""
        if self.is_citus:
            return self.find([name], sizes=True).get(name)
        for row in self.ask(BUILT, name=name):
            return CatalogEntry(**{**row, "kind": KINDS.get(row["kind"], "relation")})
        return None

    def physical(self, names: Sequence[str]) -> dict[str, list[LeafIndex]]:
        """Return the physical indexes behind these: each itself, or the leaf indexes of a partitioned one."""
        from indexer.postgres.catalog.leaves import physical

        found = physical(self, names)
        if not (self._is_citus and found):
            return found
        from indexer.postgres.citus.partitions import leaves_of_cluster

        return leaves_of_cluster(self, found)

    def leaves(self, names: Sequence[str]) -> dict[str, list[LeafIndex]]:
        """Return the leaf indexes of those of these that are partitioned; asks nothing where no table is."""
        if not self.partitioned:
            return {}
        found = self.physical(names)
        return {name: leaves for name, leaves in found.items() if [leaf.label for leaf in leaves] != [name]}

    def measured(self, names: Sequence[str]) -> dict[str, Measured]:
        """Return what the valid indexes of these names are like now, by name; leaf indexes also by their labels."""
        from indexer.postgres.catalog.measured import measured

        return measured(self, names)

    def file_of(self, name: str) -> IndexFile | None:
        """Return the file of the index of this name, and who is rebuilding or dropping the index."""
        file = next((IndexFile(**row) for row in self.ask(FILE, name=name)), None)
        if file is None or not self.is_citus:
            return file
        from indexer.postgres.citus.rebuilds import file_of_cluster

        return file_of_cluster(self, name, file)

    def collations(self, names: Sequence[str]) -> dict[str, list[Collation]]:
        """Return the collations that the valid indexes of these names sort by, by name, in the order of the key."""
        from indexer.postgres.care.collations import collations_of

        return collations_of(self, names)

    def _find(self, names: Sequence[str], sizes: bool) -> dict[str, CatalogEntry]:
        rows = self.ask(INDEXES + BY_NAME, names=list(names), sizes=sizes) if names else []
        return {row["name"]: entry_of(row) for row in rows}

    def workers(self, names: Sequence[str]) -> dict[str, int]:
        """Return the process ids of the sessions that build or drop these indexes, by name."""
        if not names:
            return {}
        workers = {row["name"]: row["pid"] for row in self.rows(WORKERS, names=list(names))}
        unknown = [name for name in names if name not in workers]
        return {**workers, **statements.at_work(self, unknown)} if unknown and self.is_citus else workers

    def indexes_on(self, tables: Iterable[str]) -> list[CatalogEntry]:
        """Return all indexes of these tables, in the order of their names."""
        given = list(tables)
        found = [entry_of(row) for row in self.ask(INDEXES + BY_TABLE, tables=given, sizes=False)]
        workers = self.workers([each.name for each in found if not each.usable])
        found = [each._replace(worker=workers.get(each.name)) for each in found]
        return [*found, *self._left_on_shards(given, found)] if self.is_citus else found

    def _left_on_shards(self, tables: Sequence[str], found: Sequence[CatalogEntry]) -> list[CatalogEntry]:
        """Return what an interrupted REINDEX CONCURRENTLY left on shards, besides what was found here."""
        from indexer.leftovers import name_and_ending
        from indexer.postgres.citus.rebuilds import left_on_shards, with_workers

        names = {each.name for each in found}
        left = [each for each in left_on_shards(self, tables) if each.name not in names]
        return with_workers(left, self.workers([name_and_ending(each.name)[0] for each in left]))

    def unattached_on(self, tables: Iterable[str]) -> list[CatalogEntry]:
        """Return the indexes of these leaves, in the order of their names, that are attached to no partitioned one."""
        query = INDEXES + UNATTACHED + BY_TABLE
        found = [entry_of(row) for row in self.rows(query, tables=list(tables), sizes=False)]
        workers = self.workers([each.name for each in found if not each.usable])
        return [each._replace(worker=workers.get(each.name)) for each in found]

    def tables(self, names: Iterable[str], sizes: bool = False) -> dict[str, Table]:
        """Return the tables of these names in the schema, by name, with PostgreSQL's estimate of their rows."""
        return self.tables_in(self.schema, names, sizes)

    def tables_in(self, schema: str | None, names: Iterable[str], sizes: bool = False) -> dict[str, Table]:
        """Return the tables of these names in a schema, by name."""
        found = self.ask(TABLES, schema=schema, names=list(names), sizes=sizes, indexed=self.indexed)
        tables = {row["name"]: table_of(row, row["name"] in self.indexed) for row in found}
        if self._is_timescale and schema == self.schema:
            from indexer.postgres.timescale import hypertables

            tables.update((name, tables[name]._replace(is_hypertable=True)) for name in hypertables(self, tables))
        if self._is_citus and schema == self.schema:
            from indexer.postgres.citus.tables import tables_of_cluster

            tables = tables_of_cluster(self, tables, sizes)
        partitioned = [table.name for table in tables.values() if table.kind == PARTITIONED]
        return {**tables, **self._of_leaves(schema, partitioned, tables, sizes)} if partitioned else tables

    def _of_leaves(
        self, schema: str | None, names: Sequence[str], tables: Mapping[str, Table], sizes: bool
    ) -> dict[str, Table]:
        """Return these partitioned tables with the number, the rows and the bytes of their leaves."""
        from indexer.postgres.catalog.leaves import OF_LEAVES

        found = self.ask(OF_LEAVES, schema=schema, names=list(names), sizes=sizes)
        counted = {name: tables[name]._replace(**row) for row in found for name in [row.pop("name")]}
        if not self._is_citus or schema != self.schema:
            return counted
        from indexer.postgres.citus.partitions import tables_of_leaves

        return tables_of_leaves(self, counted.values(), sizes)

    def version_tables(self, schema: str | None, name: str) -> list[tuple[str | None, str]]:
        """Return schema and name of the first few tables that look like Alembic's, but for this one."""
        question = (VERSION_TABLES, *self.indexed)
        others = [
            row
            for row in self.recall(question, lambda: self.rows(VERSION_TABLES, indexed=self.indexed))
            if (row["schema"], row["name"]) != (schema, name)
        ]
        ours = [row for row in others if row["schema"] == self.schema]
        of_no_crm = [row for row in others if row["schema"] != self.schema and not row["is_beside_indexed"]]
        return [(row["schema"], row["name"]) for row in [*ours, *of_no_crm][:MOST_VERSION_TABLES]]

    def is_empty(self) -> bool:
        """Return whether the schema has no table but extensions' and those that record revisions."""
        return not self.rows(ANY_TABLE)

    @property
    def in_recovery(self) -> bool:
        """Whether the server is a standby."""
        return bool(self._server()["in_recovery"])

    @property
    def version(self) -> str:
        """The version of the server, such as 15.10."""
        return str(self._server()["version"]).partition(" ")[0]

    def _server(self) -> dict[str, Any]:
        (server,) = self.recall(SERVER, lambda: self.rows(SERVER))
        return server

    def problems(self) -> list[str]:
        """Return why this server, role or session cannot build indexes, one sentence each."""
        server = self._server()
        number, version = server["number"], server["version"]
        is_old, misses_rows = number < OLDEST_MAJOR * 10000, number in MISSES_ROWS
        is_read_only = self.database.is_read_only_by_default and not server["in_recovery"]
        checks = [
            (is_old, f"PostgreSQL {version} is too old: {OLDEST_MAJOR} or later shows the progress of a build"),
            (misses_rows, f"PostgreSQL {version} can miss rows in concurrent builds: update it to 14.4 or later"),
            (server["in_recovery"], "the server is a standby (in recovery): connect to the primary"),
            (is_read_only, READ_ONLY),
        ]
        of_citus = extension.problems(self, self.indexed) if self.is_citus else []
        return [*(problem for wrong, problem in checks if wrong), *of_citus]


def entry_of(row: dict[str, Any]) -> CatalogEntry:
    """Return the entry of a row of DEFINITIONS."""
    if row["table_name"] is None:
        return CatalogEntry(row["name"], KINDS.get(row["kind"], "relation"))
    definition = Definition(
        table=row["table_name"],
        method=row["method"],
        key=tuple(_part(*each) for each in row["key"]),
        unique=row["is_unique"],
        include=tuple(row["include"]),
        predicate=row["predicate"],
        constraint=row["constraint_name"],
        nulls_distinct=not row["nulls_not_distinct"],
        storage=tuple(row["storage"]),
    )
    flags = {name: row[name] for name in FLAGS}
    return CatalogEntry(row["name"], KINDS[row["kind"]], definition, **flags)


def _part(column: str | None, expression: str, flags: str, collation: str | None, opclass: str | None) -> KeyPart:
    """Return a part of a key; of the flags, 1 is descending and 2 is NULLS FIRST."""
    order = ORDERS[flags]
    if column is None:  # all but a call of a function is in parentheses
        return Expression(expression[1:-1] if expression[0] == "(" else expression, *order, collation, opclass)
    return Column(column, *order, collation, opclass)
