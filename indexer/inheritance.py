"""Tables that inherit from an indexed one: a query reads them with it, and an index is not inherited."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from indexer.spec import LONGEST_NAME, Index
from indexer.text import are, counted, few


class Child(NamedTuple):
    """A table that inherits, at any depth, from ``parent``.

    ``namespace`` is the OID of its schema, ``owner`` the role that alone may index it.
    """

    parent: str
    schema: str
    name: str
    namespace: int
    owner: str
    owned: bool
    has_rows: bool


class Uncovered(NamedTuple):
    """An index that a child lacks, and the statements that build it there: none while somebody else builds it."""

    target: Index
    child: Child
    table: str
    statements: tuple[str, ...]


def name_on(index: Index, child: str, number: int = 1) -> str:
    """Return a name for the index on a child: PostgreSQL would cut a longer one without a word."""
    wanted = f"{index.name}_{child}" + (f"_{number}" if number > 1 else "")
    if len(wanted.encode()) <= LONGEST_NAME:
        return wanted
    suffix = "_" + hashlib.sha256(wanted.encode()).hexdigest()[:8]
    return wanted.encode()[: LONGEST_NAME - len(suffix)].decode(errors="ignore") + suffix


def warnings(uncovered: Iterable[Uncovered]) -> list[str]:
    """Return a sentence about each indexed table whose children hold rows and lack an index."""
    lacking: dict[str, dict[str, None]] = {}
    for each in (each for each in uncovered if each.child.has_rows):
        lacking.setdefault(each.child.parent, {})[each.table] = None
    return [_sentence(parent, list(tables)) for parent, tables in lacking.items()]


def _sentence(parent: str, tables: Sequence[str]) -> str:
    return (
        f"{counted(len(tables), 'table')} that {'inherits' if len(tables) == 1 else 'inherit'} from {parent}"
        f" and {'holds' if len(tables) == 1 else 'hold'} rows {are(tables)} not indexed by up, because indexes are not"
        f" inherited: {', '.join(few(tables))}. After up, see the statements for each: python cli.py check"
    )
