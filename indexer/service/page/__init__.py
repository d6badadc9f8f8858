"""The page of ``serve``: one HTML document that shows a snapshot, and needs no script and no other file."""

from __future__ import annotations

import os
from base64 import b64encode
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from indexer.service.page.verdict import Document, age, verdict
from indexer.service.page.view import context
from indexer.text import visible

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

FOLDER = os.path.dirname(__file__)
SHORTEST = 5  # seconds between two loads of the page in a browser
COLOURS = {"good": "#1a7f37", "busy": "#0b5cad", "warning": "#9a6700", "bad": "#c1271b", "unknown": "#59636e"}
SHAPES = {
    "good": "M4.5 8.4l2.3 2.3 4.7-5.2",
    "pending": "M5 8h6",
    "busy": "M8 4.2V8l2.6 1.7",
    "warning": "M8 4.4v4.2M8 11.2v.1",
    "bad": "M5.4 5.4l5.2 5.2M10.6 5.4l-5.2 5.2",
    "unknown": "M6.2 6.3a1.9 1.9 0 1 1 2.7 1.8c-.6.3-.9.6-.9 1.2M8 11.5v.1",
}


def page(document: Document, refreshing: bool = True) -> str:
    """Return the page that shows a snapshot.

    Args:
        document: as ``/status.json`` has it.
        refreshing: whether a browser loads the page again by itself.

    Raises:
        ImportError: Jinja2 is not installed.
    """
    snapshot, said = document["snapshot"], verdict(document)
    return _template().render(
        style=style(),
        icon=_icon,
        shapes=SHAPES,
        verdict=said,
        snapshot=snapshot,
        read=_ago(snapshot["age_seconds"]),
        refreshing=refreshing,
        refresh=max(round(snapshot["interval_seconds"]), SHORTEST),
        version=document["version"],
        **context(document, said),
    )


def _ago(seconds: float | None) -> str | None:
    """Return how long ago the database was read; None where it has not been."""
    if seconds is None:
        return None
    return "just now" if seconds < 1 else f"{age(seconds)} ago"


@cache
def style() -> str:
    """Return the style sheet that is part of the page."""
    with open(os.path.join(FOLDER, "page.css"), encoding="utf-8") as file:
        return file.read()


@cache
def content_security_policy() -> str:
    """Return the value of the header that lets a browser use the style and the icon of the page, and nothing else."""
    digest = b64encode(sha256(style().encode()).digest()).decode()
    allowed = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:"
    return f"{allowed}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_shown,
    )
    environment.filters["breakable"] = _breakable
    return environment.get_template("page.html")


def _shown(value: Any) -> Any:
    """Return a text from outside without characters that a browser would obey or hide; markup is passed on."""
    return visible(value) if type(value) is str else value


def _breakable(name: str) -> Markup:
    """Return a name as markup, with places after underscores where its line may break."""
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(map(escape, visible(name).split("_")))


def _icon(tone: str) -> str:
    """Return the icon in a browser's tab as a URL: it shows by colour and shape how the verdict is meant."""
    shape = "<path d='{}' fill='none' stroke='#fff' stroke-width='1.8' stroke-linecap='round' stroke-linejoin='round'/>"
    circle = f"<circle cx='8' cy='8' r='8' fill='{COLOURS[tone]}'/>"
    content = circle + shape.format(SHAPES[tone])
    return "data:image/svg+xml," + quote(f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>{content}</svg>")
