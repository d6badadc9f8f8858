"""The tests' files in memory: their databases, which are thrown away, cost half the time there."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress

MEMORY = "/dev/shm"
ROOM = 4 * 1024**3  # bytes, for the servers and files of all test processes; they take about a half


def use_memory() -> None:
    """Make temporary files in memory, where the machine has room for that; TMPDIR names another folder."""
    if "TMPDIR" not in os.environ and _has_room(MEMORY):
        os.environ["TMPDIR"] = MEMORY
        tempfile.tempdir = None  # it is found again


def _has_room(folder: str) -> bool:
    with suppress(OSError):
        found = os.statvfs(folder)
        # Programs may be copied there: those of a server that runs as another user.
        is_executable = not found.f_flag & getattr(os, "ST_NOEXEC", 0)
        return is_executable and os.access(folder, os.W_OK) and found.f_bavail * found.f_frsize >= ROOM
    return False
