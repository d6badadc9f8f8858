"""A PostgreSQL server's schemas, roles, sessions and replication, as far as a run needs to know them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

from indexer.catalog import Table
from indexer.decide import Action
from indexer.errors import Hint, Problem
from indexer.events import Blocker
from indexer.migrator import Context
from indexer.postgres.catalog.catalog import PostgresCatalog
from indexer.postgres.catalog.rights import (
    missing_rights,
    missing_rights_to_analyze,
    missing_rights_to_read,
    missing_rights_to_rebuild,
)
from indexer.postgres.citus import extension
from indexer.postgres.dialect import PostgresDialect
from indexer.postgres.inheritance import CHILDREN, drops_of_covering, uncovered
from indexer.postgres.run.sessions import Sessions, visibility_advice
from indexer.replication import Replication, Standby
from indexer.server import Child, RunningBuild, Server, Uncovered
from indexer.spec import Index
from indexer.steps import Step
from indexer.text import few, qualified, visible

# A role without pg_read_all_stats sees that standbys exist, and NULL for their state: then there is no warning.
LACKING_STANDBY = """
    SELECT pg_catalog.current_setting('synchronous_standby_names') AS names
     WHERE pg_catalog.current_setting('synchronous_standby_names') <> ''
       AND pg_catalog.current_setting('synchronous_commit') NOT IN ('off', 'local')
       AND NOT pg_catalog.pg_is_in_recovery()
       AND NOT EXISTS (
           SELECT 1
             FROM pg_catalog.pg_stat_replication AS r
            WHERE r.sync_state IS NULL OR r.sync_state IN ('sync', 'quorum'))
"""

FOR_ALL_TABLES = """
    SELECT p.pubname || ' (FOR ALL TABLES)' AS publication
      FROM pg_catalog.pg_publication AS p
     WHERE p.puballtables
     ORDER BY publication
"""

FOR_TABLES_IN_SCHEMA = """
    SELECT p.pubname || ' (FOR TABLES IN SCHEMA)' AS publication
      FROM pg_catalog.pg_publication_namespace AS s
      JOIN pg_catalog.pg_publication AS p ON p.oid = s.pnpubid
     WHERE s.pnnspid = %(namespace)s
     ORDER BY publication
"""
HAS_SCHEMAS = 150000  # the first version with FOR TABLES IN SCHEMA

SUBSCRIPTIONS = """
    SELECT s.slot_name AS slot
      FROM pg_catalog.pg_replication_slots AS s
     WHERE s.plugin = 'pgoutput'
       AND s.database = pg_catalog.current_database()
       AND NOT s.temporary
       AND s.slot_name !~ '^pg_[0-9]+_sync_[0-9]+_'  -- it copies a table, and then ends
     ORDER BY s.slot_name
"""

NOW = """
    SELECT pg_catalog.clock_timestamp() AS now
"""

NOT_OF_CHILDREN = "Only {1} itself is measured, checked and rebuilt here, not the tables that inherit from it: {0}."
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

    def now(self) -> datetime:
        """Return the time by the clock of the server, which is the same for all runs wherever they are started."""
        now: datetime = self.catalog.rows(NOW)[0]["now"]
        return now

    @property
    def is_standby(self) -> bool:
        """Whether the server is a standby, on which nothing can be changed."""
        return self.catalog.in_recovery

    def standby(self) -> Standby | None:
        """Return how far the server is behind its primary; None if it is no standby."""
        if not self.catalog.database.is_standby:
            return None
        from indexer.postgres.replication import standby_of

        return standby_of(self.sessions)

    def replication(self) -> Replication:
        """Return which standbys and replication slots follow the server; nothing where it is a standby itself."""
        if self.catalog.database.is_standby:
            return Replication()
        from indexer.postgres.replication import replication_of

        return replication_of(self.sessions)

    def other_schemas(self) -> list[str]:
        """Return the other schemas that hold all of the indexed tables."""
        return self.catalog.other_schemas(self.catalog.indexed)

    def children(self, tables: Mapping[str, Table]) -> list[Child]:
        """Return the tables that inherit from these, directly or through others."""
        parents = [table.name for table in tables.values() if table.has_children and not table.is_hypertable]
        return [Child(**row) for row in self.catalog.rows(CHILDREN, tables=parents)] if parents else []

    def uncovered(self, indexes: Sequence[Index], tables: Mapping[str, Table]) -> list[Uncovered]:
        """Return which of these indexes are missing on tables that inherit from the indexed ones."""
        found = self.children({index.table: tables[index.table] for index in indexes if index.table in tables})
        return uncovered(self.dialect, indexes, found)

    def left_on_children(self, indexes: Sequence[Index], tables: Mapping[str, Table]) -> list[str]:
        """Return the statements that drop what serves as these indexes on tables that inherit from the indexed ones."""
        found = self.children({index.table: tables[index.table] for index in indexes if index.table in tables})
        return drops_of_covering(self.dialect, indexes, found) if found else []

    def unchangeable(self, steps: Sequence[Step], tables: Mapping[str, Table]) -> list[Problem]:
        """Return why an extension would refuse these steps, with its own way."""
        if not any(table.is_hypertable for table in tables.values()):
            return []
        from indexer.postgres.timescale import unchangeable

        return unchangeable(self.dialect, steps, tables)

    def remarks(self, tables: Mapping[str, Table]) -> list[str]:
        """Return what is not looked at of tables with children or chunks, one sentence each."""
        said = [
            NOT_OF_CHILDREN.format(visible(", ".join(few(names))), parent) for parent, names in self._filled(tables)
        ]
        if any(table.is_hypertable for table in tables.values()):
            from indexer.postgres.timescale import remarks

            said += remarks(self.catalog.schema, tables.values())
        return said

    def _filled(self, tables: Mapping[str, Table]) -> Iterator[tuple[str, list[str]]]:
        """Yield each table that others with rows inherit from, and their names."""
        filled: dict[str, list[str]] = {}
        for child in self.children(tables):
            if child.has_rows:
                filled.setdefault(child.parent, []).append(qualified(child.schema, child.name))
        yield from filled.items()

    def missing_rights(
        self, tables: Mapping[str, Table], indexed: Collection[str] = (), creating: bool = False
    ) -> list[Problem]:
        """Return the rights that our role lacks on the schema, on the tables, and on those that record revisions."""
        return missing_rights(self.catalog, tables, indexed, creating)

    def missing_rights_to_rebuild(self, tables: Mapping[str, Table], indexed: Collection[str]) -> list[Problem]:
        """Return the rights that our role lacks on the schema and on the tables."""
        return missing_rights_to_rebuild(self.catalog, tables, indexed)

    def missing_rights_to_analyze(self, tables: Mapping[str, Table], analyzed: Collection[str]) -> list[Problem]:
        """Return the rights that our role lacks to gather the statistics of these tables."""
        return missing_rights_to_analyze(self.catalog, tables, analyzed)

    def missing_rights_to_read(self, tables: Mapping[str, Table]) -> list[Problem]:
        """Return the rights that our role lacks on the schema and on the tables that record revisions."""
        return missing_rights_to_read(self.catalog, tables)

    def expected_blockers(self, steps: Sequence[Step]) -> tuple[Blocker, ...]:
        """Return the sessions that these steps would have to wait for if they began now.

        The age of another role's transaction may be hidden; it is then looked at again until it is old enough.
        """
        tables = sorted({table for step in steps if step.changes for table in step.tables})
        dropping = all(step.action is Action.DROP for step in steps if step.changes)
        rebuilding = any(step.action is Action.REINDEX for step in steps)
        look = partial(self.sessions.expected, tables, dropping, suspecting=True, rebuilding=rebuilding)
        with self.sessions.tolerating_errors():
            return self._lasting(look) if tables else ()
        return ()

    def _lasting(self, look: Callable[[], tuple[Blocker, ...]]) -> tuple[Blocker, ...]:
        found, age = look(), self.sessions.age
        young = {each.identity for each in found if each.seconds is None and age(each) < NOTICEABLE}
        while young:
            self.context.stop.sleep(ANOTHER_LOOK)
            found = look()
            young &= {each.identity for each in found if age(each) < NOTICEABLE}
        return tuple(each for each in found if age(each) >= NOTICEABLE)

    def running_builds(self, steps: Sequence[Step]) -> list[RunningBuild]:
        """Return the indexes on the tables of these steps that other sessions are building now."""
        from indexer.postgres.run.builds import running_builds

        return running_builds(self.catalog, steps)

    def lasting_holders(self, tables: Sequence[str]) -> tuple[Blocker, ...]:
        """Return the sessions that a drop of an index of these tables would have to wait for, also after a signal."""
        with self.sessions.tolerating_errors():
            before = {each.identity for each in self.sessions.expected(tables, dropping=True)}
            time.sleep(ANOTHER_LOOK if before else 0)
            now = self.sessions.expected(tables, dropping=True) if before else ()
            return tuple(each for each in now if each.identity in before)
        return ()

    def hidden(self, blockers: Sequence[Blocker]) -> list[str]:
        """Return what would let our role see more of these sessions, one sentence each."""
        roles = {each.hidden_from for each in blockers if each.hidden_from}
        self.advice = [visibility_advice(role) for role in sorted(roles)]
        return self.advice

    def delays(self) -> list[str]:
        """Return a warning where every commit waits, because no synchronous standby is connected."""
        with self.sessions.tolerating_errors():
            return [
                "No synchronous standby is connected, and every commit waits for one "
                f"(synchronous_standby_names = '{visible(row['names'])}')."
                for row in self.catalog.recall(LACKING_STANDBY, lambda: self.catalog.rows(LACKING_STANDBY))
            ]
        return []

    def unseen(self, tables: Sequence[str]) -> list[str | Hint]:
        """Return what the catalog does not show of distributed tables."""
        return extension.unseen(self.catalog, tables) if self.catalog.is_citus else []

    def publications(self) -> list[str]:
        """Return the publications that a new table in the schema joins at once, each with its kind."""
        has_schemas = self.catalog.database.server_version >= HAS_SCHEMAS
        queries = (FOR_ALL_TABLES, FOR_TABLES_IN_SCHEMA) if has_schemas else (FOR_ALL_TABLES,)
        return [row["publication"] for query in queries for row in self.catalog.rows(query)]

    def subscriptions(self) -> list[str]:
        """Return the names of the replication slots, which subscriptions have by default."""
        return [row["slot"] for row in self.catalog.rows(SUBSCRIPTIONS)]
