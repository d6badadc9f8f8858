"""Which expressions and predicates no index can have, and why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from indexer.postgres.expression.explain import NotUnderstood, check_condition, is_immutable
from indexer.postgres.expression.literals import unsettled
from indexer.postgres.expression.meaning import Expressions
from indexer.postgres.expression.tokens import tokens, words_in
from indexer.postgres.session.reader import CatalogReader
from indexer.spec import Index
from indexer.text import qualified
from indexer.tuples import NamedTuple

# The functions of these names that no index can use, whatever their arguments are.
MUTABLE = """
    SELECT p.proname AS name
      FROM pg_catalog.pg_proc AS p
     WHERE p.proname OPERATOR(pg_catalog.=) ANY (%(words)s::pg_catalog.text[])
     GROUP BY p.proname
    HAVING pg_catalog.bool_and(p.provolatile OPERATOR(pg_catalog.<>) 'i')
"""
MUTABLE_KEYWORD = re.compile("current_(date|time|timestamp|user|role|catalog|schema)|localtime(stamp)?|(session_)?user")

OF_A_MOMENT = ("now", "random", "clock_timestamp", "statement_timestamp", "transaction_timestamp", "timeofday")

# What to write instead of a function, which has another result for some types or in some sessions.
INSTEAD = dict.fromkeys(("concat", "concat_ws", "format"), "write || and coalesce instead")
INSTEAD["to_char"] = "call an IMMUTABLE function instead, such as date_part or date_trunc for a timestamp"

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

Columns = Mapping[str, dict[str, Any]]


class Called(NamedTuple):
    """What a sentence calls an expression: the first time, and after that."""

    whole: str
    short: str


def unusable_expression(expressions: Expressions, index: Index, sql: str, columns: Columns) -> Iterator[str]:
    """Yield why no index can have an expression in its key; ``columns`` are its table's rows of COLUMNS by name."""
    called = Called(f"the expression {sql} of {index.name}", "the expression")
    return _unusable(expressions, called, index.table, sql, columns)


def unusable_predicate(expressions: Expressions, index: Index, sql: str, columns: Columns) -> Iterator[str]:
    """Yield why no index can have a predicate; ``columns`` are its table's rows of COLUMNS by name."""
    called = Called(f"the predicate of {index.name}", "the predicate")
    return _unusable(expressions, called, index.table, sql, columns, is_condition=True)


def _unusable(
    expressions: Expressions, called: Called, table: str, sql: str, columns: Columns, is_condition: bool = False
) -> Iterator[str]:
    catalog = expressions.catalog
    try:
        resolved = expressions.resolved(table, sql)
        if is_condition:
            check_condition(catalog, table, resolved)
        wrong = [*unsettled(expressions, table, sql)]
    except NotUnderstood as reason:
        yield f"{called.whole} does not work on {qualified(catalog.schema, table)}: {reason}"
        return
    used = [columns[word] for word in words_in(tokens(resolved)) if word in columns]
    for column in used:
        if column["is_virtual"]:
            yield f"{called.whole} uses {column['name']}, a virtual generated column: make it STORED"
    mutable = _mutable(catalog, resolved, columns)
    for name in mutable:
        yield f"{called.whole} uses {name}, whose result can change: {_instead(name, called.short)}"
    yield from (f"{called.whole} {each}" for each in wrong)
    samples = {column["name"]: sample for column in used if (sample := _sample(column))}
    if mutable or wrong or len(samples) < len(used):
        return
    if not is_immutable(catalog, table, resolved if is_condition else f"({resolved}) IS NULL", samples):
        yield (
            f"{called.whole} uses a function, a cast or an operator whose result can change, "
            "with the time zone for example: write it with immutable ones"
        )


def _instead(name: str, expression: str) -> str:
    """Return what to do about a function or a keyword whose result can change."""
    if name in OF_A_MOMENT or MUTABLE_KEYWORD.fullmatch(name):
        return f"remove it from {expression}"
    return INSTEAD.get(name, f"call an IMMUTABLE function instead, or remove it from {expression}")


def _sample(column: dict[str, Any]) -> str | None:
    """Return a constant of a column's type as SQL; None if none is known."""
    literal = column["label"] or SAMPLES.get(column["bare_type"]) or SAMPLES.get(column["category"])
    return f"{literal}::{column['type_name']}" if literal and column["kind"] in PLAIN_KINDS else None


def _mutable(catalog: CatalogReader, resolved: str, columns: Iterable[str]) -> list[str]:
    """Return the keywords and functions of a predicate whose result can change whatever their arguments are."""
    read = [token for token in tokens(resolved) if token.kind != "space"]
    called = [token.folded for token, following in pairwise(read) if following.text == "("]
    keywords = [token.folded for token in read if token.kind == "word" and MUTABLE_KEYWORD.fullmatch(token.folded)]
    found = catalog.recall((MUTABLE, *called), lambda: catalog.ask(MUTABLE, words=called)) if called else []
    functions = [row["name"] for row in found]
    return [*(name for name in keywords if name not in columns), *functions]
