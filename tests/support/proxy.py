"""A proxy in front of a server that a test lets fall silent, swallow one direction, or cut what goes through it."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

REQUESTS, ANSWERS = "requests", "answers"
BOTH = frozenset((REQUESTS, ANSWERS))


class Link:
    """One connection: its two ends, and the directions in which nothing is passed on."""

    def __init__(self, client: socket.socket, server: socket.socket | None, swallowed: frozenset[str]) -> None:
        self.client, self.server, self.swallowed = client, server, swallowed

    def swallow(self, *directions: str) -> None:
        """Pass nothing on any more, in these directions or in both; the connection stays open."""
        self.swallowed = frozenset(directions or BOTH)

    def reset(self) -> None:
        """Close both ends as a crash would."""
        for end in filter(None, (self.client, self.server)):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()


class Proxy:
    """Forwards to one server.

    Attributes:
        links: the connections so far, in the order in which they came.
        silent: new connections are accepted and get no answer.
        is_triggered: the request for which ``fall_silent_at`` waits has come.
    """

    def __init__(self, server: tuple[str, int]) -> None:
        self.links: list[Link] = []
        self.silent = self.is_triggered = False
        self._trigger: tuple[bytes, bool] | None = None
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._ended = False
        self._to_cut: list[Link] = []
        self._thread = threading.Thread(target=self._forward, daemon=True)
        self._thread.start()

    def through(self, url: str) -> str:
        """Return the URL through the proxy."""
        parts = urlsplit(url)
        host, port = self._listener.getsockname()
        login = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{login}@{host}:{port}").geturl()

    def fall_silent(self) -> None:
        """Swallow everything, on all connections and on new ones."""
        self.silent = True
        for link in list(self.links):
            link.swallow()

    def fall_silent_at(self, request: str, passing_it_on: bool = False) -> None:
        """Fall silent as soon as a client sends this, before or after the server gets it."""
        self._trigger = request.encode(), passing_it_on

    def cut(self, *links: Link) -> None:
        """Reset these connections, or all of them; new ones go through."""
        self.silent, self._to_cut = False, list(links or self.links)
        while self._to_cut and self._thread.is_alive():
            time.sleep(0.01)

    def close(self) -> None:
        """End."""
        self._ended = True
        self._thread.join()
        self._listener.close()
        self._selector.close()
        self._cut(self.links)

    def _forward(self) -> None:
        while not self._ended:
            self._cut(self._to_cut)
            for key, _ in self._selector.select(0.05):
                if key.data is None:
                    self._accept()
                else:
                    self._pass_on(*key.data)

    def _cut(self, links: list[Link]) -> None:
        for link in list(links):
            self._forget(link)
            link.reset()
        self.links = [link for link in self.links if link not in links]
        links.clear()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = None if self.silent else socket.create_connection(self._server)
        except OSError:  # the server is down
            client.close()
            return
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
        if direction == REQUESTS and self._trigger and self._trigger[0] in data:
            self.is_triggered = True
            if self._trigger[1] and target:
                target.sendall(data)
            self._trigger = None
            self.fall_silent()
        if direction not in link.swallowed and target:
            with suppress(OSError):
                target.sendall(data)

    def _end(self, link: Link) -> None:
        """One end has closed: close the other, unless the network is silent about it."""
        self._forget(link)
        if not link.swallowed:
            for end in filter(None, (link.client, link.server)):
                end.close()

    def _forget(self, link: Link) -> None:
        for end in filter(None, (link.client, link.server)):
            with suppress(KeyError, ValueError, RuntimeError):
                self._selector.unregister(end)


@contextmanager
def proxied(url: str) -> Iterator[Proxy]:
    """Run a proxy in front of the server of this URL."""
    parts = urlsplit(url)
    proxy = Proxy((parts.hostname or "127.0.0.1", parts.port or 5432))
    try:
        yield proxy
    finally:
        proxy.close()
