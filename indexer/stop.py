"""Being asked to stop: SIGINT and SIGTERM end a run in good order, a second one ends it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

from indexer.errors import Interrupted

GRACE = 4.5  # seconds to clean up in; an orchestrator's patience is usually longer, a person's is not
SIGNALS = (signal.SIGINT, signal.SIGTERM)

T = TypeVar("T")


class Stop:
    """A request to stop that a loop can look at, wait on, and select on."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._asked = threading.Event()
        self._reader, self._writer = os.pipe()
        self._on_ask: list[Callable[[], None]] = []

    def fileno(self) -> int:
        """Readable as soon as somebody asks to stop."""
        return self._reader

    def ask(self, number: int) -> None:
        """Ask the run to stop, because this signal came."""
        self.signal = signal.Signals(number)
        self._asked.set()
        os.write(self._writer, b"!")
        for call in self._on_ask:
            call()

    def on_ask(self, call: Callable[[], None]) -> None:
        """Call this as soon as somebody asks, from another thread."""
        self._on_ask.append(call)

    @property
    def asked(self) -> bool:
        """Has somebody asked?"""
        return self._asked.is_set()

    def check(self) -> None:
        """Raises Interrupted when somebody has asked."""
        if self.asked:
            raise self.interruption()

    def sleep(self, seconds: float) -> None:
        """Sleep, but not through a request; raises Interrupted then."""
        self._asked.wait(seconds)
        self.check()

    def interruption(self) -> Interrupted:
        """The error that a stopped run ends with."""
        return Interrupted(self.signal or signal.SIGINT)

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._reader)
        os.close(self._writer)


def interruptible(work: Callable[[Stop], T]) -> T:
    """Do the work in a thread of its own, so that a signal is heard whatever a database driver is doing.

    psycopg2 and sqlite3 let no signal handler run while a statement does (psycopg/psycopg2#333); the main thread,
    which only waits here, always can.
    """
    stop = Stop()
    results: list[T] = []
    errors: list[BaseException] = []

    def hear(number: int, frame: FrameType | None) -> None:
        if stop.asked:
            os._exit(128 + number)
        timer = threading.Timer(GRACE, _give_up, [number])
        timer.daemon = True
        timer.start()
        stop.ask(number)

    def do() -> None:
        try:
            results.append(work(stop))
        except BaseException as error:
            errors.append(error)

    previous = {number: signal.signal(number, hear) for number in SIGNALS}
    try:
        thread = threading.Thread(target=do, name="run", daemon=True)
        thread.start()
        thread.join()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        stop.close()
    if errors:
        raise errors[0]
    return results[0]


def _give_up(number: int) -> None:
    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), b"Error: Interrupted; cleaning up took too long. Next: python cli.py status\n")
    os._exit(128 + number)
