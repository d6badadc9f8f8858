"""A server that speaks just enough of PostgreSQL's protocol to be asked for its version(), like another engine."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

SSL_REQUEST = 80877103
READY = b"Z" + struct.pack("!ic", 5, b"I")


class FakeEngine:
    """Answers a question for version() alone, and any other statement with an error.

    Attributes:
        asked: the statements that were sent, in order.
    """

    def __init__(self, version: str, parameters: Mapping[str, str]) -> None:
        self.asked: list[str] = []
        self._version, self._parameters = version, parameters
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"postgresql://root@127.0.0.1:{self._listener.getsockname()[1]}/crm"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no connection any more."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client, suppress(OSError, struct.error):
                    self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        size, code = struct.unpack("!ii", _read(client, 8))
        if code == SSL_REQUEST:
            client.sendall(b"N")
            size, code = struct.unpack("!ii", _read(client, 8))
        _read(client, size - 8)
        client.sendall(_message(b"R", struct.pack("!i", 0)))
        for name, value in {"client_encoding": "UTF8", "DateStyle": "ISO", **self._parameters}.items():
            client.sendall(_message(b"S", f"{name}\0{value}\0".encode()))
        client.sendall(READY)
        while (kind := client.recv(1)) and kind != b"X":
            (size,) = struct.unpack("!i", _read(client, 4))
            statement = _read(client, size - 4).rstrip(b"\0").decode()
            self.asked.append(statement)
            client.sendall(self._answer(statement) + READY)

    def _answer(self, statement: str) -> bytes:
        if statement.strip() != "SELECT pg_catalog.version()":
            error = "SERROR\0C42883\0Munknown function\0\0"
            return _message(b"E", error.encode())
        text = self._version.encode()
        column = b"version\0" + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0)
        row = struct.pack("!hi", 1, len(text)) + text
        described = _message(b"T", struct.pack("!h", 1) + column)
        return described + _message(b"D", row) + _message(b"C", b"SELECT 1\0")


def _message(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("!i", len(content) + 4) + content


def _read(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = client.recv(size - len(data))
        if not part:
            raise OSError("the client has closed the connection")
        data += part
    return data


@contextmanager
def fake_engine(version: str, **parameters: str) -> Iterator[FakeEngine]:
    """Run such a server; the parameters are those that it sends when a session begins."""
    engine = FakeEngine(version, parameters)
    try:
        yield engine
    finally:
        engine.close()
