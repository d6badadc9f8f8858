"""Running one command as a user would, and what it took: wall time, processor time, peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# A small process starts the command, because Linux counts what the parent of a new process occupies towards the
# peak memory of that process (setmax_mm_hiwater_rss in fs/exec.c), and this one has loaded a lot.
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
OURS = ("DATABASE_URL", "MIGRATION_DATABASE_URL")


class CommandFailed(Exception):
    """A command ended with another exit code than 0."""


@dataclass(frozen=True)
class Run:
    """What a command took. ``started`` and ``ended`` are moments of the monotonic clock, the same in all processes."""

    started: float
    ended: float
    processor_seconds: float
    peak_bytes: int

    @property
    def seconds(self) -> float:
        """Wall time."""
        return self.ended - self.started

    def as_json(self) -> dict[str, float]:
        """The raw numbers."""
        return {
            "seconds": round(self.seconds, 4),
            "processor_seconds": round(self.processor_seconds, 4),
            "peak_bytes": self.peak_bytes,
        }


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Run:
    """Run a command in a folder, to its end.

    Raises:
        CommandFailed: with what it wrote.
    """
    with tempfile.TemporaryFile("w+") as output:
        launched = subprocess.run(  # noqa: S603  the commands are ours
            [sys.executable, "-I", "-S", "-c", LAUNCHER, *command],
            cwd=folder,
            env=_environment(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            check=False,
        )
        output.seek(0)
        written = output.read()
    if launched.returncode:
        raise CommandFailed(f"{command[0]} could not be started:\n{written}")
    exit_code, started, ended, processor, peak = json.loads(launched.stdout)
    if exit_code:
        raise CommandFailed(f"{' '.join(command)} ended with {exit_code}:\n{written}")
    return Run(started, ended, processor, peak * KIBIBYTES)


def _environment(additions: Mapping[str, str]) -> dict[str, str]:
    """Ours, without the variables that would tell the commands where to work."""
    return {**{name: value for name, value in os.environ.items() if name not in OURS}, **additions}
