"""A PostgreSQL server's schemas, roles, sessions and replication, as far as a run needs to know them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from indexer.catalog import Table
from indexer.context import Context
from indexer.decide import Action
from indexer.errors import Problem
from indexer.events import Blocker
from indexer.inheritance import Child, Uncovered
from indexer.postgres import inheritance
from indexer.postgres.catalog import citus, publications, standby
from indexer.postgres.catalog.catalog import PostgresCatalog
from indexer.postgres.catalog.rights import missing_rights, missing_rights_to_read
from indexer.postgres.dialect import PostgresDialect
from indexer.postgres.run.sessions import Sessions, visibility_advice
from indexer.server import Server
from indexer.spec import Index
from indexer.steps import Step

NOTICEABLE = 1.0  # seconds; a younger transaction ends before the user has read about it
ANOTHER_LOOK = 0.1  # seconds


class PostgresServer(Server):
    """The server of a PostgreSQL database, seen from one schema.

    Attributes:
        schema_was_named: whether the user named the schema.
        advice: what would let our role see more of the blockers that were last looked at.
    """

    def __init__(self, sessions: Sessions, dialect: PostgresDialect, context: Context, schema_was_named: bool) -> None:
        self.sessions = sessions
        self.dialect = dialect
        self.catalog: PostgresCatalog = dialect.catalog
        self.context = context
        self.schema_was_named = schema_was_named
        self.advice: list[str] = []

    def other_schemas(self) -> list[str]:
        """Return the other schemas that hold all of the indexed tables."""
        return self.catalog.other_schemas(self.catalog.indexed)

    def children(self, tables: Mapping[str, Table]) -> list[Child]:
        """Return the tables that inherit from these."""
        parents = [table.name for table in tables.values() if table.has_children]
        return inheritance.children(self.catalog, parents) if parents else []

    def uncovered(self, indexes: Sequence[Index], tables: Mapping[str, Table]) -> list[Uncovered]:
        """Return which of these indexes are missing on tables that inherit from the indexed ones."""
        found = self.children({index.table: tables[index.table] for index in indexes if index.table in tables})
        return inheritance.uncovered(self.dialect, indexes, found)

    def missing_rights(
        self, tables: Mapping[str, Table], indexed: Collection[str] = (), creating: bool = False
    ) -> list[Problem]:
        """Return the rights that our role lacks on the schema, on the tables, and on those that record revisions."""
        return missing_rights(self.catalog, tables, indexed, creating)

    def missing_rights_to_read(self, tables: Mapping[str, Table]) -> list[Problem]:
        """Return the rights that our role lacks on the schema and on the tables that record revisions."""
        return missing_rights_to_read(self.catalog, tables)

    def expected_blockers(self, steps: Sequence[Step]) -> tuple[Blocker, ...]:
        """Return the sessions that these steps would have to wait for if they began now.

        The age of another role's transaction may be hidden; it is then looked at again until it is old enough.
        """
        tables = sorted({step.index.table for step in steps if step.changes})
        dropping = all(step.action is Action.DROP for step in steps if step.changes)
        with self.sessions.tolerating_errors(self.context.report):
            return self._lasting(partial(self.sessions.expected, tables, dropping, suspecting=True)) if tables else ()
        return ()

    def _lasting(self, look: Callable[[], tuple[Blocker, ...]]) -> tuple[Blocker, ...]:
        found, age = look(), self.sessions.age
        young = {each.identity for each in found if each.seconds is None and age(each) < NOTICEABLE}
        while young:
            self.context.stop.sleep(ANOTHER_LOOK)
            found = look()
            young &= {each.identity for each in found if age(each) < NOTICEABLE}
        return tuple(each for each in found if age(each) >= NOTICEABLE)

    def hidden(self, blockers: Sequence[Blocker]) -> list[str]:
        """Return what would let our role see more of these sessions, one sentence each."""
        roles = {each.hidden_from for each in blockers if each.hidden_from}
        self.advice = [visibility_advice(role) for role in sorted(roles)]
        return self.advice

    def delays(self) -> list[str]:
        """Return what makes every commit wait."""
        with self.sessions.tolerating_errors(self.context.report):
            return standby.delays(self.catalog)
        return []

    def unseen(self, tables: Sequence[str]) -> list[str]:
        """Return what the catalog does not show of distributed tables."""
        return citus.unseen(self.catalog, tables) if self.catalog.is_citus else []

    def publications(self) -> list[str]:
        """Return the publications that a new table in the schema joins at once, each with its kind."""
        return publications.publications(self.catalog)

    def subscriptions(self) -> list[str]:
        """Return the names of the replication slots, which subscriptions have by default."""
        return publications.subscriptions(self.catalog)
