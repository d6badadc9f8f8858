"""The children of indexed tables, by INHERITS, and which indexes they lack. Partitions are not meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from indexer.catalog import CatalogEntry
from indexer.inheritance import Child, Uncovered, name_on
from indexer.spec import Index

if TYPE_CHECKING:
    from indexer.postgres.catalog import PostgresCatalog
    from indexer.postgres.migrator import OnlineMigrator

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

NAMES = 9  # that are thought of for one index on one child, before the last is taken for free


def children(catalog: PostgresCatalog, tables: Sequence[str]) -> list[Child]:
    """Return the tables that inherit from any of these, also through others."""
    return [Child(**row) for row in catalog.rows(CHILDREN, tables=list(tables))]


def uncovered(migrator: OnlineMigrator, indexes: Sequence[Index], found: Sequence[Child]) -> list[Uncovered]:
    """Return the indexes that these children lack, by child."""
    by_schema = groupby(found, lambda child: (child.schema, child.namespace))
    return [
        each
        for (schema, namespace), group in by_schema
        for each in _uncovered(migrator, migrator.beside(schema, namespace), indexes, list(group))
    ]


def _uncovered(
    migrator: OnlineMigrator, there: OnlineMigrator, indexes: Sequence[Index], found: Sequence[Child]
) -> list[Uncovered]:
    """Return the same for children of one schema."""
    standing: dict[str, list[CatalogEntry]] = {child.name: [] for child in found}
    for each in there.catalog.indexes_on(standing):
        if each.definition:
            standing[each.definition.table].append(each)
    lacking = []
    for child in found:
        for index in (index for index in indexes if index.table == child.parent):
            alike = [each for each in standing[child.name] if _is_alike(migrator, index, child, each)]
            if not any(each.usable for each in alike):
                lacking.append((index, child, next(iter(alike), None)))
    names = [name for index, child, _ in lacking for name in _names(index, child)]
    taken = there.catalog.find(names) if names else {}
    return [
        Uncovered(index, child, there.qualified(child.name), _statements(migrator, there, index, child, broken, taken))
        for index, child, broken in lacking
    ]


def _names(index: Index, child: Child) -> list[str]:
    return [name_on(index, child.name, number) for number in range(1, NAMES + 1)]


def _is_alike(migrator: OnlineMigrator, index: Index, child: Child, found: CatalogEntry) -> bool:
    """Return whether the found index serves what this one is for, whatever its name and whether or not it is unique.

    A child has the columns of its parent, whose schema, other than the child's, we may use.
    """
    ours, theirs = migrator.definition(index, None), found.definition
    if theirs is None or (theirs.method, theirs.key) != (ours.method, ours.key):
        return False
    if ours.predicate is None or theirs.predicate is None:
        return theirs.predicate is ours.predicate
    declared = migrator.catalog.predicates.compared(index, found.name, theirs.predicate, namespace=child.namespace)
    return declared == theirs.predicate


def _statements(
    migrator: OnlineMigrator,
    there: OnlineMigrator,
    index: Index,
    child: Child,
    broken: CatalogEntry | None,
    taken: Mapping[str, CatalogEntry],
) -> tuple[str, ...]:
    """Return what builds the index, after what drops the leftover of an interrupted build."""
    if broken and broken.worker:
        return ()
    names = _names(index, child)
    name = broken.name if broken else next((name for name in names if name not in taken), names[-1])
    create = migrator.create_statement_on(child, index, name)
    return (there.drop_index_statement(broken.name, concurrently=True), create) if broken else (create,)
