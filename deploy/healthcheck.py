"""Exit with 0 if the command of this container is healthy, else with 1 and the reason: for Docker and for Kubernetes.

``serve`` is healthy if /livez answers. ``up --heartbeat FILE`` is healthy if it has touched the file lately. Any other
command is healthy while it runs: its exit code says how it ended. So is what a script runs after ``up``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise

MOST_SECONDS = 60  # between two heartbeats
TIMEOUT = 3  # seconds for /livez
EVERY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 - nothing is bound here
DEFAULT_PORT = 8080
PROGRAMS = ("cli.py", "indexer")


def problem(
    command: Sequence[str], environment: Mapping[str, str], processes: Iterable[Sequence[str]] = ()
) -> str | None:
    """Return why a command is not healthy; None if it is.

    Args:
        command: the program and its arguments, after which comes what a script of the container may run.
        environment: the variables that it was started with.
        processes: the program and the arguments of each process of the container.
    """
    arguments = arguments_in(command)
    if arguments[:1] == ["serve"]:
        host = value("serve", "host", arguments, environment)
        port = value("serve", "port", arguments, environment)
        address = "127.0.0.1" if host in EVERY_ADDRESS else host
        return problem_of_service(address, int(port) if port.isdigit() else DEFAULT_PORT)
    heartbeat = value("up", "heartbeat", arguments, environment)
    return problem_of_run(heartbeat, processes) if heartbeat and arguments[:1] == ["up"] else None


def arguments_in(command: Sequence[str]) -> list[str]:
    """Return the arguments of the program in a command line, which an init or a script may begin."""
    for place, each in enumerate(command):
        if os.path.basename(each) in PROGRAMS:
            return list(command[place + 1 :])
    return []


def value(name: str, option: str, arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the value of an option of the command ``name``: as typed last, else of a variable, else an empty text."""
    typed = [after for argument, after in pairwise(arguments) if argument == f"--{option}"]
    typed += [each.partition("=")[2] for each in arguments if each.startswith(f"--{option}=")]
    if typed:
        return typed[-1]
    variables = (f"INDEXER_{name}_{option}".upper(), f"INDEXER_{option}".upper())
    given = (environment.get(variable, "") for variable in variables)
    return next((each for each in given if each and "://" not in each), "")  # such as Kubernetes sets for a Service


def problem_of_service(host: str, port: int) -> str | None:
    """Return why a service is not healthy; None if /livez answers with 200."""
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/livez", headers={"Host": "localhost"})
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return f"Port {port} of {host} does not answer: {error}."
    finally:
        connection.close()
    return None if status == 200 else f"Port {port} of {host} answers /livez with {status}."


def problem_of_run(heartbeat: str, processes: Iterable[Sequence[str]]) -> str | None:
    """Return why a run is not healthy; None if it has touched its file within MOST_SECONDS, or has ended."""
    try:
        age = time.time() - os.stat(heartbeat).st_mtime
    except OSError as error:
        is_running = any(arguments_in(each[:3]) == ["up"] for each in processes)  # not a script that only names it
        return f"{heartbeat} cannot be read: {error.strerror}." if is_running else None
    return None if age <= MOST_SECONDS else f"{heartbeat} was last touched {age:.0f} seconds ago."


def processes_here() -> Iterator[list[str]]:
    """Yield the program and the arguments of each process of this container."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # it has ended meanwhile
            yield command_of(int(pid))


def command_of(pid: int) -> list[str]:
    """Return the program and the arguments of a process."""
    with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="surrogateescape") as file:
        return file.read().split("\0")[:-1]


if __name__ == "__main__":
    sys.exit(problem(command_of(1), os.environ, processes_here()))
