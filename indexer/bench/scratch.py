"""A database for one measurement: a temporary SQLite file, or a schema of its own on the PostgreSQL server.

However the measurement ends, the file or the schema is removed; the user's own tables are not read. What a killed
process left is removed by the next one, which knows by a lock, held by each process, that no process works in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from indexer.signals import Stop

if TYPE_CHECKING:
    from indexer.bench.postgres import Schema
    from indexer.bench.sqlite import File

PREFIX = "indexer_bench_"


@contextmanager
def scratch(url: str, stop: Stop) -> Iterator[File | Schema]:
    """Create an empty database that exists during the block.

    Args:
        url: the server on which a schema may be created; any SQLite URL stands for a temporary file.
        stop: asks for an end, and learns how to remove what is left if the process ends without cleaning up.

    Raises:
        UsageError, Unreachable: as ``connect``.
        StatementFailed: the role may not create a schema, or the schema cannot be dropped.
    """
    create: Callable[[str, str, Stop], AbstractContextManager[Any]]
    if url.startswith("sqlite:"):
        from indexer.bench.sqlite import file as create
    else:
        from indexer.bench.postgres import schema as create
    with create(url, PREFIX, stop) as database:
        try:
            database.migrator.settle(())
            yield database
        finally:
            database.migrator.database.close()
