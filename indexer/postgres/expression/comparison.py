"""The whole definition of a declared index: resolved to build it, and in the words of an existing one to compare it."""

from __future__ import annotations

from contextlib import suppress

from indexer.definition import FIRST, LAST, Definition, Expression, KeyPart
from indexer.postgres.expression.columns import columns_of
from indexer.postgres.expression.explain import NotUnderstood, value_of
from indexer.postgres.expression.meaning import Expressions
from indexer.postgres.expression.names import collation, operator_class
from indexer.tuples import NamedTuple

DEFAULT = '"default"'
SAME = {"true": "on", "yes": "on", "1": "on", "false": "off", "no": "off", "0": "off"}


def resolved(expressions: Expressions, declared: Definition) -> Definition:
    """Return the definition with every name of its key and its predicate that is not in pg_catalog qualified.

    Raises:
        NotUnderstood: the server refuses an expression, or a name could be another role's.
    """
    predicate = declared.predicate and expressions.resolved(declared.table, declared.predicate)
    key = tuple(_resolved_part(expressions, declared, part) for part in declared.key)
    return declared._replace(key=key, predicate=predicate)


def _resolved_part(expressions: Expressions, declared: Definition, part: KeyPart) -> KeyPart:
    """Return a part of a definition's key as ``resolved``."""
    catalog = expressions.catalog
    if isinstance(part, Expression):
        part = part._replace(sql=expressions.resolved(declared.table, part.sql))
    if part.collation:
        part = part._replace(collation=collation(catalog, part.collation))
    if part.opclass:
        part = part._replace(opclass=operator_class(catalog, part.opclass, declared.method).sql)
    return part


def in_words_of(
    expressions: Expressions, declared: Definition, name: str, found: Definition | None, namespace: int | None = None
) -> Definition:
    """Return the declared definition, each part of it as the found one writes it if it means the same.

    Args:
        name: of the found index; ``namespace`` is the OID of its schema, if that is another than the catalog's.
    """
    declared = declared._replace(key=tuple(map(_plain, declared.key)))
    if found is None or found.table != declared.table:
        return declared
    compared = _Comparison(expressions, declared, name, namespace)
    rest = declared.key[len(found.key) :]
    key = (*map(compared.part, declared.key, found.key), *rest)
    predicate = compared.expression(declared.predicate, found.predicate)
    return declared._replace(key=key, predicate=predicate, storage=_storage(declared.storage, found.storage))


class _Comparison(NamedTuple):
    """Writes the parts of a declared definition as the found index of this name does."""

    expressions: Expressions
    declared: Definition
    name: str
    namespace: int | None

    def expression(self, declared: str | None, found: str | None) -> str | None:
        """Return an expression or a predicate."""
        if declared is None or found is None:
            return declared
        return self.expressions.compared(self.declared.table, declared, self.name, found, self.namespace)

    def part(self, declared: KeyPart, found: KeyPart) -> KeyPart:
        """Return a part of the key."""
        part = declared
        if isinstance(part, Expression) and isinstance(found, Expression):
            part = part._replace(sql=self.expression(part.sql, found.sql) or part.sql)
        with suppress(NotUnderstood):
            if part.collation or (found.collation and isinstance(part, Expression)):
                part = part._replace(collation=self._collation(declared))
            if part.opclass:
                written = operator_class(self.expressions.catalog, part.opclass, self.declared.method)
                part = part._replace(opclass=None if written.is_default else written.sql)
        return part

    def _collation(self, part: KeyPart) -> str | None:
        """Return the collation of a declared part as the catalog shows it; None if that is the default there."""
        catalog, table = self.expressions.catalog, self.declared.table
        written = collation(catalog, part.collation) if part.collation else None
        if isinstance(part, Expression):
            written = written or value_of(catalog, table, self.expressions.resolved(table, part.sql)).collation
            return None if written == DEFAULT else written
        own = (row["collation"] for row in columns_of(catalog, [table]) if row["name"] == part.name)
        return None if written in own else written


def _plain(part: KeyPart) -> KeyPart:
    """Return a part without an order of NULLs that is the default."""
    return part._replace(nulls=None) if part.nulls == (FIRST if part.descending else LAST) else part


def _storage(declared: tuple[str, ...], found: tuple[str, ...]) -> tuple[str, ...]:
    """Return the found storage parameters if the declared ones are among them, so that only these are compared."""
    known = set(map(_setting, found))
    return found if all(_setting(parameter) in known for parameter in declared) else declared


def _setting(parameter: str) -> tuple[str, str]:
    """Return a storage parameter in one of the ways to write its value."""
    name, _, value = parameter.lower().partition("=")
    return name, SAME.get(value, value)
