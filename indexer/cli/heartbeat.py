"""A file that is touched while a command runs, for the probe of a container: `up --heartbeat FILE`."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

from indexer.console.output import is_writing
from indexer.errors import UsageError
from indexer.text import visible

PERIOD = 5.0  # seconds; a probe calls the run dead after several of them
STUCK = 30.0  # seconds: a line that takes longer to write has no reader, and the run waits for one


@contextmanager
def beating(path: str) -> Iterator[None]:
    """Touch a file every few seconds until the block ends, then remove it.

    A thread touches it, because one statement of SQLite takes as long as its index, without a sign of life: a probe
    that took that for a hang would end a long build again and again. The thread stops while the output is stuck.

    Raises:
        UsageError: the file cannot be written, or holds what is no heartbeat.
    """
    _check(path)
    ended = Event()
    thread = Thread(target=_beat, args=(path, ended), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(1)
        with suppress(OSError):
            os.unlink(path)


def _beat(path: str, ended: Event) -> None:
    while not ended.wait(PERIOD):
        if not is_writing(STUCK):
            with suppress(OSError):  # a full disk, or a folder that is gone
                _touch(path)


def _check(path: str) -> None:
    """Touch the file for the first time."""
    hint = "Name a file in a folder that can be written, such as an emptyDir volume or a tmpfs."
    try:
        size = _touch(path)
    except OSError as error:
        raise UsageError(f"The heartbeat {visible(path)} cannot be written: {error.strerror}.", hint) from None
    if size != 0:
        raise UsageError(f"The heartbeat {visible(path)} is not an empty file, so it is not touched.", hint)


def _touch(path: str) -> int | None:
    """Set the time of a file to now, create it if it is missing, and return its size; None for what is no file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return None
        if not found.st_size:
            os.utime(descriptor)
        return found.st_size
    finally:
        os.close(descriptor)
