"""A result as one HTML file that needs no other file."""

from __future__ import annotations

import os
from base64 import b64encode

from indexer.bench.result import Result
from indexer.bench.tables import conditions, tables_of
from indexer.text import duration, in_bytes


def html(result: Result, picture: bytes) -> str:
    """Return the page: what was measured on what, the picture, and all tables.

    Args:
        result: what was measured.
        picture: SVG; empty if there is none.

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
