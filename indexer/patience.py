"""How long a run waits, how often it tries, and how much it does at once."""

from __future__ import annotations

from typing import NamedTuple

from indexer.errors import Blocked, Locked

AGAIN = "Wait for it to end, then run the same command again."


class Patience(NamedTuple):
    """What the user asked for; every duration is in seconds, and None means without end.

    Attributes:
        max_wait: how long a build may wait for other sessions before it is cancelled and tried again.
        retries: how often it is tried again.
        wait_lock: how long to wait for another run that makes no progress; 0 does not wait at all.
        jobs: how many builds at once; None decides by what else the server is doing.
        offline: build plainly and fast, because nobody writes: a maintenance window or an empty database.
    """

    max_wait: float | None = None
    retries: int = 3
    wait_lock: float | None = None
    jobs: int | None = None
    offline: bool = False

    def check(self, waited: float, why: str) -> None:
        """Give up on a SQLite file that another process has held for so many seconds, if that is too long.

        Raises:
            Locked: as long as another run is waited for.
            Blocked: as long as anybody is waited for.
        """
        if self.wait_lock is not None and waited >= self.wait_lock:
            raise Locked(f"{why}.", AGAIN)
        if self.max_wait is not None and waited >= self.max_wait:
            raise Blocked(f"Gave up after {waited:.0f} s: {why}.", AGAIN)
