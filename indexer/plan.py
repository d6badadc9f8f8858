"""The one decision about an index, taken from what is declared and what is found. Pure: no database here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from indexer.catalog import Found
from indexer.spec import Definition, Difference, Index, differences


class Action(str, Enum):
    """What to do about one index, in the words that the whole tool uses."""

    CREATE = "create"
    KEEP = "keep"
    REBUILD = "rebuild"
    DROP = "drop"
    LEAVE = "leave"
    ABSENT = "absent"
    JOIN = "join"
    REFUSE = "refuse"


CREATIONS = frozenset({Action.CREATE, Action.REBUILD})
CHANGES = frozenset({Action.CREATE, Action.REBUILD, Action.DROP, Action.JOIN})


@dataclass(frozen=True, eq=False)
class Step:
    """One index, what was decided about it, and the statements that carry the decision out."""

    action: Action
    index: Index
    declared: Definition
    found: Found | None = None
    statements: tuple[str, ...] = ()

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
    def changes(self) -> bool:
        """Does this step change the database?"""
        return self.action in CHANGES


def decide(declared: Definition, found: Found | None) -> Action:
    """What `up` does about an index: create, keep, rebuild, join another session's build, or refuse."""
    if found is None:
        return Action.CREATE
    if compare(declared, found):
        return Action.REFUSE
    if found.usable:
        return Action.KEEP
    return Action.JOIN if found.worker else Action.REBUILD


def decide_drop(declared: Definition, found: Found | None, name: str, existed_before: Collection[str]) -> Action:
    """What `down` does about an index: drop, leave what stood there before `up`, join, or refuse."""
    if found is None:
        return Action.ABSENT
    if name in existed_before:
        return Action.LEAVE
    if compare(declared, found):
        return Action.REFUSE
    return Action.JOIN if found.worker and not found.usable else Action.DROP


def compare(declared: Definition, found: Found) -> tuple[Difference, ...]:
    """The differences between what is declared and what stands; none when they are the same index."""
    if found.definition is None:
        return (Difference("kind", "index", found.kind),)
    return differences(declared, found.definition)
