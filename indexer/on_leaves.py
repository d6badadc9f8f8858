"""Advice about the indexes of leaves of partitioned tables that are attached to no index of the whole table.

One that is attached can only be dropped with the whole, so there is never the advice to drop it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from indexer.advice import DUPLICATE, LEFTOVER, Advice
from indexer.catalog import CatalogEntry
from indexer.errors import Hint, statement
from indexer.leftovers import is_left_of
from indexer.partitions import Part, leaves
from indexer.steps import Step, StepPlanner
from indexer.tuples import NamedTuple


class OnLeaf(NamedTuple):
    """A leaf of a partitioned table, and the step about the index of the whole table."""

    part: Part
    step: Step

    def shown(self, name: str) -> str:
        """Return the name of the leaf, or of an index on it, as it is shown beside those of the whole table."""
        return self.part.partition.shown(name, self.step.parts[0].partition.schema)


def advise_on_leaves(steps: Sequence[Step], planner: StepPlanner, dialect: Any) -> Iterator[Advice]:
    """Yield the advice about the leaves of the partitioned tables of these steps; reads the catalog once a schema."""
    by_schema: dict[tuple[str, int], list[OnLeaf]] = {}
    for step in steps:
        for part in leaves(step.parts):
            by_schema.setdefault((part.partition.schema, part.partition.namespace), []).append(OnLeaf(part, step))
    for (schema, namespace), group in by_schema.items():
        there = dialect.beside(schema, namespace)
        entries = there.catalog.unattached_on(list(dict.fromkeys(each.part.partition.table for each in group)))
        beside = planner._replace(catalog=there.catalog, dialect=there)
        for entry in entries:
            on_table = [each for each in group if each.part.partition.table == entry.definition.table]
            yield from _advice(entry, on_table, beside)


def _advice(entry: CatalogEntry, on_table: Sequence[OnLeaf], planner: StepPlanner) -> Iterator[Advice]:
    """Yield the advice about an index that is attached to nothing, on a leaf with these indexes."""
    drop = statement(f"{planner.dialect.drop_statement(entry.name)};")
    for on_leaf in on_table:
        part, step = on_leaf
        index, found = part.step.index, part.step.found
        name, table = on_leaf.shown(entry.name), on_leaf.shown(index.table)
        if found is None or found.oid == entry.oid or entry.worker:
            continue
        if is_left_of(entry, index.name, planner.dialect.definition(index, entry)):
            text = Hint(f"{name} is left from an interrupted REINDEX CONCURRENTLY on {table}. Drop it: ", drop)
            yield Advice(LEFTOVER, entry.name, step.index.name, text, on_leaf=True)
        elif part.is_attached and step.is_valid and planner.is_duplicate(index, entry):
            same = on_leaf.shown(index.name)
            duplicate = f"{name} on {table} is a duplicate of {same}, which belongs to {step.index.name}."
            text = Hint(f"{duplicate} Drop it: ", drop)
            yield Advice(DUPLICATE, entry.name, step.index.name, text, can_be_dropped=True, on_leaf=True)
