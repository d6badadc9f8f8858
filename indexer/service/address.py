"""Where a service listens."""

from __future__ import annotations

from indexer.tuples import NamedTuple


class Address(NamedTuple):
    """Where a service listens, and the host names that it answers to besides its own."""

    host: str
    port: int
    names: tuple[str, ...] = ()
