"""The tables that inherit from indexed ones, by INHERITS, and the indexes that they lack. Partitions do not count."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from indexer.catalog import CatalogEntry
from indexer.postgres.expression.comparison import in_words_of
from indexer.server import Child, Uncovered
from indexer.spec import LONGEST_NAME, Index
from indexer.text import qualified

if TYPE_CHECKING:
    from indexer.postgres.dialect import PostgresDialect

# An estimate of no rows may be older than the rows; a file without a block holds none.
CHILDREN = """
    WITH RECURSIVE family (parent, oid) AS (
           SELECT c.relname, h.inhrelid
             FROM pg_catalog.pg_class AS c
             JOIN pg_catalog.pg_inherits AS h ON h.inhparent = c.oid
            WHERE c.relnamespace = %(namespace)s
              AND c.relname = ANY (%(tables)s::pg_catalog.text[])
              AND c.relkind = 'r'
            UNION
           SELECT f.parent, h.inhrelid
             FROM family AS f
             JOIN pg_catalog.pg_inherits AS h ON h.inhparent = f.oid)
    SELECT f.parent,
           n.nspname AS schema,
           c.relname AS name,
           n.oid::pg_catalog.int8 AS namespace,
           pg_catalog.pg_get_userbyid(c.relowner) AS owner,
           pg_catalog.pg_has_role(c.relowner, 'USAGE') AS owned,
           CASE WHEN c.relpages > 0 THEN true
                ELSE pg_catalog.pg_relation_size(c.oid) > 0 END AS has_rows
      FROM family AS f
      JOIN pg_catalog.pg_class AS c ON c.oid = f.oid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.relkind = 'r'
       AND NOT c.relispartition
       AND c.relpersistence <> 't'
     ORDER BY n.nspname, c.relname, f.parent
"""

MOST_NAMES = 9  # for one index on one child or partition: if all are taken, the last is used all the same


def uncovered(dialect: PostgresDialect, indexes: Sequence[Index], found: Sequence[Child]) -> list[Uncovered]:
    """Return the indexes that these children lack, by child."""
    missing: list[Uncovered] = []
    for there, children in _by_schema(dialect, found):
        missing += _uncovered(dialect, there, indexes, children)
    return missing


def drops_of_covering(dialect: PostgresDialect, indexes: Sequence[Index], found: Sequence[Child]) -> list[str]:
    """Return the statements that drop the indexes of these children that serve the same queries as the given ones."""
    return [
        there.drop_index_statement(entry.name, concurrently=True)
        for there, children in _by_schema(dialect, found)
        for _, _, alike in _alike(dialect, there, indexes, children)
        for entry in alike
        if not (entry.definition and entry.definition.constraint)
    ]


def _by_schema(dialect: PostgresDialect, found: Sequence[Child]) -> Iterator[tuple[PostgresDialect, list[Child]]]:
    """Yield the dialect of each schema with its children, which come in the order of their schemas."""
    for (schema, namespace), group in groupby(found, lambda child: (child.schema, child.namespace)):
        yield dialect.beside(schema, namespace), list(group)


def _alike(
    dialect: PostgresDialect, there: PostgresDialect, indexes: Sequence[Index], found: Sequence[Child]
) -> Iterator[tuple[Index, Child, list[CatalogEntry]]]:
    """Yield each index with each child of its table in one schema, and the child's indexes that are like it."""
    existing: dict[str, list[CatalogEntry]] = defaultdict(list)
    for entry in there.catalog.indexes_on([child.name for child in found]):
        if entry.definition:
            existing[entry.definition.table].append(entry)
    for child in found:
        for index in (index for index in indexes if index.table == child.parent):
            yield index, child, [entry for entry in existing[child.name] if _is_alike(dialect, index, child, entry)]


def name_on(index: Index, child: str, number: int = 1) -> str:
    """Return the number-th name for an index on a child, short enough that PostgreSQL does not cut it."""
    wanted = f"{index.name}_{child}" + (f"_{number}" if number > 1 else "")
    if len(wanted.encode()) <= LONGEST_NAME:
        return wanted
    suffix = "_" + hashlib.sha256(wanted.encode()).hexdigest()[:8]
    return wanted.encode()[: LONGEST_NAME - len(suffix)].decode(errors="ignore") + suffix


def names_on(index: Index, child: str) -> list[str]:
    """Return all names for an index on a child, the first choice first."""
    return [name_on(index, child, number) for number in range(1, MOST_NAMES + 1)]


def _uncovered(
    dialect: PostgresDialect, there: PostgresDialect, indexes: Sequence[Index], found: Sequence[Child]
) -> list[Uncovered]:
    """Return the indexes that children of one schema lack; ``there`` is that schema's dialect."""
    lacking = [
        (index, child, alike[0] if alike else None)
        for index, child, alike in _alike(dialect, there, indexes, found)
        if not any(entry.usable for entry in alike)
    ]
    taken = there.catalog.find([name for index, child, _ in lacking for name in names_on(index, child.name)])
    missing = []
    for index, child, broken in lacking:
        statements: tuple[str, ...] = ()
        if broken is None:
            names = names_on(index, child.name)
            free = next((name for name in names if name not in taken), names[-1])
            statements = (dialect.create_statement_on(child, index, free),)
        elif not broken.worker:  # the leftover of an interrupted build
            drop = there.drop_index_statement(broken.name, concurrently=True)
            statements = (drop, dialect.create_statement_on(child, index, broken.name))
        missing.append(Uncovered(index, child, qualified(child.schema, child.name), statements))
    return missing


def _is_alike(dialect: PostgresDialect, index: Index, child: Child, found: CatalogEntry) -> bool:
    """Return whether a child's index serves the same queries as the declared one, unique or not, under any name.

    A child has the columns of its parent. Expressions are resolved with the parent, whose schema our role may use.
    """
    if found.definition is None:
        return False
    declared, existing = dialect.declared(index), found.definition._replace(table=index.table)
    if existing.outline != declared.outline:
        return False
    declared = in_words_of(dialect.catalog.expressions, declared, found.name, existing, child.namespace)
    is_same = (declared.key, declared.predicate) == (existing.key, existing.predicate)
    return is_same and set(declared.include) <= set(existing.include)
