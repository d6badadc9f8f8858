"""The standbys that the user names, each asked itself how far it has replayed: every role may ask that.

So a run can also wait for what the primary does not show: a standby of a standby, and any to a role that sees none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from peewee import PeeweeException

from indexer.errors import IndexerError, UsageError
from indexer.postgres.session.reader import CatalogReader
from indexer.postgres.session.url import parameters_of
from indexer.urls import split_scheme

if TYPE_CHECKING:
    from indexer.migrator import Context
    from indexer.postgres.migrator import OnlineMigrator

WITHIN = 5.0  # seconds that connecting to one of them may take
ANOTHER_CLUSTER = "Name a standby of the server that the run works on."

CLUSTER = """
    SELECT c.system_identifier AS cluster
      FROM pg_catalog.pg_control_system() AS c
"""

REPLAYED = """
    SELECT pg_catalog.pg_wal_lsn_diff(
               CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() END,
               '0/0')::pg_catalog.int8 AS position
"""


class NamedStandby:
    """A standby that the user names, and a session on it.

    Attributes:
        position: how far in the WAL it was when it was last asked; None once it is promoted.
        is_reachable: whether it answered then.
    """

    def __init__(self, migrator: OnlineMigrator) -> None:
        self.migrator = migrator
        self.name = migrator.place.database
        self.is_reachable = True
        self.position: int | None = None

    def look(self) -> None:
        """Ask how far it is; if it does not answer, all that is known is how far it was."""
        try:
            self.migrator.reconnect()
            self.position = self.migrator.catalog.rows(REPLAYED)[0]["position"]
            self.is_reachable = True
        except (PeeweeException, IndexerError):
            self.is_reachable = False


@contextmanager
def named_standbys(urls: Sequence[str], primary: CatalogReader, context: Context) -> Iterator[list[NamedStandby]]:
    """Yield the standbys of these URLs, with a session on each.

    Raises:
        UsageError: a URL cannot be read, or names what is no standby of this server.
        Unreachable: one of them cannot be reached.
    """
    with ExitStack() as sessions:
        standbys = [_opened(url, number, sessions, context) for number, url in enumerate(urls, 1)]
        ours = _cluster(primary) if standbys else None
        for number, standby in enumerate(standbys, 1):
            standby.look()
            named = f"--replica number {number} ({standby.name})"
            if standby.position is None:
                raise UsageError(f"{named} is no standby.", ANOTHER_CLUSTER)
            if _cluster(standby.migrator.catalog) != ours:
                raise UsageError(f"{named} belongs to another cluster.", ANOTHER_CLUSTER)
        yield standbys


def _opened(url: str, number: int, sessions: ExitStack, context: Context) -> NamedStandby:
    from indexer.postgres.connect import open_postgres

    source = f"--replica number {number}"
    family, pooled, rest = split_scheme(url)
    if family == "sqlite":
        raise UsageError(f"{source} names a SQLite file.", ANOTHER_CLUSTER)
    migrator = open_postgres(parameters_of(rest, pooled), None, True, context, WITHIN, source)
    return NamedStandby(sessions.enter_context(migrator))


def _cluster(catalog: CatalogReader) -> Any:
    """Return what distinguishes a primary with its standbys from others; None where our role may not ask."""
    try:
        return catalog.rows(CLUSTER)[0]["cluster"]
    except PeeweeException:
        return None
