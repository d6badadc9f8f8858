"""Which indexes serve a query, judged by a plan for it. Pure: no database here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from indexer.catalog import PARTITIONED, CatalogEntry, Table
from indexer.definition import Column, Definition, Expression, KeyPart, makes_redundant, words
from indexer.query_planner import Plan, Scan
from indexer.server import Child
from indexer.spec import Index

BRIN = "brin"


class Indexes:
    """The indexes of the tables that are queried, and of the tables that inherit from these.

    Args:
        declared: what each declared index is to be, in the words of the one of its name, by that name.
    """

    def __init__(
        self,
        entries: Mapping[str, CatalogEntry],
        children: Sequence[Child],
        tables: Mapping[str, Table],
        declared: Mapping[str, Definition],
    ) -> None:
        self._entries = entries
        self._tables = tables
        self._declared = declared
        self._definitions = {name: entry.definition for name, entry in entries.items() if entry.definition}
        self._children = children

    def serving(self, plan: Plan, index: Index) -> frozenset[str]:
        """Return the indexes that serve the query of a plan as the declared one should.

        None serves while the table, or a child with rows, is read whole; each leaf that is read has to be served. Where
        the declared index is to deliver an order, nothing may be sorted. A child without rows and without the index is
        sorted whatever is forced, so a sort proves nothing as long as there is one.
        """
        if self._is_pruned(plan, index.table):
            entry = self._entries.get(index.name)
            return frozenset({index.name} if entry and entry.usable else ())
        if plan.sorts and is_ordered(self._declared[index.name]) and not self.empty_children(index.table):
            return frozenset()
        if index.table in plan.whole or self.unserved_children(plan, index):
            return frozenset()
        children = {child.name for child in self._children if child.parent == index.table}
        names = (scan.name for scan in plan.scans if self._serves(scan, index))
        return frozenset(name for name in names if self._table(name) not in children)

    def unserved_children(self, plan: Plan, index: Index) -> frozenset[str]:
        """Return the children with rows that a plan reads whole, or by an index made for something else."""
        scanned = {self._read_by(scan) for scan in plan.scans}
        served = {self._read_by(scan) for scan in plan.scans if self._serves(scan, index)}
        return self.filled_children(index.table) & (plan.whole | (scanned - served))

    def filled_children(self, table: str) -> frozenset[str]:
        """Return the tables with rows that inherit from a table, or are its leaves."""
        return frozenset(child.name for child in self._children if child.parent == table and child.has_rows)

    def empty_children(self, table: str) -> frozenset[str]:
        """Return the tables without rows that inherit from a table, which therefore may lack its indexes."""
        found = (child for child in self._children if child.parent == table)
        return frozenset(child.name for child in found if not child.has_rows and not child.is_leaf)

    def is_partitioned(self, table: str) -> bool:
        """Return whether a table has its rows in leaves."""
        return self._tables[table].kind == PARTITIONED

    def _is_pruned(self, plan: Plan, table: str) -> bool:
        """Return whether a plan reads no leaf of a partitioned table, because none can have the rows."""
        leaves = {child.name for child in self._children if child.parent == table}
        return self.is_partitioned(table) and not leaves & (plan.whole | {self._read_by(scan) for scan in plan.scans})

    def used_on(self, table: str, plan: Plan) -> str | None:
        """Return the first index of a table that a plan uses."""
        return next((scan.name for scan in plan.scans if self._table(scan.name) == table), None)

    @property
    def partial(self) -> frozenset[str]:
        """The names of the indexes that have a predicate."""
        return frozenset(name for name, definition in self._definitions.items() if definition.predicate)

    def making_redundant(self, index: Index) -> frozenset[str]:
        """Return the other usable indexes that serve all queries of the declared one."""
        declared = self._declared[index.name]
        found = {name for name, other in self._definitions.items() if makes_redundant(other, declared)}
        return frozenset(name for name in found - {index.name} if self._entries[name].usable)

    def _serves(self, scan: Scan, index: Index) -> bool:
        """Return whether the use of an index leaves no condition on the declared columns to be checked in the table.

        Its key begins with what the query compares for equality, or sorts by if that is all, or with a column of the
        declared predicate. Each declared part is searched by, implied by the predicate, or in the key as declared. The
        columns of the declared predicate are searched by or implied, unless the predicate is the same.
        """
        found, declared = self._definitions.get(scan.name), self._declared[index.name]
        if found is None or (found.method == BRIN != declared.method):  # which finds blocks that are searched in whole
            return False
        equal = [part for part in declared.key if not part.descending]
        if declared.key[0].descending:
            equal = [declared.key[0]]
        restricted = self._columns(index.table, *_conditions(declared))
        if not self._columns(found.table, found.key[0]) & (self._columns(index.table, *equal) | restricted):
            return False
        searched = scan.columns | frozenset(re.findall(r"\w+", found.predicate or ""))
        if found.predicate != declared.predicate and not restricted <= searched:
            return False
        kept = {_undirected(part) for part in found.key}
        return all(self._columns(index.table, part) <= searched or _undirected(part) in kept for part in declared.key)

    def _columns(self, table: str, *parts: KeyPart) -> frozenset[str]:
        """Return the columns of parts of a key; those of an expression are its words that are columns."""
        columns: frozenset[str] = frozenset()
        for part in parts:
            columns |= words(part) if isinstance(part, Column) else words(part) & self._tables[table].columns
        return columns

    def _read_by(self, scan: Scan) -> str | None:
        return scan.table or self._table(scan.name)

    def _table(self, name: str) -> str | None:
        definition = self._definitions.get(name)
        return definition.table if definition else None


def _conditions(definition: Definition) -> tuple[Expression, ...]:
    return (Expression(definition.predicate),) if definition.predicate else ()


def _undirected(part: KeyPart) -> KeyPart:
    return part._replace(descending=False, nulls=None)


def is_ordered(declared: Definition) -> bool:
    """Return whether queries rely on the order of an index: a part of its key is descending."""
    return any(part.descending for part in declared.key)
