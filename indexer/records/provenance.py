"""Whose each index of a revision is: kept on record from the first statement of a run to the last."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from indexer.decide import CREATIONS, Action, Step

if TYPE_CHECKING:
    from indexer.catalog import CatalogEntry
    from indexer.records.revisions import Record
    from indexer.spec import Index

MADE = ""  # no index has this name: its entry holds the OIDs of those that a run has made or is about to drop
RENAMING = ("ALTER ", "BEGIN")  # how the statements begin that change names


class Provenance:
    """The record's ``existed_before`` while a revision is applied or taken back.

    It lists what is not the tool's own, and until a run sends the first statement about an index, that is whatever
    carries its name: so an index that somebody else makes between the look and the statement is never taken for ours,
    also when the run is killed in between. The name comes off the list right before the statement that makes the index,
    and goes back on it once ``down`` has dropped it, or once it has turned out that somebody else was faster.

    The OID of an index that a run makes or is about to drop is noted, too: after a kill, an index of another OID is
    somebody else's, who has repaired or replaced it. (Only after a kill: REINDEX CONCURRENTLY changes the OID.)

    That is one small UPDATE an index, two for a long build, which is nothing beside the build. Where a run is one
    transaction (SQLite) there is nothing to save in between.

    What cannot be told: a run is killed between its note and the first look at its build, and somebody makes the same
    index. That one counts as created, because the killed run's server process may have made it as well.

    Attributes:
        existed_before: the names that indexes had before ``up``, by the names they have now.
    """

    def __init__(self, existed_before: Mapping[str, str], save: Callable[[Mapping[str, str]], None]) -> None:
        self.existed_before = dict(existed_before)
        self._at_first = dict(existed_before)
        self._save = save

    def begin(self, step: Step, statement: str) -> None:
        """Note what will be true of an index as soon as this statement of its step has been executed."""
        name, replaced = step.index.name, step.index.replaced
        noted = dict(self.existed_before)
        if step.action in (Action.CREATE, Action.REBUILD):
            noted.pop(name, None)
            _forget(noted, name)
        elif step.action is Action.RENAME and step.other_name:
            noted[name] = step.other_name
        elif step.action is Action.REPLACE and step.differences:
            noted[replaced] = name
            if statement.startswith(RENAMING):
                noted.pop(name, None)
        elif step.action is Action.DROP:
            _know(noted, step.found)
        self._note(noted)

    def has_seen(self, index: Index) -> bool:
        """Is the index of this name noted that a run makes?"""
        return index.name in json.loads(self.existed_before.get(MADE, "{}"))

    def see(self, found: CatalogEntry) -> None:
        """Note which index it is that a run is making."""
        noted = dict(self.existed_before)
        _know(noted, found)
        self._note(noted)

    def disclaim(self, step: Step) -> None:
        """Note that a statement has made no index: one that has the name from now on is somebody else's.

        Where a killed run has begun the same index already, it may still be that one.
        """
        name = step.index.name
        if name in self._at_first or step.action is Action.REBUILD:
            self._note({**self.existed_before, name: self._at_first.get(name, name)})

    def finish(self, step: Step) -> None:
        """Note what a step has come to."""
        name, replaced = step.index.name, step.index.replaced
        noted = dict(self.existed_before)
        if step.action is Action.RENAME and step.other_name:
            noted[name] = step.other_name
        elif step.action in CREATIONS:
            if step.action is not Action.REPLACE or step.differences:
                noted.pop(name, None)
            noted.pop(replaced, None)
        elif step.action is Action.KEEP:
            if name in self._at_first:
                noted[name] = self._at_first[name]
        elif step.action is Action.GIVE_BACK:
            noted[name] = name
            noted.pop(replaced, None)
        else:
            self.existed_before.setdefault(name, name)  # saved with the next note: the OID tells as much until then
            return
        self._note(noted)

    def at_the_end(self) -> dict[str, str]:
        """Return what is to be recorded of a run that has ended."""
        return {name: former for name, former in self.existed_before.items() if name != MADE}

    def _note(self, noted: dict[str, str]) -> None:
        if noted != self.existed_before:
            self.existed_before = noted
            self._save(noted)


def made_by(record: Record | None) -> dict[str, int]:
    """Return the OIDs of the indexes that a run has made or was about to drop, by name; none once it has ended."""
    return dict(json.loads(record.existed_before.get(MADE, "{}"))) if record else {}


def _know(noted: dict[str, str], found: CatalogEntry | None) -> None:
    if found and found.oid:
        known = json.loads(noted.get(MADE, "{}"))
        noted[MADE] = json.dumps({**known, found.name: found.oid}, sort_keys=True)


def unrecorded() -> Provenance:
    """Return one that nobody keeps."""
    return Provenance({}, lambda existed_before: None)


def _forget(noted: dict[str, str], name: str) -> None:
    known = json.loads(noted.get(MADE, "{}"))
    if known.pop(name, None):
        noted[MADE] = json.dumps(known, sort_keys=True)
