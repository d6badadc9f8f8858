"""Plans an index of a partitioned table by its partitions: what each has of it, and the statements for the rest."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from indexer.catalog import PARTITIONED, PARTITIONED_INDEX, CatalogEntry
from indexer.decide import Action, compare, decide_part
from indexer.definition import Definition
from indexer.dialect import Brief
from indexer.leftovers import is_left_of
from indexer.options import Options
from indexer.partitions import FOREIGN, Parent, Part, Partition, statements_of
from indexer.postgres.catalog.partitions import attached, indexes_of, is_placed, taken_names, trees
from indexer.postgres.expression.comparison import in_words_of
from indexer.postgres.inheritance import MOST_NAMES, name_on, names_on
from indexer.spec import LONGEST_NAME, Index
from indexer.steps import Step
from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.postgres.dialect import PostgresDialect

ATTACHING_VALIDATES = 140000  # the first version in which attaching once more makes a parent index valid
BUILDING = (Action.CREATE, Action.REBUILD)
Names = set[tuple[int, str]]  # the OID of a schema, and a name that something has there


class PartPlanner(NamedTuple):
    """Plans the indexes of partitioned tables. It reads the catalog and changes nothing."""

    dialect: PostgresDialect
    options: Options

    def parts(
        self, indexes: Sequence[Index], found: Mapping[str, CatalogEntry], sizes: bool = False
    ) -> dict[Index, tuple[Part, ...]]:
        """Return the parts of those of these indexes that are on partitioned tables, the root first.

        There are none of an index whose name another one has, or that one plain statement builds.

        Args:
            found: what has the names of these indexes.
        """
        catalog = self.dialect.catalog
        all_trees = trees(catalog, {index.table for index in indexes})
        indexes = [index for index in indexes if index.table in all_trees]
        parents = {index.name: found[index.name] for index in indexes if _is_on_root(index, found.get(index.name))}
        attached_to = attached(catalog, parents, sizes)
        lacking = {
            partition.oid: partition
            for index in indexes
            for partition in all_trees[index.table]
            if partition.oid not in attached_to[index.name]
        }
        others = self._indexes_of(list(lacking.values())) if lacking else {}
        plans = [
            _Plan(self, index, all_trees[index.table], attached_to[index.name], others, found.get(index.name))
            for index in indexes
        ]
        plans = [plan for plan in plans if plan.is_by_parts]
        self._note_workers(plans)
        taken = self._taken(plans)
        return {plan.index: plan.parts(taken) for plan in plans}

    def part_now(self, index: Index, part: Part) -> Step:
        """Return what is to be done now about the index on one leaf: one statement, until it is attached."""
        catalog, partition, parent = self.dialect.catalog, part.partition, part.parent
        assert parent
        if not is_placed(catalog, partition, parent):
            return Step(Action.ABSENT, part.step.index, part.step.declared)
        plan = _Plan(self, index, [partition], {}, self._indexes_of([partition]), None)
        self._note_workers([plan])
        step = plan.part(partition, parent, self._taken([plan])).step
        return step if step.action is Action.ATTACH else step.without(_is_attachment)

    def _indexes_of(self, partitions: Sequence[Partition]) -> dict[int, list[CatalogEntry]]:
        """Return the indexes of these tables, by the OID of the table; on Citus, what they are in the whole cluster."""
        catalog = self.dialect.catalog
        found = indexes_of(catalog, [partition.oid for partition in partitions])
        if not catalog.is_citus:
            return found
        from indexer.postgres.citus.partitions import complete_on

        return complete_on(catalog, partitions, found)

    def _note_workers(self, plans: Sequence[_Plan]) -> None:
        """Note who is building the indexes that cannot be used yet."""
        unusable: dict[tuple[str, int], list[str]] = {}
        for plan in plans:
            for partition in plan.tree:
                there = plan.attached.get(partition.oid)
                for entry in (there,) if there else plan.others.get(partition.oid, ()):
                    if not entry.usable and partition.is_leaf:
                        unusable.setdefault((partition.schema, partition.namespace), []).append(entry.name)
        workers = {
            (namespace, name): pid
            for (schema, namespace), names in unusable.items()
            for name, pid in self.dialect.beside(schema, namespace).catalog.workers(names).items()
        }
        for plan in plans:
            plan.workers.update(workers)

    def _taken(self, plans: Sequence[_Plan]) -> Names:
        """Return which of the names are taken that new indexes on partitions may get."""
        catalog, taken = self.dialect.catalog, Names()
        new = {
            (partition.namespace, plan.index, partition.table)
            for plan in plans
            for partition in plan.tree
            if partition.parent and plan.needs_name(partition)
        }
        number = 1
        while new and number <= MOST_NAMES:
            names = {(namespace, name_on(index, table, number)) for namespace, index, table in new}
            found = taken_names(catalog, [name for _, name in names], {namespace for namespace, _ in names})
            taken |= found & names
            new = {each for each in new if (each[0], name_on(each[1], each[2], number)) in taken}
            number += 1
        return taken


class _Plan:
    """The plan of one index.

    Args:
        tree: the partitioned table and all below it, parents first; for a single leaf that alone.
        attached: the indexes that are parts of it, by the OID of their table.
        others: all indexes of the tables that lack a part, by the OID of the table.
        found: what has the name of the index.
    """

    def __init__(
        self,
        planner: PartPlanner,
        index: Index,
        tree: Sequence[Partition],
        attached: Mapping[int, CatalogEntry],
        others: Mapping[int, Sequence[CatalogEntry]],
        found: CatalogEntry | None,
    ) -> None:
        self.dialect, self.options = planner
        self.index, self.tree, self.attached, self.others = index, tree, attached, others
        self.workers: dict[tuple[int, str], int] = {}
        self._own: dict[int, CatalogEntry | None] = {}
        self._resolved: Definition | None = None
        self._in_words: dict[Definition, Definition] = {}
        self._found = found

    @property
    def is_by_parts(self) -> bool:
        """Whether the index is planned by its parts."""
        root, found = self.tree[0], self._found
        if found is None:
            return not (self.options.offline and self._is_plain)
        if found.is_orphaned:
            return not compare(self._declared(root, found), found)
        if root.oid in self.attached:
            return not self._differences(root, self.attached[root.oid])
        return self._moved is not None

    @property
    def _is_plain(self) -> bool:
        """Whether a plain CREATE INDEX builds it right: it would attach similar indexes, invalid ones among them."""
        declared = self.dialect.declared(self.index)
        similar = (
            entry
            for partition in self.tree
            for entry in self.others.get(partition.oid, ())
            if entry.definition and entry.definition.columns == declared.columns
        )
        return next(similar, None) is None

    @property
    def _is_valid(self) -> bool:
        """Whether PostgreSQL takes all of it for valid."""
        root = self.attached.get(self.tree[0].oid)
        return root is not None and root.valid

    @property
    def _moved(self) -> Partition | None:
        """The partition whose index has the declared name: it was the whole table before that was partitioned."""
        found = self._found
        if found is None:
            return None
        return next((each for each in self.tree[1:] if (own := self.own(each)) and own.oid == found.oid), None)

    def own(self, partition: Partition) -> CatalogEntry | None:
        """Return the index of a partition that is as declared and can be attached, or is the leftover of its build."""
        if partition.oid not in self._own:
            self._own[partition.oid] = self._find_own(partition)
        return self._own[partition.oid]

    def _find_own(self, partition: Partition) -> CatalogEntry | None:
        if partition.oid in self.attached or partition.parent is None:
            return None
        names = names_on(self.index, partition.table)
        unattached = [entry for entry in self.others.get(partition.oid, ()) if entry.attached_to is None]
        same = (
            entry
            for entry in unattached
            if (entry.name in names or self._is_moved(entry)) and not self._differences(partition, entry)
        )
        return next(same, None) or (self._duplicate(partition) if self.options.adopt_renamed else None)

    def _duplicate(self, partition: Partition) -> CatalogEntry | None:
        """Return the index of a partition that is as declared under another name, and is attached to nothing."""
        same = (
            entry
            for entry in self.others.get(partition.oid, ())
            if entry.usable and entry.attached_to is None and not self._differences(partition, entry)
        )
        return next(same, None)

    def _attached(self, partition: Partition, parent: Parent | None) -> CatalogEntry | None:
        """Return the index of a partition that is attached to this one of its parent."""
        if partition.oid in self.attached or parent is None or parent.oid is None:
            return self.attached.get(partition.oid)
        entries = self.others.get(partition.oid, ())
        return next((entry for entry in entries if entry.attached_to == parent.oid), None)

    def _is_moved(self, entry: CatalogEntry) -> bool:
        return self._found is not None and entry.oid == self._found.oid

    def needs_name(self, partition: Partition) -> bool:
        """Return whether an index on a partition is created or renamed."""
        own = self.own(partition)
        return partition.oid not in self.attached and (own is None or self._is_moved(own))

    def parts(self, taken: Names) -> tuple[Part, ...]:
        """Return the parts of the index, the root first."""
        parts: dict[int, Part] = {}
        for partition in self.tree:
            parent = None if partition.parent is None else parts[partition.parent].as_parent
            parts[partition.oid] = self.part(partition, parent, taken)
        if clear := self._cleared(parts[self.tree[0].oid].step, parts.values()):
            return self._anew(list(parts.values()), clear, taken)
        below: dict[int | None, list[int]] = defaultdict(list)
        for oid, part in parts.items():
            below[part.partition.parent].append(oid)
        if self.dialect.catalog.database.server_version >= ATTACHING_VALIDATES:
            self._validate(parts, below)
        for oid, part in parts.items():
            if part.closing and all(parts[child].is_done for child in below[oid]):
                parts[oid] = _closed(part)
        return tuple(parts.values())

    def _cleared(self, root: Step, parts: Iterable[Part]) -> CatalogEntry | None:
        """Return the index to be dropped before all of it is built anew; None if it can stay."""
        if self._found and self._found.is_orphaned:
            return self._found
        is_torn = any(part.is_attached and part.step.action is Action.REBUILD for part in parts)
        return root.found if is_torn or (root.found and self._is_displaced(parts)) else None

    def _is_displaced(self, parts: Iterable[Part]) -> bool:
        """Return whether a placement of a part has another index attached, so that the right one cannot be."""
        unattached = [part for part in parts if part.parent and not part.is_attached]
        if not (unattached and self.dialect.catalog.is_citus):
            return False
        from indexer.postgres.citus.partitions import is_displaced

        return is_displaced(self.dialect.catalog, unattached)

    def _anew(self, seen: Sequence[Part], clear: CatalogEntry, taken: Names) -> tuple[Part, ...]:
        """Return the parts as they are seen, with all statements at the root: they drop the index and build it anew."""
        planner = PartPlanner(self.dialect, self.options)
        anew = _Plan(planner, self.index, self.tree, {}, self.others, None).parts(taken)
        statements = (*clear_statements(self.dialect, self.index, clear, seen), *statements_of(anew))
        root = seen[0].step
        step = Step(Action.REBUILD, root.index, root.declared, clear, statements)
        rest = (part._replace(step=part.step.without(bool), closing=()) for part in seen[1:])
        return (seen[0]._replace(step=step, is_attached=True), *rest)

    def _validate(self, parts: dict[int, Part], below: Mapping[int | None, Sequence[int]]) -> None:
        """Attach one part again below each index that is not valid although all below it are, the lowest first."""
        undone: set[int] = set()  # with what is above them
        for oid, part in reversed(list(parts.items())):
            children, found = below[oid], part.step.found
            is_whole = (part.is_done or part.closing != ()) and undone.isdisjoint(children)
            if is_whole and children and found and not found.valid:
                parts[children[0]] = self._again(parts[children[0]])
                is_whole = False
            if not (is_whole and part.is_done):
                undone.add(oid)

    def _again(self, part: Part) -> Part:
        assert part.parent
        step = part.step
        attach = self._attachment(part.partition, part.parent, step.index.name)
        return part._replace(step=Step(Action.ATTACH, step.index, step.declared, step.found, (attach,)))

    def part(self, partition: Partition, parent: Parent | None, taken: Names) -> Part:
        """Return what is to be done about the index on one partition."""
        there, own = self._attached(partition, parent), self.own(partition)
        name = self._name(partition, there or own, taken)
        found = (there or own) and self._placed(partition, there or own, name)
        declared = self._declared(partition, found)
        action = decide_part(declared, found if there else None, None if there else found, partition.is_leaf)
        if partition.kind == FOREIGN and self._is_valid:
            action = Action.KEEP  # a plain CREATE INDEX leaves it out
        on = self.index.on(partition.table, name)
        is_with_whole = action is Action.REBUILD and there is not None
        statements = () if is_with_whole else tuple(self._statements(action, partition, parent, found, name, taken))
        duplicate = self._duplicate(partition) if action is Action.CREATE and partition.parent else None
        step = Step(action, on, declared, found, statements, duplicate.name if duplicate else None)
        closes = parent and not partition.is_leaf and action in (Action.CREATE, Action.ATTACH)
        closing = (self._attachment(partition, parent, name),) if parent and closes else ()
        beside = self.dialect.beside(partition.schema, partition.namespace)
        drop = beside.drop_statement_of(found) if found else ""
        drop_unattached = beside.drop_unattached_statement(there) if there else ""
        is_named_otherwise = partition.parent is not None and not self._is_named_as_usual(partition, name)
        is_attached = there is not None
        former = own.name if own and partition.parent and self._is_moved(own) else ""
        return Part(partition, step, is_attached, parent, drop, drop_unattached, is_named_otherwise, closing, former)

    def _name(self, partition: Partition, existing: CatalogEntry | None, taken: Names) -> str:
        if partition.parent is None:
            return self.index.name
        if existing and not self._is_moved(existing):
            return existing.name
        names = names_on(self.index, partition.table)
        return next((name for name in names if (partition.namespace, name) not in taken), names[-1])

    def _is_named_as_usual(self, partition: Partition, name: str) -> bool:
        """Return whether ``up`` gives an index on a partition such a name, or PostgreSQL does to one of its own."""
        by_postgres = rf"{re.escape(partition.table)}_.+_idx\d*"
        is_cut = len(name.encode()) >= LONGEST_NAME - 1
        return name in names_on(self.index, partition.table) or is_cut or re.fullmatch(by_postgres, name) is not None

    def _placed(self, partition: Partition, entry: CatalogEntry | None, name: str) -> CatalogEntry:
        assert entry
        assert entry.definition
        definition = entry.definition._replace(table=partition.table)
        worker = self.workers.get((partition.namespace, entry.name))
        return entry._replace(name=name, definition=definition, worker=worker)

    def _statements(
        self,
        action: Action,
        partition: Partition,
        parent: Parent | None,
        found: CatalogEntry | None,
        name: str,
        taken: Names,
    ) -> Iterable[str]:
        there = self.dialect.beside(partition.schema, partition.namespace)
        if parent is None and action is Action.CREATE and (moved := self._moved) and self._found:
            yield there.rename_index_statement(self._found.name, self._name(moved, self._found, taken))
        if action is Action.REBUILD:
            yield there.drop_statement(name)
        if action is Action.REINDEX:
            yield from self._leftovers(partition, found, there)
            yield there.reindex_statement(name)
        if action in BUILDING and partition.kind != FOREIGN:
            definition = self._definition._replace(table=partition.table)
            if partition.is_leaf:
                yield there.create_index(name, definition, not self.options.offline)
            else:
                yield Brief(there.create_index(name, definition, only=True))
        if parent and action not in (Action.KEEP, Action.REFUSE) and partition.kind not in (FOREIGN, PARTITIONED):
            yield self._attachment(partition, parent, name)

    def _leftovers(self, partition: Partition, found: CatalogEntry | None, there: PostgresDialect) -> Iterable[str]:
        """Yield the statements that drop what an interrupted REINDEX CONCURRENTLY of an index has left."""
        assert found
        assert found.definition
        for entry in there.catalog.indexes_on([partition.table]):
            if is_left_of(entry, found.name, found.definition):
                yield there.drop_statement(entry.name)

    def _attachment(self, partition: Partition, parent: Parent, name: str) -> Brief:
        return self.dialect.attach_statement(parent.schema, parent.name, partition.schema, name)

    @property
    def _definition(self) -> Definition:
        """The definition to build by, its names resolved with the types of the whole table's columns."""
        if self._resolved is None:
            self._resolved = self.dialect.resolved(self.index)
        return self._resolved

    def _declared(self, partition: Partition, entry: CatalogEntry | None) -> Definition:
        """Return the declared definition on a partition, in the words of an existing one."""
        expressions, declared = self.dialect.catalog.expressions, self.dialect.declared(self.index)
        if entry is None or entry.definition is None:
            return in_words_of(expressions, declared, "", None)._replace(table=partition.table)
        existing = entry.definition._replace(table=self.index.table)
        if existing not in self._in_words:
            name = self._found.name if self._found and self._is_moved(entry) else entry.name
            self._in_words[existing] = in_words_of(expressions, declared, name, existing, partition.namespace)
        return self._in_words[existing]._replace(table=partition.table)

    def _differences(self, partition: Partition, entry: CatalogEntry) -> bool:
        """Return whether an index of a partition is another one than is declared."""
        if entry.definition is None:
            return True
        existing = entry.definition._replace(table=partition.table)
        declared = self.dialect.declared(self.index)._replace(table=partition.table)
        if existing.outline != declared.outline:
            return True
        return self._declared(partition, entry) != existing


def clear_statements(dialect: PostgresDialect, index: Index, found: CatalogEntry, parts: Sequence[Part]) -> list[str]:
    """Return the statements that drop an index with these parts, whatever placements of a cluster have of it.

    The whole is last, because without it nothing would say that the rest belongs to it.
    """
    drops = [part.drop_unattached for part in parts if part.drop_unattached]
    return [*drops, *dialect.clear_statements(index, found)]


def _is_on_root(index: Index, found: CatalogEntry | None) -> bool:
    definition = found.definition if found and found.kind == PARTITIONED_INDEX else None
    return definition is not None and definition.table == index.table


def _closed(part: Part) -> Part:
    """Return a part with all of its statements due."""
    step = part.step
    due = Step(step.action, step.index, step.declared, step.found, (*step.statements, *part.closing), step.other_name)
    return part._replace(step=due, closing=())


def _is_attachment(statement: str) -> bool:
    return isinstance(statement, Brief)
