"""The HTTP server: waitress, with limits that keep slow and malformed clients from harming others."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask

from indexer.errors import IndexerError, UsageError
from indexer.service.app import NO_CONTENT_POLICY, SECURE

THREADS = 4
MOST_CONNECTIONS = 500
KEPT_FILES = 40  # for the database, the modules that are still to be imported, and the log
LONGEST_REQUEST = 10  # seconds for a request to arrive and for its answer to be read, and for which a client may idle
LIMITS = {
    "threads": THREADS,
    "ident": None,
    "channel_timeout": LONGEST_REQUEST,
    "cleanup_interval": 1,
    "max_request_header_size": 8192,
    "recv_bytes": 16384,  # more than the limit, so that a client gets the answer that it has sent too much
    "max_request_body_size": 0,
    "asyncore_use_poll": True,
    "log_socket_errors": False,
    "clear_untrusted_proxy_headers": False,
}


class _Refusal(ErrorTask):
    """The answer to a request that waitress refuses, with the headers of all answers."""

    def build_response_header(self) -> bytes:
        self.response_headers += [*SECURE, ("Content-Security-Policy", NO_CONTENT_POLICY)]
        header: bytes = super().build_response_header()
        return header


class _Channel(HTTPChannel):
    """A connection that is closed unless whole requests arrive: single bytes keep it no longer open."""

    error_task_class = _Refusal
    last_activity: float

    def handle_read(self) -> None:
        since = self.last_activity
        super().handle_read()
        if self.request is not None:
            self.last_activity = since


class _Server(TcpWSGIServer):
    channel_class = _Channel
    adj: Adjustments

    def readable(self) -> bool:
        """Return whether to accept another connection; the one that idles longest is closed to make room for it."""
        if len(self._map) >= self.adj.connection_limit:
            idle = [each for each in list(self.active_channels.values()) if not each.requests]
            if idle:
                min(idle, key=lambda channel: channel.last_activity).will_close = True
        accepts: bool = super().readable()
        return accepts


def most_connections() -> int:
    """Return how many connections the service may have open, once it may open as many files as the system allows it."""
    try:
        import resource
    except ImportError:  # Windows counts handles, of which there are enough
        return MOST_CONNECTIONS
    wanted = MOST_CONNECTIONS + KEPT_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MOST_CONNECTIONS
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
        soft = max(soft, allowed)
    return max(soft - KEPT_FILES, 1)


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address.

    Raises:
        UsageError: there is no such host.
        IndexerError: the port is taken, or the address may not be used.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"There is no host {host!r} to listen on.", "Correct --host.") from error
    family, _, _, _, address = found[0]
    try:
        return socket.create_server(address[:2], family=family, dualstack_ipv6=host == "::")
    except OSError as error:
        why = error.strerror or str(error)
        raise IndexerError(
            f"Cannot listen on {host}, port {port}: {why}.", "Name another address or port: --host, --port."
        ) from error


def url_of(listener: socket.socket) -> str:
    """Return the URL of the service for this machine."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def serve(application: Callable[..., Any], listener: socket.socket) -> None:
    """Answer requests until the process ends."""
    logger = logging.getLogger("waitress")  # all it would say is how busy it is
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    sockinfo = (listener.family, listener.type, listener.proto, listener.getsockname())
    adjustments = Adjustments(sockets=[listener], connection_limit=most_connections(), **LIMITS)
    server = _Server(application, None, True, listener, None, adjustments, sockinfo, bind_socket=False)
    server.run()
