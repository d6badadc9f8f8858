"""The options of the commands, in groups that commands share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from indexer.cli.completion import indexes, revisions
from indexer.cli.environment import option
from indexer.console.hints import DATABASE_URL
from indexer.options import VERSION_TABLE
from indexer.urls import DEFAULT, LIST

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
UNITS = ("b", "kb", "mb", "gb", "tb")
Decorator = Callable[[Decorated], Decorated]


def together(*options: Decorator[Decorated]) -> Decorator[Decorated]:
    """Return one decorator for several options, which --help lists in this order."""

    def decorate(function: Decorated) -> Decorated:
        for each in reversed(options):
            function = each(function)
        return function

    return decorate


class Jobs(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """The number of indexes to build at once; None for auto."""

    name = "n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Return the number."""
        if not (value == "auto" or (value.isascii() and value.isdigit() and int(value))):
            self.fail(f"{value!r} is neither a positive number nor auto.", param, ctx)
        return None if value == "auto" else int(value)


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """Several positive numbers with commas between them."""

    name = "n,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """Return all of them."""
        each = str(value).split(",")
        if not all(number.isascii() and number.isdigit() and int(number) for number in each):
            self.fail(f"{value!r} is not a list of whole numbers such as 10000,100000.", param, ctx)
        return [int(number) for number in each]


class Seconds(click.FloatRange):
    """A duration in seconds; nan and infinity are refused, because no wait would ever reach them."""

    name = "seconds"

    def __init__(self, min: float = 0) -> None:
        super().__init__(min=min)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return it as a number."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        seconds: float = super().convert(number, param, ctx)
        return seconds


class Number(click.FloatRange):
    """A number between two others; nan is refused, which is neither less nor more than any."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return it as a number."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


class WindowText(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """Days, times and a time zone in which a change may begin."""

    name = "window"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the window."""
        from indexer.errors import UsageError
        from indexer.pace.window import parse  # here, because few calls have one

        try:
            return parse(value) if isinstance(value, str) else value
        except UsageError as error:
            self.fail(f"{error.message} {error.hint}", param, ctx)


class Size(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """A number of bytes, with a unit of 1,024 as PostgreSQL writes it."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]*)", str(value).strip().lower())
        if not found or (found[2] or "b") not in UNITS:
            self.fail(f"{value!r} is not a size such as 500MB or 2GB.", param, ctx)
        return int(float(found[1]) * 1024 ** UNITS.index(found[2] or "b"))


class Kinds(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """Kinds of advice with commas between them, a hyphen for each blank in a name; all of them for ``all``."""

    name = "kind,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the kinds."""
        from indexer.care.advice import KINDS

        if isinstance(value, tuple):
            return value
        asked = [kind.strip().replace("-", " ") for kind in str(value).split(",")]
        for kind in asked:
            if kind not in (*KINDS, "all"):
                known = ", ".join(kind.replace(" ", "-") for kind in KINDS)
                self.fail(f"{kind!r} is no kind of advice. The kinds are: {known}, or all.", param, ctx)
        return KINDS if "all" in asked else tuple(asked)


def flag(name: str, help: str, *others: str, **settings: Any) -> Decorator[Any]:
    """Return an option without a value."""
    return option(name, *others, is_flag=True, help=help, **settings)


# fmt: off
URLS = "sqlite:///file.db or postgresql://user:password@host/name"
on_server = option(
    DATABASE_URL, metavar="URL", multiple=True, has_variable=False, show_default=DEFAULT, help=f"{URLS}."
)
schemas = together(
    option("--schema", "schemas", metavar="NAME", multiple=True, show_default="found on the search path",
           help="PostgreSQL schema of the tables; can be repeated."),
    option("--all-schemas", "pattern", metavar="PATTERN",
           help="All schemas that contain the tables and match this pattern, such as 'tenant_*'."),
)
on_one_database = together(on_server, schemas)
on_one_schema = together(
    on_server,
    option("--schema", "schemas", metavar="NAME", multiple=True, show_default="found on the search path",
           help="PostgreSQL schema of the tables."),
)
on_databases = together(
    option(DATABASE_URL, metavar="URL", multiple=True, has_variable=False, show_default=DEFAULT,
           help=f"{URLS}; can be repeated."),
    option(LIST, "urls_from", metavar="FILE", help="File with one database URL a line, comments after #; - for stdin."),
    schemas,
    option("--first", metavar="NAME",
           help="Database or schema to begin with; unless it ends with 0, no other is begun."),
)
on_database = together(
    on_databases,
    option("--parallel", type=click.IntRange(1, 100), default=1, metavar="N",
           help="How many databases or schemas to work on at once, each with up to two connections."),
)
messages = together(
    flag("--verbose", "Show the traceback of an error."),
    option("--log-format", type=click.Choice(["text", "json"]), default="text",
           help="json prints each message as a JSON object on a line, with its time and level."),
)
output = together(flag("--json", "Print JSON on stdout; messages go to stderr.", "as_json"), messages)
to_revision = option("--to", metavar="REV", shell_complete=revisions,
                     help="Revision to stop at: an id, the beginning of one, base, or head.")
patience = together(
    option("--max-wait", type=Seconds(), show_default="no limit",
           help="Cancel and retry a build, or a wait for replicas, that has been blocked this long."),
    option("--retries", type=click.IntRange(min=0), default=3, metavar="N", help="How often to retry such a build."),
    option("--wait-lock", type=Seconds(), show_default="no limit",
           help="Stop waiting for another run once it has made no progress for this long."),
    flag("--no-wait", "Do not wait for another run: exit with 5."),
    option("--wait-db", type=Seconds(), default=0, help="How long to wait for a server that is starting."),
)
offline = flag("--offline", "Build without CONCURRENTLY, for a maintenance window: faster, but blocks writers.",
               is_consent=True)
waiting = together(
    patience,
    option("--jobs", type=Jobs(), default="auto", show_default="auto; 1 with --parallel",
           help="How many indexes to build at once."),
    offline,
)
choice_of_indexes = together(
    click.argument("names", metavar="[INDEX]...", nargs=-1, shell_complete=indexes),
    option("--bloated-over", type=Number(1, 1e6), metavar="RATIO", show_default="2.0; none for a named INDEX",
           help="Rebuild only what is over this many times larger than a rebuild would leave it."),
    option("--max-size", type=Size(), help="Leave out larger indexes, such as over 500MB or 2GB."),
    option("--min-age", type=Number(0, 36_500), metavar="DAYS",
           help="Leave out indexes that were built within so many days."),
)
pace = together(
    option("--window", type=WindowText(), metavar="'DAYS HH:MM-HH:MM [ZONE]'", show_default="any time",
           help="Begin changes only at these times, and only what is expected to end by then, such as "
                "'sat,sun 01:00-05:00 Europe/Vienna'; several with ; between them, and one zone at the end for all."),
    option("--max-replica-lag", type=Seconds(min=1), show_default="no limit",
           help="Wait before each index while a standby or replication slot is further behind."),
    option("--replica", "replicas", multiple=True, metavar="URL",
           help="Also wait for this standby, such as a standby of a standby, which the primary does not show; "
                "repeatable. With --max-replica-lag."),
)
adopt_renamed = flag("--adopt-renamed", "Rename an identical index of another name instead of building one.")
replace = flag("--replace", "Replace an index that has the same name but another definition.", is_consent=True)
include_adopted = flag("--include-adopted", "Also drop indexes that existed before up.", is_consent=True)
below_later = together(
    flag("--below-later", "Go below a later revision: Alembic's, or one unknown to this version.",
         is_consent=True),
    flag("--yes", "", hidden=True),
)
published = flag("--published", "Create tables even if a publication includes them, because every subscriber has them.",
                 is_consent=True)
version_table = option(
    "--version-table", metavar="[SCHEMA.]NAME", default=VERSION_TABLE, help="Alembic's version table."
)
alembic = together(flag("--no-alembic", "Leave Alembic's version table unchanged."), version_table)
