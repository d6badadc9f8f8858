"""Exit with 0 if the command of this container is healthy, else with 1 and the reason: for Docker and for Kubernetes.

``serve`` is healthy if /livez answers. ``up --heartbeat FILE`` is healthy if it has touched the file lately. Any other
command is healthy while it runs: its exit code says how it ended.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence

MOST_SECONDS = 60  # between two heartbeats
TIMEOUT = 3  # seconds for /livez
EVERY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 - nothing is bound here
DEFAULT_PORT = 8080


def problem(command: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """Return why a command is not healthy; None if it is.

    Args:
        command: the program and its arguments.
        environment: the variables that it was started with.
    """
    if "serve" in command:
        host = value("serve", "host", command, environment)
        port = value("serve", "port", command, environment)
        return problem_of_service("127.0.0.1" if host in EVERY_ADDRESS else host, int(port or DEFAULT_PORT))
    heartbeat = value("up", "heartbeat", command, environment)
    return problem_of_run(heartbeat) if heartbeat and "up" in command else None


def value(name: str, option: str, command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the value of an option of the command ``name``: as typed, else of a variable, else an empty text."""
    for place, argument in enumerate(command):
        if argument == f"--{option}":
            return command[place + 1]
        if argument.startswith(f"--{option}="):
            return argument.partition("=")[2]
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


def problem_of_run(heartbeat: str) -> str | None:
    """Return why a run is not healthy; None if it has touched its file within MOST_SECONDS."""
    try:
        age = time.time() - os.stat(heartbeat).st_mtime
    except OSError as error:
        return f"{heartbeat} cannot be read: {error.strerror}."
    return None if age <= MOST_SECONDS else f"{heartbeat} was last touched {age:.0f} seconds ago."


def command_of(pid: int) -> list[str]:
    """Return the program and the arguments of a process."""
    with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="surrogateescape") as file:
        return file.read().split("\0")[:-1]


if __name__ == "__main__":
    sys.exit(problem(command_of(1), os.environ))
