"""The example application: it starts when, and only when, the gate of its indexes is open."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from command import CLI, execute
from scenes import assert_all_valid, open_writer, until

FOLDER = CLI.parent / "examples" / "application"
START, GATE = str(FOLDER / "start.py"), str(FOLDER / "gate.py")
BLOCKED = "another client"  # the name of the session that up waits for
UP = (sys.executable, str(CLI), "up")
MAYA = "INSERT INTO contact (first_name, last_name, phone) VALUES ('Maya', 'Lind', '+15550100')"


# No port that a client gets: one that asks there before anything listens could be connected to itself.
PORTS = range(20_000, 30_000)


def free_port() -> int:
    """Return a port on which nothing listens."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as server, suppress(OSError):
            server.bind(("127.0.0.1", port))
            return port


class Replica:
    """A replica of the application, with a process group for its container: what starts it, and what it is then."""

    def __init__(self, url: str, *command: str) -> None:
        self.port = free_port()
        given = {"DATABASE_URL": url, "PORT": str(self.port), "PYTHONPATH": str(CLI.parent)}
        self.process = subprocess.Popen(
            [sys.executable, START, *command],
            env={**os.environ, **given},
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as output:
            self.lines.extend(output)

    def get(self, path: str) -> tuple[int, Any] | None:
        """Return the status and the document of an answer; None while nothing listens."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.load(answer)
        except ConnectionRefusedError:
            return None
        finally:
            connection.close()

    def says(self, text: str) -> None:
        """Wait until it writes this."""
        until(lambda: any(text in line for line in list(self.lines)), text)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal to the first process, as a container engine does, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def kill(self) -> None:
        """Kill all its processes, as the end of the first process does in a container."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()


@contextmanager
def replica(url: str, *command: str) -> Iterator[Replica]:
    """Start a replica that runs a command first, and kill it at the end of the block."""
    started = Replica(url, *command)
    try:
        yield started
    finally:
        started.kill()


def test_replicas_that_run_up_start_when_the_indexes_are_built_also_if_the_one_that_builds_is_killed(
    base_url: str,
) -> None:
    execute(base_url, MAYA)
    with open_writer(base_url) as writer, replica(base_url, *UP) as first:
        first.says(BLOCKED)
        with replica(base_url, *UP) as second:
            second.says("another run")
            first.kill()
            second.says(BLOCKED)  # now it is the one that builds
            with replica(base_url, *UP) as third:
                third.says("another run")
                assert (second.get("/healthz"), third.get("/healthz")) == (None, None)
                writer.end()
                for each in (second, third):
                    assert until(lambda each=each: each.get("/healthz")) == (200, {"database": "answers"})
                    assert_all_valid(base_url)
                found = {"contact": "Maya Lind", "opted_out": False, "conversations": []}
                assert third.get("/calls?phone=%2B15550100") == (200, found)
                assert third.end(signal.SIGTERM) == 143


def test_an_application_does_not_start_after_a_command_that_fails(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/crm.db"
    with replica(url, sys.executable, "-c", "import sys; sys.exit(4)") as failed:
        assert failed.process.wait(30) == 4
    with replica(url, sys.executable, "-c", "import os; os.kill(os.getpid(), 9)") as killed:
        assert killed.process.wait(30) == 137


def test_a_signal_ends_the_command_and_an_application_that_still_starts(tmp_path: Path) -> None:
    url, forever = f"sqlite:///{tmp_path}/crm.db", "import time; print('begun', flush=True); time.sleep(60)"
    with replica(url, sys.executable, "-c", forever) as waiting:
        waiting.says("begun")
        assert waiting.end(signal.SIGTERM) == 143
    with replica(url, sys.executable, "-c", "print('done')") as starting:
        starting.says("done")
        assert starting.end(signal.SIGTERM) == 143


class Gate(BaseHTTPRequestHandler):
    """Answers as /gate does: with 503 and a reason while it is closed."""

    is_open = threading.Event()

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200 if self.is_open.is_set() else 503)
        self.end_headers()
        self.wfile.write(b"" if self.is_open.is_set() else b'{"open": false, "reason": "Revision a is pending."}')

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def test_the_gate_says_once_why_it_waits_and_ends_when_it_is_open() -> None:
    with HTTPServer(("127.0.0.1", 0), Gate) as server:
        threading.Thread(target=server.serve_forever).start()
        command = [sys.executable, GATE, f"http://127.0.0.1:{server.server_port}/gate"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
            assert waiting.stdout
            assert waiting.stdout.readline() == f"Waiting for {command[-1]}: Revision a is pending.\n"
            Gate.is_open.set()
            assert waiting.communicate() == ("The gate is open.\n", None)
            assert waiting.returncode == 0
        server.shutdown()


def test_the_gate_waits_for_a_service_that_does_not_answer_yet_and_obeys_sigterm() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        command = [sys.executable, GATE, f"http://127.0.0.1:{unused.getsockname()[1]}/gate"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
            assert waiting.stdout
            assert waiting.stdout.readline() == f"Waiting for {command[-1]}: Connection refused\n"
            waiting.terminate()
            assert waiting.wait(30) == 143
