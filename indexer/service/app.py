"""The WSGI application: it answers from the last snapshot, and never asks the database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from http import HTTPStatus
from threading import Lock
from typing import Any

from indexer.service.document import Details, Document, document_of
from indexer.service.hosts import AllowedHosts
from indexer.service.snapshot import Snapshot
from indexer.tuples import NamedTuple

METHODS = ("GET", "HEAD")
TEXT, JSON, HTML = "text/plain; charset=utf-8", "application/json", "text/html; charset=utf-8"
NO_CONTENT_POLICY = "default-src 'none'; frame-ancestors 'none'"
SECURE = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
Headers = list[tuple[str, str]]
StartResponse = Callable[[str, Headers], Any]


class Response(NamedTuple):
    """What a request is answered with."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def said(status: HTTPStatus, text: str, *headers: tuple[str, str]) -> Response:
    """Return an answer of one sentence."""
    return Response(status, TEXT, f"{text}\n".encode(), headers)


ALIVE = said(HTTPStatus.OK, "The service answers.")
READY = said(HTTPStatus.OK, "The service has read the database.")
NOT_FOUND = said(HTTPStatus.NOT_FOUND, "There is no such page.")
NOT_ALLOWED = said(HTTPStatus.METHOD_NOT_ALLOWED, "The service only answers GET and HEAD.", ("Allow", "GET, HEAD"))
NO_PROXY = said(HTTPStatus.BAD_REQUEST, "The service is no proxy: ask for a path.")
NO_HOST = said(HTTPStatus.BAD_REQUEST, "The request has no valid Host header.")
OTHER_HOST = said(HTTPStatus.MISDIRECTED_REQUEST, "The service does not answer to this host name: see --allow-host.")
BROKEN = said(HTTPStatus.INTERNAL_SERVER_ERROR, "The service cannot show the snapshot. Its log says why.")


class Application:
    """The application of one service.

    Args:
        current: returns the last snapshot.
        details: how much to say.
        hosts: the names that the service answers to.
        tell: called with an error that is no fault of the request.
    """

    def __init__(
        self,
        current: Callable[[], Snapshot],
        details: Details,
        hosts: AllowedHosts,
        tell: Callable[[BaseException], None],
    ) -> None:
        self.current = current
        self.details = details
        self.hosts = hosts
        self.tell = tell
        self._lock = Lock()
        self._shown: tuple[Snapshot | None, int] = (None, 0)  # which one, and in which second
        self._document: Document = {}
        self._responses: dict[str, Response] = {}
        self._pages: Mapping[str, Callable[[Document], Response]] = {
            "/": _page,
            "/?refresh=off": lambda document: _page(document, refreshing=False),
            "/status.json": lambda document: Response(HTTPStatus.OK, JSON, _json(document)),
            "/metrics": _metrics,
            "/gate": _gate,
        }

    def __call__(self, environ: Mapping[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        try:
            response = self.respond(environ)
        except Exception as error:
            self.tell(error)
            response = BROKEN
        return sent(response, start_response, environ["REQUEST_METHOD"] == "HEAD")

    def respond(self, environ: Mapping[str, Any]) -> Response:
        """Return the answer to a request."""
        if refusal := self._refusal(environ):
            return refusal
        path = environ.get("PATH_INFO", "")
        if path == "/livez":
            return ALIVE
        if path == "/readyz":
            return self._readiness()
        if path == "/" and environ.get("QUERY_STRING") == "refresh=off":
            path = "/?refresh=off"
        return self._of_snapshot(path) if path in self._pages else NOT_FOUND

    def _refusal(self, environ: Mapping[str, Any]) -> Response | None:
        """Return why a request is not answered; None if it is."""
        if environ["REQUEST_METHOD"] not in METHODS:
            return NOT_ALLOWED
        if not environ.get("REQUEST_URI", "/").startswith("/"):
            return NO_PROXY
        host = environ.get("HTTP_HOST")
        if host is None:  # which HTTP/1.0 does not require; a browser always sends it
            return None if environ.get("SERVER_PROTOCOL") == "HTTP/1.0" else NO_HOST
        name = self.hosts.name_of(host)
        if name is None:
            return NO_HOST
        return None if self.hosts.allow(name) else OTHER_HOST

    def _readiness(self) -> Response:
        snapshot = self.current()
        if snapshot.state is not None:
            return READY
        why = self.details.of(snapshot.failure) or "The service has not read the database yet."
        return said(HTTPStatus.SERVICE_UNAVAILABLE, why, _retry_after(snapshot.interval))

    def _of_snapshot(self, path: str) -> Response:
        """Return the answer of a path, made once for all requests of the same second."""
        snapshot, now = self.current(), datetime.now(timezone.utc)
        second = int(now.timestamp())
        with self._lock:
            shown, shown_in = self._shown
            if snapshot is not shown or second != shown_in:
                self._document = document_of(snapshot, now, self.details)
                self._shown = snapshot, second
                self._responses.clear()
            if path not in self._responses:
                self._responses[path] = self._pages[path](self._document)
            return self._responses[path]


def sent(response: Response, start_response: StartResponse, is_head: bool = False) -> list[bytes]:
    """Send the head of an answer, and return its body."""
    status, content_type, body, headers = response
    policy = [] if any(name == "Content-Security-Policy" for name, _ in headers) else [NO_CONTENT_POLICY]
    start_response(
        f"{status.value} {status.phrase}",
        [
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            *SECURE,
            *(("Content-Security-Policy", each) for each in policy),
            *headers,
        ],
    )
    return [] if is_head else [body]


def _page(document: Document, refreshing: bool = True) -> Response:
    from indexer.service.page import content_security_policy, page

    policy = ("Content-Security-Policy", content_security_policy())
    return Response(HTTPStatus.OK, HTML, page(document, refreshing).encode(errors="replace"), (policy,))


def _metrics(document: Document) -> Response:
    from indexer.service.metrics import CONTENT_TYPE, metrics

    return Response(HTTPStatus.OK, CONTENT_TYPE, metrics(document))


def _gate(document: Document) -> Response:
    """Return whether an application may start: 200 or 503, with the reason."""
    gate, snapshot = document["gate"], document["snapshot"]
    body = _json({**gate, "taken_at": snapshot["taken_at"], "age_seconds": snapshot["age_seconds"]})
    if gate["open"]:
        return Response(HTTPStatus.OK, JSON, body)
    return Response(HTTPStatus.SERVICE_UNAVAILABLE, JSON, body, (_retry_after(snapshot["interval_seconds"]),))


def _retry_after(interval: float) -> tuple[str, str]:
    return "Retry-After", str(max(round(interval), 1))


def _json(document: Document) -> bytes:
    return json.dumps(document).encode() + b"\n"
