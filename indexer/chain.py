"""The chain of revisions: the migrate_*.py files, in the order their headers give, not their names."""

from __future__ import annotations

import glob
import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

from indexer.errors import ChainBroken, UsageError

PATTERN = "migrate_*.py"
HEADER = ("revision", "down_revision", "upgrade", "downgrade")


class Revision(NamedTuple):
    """One migration file: who it is, what it comes after, and its two moves.

    ``in_alembic`` says that Alembic's chain has the same revision, so that its version table is to be kept in step.
    """

    id: str
    down_revision: str
    date: str
    description: str
    file: str
    upgrade: Callable[[Any], None]
    downgrade: Callable[[Any], None]
    in_alembic: bool = False


@dataclass(frozen=True, eq=False)
class Chain:
    """The revisions in order, from the first after ``base`` to the head."""

    base: str
    revisions: tuple[Revision, ...]

    def __iter__(self) -> Iterator[Revision]:
        return iter(self.revisions)

    @property
    def head(self) -> str:
        """The revision that everything leads to."""
        return self.ids[-1]

    @property
    def ids(self) -> tuple[str, ...]:
        """All revisions by id, the base first."""
        return (self.base, *(revision.id for revision in self.revisions))

    def resolve(self, wanted: str) -> str:
        """The full id of a revision, given by its id, an unambiguous start of it, ``base`` or ``head``.

        Raises:
            UsageError: no revision, or more than one, is meant.
        """
        named = {"base": self.base, "head": self.head, **{id: id for id in self.ids}}
        matches = [named[wanted]] if wanted in named else [id for id in self.ids if wanted and id.startswith(wanted)]
        if len(matches) != 1:
            raise UsageError(
                f"{'More than one' if matches else 'No'} revision is called {wanted!r}.",
                f"Name one of: {', '.join(self.ids)}.",
            )
        return matches[0]

    def position(self, id: str) -> int:
        """How many revisions away from the base this one is."""
        return self.ids.index(id)


def load(directory: str | os.PathLike[str]) -> Chain:
    """Read every migrate_*.py of a directory and put them in line.

    Raises:
        ChainBroken: no file, a header that is not complete, a duplicate, a fork, a gap or a cycle.
    """
    return line_up([_read(path) for path in sorted(glob.glob(os.path.join(directory, PATTERN)))], directory)


def line_up(revisions: Iterable[Revision], directory: str | os.PathLike[str]) -> Chain:
    """The revisions ordered by ``down_revision``; raises ChainBroken with the names of the files at fault."""
    by_id = _unique(revisions, lambda revision: revision.id, "carry the same revision")
    if not by_id:
        raise ChainBroken(f"There is no {PATTERN} in {directory}.", "Run the command where the migration files are.")
    after = _unique(by_id.values(), lambda revision: revision.down_revision, "fork the chain: both come after")
    starts = [revision for revision in by_id.values() if revision.down_revision not in by_id]
    ordered: list[Revision] = []
    following = starts[0] if starts else None
    while following:
        ordered.append(following)
        following = after.get(following.id)
    if len(starts) > 1:
        gaps = ", ".join(f"{revision.file} comes after {revision.down_revision}" for revision in starts)
        raise ChainBroken(f"The chain has a gap: {gaps}, and no file has these revisions.", "Add the missing file.")
    if len(ordered) < len(by_id):
        circle = ", ".join(revision.file for revision in by_id.values() if revision not in ordered)
        raise ChainBroken(f"These files come after each other in a circle: {circle}.", "Correct one down_revision.")
    return Chain(ordered[0].down_revision, tuple(ordered))


def _unique(revisions: Iterable[Revision], key: Callable[[Revision], str], fault: str) -> dict[str, Revision]:
    found: dict[str, Revision] = {}
    for revision in revisions:
        twin = found.setdefault(key(revision), revision)
        if twin is not revision:
            raise ChainBroken(
                f"{twin.file} and {revision.file} {fault} {key(revision)}.", "Correct one of the headers."
            )
    return found


def _read(path: str) -> Revision:
    file = os.path.basename(path)
    module = _import(path, file)
    missing = [name for name in HEADER if not hasattr(module, name)]
    if missing:
        raise ChainBroken(f"{file} has no {' and no '.join(missing)}.", "Complete the header of the file.")
    return Revision(
        id=module.revision,
        down_revision=module.down_revision,
        date=getattr(module, "date", ""),
        description=(module.__doc__ or file).strip().splitlines()[0].rstrip("."),
        file=file,
        upgrade=module.upgrade,
        downgrade=module.downgrade,
        in_alembic=getattr(module, "in_alembic", False),
    )


def _import(path: str, file: str) -> ModuleType:
    """The module of a file, loaded by its path: two directories may hold files of the same name."""
    spec = importlib.util.spec_from_file_location(file.removesuffix(".py"), path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ChainBroken(f"{file} cannot be loaded: {error!r}.", "Correct the file.") from error
    return module
