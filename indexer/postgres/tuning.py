"""What a build is given on its own session: memory by access method, and a way out of lock queues when offline."""

from __future__ import annotations

from indexer.patience import Patience
from indexer.spec import Index

# A hash build sorts by bucket only when the index outgrows maintenance_work_mem, so more memory makes it slower:
# 1.5 million phones took 1.8 s with 16 MB and 3.5 s with 256 MB (PostgreSQL source, hashbuild).
MEMORY = {"hash": "16MB", "btree": "256MB"}
OFFLINE = {"lock_timeout": "5s"}  # a plain build queues everybody behind itself while it waits for its lock


def settings_for(index: Index, patience: Patience) -> dict[str, str]:
    """The settings of the session that builds this index."""
    memory = MEMORY.get(index.on_postgresql.using)
    return {**({"maintenance_work_mem": memory} if memory else {}), **(OFFLINE if patience.offline else {})}
