"""The thread that reads the database again and again, whatever is asked of the service meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

from indexer.service.snapshot import INTERVAL, NO_QUERIES, SLOW_INTERVAL, Snapshot, State, failure_of

Tell = Callable[[BaseException], None]


class Refresher(Thread):
    """Reads the database every few seconds, and keeps what was read last.

    Args:
        reader: a ``Reader``.
        tell: called with each new failure.
        recovered: called with the seconds for which the database could not be read, when it can be read again.
        interval: how many seconds from one read to the next.

    Attributes:
        snapshot: what was read last; replaced as a whole.
    """

    def __init__(self, reader: Any, tell: Tell, recovered: Callable[[float], None], interval: float = INTERVAL) -> None:
        super().__init__(name="refresher", daemon=True)
        self.snapshot = Snapshot(interval)
        self.reader = reader
        self.tell = tell
        self.recovered = recovered
        self._ending = Event()
        self._read_at: float | None = None
        self._said = ""
        self._said_of_care = ""
        self._care_read = float("-inf")
        self._seen: object = None

    def end(self, within: float) -> None:
        """Let the thread end; wait for it no longer than so many seconds."""
        self._ending.set()
        self.join(within)

    def run(self) -> None:
        """Read until the end is asked for, after a failure every few seconds; rest at least as long as reading took."""
        while not self._ending.is_set():
            started = time.monotonic()
            self.refresh()
            took = time.monotonic() - started
            interval = self.snapshot.interval
            self._ending.wait(max((min(interval, INTERVAL) if self.snapshot.failure else interval) - took, took))
        self.reader.close()

    def read_all_again(self) -> None:
        """Let the next refresh read sizes, use and queries, too."""
        self._care_read = float("-inf")

    def refresh(self) -> None:
        """Read the state and, if it is time to, the rest."""
        began = time.monotonic()
        try:
            state = self.reader.state()
        except Exception as error:
            self._fail(error, began)
            return
        now = time.monotonic()
        if self._said:
            self.recovered(now - (self._read_at or now))
        self._read_at, self._said = now, ""
        self.snapshot = self.snapshot._replace(state=state, failure=None)
        if self._is_due(state):
            self._refresh_care(state)

    def _is_due(self, state: State) -> bool:
        """Return whether to read sizes, use and queries: every minute, and whenever an index has changed."""
        return time.monotonic() - self._care_read >= SLOW_INTERVAL or _states(state) != self._seen

    def _refresh_care(self, state: State) -> None:
        self._care_read, self._seen = time.monotonic(), _states(state)
        try:
            care = self.reader.care()
        except Exception as error:
            failed: Exception | None = error
        else:
            failed = care.error
            self.snapshot = self.snapshot._replace(care=care)
        failure = failure_of(failed, NO_QUERIES) if failed else None
        if failed and failure and failure.message != self._said_of_care:
            self.tell(failed)
        self._said_of_care = failure.message if failure else ""
        self.snapshot = self.snapshot._replace(care_failure=failure)

    def _fail(self, error: Exception, began: float) -> None:
        """Tell a failure unless it has been told; an outage begins with the last good read, or with the first one."""
        self.read_all_again()
        failure = failure_of(error)
        self.snapshot = self.snapshot._replace(failure=failure)
        self._read_at = began if self._read_at is None else self._read_at
        if failure.message not in (self._said, self._said_of_care):
            self.tell(error)
        self._said = failure.message


def _states(state: State) -> object:
    """Return what has changed when an index is built or dropped."""
    return [(step.index.name, step.state) for step in state.check.status.steps]
