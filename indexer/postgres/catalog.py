"""PostgreSQL's catalog: what stands under a name, which tables there are, what would stop a change. SELECTs only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from peewee import Database, Entity, ProgrammingError

from indexer.catalog import META_TABLE, ORDINARY, Found, Table
from indexer.errors import PreflightFailed
from indexer.spec import Definition, Index

KINDS = {
    "r": ORDINARY,
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "S": "sequence",
    "c": "composite type",
    "i": "index",
    "I": "partitioned index",
}

SCHEMA_OF_TABLES = """
    SELECT path.name,
           count(c.oid) AS found
      FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (name, position)
      JOIN pg_catalog.pg_namespace AS n ON n.nspname = path.name
      LEFT JOIN pg_catalog.pg_class AS c
             ON c.relnamespace = n.oid
            AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
            AND c.relname = ANY (%(tables)s::text[])
     GROUP BY path.name, path.position
     ORDER BY count(c.oid) DESC, path.position
     LIMIT 1
"""

SCHEMA_EXISTS = """
    SELECT EXISTS (
           SELECT 1
             FROM pg_catalog.pg_namespace
            WHERE nspname = %(schema)s)
"""

OTHER_SCHEMAS = """
    SELECT n.nspname
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.relkind = 'r'
       AND c.relname = ANY (%(tables)s::text[])
       AND n.nspname <> %(schema)s
       AND n.nspname !~ '^pg_'
     GROUP BY n.nspname
    HAVING count(*) = cardinality(%(tables)s::text[])
     ORDER BY n.nspname
"""

# The key is put together from the catalog, not from pg_get_indexdef: that leaves out what is a column's default
# only for the whole definition, and its text would have to be taken apart again.
FIND = """
    SELECT c.relname AS name,
           c.relkind::text AS kind,
           i.indisvalid AS valid,
           i.indisready AS ready,
           i.indislive AS live,
           CASE WHEN c.relkind = 'i' THEN pg_catalog.pg_relation_size(c.oid) END AS bytes,
           t.relname AS table_name,
           m.amname AS method,
           i.indisunique AS is_unique,
           (
           SELECT k.conname
             FROM pg_catalog.pg_constraint AS k
            WHERE k.conindid = c.oid
              AND k.contype IN ('p', 'u', 'x')) AS constraint_name,
           pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS predicate,
           COALESCE((pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AS nulls_not_distinct,
           ARRAY (
           SELECT COALESCE(a.attname::text, pg_catalog.pg_get_indexdef(i.indexrelid, k.position, true))
                  || CASE WHEN o.collname IS NULL THEN '' ELSE ' COLLATE ' || pg_catalog.quote_ident(o.collname) END
                  || CASE WHEN p.opcdefault THEN '' ELSE ' ' || p.opcname END
                  || CASE i.indoption[k.position - 1] & 3
                          WHEN 0 THEN ''
                          WHEN 1 THEN ' DESC NULLS LAST'
                          WHEN 2 THEN ' NULLS FIRST'
                          ELSE ' DESC' END
             FROM pg_catalog.generate_series(1, i.indnkeyatts) AS k (position)
             LEFT JOIN pg_catalog.pg_attribute AS a
                    ON a.attrelid = i.indrelid
                   AND a.attnum = i.indkey[k.position - 1]
                   AND a.attnum <> 0
             LEFT JOIN pg_catalog.pg_collation AS o
                    ON o.oid = i.indcollation[k.position - 1]
                   AND o.oid IS DISTINCT FROM COALESCE(a.attcollation, 100)  -- the database's default
             LEFT JOIN pg_catalog.pg_opclass AS p ON p.oid = i.indclass[k.position - 1]
            ORDER BY k.position) AS key,
           ARRAY (
           SELECT a.attname::text
             FROM pg_catalog.generate_series(i.indnkeyatts + 1, i.indnatts) AS k (position)
             JOIN pg_catalog.pg_attribute AS a
               ON a.attrelid = i.indrelid
              AND a.attnum = i.indkey[k.position - 1]
            ORDER BY k.position) AS include,
           (
           SELECT l.pid
             FROM pg_catalog.pg_locks AS l
             LEFT JOIN pg_catalog.pg_stat_progress_create_index AS b ON b.pid = l.pid
            WHERE l.locktype = 'relation'
              AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
              AND l.mode = 'ShareUpdateExclusiveLock'
              AND l.granted
              AND l.pid <> pg_catalog.pg_backend_pid()
              AND (l.relation = c.oid
                   OR l.relation = i.indrelid
                      AND b.pid IS NOT NULL
                      AND COALESCE(b.index_relid, c.oid) = c.oid)
            LIMIT 1) AS worker
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
      LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
      LEFT JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
      LEFT JOIN pg_catalog.pg_am AS m ON m.oid = c.relam
     WHERE n.nspname = %(schema)s
       AND c.relname = ANY (%(names)s::text[])
"""

TABLES = """
    SELECT c.relname AS name,
           c.relkind::text AS kind,
           pg_catalog.pg_get_userbyid(c.relowner) AS owner,
           pg_catalog.pg_has_role(c.relowner, 'USAGE') AS owned,
           pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable,
           CURRENT_USER::text AS role,
           NULLIF(c.reltuples, -1)::bigint AS rows,
           pg_catalog.pg_table_size(c.oid) AS bytes,
           ARRAY (
           SELECT a.attname::text
             FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = c.oid
              AND a.attnum > 0
              AND NOT a.attisdropped) AS columns
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname = %(schema)s
       AND c.relname = ANY (%(names)s::text[])
       AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""

IS_EMPTY = """
    SELECT NOT EXISTS (
           SELECT 1
             FROM pg_catalog.pg_class AS c
             JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            WHERE n.nspname = %(schema)s
              AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
              AND c.relname <> %(meta_table)s
              AND NOT EXISTS (
                  SELECT 1
                    FROM pg_catalog.pg_depend AS d
                   WHERE d.classid = 'pg_catalog.pg_class'::regclass
                     AND d.objid = c.oid
                     AND d.deptype = 'e'))
"""

# reset_val, because a reading command has made its own session read-only.
SERVER = """
    SELECT pg_catalog.current_setting('server_version_num')::integer AS number,
           pg_catalog.current_setting('server_version') AS version,
           pg_catalog.version() AS product,
           pg_catalog.pg_is_in_recovery() AS in_recovery,
           CURRENT_USER::text AS role,
           pg_catalog.has_schema_privilege(%(schema)s, 'CREATE') AS may_create,
           COALESCE(
           (
           SELECT pg_catalog.has_table_privilege(c.oid, 'SELECT')
                  AND pg_catalog.has_table_privilege(c.oid, 'INSERT')
                  AND pg_catalog.has_table_privilege(c.oid, 'UPDATE')
                  AND pg_catalog.has_table_privilege(c.oid, 'DELETE')
             FROM pg_catalog.pg_class AS c
             JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            WHERE n.nspname = %(schema)s
              AND c.relname = %(meta_table)s), true) AS may_record,
           (
           SELECT reset_val = 'on'
             FROM pg_catalog.pg_settings
            WHERE name = 'default_transaction_read_only') AS read_only
"""

SEQUENTIAL_SCAN = (
    "SET LOCAL enable_indexscan = off",
    "SET LOCAL enable_indexonlyscan = off",
    "SET LOCAL enable_bitmapscan = off",
    "SET LOCAL max_parallel_workers_per_gather = 0",
)

OLDEST_MAJOR = 12
MISSES_ROWS = range(140000, 140004)


class PostgresCatalog:
    """The catalog of one schema of one PostgreSQL database."""

    def __init__(self, database: Database, schema: str | None) -> None:
        self.database = database
        self.schema = schema

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of one SELECT as dictionaries; parameters are named, as in ``%(schema)s``."""
        cursor = self.database.execute_sql(query, {"schema": self.schema, "meta_table": META_TABLE, **parameters})
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def schema_of(self, tables: Sequence[str]) -> str | None:
        """The schema of the search path that holds most of these tables; the first of the path if none holds any."""
        found = self.rows(SCHEMA_OF_TABLES, tables=list(tables))
        return found[0]["name"] if found else None

    def pin_search_path(self) -> None:
        """Trust no search path from here on: whatever is not qualified can only be PostgreSQL's own."""
        self.database.execute_sql("SET search_path TO pg_catalog")

    def schema_exists(self) -> bool:
        """Is there a schema of this name?"""
        return bool(self.rows(SCHEMA_EXISTS)[0]["exists"])

    def other_schemas(self, tables: Iterable[str]) -> list[str]:
        """Schemas besides ours that hold all of these tables."""
        return [row["nspname"] for row in self.rows(OTHER_SCHEMAS, tables=list(tables))]

    def find(self, names: Sequence[str], sizes: bool = False) -> dict[str, Found]:
        """What stands under these names in the schema."""
        return {row["name"]: _found_on_postgres(row) for row in self.rows(FIND, names=list(names))}

    def tables(self, names: Iterable[str], sizes: bool = False) -> dict[str, Table]:
        """The tables of these names in the schema, with PostgreSQL's own estimate of their rows."""
        found = self.rows(TABLES, names=list(names))
        return {
            row["name"]: Table(**{**row, "kind": KINDS[row["kind"]], "columns": frozenset(row["columns"])})
            for row in found
        }

    def is_empty(self) -> bool:
        """Does the schema hold no table but our own, extensions' tables aside?"""
        return bool(self.rows(IS_EMPTY)[0]["?column?"])

    def predicate(self, index: Index) -> str | None:
        """The declared predicate as this server would print it, so that it can be compared with ``pg_get_expr``.

        The server rewrites predicates (``flag_type = 'x'`` comes back with casts). The only read-only way to its
        own rendering is the filter of a plan that may use no index. Statements of one string are one transaction,
        so the settings end with it.

        Raises:
            PreflightFailed: the role may not read the table.
        """
        if index.on_postgresql.where is None:
            return None
        table = self.database.get_sql_context().sql(Entity(self.schema, index.table)).query()[0]
        query = f"SELECT 1 FROM ONLY {table} WHERE {index.on_postgresql.where}"  # noqa: S608  quoted by peewee
        explain = f"EXPLAIN (FORMAT JSON, COSTS OFF) {query}".replace("%", "%%")
        try:
            (plan,) = self.database.execute_sql("; ".join((*SEQUENTIAL_SCAN, explain))).fetchone()
        except ProgrammingError as error:
            complaint = f"the predicate of {index.name} cannot be compared: {str(error).splitlines()[0]}"
            (row,) = self.rows("SELECT CURRENT_USER::text AS role")
            hint = f"GRANT SELECT ON {self.schema}.{index.table} TO {row['role']}"
            raise PreflightFailed([complaint], hint) from error
        return str(plan[0]["Plan"].get("Filter"))

    def complaints(self) -> list[str]:
        """Why this server, this role or this session cannot build indexes."""
        (server,) = self.rows(SERVER)
        role, schema = server["role"], self.schema
        checks = [
            (
                not server["product"].startswith("PostgreSQL") or "-YB-" in server["product"],
                f"the server is not PostgreSQL: {server['product'].split(' on ')[0]}",
            ),
            (
                server["number"] < OLDEST_MAJOR * 10000,
                f"PostgreSQL {server['version']} is too old: {OLDEST_MAJOR} is the first that shows a build's progress",
            ),
            (
                server["number"] in MISSES_ROWS,
                f"PostgreSQL {server['version']} can miss rows in concurrent builds: update it to 14.4 or later",
            ),
            (server["in_recovery"], "the server is a standby (in recovery): connect to the primary"),
            (
                server["read_only"] and not server["in_recovery"],
                "the session is read-only: default_transaction_read_only is on for this role, database or server",
            ),
            (
                not server["may_create"],
                f"role {role} may not create anything in schema {schema}: GRANT CREATE ON SCHEMA {schema} TO {role}",
            ),
            (
                not server["may_record"],
                f"role {role} may not write {schema}.{META_TABLE}, where the revisions are recorded",
            ),
        ]
        return [complaint for wrong, complaint in checks if wrong]


def _found_on_postgres(row: dict[str, Any]) -> Found:
    if row["table_name"] is None:
        return Found(row["name"], KINDS.get(row["kind"], "relation"))
    definition = Definition(
        table=row["table_name"],
        method=row["method"],
        key=tuple(row["key"]),
        unique=row["is_unique"],
        include=tuple(row["include"]),
        predicate=row["predicate"],
        constraint=row["constraint_name"],
        nulls_distinct=not row["nulls_not_distinct"],
    )
    flags = {name: row[name] for name in ("valid", "ready", "live", "worker", "bytes")}
    return Found(row["name"], KINDS[row["kind"]], definition, **flags)
