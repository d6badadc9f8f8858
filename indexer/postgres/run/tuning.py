"""The settings for one index on the session that builds it: memory, workers, and a lock_timeout for a plain build."""

from __future__ import annotations

from indexer.options import Options
from indexer.spec import Index
from indexer.tuples import NamedTuple

# The memory of the server's machine is not visible to SQL.
SERVER_MEANS = """
    SELECT pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem')) / 1024 AS maintenance,
           pg_catalog.pg_size_bytes(pg_catalog.current_setting('shared_buffers')) / 1024 AS buffers,
           pg_catalog.current_setting('max_parallel_maintenance_workers') AS workers
"""

# A hash build sorts by bucket only when the index outgrows maintenance_work_mem, so more memory makes it slower:
# 1.5 million phones took 1.8 s with 16 MB and 3.5 s with 256 MB (PostgreSQL source, hashbuild).
FOR_HASH = 16 * 1024  # kB
# A B-tree of a million rows took 0.85 of the default's time with 256 MB and two workers; more gained nothing.
FOR_BTREE = 256 * 1024  # kB
OFFLINE = {"lock_timeout": "5s"}  # while a plain build waits for its lock, all other sessions queue behind it
RENAMING = {"lock_timeout": "2s"}  # a rename takes no time, unless another session holds a lock


class Means(NamedTuple):
    """The server's maintenance_work_mem and shared_buffers in kB, and its max_parallel_maintenance_workers."""

    maintenance: int
    buffers: int
    workers: str


def settings_for(index: Index, options: Options, server: Means, with_workers: bool = True) -> dict[str, str]:
    """Return the settings for one index.

    A B-tree on a small server gets at most twice the server's cache; with workers, as many as the server's default.
    """
    affordable = max(min(FOR_BTREE, 2 * server.buffers), server.maintenance)
    memory = min(FOR_HASH, server.maintenance) if index.postgresql.method == "hash" else affordable
    workers = server.workers if with_workers else "0"
    return {
        "maintenance_work_mem": f"{memory}kB",
        "max_parallel_maintenance_workers": workers,
        **(OFFLINE if options.offline else {}),
    }
