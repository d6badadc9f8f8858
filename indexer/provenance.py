"""Whose each index of a revision is: kept on record from the first statement of a run to the last."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from indexer.plan import CREATIONS, Action, Step

RENAMING = ("ALTER ", "BEGIN")  # how the statements begin that change names


class Provenance:
    """The record's ``existed_before`` while a revision is applied or taken back.

    It lists what is not the tool's own, and until a run sends the first statement about an index, that is whatever
    carries its name: so an index that somebody else makes between the look and the statement is never taken for ours,
    also when the run is killed in between. The name comes off the list right before the statement that makes the index,
    and goes back on it once ``down`` has dropped it, or once it has turned out that somebody else was faster. That is
    one small UPDATE an index, which is nothing beside its build. Where a run is one transaction (SQLite) there is
    nothing to save in between.

    What cannot be told: a run killed after its note, while another session makes the same index. That one counts as
    created, because the killed run's server process may have made it as well.

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
        elif step.action is Action.RENAME and step.other_name:
            noted[name] = step.other_name
        elif step.action is Action.REPLACE and step.differences:
            noted[replaced] = name
            if statement.startswith(RENAMING):
                noted.pop(name, None)
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
            noted.setdefault(name, name)
        self._note(noted)

    def _note(self, noted: dict[str, str]) -> None:
        if noted != self.existed_before:
            self.existed_before = noted
            self._save(noted)


def unrecorded() -> Provenance:
    """Return one that nobody keeps."""
    return Provenance({}, lambda existed_before: None)
