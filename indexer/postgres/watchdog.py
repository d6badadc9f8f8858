"""A thread that watches over the statements of one session: it says what they wait for, and ends what gets no answer.

psycopg2 waits for an answer inside the C library and without a limit. What a server or a network that is silent does to
that session only another thread can notice, and only another session can ask about.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from typing import Any
from weakref import ref

import psycopg2

from indexer.events import AnswerAwaited, Report, silent
from indexer.signals import Stop

TICK = 0.25  # seconds between two looks at the clock
NOTICEABLE = 5.0  # seconds without an answer after which that is said
REPEATED = 10.0  # seconds between two times that it is said
GIVEN_UP = 60.0  # seconds after which a session that is silent, on a server that is silent, is ended
CANCELLED, ENDED = 0.5, 1.5  # seconds after a signal: the statement is cancelled, and then its session ended
PATIENCE = 2.0  # seconds in which another session must have opened and answered

ACTIVITY = """
    SELECT a.state,
           a.wait_event_type,
           a.wait_event
      FROM pg_catalog.pg_stat_activity AS a
     WHERE a.pid OPERATOR(pg_catalog.=) %s
"""
CANCEL = "SELECT pg_catalog.pg_cancel_backend(%s)"

STANDBY = "the commit waits for a synchronous standby (see synchronous_standby_names)"
LOST = "the server has nothing to do for this session any more, so its answer is lost"
POOLER = "it may be overloaded, or a pooler may have no session free"

Elsewhere = Callable[[str, tuple[Any, ...], float], Any]


class Statement:
    """A statement that has been sent; ``limit`` is how long it may take, ``verdict`` says why it was ended."""

    def __init__(self, connection: Any, pid: int, limit: float | None) -> None:
        self.connection, self.pid, self.limit = connection, pid, limit
        self.since = self.told = time.monotonic()
        self.verdict = ""
        self.is_cancelled = self.is_lost = False


class Watchdog:
    """Watches one session.

    Args:
        elsewhere: executes a statement on another session, in so many seconds, and returns its first row.
    """

    def __init__(self, elsewhere: Elsewhere) -> None:
        self.report: Report = silent
        self.stop: Stop | None = None
        self._elsewhere = elsewhere
        self._statement: Statement | None = None
        self._lock = Lock()
        self._closing = Event()

    def start(self) -> None:
        """Begin to watch, until ``close``."""
        self._closing = Event()
        Thread(target=_watch, args=(ref(self), self._closing), name="watchdog", daemon=True).start()

    def close(self) -> None:
        """Watch no more."""
        self._closing.set()

    @contextmanager
    def watching(self, connection: Any, pid: int, limit: float | None = None) -> Iterator[None]:
        """Watch a statement that the block sends and waits for.

        Raises:
            psycopg2.OperationalError: it got no answer.
        """
        statement = Statement(connection, pid, limit)
        with self._lock:
            self._statement = statement
        try:
            yield
        except psycopg2.Error as error:
            if statement.verdict:
                raise psycopg2.OperationalError(statement.verdict) from error
            raise
        finally:
            with self._lock:
                self._statement = None

    def look(self) -> None:
        """Look at the statement that is waited for now, if there is one."""
        statement = self._statement
        if statement is not None:
            self._look(statement)

    def _look(self, statement: Statement) -> None:
        now = time.monotonic()
        waited = now - statement.since
        if statement.limit is not None and waited >= statement.limit:
            self._end(statement, f"the server did not answer in {statement.limit:.0f} seconds: {POOLER}")
        elif self.stop is not None and self.stop.asked:
            self._hurry(statement, self.stop.asked_for())
        elif now - statement.told >= (NOTICEABLE if statement.told == statement.since else REPEATED):
            statement.told = now
            self._tell(statement, waited)

    def _hurry(self, statement: Statement, asked_for: float) -> None:
        """Somebody asked to stop: cancel the statement, and if that is of no use, end the session."""
        waited = min(asked_for, time.monotonic() - statement.since)
        if waited >= ENDED:
            self._end(statement, "the server did not answer")
        elif waited >= CANCELLED and statement.pid and not statement.is_cancelled:
            statement.is_cancelled = True
            with suppress(psycopg2.Error):
                self._elsewhere(CANCEL, (statement.pid,), ENDED - CANCELLED)

    def _tell(self, statement: Statement, waited: float) -> None:
        """Say what the statement waits for, as far as another session can see that."""
        try:
            reason = self._reason(statement)
        except psycopg2.Error as error:
            reason = f"another session cannot be opened either ({str(error).strip().splitlines()[0].rstrip('.')})"
            if waited >= GIVEN_UP and is_silence(error):
                self._end(statement, f"the server has not answered for {waited:.0f} seconds")
        if self._statement is statement:
            self.report(AnswerAwaited(reason, round(waited, 1)))

    def _reason(self, statement: Statement) -> str:
        if not statement.pid:
            return POOLER
        row = self._elsewhere(ACTIVITY, (statement.pid,), PATIENCE)
        if row is None or row[0] == "idle":
            if statement.is_lost:  # the second time: the first one may have come between statement and answer
                self._end(statement, LOST)
            statement.is_lost = True
            return LOST
        if row[2] == "SyncRep":
            return STANDBY
        return f"it waits for {row[1]}: {row[2]}" if row[1] else "it is at work"

    def _end(self, statement: Statement, verdict: str) -> None:
        """End the session, so that the C library comes back with an error."""
        with self._lock:
            if self._statement is statement:
                statement.verdict = verdict
                with suppress(OSError, psycopg2.Error), _socket(statement.connection) as ours:
                    ours.shutdown(socket.SHUT_RDWR)


def _watch(watched: ref[Watchdog], closing: Event) -> None:
    """Look now and then; ends with the session, or when nobody holds it any more."""
    while not closing.wait(TICK) and (watchdog := watched()):
        watchdog.look()
        del watchdog


def is_silence(error: psycopg2.Error) -> bool:
    """Return whether a session could not be opened because nobody answered, and not because it was refused."""
    return "did not answer" in str(error)


def server_address(connection: Any) -> str | None:
    """Return the address of the server behind a TCP connection, which needs no look-up; None for a Unix socket."""
    with _socket(connection) as ours:
        peer = ours.getpeername()
        return str(peer[0]) if ours.family in (socket.AF_INET, socket.AF_INET6) else None


def _socket(connection: Any) -> socket.socket:
    """Return a second handle on the connection's socket, to be closed."""
    return socket.socket(fileno=os.dup(connection.fileno()))
