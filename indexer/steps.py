"""Steps: what is decided about each index, with the statements that carry it out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy

from indexer.catalog import Catalog, CatalogEntry, IndexFile
from indexer.decide import (
    CHANGES,
    Action,
    Existing,
    RevertContext,
    can_be_replaced,
    compare,
    decide,
    decide_drop,
    decide_rebuild,
    decide_whole,
)
from indexer.definition import Definition, Difference
from indexer.dialect import Dialect
from indexer.leftovers import first_names, is_left_of, is_named_by_reindex
from indexer.options import DEFAULTS, Options
from indexer.partitions import Part, in_words, leaves, statements_of, whole
from indexer.spec import Index
from indexer.tuples import NamedTuple


class Step:
    """One index, what was decided about it, and the statements that carry the decision out.

    Attributes:
        found: what has the name of the index, or is being built to replace that.
        other_name: the name of the duplicate; on the way down the name that the index is given back.
        known_to_alembic: whether Alembic's run of the revision gives the index the same name.
        conflict: what has a name that a replacement would need.
        parts: the steps about the partitions of a partitioned table, the table itself first.
        adopted_parts: the indexes of partitions that existed before ``up``, and would be dropped with the whole.
    """

    def __init__(
        self,
        action: Action,
        index: Index,
        declared: Definition,
        found: CatalogEntry | None = None,
        statements: tuple[str, ...] = (),
        other_name: str | None = None,
        known_to_alembic: bool = True,
        conflict: CatalogEntry | None = None,
        parts: tuple[Part, ...] = (),
        adopted_parts: tuple[str, ...] = (),
    ) -> None:
        self.action = action
        self.index = index
        self.declared = declared
        self.found = found
        self.statements = statements
        self.other_name = other_name
        self.known_to_alembic = known_to_alembic
        self.conflict = conflict
        self.parts = parts
        self.adopted_parts = adopted_parts

    def without(self, is_left_out: Callable[[str], bool]) -> Step:
        """Return the step without some of its statements."""
        other = copy(self)
        other.statements = tuple(each for each in self.statements if not is_left_out(each))
        return other

    @property
    def differences(self) -> tuple[Difference, ...]:
        """How the found index differs from the declared one; empty if there is none."""
        return (*self._own_differences, *(each for part in self.different_parts for each in self._of_part(part)))

    @property
    def different_parts(self) -> list[Part]:
        """The partitions whose attached index differs from the declared one."""
        return [part for part in self.parts[1:] if part.step.differences]

    @property
    def differs_in_parts_only(self) -> bool:
        """Whether the index is as declared, and the one on a partition is not."""
        return bool(self.different_parts) and not self._own_differences

    @property
    def _own_differences(self) -> tuple[Difference, ...]:
        return compare(self.declared, self.found) if self.found else ()

    def _of_part(self, part: Part) -> Iterator[Difference]:
        """Yield the differences of the index on a partition, with its name and that of the partition."""
        partition, schema = part.partition, self.parts[0].partition.schema
        index, table = (partition.shown(name, schema) for name in (part.step.index.name, partition.table))
        for each in part.step.differences:
            yield each._replace(part=f"{each.part} of {index} on {table}")

    @property
    def state(self) -> str:
        """What has the name, in one word: valid, missing, invalid, in progress, different, or the kind of relation."""
        found = self.found
        if found is None:
            return "missing"
        if found.definition is None:
            return found.kind
        if self.is_unknown:
            return "unknown"
        if self.differences:
            return "different"
        if found.usable:
            return "valid"
        return "in progress" if found.worker else "invalid"

    @property
    def finding(self) -> str:
        """The state in more detail: which flag is missing, or what differs."""
        found = self.found
        if found is None:
            return in_words(self.parts) if any(part.step.found for part in self.parts) else "missing"
        if found.definition is None:
            return "not an index"
        if found.definition.table != self.declared.table:
            return "different table"
        if self.differences:
            return "different definition"
        return (in_words(self.parts) if not found.flaws else "") or found.flaw

    @property
    def partitions(self) -> int | None:
        """How many partitions that hold rows the table has; None if it is not partitioned."""
        return len(leaves(self.parts)) if self.parts else None

    @property
    def tables(self) -> set[str]:
        """The tables that it works on: its own, and the partitions in the same schema on which something is to do."""
        schema = self.parts[0].partition.schema if self.parts else None
        is_of_all = self.action in (Action.DROP, Action.REBUILD)
        undone = (part.partition for part in self.parts if is_of_all or not part.is_done)
        return {self.index.table, *(each.table for each in undone if each.schema == schema)}

    @property
    def is_valid(self) -> bool:
        """Whether the index exists as declared and queries can use it."""
        return self.state == "valid"

    @property
    def is_unknown(self) -> bool:
        """Whether a node of a cluster that should have a part of the index does not answer."""
        return self.found is not None and self.found.unknown is not None

    @property
    def is_refused(self) -> bool:
        """Whether something else that has the name of the index stops the run."""
        return self.action is Action.REFUSE and not self.is_unknown

    @property
    def stays(self) -> bool:
        """Whether an index that exists under the name, or is being built there, is taken as it is."""
        named = self.found is not None and self.found.name != self.index.replacing
        return named and self.action in (Action.KEEP, Action.WAIT)

    @property
    def can_be_replaced(self) -> bool:
        """Whether ``up --replace`` could replace what has the name."""
        return self.found is not None and not self.conflict and can_be_replaced(self.declared, self.found)

    @property
    def obstacles(self) -> tuple[Difference, ...]:
        """What else than its definition prevents the found index from being replaced."""
        needed = self.found.needed_by if self.found else None
        return (
            *((Difference("needed by", "nothing", needed),) if needed else ()),
            *((Difference("part of", "nothing", self.part_of),) if self.part_of else ()),
            *((Difference("the name", f"{self.conflict.name} is free", "taken"),) if self.conflict else ()),
        )

    @property
    def part_of(self) -> str | None:
        """The index of a wider partitioned table that the found one is a part of, with its schema."""
        return self.found.part_of if self.found else None

    @property
    def restores(self) -> bool:
        """Whether the step renames back an index that a killed replacement has put aside."""
        return self.action is Action.RENAME_BACK and self.other_name is None

    @property
    def changes(self) -> bool:
        """Whether the step changes the database."""
        return self.action in CHANGES


class StepPlanner(NamedTuple):
    """Plans steps from what is declared and what exists. It reads the catalog and changes nothing.

    Attributes:
        declared: the names of all indexes of the chain; an index of such a name is no duplicate of another.
        replaced: the names on record that replacements gave to the indexes they replaced.
    """

    catalog: Catalog
    dialect: Dialect
    options: Options = DEFAULTS
    declared: Collection[str] = ()
    replaced: Collection[str] = ()

    def up(self, indexes: Sequence[Index], sizes: bool = False, duplicates: bool = True) -> tuple[Step, ...]:
        """Return what ``up`` would do about each of these indexes now.

        Args:
            sizes: whether to read their sizes as well.
            duplicates: whether to look for missing ones under other names.
        """
        existing = self._existing(indexes, sizes, duplicates)
        return tuple(self._step_up(index, existing[index]) for index in indexes)

    def down(
        self, indexes: Sequence[Index], context: RevertContext, sizes: bool = False, duplicates: bool = True
    ) -> tuple[Step, ...]:
        """Return what ``down`` would do about each of these indexes now; the arguments are as for ``up``."""
        existing = self._existing(indexes, sizes, duplicates)
        return tuple(self._step_down(index, existing[index], context) for index in indexes)

    def next_up(self, index: Index) -> Step:
        """Return what a run does about one index now; it looks for duplicates only if it is to rename them."""
        return self._step_up(index, self._now(index))

    def next_down(self, index: Index, context: RevertContext) -> Step:
        """Return what a run that reverts does about one index now."""
        return self._step_down(index, self._now(index), context)

    def reindex(self, step: Step) -> Step:
        """Return the step that rebuilds the valid index that a step of ``up`` has found."""
        statement = self.dialect.reindex_statement(step.index.name)
        return Step(Action.REINDEX, step.index, step.declared, step.found, (statement,))

    def next_reindex(self, index: Index, before: IndexFile | None = None, has_begun: bool = False) -> Step:
        """Return what ``reindex`` does about one index now; first it drops what an interrupted one left.

        Args:
            before: the file of the index when it was chosen; None to rebuild whatever it has.
            has_begun: whether this run has sent the statement already, so that a new file is its own.
        """
        found, file = self.catalog.find([index.name]).get(index.name), self.catalog.file_of(index.name)
        if found and file and file.worker:
            found = found._replace(worker=file.worker)
        declared = self.dialect.definition(index, found)
        action = decide_rebuild(declared, found, file, before)
        entries = self.catalog.indexes_on([index.table])
        left = self.reindex_leftovers([index], entries)
        drops = [self.dialect.drop_statement_of(entry) for entry in entries if entry.name in left]
        if action is Action.REINDEX:
            return Step(action, index, declared, found, (*drops, self.dialect.reindex_statement(index.name)))
        if action is Action.WAIT and found and not found.worker and (has_begun or drops):
            return Step(Action.REINDEX, index, declared, found, tuple(drops))
        return Step(action, index, declared, found)

    def next_drop(self, leftover: Index, of: Index) -> Step:
        """Return what ``reindex`` does about a leftover of an index now: drop it, or nothing if it is none any more."""
        entries = {entry.name: entry for entry in self.catalog.indexes_on([of.table])}
        found, declared = entries.get(leftover.name), self.dialect.definition(leftover, None)
        if leftover.name in self.reindex_leftovers([of], entries.values()):
            drop = self.dialect.drop_statement_of(entries[leftover.name])
            return Step(Action.DROP, leftover, declared, found, (drop,))
        return Step(Action.LEAVE if found else Action.ABSENT, leftover, declared, found)

    def _now(self, index: Index) -> Existing:
        return self._existing([index], duplicates=self.options.adopt_renamed)[index]

    # What exists ----------------------------------------------------------------------------------------------------

    def _existing(
        self, indexes: Sequence[Index], sizes: bool = False, duplicates: bool = True
    ) -> dict[Index, Existing]:
        """Return all that matters to these indexes, with two queries at most; the second one finds duplicates."""
        others = {index: (self.dialect.alembic_name(index), *first_names(index.name)) for index in indexes}
        names = [name for index in indexes for name in (*index.names, *others[index])]
        found = self.catalog.find(names, sizes) if indexes else {}
        missing = [index for index in indexes if duplicates and index.name not in found]
        entries = self.catalog.indexes_on({index.table for index in missing}) if missing else []
        parts = self.dialect.parts(indexes, found, self.options, sizes)
        return {
            index: self._of_index(index, found, entries if index in missing else ())._replace(
                parts=parts.get(index, ())
            )
            for index in indexes
        }

    def _of_index(self, index: Index, found: Mapping[str, CatalogEntry], others: Sequence[CatalogEntry]) -> Existing:
        duplicate = next((other for other in others if self.is_duplicate(index, other)), None)
        named = [found.get(index.replacing), found.get(index.replaced)]
        replacing, replaced = (each if each and self.is_leftover(index, each) else None for each in named)
        conflict = next((each for each in named if each not in (None, replacing, replaced)), None)
        alembic_index = found.get(self.dialect.alembic_name(index))
        alembic_index = alembic_index if alembic_index and self.is_duplicate(index, alembic_index) else None
        left = [found[name] for name in first_names(index.name) if name in found]
        left = [each for each in left if is_left_of(each, index.name, self.dialect.definition(index, each))]
        return Existing(found.get(index.name), duplicate, alembic_index, replacing, replaced, conflict, tuple(left))

    def is_leftover(self, index: Index, found: CatalogEntry) -> bool:
        """Return whether a replacement of this index left the found one, which has one of the names for that."""
        if found.name == index.replacing:
            return not compare(self.dialect.definition(index, found), found)
        aside = found.name == index.replaced and found.name in self.replaced
        return aside and can_be_replaced(self.dialect.definition(index, found), found)

    def reindex_leftovers(self, indexes: Sequence[Index], entries: Iterable[CatalogEntry]) -> dict[str, str]:
        """Return what interrupted REINDEX CONCURRENTLY left among these entries, by name: the index it is left of.

        Args:
            indexes: the declared indexes that are asked about, whether they exist or not.
            entries: indexes of their tables.
        """
        named = [entry for entry in entries if is_named_by_reindex(entry.name) and not entry.usable]
        return {
            entry.name: index.name
            for entry in named
            for index in indexes
            if is_left_of(entry, index.name, self.dialect.definition(index, entry))
        }

    def is_duplicate(self, index: Index, other: CatalogEntry) -> bool:
        """Return whether the other one is the same index under a name that no index of the chain has."""
        taken = other.name in index.names or other.name in self.declared or other.part_of
        if taken or not other.usable or other.definition is None:
            return False
        alike = other.definition.outline == self.dialect.definition(index, None).outline
        return alike and not compare(self.dialect.definition(index, other), other)

    # Decisions and their statements ---------------------------------------------------------------------------------

    def _step_up(self, index: Index, existing: Existing) -> Step:
        if existing.parts:
            return self._step_up_in_parts(index, existing)
        dialect, found = self.dialect, existing.found
        declared = dialect.definition(index, found)
        action = decide(declared, existing, self.options)
        duplicate = existing.duplicate.name if existing.duplicate else None
        statements: Sequence[str] = ()
        match action:
            case Action.CREATE:
                statements = [dialect.create_statement(index)]
            case Action.REBUILD:
                assert found
                statements = [*dialect.clear_statements(index, found), dialect.create_statement(index)]
            case Action.REINDEX if found and found.part_of:
                left = [dialect.drop_statement(each.name) for each in existing.left]
                statements = [*left, dialect.reindex_statement(index.name)]
            case Action.REINDEX:
                statements = dialect.mark_statements(index)
            case Action.RENAME:
                assert duplicate
                statements = dialect.rename_statements(index, duplicate, index.name)
            case Action.REPLACE:
                statements = dialect.replace_statements(index, existing, bool(found and compare(declared, found)))
            case Action.WAIT if not (found and found.worker):
                found = existing.replacing
        known = dialect.alembic_name(index) == index.name
        return Step(action, index, declared, found, tuple(statements), duplicate, known, existing.conflict)

    def _step_up_in_parts(self, index: Index, existing: Existing) -> Step:
        """Return the step about an index of a partitioned table: what it found is as good as all parts together."""
        parts, root = existing.parts, existing.parts[0].step
        found = whole(root.found, parts) if root.found else None
        duplicate = existing.duplicate.name if existing.duplicate else None
        action = decide_whole(existing._replace(found=found), [part.step.action for part in parts], self.options)
        statements = statements_of(parts)
        if action is Action.RENAME:
            assert duplicate
            statements = self.dialect.rename_statements(index, duplicate, index.name)
        return Step(action, index, root.declared, found, tuple(statements), duplicate, parts=parts)

    def _step_down(self, index: Index, existing: Existing, context: RevertContext) -> Step:
        dialect, found = self.dialect, existing.found
        # Before its table was partitioned, the index of a partition was that of the whole table.
        is_moved = found is not None and existing.parts != () and existing.parts[0].step.found is None
        table = found.definition.table if found and found.definition and is_moved else index.table
        declared = dialect.definition(index.on(table, index.name), found)
        action = decide_drop(declared, existing, index.name, context, self.options)
        former = context.existed_before.get(index.name)
        adopted = () if self.options.include_adopted else tuple(context.existed_before)
        kept = tuple(part.label for part in existing.parts if part.is_attached and part.label in adopted)
        action = Action.LEAVE if action is Action.DROP and kept else action
        unattached = [
            part.drop
            for part in existing.parts[1:]
            if part.step.found and not part.is_attached and part.label not in adopted
            if found is None or part.step.found.oid != found.oid
        ]
        if found and existing.parts and existing.parts[0].step.found:
            found = found._replace(bytes=whole(found, existing.parts).bytes)
        statements: Sequence[str] = ()
        match action:
            case Action.DROP:
                alembic_index = existing.alembic_index if context.alembic_has_run else None
                dropped = (existing.replacing, existing.replaced, alembic_index, *existing.left)
                statements = [
                    *(dialect.drop_statement(each.name) for each in dropped if each),
                    *unattached,
                    *(part.drop_unattached for part in existing.parts if part.drop_unattached),
                ]
                # Last, because without the parent nothing would say that what is not attached yet belongs to it.
                at = len(statements) if existing.parts else 0
                statements[at:at] = dialect.clear_statements(index, found) if found else []
            case Action.LEAVE if existing.replacing:
                statements = [dialect.drop_statement(existing.replacing.name)]
            case Action.RENAME_BACK if found and former:
                statements = dialect.rename_statements(index, index.name, former)
            case Action.RENAME_BACK:
                statements, former = dialect.restore_statements(index, existing), None
            case Action.ABSENT if unattached:
                action, statements = Action.DROP, unattached
            case Action.ABSENT:
                former = existing.duplicate.name if existing.duplicate else None
        other_name = former if former != index.name else None
        known = dialect.alembic_name(index) == index.name
        return Step(action, index, declared, found, tuple(statements), other_name, known, None, existing.parts, kept)
