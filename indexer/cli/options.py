"""The options of the commands, in the groups in which commands have them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

from indexer.console.hints import DATABASE_URL
from indexer.options import VERSION_TABLE
from indexer.urls import DEFAULT

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def together(*options: Callable[[Decorated], Decorated]) -> Callable[[Decorated], Decorated]:
    """Return one decorator for several options, which --help lists in this order."""

    def decorate(function: Decorated) -> Decorated:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


# Values -------------------------------------------------------------------------------------------------------------


class Jobs(click.ParamType["int | None"]):
    """A number of builds; None for auto."""

    name = "jobs"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Return the number."""
        if not (value == "auto" or (value.isascii() and value.isdigit() and int(value))):
            self.fail(f"{value!r} is neither a number from 1 on nor auto.", param, ctx)
        return None if value == "auto" else int(value)


class Numbers(click.ParamType["list[int]"]):
    """Several positive numbers with commas between them."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """Return all of them."""
        each = str(value).split(",")
        if not all(number.isascii() and number.isdigit() and int(number) for number in each):
            self.fail(f"{value!r} is not a list of whole numbers such as 10000,100000.", param, ctx)
        return [int(number) for number in each]


class Seconds(click.FloatRange):
    """A duration; not nan, which no time ever exceeds, and not infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return it as a number."""
        seconds: float = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


SECONDS = Seconds(min=0)

# Groups -------------------------------------------------------------------------------------------------------------

on_server = click.option(
    DATABASE_URL,
    metavar="URL",
    help=f"sqlite:///file.db or postgresql://user:password@host/name.  [default: {DEFAULT}]",
)
on_database = together(
    on_server,
    click.option(
        "--schema",
        "schemas",
        metavar="NAME",
        multiple=True,
        help="PostgreSQL schema of the tables; can be repeated.  [default: found on the search path]",
    ),
    click.option(
        "--all-schemas",
        "pattern",
        metavar="PATTERN",
        help="All schemas that contain the tables and match this pattern, such as 'tenant_*'.",
    ),
)
output = together(
    click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout; messages go to stderr."),
    click.option("--verbose", is_flag=True, help="Show the traceback of an error."),
)
to_revision = click.option(
    "--to", metavar="REV", help="Revision to stop at: an id, the beginning of one, base, or head."
)
waiting = together(
    click.option(
        "--max-wait",
        type=SECONDS,
        metavar="SECONDS",
        help="Cancel and retry a build that has been blocked this long.  [default: no limit]",
    ),
    click.option(
        "--retries",
        type=click.IntRange(min=0),
        default=3,
        metavar="N",
        help="How often to retry a cancelled build.  [default: 3]",
    ),
    click.option(
        "--wait-lock",
        type=SECONDS,
        metavar="SECONDS",
        help="Stop waiting for another run once it has made no progress for this long.  [default: no limit]",
    ),
    click.option("--no-wait", is_flag=True, help="Do not wait for another run: exit with 5."),
    click.option(
        "--wait-db",
        type=SECONDS,
        default=0,
        metavar="SECONDS",
        help="How long to wait for a server that is starting.  [default: 0]",
    ),
    click.option(
        "--jobs", type=Jobs(), default="auto", metavar="N", help="How many indexes to build at once.  [default: auto]"
    ),
    click.option(
        "--offline",
        is_flag=True,
        help="Build without CONCURRENTLY, for a maintenance window: faster, but blocks writers.",
    ),
)
adopt_renamed = click.option(
    "--adopt-renamed", is_flag=True, help="Rename an identical index that has another name, instead of building one."
)
replace = click.option(
    "--replace", is_flag=True, help="Replace an index that has the same name but another definition."
)
include_adopted = click.option("--include-adopted", is_flag=True, help="Also drop indexes that existed before up.")
below_later = click.option(
    "--below-later",
    "--yes",
    "below_later",
    is_flag=True,
    help="Go below a later revision, Alembic's or one unknown to this version.",
)
published = click.option(
    "--published",
    is_flag=True,
    help="Create tables although a publication includes them: the subscribers already have them.",
)
no_alembic = click.option("--no-alembic", is_flag=True, help="Leave Alembic's version table unchanged.")
version_table = click.option(
    "--version-table",
    metavar="[SCHEMA.]NAME",
    default=VERSION_TABLE,
    help=f"Alembic's version table.  [default: {VERSION_TABLE}]",
)
alembic = together(no_alembic, version_table)
