"""A service in the process of the test, without its threads: it reads when refresh is called, and answers at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from command import CLI
from scenes import Run, until

import models
import queries
from indexer.console.hints import HintWriter
from indexer.options import DEFAULTS
from indexer.project import Project
from indexer.revisions.chain import load
from indexer.service.app import Application
from indexer.service.document import Details
from indexer.service.hosts import AllowedHosts
from indexer.service.reader import Reader, Source
from indexer.service.refresher import Refresher
from indexer.signals import Stop

ROOT = str(CLI.parent)
PROJECT = Project(ROOT, lambda: models.TABLES, lambda: queries.QUERIES)


@dataclass
class Answer:
    """The answer to a request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body."""
        return self.body.decode()

    def json(self) -> Any:
        """Return the document in the body."""
        return json.loads(self.body)


@dataclass
class Service:
    """A service whose database is at the URL that ``where`` returns."""

    where: Callable[[], str]
    schema: str | None = None
    has_details: bool = False
    names: tuple[str, ...] = ()
    failures: list[str] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        source = Source(self.where, self.schema)
        self.reader = Reader(source, PROJECT, load(ROOT), DEFAULTS, lambda event: None, Stop())
        self.refresher = Refresher(self.reader, self._fail, self.recoveries.append)
        details = Details(HintWriter("python cli.py"), self.has_details)
        self.application = Application(lambda: self.refresher.snapshot, details, AllowedHosts(self.names), self._fail)

    def _fail(self, error: BaseException) -> None:
        self.failures.append(str(error))

    def refresh(self, care: bool = False) -> Service:
        """Read the database once; with ``care`` sizes, use and queries as well, although it is not time to."""
        if care:
            self.refresher.read_all_again()
        self.refresher.refresh()
        return self

    def get(self, path: str, method: str = "GET", host: str | None = "localhost", query: str = "") -> Answer:
        """Return the answer to a request."""
        return request(self.application, path, method, host, query)

    def document(self) -> Any:
        """Return the document of /status.json."""
        answer = self.get("/status.json")
        assert answer.status == 200, answer
        return answer.json()

    def index(self, name: str) -> Any:
        """Return what the document says of an index."""
        return next(each for each in self.document()["indexes"] if each["index"] == name)

    def gate(self) -> tuple[int, Any]:
        """Return the status of /gate and its document."""
        answer = self.get("/gate")
        return answer.status, answer.json()


def request(
    application: Any, path: str, method: str = "GET", host: str | None = "localhost", query: str = ""
) -> Answer:
    """Return the answer of a WSGI application to a request."""
    heads: list[tuple[str, list[tuple[str, str]]]] = []
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, "SERVER_PROTOCOL": "HTTP/1.1"}
    if host is not None:
        environ["HTTP_HOST"] = host
    body = b"".join(application(environ, lambda status, headers: heads.append((status, headers))))
    ((status, headers),) = heads
    return Answer(int(status.split()[0]), dict(headers), body)


@contextmanager
def serving(url: str | Callable[[], str], **settings: Any) -> Iterator[Service]:
    """Yield a service of a database, and close its session at the end."""
    service = Service(url if callable(url) else lambda: url, **settings)
    try:
        yield service
    finally:
        service.reader.close()


def address_of(run: Run) -> str:
    """Return the URL of a service that runs as a command, once it answers."""
    begun = "Serving on "
    line = until(lambda: next((each for each in list(run._errors) if each.startswith(begun)), None), "the service")
    return line.removeprefix(begun).strip().rstrip("/")


def samples(text: str) -> dict[str, float]:
    """Return the samples of /metrics: each series as it is written, and its value."""
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}


def names_of(url: str) -> list[str]:
    """Return what of a URL no answer may contain."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return [
        each for each in (parts.hostname, str(parts.port or ""), parts.username, os.path.basename(parts.path)) if each
    ]
