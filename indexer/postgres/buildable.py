"""Which indexes the server would refuse to build, and why."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from indexer.postgres.explain import NotUnderstood
from indexer.postgres.expression import tokens, words_in
from indexer.postgres.predicate import Predicates
from indexer.postgres.reader import CatalogReader
from indexer.postgres.session import Question
from indexer.spec import Index
from indexer.text import qualified

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

# The types of columns, and each type that another one (whole) is made of, with the access methods that have a default
# operator class for it: one for the type itself, for a type of the same binary form, or for all types of its kind.
TYPES = """
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

# The functions of these names that no index can use, whatever their arguments are.
MUTABLE = """
    SELECT p.proname AS name
      FROM pg_catalog.pg_proc AS p
     WHERE p.proname OPERATOR(pg_catalog.=) ANY (%(words)s::pg_catalog.text[])
     GROUP BY p.proname
    HAVING pg_catalog.bool_and(p.provolatile OPERATOR(pg_catalog.<>) 'i')
"""
MUTABLE_KEYWORD = re.compile("current_(date|time|timestamp|user|role|catalog|schema)|localtime(stamp)?|(session_)?user")

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
PLAIN_KINDS = ("b", "e", "r")  # the planner does not compute a domain's checks in advance

ARRAYS_COMPARE = ("btree", "hash", "gin")

Columns = dict[str, dict[str, dict[str, Any]]]  # the rows of COLUMNS by table and name


def unbuildable(predicates: Predicates, indexes: Sequence[Index]) -> list[str]:
    """Return why the server cannot build these indexes on their tables, one sentence each.

    Missing columns and tables are left out.
    """
    if not indexes:
        return []
    catalog = predicates.catalog
    wanted = sorted({index.on_postgresql.using for index in indexes})
    methods = {row["name"]: row for row in catalog.rows(METHODS, methods=wanted)}
    known = [index for index in indexes if index.on_postgresql.using in methods]
    columns: Columns = defaultdict(dict)
    for row in catalog.ask(FIND_COLUMNS, tables=sorted({index.table for index in indexes})):
        columns[row["table_name"]][row["name"]] = row
    problems = [
        *_unsuitable_methods(methods, indexes),
        *_unsuitable_columns(catalog, columns, known),
    ]
    for index in indexes:
        if index.on_postgresql.where and index.table in columns:
            problems += _unusable_predicate(predicates, index, columns[index.table])
    return list(dict.fromkeys(problems))


def _unsuitable_methods(methods: dict[str, dict[str, Any]], indexes: Iterable[Index]) -> Iterator[str]:
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


def _unsuitable_columns(catalog: CatalogReader, columns: Columns, indexes: Iterable[Index]) -> Iterator[str]:
    used = [(index, columns[index.table].get(column.name)) for index in indexes for column in index.key]
    types = Types(catalog.ask(FIND_TYPES, types=sorted({column["type"] for _, column in used if column})))
    for index, column in used:
        if column is None:
            continue
        name, method = qualified(catalog.schema, index.table, column["name"]), index.on_postgresql.using
        if column["is_virtual"]:
            yield f"{name} is a virtual generated column, which PostgreSQL cannot index: make it STORED"
        elif not types.have_class(column["type"], method):
            yield (
                f"{name} has type {column['type_name']}, and {method} has no operator class for it: "
                "change the column's type"
            )


class Types:
    """Types by OID, with what they are made of, from the rows of TYPES."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self.methods: dict[int, list[str]] = {}
        self.parts: dict[tuple[int, str], list[int]] = defaultdict(list)
        for row in rows:
            self.methods[row["oid"]] = row["methods"]
            self.parts[row["whole"], row["part"]].append(row["oid"])

    def have_class(self, oid: int, method: str, above: tuple[int, ...] = ()) -> bool:
        """Return whether an access method can index a type; arrays and rows are compared by what they are made of."""
        above = (*above, oid)
        base, element, fields, bound = (self.parts[oid, part] for part in ("base", "element", "field", "bound"))
        if base:
            return self.have_class(base[0], method, above)
        if method not in self.methods[oid]:
            return False
        parts = list(fields)
        if element and method in ARRAYS_COMPARE:
            method = "hash" if method == "hash" else "btree"
            parts += element
        if method == "hash":  # a range has operators that compare its bounds, but hashes them as their type does
            parts += bound
        return all(self.have_class(part, method, above) for part in parts if part not in above)


def _unusable_predicate(predicates: Predicates, index: Index, columns: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield why no index can have this one's predicate; ``columns`` are its table's rows of COLUMNS by name."""
    catalog, predicate = predicates.catalog, f"the predicate of {index.name}"
    try:
        resolved = predicates.checked(index)
    except NotUnderstood as reason:
        yield f"{predicate} does not work on {qualified(catalog.schema, index.table)}: {reason}"
        return
    used = [columns[word] for word in words_in(tokens(resolved)) if word in columns]
    for column in used:
        if column["is_virtual"]:
            yield f"{predicate} uses {column['name']}, a virtual generated column: make it STORED"
    mutable = _mutable(catalog, resolved, columns)
    for name in mutable:
        yield f"{predicate} uses {name}, whose result can change: take it out of the predicate"
    samples = {column["name"]: sample for column in used if (sample := _sample(column))}
    if mutable or len(samples) < len(used):
        return
    if not predicates.explainer.is_immutable(index.table, resolved, samples):
        yield (
            f"{predicate} uses a function, a cast or an operator whose result can change, "
            "with the time zone for example: write it with immutable ones"
        )


def _sample(column: dict[str, Any]) -> str | None:
    """Return a constant of a column's type as SQL; None if none is known."""
    literal = column["label"] or SAMPLES.get(column["bare_type"]) or SAMPLES.get(column["category"])
    return f"{literal}::{column['type_name']}" if literal and column["kind"] in PLAIN_KINDS else None


def _mutable(catalog: CatalogReader, resolved: str, columns: Iterable[str]) -> list[str]:
    """Return the keywords and functions of a predicate whose result can change whatever their arguments are."""
    read = [token for token in tokens(resolved) if token.kind != "space"]
    called = [token.folded for token, following in pairwise(read) if following.text == "("]
    keywords = [token.folded for token in read if token.kind == "word" and MUTABLE_KEYWORD.fullmatch(token.folded)]
    functions = [row["name"] for row in catalog.rows(MUTABLE, words=called)]
    return [*(name for name in keywords if name not in columns), *functions]
