"""One service: its refresher and its HTTP server, until a signal ends it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

from indexer.errors import IndexerError
from indexer.service.address import Address
from indexer.service.app import Application
from indexer.service.document import Details
from indexer.service.hosts import AllowedHosts
from indexer.service.reader import Reader
from indexer.service.refresher import Refresher
from indexer.service.server import listening, serve, url_of
from indexer.signals import Stop
from indexer.tuples import NamedTuple

LOOK = 1.0  # seconds between two looks at the threads
TO_CLOSE = 0.3  # seconds, in which the session is closed if it is idle


class Watcher(NamedTuple):
    """Whom a service tells what it does.

    Attributes:
        begun: called with the URL once the service answers.
        failed: called with each new failure.
        recovered: called with the seconds for which the database could not be read, when it can be read again.
    """

    begun: Callable[[str], None]
    failed: Callable[[BaseException], None]
    recovered: Callable[[float], None]


def run(
    address: Address,
    reader: Reader,
    details: Details,
    interval: float,
    watcher: Watcher,
    stop: Stop,
) -> None:
    """Serve until a stop is asked for.

    Args:
        watcher: called with what the service does.

    Raises:
        UsageError: there is no such address.
        IndexerError: the service cannot listen there, or one of its threads has ended.
        Interrupted: a signal ended it.
    """
    listener = listening(address.host, address.port)
    refresher = Refresher(reader, watcher.failed, watcher.recovered, interval)
    application = Application(
        lambda: refresher.snapshot, details, AllowedHosts([address.host, *address.names]), watcher.failed
    )
    server = Thread(target=serve, args=(application, listener), name="server", daemon=True)
    server.start()
    refresher.start()
    watcher.begun(url_of(listener))
    try:
        while server.is_alive() and refresher.is_alive():
            stop.sleep(LOOK)
    finally:
        refresher.end(TO_CLOSE)
    raise IndexerError("A thread of the service has ended.", "Start the service again; to see why, add --verbose.")
