"""Where the operators, functions and types of an expression are looked up, and which of them can be trusted.

Beside pg_catalog these are the schemas of the extensions that the columns' types come from. Other roles may create in
such a schema, so all that an expression could mean is checked before the planner sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from indexer.postgres.expression.columns import Types, columns_of
from indexer.postgres.expression.explain import NotUnderstood
from indexer.postgres.expression.tokens import operators_in, tokens, words_in
from indexer.postgres.session.reader import CatalogReader
from indexer.text import few, identifier

# The planner runs an immutable function whose arguments are constants, with the rights of the role that asks.
UNTRUSTED_CALLS = """
    SELECT p.proname AS name
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_depend AS d
        ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
       AND d.objid OPERATOR(pg_catalog.=) c.oid
      LEFT JOIN pg_catalog.pg_operator AS o
             ON d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_operator'::pg_catalog.regclass
            AND o.oid OPERATOR(pg_catalog.=) d.refobjid
      JOIN pg_catalog.pg_proc AS p
        ON p.oid OPERATOR(pg_catalog.=) o.oprcode
        OR (d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
            AND p.oid OPERATOR(pg_catalog.=) d.refobjid)
      JOIN pg_catalog.pg_language AS l ON l.oid OPERATOR(pg_catalog.=) p.prolang
      JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) p.proowner
     WHERE c.relnamespace OPERATOR(pg_catalog.=) %(namespace)s
       AND c.relname OPERATOR(pg_catalog.=) %(name)s
       AND l.lanname OPERATOR(pg_catalog.<>) ALL ('{internal,c}'::pg_catalog.name[])
       AND NOT r.rolsuper
       AND r.rolname OPERATOR(pg_catalog.<>) CURRENT_USER
"""

# The operators and functions of these schemas that have a name which the expression uses; without names all operators,
# and the functions that have the name of one in pg_catalog. One is trusted if an extension has it, and if its code was
# written by a superuser or by our own role: an extension's owner can add others. An operator can win over the one that
# is meant if it takes one of the columns' types or any type, or if the expression casts to any type.
CANDIDATES = """
      WITH named AS (
           SELECT 'operator' AS kind,
                  o.oprname AS name,
                  o.oprnamespace AS namespace,
                  o.oprcode AS code,
                  o.oid AS oid,
                  'pg_catalog.pg_operator'::pg_catalog.regclass AS class,
                  ARRAY[o.oprleft, o.oprright] AS types
             FROM pg_catalog.pg_operator AS o
            WHERE %(operators)s::pg_catalog.text[] IS NULL
               OR o.oprname OPERATOR(pg_catalog.=) ANY (%(operators)s::pg_catalog.text[])
            UNION ALL
           SELECT 'function',
                  p.proname,
                  p.pronamespace,
                  p.oid,
                  p.oid,
                  'pg_catalog.pg_proc'::pg_catalog.regclass,
                  NULL
             FROM pg_catalog.pg_proc AS p
            WHERE CASE
                  WHEN %(words)s::pg_catalog.text[] IS NULL THEN EXISTS (
                       SELECT 1
                         FROM pg_catalog.pg_proc AS known
                        WHERE known.proname OPERATOR(pg_catalog.=) p.proname
                          AND known.pronamespace OPERATOR(pg_catalog.=)
                              'pg_catalog'::pg_catalog.regnamespace::pg_catalog.oid)
                  ELSE p.proname OPERATOR(pg_catalog.=) ANY (%(words)s::pg_catalog.text[]) END)
    SELECT DISTINCT
           named.kind,
           named.name,
           s.nspname AS schema,
           pg_catalog.pg_get_userbyid(p.proowner) AS owner,
           (l.lanname OPERATOR(pg_catalog.=) ANY ('{internal,c}'::pg_catalog.name[])
            OR r.rolsuper
            OR r.rolname OPERATOR(pg_catalog.=) CURRENT_USER)
           AND EXISTS (
               SELECT 1
                 FROM pg_catalog.pg_depend AS d
                WHERE d.classid OPERATOR(pg_catalog.=) named.class
                  AND d.objid OPERATOR(pg_catalog.=) named.oid
                  AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
                  AND d.deptype OPERATOR(pg_catalog.=) 'e') AS trusted,
           named.types IS NULL
           OR %(casts)s
           OR EXISTS (
              SELECT 1
                FROM pg_catalog.unnest(named.types) AS operand (oid)
                JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) operand.oid
               WHERE t.typtype OPERATOR(pg_catalog.=) 'p'
                  OR t.oid OPERATOR(pg_catalog.=) ANY (%(types)s::pg_catalog.oid[])) AS can_win
      FROM named
      JOIN pg_catalog.pg_namespace AS s ON s.oid OPERATOR(pg_catalog.=) named.namespace
      JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) named.code
      JOIN pg_catalog.pg_language AS l ON l.oid OPERATOR(pg_catalog.=) p.prolang
      JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) p.proowner
     WHERE s.oid OPERATOR(pg_catalog.=) ANY (%(namespaces)s::pg_catalog.oid[])
"""


class Scope(NamedTuple):
    """Where the names of one expression are looked up after pg_catalog.

    Attributes:
        schemas: the schemas in order.
        types: the schema of each type, by the type's name as SQL.
        names: the schemas of an extension's operators and functions, by their name.
    """

    schemas: tuple[str, ...]
    types: dict[str, str]
    names: dict[str, list[str]]


def scope_of(catalog: CatalogReader, table: str, expression: str) -> Scope | None:
    """Return where an expression over a table is looked up; None if pg_catalog alone is enough.

    Raises:
        NotUnderstood: our role may not use such a schema, or an untrusted operator or function could be meant.
    """
    read = tokens(expression)
    words = words_in(read)
    types = _types(catalog, [table], words)
    added = [row for row in types if not row["is_built_in"]]
    # An enum's constant takes no right on its schema, but the text that the server keeps of it does.
    closed = next((row for row in added if not row["may_use"]), None)
    if closed:
        schema, role = identifier(closed["schema"]), identifier(closed["role"])
        grant = f"GRANT USAGE ON SCHEMA {schema} TO {role}"
        raise NotUnderstood(f"role {role} may not use the schema of type {closed['name']}: {grant}")
    used = [row for row in added if row["of_extension"] or row["name"] in words]
    if not used:
        return None
    casts = any(token.text == "::" or token.folded == "cast" for token in read)
    found = _trusted(catalog, types, used, words=words, operators=operators_in(read), casts=casts)
    names: dict[str, list[str]] = {}
    for row in found:
        names.setdefault(row["name"], []).append(row["schema"])
    return Scope(_schemas(used), {identifier(row["name"]): row["schema"] for row in added}, names)


def extension_schemas(catalog: CatalogReader, tables: Sequence[str]) -> tuple[str, ...]:
    """Return the schemas of the extensions that types of these tables' columns come from.

    Raises:
        NotUnderstood: one of them has an untrusted operator or function that a query of the tables could mean.
    """
    types = _types(catalog, tables)
    used = [row for row in types if row["of_extension"] and not row["is_built_in"]]
    if used:
        _trusted(catalog, types, used, words=None, operators=None, casts=False)
    return _schemas(used)


def calls_untrusted(catalog: CatalogReader, name: str, namespace: int | None) -> bool:
    """Return whether an index, by its name and the OID of its schema, calls a function of a role we do not trust."""
    return bool(catalog.rows(UNTRUSTED_CALLS, name=name, namespace=namespace))


def _types(catalog: CatalogReader, tables: Sequence[str], words: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return the types of the columns of these names, or of all columns, and those that they are made of."""
    columns = [column for column in columns_of(catalog, tables) if words is None or column["name"] in words]
    return list(Types(catalog, columns).by_oid.values())


def _trusted(
    catalog: CatalogReader, types: Sequence[dict[str, Any]], used: Sequence[dict[str, Any]], **names: Any
) -> list[dict[str, Any]]:
    """Return the trusted candidates in the schemas of the used types; raise if an untrusted one can win."""
    namespaces = sorted({row["namespace"] for row in used})
    candidates = catalog.rows(CANDIDATES, types=[row["oid"] for row in types], namespaces=namespaces, **names)
    winning = [
        f"{row['kind']} {identifier(row['schema'])}.{row['name']} of role {row['owner']}"
        for row in candidates
        if not row["trusted"] and row["can_win"]
    ]
    if winning:
        listed = ", ".join(few(list(dict.fromkeys(winning))))
        raise NotUnderstood(f"{listed} could be called instead of the intended one: drop it or rename it")
    return [row for row in candidates if row["trusted"]]


def _schemas(types: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row["schema"] for row in types))
