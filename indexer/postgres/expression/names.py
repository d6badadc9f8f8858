"""Collations and operator classes: found by the name that a revision gives, and written with their schema."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from indexer.postgres.expression.columns import ALL_OF_A_KIND, Types
from indexer.postgres.expression.explain import NotUnderstood
from indexer.postgres.expression.tokens import folded
from indexer.postgres.session.reader import CatalogReader
from indexer.text import identifier, literal, may_be, qualified
from indexer.tuples import NamedTuple

COLLATIONS = """
    SELECT o.collname AS name,
           n.nspname AS schema,
           pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS may_use,
           CURRENT_USER::pg_catalog.text AS role
      FROM pg_catalog.pg_collation AS o
      JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) o.collnamespace
     WHERE o.collname OPERATOR(pg_catalog.=) ANY (%(names)s::pg_catalog.text[])
       AND o.collencoding OPERATOR(pg_catalog.=) ANY (
           ARRAY[-1, pg_catalog.pg_char_to_encoding(pg_catalog.getdatabaseencoding())])
     ORDER BY n.nspname
"""

ALL_COLLATIONS = """
    SELECT DISTINCT o.collname AS name
      FROM pg_catalog.pg_collation AS o
"""

# accepts: for a type itself, for one that it is binary coercible to, or for all types of its kind.
CLASSES = f"""
    SELECT o.opcname AS name,
           n.nspname AS schema,
           m.amname AS method,
           o.opcdefault AS is_default,
           pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS may_use,
           CURRENT_USER::pg_catalog.text AS role,
           o.opcintype OPERATOR(pg_catalog.=) t.oid
           OR EXISTS (
              SELECT 1
                FROM pg_catalog.pg_cast AS k
               WHERE k.castsource OPERATOR(pg_catalog.=) t.oid
                 AND k.casttarget OPERATOR(pg_catalog.=) o.opcintype
                 AND k.castmethod OPERATOR(pg_catalog.=) 'b'
                 AND k.castcontext OPERATOR(pg_catalog.=) 'i')
           OR o.opcintype OPERATOR(pg_catalog.=) {ALL_OF_A_KIND} AS accepts
      FROM pg_catalog.pg_opclass AS o
      JOIN pg_catalog.pg_am AS m ON m.oid OPERATOR(pg_catalog.=) o.opcmethod
      JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) o.opcnamespace
      LEFT JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) %(type)s
     WHERE o.opcname OPERATOR(pg_catalog.=) %(name)s::pg_catalog.text
        OR (%(name)s::pg_catalog.text IS NULL AND m.amname OPERATOR(pg_catalog.=) %(method)s::pg_catalog.text)
     ORDER BY n.nspname,
           o.opcname
"""  # noqa: S608  put together from constants

INSTALLED = """
    SELECT e.extname AS name
      FROM pg_catalog.pg_extension AS e
"""

COMPARING = ("btree", "hash")  # they have a default class for each type that anything can compare
HAVE_PARAMETERS = 130000  # the version that gave operator classes parameters

# The extension that brings an operator class, an access method or a type, by its name.
EXTENSIONS = {
    "bloom": "bloom",
    "citext": "citext",
    "citext_pattern_ops": "citext",
    "cube": "cube",
    "geography": "postgis",
    "geometry": "postgis",
    "gin__int_ops": "intarray",
    "gin_hstore_ops": "hstore",
    "gin_trgm_ops": "pg_trgm",
    "gist__int_ops": "intarray",
    "gist__intbig_ops": "intarray",
    "gist_hstore_ops": "hstore",
    "gist_ltree_ops": "ltree",
    "gist_trgm_ops": "pg_trgm",
    "halfvec": "vector",
    "halfvec_cosine_ops": "vector",
    "halfvec_ip_ops": "vector",
    "halfvec_l2_ops": "vector",
    "hnsw": "vector",
    "hstore": "hstore",
    "ivfflat": "vector",
    "ltree": "ltree",
    "rum": "rum",
    "vector": "vector",
    "vector_cosine_ops": "vector",
    "vector_ip_ops": "vector",
    "vector_l1_ops": "vector",
    "vector_l2_ops": "vector",
}
STARTS = {"gist_geometry_ops": "postgis", "gist_geography_ops": "postgis", "spgist_geometry_ops": "postgis"}

TYPE_NAME = """
    SELECT t.typname AS name,
           t.typcategory::pg_catalog.text AS category
      FROM pg_catalog.pg_type AS t
     WHERE t.oid OPERATOR(pg_catalog.=) %(type)s
"""

# The types for which the extensions btree_gin and btree_gist have operator classes.
ORDERED_TYPES = frozenset(
    """
    bit bytea cidr date float4 float8 inet int2 int4 int8 interval macaddr macaddr8 money numeric oid text time
    timestamp timestamptz timetz uuid varbit varchar
    """.split()  # noqa: SIM905  a list would be a dozen lines
)
OF_BTREE_GIST, ALSO_GIST = r"gist_(\w+)_ops", ("bool", "cash", "enum")  # its operator classes: gist_int4_ops


class Class(NamedTuple):
    """An operator class: its name as SQL, and whether an index of its access method has it by default."""

    sql: str
    is_default: bool


def missing(kind: str, name: str, known: Iterable[str] = ()) -> str:
    """Return that this database lacks a method, an operator class or a type, and how to get it if that is known.

    Args:
        known: the names of its kind, of which the name may be a misspelt one.
    """
    lacks = f"{kind} {name}, which this database does not have"
    extension = EXTENSIONS.get(name) or next((of for start, of in STARTS.items() if name.startswith(start)), None)
    if extension is None and (found := re.fullmatch(OF_BTREE_GIST, name)) and found[1] in {*ORDERED_TYPES, *ALSO_GIST}:
        extension = "btree_gist"
    return f"{lacks}: CREATE EXTENSION {extension}" if extension else f"{lacks}{may_be(name, known)}"


def collation(catalog: CatalogReader, declared: str) -> str:
    """Return a collation as SQL names it on any search path.

    Raises:
        NotUnderstood: there is none of that name, or more than one.
    """
    schema, _, rest = declared.partition(".")
    rows = catalog.rows(COLLATIONS, names=[declared, rest])
    named = [row for row in rows if row["name"] == declared] or [row for row in rows if row["schema"] == schema]
    if not named:
        known = (row["name"] for row in catalog.rows(ALL_COLLATIONS))
        raise NotUnderstood(missing("collation", declared, known))
    return chosen(catalog, "collation", named)


def operator_class(catalog: CatalogReader, declared: str, method: str, column_type: int | None = None) -> Class:
    """Return an operator class, with its parameters, as SQL names it on any search path.

    Args:
        column_type: the OID of the type that it is for, if that is known.

    Raises:
        NotUnderstood: there is none of that name for the access method and the type, or more than one.
    """
    name, _, parameters = declared.rstrip(") ").partition("(")
    *schema, name = (folded(part) for part in re.findall(r'"[^"]+"|\w+', name))
    rows = catalog.rows(CLASSES, name=name, method=method, type=_base(catalog, column_type))
    if not rows:
        known = (row["name"] for row in catalog.rows(CLASSES, name=None, method=method, type=None))
        raise NotUnderstood(missing("operator class", name, known))
    rows = [row for row in rows if row["method"] == method]
    if not rows:
        is_of_gin = method == "gin" and name.removesuffix("_ops") in ORDERED_TYPES
        extension = ": CREATE EXTENSION btree_gin" if is_of_gin else ""
        raise NotUnderstood(f"operator class {name}, which is not one of access method {method}{extension}")
    if schema and not (rows := [row for row in rows if row["schema"] == schema[0]]):
        raise NotUnderstood(f"operator class {name}, which schema {schema[0]} does not have")
    if column_type and not any(row["accepts"] for row in rows):
        raise NotUnderstood(f"operator class {name}, which does not take the type of its column")
    written = chosen(catalog, "operator class", rows)
    if not parameters:
        return Class(written, all(row["is_default"] for row in rows))
    if catalog.database.server_version < HAVE_PARAMETERS:
        raise NotUnderstood(f"parameters of operator class {name}, which PostgreSQL has from version 13")
    return Class(f"{written}({', '.join(map(_parameter, parameters.split(',')))})", False)


def lacking(catalog: CatalogReader, method: str, column_type: int) -> str:
    """Return what to do where an access method has no default operator class for a type; empty if nothing is known."""
    if method in COMPARING:
        return ""
    base = _base(catalog, column_type)
    (row,) = catalog.rows(TYPE_NAME, type=base)
    others = [each for each in _accepting(catalog, method, base) if not each["is_default"]]
    if others:
        return f"name one with opclass, such as {others[0]['name']}"
    if row["name"] not in ORDERED_TYPES:
        has_gin = any(each["is_default"] for each in _accepting(catalog, "gin", base))
        return "use access method gin instead" if has_gin else ""
    if method not in ("gin", "gist"):
        return ""
    installed = {row["name"] for row in catalog.rows(INSTALLED)}
    if row["category"] == "S" and "pg_trgm" not in installed:
        return f"CREATE EXTENSION pg_trgm, and name its {method}_trgm_ops with opclass"
    return "" if f"btree_{method}" in installed else f"CREATE EXTENSION btree_{method}"


def _accepting(catalog: CatalogReader, method: str, column_type: int | None) -> list[dict[str, Any]]:
    """Return the operator classes of an access method that take a type."""
    return [row for row in catalog.rows(CLASSES, name=None, method=method, type=column_type) if row["accepts"]]


def chosen(catalog: CatalogReader, kind: str, rows: Sequence[dict[str, Any]]) -> str:
    """Return the only one of several, or that of pg_catalog, or that of the tables' schema."""
    by_schema = {row["schema"]: row for row in rows}
    near = [by_schema[schema] for schema in ("pg_catalog", catalog.schema) if schema in by_schema]
    if len(by_schema) > 1 and not near:
        schemas = " and ".join(by_schema)
        raise NotUnderstood(f"{kind} {rows[0]['name']}, which schemas {schemas} have: write one of them before it")
    row = (near or rows)[0]
    if not row["may_use"]:
        schema, role = identifier(row["schema"]), identifier(row["role"])
        grant = f"GRANT USAGE ON SCHEMA {schema} TO {role}"
        raise NotUnderstood(f"{kind} {row['name']}, whose schema role {role} may not use: {grant}")
    return qualified(None if row["schema"] == "pg_catalog" else row["schema"], row["name"])


def _base(catalog: CatalogReader, column_type: int | None) -> int | None:
    """Return the type under a domain, or the type itself."""
    return column_type and Types(catalog, [{"type": column_type}]).base(column_type)


def _parameter(written: str) -> str:
    """Return a parameter as the catalog shows it, its value quoted only where SQL needs that."""
    name, _, value = (part.strip() for part in written.partition("="))
    value = value.strip("'")
    is_bare = re.fullmatch(r"[\w.]+", value)
    return f"{name}={value if is_bare else literal(value)}"
