"""Watches the statements of one session: reports what they wait for, and ends the session when no answer comes.

psycopg2 waits for an answer inside the C library, without a limit. Only another thread can notice that no answer comes,
and only another session can ask the server why.
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

TICK = 0.25  # seconds between two checks of the clock
NOTICEABLE = 5.0  # seconds without an answer before that is reported
REPEATED = 10.0  # seconds between two reports
GIVEN_UP = 60.0  # seconds before a session is ended to which the server is silent, as it is to other sessions
CANCELLED, ENDED = 0.5, 1.5  # seconds after a signal: the statement is cancelled, then its session is ended
PATIENCE = 2.0  # seconds in which another session must open and answer

ACTIVITY = """
    SELECT a.state,
           a.wait_event_type,
           a.wait_event
      FROM pg_catalog.pg_stat_activity AS a
     WHERE a.pid OPERATOR(pg_catalog.=) %s
"""
CANCEL = "SELECT pg_catalog.pg_cancel_backend(%s)"

WORKING = "the server is executing the statement"
STANDBY = "the commit waits for a synchronous standby (see synchronous_standby_names)"
LOST = "the server has finished the statement, but its answer was lost"
POOLER = "it may be overloaded, or a pooler may have no free session"


class Unanswered(psycopg2.OperationalError):
    """The server gave no answer in time; it did not refuse."""


class Statement:
    """A statement that was sent to a server process (0 if not known), and how many seconds it may take."""

    def __init__(self, connection: Any, pid: int, limit: float | None) -> None:
        self.connection, self.pid, self.limit = connection, pid, limit
        self.started = self.reported = time.monotonic()
        self.verdict = ""  # why its session was ended
        self.is_cancelled = self.is_lost = False


class Watchdog:
    """The watch over one session, in a thread.

    Args:
        execute_apart: as of ``OnlineDatabase``.
        report: called when a statement has had no answer for a while.
        stop: a request to stop ends a statement that gets no answer.
    """

    def __init__(
        self,
        execute_apart: Callable[[str, tuple[Any, ...], float], Any],
        report: Report = silent,
        stop: Stop | None = None,
    ) -> None:
        self.report = report
        self.stop = stop
        self._execute_apart = execute_apart
        self._statement: Statement | None = None
        self._lock = Lock()
        self._closing = Event()

    def start(self) -> None:
        """Start the thread, which runs until ``close``."""
        self._closing = Event()
        Thread(target=_watch, args=(ref(self), self._closing), name="watchdog", daemon=True).start()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()

    @contextmanager
    def watching(self, connection: Any, pid: int, limit: float | None = None) -> Iterator[None]:
        """Watch the statement that the block sends and waits for, which may take ``limit`` seconds.

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

    def check(self) -> None:
        """Report, cancel or end the statement that is being watched, if it is time to."""
        statement, now = self._statement, time.monotonic()
        if statement is None:
            return
        waited = now - statement.started
        if statement.limit is not None and waited >= statement.limit:
            self._end(statement, f"the server did not answer in {statement.limit:.0f} seconds: {POOLER}")
        elif self.stop is not None and self.stop.asked:
            self._obey(statement, min(waited, self.stop.asked_for()))
        elif now - statement.reported >= (NOTICEABLE if statement.reported == statement.started else REPEATED):
            statement.reported = now
            self._report(statement, waited)

    def _obey(self, statement: Statement, waited: float) -> None:
        """Cancel the statement after a request to stop; if it still does not end, end its session."""
        if waited >= ENDED:
            self._end(statement, "the server did not answer")
        elif waited >= CANCELLED and statement.pid and not statement.is_cancelled:
            statement.is_cancelled = True
            with suppress(psycopg2.Error):
                self._execute_apart(CANCEL, (statement.pid,), ENDED - CANCELLED)

    def _report(self, statement: Statement, waited: float) -> None:
        """Report what the statement waits for, as far as another session can see that."""
        try:
            reason = self._reason(statement)
        except psycopg2.Error as error:
            reason = f"another session cannot be opened either ({str(error).strip().splitlines()[0].rstrip('.')})"
            if waited >= GIVEN_UP and isinstance(error, Unanswered):
                self._end(statement, f"the server has not answered for {waited:.0f} seconds")
        if self._statement is statement:
            self.report(AnswerAwaited(reason, round(waited, 1)))

    def _reason(self, statement: Statement) -> str:
        if not statement.pid:
            return POOLER
        row = self._execute_apart(ACTIVITY, (statement.pid,), PATIENCE)
        if row is None or row[0] == "idle":
            if statement.is_lost:  # only the second time: the first check may fall between statement and answer
                self._end(statement, LOST)
            statement.is_lost = True
            return LOST
        if row[2] == "SyncRep":
            return STANDBY
        return f"the statement waits for {row[1]}: {row[2]}" if row[1] else WORKING

    def _end(self, statement: Statement, verdict: str) -> None:
        """Shut the session's socket down, so that the C library returns with an error."""
        with self._lock:
            if self._statement is statement:
                statement.verdict = verdict
                with suppress(OSError, psycopg2.Error), _socket(statement.connection) as handle:
                    handle.shutdown(socket.SHUT_RDWR)


def _watch(watched: ref[Watchdog], closing: Event) -> None:
    """Check at each tick, until the watchdog is closed or garbage."""
    while not closing.wait(TICK) and (watchdog := watched()):
        watchdog.check()
        del watchdog


def server_address(connection: Any) -> str | None:
    """Return the IP address of the server behind a TCP connection; None for a Unix socket."""
    with _socket(connection) as handle:
        peer = handle.getpeername()
        return str(peer[0]) if handle.family in (socket.AF_INET, socket.AF_INET6) else None


def _socket(connection: Any) -> socket.socket:
    """Return a second handle on the connection's socket, which the caller closes."""
    return socket.socket(fileno=os.dup(connection.fileno()))
