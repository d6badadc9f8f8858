"""What exists now, read from the database's own catalog. SELECTs and pragmas only: nothing here changes anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from indexer.spec import Definition
from indexer.text import visible


class CatalogEntry(NamedTuple):
    """Whatever carries the name of an index of ours.

    ``definition`` is None when it is not an index at all; ``kind`` says what it is then. ``worker`` is the process
    id of a session that is building or dropping it right now. ``needed_by`` is what cannot do without it: a foreign
    key, the replica identity. ``bytes`` is None where the size cannot be read. ``oid`` tells it from another one of the
    same name and definition, on PostgreSQL.
    """

    name: str
    kind: str
    definition: Definition | None = None
    valid: bool = True
    ready: bool = True
    live: bool = True
    worker: int | None = None
    needed_by: str | None = None
    bytes: int | None = None
    oid: int | None = None

    @property
    def usable(self) -> bool:
        """Can queries use it? All three flags count: a half-built index is not valid, a half-dropped one not live."""
        return self.valid and self.ready and self.live

    @property
    def state(self) -> str:
        """One word for people."""
        if self.definition is None:
            return self.kind
        if self.usable:
            return "valid"
        return "in progress" if self.worker else "invalid"

    @property
    def flaw(self) -> str:
        """Why queries cannot use it; ``valid`` if they can."""
        if self.usable:
            return "valid"
        if self.worker:
            return "being built"
        return "not live" if not self.live else "not ready" if not self.ready else "not valid"


class TableTrust(NamedTuple):
    """Whether a table can be trusted with records, and whose it ought to be.

    Attributes:
        flaw: why reading or writing it could run other people's code or hide rows, as the end of a sentence.
        remedy: the statement that ends the flaw, if one does.
        unhiding: the statement that ends that row-level security may hide rows from our role; empty if it does not.
        main_owner: the role that owns most of the indexed tables.
        can_be_given: whether our role may make that role the owner.
        is_ours: whether our role has the rights of that role.
        is_shared: whether that role may read and write the table.
    """

    flaw: str = ""
    remedy: str = ""
    unhiding: str = ""
    main_owner: str = ""
    can_be_given: bool = False
    is_ours: bool = True
    is_shared: bool = True


TRUSTED = TableTrust()


class Table(NamedTuple):
    """A table that an index is to stand on, or one that revisions are recorded in.

    ``owned``, ``readable``, ``updatable`` and ``writable`` say what our own ``role`` may do with it; ``rows`` is an
    estimate, None when the database has none. ``has_children`` says that others may inherit from it. ``trust``
    matters to a table that revisions are recorded in.
    """

    name: str
    kind: str
    columns: frozenset[str]
    owner: str = ""
    owned: bool = True
    readable: bool = True
    updatable: bool = True
    role: str = ""
    rows: int | None = None
    bytes: int | None = None
    has_children: bool = False
    writable: bool = True
    trust: TableTrust = TRUSTED


class Place(NamedTuple):
    """Where a command works: the database's URL without its password, and on PostgreSQL the schema once it is known."""

    database: str
    schema: str | None = None

    def __str__(self) -> str:
        return visible(f"{self.database} (schema {self.schema})" if self.schema else self.database)


class Catalog(Protocol):
    """The questions that a migrator asks, the same for every database."""

    schema: str | None

    def find(self, names: Sequence[str], sizes: bool = False) -> dict[str, CatalogEntry]:
        """What stands under these names, by name; a name that is free is left out.

        ``bytes`` are sure to be there only with ``sizes``: SQLite reads the whole index to tell.
        """

    def tables(self, names: Iterable[str], sizes: bool = False) -> dict[str, Table]:
        """The tables (or what passes for them) of these names, by name; ``sizes`` as for ``find``."""

    def indexes_on(self, tables: Iterable[str]) -> list[CatalogEntry]:
        """All indexes of these tables, whatever they are called, by name."""

    def is_empty(self) -> bool:
        """Does the schema hold no table but our own?"""

    def problems(self) -> list[str]:
        """What about the server or the file would stop a change: one sentence each."""


ORDINARY = "table"
META_TABLE = "schema_revision"
LOG_TABLE = "schema_revision_log"
META_TABLES = (META_TABLE, LOG_TABLE)
