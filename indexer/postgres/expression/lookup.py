"""Where the operators, functions and types of an expression are looked up, and which of them can be trusted.

Beside pg_catalog these are the schemas of the extensions that the columns' types come from, and of those that have what
pg_catalog has not. Other roles may create in such a schema, so all that an expression could mean is checked before the
planner sees it. A function that the expression names with its schema has to be the code of a superuser or our own role.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from indexer.postgres.expression.columns import Types, columns_of
from indexer.postgres.expression.explain import NotUnderstood
from indexer.postgres.expression.tokens import calls_in, operators_in, tokens, words_in
from indexer.postgres.session.reader import CatalogReader
from indexer.text import few, identifier
from indexer.tuples import NamedTuple

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


# What has the name of a function, an operator or a type that pg_catalog has none of.
ELSEWHERE = """
      WITH named AS (
           SELECT 'function' AS kind,
                  p.proname AS name,
                  p.pronamespace AS namespace,
                  p.oid AS oid,
                  'pg_catalog.pg_proc'::pg_catalog.regclass AS class
             FROM pg_catalog.pg_proc AS p
            WHERE p.proname OPERATOR(pg_catalog.=) ANY (%(calls)s::pg_catalog.text[])
            UNION ALL
           SELECT 'operator',
                  o.oprname,
                  o.oprnamespace,
                  o.oid,
                  'pg_catalog.pg_operator'::pg_catalog.regclass
             FROM pg_catalog.pg_operator AS o
            WHERE o.oprname OPERATOR(pg_catalog.=) ANY (%(operators)s::pg_catalog.text[])
            UNION ALL
           SELECT 'type',
                  t.typname,
                  t.typnamespace,
                  t.oid,
                  'pg_catalog.pg_type'::pg_catalog.regclass
             FROM pg_catalog.pg_type AS t
            WHERE t.typname OPERATOR(pg_catalog.=) ANY (%(types)s::pg_catalog.text[]))
    SELECT named.kind,
           named.name,
           s.nspname AS schema,
           s.oid::pg_catalog.int8 AS namespace,
           pg_catalog.has_schema_privilege(s.oid, 'USAGE') AS may_use,
           CURRENT_USER::pg_catalog.text AS role,
           pg_catalog.bool_or(EXISTS (
               SELECT 1
                 FROM pg_catalog.pg_depend AS d
                WHERE d.classid OPERATOR(pg_catalog.=) named.class
                  AND d.objid OPERATOR(pg_catalog.=) named.oid
                  AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
                  AND d.deptype OPERATOR(pg_catalog.=) 'e')) AS of_extension
      FROM named
      JOIN pg_catalog.pg_namespace AS s ON s.oid OPERATOR(pg_catalog.=) named.namespace
     WHERE NOT EXISTS (
           SELECT 1
             FROM named AS known
            WHERE known.kind OPERATOR(pg_catalog.=) named.kind
              AND known.name OPERATOR(pg_catalog.=) named.name
              AND known.namespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace::pg_catalog.oid)
     GROUP BY named.kind, named.name, s.nspname, s.oid
     ORDER BY s.nspname
"""

# The functions and operators that an expression names with their schema, but for the code of a superuser or our role.
QUALIFIED = """
    SELECT named.kind,
           named.name,
           pg_catalog.pg_get_userbyid(p.proowner) AS owner,
           CURRENT_USER::pg_catalog.text AS role
      FROM (SELECT 'function' AS kind,
                   pg_catalog.concat(n.nspname, '.', f.proname) AS name,
                   f.oid AS code
              FROM pg_catalog.pg_proc AS f
              JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) f.pronamespace
             UNION ALL
            SELECT 'operator',
                   pg_catalog.concat(n.nspname, '.', o.oprname),
                   o.oprcode
              FROM pg_catalog.pg_operator AS o
              JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) o.oprnamespace) AS named
      JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) named.code
      JOIN pg_catalog.pg_language AS l ON l.oid OPERATOR(pg_catalog.=) p.prolang
      JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) p.proowner
     WHERE named.name OPERATOR(pg_catalog.=) ANY (%(names)s::pg_catalog.text[])
       AND l.lanname OPERATOR(pg_catalog.<>) ALL ('{internal,c}'::pg_catalog.name[])
       AND NOT r.rolsuper
       AND r.rolname OPERATOR(pg_catalog.<>) CURRENT_USER
     LIMIT 1
"""

# The extensions whose operator classes and functions the indexes of these tables use.
OF_INDEXES = """
    SELECT DISTINCT
           n.nspname AS schema,
           n.oid::pg_catalog.int8 AS namespace
      FROM pg_catalog.pg_class AS t
      JOIN pg_catalog.pg_index AS i ON i.indrelid OPERATOR(pg_catalog.=) t.oid
      JOIN pg_catalog.pg_depend AS used
        ON used.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
       AND used.objid OPERATOR(pg_catalog.=) i.indexrelid
      JOIN pg_catalog.pg_depend AS d
        ON d.classid OPERATOR(pg_catalog.=) used.refclassid
       AND d.objid OPERATOR(pg_catalog.=) used.refobjid
       AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
       AND d.deptype OPERATOR(pg_catalog.=) 'e'
      JOIN pg_catalog.pg_extension AS e ON e.oid OPERATOR(pg_catalog.=) d.refobjid
      JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace
     WHERE t.relnamespace OPERATOR(pg_catalog.=) %(namespace)s
       AND t.relname OPERATOR(pg_catalog.=) ANY (%(tables)s::pg_catalog.text[])
       AND n.nspname OPERATOR(pg_catalog.<>) 'pg_catalog'
"""

# Operators that pg_catalog has.
BUILT_IN = frozenset(("=", "<>", "<", "<=", ">", ">=", "~~", "!~~", "~~*", "!~~*", "~", "!~", "+", "-", "*", "/", "||"))


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
    casts = any(token.text == "::" or token.folded == "cast" for token in read)
    calls = calls_in(read)
    _check_qualified(catalog, [f"{schema}.{name}" for schema, name in calls if schema])
    types = _types(catalog, [table], words)
    added = [row for row in types if not row["is_built_in"]]
    elsewhere = _elsewhere(
        catalog,
        calls=[name for schema, name in calls if not schema],
        operators=sorted(set(operators_in(read)) - BUILT_IN),
        types=words if casts else [],
    )
    # An enum's constant takes no right on its schema, but the text that the server keeps of it does.
    closed = next((row for row in (*added, *elsewhere) if not row["may_use"]), None)
    if closed:
        schema, role = identifier(closed["schema"]), identifier(closed["role"])
        kind, grant = closed.get("kind", "type"), f"GRANT USAGE ON SCHEMA {schema} TO {role}"
        raise NotUnderstood(f"role {role} may not use the schema of {kind} {closed['name']}: {grant}")
    used = [row for row in added if row["of_extension"] or row["name"] in words] + elsewhere
    if not used:
        return None
    added += [row for row in elsewhere if row["kind"] == "type"]
    found = _trusted(catalog, types, used, words=words, operators=operators_in(read), casts=casts)
    names: dict[str, list[str]] = {}
    for row in found:
        names.setdefault(row["name"], []).append(row["schema"])
    return Scope(_schemas(used), {identifier(row["name"]): row["schema"] for row in added}, names)


def extension_schemas(catalog: CatalogReader, tables: Sequence[str]) -> tuple[str, ...]:
    """Return the schemas of the extensions that types of these tables' columns, or their indexes, come from.

    Raises:
        NotUnderstood: one of them has an untrusted operator or function that a query of the tables could mean.
    """
    types = _types(catalog, tables)
    used = [row for row in types if row["of_extension"] and not row["is_built_in"]]
    of_indexes = catalog.rows(OF_INDEXES, tables=list(tables))
    if used:
        _trusted(catalog, types, used, words=None, operators=None, casts=False)
    with suppress(NotUnderstood):  # most queries do without them
        if of_indexes:
            _trusted(catalog, types, of_indexes, words=None, operators=None, casts=False)
            used += of_indexes
    return _schemas(used)


def calls_untrusted(catalog: CatalogReader, name: str, namespace: int | None) -> bool:
    """Return whether an index, by its name and the OID of its schema, calls a function of a role we do not trust."""
    return bool(catalog.ask(UNTRUSTED_CALLS, name=name, namespace=namespace))


def _check_qualified(catalog: CatalogReader, names: Sequence[str]) -> None:
    """Raise NotUnderstood if one of these functions and operators is the code of a role that we do not trust."""
    for row in catalog.rows(QUALIFIED, names=names) if names else ():
        owner, role = identifier(row["owner"]), identifier(row["role"])
        raise NotUnderstood(
            f"{row['kind']} {row['name']} is code of role {owner}, which role {role} does not run: run as {owner}"
        )


def _elsewhere(catalog: CatalogReader, **names: Sequence[str]) -> list[dict[str, Any]]:
    """Return what extensions have of these names, of which pg_catalog has none; raise for a function of no extension.

    Args:
        names: without a schema, by their kind.
    """
    rows = catalog.rows(ELSEWHERE, **names) if any(names.values()) else []
    found = [row for row in rows if row["of_extension"]]
    known = {(row["kind"], row["name"]) for row in found}
    for row in rows:
        if row["kind"] == "function" and (row["kind"], row["name"]) not in known:
            name = identifier(row["name"])
            example = f"{identifier(row['schema'])}.{name}(…)"
            raise NotUnderstood(f"function {name} is of no extension: write its schema before it, as in {example}")
    return found


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
