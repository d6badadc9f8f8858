"""A proxy in front of a server that a test lets fall silent, swallow one direction, or cut what goes through it."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

REQUESTS, ANSWERS = "requests", "answers"
BOTH = frozenset((REQUESTS, ANSWERS))


class Link:
    """One connection: its two ends, and the directions in which nothing is passed on."""

    def __init__(self, client: socket.socket, server: socket.socket | None, swallowed: frozenset[str]) -> None:
        self.client, self.server, self.swallowed = client, server, swallowed
        self.requests = b""  # all that the client has sent

    def swallow(self, *directions: str) -> None:
        """Pass nothing on any more, in these directions or in both; the connection stays open."""
        self.swallowed = frozenset(directions or BOTH)

    def cut(self) -> None:
        """Reset both ends."""
        for end in filter(None, (self.client, self.server)):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RD)  # wakes the selector; closing with data unread or lingering resets
                end.close()


class Proxy:
    """Forwards to one server.

    Attributes:
        links: the connections so far, in the order in which they came.
        silent: new connections are accepted and get no answer.
    """

    def __init__(self, server: tuple[str, int]) -> None:
        self.links: list[Link] = []
        self.silent = False
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._ended = False
        self._thread = threading.Thread(target=self._forward, daemon=True)
        self._thread.start()

    def through(self, url: str) -> str:
        """The same URL, through the proxy."""
        parts = urlsplit(url)
        host, port = self._listener.getsockname()
        login = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{login}@{host}:{port}").geturl()

    def fall_silent(self) -> None:
        """Swallow everything, on all connections and on new ones."""
        self.silent = True
        for link in list(self.links):
            link.swallow()

    def cut(self) -> None:
        """Reset all connections; new ones go through."""
        for link in list(self.links):
            link.cut()

    def close(self) -> None:
        """End."""
        self._ended = True
        self._thread.join()
        self._listener.close()
        self._selector.close()
        self.cut()

    def _forward(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select(0.05):
                if key.data is None:
                    self._accept()
                else:
                    self._pass_on(*key.data)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = None if self.silent else socket.create_connection(self._server)
        link = Link(client, server, BOTH if self.silent else frozenset())
        self.links.append(link)
        self._selector.register(client, selectors.EVENT_READ, (link, REQUESTS))
        if server:
            self._selector.register(server, selectors.EVENT_READ, (link, ANSWERS))

    def _pass_on(self, link: Link, direction: str) -> None:
        source, target = (link.client, link.server) if direction == REQUESTS else (link.server, link.client)
        assert source
        data = b""
        with suppress(OSError):
            data = source.recv(65536)
        if not data:
            self._end(link)
            return
        if direction == REQUESTS:
            link.requests += data
        if direction not in link.swallowed and target:
            with suppress(OSError):
                target.sendall(data)

    def _end(self, link: Link) -> None:
        """One end has closed: close the other, unless the network is silent about it."""
        for end in filter(None, (link.client, link.server)):
            with suppress(KeyError, ValueError):
                self._selector.unregister(end)
            if not link.swallowed:
                end.close()


@contextmanager
def proxied(url: str) -> Iterator[Proxy]:
    """A proxy in front of the server of this URL."""
    parts = urlsplit(url)
    proxy = Proxy((parts.hostname or "127.0.0.1", parts.port or 5432))
    try:
        yield proxy
    finally:
        proxy.close()
