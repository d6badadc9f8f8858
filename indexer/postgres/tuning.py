"""What a build is given on its own session: memory by access method, and a way out of lock queues when offline."""

from __future__ import annotations

from typing import NamedTuple

from indexer.options import Options
from indexer.postgres.catalog import PostgresCatalog
from indexer.spec import Index

SERVER_MEMORY = """
    SELECT pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem')) / 1024 AS maintenance,
           pg_catalog.pg_size_bytes(pg_catalog.current_setting('shared_buffers')) / 1024 AS buffers
"""

# A hash build sorts by bucket only when the index outgrows maintenance_work_mem, so more memory makes it slower:
# 1.5 million phones took 1.8 s with 16 MB and 3.5 s with 256 MB (PostgreSQL source, hashbuild).
FOR_HASH = 16 * 1024  # kB
# A B-tree of a million rows took 0.85 of the default's time with 256 MB and two workers; more gained nothing.
FOR_BTREE = 256 * 1024  # kB
OFFLINE = {"lock_timeout": "5s"}  # a plain build queues everybody behind itself while it waits for its lock
RENAMING = {"lock_timeout": "2s"}  # a name is changed in no time, or somebody is in the way


class Memory(NamedTuple):
    """What the server has for maintenance and for its cache, in kB."""

    maintenance: int
    buffers: int


def server_memory(catalog: PostgresCatalog) -> Memory:
    """Read it from the server's settings; how much the machine has is not visible over SQL."""
    return Memory(**catalog.rows(SERVER_MEMORY)[0])


def settings_for(index: Index, options: Options, server: Memory) -> dict[str, str]:
    """The settings of the session that builds this index: at most twice a small server's cache."""
    affordable = max(min(FOR_BTREE, 2 * server.buffers), server.maintenance)
    memory = min(FOR_HASH, server.maintenance) if index.on_postgresql.using == "hash" else affordable
    return {"maintenance_work_mem": f"{memory}kB", **(OFFLINE if options.offline else {})}
