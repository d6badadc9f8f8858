"""The decision about one index, from what is declared and what exists. Pure: no database here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum
from typing import TYPE_CHECKING

from indexer.catalog import PARTITIONED_INDEX, CatalogEntry, IndexFile
from indexer.definition import Definition, Difference, differences
from indexer.options import DEFAULTS, Options
from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.partitions import Part


class Action(str, Enum):
    """What to do about one index, in the words of texts, JSON documents and the log."""

    CREATE = "create"
    KEEP = "keep"
    REBUILD = "rebuild"
    COMPLETE = "complete"
    ATTACH = "attach"
    RENAME = "rename"
    REPLACE = "replace"
    REINDEX = "reindex"
    ANALYZE = "analyze"
    DROP = "drop"
    LEAVE = "leave"
    RENAME_BACK = "give back"
    ABSENT = "absent"
    WAIT = "join"
    REFUSE = "refuse"


CREATIONS = frozenset({Action.CREATE, Action.REBUILD, Action.REPLACE})
CHANGES = CREATIONS | {Action.COMPLETE, Action.ATTACH, Action.REINDEX, Action.RENAME, Action.DROP}
CHANGES |= {Action.RENAME_BACK, Action.WAIT}


class Existing(NamedTuple):
    """All that exists and matters to one index.

    Attributes:
        found: what has its name.
        duplicate: the same index under another name.
        alembic_index: the same index under the name that Alembic's run of the revision gives it.
        replacing: an index that is built to replace ``found``.
        replaced: the index that a replacement has put aside.
        conflict: what else has one of the names that a replacement needs.
        left: what an interrupted REINDEX CONCURRENTLY has left of it, under the first names for that.
        parts: what the partitions of a partitioned table have of it.
    """

    found: CatalogEntry | None = None
    duplicate: CatalogEntry | None = None
    alembic_index: CatalogEntry | None = None
    replacing: CatalogEntry | None = None
    replaced: CatalogEntry | None = None
    conflict: CatalogEntry | None = None
    left: tuple[CatalogEntry, ...] = ()
    parts: tuple[Part, ...] = ()


class RevertContext(NamedTuple):
    """What ``down`` has to know about the past of a revision.

    Attributes:
        existed_before: the names that indexes had before ``up``, by the names they have now.
        made: the OIDs of the indexes that a killed run has made or was about to drop, by name.
        unfinished: whether ``up`` was killed on its way.
        alembic_has_run: whether Alembic says that the revision is applied.
    """

    existed_before: Mapping[str, str] = {}
    made: Mapping[str, int] = {}
    unfinished: bool = False
    alembic_has_run: bool = False

    def was_replaced(self, name: str, replaced: CatalogEntry | None) -> bool:
        """Return whether a killed replacement has put an index aside that had this name."""
        return replaced is not None and self.existed_before.get(replaced.name) == name

    def has_its_name_back(self, name: str) -> bool:
        """Return whether a replacement is on record, so that a different index of the name is the older one."""
        return any(former == name for replaced, former in self.existed_before.items() if replaced != name)


UNKNOWN = RevertContext()


def decide(declared: Definition, existing: Existing, options: Options = DEFAULTS) -> Action:
    """Return what ``up`` does about an index: create, rename, keep, rebuild, replace, wait, or refuse."""
    found = existing.found
    if found is None:
        return Action.RENAME if options.adopt_renamed and existing.duplicate else Action.CREATE
    if found.unknown and not found.worker:
        return Action.REFUSE
    if compare(declared, found):
        return _decide_replacement(declared, found, existing) if options.replace else Action.REFUSE
    if not found.usable:
        if found.worker:
            return Action.WAIT
        cannot_be_dropped = found.is_mismarked or found.part_of
        return Action.REINDEX if cannot_be_dropped else Action.REBUILD
    replacing = existing.replacing
    has_leftovers = existing.replaced is not None or bool(replacing and not replacing.worker)
    return Action.REPLACE if options.replace and has_leftovers else Action.KEEP


def decide_whole(existing: Existing, parts: Collection[Action], options: Options = DEFAULTS) -> Action:
    """Return what ``up`` does about an index of a partitioned table, of which it does this about each part.

    ``existing.found`` is the parent index, which is as declared.
    """
    if Action.REFUSE in parts:
        return Action.REFUSE
    if existing.found is None:
        return Action.RENAME if options.adopt_renamed and existing.duplicate else Action.CREATE
    if any(part.is_attached and part.step.action is Action.REBUILD for part in existing.parts):
        return Action.REBUILD
    return Action.KEEP if set(parts) == {Action.KEEP} else Action.COMPLETE


def _decide_replacement(declared: Definition, found: CatalogEntry, existing: Existing) -> Action:
    if existing.conflict or not can_be_replaced(declared, found):
        return Action.REFUSE
    replacing = existing.replacing
    return Action.WAIT if replacing and replacing.worker and not replacing.usable else Action.REPLACE


def can_be_replaced(declared: Definition, found: CatalogEntry) -> bool:
    """Return whether the found index may be replaced: it is on the same table, and no constraint needs it.

    An index of a partitioned table cannot be dropped without blocking every query of the table.
    """
    definition = found.definition
    if definition is None or definition.constraint or found.kind == PARTITIONED_INDEX:
        return False
    if found.needed_by or found.part_of:
        return False
    if found.flaws and not found.usable:  # the shards that lack it have nothing to be renamed
        return False
    return definition.table == declared.table


def decide_drop(
    declared: Definition, existing: Existing, name: str, context: RevertContext = UNKNOWN, options: Options = DEFAULTS
) -> Action:
    """Return what ``down`` does about an index: drop, leave, rename back, wait for another session, or refuse."""
    found, before = existing.found, context.existed_before
    is_put_aside = context.was_replaced(name, existing.replaced) and not options.include_adopted
    if found is None:
        dropped = Action.DROP if context.alembic_has_run and existing.alembic_index else Action.ABSENT
        return Action.RENAME_BACK if is_put_aside else dropped
    if is_remade(name, found, context.made):
        return Action.LEAVE
    differs = bool(compare(declared, found))
    if name in before and not options.include_adopted:
        return Action.LEAVE if before[name] == name or differs else Action.RENAME_BACK
    if differs:
        return Action.LEAVE if context.unfinished or context.has_its_name_back(name) else Action.REFUSE
    if found.worker and not found.usable:
        return Action.WAIT
    if found.part_of:
        return Action.LEAVE  # PostgreSQL drops it only with that
    return Action.RENAME_BACK if is_put_aside else Action.DROP


def decide_rebuild(
    declared: Definition, found: CatalogEntry | None, file: IndexFile | None, before: IndexFile | None
) -> Action:
    """Return what ``reindex`` does about an index: rebuild, join another session's rebuild, or refuse.

    It is ABSENT if it was dropped meanwhile.

    Args:
        file: the file that the index has now.
        before: the file that it had when it was chosen; with another one it has been rebuilt since.
    """
    if found is None or file is None:
        return Action.ABSENT
    if compare(declared, found):
        return Action.REFUSE
    if found.worker or file.worker:
        return Action.WAIT
    if not found.usable:
        return Action.REFUSE
    return Action.WAIT if before and file.has_replaced(before) else Action.REINDEX


def decide_part(declared: Definition, attached: CatalogEntry | None, own: CatalogEntry | None, is_leaf: bool) -> Action:
    """Return what ``up`` does about the index on one partition of a partitioned table.

    No invalid index is attached: before PostgreSQL 14 the parent index could then never become valid.

    Args:
        attached: the index of the partition that is attached to that of the parent.
        own: an index of the partition that is as declared, is attached to nothing, and may be attached.
        is_leaf: whether the partition holds rows itself; if not, its index is valid once those below it are.
    """
    if attached is not None:
        if compare(declared, attached) or attached.unknown:
            return Action.REFUSE
        if attached.is_torn:
            return Action.REBUILD  # with the whole, because PostgreSQL drops no index that is attached
        if attached.usable or not is_leaf:
            return Action.KEEP
        return Action.WAIT if attached.worker else Action.REINDEX
    if own is None:
        return Action.CREATE
    if own.usable or not is_leaf:
        return Action.ATTACH
    return Action.WAIT if own.worker else Action.REBUILD


def is_remade(name: str, found: CatalogEntry, made: Mapping[str, int]) -> bool:
    """Return whether an index is another one than a killed run has made or was about to drop, by their OIDs."""
    return found.oid is not None and made.get(name, found.oid) != found.oid


def compare(declared: Definition, found: CatalogEntry) -> tuple[Difference, ...]:
    """Return how what is found differs from what is declared; nothing if they are the same index."""
    if found.definition is None:
        return (Difference("kind", "index", found.kind),)
    of_placements = [
        part._replace(part=f"{part.part} of {flaw.place}")
        for flaw in found.flaws
        if flaw.definition
        for part in differences(declared, flaw.definition)
    ]
    return tuple(of_placements) or differences(declared, found.definition)
