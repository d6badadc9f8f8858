"""Tables that inherit from an indexed one: a query of that table reads them, too, but no index is inherited."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from indexer.errors import Command, Hint
from indexer.spec import Index
from indexer.text import are, counted, few


class Child(NamedTuple):
    """A table that inherits from ``parent``, directly or through others.

    Attributes:
        namespace: the OID of its schema.
        owner: the role that alone may index it.
        owned: whether our role has the rights of that role.
    """

    parent: str
    schema: str
    name: str
    namespace: int
    owner: str
    owned: bool
    has_rows: bool


class Uncovered(NamedTuple):
    """An index that a child lacks.

    Attributes:
        target: the index, as it is declared for the parent.
        table: the child with its schema, as SQL.
        statements: build the index on the child; none while another session does.
    """

    target: Index
    child: Child
    table: str
    statements: tuple[str, ...]


def warnings(uncovered: Iterable[Uncovered]) -> list[Hint]:
    """Return a sentence for each indexed table with children that have rows and lack an index."""
    lacking: dict[str, dict[str, None]] = {}
    for each in uncovered:
        if each.child.has_rows:
            lacking.setdefault(each.child.parent, {})[each.table] = None
    return [_sentence(parent, list(tables)) for parent, tables in lacking.items()]


def _sentence(parent: str, tables: list[str]) -> Hint:
    inherits, holds = ("inherits", "holds") if len(tables) == 1 else ("inherit", "hold")
    return Hint(
        f"{counted(len(tables), 'table')} that {inherits} from {parent} and {holds} rows {are(tables)} not indexed by"
        f" up, because indexes are not inherited: {', '.join(few(tables))}."
        " After up, see the statements for each: ",
        Command("check"),
    )
