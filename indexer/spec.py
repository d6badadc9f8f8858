"""What an index is: the record that a migration declares, and the definition by which two indexes are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

LONGEST_NAME = 63  # bytes; PostgreSQL cuts longer ones with no more than a NOTICE (manual, 4.1.1)
REPLACING, REPLACED = "_replacing", "_replaced"


class Column(NamedTuple):
    """One column of an index key and its direction."""

    name: str
    descending: bool = False

    def __str__(self) -> str:
        return f"{self.name} DESC" if self.descending else self.name


def desc(name: str) -> Column:
    """Return a column that the index keeps in descending order."""
    return Column(name, descending=True)


@dataclass(frozen=True)
class Variant:
    """What an index has on one kind of database only: its access method and its predicate."""

    using: str = "btree"
    where: str | None = None

    def __post_init__(self) -> None:
        if not self.using.isidentifier():
            raise ValueError(f"{self.using!r} is not the name of an access method")


PLAIN = Variant()


@dataclass(frozen=True, eq=False)
class Index:
    """An index as a migration declares it.

    Attributes:
        columns: names, or ``desc(name)`` for descending order.
        purpose: the queries that it is for.
        on_postgresql: the variant there; on other databases the index is a whole B-tree on the same columns.
        alembic_name_on_sqlite: the name that Alembic's run of the same revision gives it on SQLite, if that differs.

    Raises:
        ValueError: a name is empty or too long for PostgreSQL, or there is no column.
    """

    name: str
    table: str
    columns: Sequence[str | Column]
    purpose: str = ""
    unique: bool = False
    on_postgresql: Variant = PLAIN
    alembic_name_on_sqlite: str | None = None

    def __post_init__(self) -> None:
        if not _is_name(self.name) or not _is_name(self.table):
            given = f"{self.name!r} and {self.table!r}"
            raise ValueError(
                f"an index needs a name and a table, such as 'ix_contact_phone' and 'contact', not {given}"
            )
        if len(self.name.encode()) > LONGEST_NAME:
            raise ValueError(f"{self.name} is longer than {LONGEST_NAME} bytes, and PostgreSQL would cut it")
        if isinstance(self.columns, str) or not self.columns or not all(map(_is_column, self.columns)):
            raise ValueError(f"{self.name} needs its columns as a tuple, such as ('phone',)")

    @property
    def key(self) -> tuple[Column, ...]:
        """The columns in order, each with its direction."""
        return tuple(Column(column) if isinstance(column, str) else column for column in self.columns)

    @property
    def replacing(self) -> str:
        """The name under which this index is built while another one still has its name."""
        return with_suffix(self.name, REPLACING)

    @property
    def replaced(self) -> str:
        """The name that the replaced index has until it is dropped."""
        return with_suffix(self.name, REPLACED)

    @property
    def names(self) -> tuple[str, str, str]:
        """All names that this index uses."""
        return self.name, self.replacing, self.replaced


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def _is_column(value: object) -> bool:
    return _is_name(value.name if isinstance(value, Column) else value)


def with_suffix(name: str, suffix: str) -> str:
    """Return the name with a suffix, short enough that PostgreSQL does not cut it."""
    return name.encode()[: LONGEST_NAME - len(suffix)].decode(errors="ignore") + suffix


class Definition(NamedTuple):
    """All that two indexes must have in common to be the same, as one database writes it.

    Attributes:
        key: each column with what differs from its defaults: ``created_at DESC``, ``phone COLLATE "C"``,
            ``phone text_pattern_ops``.
        constraint: the constraint that the index belongs to, and is dropped with.
    """

    table: str
    method: str
    key: tuple[str, ...]
    unique: bool = False
    include: tuple[str, ...] = ()
    predicate: str | None = None
    constraint: str | None = None
    nulls_distinct: bool = True


class Difference(NamedTuple):
    """One part in which an existing index differs from the declared one."""

    part: str
    declared: str
    found: str


def differences(declared: Definition, found: Definition) -> tuple[Difference, ...]:
    """Return the parts in which two definitions differ, in the order of the fields."""
    pairs = zip(Definition._fields, declared, found, strict=True)
    return tuple(Difference(part, _shown(one), _shown(other)) for part, one, other in pairs if one != other)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
