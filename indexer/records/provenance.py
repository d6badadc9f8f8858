"""Who made an index: this tool, Alembic in its run of the same revision, or others. Pure: no database here.

Nothing else decides this. It follows from the recorded state, from where Alembic is, from which of the indexes exist,
and from what the record says about each. ``tests/records/test_provenance.py`` has a row for each combination.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING

from indexer.decide import CREATIONS, UNKNOWN, Action, RevertContext, is_remade
from indexer.records.alembic import InAlembic, Position
from indexer.records.revisions import APPLIED, APPLYING, REVERTED, Record

if TYPE_CHECKING:
    from indexer.catalog import CatalogEntry
    from indexer.partitions import Part
    from indexer.spec import Index
    from indexer.steps import Step

CREATED, ADOPTED, RENAMED = "created", "adopted", "renamed"  # the origins of an index
A_RUN, OTHERS = "a run of the revision, by this tool or by Alembic", "others"
RENAMING = ("ALTER ", "BEGIN")  # the beginnings of the statements that change names


class RevisionState(Enum):
    """What has become of a revision, by our record and Alembic's together.

    Attributes:
        is_applied: whether the revision counts as applied.
        is_undoable: whether there is anything for ``down`` to do.
        made_by: who made an index of the revision that exists and that the record does not list as older than ``up``.
    """

    NEW = "no run has applied it", False, False, OTHERS
    ALEMBIC_APPLIED = "Alembic has applied it", True, True, A_RUN
    ALEMBIC_PASSED = "Alembic is past it, and none of its indexes exists", False, False, A_RUN
    APPLYING = "an up was interrupted", False, True, A_RUN
    APPLIED = "up has applied it", True, True, A_RUN
    ALEMBIC_REVERTED = "up has applied it, and Alembic has reverted it since", False, True, OTHERS
    REVERTING = "a down was interrupted", False, True, A_RUN
    REVERTED = "down has reverted it", False, False, OTHERS
    ALEMBIC_REAPPLIED = "down has reverted it, and Alembic has applied it again since", True, True, A_RUN

    def __init__(self, description: str, is_applied: bool, is_undoable: bool, made_by: str) -> None:
        self.description = description
        self.is_applied = is_applied
        self.is_undoable = is_undoable
        self.made_by = made_by


# Any other state is that of an interrupted `down`.
RECORDED = {APPLYING: RevisionState.APPLYING, APPLIED: RevisionState.APPLIED, REVERTED: RevisionState.REVERTED}


def state_of(record: Record | None, alembic: InAlembic, found: Sequence[bool]) -> RevisionState:
    """Return what has become of a revision.

    Where Alembic and the catalog together contradict our record, they are right. Alembic has applied the revision again
    only if all of the indexes exist, and reverted it only if most are missing: one alone may have been made by hand.

    Args:
        found: for each index that has the same name with Alembic, whether something has that name.
    """
    if record is None:
        if not alembic.has_run:
            return RevisionState.NEW
        is_applied = alembic.position is Position.AT or any(found)
        return RevisionState.ALEMBIC_APPLIED if is_applied else RevisionState.ALEMBIC_PASSED
    if record.state == REVERTED and alembic.has_run and all(found):
        return RevisionState.ALEMBIC_REAPPLIED
    if record.state == APPLIED and alembic.position is Position.BELOW and found.count(True) * 2 <= len(found):
        return RevisionState.ALEMBIC_REVERTED
    return RECORDED.get(record.state, RevisionState.REVERTING)


def origin(step: Step, record: Record | None, state: RevisionState) -> str | None:
    """Return where the index of a step comes from: created, adopted or renamed.

    ``down`` drops a created one, leaves an adopted one, and gives a renamed one its former name back. None where there
    is no such index, another one has its name, or others may have made it after the revision was reverted.
    """
    if step.found is None or step.differences or not (record or state.is_applied):
        return None
    if record and step.index.name in record.existed_before:
        return RENAMED if former_name(step, record) else ADOPTED
    if record and any(part.is_attached and part.label in record.existed_before for part in step.parts):
        return ADOPTED  # in part, so that down leaves it
    if _was_remade(step, record):
        return ADOPTED
    return CREATED if _made_by(step, state) == A_RUN else None


def former_name(step: Step, record: Record | None) -> str | None:
    """Return the other name that an existing index had before ``up``, if it had one."""
    former = record.existed_before.get(step.index.name) if record and step.found else None
    return former if former != step.index.name else None


def existed_before(steps: Sequence[Step], record: Record | None, state: RevisionState) -> dict[str, str]:
    """Return the indexes that do not belong to ``up`` when it begins: former names by present names.

    These are all names about which no run of this tool has begun, whether an index has the name now or will have it
    when the run comes to it. What is on record stays on record.
    """
    recorded = record.existed_before if record else {}
    before: dict[str, str] = {}
    for name, replaced, step in ((step.index.name, step.index.replaced, step) for step in steps):
        if name in recorded or not _may_be_ours(step, record, state):
            before[name] = recorded.get(name, name)
        if replaced in recorded:
            before[replaced] = name
        before.update(_parts_before(step, recorded, state))
    return before


def _parts_before(step: Step, recorded: Mapping[str, str], state: RevisionState) -> dict[str, str]:
    """Return the indexes of partitions that do not belong to ``up``, which is to attach them to the whole."""
    existing = attached_by(step, state)
    return {label: label for label in (*existing, *(part.label for part in step.parts if part.label in recorded))}


def attached_by(step: Step, state: RevisionState) -> list[str]:
    """Return the indexes that others have made on partitions, and that ``up`` attaches as they are."""
    return [part.label for part in step.parts if _is_there(part) and state.made_by != A_RUN]


def _is_there(part: Part) -> bool:
    """Return whether a partition has an index that is to be attached as it is, or as a session is building it."""
    return not part.is_attached and part.step.found is not None and part.step.action in (Action.ATTACH, Action.WAIT)


def revert_context(record: Record | None, alembic: InAlembic) -> RevertContext:
    """Return what ``down`` has to know about the past of a revision."""
    if record is None:
        return UNKNOWN._replace(alembic_has_run=alembic.has_run)
    return RevertContext(record.existed_before, record.made, record.state == APPLYING, alembic.has_run)


def _may_be_ours(step: Step, record: Record | None, state: RevisionState) -> bool:
    """Return whether our run, or Alembic's of the same revision, has made the index or has begun to."""
    if _was_remade(step, record):
        return False
    if state is RevisionState.APPLYING:
        return True  # a killed run has begun it, or its name would be on record
    if step.stays or (step.action is Action.COMPLETE and step.found):
        return _made_by(step, state) == A_RUN
    return record is not None and step.found is not None and not step.differences


def _made_by(step: Step, state: RevisionState) -> str:
    if state is RevisionState.ALEMBIC_REVERTED and not step.known_to_alembic:
        return A_RUN  # Alembic drops what has the same name with it, and nothing else
    return state.made_by


def _was_remade(step: Step, record: Record | None) -> bool:
    return record is not None and step.found is not None and is_remade(step.index.name, step.found, record.made)


class Provenance:
    """What is recorded of the indexes of a revision, kept true from the first statement of a run to the last.

    The record lists what is not the tool's own, and until a run sends the first statement about an index, that is
    whatever has its name. So an index that others make between the look and the statement is never taken for ours, even
    if the run is killed in between. The name comes off the list right before the statement that makes the index, and
    goes back on it once ``down`` has dropped it, or once it turns out that another session made the index first.

    The OID of an index that a run makes or is about to drop is noted, too: after a kill, an index of another OID was
    made by others, who have repaired or replaced it. (Only after a kill: REINDEX CONCURRENTLY changes the OID.)

    One case cannot be told apart: a run is killed between its note and the first look at its build, and others make the
    same index. That one counts as created, because the killed run's server process may have made it as well.

    Args:
        record: the record of the revision as the run begins; None if the run is not recorded.
        save: called with the record whenever that has changed.
        existing: the indexes of partitions that existed when the run began, of which the record tells who made them.

    Attributes:
        built: the indexes that the run has built, as they were right after that, by name.
    """

    def __init__(
        self,
        record: Record | None = None,
        save: Callable[[Record], None] = lambda record: None,
        existing: Collection[str] = (),
    ) -> None:
        self._record = record
        self._save = save
        self._existing = existing
        self._at_first = dict(record.existed_before) if record else {}
        self._before = dict(self._at_first)
        self._made = dict(record.made) if record else {}
        self.built: dict[str, CatalogEntry] = {}

    def begin(self, step: Step, statement: str) -> None:
        """Note what will be true of an index as soon as this statement of its step has been executed."""
        before, made = dict(self._before), dict(self._made)
        name = step.index.name
        match step.action:
            case Action.CREATE | Action.REBUILD:
                before.pop(name, None)
                made.pop(name, None)
                for part in step.parts:
                    if part.step.found is None:  # it was dropped with the whole
                        before.pop(part.label, None)
            case Action.RENAME if step.other_name:
                before[name] = step.other_name
            case Action.REPLACE if step.differences:
                before[step.index.replaced] = name
                if statement.startswith(RENAMING):
                    before.pop(name, None)
            case Action.DROP:
                made.update(_oid(step.found))
        self._note(before, made)

    def has_seen(self, index: Index) -> bool:
        """Return whether the OID of an index that the run makes is noted."""
        return index.name in self._made

    def see(self, found: CatalogEntry) -> None:
        """Note the OID of an index that the run is making."""
        self._note(self._before, {**self._made, **_oid(found)})

    def disclaim(self, step: Step) -> None:
        """Note that a statement has made no index: others made the one that has the name from now on.

        If a killed run had begun the same index already, it may still be that one.
        """
        name = step.index.name
        if name in self._at_first or step.action is Action.REBUILD:
            self._note({**self._before, name: self._at_first.get(name, name)}, self._made)

    def attach(self, label: str) -> None:
        """Note that an index of a partition which this run has not built is attached to that of the whole table.

        Args:
            label: its name with its schema.
        """
        if label not in self._existing:
            self._note({**self._before, label: label}, self._made)

    def finish(self, step: Step, after: CatalogEntry | None = None) -> None:
        """Note the result of a step: ``after`` has the name of its index now."""
        name, replaced = step.index.name, step.index.replaced
        if step.action in CREATIONS and after:
            self.built[name] = after
        before = dict(self._before)
        if step.action is Action.RENAME and step.other_name:
            before[name] = step.other_name
        elif step.action in CREATIONS:
            if step.action is not Action.REPLACE or step.differences:
                before.pop(name, None)
            before.pop(replaced, None)
        elif step.action is Action.COMPLETE:
            pass  # it belongs to who has made the parent index
        elif step.action in (Action.KEEP, Action.REINDEX):
            if name in self._at_first:
                before[name] = self._at_first[name]
        elif step.action is Action.RENAME_BACK:
            before[name] = name
            before.pop(replaced, None)
        else:
            self._before.setdefault(name, name)  # saved with the next note: the OID tells as much until then
            return
        self._note(before, self._made)

    @property
    def existed_before(self) -> dict[str, str]:
        """The names that indexes had before ``up``, by the names they have now."""
        return dict(self._before)

    def _note(self, before: Mapping[str, str], made: Mapping[str, int]) -> None:
        if (before, made) == (self._before, self._made):
            return
        self._before, self._made = dict(before), dict(made)
        if self._record:
            self._save(self._record._replace(existed_before=self._before, made=self._made))


def _oid(found: CatalogEntry | None) -> dict[str, int]:
    """Return the OID of an index by its name; nothing where the database has none."""
    return {found.name: found.oid} if found and found.oid else {}
