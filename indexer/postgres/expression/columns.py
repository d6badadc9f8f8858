"""The columns of tables, their types, and the types that those are made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from indexer.postgres.session.reader import CatalogReader

COLUMNS = """
    SELECT c.relname AS table_name,
           c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}'::pg_catalog."char"[]) AS of_table,
           a.attname AS name,
           a.atttypid::pg_catalog.int8 AS type,
           pg_catalog.format_type(a.atttypid, a.atttypmod) AS type_name,
           a.attgenerated OPERATOR(pg_catalog.=) 'v' AS is_virtual,
           (
           SELECT CASE WHEN n.nspname OPERATOR(pg_catalog.=) 'pg_catalog' THEN pg_catalog.quote_ident(o.collname)
                       ELSE pg_catalog.concat(
                            pg_catalog.quote_ident(n.nspname), '.', pg_catalog.quote_ident(o.collname)) END
             FROM pg_catalog.pg_collation AS o
             JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) o.collnamespace
            WHERE o.oid OPERATOR(pg_catalog.=) a.attcollation) AS collation,
           t.typname AS bare_type,
           t.typtype::pg_catalog.text AS kind,
           t.typcategory::pg_catalog.text AS category,
           (
           SELECT pg_catalog.quote_literal(e.enumlabel)
             FROM pg_catalog.pg_enum AS e
            WHERE e.enumtypid OPERATOR(pg_catalog.=) t.oid
            ORDER BY e.enumsortorder
            LIMIT 1) AS label
      FROM pg_catalog.pg_attribute AS a
      JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) a.atttypid
      JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) a.attrelid
     WHERE c.relnamespace OPERATOR(pg_catalog.=) %(namespace)s
       AND c.relname OPERATOR(pg_catalog.=) ANY (%(tables)s::pg_catalog.text[])
       AND a.attnum OPERATOR(pg_catalog.>) 0
       AND NOT a.attisdropped
"""

# The pseudo-type that an operator class for all types of a kind is for.
ALL_OF_A_KIND = """CASE
              WHEN t.typcategory OPERATOR(pg_catalog.=) 'A' THEN 2277  -- anyarray
              WHEN t.typtype OPERATOR(pg_catalog.=) 'e' THEN 3500  -- anyenum
              WHEN t.typtype OPERATOR(pg_catalog.=) 'r' THEN 3831  -- anyrange
              WHEN t.typtype OPERATOR(pg_catalog.=) 'm' THEN 4537  -- anymultirange
              WHEN t.typtype OPERATOR(pg_catalog.=) 'c' THEN 2249  -- record
              END"""

# The types of columns, and each type that another one (whole) is made of, with the access methods that have a default
# operator class for it: one for the type itself, for a type of the same binary form, or for all types of its kind.
TYPES = f"""
      WITH RECURSIVE used (whole, part, oid) AS (
           SELECT 0::pg_catalog.oid, 'column', seed.oid
             FROM pg_catalog.unnest(%(types)s::pg_catalog.oid[]) AS seed (oid)
            UNION
           SELECT t.oid, part.kind, part.oid
             FROM used
             JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) used.oid
            CROSS JOIN LATERAL (
                  SELECT 'base', t.typbasetype
                   UNION ALL
                  SELECT 'element', t.typelem
                   WHERE t.typcategory OPERATOR(pg_catalog.=) 'A'
                   UNION ALL
                  SELECT 'field', a.atttypid
                    FROM pg_catalog.pg_attribute AS a
                   WHERE a.attrelid OPERATOR(pg_catalog.=) t.typrelid
                     AND a.attnum OPERATOR(pg_catalog.>) 0
                     AND NOT a.attisdropped
                   UNION ALL
                  SELECT 'bound', r.rngsubtype
                    FROM pg_catalog.pg_range AS r
                   WHERE t.oid OPERATOR(pg_catalog.=) r.rngtypid
                      OR t.oid OPERATOR(pg_catalog.=)
                         (pg_catalog.to_jsonb(r) OPERATOR(pg_catalog.->>) 'rngmultitypid')::pg_catalog.oid
                  ) AS part (kind, oid)
            WHERE part.oid OPERATOR(pg_catalog.<>) 0)
    SELECT used.whole::pg_catalog.int8 AS whole,
           used.part,
           t.oid::pg_catalog.int8 AS oid,
           t.typname AS name,
           n.nspname AS schema,
           n.oid::pg_catalog.int8 AS namespace,
           n.nspname OPERATOR(pg_catalog.=) 'pg_catalog' AS is_built_in,
           pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS may_use,
           CURRENT_USER::pg_catalog.text AS role,
           EXISTS (
           SELECT 1
             FROM pg_catalog.pg_depend AS d
            WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
              AND d.objid OPERATOR(pg_catalog.=) t.oid
              AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
              AND d.deptype OPERATOR(pg_catalog.=) 'e') AS of_extension,
           ARRAY (
           SELECT DISTINCT m.amname::pg_catalog.text
             FROM pg_catalog.pg_opclass AS o
             JOIN pg_catalog.pg_am AS m ON m.oid OPERATOR(pg_catalog.=) o.opcmethod
            WHERE o.opcdefault
              AND (o.opcintype OPERATOR(pg_catalog.=) t.oid
                   OR o.opcintype OPERATOR(pg_catalog.=) ANY (
                      SELECT k.casttarget
                        FROM pg_catalog.pg_cast AS k
                       WHERE k.castsource OPERATOR(pg_catalog.=) t.oid
                         AND k.castmethod OPERATOR(pg_catalog.=) 'b'
                         AND k.castcontext OPERATOR(pg_catalog.=) 'i')
                   OR o.opcintype OPERATOR(pg_catalog.=) {ALL_OF_A_KIND})) AS methods
      FROM used
      JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) used.oid
      JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
"""  # noqa: S608  put together from constants

ARRAYS_COMPARE = ("btree", "hash", "gin")  # access methods that compare the elements of an array


def columns_of(catalog: CatalogReader, tables: Iterable[str]) -> list[dict[str, Any]]:
    """Return the columns of these tables, as rows of COLUMNS."""
    names = sorted(tables)
    return catalog.recall((COLUMNS, catalog.namespace, *names), lambda: catalog.ask(COLUMNS, tables=names))


class Types:
    """The types of columns and what they are made of.

    Attributes:
        by_oid: the rows of TYPES, each type once.
    """

    def __init__(self, catalog: CatalogReader, columns: Iterable[dict[str, Any]]) -> None:
        self.by_oid: dict[int, dict[str, Any]] = {}
        self._parts: dict[tuple[int, str], list[int]] = defaultdict(list)
        types = sorted({column["type"] for column in columns})
        for row in catalog.recall((TYPES, *types), lambda: catalog.ask(TYPES, types=types)):
            self.by_oid[row["oid"]] = row
            self._parts[row["whole"], row["part"]].append(row["oid"])

    def base(self, oid: int) -> int:
        """Return the type under a domain, or the type itself."""
        under = self._parts[oid, "base"]
        return self.base(under[0]) if under else oid

    def have_class(self, oid: int, method: str, above: tuple[int, ...] = ()) -> bool:
        """Return whether an access method can index a type; arrays and rows are compared by what they are made of."""
        above = (*above, oid)
        base, element, parts, bound = (self._parts[oid, part] for part in ("base", "element", "field", "bound"))
        if base:
            return self.have_class(base[0], method, above)
        if method not in self.by_oid[oid]["methods"]:
            return False
        if element and method in ARRAYS_COMPARE:
            parts, method = [*parts, *element], "hash" if method == "hash" else "btree"
        if method == "hash":  # a range has operators that compare its bounds, but hashes them as their type does
            parts = [*parts, *bound]
        return all(self.have_class(part, method, above) for part in parts if part not in above)
