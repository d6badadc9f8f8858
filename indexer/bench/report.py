"""The files of a result: JSON for programs; for readers a page and a picture, if Jinja2 and matplotlib are installed.

To draw them again from files that were kept: ``python -m indexer.bench.report docs/bench docs/bench-*.json``.
"""

from __future__ import annotations

import json
import os
import sys
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from indexer.bench import chart
from indexer.bench.events import Tell, Written
from indexer.bench.result import Result, read
from indexer.bench.tables import conditions, tables_of
from indexer.errors import IndexerError, UsageError
from indexer.events import Warned, silent
from indexer.text import are, duration, in_bytes, shell

DRAWINGS = {"Jinja2": "page", "matplotlib": "picture"}
OTHER_FOLDER = "Name another folder: --out FOLDER"


def check(folder: str) -> None:
    """Check before the measurement that files can be written into a folder; create nothing.

    Raises:
        UsageError: the folder has no name.
        IndexerError: it cannot be written.
    """
    if not folder:
        raise UsageError("The name of the folder is empty.", "Check that the shell variable in it is set.")
    existing = os.path.abspath(folder)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing) or not os.access(existing, os.W_OK | os.X_OK):
        raise IndexerError(f"Files cannot be written into {folder}.", OTHER_FOLDER)


def write(result: Result, folder: str, tell: Tell) -> None:
    """Write bench.json, and draw bench.html, bench.png and bench.svg if Jinja2 and matplotlib are installed.

    Args:
        folder: created if it does not exist.
        tell: called with an event for each file, and with what is missing.

    Raises:
        IndexerError: the folder cannot be written.
    """
    name = os.path.join(folder, "bench")
    try:
        os.makedirs(folder, exist_ok=True)
        _write_whole(f"{name}.json", json.dumps(asdict(result), indent=1).encode(), tell)
        draw(name, [result], tell)
    except OSError as error:
        raise IndexerError(f"{folder} cannot be written: {error.strerror}.", OTHER_FOLDER) from error
    missing = {package: drawing for package, drawing in DRAWINGS.items() if not is_installed(package)}
    if missing:
        what, why = " and no ".join(missing.values()), f"{' and '.join(missing)} {are([*missing])} not installed"
        redraw = f"python -m indexer.bench.report {shell(name)} {shell(f'{name}.json')}"
        packages = " ".join(missing).lower()
        tell(Warned(f"There is no {what}, because {why}. Draw it: pip install {packages} && {redraw}"))


def draw(name: str, results: Sequence[Result], tell: Tell = silent) -> None:
    """Draw the picture of all results and, of a single one, the page, if matplotlib and Jinja2 are installed.

    Args:
        name: the path of the files without .html, .png and .svg.
        results: one for each database, in the order of the legend.

    Raises:
        OSError: a file cannot be written.
    """
    picture = b""
    if is_installed("matplotlib"):
        picture = chart.picture(results, "svg")
        _write_whole(f"{name}.svg", picture, tell)
        _write_whole(f"{name}.png", chart.picture(results, "png"), tell)
    if len(results) == 1 and is_installed("Jinja2"):
        _write_whole(f"{name}.html", page(results[0], picture).encode(), tell)


def page(result: Result, picture: bytes) -> str:
    """Return a result as an HTML page that needs no other file, with the picture, an SVG, unless that is empty.

    Raises:
        ImportError: Jinja2 is not installed.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(os.path.dirname(__file__))
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, undefined=StrictUndefined)
    environment.filters |= {"duration": duration, "in_bytes": in_bytes, "number": "{:,}".format}
    return environment.get_template("page.html").render(
        result=result,
        last=result.rounds[-1],
        picture=b64encode(picture).decode(),
        tables=tables_of(result),
        conditions=conditions(result),
    )


def is_installed(package: str) -> bool:
    """Return whether a package can be imported."""
    return find_spec(package.lower()) is not None


def _write_whole(path: str, content: bytes, tell: Tell) -> None:
    """Write a file in one step, so that an older one stays until the new one is complete."""
    part = f"{path}.part"
    try:
        with open(part, "wb") as file:
            file.write(content)
        os.replace(part, path)
    except OSError:
        with suppress(OSError):
            os.remove(part)
        raise
    tell(Written(path))


if __name__ == "__main__":
    draw(sys.argv[1], [read(json.loads(Path(path).read_text(encoding="utf-8"))) for path in sys.argv[2:]])
