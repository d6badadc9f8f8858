"""The whole definition of a declared index: resolved to build it, and in the words of an existing one to compare it."""

from __future__ import annotations

from indexer.definition import FIRST, LAST, Column, Definition, Expression, KeyPart
from indexer.postgres.expression.meaning import Expressions


def resolved(expressions: Expressions, declared: Definition) -> Definition:
    """Return the definition with every name of its key and its predicate that is not in pg_catalog qualified.

    Raises:
        NotUnderstood: the server refuses an expression, or a name could be another role's.
    """
    predicate = declared.predicate and expressions.resolved(declared.table, declared.predicate)
    key = tuple(_resolved_part(expressions, declared.table, part) for part in declared.key)
    return declared._replace(key=key, predicate=predicate)


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
    key, predicate = list(declared.key), declared.predicate
    for place, (part, other) in enumerate(zip(declared.key, found.key, strict=False)):
        if isinstance(part, Expression) and isinstance(other, Expression):
            compared = expressions.compared(declared.table, part.sql, name, other.sql, namespace)
            key[place] = part._replace(sql=compared)
    if predicate and found.predicate:
        predicate = expressions.compared(declared.table, predicate, name, found.predicate, namespace)
    return declared._replace(key=tuple(key), predicate=predicate, storage=_storage(declared.storage, found.storage))


def _resolved_part(expressions: Expressions, table: str, part: KeyPart) -> KeyPart:
    if isinstance(part, Column):
        return part
    return part._replace(sql=expressions.resolved(table, part.sql))


def _plain(part: KeyPart) -> KeyPart:
    """Return a part without an order of NULLs that is the default."""
    return part._replace(nulls=None) if part.nulls == (FIRST if part.descending else LAST) else part


def _storage(declared: tuple[str, ...], found: tuple[str, ...]) -> tuple[str, ...]:
    """Return the found storage parameters if the declared ones are among them, so that only these are compared."""
    return found if set(declared) <= set(found) else declared
