"""Being asked to stop: SIGINT, SIGTERM and SIGHUP end a run in good order, a second one ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from select import select
from threading import Event, Lock, Thread, Timer
from typing import TypeVar

from indexer.errors import Interrupted

GRACE = 4.5  # seconds to clean up in; an orchestrator's patience is usually longer, a person's is not
CANCELLING = 1.0  # seconds in which a question to the server is cancelled, so that it does not work on for nobody
AT_ONCE = 0.1  # seconds; coreutils' timeout sends a signal to the process and then to its group
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last one: the terminal is gone
TOO_LONG = "Interrupted; cleaning up took too long."
HANGUP = bytes([signal.SIGHUP])
ENDED = b"\0"  # what the run itself writes where the numbers of signals are read

T = TypeVar("T")


class Stop:
    """A request to stop that a loop can look at, wait on, and select on.

    Attributes:
        signal: the one that asked.
        leaves: what stays behind if the process ends now, and how to remove it; it is told when that happens.
        at_once: nothing has been changed yet, so the process ends without waiting for the database's answer.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.leaves = ""
        self.at_once = False
        self._asked = Event()
        self._asked_at = 0.0
        self._pipe: tuple[int, int] | None = None
        self._pipe_lock = Lock()  # one thread asks, another one waits and closes
        self._on_ask: list[Callable[[], None]] = []

    def fileno(self) -> int:
        """Readable as soon as somebody asks to stop; the pipe behind it is made at the first call."""
        with self._pipe_lock:
            if self._pipe is None:
                self._pipe = os.pipe()
                if self.asked:
                    os.write(self._pipe[1], b"!")
            return self._pipe[0]

    def ask(self, number: int) -> None:
        """Ask the run to stop, because this signal came."""
        self.signal = signal.Signals(number)
        self._asked_at = time.monotonic()
        self._asked.set()
        with self._pipe_lock:
            if self._pipe is not None:
                os.write(self._pipe[1], b"!")
        for call in self._on_ask:
            call()

    def on_ask(self, call: Callable[[], None]) -> None:
        """Call this as soon as somebody asks, from another thread."""
        self._on_ask.append(call)

    @property
    def asked(self) -> bool:
        """Has somebody asked?"""
        return self._asked.is_set()

    def asked_for(self) -> float:
        """For how many seconds the request has been there, once there is one."""
        return time.monotonic() - self._asked_at

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
        return Interrupted(self.signal or signal.SIGINT, at_once=self.at_once)

    @contextmanager
    def ending_at_once(self) -> Iterator[None]:
        """End the process at the first signal meanwhile, because there is nothing to clean up."""
        before, self.at_once = self.at_once, True
        try:
            yield
        finally:
            self.at_once = before

    @contextmanager
    def leaving(self, remains: str) -> Iterator[None]:
        """Say what remains, and how to remove it, if the process ends during the block without cleaning up."""
        self.leaves = remains
        try:
            yield
        finally:
            self.leaves = ""

    def close(self) -> None:
        """Close the pipe, if there is one; ``fileno`` makes another when it is needed again."""
        with self._pipe_lock:
            pipe, self._pipe = self._pipe, None
            for end in pipe or ():
                os.close(end)

    def __del__(self) -> None:
        self.close()


def interruptible(work: Callable[[Stop], T], reading: bool = False, look: str = "") -> T:
    """Do the work in a thread of its own, so that a signal is heard whatever a database driver is doing.

    psycopg2 and sqlite3 let no signal handler run while a statement does (psycopg/psycopg2#333); the main thread,
    which only waits here, always can, as long as the driver gives the interpreter's lock back while it waits.

    Args:
        reading: the work changes nothing, and is left where it is when a signal comes.
        look: what to type to see how things are, said where cleaning up took too long.
    """
    stop = Stop()
    stop.at_once = reading
    results: list[T] = []
    errors: list[BaseException] = []

    def do() -> None:
        try:
            results.append(work(stop))
        except BaseException as error:
            errors.append(error)
        finally:
            os.write(telling, ENDED)

    heard, telling = os.pipe()
    with _hearing(telling):
        thread = Thread(target=do, name="run", daemon=True)
        thread.start()
        is_done = _supervise(stop, heard, look)
        if not is_done:
            thread.join(CANCELLING)  # still heeding signals: the same one, sent twice, would end all without a word
    if not is_done:  # the pipe stays open: the thread may still write to it
        said = [error for error in errors if isinstance(error, Interrupted)]
        raise said[0] if said else Interrupted(stop.signal or signal.SIGINT, at_once=True)
    thread.join()
    for each in (heard, telling):
        os.close(each)
    stop.close()
    if errors and stop.asked and not isinstance(errors[0], Interrupted):
        raise stop.interruption() from errors[0]  # what was cancelled, or cut off, has failed because of the signal
    if errors:
        raise errors[0]
    return results[0]


def heeded() -> list[signal.Signals]:
    """Return the signals that end a run: not those that nohup, or a shell for a job in the background, ignores."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def _hearing(telling: int) -> Iterator[None]:
    """Write the number of each signal that comes to this end of a pipe.

    A handler in Python would run in the main thread, which the kernel does not wake when it gives the signal to
    another (Python manual, signal.set_wakeup_fd): of two at once both were lost, and rarely one alone.
    """
    os.set_blocking(telling, False)
    previous = {number: signal.signal(number, lambda *_: None) for number in heeded()}
    previous_telling = signal.set_wakeup_fd(telling)
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous_telling)
        for number, handler in previous.items():
            signal.signal(number, handler)


def _supervise(stop: Stop, heard: int, look: str) -> bool:
    """Wait for the end; hand a first signal on, and end the process at a second or when cleaning up takes too long.

    Returns whether the work has ended; else it is to be left where it is.
    """
    first = os.read(heard, 1)
    if first == ENDED:
        return True
    stop.ask(ord(first))
    if stop.at_once:
        return False
    timer = Timer(GRACE, lambda: _end_at_once(ord(first), f"{TOO_LONG} {stop.leaves or look}"))
    timer.daemon = True
    timer.start()
    second = _another(heard, first)
    timer.cancel()
    if second != ENDED:
        _end_at_once(ord(second), stop.leaves)
    return True


def _another(heard: int, first: bytes) -> bytes:
    """What comes next; the same signal at once is the first one, sent twice.

    A SIGHUP is never insistence: systemd may send one after SIGTERM, and both kernel and shell when a terminal closes.
    """
    deadline = time.monotonic() + AT_ONCE
    while (following := os.read(heard, 1)) == HANGUP or (following == first and time.monotonic() < deadline):
        pass
    return following


def _end_at_once(number: int, told: str) -> None:
    """End the process without any cleaning up."""
    with suppress(OSError, AttributeError):  # there may be no stderr
        descriptor = sys.stderr.fileno()
        if told and select([], [descriptor], [], 0)[1]:  # a pipe that nobody reads would hold us up for ever
            os.write(descriptor, f"Error: {told}\n".encode(errors="replace"))
    os._exit(128 + number)
