"""The one decision about an index, taken from what is declared and what is found. Pure: no database here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from indexer.catalog import CatalogEntry
from indexer.options import DEFAULTS, Options
from indexer.spec import Definition, Difference, Index, differences


class Action(str, Enum):
    """What to do about one index, in the words that the whole tool uses."""

    CREATE = "create"
    KEEP = "keep"
    REBUILD = "rebuild"
    RENAME = "rename"
    REPLACE = "replace"
    DROP = "drop"
    LEAVE = "leave"
    GIVE_BACK = "give back"
    ABSENT = "absent"
    JOIN = "join"
    REFUSE = "refuse"


CREATIONS = frozenset({Action.CREATE, Action.REBUILD, Action.REPLACE})
CHANGES = CREATIONS | {Action.RENAME, Action.DROP, Action.GIVE_BACK, Action.JOIN}


class Existing(NamedTuple):
    """All that stands and matters to one index.

    ``found`` carries its name, ``duplicate`` is the same index under another name, ``alembic_index`` the same under the
    name that Alembic's run of the revision gives it. ``replacing`` is being built to take the place of ``found``,
    ``replaced`` is the one whose place was taken, and ``conflict`` is whatever else carries the name of one of these
    two.
    """

    found: CatalogEntry | None = None
    duplicate: CatalogEntry | None = None
    alembic_index: CatalogEntry | None = None
    replacing: CatalogEntry | None = None
    replaced: CatalogEntry | None = None
    conflict: CatalogEntry | None = None


NOTHING = Existing()


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


@dataclass(frozen=True, eq=False)
class Step:
    """One index, what was decided about it, and the statements that carry the decision out.

    ``other_name`` is the name that the index has elsewhere: that of its twin, or the one it is given back on the way
    down. ``known_to_alembic`` says that Alembic's run of the revision gives it the same name. ``conflict`` has a name
    that a replacement would need.
    """

    action: Action
    index: Index
    declared: Definition
    found: CatalogEntry | None = None
    statements: tuple[str, ...] = ()
    other_name: str | None = None
    known_to_alembic: bool = True
    conflict: CatalogEntry | None = None

    @property
    def differences(self) -> tuple[Difference, ...]:
        """In what the found one departs from the declared one; none when nothing stands there."""
        return compare(self.declared, self.found) if self.found else ()

    @property
    def state(self) -> str:
        """What stands under the name, in one word: valid, missing, invalid, in progress, different, or its kind."""
        if self.found is None:
            return "missing"
        return "different" if self.found.definition and self.differences else self.found.state

    @property
    def finding(self) -> str:
        """The same more closely: which flag is missing, or in what it departs."""
        found = self.found
        if found is None:
            return "missing"
        if found.definition is None:
            return "not an index"
        if found.definition.table != self.declared.table:
            return "different table"
        if self.differences:
            return "different definition"
        return found.flaw

    @property
    def stands(self) -> bool:
        """Is it there, as declared and of use?"""
        return self.state == "valid"

    @property
    def stays(self) -> bool:
        """Is one that stands under the name, or is being built there, taken as it is?"""
        named = self.found is not None and self.found.name != self.index.replacing
        return named and self.action in (Action.KEEP, Action.JOIN)

    @property
    def can_be_replaced(self) -> bool:
        """Could ``up --replace`` put the declared index in the place of the one that stands there?"""
        return self.found is not None and not self.conflict and can_be_replaced(self.declared, self.found)

    @property
    def obstacles(self) -> tuple[Difference, ...]:
        """What else than its definition keeps the one that stands there from being replaced."""
        needed = self.found.needed_by if self.found else None
        return (
            *((Difference("needed by", "nothing", needed),) if needed else ()),
            *((Difference("the name", f"{self.conflict.name} is free", "taken"),) if self.conflict else ()),
        )

    @property
    def restores(self) -> bool:
        """Does it give an index its name back that a killed replacement has put aside?"""
        return self.action is Action.GIVE_BACK and self.other_name is None

    @property
    def changes(self) -> bool:
        """Does this step change the database?"""
        return self.action in CHANGES


def decide(declared: Definition, standing: Existing, options: Options = DEFAULTS) -> Action:
    """What `up` does about an index: create, rename, keep, rebuild, replace, join another session, or refuse."""
    found = standing.found
    if found is None:
        return Action.RENAME if options.adopt_renamed and standing.duplicate else Action.CREATE
    if compare(declared, found):
        return _decide_replacement(declared, found, standing) if options.replace else Action.REFUSE
    if not found.usable:
        return Action.JOIN if found.worker else Action.REBUILD
    return Action.REPLACE if options.replace and _leaves_something(standing) else Action.KEEP


def _decide_replacement(declared: Definition, found: CatalogEntry, standing: Existing) -> Action:
    if standing.conflict or not can_be_replaced(declared, found):
        return Action.REFUSE
    replacing = standing.replacing
    return Action.JOIN if replacing and replacing.worker and not replacing.usable else Action.REPLACE


def _leaves_something(standing: Existing) -> bool:
    """Did a replacement that was interrupted leave something to be dropped?"""
    replacing = standing.replacing
    return standing.replaced is not None or bool(replacing and not replacing.worker)


def can_be_replaced(declared: Definition, found: CatalogEntry) -> bool:
    """On another table it serves somebody else, and what a constraint needs cannot be dropped without it."""
    theirs = found.definition
    if theirs is None or theirs.constraint or found.needed_by:
        return False
    return theirs.table == declared.table


def decide_drop(
    declared: Definition,
    standing: Existing,
    name: str,
    context: RevertContext = UNKNOWN,
    options: Options = DEFAULTS,
) -> Action:
    """Return what ``down`` does about an index: drop, leave, rename back, wait for another session, or refuse.

    Args:
        declared: the definition of the index.
        standing: what exists and matters to it.
        name: its name.
        context: the past of its revision.
        options: what the user asks of the run.
    """
    found, before = standing.found, context.existed_before
    is_put_aside = context.was_replaced(name, standing.replaced) and not options.include_adopted
    if found is None:
        dropped = Action.DROP if context.alembic_has_run and standing.alembic_index else Action.ABSENT
        return Action.GIVE_BACK if is_put_aside else dropped
    if is_remade(name, found, context.made):
        return Action.LEAVE
    differs = bool(compare(declared, found))
    if name in before and not options.include_adopted:
        return Action.LEAVE if before[name] == name or differs else Action.GIVE_BACK
    if differs:
        return Action.LEAVE if context.unfinished or context.has_its_name_back(name) else Action.REFUSE
    if found.worker and not found.usable:
        return Action.JOIN
    return Action.GIVE_BACK if is_put_aside else Action.DROP


def is_remade(name: str, found: CatalogEntry, made: Mapping[str, int]) -> bool:
    """Return whether an index is another one than a killed run has made or was about to drop, by their OIDs."""
    return found.oid is not None and made.get(name, found.oid) != found.oid


def compare(declared: Definition, found: CatalogEntry) -> tuple[Difference, ...]:
    """The differences between what is declared and what stands; none when they are the same index."""
    if found.definition is None:
        return (Difference("kind", "index", found.kind),)
    return differences(declared, found.definition)
