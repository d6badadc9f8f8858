"""Signals: SIGINT, SIGTERM and SIGHUP end a run in good order; a second one ends it at once."""

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

GRACE = 4.5  # seconds to clean up in; orchestrators usually wait longer, users do not
CANCELLING = 1.0  # seconds to cancel a query in, so that the server does not work on in vain
AT_ONCE = 0.1  # seconds; coreutils' timeout sends a signal to the process and then to its group
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last one: the terminal is gone
TOO_LONG = "Interrupted; cleaning up took too long."
HANGUP = bytes([signal.SIGHUP])
ENDED = b"\0"  # what the thread of the run writes into the pipe of the signals' numbers

T = TypeVar("T")
Words = Callable[[str], str]


class Stop:
    """A request to stop, which a loop can check, wait for, and select on.

    Attributes:
        signal: the signal that asked.
        leaves: what remains if the process ends now, and how to remove it; written to stderr when that happens.
        at_once: whether nothing has been changed yet, so that the process ends without waiting for the database.
    """

    def __init__(self, at_once: bool = False) -> None:
        self.signal: signal.Signals | None = None
        self.leaves = ""
        self.at_once = at_once
        self._asked = Event()
        self._asked_at = 0.0
        self._pipe: tuple[int, int] | None = None
        self._pipe_lock = Lock()  # one thread asks, another one waits and closes
        self._on_ask: list[Callable[[], None]] = []
        self._branches: list[Stop] = []

    def fileno(self) -> int:
        """Return a descriptor that is readable once a stop is asked for; the first call creates its pipe."""
        with self._pipe_lock:
            if self._pipe is None:
                self._pipe = os.pipe()
                if self.asked:
                    os.write(self._pipe[1], b"!")
            return self._pipe[0]

    def ask(self, number: int) -> None:
        """Ask the run to stop, because this signal arrived."""
        self.signal = signal.Signals(number)
        self._asked_at = time.monotonic()
        self._asked.set()
        with self._pipe_lock:
            if self._pipe is not None:
                os.write(self._pipe[1], b"!")
        for call in list(self._on_ask):
            call()
        for branch in list(self._branches):
            branch.ask(number)

    @contextmanager
    def branch(self) -> Iterator[Stop]:
        """Yield the stop of one of several threads, which is asked for when this one is, until the block ends."""
        branch = Stop(self.at_once)
        self._branches.append(branch)
        if self.signal is not None:
            branch.ask(self.signal)
        try:
            yield branch
        finally:
            self._branches.remove(branch)
            branch.close()

    @property
    def remains(self) -> str:
        """What remains if the process ends now, also of the other threads."""
        return " ".join(filter(None, (self.leaves, *(each.leaves for each in list(self._branches)))))

    def on_ask(self, call: Callable[[], None]) -> None:
        """Call a function, from another thread, as soon as a stop is asked for."""
        self._on_ask.append(call)

    @property
    def asked(self) -> bool:
        """Whether a stop is asked for."""
        return self._asked.is_set()

    def asked_for(self) -> float:
        """Return the seconds since the stop was asked for."""
        return time.monotonic() - self._asked_at

    def check(self) -> None:
        """Raise Interrupted if a stop is asked for."""
        if self.asked:
            raise self.interruption()

    def sleep(self, seconds: float) -> None:
        """Sleep; raise Interrupted as soon as a stop is asked for."""
        self._asked.wait(seconds)
        self.check()

    def interruption(self) -> Interrupted:
        """Return the error that a stopped run ends with."""
        return Interrupted(self.signal or signal.SIGINT, at_once=self.at_once)

    @contextmanager
    def ending_at_once(self) -> Iterator[None]:
        """End the process at the first signal until the block ends, because there is nothing to clean up."""
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
        """Close the pipe, if there is one; ``fileno`` creates another one when needed."""
        with self._pipe_lock:
            pipe, self._pipe = self._pipe, None
            for end in pipe or ():
                os.close(end)

    def __del__(self) -> None:
        self.close()


def interruptible(
    work: Callable[[Stop], T], reading: bool = False, look: str = "", last_words: Words = "Error: {}".format
) -> T:
    """Do the work in another thread and return its result; signals end it, whatever a database driver is doing.

    psycopg2 and sqlite3 let no signal handler run during a statement (psycopg/psycopg2#333). The main thread only waits
    here, so it always can, as long as the driver releases the interpreter's lock while it waits.

    Args:
        reading: whether the work changes nothing, so that a signal need not wait for it.
        look: the next step if cleaning up takes too long.
        last_words: returns the line to write on stderr where the process has to end without cleaning up.

    Raises:
        Interrupted: a signal ended the work.
    """
    stop = Stop(at_once=reading)
    results: list[T] = []
    errors: list[BaseException] = []

    def do() -> None:
        try:
            results.append(work(stop))
        except BaseException as error:
            errors.append(error)
        finally:
            os.write(writing, ENDED)

    numbers, writing = os.pipe()
    with _signals_into(writing):
        thread = Thread(target=do, name="run", daemon=True)
        thread.start()
        is_done = _supervise(stop, numbers, look, last_words)
        if not is_done:
            thread.join(CANCELLING)  # with our handlers: the same signal, sent twice, would end the process silently
    if not is_done:  # the pipe stays open: the thread may still write to it
        interruptions = [error for error in errors if isinstance(error, Interrupted)]
        raise interruptions[0] if interruptions else Interrupted(stop.signal or signal.SIGINT, at_once=True)
    thread.join()
    for each in (numbers, writing):
        os.close(each)
    stop.close()
    if errors and stop.asked and not isinstance(errors[0], Interrupted):
        raise stop.interruption() from errors[0]  # a cancelled statement fails because of the signal
    if errors:
        raise errors[0]
    return results[0]


@contextmanager
def _signals_into(pipe: int) -> Iterator[None]:
    """Write the number of each signal into a pipe until the block ends.

    A handler in Python would run in the main thread, which the kernel does not wake when it gives the signal to another
    thread (Python manual, signal.set_wakeup_fd): two signals at once were lost, and rarely a single one.
    """
    os.set_blocking(pipe, False)
    # nohup, or a shell for a background job, may have some ignored
    obeyed = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, lambda *_: None) for number in obeyed}
    previous_pipe = signal.set_wakeup_fd(pipe)
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous_pipe)
        for number, handler in previous.items():
            signal.signal(number, handler)


def _supervise(stop: Stop, numbers: int, look: str, last_words: Words) -> bool:
    """Wait for the end of the work; pass the first signal on; end the process at the second one or after ``GRACE``.

    Return whether the work has ended; if not, it is not waited for.
    """
    first = os.read(numbers, 1)
    if first == ENDED:
        return True
    stop.ask(ord(first))
    if stop.at_once:
        return False
    timer = Timer(GRACE, lambda: _end_at_once(ord(first), last_words(f"{TOO_LONG} {stop.remains or look}")))
    timer.daemon = True
    timer.start()
    second = _second(numbers, first)
    timer.cancel()
    if second != ENDED:
        _end_at_once(ord(second), last_words(stop.remains) if stop.remains else "")
    return True


def _second(numbers: int, first: bytes) -> bytes:
    """Return the next number; the same signal at once is the first one, sent twice.

    A SIGHUP does not count: systemd may send one after SIGTERM, and both kernel and shell when a terminal closes.
    """
    deadline = time.monotonic() + AT_ONCE
    while (following := os.read(numbers, 1)) == HANGUP or (following == first and time.monotonic() < deadline):
        pass
    return following


def _end_at_once(number: int, message: str) -> None:
    """End the process without cleaning up."""
    with suppress(OSError, AttributeError):  # there may be no stderr
        descriptor = sys.stderr.fileno()
        if message and select([], [descriptor], [], 0)[1]:  # a full pipe that is not read would block for ever
            os.write(descriptor, f"{message}\n".encode(errors="replace"))
    os._exit(128 + number)
