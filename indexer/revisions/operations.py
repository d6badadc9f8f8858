"""The type of the migrator that the functions of a revision file are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from playhouse.migrate import Operation

    from indexer.spec import Index


class Migrator(Protocol):
    """What ``upgrade`` and ``downgrade`` of a revision file are given, to build or drop the indexes of INDEXES."""

    def add_index(self, index: Index, /) -> Operation:
        """Return the operation that builds an index."""

    def drop_index(self, index: Index, /) -> Operation:
        """Return the operation that drops an index, unless it existed before ``up``."""

    def migrate(self, *operations: Operation) -> None:
        """Carry out operations."""
