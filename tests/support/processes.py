"""Processes that run ``python cli.py``: started as a user does, or forked by the zygote in a tenth of the time."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from select import select
from signal import SIGKILL
from typing import IO
from urllib.parse import quote

import zygote
from zygote import CLI, LENGTH

# Variables that Python reads when it starts: a fork would not see a change of them.
READ_AT_THE_START = ("PYTHON", "LC_", "LANG", "MALLOC_")


def start(
    arguments: Sequence[str],
    cwd: str,
    environment: dict[str, str],
    stdout: int,
    stderr: int,
    really: bool = False,
    before: Callable[[], None] | None = None,
) -> Process:
    """Start the command line with these descriptors for its output; its input is empty.

    ``before`` is called in the new process before the program is.
    """
    if (
        really
        or before
        or _is_new(arguments)
        or _settings_of_python(environment) != _settings_of_python(dict(os.environ))
    ):
        command = [sys.executable, CLI, *arguments]
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            preexec_fn=before,
        )
    with open(os.devnull, "rb") as empty:
        return Fork(_zygote(), arguments, cwd, environment, [empty.fileno(), stdout, stderr])


def _is_new(arguments: Sequence[str]) -> bool:
    """Return whether no such command ran before in these tests: one run of each is a real start."""
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    if command in _started:
        return False
    _started.add(command)
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    return run is None or _is_first(_started_by_all(run) / quote(command, safe=""))


def _is_first(file: Path) -> bool:
    """Return whether no other test process has created a file."""
    with suppress(FileExistsError):
        file.touch(exist_ok=False)
        return True
    return False


@functools.cache
def _started_by_all(run: str) -> Path:
    """Return the folder in which the test processes of one run note what they have started."""
    folder = Path(tempfile.gettempdir()) / f"started-by-tests-{run}"
    folder.mkdir(exist_ok=True)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


_started: set[str] = set()


def _settings_of_python(environment: dict[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_AT_THE_START) and name != "PYTHONDONTWRITEBYTECODE"
    }


@functools.cache
def _zygote() -> socket.socket:
    """Start the zygote of this process, and return the socket for requests; closing it ends the zygote."""
    parent_end, child_end = socket.socketpair()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, zygote.__file__, str(child_end.fileno())]
    with child_end:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment, pass_fds=[child_end.fileno()]
        )
    atexit.register(process.wait, 10)
    atexit.register(parent_end.close)
    return parent_end


class Fork:
    """A fork of the zygote with the methods of subprocess.Popen that the tests use."""

    def __init__(
        self,
        zygote: socket.socket,
        arguments: Sequence[str],
        cwd: str,
        environment: dict[str, str],
        streams: list[int],
    ) -> None:
        asked = {"program": str(CLI), "arguments": list(arguments), "cwd": cwd, "env": environment}
        request = json.dumps(asked).encode()
        reader, writer = os.pipe()
        self._report: IO[bytes] = open(reader, "rb", buffering=0)  # noqa: SIM115
        socket.send_fds(zygote, [LENGTH.pack(len(request))], [*streams, writer])
        os.close(writer)
        zygote.sendall(request)
        self.returncode: int | None = None
        self.pid = int(self._report.readline())

    def poll(self) -> int | None:
        """Return the exit code, None while it runs, and as a negative number the signal that ended it."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return the exit code."""
        if self._look(timeout) is None:
            raise subprocess.TimeoutExpired(["cli.py"], timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select([self._report], [], [], timeout)[0]:
            status = self._report.readline()
            assert status, "the zygote has ended"
            self.returncode = os.waitstatus_to_exitcode(int(status))
            self._report.close()
        return self.returncode


Process = subprocess.Popen | Fork
