"""What a database server has besides tables and indexes: schemas, inheritance, roles, sessions, replication."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timezone

from indexer.catalog import Table
from indexer.errors import Hint, Problem
from indexer.events import Blocker
from indexer.replication import Replication, Standby
from indexer.spec import Index
from indexer.steps import Step
from indexer.tuples import NamedTuple


class Child(NamedTuple):
    """A table that inherits from ``parent``, directly or through others, or a leaf of that partitioned table.

    A query of the parent reads it, too. Only a leaf has the indexes of its parent, once these are complete.

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
    is_leaf: bool = False


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


class RunningBuild(NamedTuple):
    """An index that another session is building or dropping, as far as our role may see that.

    Attributes:
        name: that of the rebuilt index for a REINDEX.
        pid: the server process that builds it.
        phase: "" where it is not known.
        fraction: the part that is done, from 0 to 1; None where the server gives no number, or not in this phase.
        seconds: since the start of the statement; None where our role may not see that.
        blockers: the sessions that it waits for.
        is_drop: whether it drops the index; false where our role may not see that.
    """

    name: str
    table: str
    pid: int
    phase: str = ""
    fraction: float | None = None
    seconds: float | None = None
    blockers: tuple[Blocker, ...] = ()
    is_drop: bool = False


class Server:
    """Questions to a server, answered for a database without one, such as a SQLite file. Nothing here changes data."""

    schema_was_named = False

    def now(self) -> datetime:
        """Return the time by the clock of the server, with a time zone."""
        return datetime.now(timezone.utc)

    @property
    def is_standby(self) -> bool:
        """Whether the server is a standby, on which nothing can be changed."""
        return False

    def standby(self) -> Standby | None:
        """Return how far the server is behind its primary; None if it is no standby."""
        return None

    def replication(self) -> Replication:
        """Return which standbys and replication slots follow the server."""
        return Replication()

    def other_schemas(self) -> list[str]:
        """Return the other schemas that hold all of the indexed tables."""
        return []

    def uncovered(self, indexes: Sequence[Index], tables: Mapping[str, Table]) -> list[Uncovered]:
        """Return which of these indexes are missing on tables that inherit from the indexed ones."""
        return []

    def left_on_children(self, indexes: Sequence[Index], tables: Mapping[str, Table]) -> list[str]:
        """Return the statements that drop what serves as these indexes on tables that inherit from the indexed ones."""
        return []

    def unchangeable(self, steps: Sequence[Step], tables: Mapping[str, Table]) -> list[Problem]:
        """Return why an extension would refuse these steps, with its own way."""
        return []

    def remarks(self, tables: Mapping[str, Table]) -> list[str]:
        """Return what is not looked at of tables with children or chunks, one sentence each."""
        return []

    def missing_rights(
        self, tables: Mapping[str, Table], indexed: Collection[str] = (), creating: bool = False
    ) -> list[Problem]:
        """Return the rights that our role lacks to change the indexes of the tables, and to record that.

        Args:
            indexed: the names of the tables whose indexes are changed.
            creating: whether an index is created or renamed, or a table created.
        """
        return []

    def missing_rights_to_rebuild(self, tables: Mapping[str, Table], indexed: Collection[str]) -> list[Problem]:
        """Return the rights that our role lacks to rebuild the indexes of these tables."""
        return []

    def missing_rights_to_analyze(self, tables: Mapping[str, Table], analyzed: Collection[str]) -> list[Problem]:
        """Return the rights that our role lacks to gather the statistics of these tables."""
        return []

    def missing_rights_to_read(self, tables: Mapping[str, Table]) -> list[Problem]:
        """Return the rights that our role lacks to read what is recorded."""
        return []

    def expected_blockers(self, steps: Sequence[Step]) -> tuple[Blocker, ...]:
        """Return the sessions that these steps would have to wait for if they began now."""
        return ()

    def running_builds(self, steps: Sequence[Step]) -> list[RunningBuild]:
        """Return the indexes on the tables of these steps that other sessions are building now."""
        return []

    def lasting_holders(self, tables: Sequence[str]) -> tuple[Blocker, ...]:
        """Return the sessions that a drop of an index of these tables would have to wait for, also after a signal."""
        return ()

    def hidden(self, blockers: Sequence[Blocker]) -> list[str]:
        """Return what would let our role see more of these sessions, one sentence each."""
        return []

    def delays(self) -> list[str]:
        """Return what makes every commit wait, one sentence each."""
        return []

    def unseen(self, tables: Sequence[str]) -> list[str | Hint]:
        """Return what the catalog does not show of these tables, one sentence each."""
        return []

    def publications(self) -> list[str]:
        """Return the publications that would send the rows of a new table in our schema to subscribers."""
        return []

    def subscriptions(self) -> list[str]:
        """Return the most likely names of the subscriptions to this database."""
        return []
