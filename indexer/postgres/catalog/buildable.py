"""Which indexes the server would refuse to build, and why."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from indexer.definition import Column, Definition, Expression, KeyPart
from indexer.postgres.catalog.parameters import wrong_parameters
from indexer.postgres.expression.columns import Types, columns_of
from indexer.postgres.expression.explain import NotUnderstood, Value, check_condition, is_immutable, value_of
from indexer.postgres.expression.meaning import Expressions
from indexer.postgres.expression.names import collation, lacking, missing, operator_class
from indexer.postgres.expression.tokens import tokens, words_in
from indexer.postgres.session.reader import CatalogReader
from indexer.spec import Index
from indexer.text import qualified

METHODS = """
    SELECT m.amname AS name,
           pg_catalog.pg_indexam_has_property(m.oid, 'can_order') AS can_order,
           pg_catalog.pg_indexam_has_property(m.oid, 'can_unique') AS can_unique,
           pg_catalog.pg_indexam_has_property(m.oid, 'can_multi_col') AS can_multi_col,
           pg_catalog.pg_indexam_has_property(m.oid, 'can_include') AS can_include,
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

Declared = tuple[Index, Definition]
Columns = dict[str, dict[str, dict[str, Any]]]  # the rows of COLUMNS by table and name


class Called(NamedTuple):
    """What a sentence calls an expression: the first time, and after that."""

    whole: str
    short: str


def unbuildable(expressions: Expressions, indexes: Sequence[Index]) -> list[str]:
    """Return why the server cannot build these indexes on their tables, one sentence each.

    Missing columns and tables are left out.
    """
    if not indexes:
        return []
    catalog = expressions.catalog
    declared = [(index, index.postgresql) for index in indexes]
    methods = {row["name"]: row for row in catalog.rows(METHODS, methods=sorted({each.method for _, each in declared}))}
    columns: Columns = defaultdict(dict)
    for row in columns_of(catalog, {index.table for index in indexes}):
        if row["of_ordinary_table"]:
            columns[row["table_name"]][row["name"]] = row
    major = catalog.database.server_version // 10000
    known = [(index, each) for index, each in declared if each.method in methods]
    problems = [*_unsuitable_methods(methods, declared), *_unsuitable_columns(catalog, columns, known)]
    for index, each in declared:
        problems += wrong_parameters(index.name, each, major)
        if columns[index.table] and each.method in methods:
            problems += _unusable(expressions, index, each, columns[index.table])
    return list(dict.fromkeys(problems))


def _unsuitable_methods(methods: dict[str, dict[str, Any]], declared: Iterable[Declared]) -> Iterator[str]:
    for index, each in declared:
        using, columns = each.method, len(each.key)
        method = methods.get(using)
        if method is None:
            yield f"{index.name} needs {missing('access method', using)}"
            continue
        if columns + len(each.include) > method["most_columns"]:
            count = columns + len(each.include)
            yield f"{index.name} has {count} columns, and an index can have {method['most_columns']}"
        if columns > 1 and not method["can_multi_col"]:
            yield f"{index.name} has {columns} columns, and access method {using} takes one"
        if index.unique and not method["can_unique"]:
            yield f"{index.name} is unique, and access method {using} cannot be"
        if any(part.descending for part in each.key) and not method["can_order"]:
            yield f"{index.name} has a descending column, and access method {using} keeps no order"
        elif any(part.nulls for part in each.key) and not method["can_order"]:
            yield f"{index.name} has an order of NULLs, and access method {using} keeps no order"
        if each.include and not method["can_include"]:
            yield f"{index.name} includes columns, and access method {using} stores none beside the key"


def _unsuitable_columns(catalog: CatalogReader, columns: Columns, declared: Iterable[Declared]) -> Iterator[str]:
    used = [
        (index, each, part, columns[each.table].get(part.name))
        for index, each in declared
        for part in (*each.key, *map(Column, each.include))
        if isinstance(part, Column)
    ]
    types = Types(catalog, [column for _, _, _, column in used if column])
    for index, each, part, column in used:
        if column is None:
            continue
        name = qualified(catalog.schema, each.table, column["name"])
        if column["is_virtual"]:
            yield f"{name} is a virtual generated column, which PostgreSQL cannot index: make it STORED"
        elif part in each.key:
            value = Value(column["type"], column["type_name"], column["collation"])
            yield from _unsuitable_value(catalog, types, index, part, value, name)


def _unsuitable_value(
    catalog: CatalogReader, types: Types, index: Index, part: KeyPart, value: Value, name: str
) -> Iterator[str]:
    """Yield why an access method cannot have a part of a key, whose value this is, as it is declared."""
    method = index.postgresql.method
    try:
        if part.opclass:
            operator_class(catalog, part.opclass, method, value.type)
        elif not types.have_class(value.type, method):
            remedy = lacking(catalog, method, value.type)
            has_none = f"{method} has no {'default ' if remedy.startswith('name') else ''}operator class for it"
            change = "change the column's type" if isinstance(part, Column) else "cast it to another type"
            yield f"{name} has type {value.type_name}, and {has_none}: {remedy or change}"
        if part.collation:
            collation(catalog, part.collation)
            if value.collation is None:
                yield f"{name} has type {value.type_name}, and takes no collation: leave collation out"
    except NotUnderstood as reason:
        yield f"{index.name} needs {reason}"


def _unusable(
    expressions: Expressions, index: Index, declared: Definition, columns: dict[str, dict[str, Any]]
) -> Iterator[str]:
    """Yield why no index can have the expressions and the predicate of this one.

    Args:
        columns: the rows of COLUMNS of its table, by name.
    """
    catalog = expressions.catalog
    for part in (part for part in declared.key if isinstance(part, Expression)):
        called = Called(f"the expression {part.sql} of {index.name}", "the expression")
        problems = [*_unusable_text(expressions, called, index.table, part.sql, columns)]
        if not problems:
            value = value_of(catalog, index.table, expressions.resolved(index.table, part.sql))
            types = Types(catalog, [{"type": value.type}])
            problems += _unsuitable_value(catalog, types, index, part, value, called.whole)
        yield from problems
    if declared.predicate:
        called = Called(f"the predicate of {index.name}", "the predicate")
        yield from _unusable_text(expressions, called, index.table, declared.predicate, columns)


def _unusable_text(
    expressions: Expressions, called: Called, table: str, declared: str, columns: dict[str, dict[str, Any]]
) -> Iterator[str]:
    """Yield why no index can have an expression or a predicate."""
    catalog, is_predicate = expressions.catalog, called.short == "the predicate"
    try:
        resolved = expressions.resolved(table, declared)
        if is_predicate:
            check_condition(catalog, table, resolved)
    except NotUnderstood as reason:
        yield f"{called.whole} does not work on {qualified(catalog.schema, table)}: {reason}"
        return
    used = [columns[word] for word in words_in(tokens(resolved)) if word in columns]
    for column in used:
        if column["is_virtual"]:
            yield f"{called.whole} uses {column['name']}, a virtual generated column: make it STORED"
    mutable = _mutable(catalog, resolved, columns)
    for name in mutable:
        yield f"{called.whole} uses {name}, whose result can change: remove it from {called.short}"
    samples = {column["name"]: sample for column in used if (sample := _sample(column))}
    if mutable or len(samples) < len(used):
        return
    if not is_immutable(catalog, table, resolved if is_predicate else f"({resolved}) IS NULL", samples):
        yield (
            f"{called.whole} uses a function, a cast or an operator whose result can change, "
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
