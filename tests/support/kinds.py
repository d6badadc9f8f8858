"""A revision of any indexes, applied and reverted in this process: for tests of what an index can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from command import BASE

from indexer import Index, Options, Runner
from indexer.connection import connect
from indexer.revisions.chain import Chain
from indexer.revisions.revision import Revision

FILE = "migrate_of_kinds.py"


def chain_of(*indexes: Index) -> Chain:
    """Return a chain of one revision that declares these indexes."""

    def upgrade(migrator: Any) -> None:
        migrator.migrate(*(migrator.add_index(index) for index in indexes))

    def downgrade(migrator: Any) -> None:
        migrator.migrate(*(migrator.drop_index(index) for index in reversed(indexes)))

    revision = Revision("kinds", BASE, "2025-11-25", "Kinds", FILE, upgrade, downgrade, indexes=indexes)
    return Chain(BASE, (revision,))


@contextmanager
def runner_of(
    url: str, *indexes: Index, schema: str | None = None, models: Sequence[Any] = (), **options: Any
) -> Iterator[Runner]:
    """Yield a runner of a revision that declares these indexes, with the models of an empty database."""
    migrator = connect(url, schema)
    with closing(migrator.database):
        yield Runner(migrator, chain_of(*indexes), lambda: models, Options(**options))
