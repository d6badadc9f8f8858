"""The chain of revisions: the files in the order that their headers give, not their names."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator

from indexer.errors import ChainBroken, Command, Hint, UsageError
from indexer.revisions.revision import Revision, read
from indexer.spec import Index

PATTERN = "migrate_*.py"
BASE = "base"  # the id of the base revision, if the first file names none before it
FORKED = "Of the two, set down_revision of the later one to the revision of the earlier one."


class Chain:
    """The revisions in order, from the one after ``base`` to the head."""

    def __init__(self, base: str, revisions: tuple[Revision, ...]) -> None:
        self.base = base
        self.revisions = revisions

    def __iter__(self) -> Iterator[Revision]:
        return iter(self.revisions)

    @property
    def head(self) -> str:
        """The id of the last revision."""
        return self.ids[-1]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all revisions, the base first."""
        return (self.base, *(revision.id for revision in self.revisions))

    @property
    def indexes(self) -> list[Index]:
        """The indexes of all revisions, in the order of the chain."""
        return [index for revision in self.revisions for index in revision.indexes]

    @property
    def tables(self) -> list[str]:
        """The tables that the revisions index."""
        return sorted({index.table for index in self.indexes})

    def resolve(self, wanted: str) -> str:
        """Return the full id of a revision.

        Args:
            wanted: the id, an unambiguous start of it, "base" or "head".

        Raises:
            UsageError: that is no revision, or more than one.
        """
        named = {BASE: self.base, "head": self.head, **{id: id for id in self.ids}}
        matches = [named[wanted]] if wanted in named else [id for id in self.ids if wanted and id.startswith(wanted)]
        if len(matches) != 1:
            raise UsageError(
                f"{'More than one' if matches else 'No'} revision is called {wanted!r}.",
                f"Name one of: {', '.join(self.ids)}.",
            )
        return matches[0]

    def position(self, id: str) -> int:
        """Return how many revisions this one is away from the base."""
        return self.ids.index(id)


def files_in(directory: str | os.PathLike[str]) -> list[str]:
    """Return the paths of the revision files in a directory, by name."""
    return sorted(glob.glob(os.path.join(glob.escape(os.fspath(directory)), PATTERN)))


def load(directory: str | os.PathLike[str]) -> Chain:
    """Read every migrate_*.py of a directory and return the chain.

    Raises:
        ChainBroken: there is no file, a header is wrong, two files have one revision or one parent, the chain has a gap
            or a circle, or two indexes have one name.
    """
    paths = files_in(directory)
    if not paths:
        first = Command("new", "what the first index is for")
        hint = Hint("Run the command where the revision files are, or write the first one: ", first)
        raise ChainBroken(f"There is no {PATTERN} in {directory}.", hint)
    by_id = _unique(
        map(read, paths), lambda revision: revision.id, "carry the same revision", "Give one of them another revision."
    )
    after = _unique(by_id.values(), lambda each: each.down_revision or BASE, "fork the chain: both come after", FORKED)
    starts = [revision for revision in by_id.values() if revision.down_revision not in by_id]
    ordered: list[Revision] = []
    following = starts[0] if starts else None
    while following:
        ordered.append(following)
        following = after.get(following.id)
    if len(starts) > 1:
        lost = [revision for revision in starts if revision.down_revision]
        gaps = ", ".join(f"{revision.file} comes after {revision.down_revision}" for revision in lost)
        missing = "these revisions" if len(lost) > 1 else "this revision"
        raise ChainBroken(f"The chain has a gap: {gaps}, and no file has {missing}.", "Add the missing file.")
    if len(ordered) < len(by_id):
        circle = ", ".join(revision.file for revision in by_id.values() if revision not in ordered)
        raise ChainBroken(f"The down_revisions of these files form a cycle: {circle}.", "Correct one down_revision.")
    _refuse_shared_names(ordered)
    return Chain(ordered[0].down_revision or BASE, tuple(ordered))


def _unique(
    revisions: Iterable[Revision], key: Callable[[Revision], str], fault: str, remedy: str
) -> dict[str, Revision]:
    found: dict[str, Revision] = {}
    for revision in revisions:
        duplicate = found.setdefault(key(revision), revision)
        if duplicate is not revision:
            raise ChainBroken(f"{duplicate.file} and {revision.file} {fault} {key(revision)}.", remedy)
    return found


def _refuse_shared_names(revisions: Iterable[Revision]) -> None:
    """Raise ChainBroken if two indexes would use one name: each run would replace one by the other.

    The names of an index while it is replaced count, too. SQLite does not distinguish upper and lower case.
    """
    owners: dict[str, tuple[str, Index]] = {}
    for file, index in ((revision.file, index) for revision in revisions for index in revision.indexes):
        for name in index.names:
            if name.lower() in owners:
                other_file, other = owners[name.lower()]
                files = file if other_file == file else f"{other_file} and {file}"
                raise ChainBroken(f"{files}: {_shared(other, index, name)}.", "Give one of the indexes another name.")
            owners[name.lower()] = file, index


def _shared(other: Index, index: Index, name: str) -> str:
    if other.name == index.name:
        return f"the index {index.name} is declared twice"
    if other.name.lower() == index.name.lower():
        return f"the indexes {other.name} and {index.name} have the same name on SQLite"
    return f"the indexes {other.name} and {index.name} would share the name {name} while one of them is replaced"
