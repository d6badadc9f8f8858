"""What slow, malformed and many clients do to the service: they harm nobody but themselves."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection
from threading import Thread
from urllib.parse import urlsplit

import pytest
from command import CLI
from scenes import until
from served import Service

from indexer.console.hints import HintWriter
from indexer.errors import IndexerError, UsageError
from indexer.service import server, service
from indexer.service.address import Address
from indexer.service.app import Application
from indexer.service.document import Details
from indexer.service.hosts import AllowedHosts
from indexer.service.server import listening, serve, url_of
from indexer.service.snapshot import Snapshot
from indexer.signals import Stop

ASK = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
ALIVE = b"HTTP/1.1 200 OK"
MOST = 20  # connections


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Yield the port of a server of a service that has read nothing, with less patience than usual."""
    with pytest.MonkeyPatch.context() as settings:
        settings.setattr(server, "MOST_CONNECTIONS", MOST)
        settings.setitem(server.LIMITS, "channel_timeout", 1)
        listener = listening("127.0.0.1", 0)
        application = Application(Snapshot, Details(HintWriter("indexer"), False), AllowedHosts(()), print)
        Thread(target=serve, args=(application, listener), daemon=True).start()
        yield urlsplit(url_of(listener)).port or 0


def connected(port: int) -> socket.socket:
    """Return a connection to the server."""
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def exchanged(port: int, request: bytes) -> bytes:
    """Return all that the server answers to these bytes until it closes the connection."""
    with closing(connected(port)) as client:
        client.sendall(request)
        with suppress(OSError):
            client.shutdown(socket.SHUT_WR)
        parts = list(iter(lambda: client.recv(65536), b""))
    return b"".join(parts)


def assert_alive(port: int) -> None:
    """Check that another client gets an answer."""
    assert exchanged(port, ASK + b"Connection: close\r\n\r\n").startswith(ALIVE)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 200),  # taken for 1.0
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\nHost: localhost\n\r\n\r\n", 400),
        (ASK + b" folded: header\r\n\r\n", 400),
        (ASK + b"Content-Length: -1\r\n\r\n", 400),
        (ASK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
        (ASK + b"Content-Length: 5\r\n\r\nhello", 413),
        (ASK + b"Content-Length: 99999999999999999999\r\n\r\n", 413),
        (ASK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 413),
        (ASK + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (ASK + b"X: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
        (b"GET http://evil.example/status.json HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /%00%0d%0aX:%20y HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"POST /gate HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET /livez HTTP/1.0\r\n\r\n", 200),
    ],
)
def test_a_malformed_request_is_refused_with_the_headers_of_all_answers(port, request_bytes, status):
    answer = exchanged(port, request_bytes)
    head = answer.partition(b"\r\n\r\n")[0]
    assert int(head.split()[1]) == status
    assert b"X-Content-Type-Options: nosniff" in head
    assert b"\r\nServer:" not in head
    assert b"Traceback" not in answer
    assert_alive(port)


def test_a_request_that_comes_byte_by_byte_is_given_up_although_its_bytes_keep_coming(port):
    with closing(connected(port)) as slow:
        started = time.monotonic()

        def ended() -> bool:
            try:
                slow.sendall(b"X")
                slow.settimeout(0.05)
                return slow.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        slow.sendall(b"GET /")
        until(ended, "the end of the slow request")
    assert time.monotonic() - started < 10


def test_more_clients_than_there_is_room_for_do_not_keep_others_out(port):
    with ExitStack() as slow:
        for _ in range(3 * MOST):
            slow.enter_context(closing(connected(port))).sendall(b"GET /livez HTTP/1.1\r\nHost")
            assert_alive(port)


def test_a_connection_is_kept_for_the_next_request(port):
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as client:
        for _ in range(3):
            client.request("GET", "/livez")
            answer = client.getresponse()
            assert (answer.status, answer.read()) == (200, b"The service answers.\n")


def test_a_client_that_reads_nothing_of_many_answers_harms_no_other(port):
    with closing(connected(port)) as deaf:
        deaf.settimeout(0.2)
        try:
            for _ in range(2000):
                deaf.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        except OSError:
            pass
        assert_alive(port)


def test_a_port_that_is_taken_is_an_error_with_a_hint(port):
    with pytest.raises(IndexerError, match=f"Cannot listen on 127.0.0.1, port {port}: Address already in use") as error:
        listening("127.0.0.1", port)
    assert "--port" in str(error.value.hint)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 300, "300.1.1.1.1"])
def test_a_host_that_does_not_exist_is_wrong_usage(host):
    with pytest.raises(UsageError, match="There is no host"):
        listening(host, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::1", "::"])
def test_the_url_has_the_address_and_the_port_that_was_found(host):
    try:
        listener = listening(host, 0)
    except IndexerError:
        pytest.skip("this machine has no IPv6")
    with closing(listener):
        assert urlsplit(url_of(listener)).port


def test_a_service_whose_server_has_ended_ends_too_so_that_it_is_started_again(sqlite_url, monkeypatch):
    monkeypatch.setattr(service, "serve", lambda application, listener: None)
    said: list[str] = []
    reader = Service(lambda: sqlite_url).reader
    details, watcher = Details(HintWriter("indexer"), False), service.Watcher(said.append, print, print)
    with pytest.raises(IndexerError, match="A thread of the service has ended"):
        service.run(Address("127.0.0.1", 0), reader, details, 5, watcher, Stop())
    assert said[0].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(("soft", "hard", "most"), [(100, 100, 60), (100, 4096, 500), (256, 300, 260)])
def test_connections_are_no_more_than_the_files_that_the_process_may_open(soft, hard, most):
    limited = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}));"
        "from indexer.service.server import most_connections; print(most_connections())"
    )
    assert subprocess.check_output([sys.executable, "-c", limited], cwd=CLI.parent, text=True) == f"{most}\n"
