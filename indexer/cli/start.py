"""Starts the program. Slow imports wait until Ctrl-C can end the process without a traceback."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys

TYPE_CHECKING = False  # typing itself takes milliseconds to import
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

IMPORTED = 100_000  # more objects than a command imports, none of which is garbage


def run(
    program: str,
    folder: str,
    models: Callable[[], Sequence[type[Any]]],
    queries: Callable[[], Sequence[Any]],
    sample: Callable[[], Any],
) -> None:
    """Run the command that the user typed, for a project.

    Args:
        program: what the user types to start the program, such as ``python cli.py``.
        folder: the path of the folder with the migrate_*.py files.
        models, queries, sample: as in ``Project``.
    """
    prepare_process()
    spare_collector()
    from indexer.cli.commands import cli
    from indexer.project import Project, importing

    cli(prog_name=program, obj=Project(folder, importing(folder, "models.py", models), queries, sample))


def main() -> None:
    """Run the command that the user typed, for the project in the current folder: the program ``indexer``."""
    prepare_process()
    spare_collector()
    from indexer.cli.completion import VARIABLE

    if VARIABLE in os.environ:  # a shell would show an error amid the line that is being typed
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    from indexer.cli.commands import cli
    from indexer.folder import project_in

    try:
        folder = os.getcwd()
    except OSError:
        sys.exit("Error: The current folder does not exist any more.")
    cli(prog_name="indexer", obj=project_in(folder))


def prepare_process() -> None:
    """Let a signal end the process without a traceback, and open the standard streams that are closed."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is not signal.SIG_IGN:  # by nohup, or by a shell for a job in the background
            signal.signal(each, lambda number, _: os._exit(128 + number))
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:  # what is opened next would get the number of a stream
        pass
    os.close(descriptor)
    sys.stdout, sys.stderr = sys.stdout or open(1, "w"), sys.stderr or open(2, "w")  # noqa: SIM115


def spare_collector() -> None:
    """Let the garbage collector pass over what is imported, and collect nothing at the exit of the process."""
    gc.set_threshold(IMPORTED)
    atexit.register(gc.freeze)
