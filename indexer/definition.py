"""The definition of an index, by which a declared and an existing one are compared, and the parts of its key."""

from __future__ import annotations

import re

from indexer.tuples import NamedTuple

FIRST, LAST = "first", "last"
ORDERED, EQUALITY = "btree", ("btree", "hash")  # access methods: that of ranges and orders, and those of equality
STRING = r"'(?:[^']|'')*'"


class Column(NamedTuple):
    """One column of an index key.

    Attributes:
        nulls: "first" or "last"; by default PostgreSQL puts NULLs first in descending order, else last.
        collation: the name as the database shows it, without quotes: ``C``, ``de-x-icu``, ``NOCASE``.
        opclass: PostgreSQL's operator class as SQL writes it: ``gin_trgm_ops``, ``public.gist_trgm_ops(siglen=32)``.
    """

    name: str
    descending: bool = False
    nulls: str | None = None
    collation: str | None = None
    opclass: str | None = None

    def __str__(self) -> str:
        return f"{self.name}{suffix(self)}"


class Expression(NamedTuple):
    """One expression of an index key, as SQL: ``lower(email)``. The other attributes are those of a column."""

    sql: str
    descending: bool = False
    nulls: str | None = None
    collation: str | None = None
    opclass: str | None = None

    def __str__(self) -> str:
        return f"{self.sql}{suffix(self)}"


KeyPart = Column | Expression


def desc(part: str | KeyPart) -> KeyPart:
    """Return a column, by its name, or an expression that the index keeps in descending order."""
    return (part if isinstance(part, KeyPart) else Column(part))._replace(descending=True)


def words(part: KeyPart) -> frozenset[str]:
    """Return the column of a part of a key, or all words of an expression, among which are its columns."""
    if isinstance(part, Column):
        return frozenset([part.name])
    return frozenset(re.findall(r"[^\W\d]\w*", re.sub(STRING, "", part.sql)))


def suffix(part: KeyPart) -> str:
    """Return what follows a column or an expression of a key in SQL."""
    collation = f" COLLATE {part.collation}" if part.collation else ""
    opclass = f" {part.opclass}" if part.opclass else ""
    direction = " DESC" if part.descending else ""
    nulls = f" NULLS {part.nulls.upper()}" if part.nulls else ""
    return f"{collation}{opclass}{direction}{nulls}"


class Definition(NamedTuple):
    """All that two indexes must have in common to be the same, as one database writes it.

    Attributes:
        key: the columns and expressions; of an existing index each with what differs from its defaults.
        constraint: the constraint that the index belongs to, and is dropped with.
        storage: the storage parameters, as in ``fillfactor=70``.
    """

    table: str
    method: str
    key: tuple[KeyPart, ...]
    unique: bool = False
    include: tuple[str, ...] = ()
    predicate: str | None = None
    constraint: str | None = None
    nulls_distinct: bool = True
    storage: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The columns of the key and those stored beside it, but for those in expressions."""
        return [*(part.name for part in self.key if isinstance(part, Column)), *self.include]

    @property
    def outline(self) -> tuple[object, ...]:
        """What two definitions of one index have in common however the database writes their expressions."""
        return self.table, self.method, tuple(_outline(part) for part in self.key)


def makes_redundant(other: Definition, index: Definition) -> bool:
    """Return whether one index serves every query that another one serves, and ensures what that one ensures.

    Their predicates must be the same: where an index holds few rows, its predicate may be all that a query needs of it.
    What is not certain is False.
    """
    if (other.table, other.predicate) != (index.table, index.predicate) or not _ensures_unique(other, index):
        return False
    if not set(index.include) <= set(other.columns):
        return False
    if (other.method, other.key) == (index.method, index.key):
        return True
    begins_alike = other.key[: len(index.key)] == index.key
    return other.method == ORDERED and index.method in EQUALITY and begins_alike


def _ensures_unique(other: Definition, index: Definition) -> bool:
    """Return whether one index keeps out all duplicates that another one keeps out."""
    alike = (other.unique, other.key, other.nulls_distinct) == (index.unique, index.key, index.nulls_distinct)
    return alike or not index.unique


def _outline(part: KeyPart) -> tuple[object, ...]:
    return part.name if isinstance(part, Column) else None, part.descending


class Difference(NamedTuple):
    """One part in which an existing index differs from the declared one."""

    part: str
    declared: str
    found: str


def differences(declared: Definition, found: Definition) -> tuple[Difference, ...]:
    """Return the parts in which two definitions differ, in the order of the fields."""
    pairs = zip(Definition._fields, declared, found, strict=True)
    return tuple(Difference(part, _on_one_line(one), _on_one_line(other)) for part, one, other in pairs if one != other)


def _on_one_line(value: object) -> str:
    """Return a value as it is shown; PostgreSQL writes a CASE on several lines."""
    return " ".join(_shown(value).split())


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
