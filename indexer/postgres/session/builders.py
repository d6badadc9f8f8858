"""The sessions that build, asynchronous so that one thread observes several builds."""

from __future__ import annotations

import contextlib
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_WRITE, TRANSACTION_STATUS_IDLE

from indexer.errors import NoSession
from indexer.postgres.session.connection_limits import no_more
from indexer.postgres.session.settings import BUILDING, applying, greeting
from indexer.postgres.session.watchdog import CANCEL, PATIENCE, POOLER, TICK, Unanswered
from indexer.signals import Stop

FREED_IN, POLL = 1.0, 0.1  # seconds; the server counts a session that has just ended for a moment more
ANSWERED = 30.0  # seconds; a short statement that has no answer by then gets none


class Builder:
    """A session that sends one statement at a time and does not block while the server executes it.

    Args:
        parameters: libpq's connection parameters.
        seconds: how long connecting may take; None for no limit.
        stop: a request to stop ends a wait for the server.

    Raises:
        psycopg2.Error: the server refused, or did not answer in time.
    """

    def __init__(self, parameters: Mapping[str, Any], seconds: float | None, stop: Stop | None) -> None:
        self._stop = stop
        self._settings: Mapping[str, str] = {}
        self._connection = psycopg2.connect(**parameters, async_=True)
        try:
            self._wait(seconds)
            self._cursor = self._connection.cursor()
            accepted_by = self._connection.info.backend_pid
            first = greeting(BUILDING, self._connection.server_version, accepted_by)
            self.pid, *_ = self.execute(*first, seconds or ANSWERED)
        except psycopg2.Error:
            self.close()
            raise
        if self.pid == accepted_by:
            self._settings = BUILDING

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        return int(self._connection.fileno())

    def configure(self, settings: Mapping[str, str]) -> None:
        """Apply settings beside those of every session that builds; blocks for a moment."""
        wanted = {**BUILDING, **settings}
        changed = {name: value for name, value in wanted.items() if self._settings.get(name) != value}
        if changed:
            self.execute(*applying(changed, self._connection.server_version))
            self._settings = {**self._settings, **wanted}

    def execute(self, statement: str, parameters: Sequence[Any] | None = None, seconds: float = ANSWERED) -> Any:
        """Execute a short statement, which may take this many seconds; return its first row, if it has rows."""
        self._cursor.execute(statement, parameters)
        self._wait(seconds)
        return self._cursor.fetchone() if self._cursor.description else None

    def send(self, statement: str) -> None:
        """Send one statement; ``poll`` returns whether it is done."""
        self._cursor.execute(statement.encode(errors="surrogateescape"))

    def poll(self) -> bool:
        """Return whether the statement is done; raise psycopg2.Error when it failed."""
        return bool(self._connection.poll() == POLL_OK)

    def close(self) -> None:
        """End the session."""
        with contextlib.suppress(psycopg2.Error):
            self._connection.close()

    @property
    def is_executing(self) -> bool:
        """Whether a statement is still being executed."""
        return bool(not self._connection.closed and self._connection.isexecuting())

    @property
    def is_reusable(self) -> bool:
        """Whether the session can take another statement; not one whose transaction a failure has left open."""
        return bool(self._connection.info.transaction_status == TRANSACTION_STATUS_IDLE)

    def _wait(self, seconds: float | None) -> None:
        """Wait for the answer: for this many seconds, and after a request to stop for a few only.

        Raises:
            Unanswered: it did not come.
        """
        started, stop = time.monotonic(), self._stop
        while (state := self._connection.poll()) != POLL_OK:
            with selectors.DefaultSelector() as selector:  # select() takes no descriptor above 1,023
                selector.register(self, selectors.EVENT_WRITE if state == POLL_WRITE else selectors.EVENT_READ)
                while not selector.select(TICK):  # to poll before the socket is ready is an error while it connects
                    waited = time.monotonic() - started
                    is_stopped = stop is not None and stop.asked and min(waited, stop.asked_for()) >= PATIENCE
                    if is_stopped or (seconds is not None and waited >= seconds):
                        self.close()
                        raise Unanswered(f"the server did not answer in {waited:.0f} seconds: {POOLER}")


class Builders:
    """The sessions of one database that build; those that are idle are kept for the next statement.

    Args:
        open_builder: opens a session.
        execute_apart: executes a short statement on a session opened for it, as that of ``OnlineDatabase``.
        refusal: returns the error of a run to whose first session that builds the server objects.

    Attributes:
        pids: the server processes of all that were opened.
        busy: how many are in use.
        limit: how many the server allows, once it has refused one beside others; else None.
    """

    def __init__(
        self,
        open_builder: Callable[[], Builder],
        execute_apart: Callable[[str, tuple[Any, ...], float], Any],
        refusal: Callable[[psycopg2.Error], NoSession],
    ) -> None:
        self.pids: set[int] = set()
        self.busy = 0
        self.limit: int | None = None
        self._open_builder, self._execute_apart, self._refusal = open_builder, execute_apart, refusal
        self._idle: list[Builder] = []

    def take(self, settings: Mapping[str, str]) -> Builder:
        """Return a session with these settings.

        Raises:
            NoSession: none is idle, and the server refuses another.
        """
        while self._idle:
            builder = self._idle.pop()
            try:
                builder.configure(settings)
                break
            except psycopg2.Error:  # the server has ended it meanwhile
                builder.close()
        else:
            builder = self._open()
            builder.configure(settings)
        self.busy += 1
        return builder

    def reserve(self) -> None:
        """Open a session if none is idle; raise NoSession if the server refuses it."""
        if not self._idle:
            self._idle.append(self._open())

    def _open(self) -> Builder:
        """Open a session; wait a moment for the first, without which the run cannot build."""
        until = time.monotonic() + FREED_IN
        while True:
            try:
                builder = self._open_builder()
                builder.configure({})  # it may stay idle for longer than the role's defaults allow
            except psycopg2.Error as error:
                if self.busy:
                    self.limit = self.busy
                    raise no_more(error) from error
                if time.monotonic() >= until:
                    raise self._refusal(error) from error
            else:
                self.pids.add(builder.pid)
                return builder
            time.sleep(POLL)

    def give_back(self, builder: Builder) -> None:
        """Keep a session for the next statement, if it can take one; end it otherwise."""
        self.busy -= 1
        if builder.is_reusable:
            self._idle.append(builder)
            return
        if builder.is_executing:  # the main session was lost: nothing watches the statement any more
            with contextlib.suppress(psycopg2.Error):
                self._execute_apart(CANCEL, (builder.pid,), PATIENCE)
        builder.close()

    def close(self) -> None:
        """End the sessions that are idle."""
        self.limit = None
        while self._idle:
            self._idle.pop().close()
