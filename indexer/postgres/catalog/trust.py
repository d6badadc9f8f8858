"""The tables of a schema, and whether each can be trusted with records: its kind, its owner, what is attached to it."""

from __future__ import annotations

from typing import Any

from indexer.catalog import ORDINARY, PARTITIONED, PARTITIONED_INDEX, Table, TableTrust
from indexer.text import identifier, qualified

KINDS = {
    "r": ORDINARY,
    "p": PARTITIONED,
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "S": "sequence",
    "c": "composite type",
    "i": "index",
    "I": PARTITIONED_INDEX,
}

# Revisions are recorded in an ordinary table, and only if no role but one that we trust anyway can have created it or
# attached anything to it. main is the role that owns most of the indexed tables. For a superuser pg_has_role is true of
# every role, which must not make every role trusted.
# rows: before PostgreSQL 14 reltuples is also 0 for a table that was never counted; an empty one has nothing on disk.
TABLES = """
    WITH main AS (
         SELECT i.relowner AS owner
           FROM pg_catalog.pg_class AS i
          WHERE i.relnamespace = %(namespace)s
            AND i.relname = ANY (%(indexed)s::pg_catalog.text[])
            AND i.relkind IN ('r', 'p')
          GROUP BY i.relowner
          ORDER BY pg_catalog.count(*) DESC, i.relowner
          LIMIT 1)
    SELECT c.relname AS name,
           c.relkind::pg_catalog.text AS kind,
           s.nspname AS schema,
           pg_catalog.pg_get_userbyid(c.relowner) AS owner,
           pg_catalog.pg_has_role(c.relowner, 'USAGE') AS owned,
           pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE')
           AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable,
           pg_catalog.has_table_privilege(c.oid, 'UPDATE') AS updatable,
           pg_catalog.has_table_privilege(c.oid, 'SELECT')
           AND pg_catalog.has_table_privilege(c.oid, 'INSERT')
           AND pg_catalog.has_table_privilege(c.oid, 'UPDATE')
           AND pg_catalog.has_table_privilege(c.oid, 'DELETE') AS writable,
           CURRENT_USER::pg_catalog.text AS role,
           c.relhassubclass AND c.relkind = 'r' AS has_children,
           CASE
           WHEN c.reltuples > 0 OR c.relpages > 0 THEN NULLIF(c.reltuples, -1)::pg_catalog.int8
           WHEN c.reltuples = 0
           AND CASE WHEN %(sizes)s THEN pg_catalog.pg_relation_size(c.oid) > 0 END IS NOT TRUE THEN 0 END AS rows,
           CASE WHEN %(sizes)s THEN pg_catalog.pg_table_size(c.oid) END AS bytes,
           ARRAY (
           SELECT a.attname::pg_catalog.text
             FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = c.oid
              AND a.attnum > 0
              AND NOT a.attisdropped) AS columns,
           pg_catalog.pg_get_userbyid(main.owner) AS main_owner,
           pg_catalog.pg_has_role(main.owner, 'USAGE') AS is_ours,
           pg_catalog.current_setting('is_superuser') = 'on'
           OR pg_catalog.has_schema_privilege(main.owner, c.relnamespace, 'CREATE')
              AND pg_catalog.pg_has_role(
                      main.owner,
                      CASE WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 160000
                           THEN 'SET'
                           ELSE 'MEMBER' END) AS can_be_given,
           pg_catalog.has_table_privilege(main.owner, c.oid, 'SELECT')
           AND pg_catalog.has_table_privilege(main.owner, c.oid, 'INSERT')
           AND pg_catalog.has_table_privilege(main.owner, c.oid, 'UPDATE')
           AND pg_catalog.has_table_privilege(main.owner, c.oid, 'DELETE') AS is_shared,
           pg_catalog.pg_get_userbyid(c.relowner) = CURRENT_USER
           OR COALESCE(pg_catalog.pg_has_role(c.relowner, main.owner, 'USAGE'), false)
           OR pg_catalog.current_setting('is_superuser') <> 'on'
              AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
           OR pg_catalog.pg_has_role(c.relowner, 10, 'USAGE')  -- the role that initdb made: superusers have it
           OR c.relowner = (
              SELECT d.datdba
                FROM pg_catalog.pg_database AS d
               WHERE d.datname = pg_catalog.current_database()) AS trusted,
           CASE WHEN c.relhastriggers
                 AND c.relname <> ALL (%(indexed)s::pg_catalog.text[]) THEN (
                SELECT pg_catalog.min(t.tgname::pg_catalog.text)
                  FROM pg_catalog.pg_trigger AS t
                 WHERE t.tgrelid = c.oid
                   AND NOT t.tgisinternal
                   AND t.tgenabled <> 'D') END AS trigger,
           CASE WHEN c.relhasrules THEN (
                SELECT pg_catalog.min(w.rulename::pg_catalog.text)
                  FROM pg_catalog.pg_rewrite AS w
                 WHERE w.ev_class = c.oid) END AS rule,
           CASE WHEN c.relhastriggers
                 AND c.relname <> ALL (%(indexed)s::pg_catalog.text[]) THEN (
                SELECT pg_catalog.min(ARRAY [n.nspname::pg_catalog.text,
                                             r.relname::pg_catalog.text,
                                             k.conname::pg_catalog.text])
                  FROM pg_catalog.pg_constraint AS k
                  JOIN pg_catalog.pg_class AS r ON r.oid = k.conrelid
                  JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace
                 WHERE k.confrelid = c.oid
                   AND k.contype = 'f') END AS referrer,
           CASE WHEN c.relhassubclass THEN (
                SELECT pg_catalog.min(ARRAY [n.nspname::pg_catalog.text, r.relname::pg_catalog.text])
                  FROM pg_catalog.pg_inherits AS h
                  JOIN pg_catalog.pg_class AS r ON r.oid = h.inhrelid
                  JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace
                 WHERE h.inhparent = c.oid) END AS child,
           CASE WHEN c.relname = ANY (%(meta_tables)s::pg_catalog.text[]) THEN EXISTS (
                SELECT 1
                  FROM pg_catalog.pg_subscription_rel AS u
                 WHERE u.srrelid = c.oid) ELSE false END AS subscribed,
           c.relrowsecurity
           AND pg_catalog.row_security_active(c.oid) AS secured,
           c.relforcerowsecurity AS forced
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_namespace AS s ON s.oid = c.relnamespace
      LEFT JOIN main ON true
     WHERE s.nspname = %(schema)s::pg_catalog.text
       AND c.relname = ANY (%(names)s::pg_catalog.text[])
       AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""


def table_of(row: dict[str, Any], is_indexed: bool) -> Table:
    """Return the table of a row of TABLES; an indexed one holds no records, and has no flaw."""
    facts = {name: row[name] for name in Table._fields if name in row}
    flaw, remedy = ("", "") if is_indexed else _flaw(row)
    trust = TableTrust(
        flaw=flaw,
        remedy=remedy,
        unhiding=_unhiding(row),
        main_owner=row["main_owner"] or "",
        can_be_given=bool(row["can_be_given"]),
        is_ours=bool(row["is_ours"]),
        is_shared=row["is_shared"] is not False,
    )
    return Table(**{**facts, "kind": KINDS[row["kind"]], "columns": frozenset(row["columns"]), "trust": trust})


def _flaw(row: dict[str, Any]) -> tuple[str, str]:
    """Return the first reason not to trust a table, and the statement that removes it; both empty without any."""
    table, trigger, rule = qualified(row["schema"], row["name"]), row["trigger"] or "", row["rule"] or ""
    *referrer, constraint = row["referrer"] or [""]
    child = row["child"] or []
    kind, owner = KINDS[row["kind"]], row["owner"]
    renamed = qualified(row["schema"], f"{row['name']}_of_{owner}")
    rename = f"ALTER TABLE {table} RENAME TO {identifier(row['name'] + '_of_' + owner)}"
    given = f"if its rows can be trusted: ALTER TABLE {table} OWNER TO {identifier(row['main_owner'] or row['role'])}"
    flaws = (
        (kind != ORDINARY, f"is a {kind}", rename),
        (not row["trusted"], f"belongs to role {owner}, which does not own the tables to be indexed ({given})", rename),
        (trigger, f"has the trigger {trigger}", f"DROP TRIGGER {identifier(trigger)} ON {table}"),
        (rule, f"has the rule {rule}", f"DROP RULE {identifier(rule)} ON {table}"),
        (
            constraint,
            f"is referenced by table {qualified(*referrer)}",
            f"ALTER TABLE {qualified(*referrer)} DROP CONSTRAINT {identifier(constraint)}",
        ),
        (child, f"has the child table {qualified(*child)}", f"ALTER TABLE {qualified(*child)} NO INHERIT {table}"),
        (
            row["subscribed"],
            "is a copy that a subscription writes, which says what was done on the publisher",
            f"BEGIN; {rename}; CREATE TABLE {table} (LIKE {renamed} INCLUDING ALL); COMMIT",
        ),
        (row["secured"], f"may hide rows from role {row['role']} by row-level security", _unhiding(row)),
    )
    return next(((flaw, remedy) for has_it, flaw, remedy in flaws if has_it), ("", ""))


def _unhiding(row: dict[str, Any]) -> str:
    if not row["secured"]:
        return ""
    change = "NO FORCE" if row["forced"] and row["owned"] else "DISABLE"
    return f"ALTER TABLE {qualified(row['schema'], row['name'])} {change} ROW LEVEL SECURITY"
