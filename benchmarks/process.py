"""Run a command as a user would, and measure its wall time, processor time and peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent

# A small process starts the command: Linux adds the memory of the parent of a new process to the peak memory of that
# process (setmax_mm_hiwater_rss in fs/exec.c), and this process has loaded a lot.
LAUNCHER = """
import json, os, sys, time
started = time.monotonic()
output = [(os.POSIX_SPAWN_DUP2, 2, 1)]
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=output)
_, status, usage = os.wait4(pid, 0)
ended = time.monotonic()
processor = usage.ru_utime + usage.ru_stime
print(json.dumps([os.waitstatus_to_exitcode(status), started, ended, processor, usage.ru_maxrss]))
"""

KIBIBYTES = 1024 if sys.platform != "darwin" else 1  # macOS counts ru_maxrss in bytes
# Without bytecode on disk each start would compile the project, but not the libraries of the other tools.
NOT_HANDED_ON = ("DATABASE_URL", "MIGRATION_DATABASE_URL", "PYTHONDONTWRITEBYTECODE")


class CommandFailed(Exception):
    """A command ended with another exit code than 0, or with another result than it should have."""


@dataclass(frozen=True)
class Commands:
    """The commands that build the indexes and that drop them, their folder, and variables of their environment."""

    forward: Sequence[str]
    rollback: Sequence[str]
    folder: Path = PROJECT
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One run of a command. ``started`` and ``ended`` are of the monotonic clock, the same in all processes."""

    started: float
    ended: float
    processor_seconds: float
    peak_bytes: int

    @property
    def seconds(self) -> float:
        """Wall time."""
        return self.ended - self.started

    def as_json(self) -> dict[str, float]:
        """Return the raw numbers."""
        return {
            "seconds": round(self.seconds, 4),
            "processor_seconds": round(self.processor_seconds, 4),
            "peak_bytes": self.peak_bytes,
        }


def run(command: Sequence[str], folder: Path = PROJECT, environment: Mapping[str, str] | None = None) -> Run:
    """Run a command in a folder, to its end.

    Raises:
        CommandFailed: with the output of the command.
    """
    kept = {name: value for name, value in os.environ.items() if name not in NOT_HANDED_ON}
    with tempfile.TemporaryFile("w+") as output:
        launched = subprocess.run(  # noqa: S603  the commands are our own
            [sys.executable, "-I", "-S", "-c", LAUNCHER, *command],
            cwd=folder,
            env={**kept, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            check=False,
        )
        output.seek(0)
        written = output.read()
    if launched.returncode:
        raise CommandFailed(f"{command[0]} cannot be started:\n{written}")
    exit_code, started, ended, processor, peak = json.loads(launched.stdout)
    if exit_code:
        raise CommandFailed(f"{' '.join(command)} ended with {exit_code}:\n{written}")
    return Run(started, ended, processor, peak * KIBIBYTES)
