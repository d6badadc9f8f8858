"""What PostgreSQL's planner makes of an expression: read from EXPLAIN, nothing is executed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from peewee import DatabaseError, DataError, Entity, InternalError, NotSupportedError, ProgrammingError

from indexer.postgres.expression.tokens import tokens, words_in
from indexer.postgres.session.reader import CatalogReader
from indexer.text import literal
from indexer.tuples import NamedTuple

# The plan is over an empty set of the table's row type: that takes no right on the table, meets no policy and no index,
# and is planned here even if the rows are on other servers. The settings make constants that all sessions read alike.
EXPLAIN = """
    SET LOCAL search_path TO {path};
    SET LOCAL datestyle TO 'ISO';
    {settings}
    SET LOCAL extra_float_digits TO 1;
    SET LOCAL max_parallel_workers_per_gather TO 0;
    EXPLAIN (VERBOSE, FORMAT JSON, COSTS OFF)
     SELECT {outputs}
       FROM {source} AS {alias}
      WHERE {condition}
"""
# The expression is not computed: nothing is joined. But its type and its collation are known.
TYPE = """
    SET LOCAL search_path TO {path};
    SELECT t.oid::pg_catalog.int8,
           pg_catalog.format_type(t.oid, NULL),
           CASE WHEN t.typcollation OPERATOR(pg_catalog.<>) 0 THEN pg_catalog.pg_collation_for(one.value) END
      FROM (SELECT computed.value
              FROM (SELECT 1) AS row
              LEFT JOIN (SELECT (
{expression}
                         ) AS value
                           FROM {source} AS {alias}) AS computed ON false) AS one (value)
      JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) pg_catalog.pg_typeof(one.value)::pg_catalog.oid
"""
NO_ROWS = "pg_catalog.json_populate_recordset(NULL::{table}, '[]')"

REFUSALS = (ProgrammingError, DataError, NotSupportedError, InternalError)
CONSTANTS = (["true"], ["false"], ["NULL::boolean"])
OPERATOR = re.compile(r"(?<!\S)[-+*/<>=~!@#%^&|`?]+(?!\S)")
NONE: Mapping[str, str] = {}
NOT_COMPUTED = {"row", "nullif"}  # immutable ones too; NULLIF before version 13


class Value(NamedTuple):
    """What an expression returns: the OID and the name of its type, and its collation as SQL if it has one."""

    type: int
    type_name: str
    collation: str | None


class NotUnderstood(Exception):
    """An expression cannot be used over the table; the text is the reason, without a full stop."""


def explain(
    catalog: CatalogReader,
    table: str,
    *expressions: str,
    schemas: Iterable[str] = (),
    settings: Mapping[str, str] = NONE,
) -> list[str]:
    """Return each expression over the columns of a table as the planner rewrites it.

    Args:
        schemas: where names are looked up after pg_catalog.
        settings: values of the session's settings until the transaction ends.

    Raises:
        NotUnderstood: the server refuses one of them, or one is more than an expression of one row.
    """
    plan = _plan(catalog, table, *expressions, schemas=schemas, settings=settings)
    if plan["Node Type"] != "Function Scan" or "Plans" in plan or len(plan["Output"]) != len(expressions):
        raise NotUnderstood("it uses a subquery, an aggregate or a function that returns a set")
    return list(map(str, plan["Output"]))


def value_of(catalog: CatalogReader, table: str, expression: str) -> Value:
    """Return what a resolved expression over the columns of a table returns; raise NotUnderstood as ``explain``."""
    query = TYPE.format(
        path=search_path(catalog),
        expression=expression,
        source=NO_ROWS.format(table=_quoted(catalog, catalog.schema, table)),
        alias=_quoted(catalog, table),
    )
    return Value(*_sent(catalog, query).fetchone())


def check_condition(catalog: CatalogReader, table: str, condition: str) -> None:
    """Raise NotUnderstood if the server does not accept an expression as a condition."""
    _plan(catalog, table, "1", condition=condition)


def is_immutable(catalog: CatalogReader, table: str, expression: str, samples: Mapping[str, str]) -> bool:
    """Return whether the planner computes an expression in advance for a row of constants.

    It does so for immutable functions and operators alone, and an index can have no other. Also true if the
    expression does not take these constants, or compares rows: that tells nothing.

    Args:
        expression: SQL of type boolean.
        samples: a constant as SQL for each column that the expression uses, by name.
    """
    row = ", ".join(f"{sample} AS {_quoted(catalog, name)}" for name, sample in samples.items())
    try:
        plan = _plan(catalog, table, expression, source=f"(SELECT {row})")
    except NotUnderstood:
        return True
    output = plan.get("Output", [])
    return output in CONSTANTS or not NOT_COMPUTED.isdisjoint(words_in(tokens(" ".join(output))))


def search_path(catalog: CatalogReader, schemas: Iterable[str] = ()) -> str:
    """Return a search path that ends with pg_temp, so that no temporary object hides another, as SQL."""
    return ", ".join(("pg_catalog", *(_quoted(catalog, schema) for schema in schemas), "pg_temp"))


def _plan(
    catalog: CatalogReader,
    table: str,
    *expressions: str,
    condition: str = "true",
    schemas: Iterable[str] = (),
    source: str | None = None,
    settings: Mapping[str, str] = NONE,
) -> dict[str, Any]:
    query = EXPLAIN.format(
        path=search_path(catalog, schemas),
        settings=" ".join(f"SET LOCAL {name} TO {literal(value)};" for name, value in settings.items()),
        outputs=", ".join(f"(\n{expression}\n)" for expression in expressions),
        source=source or NO_ROWS.format(table=_quoted(catalog, catalog.schema, table)),
        alias=_quoted(catalog, table),
        condition=f"(\n{condition}\n)",
    )
    (document,) = catalog.recall(query, lambda: _sent(catalog, query).fetchone())
    plan: dict[str, Any] = document[0]["Plan"]
    return plan


def _sent(catalog: CatalogReader, query: str) -> Any:
    try:
        return catalog.database.execute_sql(query.replace("%", "%%"))
    except REFUSALS as error:
        raise NotUnderstood(_primary_message(error)) from error


def _quoted(catalog: CatalogReader, *names: str | None) -> str:
    return str(catalog.database.get_sql_context().sql(Entity(*filter(None, names))).query()[0])


def _primary_message(error: DatabaseError) -> str:
    diagnostics = getattr(error.__context__, "diag", None)
    message = (getattr(diagnostics, "message_primary", None) or str(error).splitlines()[0]).rstrip(".")
    if getattr(diagnostics, "source_function", None) != "op_error":
        return message
    operator = OPERATOR.search(message)
    return f"{message}; an extension's operator is written OPERATOR(schema.{operator[0] if operator else '='})"
