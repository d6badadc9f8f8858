"""The expressions and predicates of indexes: what the application means by them, written so that every session agrees.

The application writes ``flag_type = 'opted_out'`` and finds the operator on its search path. Our search path is pinned
to pg_catalog, where a citext column is compared as text. So each expression is resolved:

1. Find the types of the columns that it mentions, and the extensions that have a function, an operator or a type of
   which pg_catalog has none. If pg_catalog is enough, the text stays as declared.
2. Look names up in pg_catalog and in the schemas of these types and extensions, and nowhere else (lookup.py). If
   another role's operator or function could be taken for the one that is meant, refuse.
3. Ask the planner what the text means on that search path (explain.py).
4. Write schemas before the names in the planner's answer, in each possible way, until the planner understands the same
   on pg_catalog alone. That text is resolved; ``up``, scripts and comparisons use it.

Two expressions are the same if the planner makes the same of both. No step needs a right on the table's rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product

from indexer.postgres.expression.explain import NotUnderstood, explain, search_path
from indexer.postgres.expression.lookup import Scope, calls_untrusted, extension_schemas, scope_of
from indexer.postgres.expression.tokens import Token, collations_in, tokens, without_schemas
from indexer.postgres.session.reader import CatalogReader
from indexer.text import identifier

MOST_GUESSES = 256
NOTHING = Token("", "")


class Expressions:
    """Resolves and compares the expressions and predicates of one schema's indexes."""

    def __init__(self, catalog: CatalogReader) -> None:
        self.catalog = catalog

    def resolved(self, table: str, declared: str) -> str:
        """Return a declared expression over a table with every name that is not in pg_catalog qualified.

        The text is the declared one if it means the same with pg_catalog alone.

        Raises:
            NotUnderstood: the server refuses it, or a name could be another role's; or there is no table yet, which the
                server is not asked about, because it would write an error into its log.
        """
        if self.catalog.lacks(table):
            raise NotUnderstood(f"table {table} does not exist")
        resolved = self._qualified(table, declared)
        if resolved == declared:
            explain(self.catalog, table, resolved)
        return resolved

    def compared(self, table: str, declared: str, name: str, found: str, namespace: int | None = None) -> str:
        """Return ``found`` if the declared expression is the same, else the declared one to show beside it.

        The server rewrites an expression when it stores it (``flag_type = 'x'`` gets casts), and its planner rewrites
        it once more; what the planner makes of both is compared. An expression of an index that calls a function of
        another role is never the same, and is not shown to the planner, which might call it. Nor is any the same as a
        declared one that cannot be resolved; that one is returned with the reason.

        Args:
            name: of the index in the catalog.
            found: its expression or predicate.
            namespace: OID of its schema, if that is another than the catalog's.
        """
        try:
            resolved = self._qualified(table, declared)
        except NotUnderstood as reason:
            return f"{declared} ({reason})"
        if calls_untrusted(self.catalog, name, namespace or self.catalog.namespace):
            return resolved
        # The planner's text leaves out which collation an operator compares with.
        if collations_in(tokens(resolved)) != collations_in(tokens(found)):
            return resolved
        try:
            meant, stored = explain(self.catalog, table, resolved, found)
        except NotUnderstood as reason:
            return f"{resolved} ({reason})"
        return found if meant == stored else meant

    def planned(self, table: str, declared: str, settings: Mapping[str, str]) -> str:
        """Return what the planner makes of a declared expression in a session with these settings.

        Raises:
            NotUnderstood: as ``resolved``.
        """
        scope = scope_of(self.catalog, table, declared)
        schemas = scope.schemas if scope else ()
        (text,) = explain(self.catalog, table, declared, schemas=schemas, settings=settings)
        return text

    def path(self, tables: Sequence[str]) -> str:
        """Return the search path on which a query of these tables means what it means to the application.

        Raises:
            NotUnderstood: on that path an operator or a function of another role could be taken for the one meant.
        """
        return search_path(self.catalog, extension_schemas(self.catalog, tables))

    def _qualified(self, table: str, declared: str) -> str:
        """Return the expression as ``resolved``, but one that stays as declared is not shown to the server."""
        scope = scope_of(self.catalog, table, declared)
        if scope is None:
            return declared
        (meant,) = explain(self.catalog, table, declared, schemas=scope.schemas)
        for text in (declared, *_guesses(meant, scope)):
            if self._means(table, text, meant, scope):
                return text
        raise NotUnderstood(
            f"it cannot be written without relying on a search path: write it with OPERATOR({scope.schemas[0]}.…)"
        )

    def _means(self, table: str, text: str, meant: str, scope: Scope) -> bool:
        """Return whether a text means, with pg_catalog alone, what was meant with the schemas of the scope."""
        try:
            (understood,) = explain(self.catalog, table, text)
        except NotUnderstood:
            return False
        schemas = list(map(identifier, scope.schemas))
        return without_schemas(understood, schemas) == without_schemas(meant, schemas)


def _guesses(meant: str, scope: Scope) -> Iterator[str]:
    """Yield the texts that what was meant can be qualified to, those with most names of the extension first."""
    read = tokens(meant)
    choices = [_choices(*three, scope) for three in zip([NOTHING, *read], read, [*read[1:], NOTHING], strict=False)]
    for chosen in islice(product(*choices), MOST_GUESSES):
        yield "".join(chosen)


def _choices(before: Token, token: Token, after: Token, scope: Scope) -> list[str]:
    """Return the ways to write a token of the planner's text, which puts no space around ``::`` or before ``(``."""
    if before.text == "::" and token.text in scope.types:
        return [f"{identifier(scope.types[token.text])}.{token.text}"]
    names = [f"{identifier(schema)}.{token.text}" for schema in scope.names.get(token.text, ())]
    if token.kind == "operator":
        return [*(f"OPERATOR({name})" for name in names), token.text]
    if token.kind == "word" and after.text == "(":
        return [*names, token.text]
    return [token.text]
