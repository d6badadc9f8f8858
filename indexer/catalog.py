"""What exists now, read from the database's own catalog: SELECTs and pragmas, which change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from indexer.definition import Definition
from indexer.text import counted, visible
from indexer.tuples import NamedTuple

MISSING, DIFFERENT, UNATTACHED, UNKNOWN = "missing", "different", "not attached", "unknown"
ORPHAN, HELD = "not known to the coordinator", "attached to another index"


class Flaw(NamedTuple):
    """What is wrong with one placement of an index: the index of one shard, on one node of a cluster.

    Attributes:
        node: its host and port.
        shard: the number of the shard; None for the empty table that the node has in common with the coordinator.
        state: missing, different, "not attached" to the index of the partitioned table, "attached to another index",
            unknown, "not known to the coordinator", or the flaw of the shard's index.
        name: of the shard's index.
        definition: of an index that must not be replaced by another one without consent.
        reason: why the state is unknown.
        held_by: the other index that it is attached to, with its schema.
        remedy: the statement, for the node, that drops that one or an index that is not known to the coordinator.
        is_attached: whether it is attached to another index of the node, and is dropped with that alone.
    """

    node: str
    shard: int | None
    state: str
    name: str = ""
    definition: Definition | None = None
    reason: str = ""
    remedy: str = ""
    is_attached: bool = False
    held_by: str | None = None

    @property
    def place(self) -> str:
        """The shard and its node."""
        return f"{f'shard {self.shard}' if self.shard else 'the distributed table'} on {self.node}"

    def __str__(self) -> str:
        why = f", which does not answer: {self.reason}" if self.reason else ""
        return visible(f"{self.state} for {self.place}{why}")


class CatalogEntry(NamedTuple):
    """What has the name of an index.

    Attributes:
        kind: what it is.
        definition: None if it is not an index.
        worker: the process id of a session that is building or dropping it.
        needed_by: the foreign key or the replica identity that needs it.
        bytes: its size; None if that cannot be read.
        tuples: those it has, by the statistics; read only right after a build, which counts them.
        attached_to: the OID of the index of a partitioned table that it is a part of, on PostgreSQL.
        part_of: the name of that index, with its schema.
        oid: distinguishes it from another one of the same name and definition, on PostgreSQL.
        placements: how many a distributed index should have; None if it is not distributed.
        flaws: what is wrong with its placements.
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
    tuples: int | None = None
    attached_to: int | None = None
    part_of: str | None = None
    placements: int | None = None
    flaws: tuple[Flaw, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether queries can use it: a half-built index is not valid, a half-dropped one not live."""
        return self.valid and self.ready and self.live

    @property
    def unknown(self) -> Flaw | None:
        """The first placement whose node did not answer, if there is one."""
        return next((flaw for flaw in self.flaws if flaw.state == UNKNOWN), None)

    @property
    def is_orphaned(self) -> bool:
        """Whether only shards have it, so that the coordinator can neither use nor drop it."""
        return any(flaw.state == ORPHAN for flaw in self.flaws)

    @property
    def is_torn(self) -> bool:
        """Whether placements lack it or a part of it, or have another index in its place: REINDEX repairs none."""
        if self.kind == PARTITIONED_INDEX:  # it is not valid where a partition lacks its index
            return any(flaw.state not in (UNKNOWN, ORPHAN) for flaw in self.flaws)
        return any(flaw.state in (MISSING, DIFFERENT, UNATTACHED, HELD) for flaw in self.flaws)

    @property
    def is_mismarked(self) -> bool:
        """Whether all of its placements are valid, and only the coordinator has it marked as invalid."""
        return bool(self.placements and not self.flaws and not self.valid and self.ready and self.live)

    @property
    def flaw(self) -> str:
        """Why queries cannot use it; "valid" if they can."""
        if self.usable:
            return "valid"
        if self.worker:
            return "being built"
        if self.flaws:
            of_all = f"{len(self.flaws)} of {self.placements} placements"
            return f"{self.flaws[0].state} on {of_all if self.placements else counted(len(self.flaws), 'placement')}"
        if self.is_mismarked:
            return "not valid on the coordinator"
        return "not live" if not self.live else "not ready" if not self.ready else "not valid"


class LeafIndex(NamedTuple):
    """A physical index behind a declared one: the index itself or, on a partitioned table, that of one leaf.

    Attributes:
        of: the name of the declared index.
        label: the name of this one, with its schema where that is not the schema of the declared one.
        namespace: the OID of its schema; None on a database that has none.
        table: the leaf that it is on.
        entry: without its definition.
    """

    of: str
    label: str
    schema: str | None
    namespace: int | None
    name: str
    table: str
    entry: CatalogEntry


class Measured(NamedTuple):
    """An index as it is now.

    Attributes:
        tuples: those it has, by the statistics; exact right after a build, None where there are none.
        collation_version: the versions of the collations that it sorts by, as the system has them now; None if it sorts
            by none that has versions.
        server_version: of the server, or of SQLite.
        definition: a fingerprint of what the size of its entries depends on: its key with the types, its options and so
            on, but not its name.
        rows: those of its table, by the statistics: a partial index has fewer tuples. None where it has all rows.
        values: the average width, the share of NULLs and the number of different values of each column, by the
            statistics; None without any.
    """

    bytes: int
    tuples: int | None
    collation_version: str | None
    server_version: str
    definition: str | None = None
    rows: int | None = None
    values: str | None = None


class IndexFile(NamedTuple):
    """The file of an index, which every rebuild puts another in the place of.

    Attributes:
        number: what the database calls it; None on a database that cannot tell.
        worker: the process id of a session that is rebuilding or dropping the index.
        of_placements: the numbers of all files of a distributed index, in the order of its placements.
    """

    number: int | None = None
    worker: int | None = None
    of_placements: tuple[int, ...] = ()

    def has_replaced(self, before: IndexFile) -> bool:
        """Return whether it is another file than before; of a distributed index, whether all are."""
        if len(self.of_placements) != len(before.of_placements):
            return False
        pairs = zip(self.of_placements, before.of_placements, strict=True)
        return all(now != then for now, then in pairs) if self.of_placements else self.number != before.number


class Collation(NamedTuple):
    """A collation that a column or an expression of an index sorts by, on PostgreSQL.

    Attributes:
        column: None for an expression.
        quoted: the name as SQL needs it.
        recorded: the version that PostgreSQL recorded of it; None where it recorded none.
        actual: the version that the system has now; None where it has no versions.
    """

    column: str | None
    schema: str
    name: str
    quoted: str
    recorded: str | None
    actual: str | None

    @property
    def has_changed(self) -> bool:
        """Whether the system has another version than PostgreSQL recorded."""
        return self.recorded is not None and self.actual is not None and self.recorded != self.actual

    @property
    def is_default(self) -> bool:
        """Whether it is the default of the database."""
        return (self.schema, self.name) == ("pg_catalog", "default")


def collation_version(collations: Iterable[Collation]) -> str | None:
    """Return the versions of the collations that an index sorts by, as ``Measured`` has them."""
    return ", ".join(sorted({f"{each.quoted} {each.actual}" for each in collations if each.actual})) or None


class TableTrust(NamedTuple):
    """Whether a table can be trusted with records, and which role should own it.

    Attributes:
        flaw: why reading or writing it could run another role's code or hide rows, as the end of a sentence.
        remedy: the statement that removes the flaw; empty without a flaw.
        unhiding: the statement that keeps row-level security from hiding rows; empty if it hides none from our role.
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
    """A table to be indexed, or one that revisions are recorded in.

    Attributes:
        kind: "table" for an ordinary one, else "view", "partitioned table" and so on.
        owned: whether our role has the rights of its owner.
        role: our role.
        rows: an estimate; None if the database has none.
        has_children: whether other tables may inherit from it.
        partitions: the number of its partitions that hold rows themselves; None for an ordinary table.
        is_hypertable: whether TimescaleDB keeps its rows in chunks, which are such tables.
        trust: whether it can be trusted with records.
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
    is_hypertable: bool = False
    writable: bool = True
    trust: TableTrust = TRUSTED
    partitions: int | None = None


class Engine(NamedTuple):
    """The database system: postgresql or sqlite, and its version, such as "15.10"."""

    name: str
    version: str


class Place(NamedTuple):
    """What a command works on: the database's URL without its password, and on PostgreSQL the schema once known."""

    database: str
    schema: str | None = None

    def __str__(self) -> str:
        return visible(f"{self.database} (schema {self.schema})" if self.schema else self.database)


class Catalog(Protocol):
    """What a migrator reads from every database."""

    schema: str | None

    def find(self, names: Sequence[str], sizes: bool = False) -> dict[str, CatalogEntry]:
        """Return what has these names, by name; free names are left out.

        Only with ``sizes`` are ``bytes`` sure to be known, because SQLite reads the whole index for them.
        """

    def physical(self, names: Sequence[str]) -> dict[str, list[LeafIndex]]:
        """Return the physical indexes behind these: each itself, or the leaf indexes of a partitioned one.

        An index without any, whose table has no leaves, has an empty list; what is no index is left out.
        """

    def measured(self, names: Sequence[str]) -> dict[str, Measured]:
        """Return the size and the tuples of the indexes of these names, as far as they can be read."""

    def file_of(self, name: str) -> IndexFile | None:
        """Return the file of the index of this name; None if there is no such index."""

    def collations(self, names: Sequence[str]) -> dict[str, list[Collation]]:
        """Return the collations that the valid indexes of these names sort by, by name, in the order of the key."""

    def tables(self, names: Iterable[str], sizes: bool = False) -> dict[str, Table]:
        """Return the tables and views of these names, by name; ``sizes`` as for ``find``."""

    def indexes_on(self, tables: Iterable[str]) -> list[CatalogEntry]:
        """Return all indexes of these tables, in the order of their names."""

    def tables_in(self, schema: str | None, names: Sequence[str]) -> dict[str, Table]:
        """Return the tables of these names in a schema, by name."""

    def version_tables(self, schema: str | None, name: str) -> list[tuple[str | None, str]]:
        """Return schema and name of the first few tables that look like Alembic's, besides the one of this name."""

    def is_empty(self) -> bool:
        """Return whether the schema has no table but those that record revisions."""

    def problems(self) -> list[str]:
        """Return what about the server or the file would stop a change, one sentence each."""


MOMENT = 1.0  # seconds for which what was read is taken to be true; what has changed since is noticed all the same
ORDINARY, PARTITIONED, PARTITIONED_INDEX = "table", "partitioned table", "partitioned index"
META_TABLE = "schema_revision"
LOG_TABLE = "schema_revision_log"
META_TABLES = (META_TABLE, LOG_TABLE)
