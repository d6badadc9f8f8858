"""Which indexes the server would refuse to build, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from indexer.definition import Column, Definition, Expression, KeyPart
from indexer.postgres.catalog.computable import unusable_expression, unusable_predicate
from indexer.postgres.catalog.parameters import wrong_parameters
from indexer.postgres.expression.columns import Types, columns_of
from indexer.postgres.expression.explain import NotUnderstood, Value, value_of
from indexer.postgres.expression.meaning import Expressions
from indexer.postgres.expression.names import collation, lacking, missing, operator_class
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
     WHERE m.amtype OPERATOR(pg_catalog.=) 'i'
       AND m.amname OPERATOR(pg_catalog.=) ANY (%(methods)s::pg_catalog.text[])
"""

ALL_METHODS = """
    SELECT m.amname AS name
      FROM pg_catalog.pg_am AS m
     WHERE m.amtype OPERATOR(pg_catalog.=) 'i'
"""

Declared = tuple[Index, Definition]
Columns = dict[str, dict[str, dict[str, Any]]]  # the rows of COLUMNS by table and name


def unbuildable(expressions: Expressions, indexes: Sequence[Index]) -> list[str]:
    """Return why the server cannot build these indexes on their tables, one sentence each.

    Missing columns are left out, and of an index on a table that is still to be created all that depends on it.
    """
    if not indexes:
        return []
    catalog = expressions.catalog
    declared = [(index, index.postgresql) for index in indexes]
    wanted = sorted({each.method for _, each in declared})
    found = catalog.recall((METHODS, *wanted), lambda: catalog.ask(METHODS, methods=wanted))
    methods = {row["name"]: row for row in found}
    columns: Columns = defaultdict(dict)
    for row in columns_of(catalog, {index.table for index in indexes}):
        if row["of_table"]:
            columns[row["table_name"]][row["name"]] = row
    major = catalog.database.server_version // 10000
    known = [(index, each) for index, each in declared if each.method in methods]
    problems = [*_unsuitable_methods(catalog, methods, declared)]
    problems += _unknown_names(catalog, [(index, each) for index, each in known if not columns[index.table]])
    problems += _unsuitable_columns(catalog, columns, known)
    for index, each in declared:
        problems += wrong_parameters(index.name, each, major)
        if columns[index.table] and each.method in methods:
            problems += _unusable(expressions, index, each, columns[index.table])
    return list(dict.fromkeys(problems))


def _unsuitable_methods(
    catalog: CatalogReader, methods: dict[str, dict[str, Any]], declared: Iterable[Declared]
) -> Iterator[str]:
    for index, each in declared:
        using, columns = each.method, len(each.key)
        method = methods.get(using)
        if method is None:
            known = (row["name"] for row in catalog.rows(ALL_METHODS))
            yield f"{index.name} needs {missing('access method', using, known)}"
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


def _unknown_names(catalog: CatalogReader, declared: Iterable[Declared]) -> Iterator[str]:
    """Yield the operator classes and collations that the database does not have."""
    for index, each in declared:
        for part in each.key:
            yield from _unsuitable_options(catalog, index, part)


def _unsuitable_options(
    catalog: CatalogReader, index: Index, part: KeyPart, column_type: int | None = None
) -> Iterator[str]:
    """Yield why a part of a key, of this type if that is known, cannot have its operator class or its collation."""
    try:
        if part.opclass:
            operator_class(catalog, part.opclass, index.postgresql.method, column_type)
        if part.collation:
            collation(catalog, part.collation)
    except NotUnderstood as reason:
        yield f"{index.name} needs {reason}"


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
    if not part.opclass and not types.have_class(value.type, method):
        remedy = lacking(catalog, method, value.type)
        has_none = f"{method} has no {'default ' if remedy.startswith('name') else ''}operator class for it"
        change = "change the column's type" if isinstance(part, Column) else "cast it to another type"
        yield f"{name} has type {value.type_name}, and {has_none}: {remedy or change}"
    if part.collation and value.collation is None:
        yield f"{name} has type {value.type_name}, and takes no collation: leave collation out"
    yield from _unsuitable_options(catalog, index, part, value.type)


def _unusable(
    expressions: Expressions, index: Index, declared: Definition, columns: dict[str, dict[str, Any]]
) -> Iterator[str]:
    """Yield why no index can have the expressions and the predicate of this one.

    Args:
        columns: the rows of COLUMNS of its table, by name.
    """
    catalog = expressions.catalog
    for part in (part for part in declared.key if isinstance(part, Expression)):
        problems = [*unusable_expression(expressions, index, part.sql, columns)]
        if not problems:
            value = value_of(catalog, index.table, expressions.resolved(index.table, part.sql))
            types = Types(catalog, [{"type": value.type}])
            problems += _unsuitable_value(
                catalog, types, index, part, value, f"the expression {part.sql} of {index.name}"
            )
        yield from problems
    if declared.predicate:
        yield from unusable_predicate(expressions, index, declared.predicate, columns)
