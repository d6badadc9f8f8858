"""Which indexes the server cannot build, and why: everything that it would refuse only once it is asked to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from indexer.postgres.expression import tokens, words_in
from indexer.postgres.predicate import Asks, NotUnderstood, Predicates
from indexer.postgres.session import Question
from indexer.spec import Index
from indexer.text import identifier

COLUMNS = """
    SELECT c.relname AS table_name,
           a.attname AS name,
           a.atttypid::pg_catalog.int8 AS type,
           pg_catalog.format_type(a.atttypid, a.atttypmod) AS type_name,
           a.attgenerated OPERATOR(pg_catalog.=) 'v' AS is_virtual,
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
       AND c.relkind OPERATOR(pg_catalog.=) 'r'
       AND a.attnum OPERATOR(pg_catalog.>) 0
       AND NOT a.attisdropped
"""

# The types of columns and what they are made of, with the access methods that have a default operator class for each:
# one for the type itself, for a type of the same binary form, or for all types of its kind.
TYPES = """
      WITH RECURSIVE used (oid) AS (
           SELECT seed.oid
             FROM pg_catalog.unnest(%(types)s::pg_catalog.oid[]) AS seed (oid)
            UNION
           SELECT part.oid
             FROM used
             JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) used.oid
            CROSS JOIN LATERAL (
                  SELECT t.typbasetype
                   UNION ALL
                  SELECT t.typelem
                   WHERE t.typcategory OPERATOR(pg_catalog.=) 'A'
                   UNION ALL
                  SELECT a.atttypid
                    FROM pg_catalog.pg_attribute AS a
                   WHERE a.attrelid OPERATOR(pg_catalog.=) t.typrelid
                     AND a.attnum OPERATOR(pg_catalog.>) 0
                     AND NOT a.attisdropped
                   UNION ALL
                  SELECT r.rngsubtype
                    FROM pg_catalog.pg_range AS r
                   WHERE t.oid OPERATOR(pg_catalog.=) r.rngtypid
                      OR t.oid OPERATOR(pg_catalog.=)
                         (pg_catalog.to_jsonb(r) OPERATOR(pg_catalog.->>) 'rngmultitypid')::pg_catalog.oid
                  ) AS part (oid)
            WHERE part.oid OPERATOR(pg_catalog.<>) 0)
    SELECT t.oid::pg_catalog.int8 AS oid,
           t.typbasetype::pg_catalog.int8 AS base,
           CASE WHEN t.typcategory OPERATOR(pg_catalog.=) 'A' THEN t.typelem::pg_catalog.int8 END AS element,
           ARRAY (
           SELECT a.atttypid::pg_catalog.int8
             FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid OPERATOR(pg_catalog.=) t.typrelid
              AND a.attnum OPERATOR(pg_catalog.>) 0
              AND NOT a.attisdropped) AS fields,
           (
           SELECT r.rngsubtype::pg_catalog.int8
             FROM pg_catalog.pg_range AS r
            WHERE t.oid OPERATOR(pg_catalog.=) r.rngtypid
               OR t.oid OPERATOR(pg_catalog.=)
                  (pg_catalog.to_jsonb(r) OPERATOR(pg_catalog.->>) 'rngmultitypid')::pg_catalog.oid) AS bound,
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
                   OR o.opcintype OPERATOR(pg_catalog.=) CASE
                      WHEN t.typcategory OPERATOR(pg_catalog.=) 'A' THEN 2277  -- anyarray
                      WHEN t.typtype OPERATOR(pg_catalog.=) 'e' THEN 3500  -- anyenum
                      WHEN t.typtype OPERATOR(pg_catalog.=) 'r' THEN 3831  -- anyrange
                      WHEN t.typtype OPERATOR(pg_catalog.=) 'm' THEN 4537  -- anymultirange
                      WHEN t.typtype OPERATOR(pg_catalog.=) 'c' THEN 2249  -- record
                      END)) AS methods
      FROM used
      JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) used.oid
"""

FIND_COLUMNS = Question("indexer_columns", {"namespace": "bigint", "tables": "pg_catalog.text[]"}, COLUMNS)
FIND_TYPES = Question("indexer_types", {"types": "pg_catalog.oid[]"}, TYPES)

METHODS = """
    SELECT m.amname AS name,
           pg_catalog.pg_indexam_has_property(m.oid, 'can_order') AS can_order,
           pg_catalog.pg_indexam_has_property(m.oid, 'can_unique') AS can_unique,
           pg_catalog.pg_indexam_has_property(m.oid, 'can_multi_col') AS can_multi_col,
           pg_catalog.current_setting('max_index_keys')::pg_catalog.int4 AS most_columns
      FROM pg_catalog.pg_am AS m
     WHERE m.amname OPERATOR(pg_catalog.=) ANY (%(methods)s::pg_catalog.text[])
"""

# Functions of the predicate that no index can have, whatever their arguments are.
MUTABLE = """
    SELECT p.proname AS name
      FROM pg_catalog.pg_proc AS p
     WHERE p.proname OPERATOR(pg_catalog.=) ANY (%(words)s::pg_catalog.text[])
     GROUP BY p.proname
    HAVING pg_catalog.bool_and(p.provolatile OPERATOR(pg_catalog.<>) 'i')
"""
CURRENT = {
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "current_user",
    "session_user",
    "user",
    "current_role",
    "current_catalog",
    "current_schema",
}

# A constant of some types, by name, and of the types of a category.
SAMPLES = {
    "uuid": "'00000000-0000-0000-0000-000000000000'",
    "json": "'{}'",
    "jsonb": "'{}'",
    "time": "'12:00'",
    "timetz": "'12:00'",
    "N": "'1'",
    "B": "'true'",
    "D": "'2000-01-01'",
    "T": "'1 day'",
    "A": "'{}'",
    "R": "'empty'",
    "I": "'127.0.0.1'",
    "S": "'1'",
}
PLAIN_KINDS = ("b", "e", "r")  # the planner leaves a domain's checks to be made

ARRAYS_COMPARE = ("btree", "hash", "gin")


Columns = dict[tuple[str, str], dict[str, Any]]  # what is known of each column, by table and name


def unbuildable(catalog: Asks, predicates: Predicates, indexes: Sequence[Index]) -> list[str]:
    """Return why the server cannot build these indexes on their tables, one sentence each.

    Columns and tables that are missing are not named again.
    """
    if not indexes:
        return []
    wanted = sorted({index.on_postgresql.using for index in indexes})
    methods = {row["name"]: row for row in catalog.rows(METHODS, methods=wanted)}
    known = [index for index in indexes if index.on_postgresql.using in methods]
    columns = _columns(catalog, indexes)
    return list(
        dict.fromkeys(
            [
                *_unsuitable_methods(methods, indexes),
                *_unsuitable_columns(catalog, columns, known),
                *_unusable_predicates(catalog, columns, predicates, indexes),
            ]
        )
    )


def _unsuitable_methods(methods: dict[str, dict[str, Any]], indexes: Sequence[Index]) -> Iterator[str]:
    for index in indexes:
        using, columns = index.on_postgresql.using, len(index.key)
        method = methods.get(using)
        if method is None:
            yield f"{index.name} needs access method {using}, which this server does not have"
            continue
        if columns > method["most_columns"]:
            yield f"{index.name} has {columns} columns, and an index can have {method['most_columns']}"
        if columns > 1 and not method["can_multi_col"]:
            yield f"{index.name} has {columns} columns, and access method {using} takes one"
        if index.unique and not method["can_unique"]:
            yield f"{index.name} is unique, and access method {using} cannot be"
        if any(column.descending for column in index.key) and not method["can_order"]:
            yield f"{index.name} has a descending column, and access method {using} keeps no order"


def _unsuitable_columns(catalog: Asks, columns: Columns, indexes: Sequence[Index]) -> Iterator[str]:
    used = [(index, columns.get((index.table, column.name))) for index in indexes for column in index.key]
    types = {
        row["oid"]: row for row in catalog.ask(FIND_TYPES, types=sorted({each["type"] for _, each in used if each}))
    }
    for index, column in used:
        if column is None:
            continue
        name, method = _qualified(catalog, index.table, column["name"]), index.on_postgresql.using
        if column["is_virtual"]:
            yield f"{name} is a virtual generated column, which PostgreSQL cannot index: make it STORED"
        elif not _has_class(column["type"], method, types):
            yield (
                f"{name} has type {column['type_name']}, and {method} has no operator class for it: "
                "change the column's type"
            )


def _has_class(oid: int, method: str, types: dict[int, dict[str, Any]], above: tuple[int, ...] = ()) -> bool:
    """Return whether an access method can index a type; arrays and rows are compared by what they are made of."""
    found, above = types[oid], (*above, oid)
    if found["base"]:
        return _has_class(found["base"], method, types, above)
    if method not in found["methods"]:
        return False
    if found["element"] and method in ARRAYS_COMPARE:
        method = "hash" if method == "hash" else "btree"
    parts = [*found["fields"], *([found["element"]] if found["element"] and method in ARRAYS_COMPARE else [])]
    # A range has its own operators to compare its bounds, but hashes them as their type does.
    parts += [found["bound"]] if found["bound"] and method == "hash" else []
    return all(_has_class(part, method, types, above) for part in parts if part not in above)


def _unusable_predicates(
    catalog: Asks, columns: Columns, predicates: Predicates, indexes: Sequence[Index]
) -> Iterator[str]:
    partial = [index for index in indexes if index.on_postgresql.where]
    tables = {table for table, _ in columns}
    for index in partial:
        if index.table not in tables:
            continue
        try:
            resolved = predicates.checked(index)
        except NotUnderstood as reason:
            yield f"the predicate of {index.name} does not work on {_qualified(catalog, index.table)}: {reason}"
            continue
        words = words_in(list(tokens(resolved)))
        for name in words:
            if columns.get((index.table, name), {}).get("is_virtual"):
                yield f"the predicate of {index.name} uses {name}, a virtual generated column: make it STORED"
        mutable = _mutable(catalog, resolved, columns, index.table)
        for name in mutable:
            yield f"the predicate of {index.name} uses {name}, whose result can change: take it out of the predicate"
        used = [column for (table, name), column in columns.items() if table == index.table and name in words]
        samples = {column["name"]: _sample(column) for column in used}
        known = {name: sample for name, sample in samples.items() if sample}
        if not mutable and len(known) == len(samples) and not predicates.is_immutable(index.table, resolved, known):
            yield (
                f"the predicate of {index.name} uses a function, a cast or an operator whose result can change, "
                "with the time zone for example: write it with immutable ones"
            )


def _sample(column: dict[str, Any]) -> str | None:
    """Return some constant of a column's type, as SQL; None if none is known."""
    literal = column["label"] or SAMPLES.get(column["bare_type"]) or SAMPLES.get(column["category"])
    return f"{literal}::{column['type_name']}" if literal and column["kind"] in PLAIN_KINDS else None


def _mutable(catalog: Asks, resolved: str, columns: Iterable[tuple[str, str]], table: str) -> list[str]:
    read = [token for token in tokens(resolved) if token.kind != "space"]
    called = [token.lowered for token, following in pairwise(read) if following.text == "("]
    current = [token.lowered for token in read if token.kind == "word" and token.lowered in CURRENT]
    keywords = [name for name in current if (table, name) not in columns]
    return [*keywords, *(row["name"] for row in catalog.rows(MUTABLE, words=called))]


def _columns(catalog: Asks, indexes: Iterable[Index]) -> Columns:
    rows = catalog.ask(FIND_COLUMNS, tables=sorted({index.table for index in indexes}))
    return {(row["table_name"], row["name"]): row for row in rows}


def _qualified(catalog: Asks, *names: str) -> str:
    return ".".join(map(identifier, filter(None, (catalog.schema, *names))))
