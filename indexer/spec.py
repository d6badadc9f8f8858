"""What an index is: the record that a migration declares."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field

from indexer.definition import FIRST, LAST, Column, Definition, Expression, KeyPart
from indexer.text import OBEYED

LONGEST_NAME = 63  # bytes; PostgreSQL cuts longer ones with no more than a NOTICE (manual, 4.1.1)
REPLACING, REPLACED = "_replacing", "_replaced"
BTREE = "btree"

OPERATOR_CLASS = r"""(?:[^\W\d]\w*|"[^"]+")(?:\.(?:[^\W\d]\w*|"[^"]+"))?\s*(?:\([^()]*\))?"""
PARAMETER = r"[a-z_]+(?:\.[a-z_]+)?"
STRING = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")

Setting = str | int | float | bool


@dataclass(frozen=True)
class Variant:
    """What an index has on one kind of database only.

    Attributes:
        using: the access method.
        where: the predicate there, in place of the index's.
        columns: the key there, in place of the index's.
        include: the columns to INCLUDE there, in place of the index's.
        storage: storage parameters, such as ``{"fillfactor": 70}``. Others that an existing index has are not compared.

    Raises:
        ValueError: the access method, or the name or the value of a storage parameter, cannot be one.
    """

    using: str = BTREE
    where: str | None = None
    columns: Sequence[str | KeyPart] | None = None
    include: Sequence[str] = ()
    storage: Mapping[str, Setting] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not isinstance(self.using, str) or not self.using.isidentifier():
            raise ValueError(f"{self.using!r} is not the name of an access method")
        for name, value in self.storage.items():
            if not isinstance(name, str) or not re.fullmatch(PARAMETER, name) or not _is_setting(value):
                raise ValueError(f"{name!r}: {value!r} is not a storage parameter, such as 'fillfactor': 70")


PLAIN = Variant()


@dataclass(frozen=True, eq=False)
class Index:
    """An index as a migration declares it.

    Attributes:
        columns: names, or ``Column``, ``Expression`` and ``desc(...)`` for what a name does not say.
        purpose: the queries that it is for.
        include: the columns that PostgreSQL stores beside the key; SQLite stores none, and leaves them out.
        where: the predicate.
        on_postgresql: what differs there, such as the access method.
        on_sqlite: what differs there: the key or the predicate.
        alembic_name_on_sqlite: the name that Alembic's run of the same revision gives it on SQLite, if that differs.

    Raises:
        ValueError: a name is empty or too long for PostgreSQL, there is no column, or an attribute cannot have its
            value.
    """

    name: str
    table: str
    columns: Sequence[str | KeyPart]
    purpose: str = ""
    unique: bool = False
    include: Sequence[str] = ()
    where: str | None = None
    on_postgresql: Variant = PLAIN
    on_sqlite: Variant = PLAIN
    alembic_name_on_sqlite: str | None = None

    def __post_init__(self) -> None:
        if not _is_name(self.name) or not _is_name(self.table):
            given = f"{self.name!r} and {self.table!r}"
            raise ValueError(
                f"an index needs a name and a table, such as 'ix_contact_phone' and 'contact', not {given}"
            )
        if len(self.name.encode()) > LONGEST_NAME:
            raise ValueError(f"{self.name} is longer than {LONGEST_NAME} bytes, and PostgreSQL would cut it")
        if self.on_sqlite.using != BTREE or self.on_sqlite.include or self.on_sqlite.storage:
            raise ValueError(f"{self.name}: SQLite has no access methods, INCLUDE and storage parameters")
        for columns in (self.columns, self.on_postgresql.columns, self.on_sqlite.columns):
            if columns is not None:
                _check_columns(self.name, columns)
        for include in (self.include, self.on_postgresql.include):
            if isinstance(include, str) or not all(map(_is_name, include)):
                raise ValueError(f"{self.name} needs the columns to INCLUDE as a tuple of names, such as ('status',)")
        for predicate in (self.where, self.on_postgresql.where, self.on_sqlite.where):
            if predicate is not None:
                _check_sql(self.name, predicate, "join them with AND")

    @property
    def key(self) -> tuple[KeyPart, ...]:
        """The columns and expressions in order, but for those of a variant."""
        return _key(self.columns)

    @property
    def postgresql(self) -> Definition:
        """What the index is to be on PostgreSQL, in the words of the declaration."""
        on = self.on_postgresql
        return Definition(
            table=self.table,
            method=on.using.lower(),
            key=self.key if on.columns is None else _key(on.columns),
            unique=self.unique,
            include=tuple(on.include or self.include),
            predicate=on.where or self.where,
            storage=tuple(f"{name}={_written(value)}" for name, value in sorted(on.storage.items())),
        )

    @property
    def sqlite(self) -> Definition:
        """What the index is to be on SQLite, in the words of the declaration."""
        on = self.on_sqlite
        key = self.key if on.columns is None else _key(on.columns)
        return Definition(
            table=self.table,
            method=BTREE,
            key=tuple(part._replace(opclass=None) for part in key),
            unique=self.unique,
            predicate=on.where or self.where,
        )

    @property
    def replacing(self) -> str:
        """The name under which this index is built while another one still has its name."""
        return with_suffix(self.name, REPLACING)

    @property
    def replaced(self) -> str:
        """The name that the replaced index has until it is dropped."""
        return with_suffix(self.name, REPLACED)

    def renamed(self, name: str) -> Index:
        """Return the same index under a name that the database has given it, which is not checked."""
        other = copy(self)
        object.__setattr__(other, "name", name)  # frozen
        return other

    def on(self, table: str, name: str) -> Index:
        """Return the same index on another table, such as a partition, under a name that is not checked."""
        other = self.renamed(name)
        object.__setattr__(other, "table", table)
        return other

    @property
    def names(self) -> tuple[str, str, str]:
        """All names that this index uses."""
        return self.name, self.replacing, self.replaced


def with_suffix(name: str, suffix: str) -> str:
    """Return the name with a suffix, short enough that PostgreSQL does not cut it."""
    return name.encode()[: LONGEST_NAME - len(suffix)].decode(errors="ignore") + suffix


def _key(columns: Iterable[str | KeyPart]) -> tuple[KeyPart, ...]:
    return tuple(Column(part) if isinstance(part, str) else part for part in columns)


def _written(value: Setting) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


# What is declared wrong -----------------------------------------------------------------------------------------------


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def _is_setting(value: object) -> bool:
    return isinstance(value, Setting) and not OBEYED.search(str(value))


def _check_columns(index: str, columns: Sequence[str | KeyPart]) -> None:
    is_of_parts = not isinstance(columns, str) and all(isinstance(part, str | KeyPart) for part in columns)
    if not is_of_parts or not columns:
        raise ValueError(f"{index} needs its columns as a tuple, such as ('phone',)")
    for part in _key(columns):
        if isinstance(part, Expression):
            _check_expression(index, part.sql)
        elif not _is_name(part.name):
            raise ValueError(f"{index} needs its columns as a tuple, such as ('phone',)")
        _check_options(index, part)


def _check_options(index: str, part: KeyPart) -> None:
    """Raise ValueError for an option of a key's part that cannot be one."""
    if not isinstance(part.descending, bool):
        raise ValueError(f"{index} has descending={part.descending!r}: use True or False")
    if part.nulls not in (None, FIRST, LAST):
        raise ValueError(f"{index} has nulls={part.nulls!r}: use 'first' or 'last'")
    if part.collation is not None and not _is_name(part.collation):
        raise ValueError(f"{index} has collation={part.collation!r}: name a collation, such as 'C'")
    if part.opclass is None:
        return
    if not isinstance(part.opclass, str) or not re.fullmatch(OPERATOR_CLASS, part.opclass):
        example = "'gin_trgm_ops' or 'public.gist_trgm_ops(siglen=32)'"
        raise ValueError(f"{index} has opclass={part.opclass!r}: name an operator class, such as {example}")


def _check_expression(index: str, sql: str) -> None:
    """Raise ValueError for what no expression can be, and for a column or a collation that has its own place."""
    _check_sql(index, sql, "make each of them a part of columns")
    bare = _without_parentheses(STRING.sub("x", sql))
    if re.fullmatch(r"\w+", bare):
        raise ValueError(f"{index} has an expression that is one name: for a column, leave Expression out")
    if re.search(r"\bcollate\s+[\w.]+$", bare, re.IGNORECASE):
        raise ValueError(f"{index} has an expression that ends with COLLATE: use Expression(..., collation=...)")


def _without_parentheses(sql: str) -> str:
    """Return an expression without the parentheses around all of it."""
    bare = sql.strip()
    while _is_enclosed(bare):
        bare = bare[1:-1].strip()
    return bare


def _is_list(sql: str) -> bool:
    """Return whether a comma is outside of all parentheses and brackets."""
    depth = 0
    for character in sql:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            return True
    return False


def _is_enclosed(sql: str) -> bool:
    """Return whether the first and the last character are parentheses that belong together."""
    depth = 0
    for place, character in enumerate(sql, 1):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return character == ")" and place == len(sql)
    return False


def _check_sql(index: str, sql: object, several: str) -> None:
    """Raise ValueError for what is not one expression; ``several`` says what to do with more than one."""
    if not isinstance(sql, str) or not sql.strip() or OBEYED.search(re.sub(r"[\n\t]", " ", sql)):
        raise ValueError(f"{index} needs SQL text without control characters, such as \"status = 'open'\", not {sql!r}")
    bare = STRING.sub("", sql)
    if re.search(r"--|/\*", bare):
        raise ValueError(f"{index} has a comment in its SQL: {sql!r}")
    if ";" in bare or not _is_enclosed(f"({bare})"):
        raise ValueError(f"{index} needs one expression, with each parenthesis closed, not {sql!r}")
    if _is_list(_without_parentheses(bare)):
        raise ValueError(f"{index} needs one expression, and {sql!r} has several, separated by commas: {several}")
