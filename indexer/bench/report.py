"""The files of a result: JSON for machines, HTML for people, and the picture if matplotlib is there to draw it."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from contextlib import suppress

from indexer.bench.events import NoPicture, Tell, Written
from indexer.bench.result import Result, document
from indexer.errors import IndexerError, UsageError
from indexer.text import shell

REMEDY = "pip install -r requirements-bench.txt"


def check(folder: str) -> None:
    """Find out before the measuring what would be found out after it; makes nothing.

    Args:
        folder: where the files are to go; made when they are written.

    Raises:
        UsageError: the folder has no name.
        IndexerError: it cannot be written.
    """
    if not folder:
        raise UsageError("The name of the folder is empty.", "Is a variable of the shell not set?")
    standing = os.path.abspath(folder)
    while not os.path.lexists(standing):
        standing = os.path.dirname(standing)
    if not os.path.isdir(standing) or not os.access(standing, os.W_OK | os.X_OK):
        raise IndexerError(f"Nothing can be written into {folder}.", "Name another folder: --out FOLDER")


def can_draw() -> bool:
    """Is matplotlib installed?"""
    return importlib.util.find_spec("matplotlib") is not None


def write(result: Result, folder: str, tell: Tell) -> None:
    """Write bench.json, bench.html and, with matplotlib, bench.png and bench.svg.

    Args:
        result: what was measured.
        folder: made if it is not there.
        tell: is told of each file, and when there is no picture.

    Raises:
        IndexerError: the folder cannot be written.
    """
    from indexer.bench import page

    contents: dict[str, Callable[[], bytes]] = {
        "bench.json": lambda: json.dumps(document(result), indent=1).encode(),
        "bench.html": lambda: page.html(result).encode(),
    }
    if can_draw():
        from indexer.bench import chart

        contents["bench.png"] = lambda: chart.png([result])
        contents["bench.svg"] = lambda: chart.svg([result]).encode()
    try:
        os.makedirs(folder, exist_ok=True)
        for name, content in contents.items():
            path = os.path.join(folder, name)
            _write_whole(path, content())
            tell(Written(path))
    except OSError as error:
        reason = f"{folder} cannot be written: {error.strerror}."
        raise IndexerError(reason, "Name another folder: --out FOLDER") from error
    if not can_draw():
        names = shell(os.path.join(folder, "bench")), shell(os.path.join(folder, "bench.json"))
        tell(NoPicture(f"{REMEDY} && python -m indexer.bench.picture {' '.join(names)}"))


def _write_whole(path: str, content: bytes) -> None:
    """Write a file so that it is never seen half-written: one of before stays until the new one is whole."""
    part = f"{path}.part"
    try:
        with open(part, "wb") as file:
            file.write(content)
        os.replace(part, path)
    except OSError:
        with suppress(OSError):
            os.remove(part)
        raise
