"""Partitioned tables: what each partition has of a declared index, and what that makes of the whole. Pure.

PostgreSQL builds no index of a partitioned table concurrently. It is built partition by partition:

1. The parent index is made on the partitioned table alone, and so on each partition that is itself partitioned.
2. On each leaf, an index is built concurrently, compared, and attached to the parent index once it is valid.
3. With the last leaf the parent index becomes valid, and is attached to that above it. A partition that is added
   meanwhile gets its index by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from indexer.catalog import PARTITIONED, PARTITIONED_INDEX, CatalogEntry
from indexer.decide import Action
from indexer.errors import Command, Hint
from indexer.text import are, counted, few, qualified
from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.steps import Step

FOREIGN = "foreign table"
MOMENT = 300  # milliseconds for which a brief statement waits for its lock, and holds up all sessions behind it


class Partition(NamedTuple):
    """One table of a partitioned table's tree, whose root has no parent.

    Attributes:
        parent: the OID of the table that it is a partition of.
        namespace: the OID of its schema.
        kind: "table" or "foreign table" for a leaf, else "partitioned table".
        owned: whether our role has the rights of its owner.
        bytes: its size; 0 for what holds no rows itself.
        key: the columns that its rows are partitioned by, None for an expression; empty for a leaf.
    """

    oid: int
    parent: int | None
    schema: str
    namespace: int
    table: str
    kind: str
    owner: str
    owned: bool
    bytes: int = 0
    key: tuple[str | None, ...] = ()

    @property
    def is_leaf(self) -> bool:
        """Whether it has no partitions itself."""
        return self.kind != PARTITIONED

    @property
    def is_stored(self) -> bool:
        """Whether its rows and their indexes are stored in this database: a foreign table has neither here."""
        return self.kind not in (PARTITIONED, FOREIGN)

    @property
    def label(self) -> str:
        """Its name with its schema, as SQL needs it."""
        return qualified(self.schema, self.table)

    def shown(self, name: str, schema: str) -> str:
        """Return the name of the table, or of an index on it, as it is shown beside others of this schema."""
        return name if self.schema == schema else f"{self.schema}.{name}"


class Parent(NamedTuple):
    """The index that another one is attached to; without an OID as long as it does not exist."""

    schema: str
    name: str
    oid: int | None


class Part(NamedTuple):
    """One partition, and the step about the index on it.

    Attributes:
        is_attached: whether the index is attached to that of the parent; of the root, whether it exists.
        parent: the index that it is attached to, or is to be; None for the root.
        drop: the statement that drops an existing index as long as it is attached to nothing.
        drop_unattached: the statement that drops what is attached to nothing on placements of a cluster, although the
            index itself is attached. It would remain there when the whole is dropped.
        is_named_otherwise: whether neither ``up`` nor PostgreSQL gives an index on the partition such a name.
        closing: what attaches the index of a partition that is itself partitioned, once all below it is done. Attached
            before, it would become valid with its last leaf, and PostgreSQL would lock the whole table for that.
        former_name: the name of its index that ``up`` renames, because the whole is to have that name; else empty.
    """

    partition: Partition
    step: Step
    is_attached: bool
    parent: Parent | None = None
    drop: str = ""
    drop_unattached: str = ""
    is_named_otherwise: bool = False
    closing: tuple[str, ...] = ()
    former_name: str = ""

    @property
    def as_found(self) -> str:
        """The label of the index as it is before ``up``."""
        if not self.former_name:
            return self.label
        former = qualified(self.partition.schema, self.former_name)
        return f"{former} on {self.partition.table} (up renames it to {self.step.index.name})"

    @property
    def as_parent(self) -> Parent:
        """The index, as what is below it needs to know it."""
        step = self.step
        return Parent(self.partition.schema, step.index.name, step.found.oid if step.found else None)

    @property
    def is_done(self) -> bool:
        """Whether nothing is to be done."""
        return self.step.action is Action.KEEP

    @property
    def state(self) -> str:
        """What the partition has, in one word: valid, missing, invalid, in progress, different or not attached."""
        if self.step.action is Action.ATTACH:
            return "invalid" if self.is_attached else "not attached"
        return self.step.state

    @property
    def label(self) -> str:
        """The name of the index with its schema, as SQL needs it."""
        return qualified(self.partition.schema, self.step.index.name)


def leaves(parts: Iterable[Part]) -> list[Part]:
    """Return the parts that hold rows in this database; there is no index on a foreign table."""
    return [part for part in parts if part.partition.is_stored]


def statements_of(parts: Sequence[Part]) -> list[str]:
    """Return all statements of these parts in their order, the root first."""
    below = [statement for part in parts for statement in part.step.statements]
    return [*below, *(statement for part in reversed(parts) for statement in part.closing)]


def whole(found: CatalogEntry, parts: Sequence[Part]) -> CatalogEntry:
    """Return the parent index with the size of all parts, usable if nothing is to be done about any of them.

    In a cluster it has the placements of all parts that are attached, and their flaws.
    """
    sizes = [part.step.found.bytes for part in leaves(parts) if part.step.found]
    found = found._replace(bytes=sum(size or 0 for size in sizes) if any(sizes) else None)
    attached = [part.step.found for part in parts if part.is_attached and part.step.found]
    if any(part.placements is not None for part in attached):
        flaws = tuple(flaw for part in attached for flaw in part.flaws)
        found = found._replace(placements=sum(part.placements or 0 for part in attached), flaws=flaws)
    if all(part.is_done for part in parts):
        return found._replace(valid=True, ready=True, live=True)
    workers = (part.step.found.worker for part in parts if part.step.action is Action.WAIT and part.step.found)
    return found._replace(valid=False, worker=next(workers, None))


def duplicates_in_words(steps: Sequence[Step]) -> Iterator[Hint]:
    """Yield which partitions have an index of these steps under another name already."""
    for step in steps:
        found = [_duplicate(part, step.parts[0].partition.schema) for part in step.parts if part.step.other_name]
        if found:
            name, names = step.index.name, ", ".join(few(found))
            yield Hint(
                f"Partitions have {name} under other names: {names}. Attach these: ", Command("up", "--adopt-renamed")
            )


def _duplicate(part: Part, schema: str) -> str:
    partition, name = part.partition, part.step.other_name or ""
    return f"{partition.shown(name, schema)} on {partition.shown(partition.table, schema)}"


def attached_in_words(name: str, labels: Sequence[str]) -> Hint:
    """Return which indexes of others ``up`` attaches to an index, and what ``down`` does for that.

    Args:
        labels: at least one.
    """
    attached = f"{', '.join(few(labels))} {'exists' if len(labels) == 1 else 'exist'} already"
    which = "it" if len(labels) == 1 else "them"
    return Hint(
        f"{attached}: up attaches {which} to {name}, and down then keeps {name}. To drop all of it later: ",
        Command("down", "--include-adopted"),
    )


def drops_in_words(steps: Sequence[Step]) -> Iterator[str]:
    """Yield how the indexes of partitioned tables are dropped, if any of these steps drops one."""
    tables: dict[str, str] = {}
    for step in steps:
        if step.action in (Action.DROP, Action.REBUILD) and step.found and step.found.kind == PARTITIONED_INDEX:
            table = step.index.table
            tables[table] = f"{table} and its {counted(step.partitions or 0, 'partition')}"
    if tables:
        whole_tables = ", or ".join(few(list(tables.values())))
        yield (
            f"PostgreSQL drops no index of a partitioned table CONCURRENTLY: each DROP INDEX locks {whole_tables}"
            " (ACCESS EXCLUSIVE) for a moment. All queries of these tables wait while it waits for that lock. So it"
            f" gives way after {MOMENT} ms, and is sent again; --max-wait limits how long."
        )


def dropped_with_in_words(steps: Sequence[Step]) -> Iterator[str]:
    """Yield which indexes of partitions are dropped with an index to which they came after ``up``."""
    for step in steps:
        if step.action is Action.DROP:
            names = [part.label for part in step.parts if part.is_attached and part.is_named_otherwise]
            if names:
                yield (
                    f"{', '.join(few(names))} {are(names)} attached to {step.index.name} under a name that up does not"
                    " give, and will be dropped with it."
                )


def kept_in_words(steps: Sequence[Step]) -> Iterator[Hint]:
    """Yield which indexes ``down`` keeps, because an index of others is attached to them and would go with them."""
    for step in steps:
        if step.action is Action.LEAVE and step.adopted_parts:
            names = ", ".join(few(step.adopted_parts))
            yield Hint(
                f"{step.index.name} is kept, because others have made a part of it: {names}. To drop all of it: ",
                Command("down", "--include-adopted"),
            )


def parts_of_others_in_words(steps: Sequence[Step]) -> Iterator[str]:
    """Yield which indexes ``down`` leaves because an index of a wider partitioned table holds them."""
    for step in steps:
        if step.part_of and not step.differences:
            name, table = step.index.name, step.index.table
            yield (
                f"{name} is a part of {step.part_of}, and PostgreSQL drops it only with that: down leaves it. To drop"
                f" {name} alone, detach {table} from the table of {step.part_of} before down."
            )


def in_words(parts: Sequence[Part]) -> str:
    """Return which partitions lack what, as a phrase: "missing on activity_2023".

    Args:
        parts: all of an index, the root first.
    """
    schema = parts[0].partition.schema if parts else ""
    states: dict[str, list[str]] = {}
    for part in parts:
        if not part.is_done and (part.partition.is_leaf or part.state != "missing"):
            table = part.partition.shown(part.partition.table, schema)
            states.setdefault(part.state, []).append(table)
    return "; ".join(f"{state} on {_few(tables)}" for state, tables in states.items())


def _few(tables: Sequence[str]) -> str:
    more = f" and {len(tables) - 2} more" if len(tables) > 2 else ""
    return ", ".join(tables[:2]) + more
