"""What is done once in a while inside a loop."""

from __future__ import annotations

import time


class Interval:
    """An interval of so many seconds, after which something is done again."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends = float("-inf")

    def has_ended(self) -> bool:
        """Return whether it has ended, and if so begin the next one. The first call returns True."""
        now = time.monotonic()
        if now < self._ends:
            return False
        self._ends = now + self._seconds
        return True
