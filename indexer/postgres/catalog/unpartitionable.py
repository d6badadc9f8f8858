"""Which partitions prevent an index on their partitioned table, found before anything is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from indexer.catalog import PARTITIONED
from indexer.definition import Column
from indexer.partitions import FOREIGN, Part
from indexer.postgres.catalog.rights import missing_rights_on_partitions
from indexer.steps import Step

if TYPE_CHECKING:
    from indexer.postgres.dialect import PostgresDialect


def unpartitionable(dialect: PostgresDialect, steps: Sequence[Step]) -> list[str]:
    """Return why these steps cannot be taken on all partitions, one sentence each."""
    parts = [part for step in steps for part in step.parts]
    lacking = {
        part.partition.oid: part.partition
        for part in parts
        if part.partition.parent and not part.is_done and part.partition.kind != FOREIGN
    }
    problems = [problem for step in steps for problem in _of_step(step)]
    for namespace, schema in {(each.namespace, each.schema) for each in lacking.values()}:
        there = dialect.beside(schema, namespace).catalog
        tables = [each.table for each in lacking.values() if each.namespace == namespace]
        problems += missing_rights_on_partitions(there, tables, is_other=namespace != dialect.catalog.namespace)
    return list(dict.fromkeys(problems))


def _of_step(step: Step) -> Iterator[str]:
    foreign = [part for part in step.parts if part.partition.kind == FOREIGN]
    if foreign and not all(part.is_done for part in step.parts):
        for part in foreign:
            yield (
                f"{part.partition.label} is a foreign table, and beside one the index of a partitioned table cannot be"
                " built partition by partition: detach it, or use up --offline in a maintenance window"
            )
    yield from _not_unique(step) if step.declared.unique else ()


def _not_unique(step: Step) -> Iterator[str]:
    columns = {part.name for part in step.declared.key if isinstance(part, Column)}
    for part in step.parts:
        if part.partition.kind == PARTITIONED and not _is_within(part, columns):
            by = ", ".join(column or "an expression" for column in part.partition.key)
            needed = f"all columns by which {part.partition.label} is partitioned ({by})"
            yield f"{step.index.name} is unique, and its key must have {needed}"


def _is_within(part: Part, columns: set[str]) -> bool:
    return all(column in columns for column in part.partition.key)
