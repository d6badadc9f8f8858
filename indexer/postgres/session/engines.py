"""The engines that speak PostgreSQL's protocol and are not PostgreSQL, recognised by what they say of themselves. Pure.

How they differ is what their documentation says; this tool was run on none of them. What adds to PostgreSQL, such as
Citus, TimescaleDB, Aurora PostgreSQL, AlloyDB, Neon, IvorySQL and EDB's server, is PostgreSQL.
"""

from __future__ import annotations

import re

from indexer.errors import IndexerError
from indexer.tuples import NamedTuple

OFFERED = ("PostgreSQL", "EnterpriseDB", "IvorySQL")  # how version() of a PostgreSQL begins
EMULATION = "it is another implementation, and has only an emulation of PostgreSQL's catalog"
FORK_OF_GREENPLUM = "it spreads each table over segments, and cannot build or drop an index CONCURRENTLY"
FORK_OF_9_2 = "it continues PostgreSQL 9.2, and lacks what this tool reads in the catalog of PostgreSQL 12 and later"


class Said(NamedTuple):
    """What a server says of itself.

    Attributes:
        version: what version() returned; "" if it was not asked.
        server_version, crdb_version, role: parameters that it sent when the session began.
        host: the name under which it was reached.
    """

    version: str = ""
    server_version: str | None = None
    crdb_version: str | None = None
    role: str | None = None
    host: str | None = None


class Engine(NamedTuple):
    """An engine that is not PostgreSQL.

    Attributes:
        mark: a pattern in what the server says of its version.
        difference: why this tool cannot work on it, as a clause.
        host: a pattern in the name of its hosts, where the version is PostgreSQL's.
        role: the session's role by which it can be recognised.
    """

    name: str
    mark: str
    difference: str
    host: str = ""
    role: str = ""

    def said_so(self, said: Said) -> bool:
        """Return whether a server is this engine."""
        versions = (said.version, said.server_version, said.crdb_version)
        if self.mark and any(re.search(self.mark, version) for version in versions if version):
            return True
        return bool(self.host and re.search(self.host, said.host or "")) or bool(self.role and self.role == said.role)


ENGINES = (
    Engine(
        "CockroachDB",
        r"CockroachDB",
        "it builds each index by a job in the background, an advisory lock of a session locks nothing there, and it"
        " has no hash index of PostgreSQL's kind",
    ),
    Engine(
        "YugabyteDB",
        r"-YB-\d",
        "it keeps its indexes in another format (lsm), and cannot drop one CONCURRENTLY",
    ),
    Engine("Amazon Redshift", r"Redshift \d", "it has no indexes; sort keys and distribution keys take their place"),
    Engine(
        "Amazon Aurora DSQL",
        "",
        "it builds indexes with CREATE INDEX ASYNC, and has neither partial nor hash indexes",
        host=r"\.dsql(-\w+)?\.[\w-]+\.on\.aws$",
    ),
    Engine(
        "Google Cloud Spanner",
        "",
        "it builds each index by an operation of Spanner in the background, and has no CONCURRENTLY",
        role="PGAdapter",
    ),
    Engine("Materialize", r"\(Materialize ", "its indexes keep results in memory, and CONCURRENTLY is unknown there"),
    Engine("RisingWave", r"-RisingWave-", "its indexes are kept by streaming jobs, and CONCURRENTLY is unknown there"),
    Engine("CrateDB", r"CrateDB ", "it indexes every column by itself, and has no CREATE INDEX"),
    Engine("QuestDB", r"QuestDB", "only a SYMBOL column has an index there, and there is no CREATE INDEX"),
    Engine("GreptimeDB", r"GreptimeDB|-greptimedb-", "an index is an option of a column there"),
    Engine("YDB", r"\bydb\b", "a secondary index is added by its own ALTER TABLE there"),
    Engine("immudb", r"immudb", EMULATION),
    Engine("Vertica", r"Vertica ", "it has no indexes; projections take their place"),
    Engine("Greenplum", r"Greenplum Database|Yellowbrick Database", FORK_OF_GREENPLUM),
    Engine("Apache Cloudberry", r"Cloudberry", FORK_OF_GREENPLUM),
    Engine("openGauss", r"openGauss|GaussDB", FORK_OF_9_2),
    Engine("CedarDB", r"CedarDB", EMULATION),
)


class OtherEngine(IndexerError):
    """The server speaks PostgreSQL's protocol and is another engine. Nothing was executed but its version()."""


def recognised(said: Said) -> Engine | None:
    """Return the engine that a server is; None if that is PostgreSQL, or not known."""
    return next((engine for engine in ENGINES if engine.said_so(said)), None)


def refusal(said: Said) -> OtherEngine | None:
    """Return why this tool does not work on a server, if that is not PostgreSQL."""
    if engine := recognised(said):
        message = f"The server is {engine.name}, which only speaks PostgreSQL's protocol: {engine.difference}."
        return OtherEngine(message, f"Build the indexes with {engine.name}'s own statements, or connect to PostgreSQL.")
    if not said.version or said.version.startswith(OFFERED):
        return None
    return OtherEngine(f"The server is not PostgreSQL: {said.version}.", "Connect to PostgreSQL 12 or later.")
