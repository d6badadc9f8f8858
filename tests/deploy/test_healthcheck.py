"""deploy/healthcheck.py, which Docker and Kubernetes run: it tells a healthy command from one that hangs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from command import CLI

FILE = CLI.parent / "deploy" / "healthcheck.py"
PROGRAM = ["/opt/venv/bin/python", "/app/cli.py"]


@pytest.fixture(scope="module")
def healthcheck() -> Any:
    """Return the module."""
    spec = spec_from_file_location("healthcheck", FILE)
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def answering(status: int) -> Iterator[int]:
    """Yield the port of a server that answers /livez on localhost with this status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_right = (self.path, self.headers["Host"]) == ("/livez", "localhost")
            self.send_response(status if is_right else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_service_is_healthy_if_it_answers_wherever_its_port_is_given(healthcheck: Any) -> None:
    with answering(200) as port:
        assert healthcheck.problem([*PROGRAM, "serve", "--port", str(port)], {}) is None
        assert healthcheck.problem([*PROGRAM, "serve", "--host", "0.0.0.0", f"--port={port}"], {}) is None
        assert healthcheck.problem([*PROGRAM, "serve"], {"INDEXER_PORT": str(port)}) is None
        variables = {"INDEXER_SERVE_PORT": str(port), "INDEXER_PORT": "tcp://10.0.0.7:8080"}
        assert healthcheck.problem([*PROGRAM, "serve"], variables) is None
    assert "does not answer" in healthcheck.problem([*PROGRAM, "serve", "--port", str(port)], {})


def test_a_service_that_answers_with_an_error_is_not_healthy(healthcheck: Any) -> None:
    with answering(500) as port:
        command = [*PROGRAM, "serve", "--port", str(port)]
        assert healthcheck.problem(command, {}) == f"Port {port} of 127.0.0.1 answers /livez with 500."


def test_a_run_is_healthy_while_its_heart_beats(healthcheck: Any, tmp_path: Path) -> None:
    heartbeat = tmp_path / "heartbeat"
    command = [*PROGRAM, "up", "--heartbeat", str(heartbeat)]
    assert healthcheck.problem(command, {}, [command]) == f"{heartbeat} cannot be read: No such file or directory."
    heartbeat.touch()
    assert healthcheck.problem(command, {}) is None
    assert healthcheck.problem([*PROGRAM, "up"], {"INDEXER_HEARTBEAT": str(heartbeat)}) is None
    long_ago = time.time() - 90
    os.utime(heartbeat, (long_ago, long_ago))
    assert healthcheck.problem(command, {}) == f"{heartbeat} was last touched 90 seconds ago."


def test_what_a_script_runs_after_up_is_healthy(healthcheck: Any, tmp_path: Path) -> None:
    run = [*PROGRAM, "up", "--heartbeat", str(tmp_path / "gone")]
    script = ["python", "/srv/start.py", *run]
    assert "cannot be read" in healthcheck.problem(script, {}, [script, run])
    assert healthcheck.problem(script, {}, [script, ["python", "/srv/app.py"]]) is None


def test_the_command_is_the_first_word_after_the_program_and_the_last_value_counts(healthcheck: Any) -> None:
    assert healthcheck.problem([*PROGRAM, "check", "--schema", "serve"], {}) is None
    with answering(200) as port:
        command = ["/sbin/docker-init", "--", *PROGRAM, "serve", "--port", "1", "--port", str(port)]
        assert healthcheck.problem(command, {}) is None
        assert healthcheck.value("serve", "port", ["serve", "--port"], {}) == ""


def test_any_other_command_is_healthy_while_it_runs(healthcheck: Any) -> None:
    assert healthcheck.problem([*PROGRAM, "check", "--deep"], {"INDEXER_HEARTBEAT": "/tmp/none"}) is None
    assert healthcheck.problem([*PROGRAM, "up"], {}) is None


def test_the_command_line_is_read_as_the_kernel_gives_it(healthcheck: Any) -> None:
    arguments = ["-c", "print(flush=True); input()", "serve", "--host", ""]
    with subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()  # now it is that program
        assert healthcheck.command_of(process.pid)[1:] == arguments
        assert arguments in [command[1:] for command in healthcheck.processes_here()]
        process.communicate(b"\n")
