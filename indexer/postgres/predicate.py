"""The predicates of partial indexes: what the server understands by a text, without access to the table's rows."""

from __future__ import annotations

from typing import Any, Protocol

from peewee import DatabaseError, DataError, Entity, InternalError, NotSupportedError, ProgrammingError

from indexer.spec import Index

# What the planner makes of an expression is read from a plan over an empty set of the table's row type: that takes no
# right on the table, meets no policy and no index, and is planned here also where the rows are on other servers.
EXPLAIN = """
    EXPLAIN (VERBOSE, FORMAT JSON, COSTS OFF)
     SELECT {outputs}
       FROM pg_catalog.json_populate_recordset(NULL::{table}, '[]') AS {alias}
"""

# The planner runs an immutable function that has only constants, with the rights of the role that asks.
CALLS_STRANGERS = """
    SELECT EXISTS (
           SELECT 1
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
              AND r.rolname OPERATOR(pg_catalog.<>) CURRENT_USER) AS calls_strangers
"""

REFUSALS = (ProgrammingError, DataError, NotSupportedError, InternalError)


class Asks(Protocol):
    """The part of the catalog that predicates need."""

    database: Any
    schema: str | None

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of one SELECT as dictionaries."""


class NotUnderstood(Exception):
    """The server refuses an expression over the table; the text is the server's reason."""


class Predicates:
    """Reads and compares the predicates of one schema's indexes."""

    def __init__(self, catalog: Asks) -> None:
        self.catalog = catalog

    def compared(self, index: Index, name: str, found: str) -> str | None:
        """Return the declared predicate, as ``found``, the text of the index with this name, if the two are the same.

        The server rewrites a predicate when it stores it (``flag_type = 'x'`` comes back with casts), and its planner
        rewrites it once more. What the planner makes of both is compared. A found predicate that calls a function of
        another role is never the same, and is not shown to the planner, which might call it.
        """
        declared = index.on_postgresql.where
        if declared is None or self._calls_strangers(name):
            return declared
        try:
            ours, theirs = self.explained(index.table, declared, found)
        except NotUnderstood:
            return declared
        return found if ours == theirs else ours

    def explained(self, table: str, *expressions: str) -> list[str]:
        """Return what the planner makes of expressions over a table's columns.

        Raises:
            NotUnderstood: the server refuses one of them.
        """
        outputs = ", ".join(f"(\n{expression}\n)" for expression in expressions)
        row_type, alias = self._quoted(self.catalog.schema, table), self._quoted(table)
        query = EXPLAIN.format(outputs=outputs, table=row_type, alias=alias).replace("%", "%%")
        try:
            (plan,) = self.catalog.database.execute_sql(query).fetchone()
        except REFUSALS as error:
            raise NotUnderstood(_primary_message(error)) from error
        found = plan[0]["Plan"].get("Output", ())
        if len(found) != len(expressions):
            raise NotUnderstood("it returns more than one value")
        return list(map(str, found))

    def _calls_strangers(self, name: str) -> bool:
        (row,) = self.catalog.rows(CALLS_STRANGERS, name=name)
        return bool(row["calls_strangers"])

    def _quoted(self, *names: str | None) -> str:
        entity = Entity(*filter(None, names))
        return str(self.catalog.database.get_sql_context().sql(entity).query()[0])


def _primary_message(error: DatabaseError) -> str:
    diagnostics = getattr(error.__context__, "diag", None)
    return (getattr(diagnostics, "message_primary", None) or str(error).splitlines()[0]).rstrip(".")
