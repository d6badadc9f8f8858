"""The predicates of partial indexes: what the server understands by a text, without access to the table's rows.

The application writes ``flag_type = 'opted_out'`` and finds the operator on its search path; ours is pinned to
pg_catalog, where a citext column is compared as text. A predicate is therefore resolved with the types of the columns
that it mentions: operators, functions and types are taken from pg_catalog and from the extensions of these types, and
from nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any, NamedTuple, Protocol

from peewee import DatabaseError, DataError, Entity, InternalError, NotSupportedError, ProgrammingError

from indexer.postgres.expression import Token, collations_in, is_type, operators_in, tokens, words_in
from indexer.postgres.session import Question
from indexer.spec import Index
from indexer.text import few, identifier

# What the planner makes of an expression is read from a plan over an empty set of the table's row type: that takes no
# right on the table, meets no policy and no index, and is planned here also where the rows are on other servers. Its
# constants are to be read the same by other sessions.
EXPLAIN = """
    SET LOCAL search_path TO {path};
    SET LOCAL datestyle TO 'ISO';
    SET LOCAL extra_float_digits TO 1;
    SET LOCAL max_parallel_workers_per_gather TO 0;
    EXPLAIN (VERBOSE, FORMAT JSON, COSTS OFF)
     SELECT {outputs}
       FROM {source} AS {alias}
      WHERE {condition}
"""
NO_ROWS = "pg_catalog.json_populate_recordset(NULL::{table}, '[]')"

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

# Each mentioned column's type, and the types that a domain or an array of it is made of.
TYPES = """
      WITH RECURSIVE used (oid) AS (
           SELECT a.atttypid
             FROM pg_catalog.pg_attribute AS a
             JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) a.attrelid
            WHERE c.relnamespace OPERATOR(pg_catalog.=) %(namespace)s
              AND c.relname OPERATOR(pg_catalog.=) ANY (%(tables)s::pg_catalog.text[])
              AND a.attnum OPERATOR(pg_catalog.>) 0
              AND (%(words)s::pg_catalog.text[] IS NULL
                   OR a.attname OPERATOR(pg_catalog.=) ANY (%(words)s::pg_catalog.text[]))
            UNION
           SELECT part.oid
             FROM used
             JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) used.oid
            CROSS JOIN LATERAL (VALUES (t.typbasetype), (t.typelem)) AS part (oid)
            WHERE part.oid OPERATOR(pg_catalog.<>) 0)
    SELECT t.oid::pg_catalog.int8 AS oid,
           t.typname AS name,
           n.nspname AS schema,
           n.oid::pg_catalog.int8 AS namespace,
           pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS may_use,
           CURRENT_USER::pg_catalog.text AS role,
           EXISTS (
           SELECT 1
             FROM pg_catalog.pg_depend AS d
            WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
              AND d.objid OPERATOR(pg_catalog.=) t.oid
              AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
              AND d.deptype OPERATOR(pg_catalog.=) 'e') AS of_extension
      FROM used
      JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) used.oid
      JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
     WHERE n.nspname OPERATOR(pg_catalog.<>) 'pg_catalog'
"""

# The operators and functions of these schemas that have a name which the predicate uses. One is to be trusted if an
# extension made it, and if its code was written by a superuser or by our own role; an extension's owner can add others.
# Without names these are all operators, and the functions that have the name of one in pg_catalog.
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
           OR %(cast)s
           OR EXISTS (
              SELECT 1
                FROM pg_catalog.unnest(named.types) AS operand (oid)
                JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) operand.oid
               WHERE t.typtype OPERATOR(pg_catalog.=) 'p'
                  OR t.oid OPERATOR(pg_catalog.=) ANY (
                     SELECT a.atttypid
                       FROM pg_catalog.pg_attribute AS a
                       JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) a.attrelid
                      WHERE c.relnamespace OPERATOR(pg_catalog.=) %(namespace)s
                        AND c.relname OPERATOR(pg_catalog.=) ANY (%(tables)s::pg_catalog.text[])
                        AND (%(words)s::pg_catalog.text[] IS NULL
                             OR a.attname OPERATOR(pg_catalog.=) ANY (%(words)s::pg_catalog.text[])))
                  OR t.oid OPERATOR(pg_catalog.=) ANY (%(types)s::pg_catalog.oid[])) AS can_win
      FROM named
      JOIN pg_catalog.pg_namespace AS s ON s.oid OPERATOR(pg_catalog.=) named.namespace
      JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) named.code
      JOIN pg_catalog.pg_language AS l ON l.oid OPERATOR(pg_catalog.=) p.prolang
      JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) p.proowner
     WHERE s.oid OPERATOR(pg_catalog.=) ANY (%(namespaces)s::pg_catalog.oid[])
"""

COLUMN_TYPES = Question(
    "indexer_column_types",
    {"namespace": "bigint", "tables": "pg_catalog.text[]", "words": "pg_catalog.text[]"},
    TYPES,
)

REFUSALS = (ProgrammingError, DataError, NotSupportedError, InternalError)
MOST_GUESSES = 256
CONSTANTS = (["true"], ["false"], ["NULL::boolean"])


class Asks(Protocol):
    """The part of the catalog that predicates need."""

    database: Any
    schema: str | None

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of one SELECT as dictionaries."""

    def ask(self, question: Question, **parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of a question that is asked again and again."""


class NotUnderstood(Exception):
    """An expression cannot be used over the table; the text is the reason, without a full stop."""


class Scope(NamedTuple):
    """Where the names of one predicate may be looked up, beside pg_catalog.

    ``types`` and ``names`` give the schemas of types, and of an extension's operators and functions, by their names.
    """

    schemas: tuple[str, ...]
    types: dict[str, str]
    names: dict[str, list[str]]


class Predicates:
    """Resolves and compares the predicates of one schema's indexes."""

    def __init__(self, catalog: Asks) -> None:
        self.catalog = catalog

    def resolved(self, index: Index) -> str | None:
        """Return the declared predicate with every name that is not in pg_catalog qualified.

        The text comes back as it was declared where it means the same with pg_catalog alone.

        Raises:
            NotUnderstood: the server refuses it, or a name could be another role's.
        """
        resolved = self._qualified(index)
        if resolved is not None and resolved == index.on_postgresql.where:
            self._explained(index.table, resolved)
        return resolved

    def _qualified(self, index: Index) -> str | None:
        """Return the predicate as ``resolved``; where it stays as declared, the server need not have accepted it."""
        declared = index.on_postgresql.where
        if declared is None:
            return None
        scope = self._scope(index.table, declared)
        if scope is None:
            return declared
        path = self._path(scope.schemas)
        (meant,) = self._explained(index.table, declared, path=path)
        for text in (declared, *_guesses(meant, scope)):
            if self._means(index.table, text, meant, scope):
                return text
        raise NotUnderstood(
            f"it cannot be written without relying on a search path: write it with OPERATOR({scope.schemas[0]}.…)"
        )

    def checked(self, index: Index) -> str:
        """Return the predicate as ``resolved``, once the server has accepted it as a condition.

        Raises:
            NotUnderstood: with the reason.
        """
        resolved = self.resolved(index) or "true"
        self._plan(index.table, "1", condition=resolved)
        return resolved

    def path(self, tables: Sequence[str]) -> str:
        """Return the search path on which a query of these tables means what it means to the application.

        Raises:
            NotUnderstood: on that path an operator or a function of another role could be taken for the one meant.
        """
        types = [row for row in self.catalog.ask(COLUMN_TYPES, tables=list(tables), words=None) if row["of_extension"]]
        if types:
            _refuse_strangers(self._candidates(tables, None, None, types, types))
        return self._path(tuple(dict.fromkeys(row["schema"] for row in types)))

    def is_immutable(self, table: str, resolved: str, samples: Mapping[str, str]) -> bool:
        """Return whether the planner can compute a resolved predicate for a row of these constants, one a column.

        That it does for immutable functions and operators alone, and no index can have any other. True also where it
        cannot be said, because the predicate does not take these constants.
        """
        row = ", ".join(f"{sample} AS {self._quoted(name)}" for name, sample in samples.items())
        source = f"(SELECT {row})".replace("{", "{{").replace("}", "}}")
        try:
            plan = self._plan(table, resolved, source=source)
        except NotUnderstood:
            return True
        return plan.get("Output") in CONSTANTS

    def settled(self, index: Index) -> str | None:
        """Return the predicate as ``resolved``, or as it is declared where it cannot be resolved."""
        try:
            return self.resolved(index)
        except NotUnderstood:
            return index.on_postgresql.where

    def compared(self, index: Index, name: str, found: str, **of: int) -> str | None:
        """Return the declared predicate, as ``found``, the text of the index with this name, if the two are the same.

        The server rewrites a predicate when it stores it (``flag_type = 'x'`` comes back with casts), and its planner
        rewrites it once more. What the planner makes of both is compared. A found predicate that calls a function of
        another role is never the same, and is not shown to the planner, which might call it. Nor is any found one the
        same as a declared predicate that cannot be resolved; that comes back with the reason. ``namespace`` is given
        for an index of another schema.
        """
        try:
            declared = self._qualified(index)
        except NotUnderstood as reason:
            return f"{index.on_postgresql.where} ({reason})"
        if declared is None or self._calls_strangers(name, **of):
            return declared
        # The planner's text leaves out which collation an operator compares with.
        if collations_in(list(tokens(declared))) != collations_in(list(tokens(found))):
            return declared
        try:
            ours, theirs = self._explained(index.table, declared, found)
        except NotUnderstood as reason:
            return f"{declared} ({reason})"
        return found if ours == theirs else ours

    # What the server understands -----------------------------------------------------------------------------------

    def _explained(self, table: str, *expressions: str, path: str | None = None) -> list[str]:
        """Return what the planner makes of expressions over a table's columns.

        Raises:
            NotUnderstood: the server refuses one of them.
        """
        plan = self._plan(table, *expressions, path=path)
        if plan["Node Type"] != "Function Scan" or "Plans" in plan or len(plan["Output"]) != len(expressions):
            raise NotUnderstood("it uses a subquery, an aggregate or a function that returns a set")
        return list(map(str, plan["Output"]))

    def _plan(
        self, table: str, *expressions: str, condition: str = "true", path: str | None = None, source: str = NO_ROWS
    ) -> dict[str, Any]:
        query = EXPLAIN.format(
            path=path or self._path(),
            outputs=", ".join(f"(\n{expression}\n)" for expression in expressions),
            source=source.format(table=self._quoted(self.catalog.schema, table)),
            alias=self._quoted(table),
            condition=f"(\n{condition}\n)",
        )
        try:
            (document,) = self.catalog.database.execute_sql(query.replace("%", "%%")).fetchone()
        except REFUSALS as error:
            raise NotUnderstood(_primary_message(error)) from error
        plan: dict[str, Any] = document[0]["Plan"]
        return plan

    def _means(self, table: str, text: str, meant: str, scope: Scope) -> bool:
        """Return whether a text means, with pg_catalog alone, what was meant with the schemas of the scope."""
        try:
            (understood,) = self._explained(table, text)
        except NotUnderstood:
            return False
        return _unqualified(understood, scope) == _unqualified(meant, scope)

    def _calls_strangers(self, name: str, **of: int) -> bool:
        (row,) = self.catalog.rows(CALLS_STRANGERS, name=name, **of)
        return bool(row["calls_strangers"])

    def _scope(self, table: str, predicate: str) -> Scope | None:
        """Return where names are to be looked up; None if that is pg_catalog alone.

        Raises:
            NotUnderstood: one of these schemas holds something of this name that is not its extension's.
        """
        read = list(tokens(predicate))
        words = words_in(read)
        types = self.catalog.ask(COLUMN_TYPES, tables=[table], words=words)
        # An enum's constant takes no right on its schema, but the text that the server keeps of it does.
        closed = next((row for row in types if not row["may_use"]), None)
        if closed:
            schema, role = identifier(closed["schema"]), identifier(closed["role"])
            grant = f"GRANT USAGE ON SCHEMA {schema} TO {role}"
            raise NotUnderstood(f"role {role} may not use the schema of type {closed['name']}: {grant}")
        used = [row for row in types if row["of_extension"] or row["name"] in words]
        if not used:
            return None
        casts = any(is_type(read, place) or token.lowered == "cast" for place, token in enumerate(read))
        candidates = self._candidates([table], words, operators_in(read), types, used, casts)
        _refuse_strangers(candidates)
        names: dict[str, list[str]] = {}
        for row in candidates:
            if row["trusted"]:
                names.setdefault(row["name"], []).append(row["schema"])
        return Scope(tuple(dict.fromkeys(row["schema"] for row in used)), _schema_by_name(types), names)

    def _candidates(
        self,
        tables: Sequence[str],
        words: Sequence[str] | None,
        operators: Sequence[str] | None,
        types: Sequence[dict[str, Any]],
        used: Sequence[dict[str, Any]],
        casts: bool = False,
    ) -> list[dict[str, Any]]:
        return self.catalog.rows(
            CANDIDATES,
            tables=list(tables),
            words=words,
            operators=operators,
            types=[row["oid"] for row in types],
            namespaces=sorted({row["namespace"] for row in used}),
            cast=casts,
        )

    def _path(self, schemas: Sequence[str] = ()) -> str:
        return ", ".join(("pg_catalog", *map(self._quoted, schemas), "pg_temp"))

    def _quoted(self, *names: str | None) -> str:
        entity = Entity(*filter(None, names))
        return str(self.catalog.database.get_sql_context().sql(entity).query()[0])


def _schema_by_name(types: Sequence[dict[str, Any]]) -> dict[str, str]:
    return {identifier(row["name"]): row["schema"] for row in types}


def _refuse_strangers(candidates: Sequence[dict[str, Any]]) -> None:
    """Raise NotUnderstood if an operator or a function that no extension made could be taken for the one meant."""
    strangers = [
        f"{row['kind']} {identifier(row['schema'])}.{row['name']} of role {row['owner']}"
        for row in candidates
        if not row["trusted"] and row["can_win"]
    ]
    if strangers:
        listed = ", ".join(few(list(dict.fromkeys(strangers))))
        raise NotUnderstood(f"{listed} could be taken for the one it means: drop or rename that")


def _guesses(meant: str, scope: Scope) -> Iterator[str]:
    """Yield the texts that what was meant can be qualified to, those with most names of the extension first."""
    read = list(tokens(meant))
    choices = [_choices(read, place, scope) for place in range(len(read))]
    for chosen in islice(product(*choices), MOST_GUESSES):
        yield "".join(chosen)


def _choices(read: Sequence[Token], place: int, scope: Scope) -> list[str]:
    token = read[place]
    if is_type(read, place) and token.text in scope.types:
        return [f"{identifier(scope.types[token.text])}.{token.text}"]
    schemas = map(identifier, scope.names.get(token.text, ()))
    if token.kind == "operator":
        return [*(f"OPERATOR({schema}.{token.text})" for schema in schemas), token.text]
    if token.kind == "word" and read[place + 1 : place + 2] and read[place + 1].text == "(":
        return [*(f"{schema}.{token.text}" for schema in schemas), token.text]
    return [token.text]


def _unqualified(text: str, scope: Scope) -> list[str]:
    """Return the tokens of what the planner printed, without the schemas of the scope."""
    schemas = set(map(identifier, scope.schemas))
    read = [token.text for token in tokens(text) if token.kind != "space"]
    bare: list[str] = []
    place = 0
    while place < len(read):
        following = read[place : place + 3]
        if following[0] == "OPERATOR" and following[-1] in schemas:  # OPERATOR ( schema . = )
            bare.append(read[place + 4])
            place += 6
        elif following[0] in schemas and following[1:2] == ["."]:
            place += 2
        else:
            bare.append(following[0])
            place += 1
    return bare


def _primary_message(error: DatabaseError) -> str:
    diagnostics = getattr(error.__context__, "diag", None)
    return (getattr(diagnostics, "message_primary", None) or str(error).splitlines()[0]).rstrip(".")
