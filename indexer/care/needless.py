"""Indexes that a wider one makes nearly needless, where the server can skip the columns before theirs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from indexer.catalog import CatalogEntry
from indexer.definition import Column, Definition, KeyPart
from indexer.spec import BTREE
from indexer.tuples import NamedTuple

MOST_DEARER = 0.25  # of the cost with the narrow index, which the wide one may add to it


class Candidate(NamedTuple):
    """A narrow index on one column, and a wide one that has the column in its key, though not first."""

    table: str
    narrow: str
    wide: str
    column: str
    wide_columns: tuple[str, ...]


class Costs(NamedTuple):
    """What the planner would pay to find one value of the column, in its unit.

    Attributes:
        chosen: for whole rows, as it would read them now.
        narrow, wide: to search each of the indexes, without reading the table.
    """

    chosen: float
    narrow: float
    wide: float

    @property
    def with_wide(self) -> float:
        """For whole rows, without the narrow index."""
        return self.chosen + max(self.wide - self.narrow, 0)


class Needless(NamedTuple):
    """A narrow index that the planner hardly needs, and the costs for the value for which it needs it most."""

    candidate: Candidate
    costs: Costs
    version: str


def candidates(declared: Iterable[CatalogEntry], entries: Sequence[CatalogEntry]) -> list[Candidate]:
    """Return the declared indexes that a wider index of the same table may serve as well, with each such index."""
    pairs = ((narrow, wide) for narrow in declared for wide in entries if wide.name != narrow.name)
    found = (_candidate(narrow, wide) for narrow, wide in pairs)
    return [candidate for candidate in found if candidate]


def worst(costs: Sequence[Costs]) -> Costs | None:
    """Return the costs for the value for which the narrow index is needed most; None where it is needed, or unknown."""
    dearest = max(costs, key=lambda each: each.with_wide / each.chosen, default=None)
    if dearest is None or dearest.with_wide > (1 + MOST_DEARER) * dearest.chosen:
        return None
    return dearest


def _candidate(narrow: CatalogEntry, wide: CatalogEntry) -> Candidate | None:
    definition, wider = narrow.definition, wide.definition
    if not (narrow.usable and wide.usable and definition and wider) or definition.table != wider.table:
        return None
    if not (_is_plain(definition) and _is_plain(wider)) or len(definition.key) != 1 or definition.unique:
        return None
    (part,) = definition.key
    columns = tuple(each.name for each in wider.key if isinstance(each, Column))
    if not isinstance(part, Column) or len(columns) < len(wider.key) or _alike(part) not in map(_alike, wider.key[1:]):
        return None
    return Candidate(definition.table, narrow.name, wide.name, part.name, columns)


def _is_plain(definition: Definition) -> bool:
    return definition.method == BTREE and not definition.predicate and not definition.include


def _alike(part: KeyPart) -> KeyPart:
    return part._replace(descending=False, nulls=None)
