"""Database URLs: which one is meant (the option, else the environment, else a default), and which database it names."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

from indexer.errors import UsageError
from indexer.text import visible
from indexer.tuples import NamedTuple

OPTION, LIST = "--database-url", "--urls-from"
VARIABLES = ("INDEXER_DATABASE_URL", "MIGRATION_DATABASE_URL", "DATABASE_URL")
DEFAULT = "sqlite:///crm.db"
QUOTES = "'\""

# Schemes of libpq, peewee (playhouse.db_url) and SQLAlchemy; after a plus comes a driver, or peewee's pool.
FAMILIES = {
    "sqlite": "sqlite",
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "postgresext": "postgresql",
    "postgresqlext": "postgresql",
    "psycopg3": "postgresql",
}
DRIVERS = ("", "pool", "psycopg", "psycopg2", "psycopg2cffi", "pysqlite")


class DatabaseUrl(NamedTuple):
    """A database URL and where it was given: the option, a variable, or nowhere ("")."""

    url: str
    source: str


class Address(NamedTuple):
    """How a database is named to the user; no password is a part of it.

    Attributes:
        names: three, from the shortest to the longest.
        typed: the URL as it can be typed again; PASSWORD is in the place of a password.
        opening: the line of a script for the database's own shell that connects to it; without a password.
        server: distinguishes the servers, whose connections are limited; empty where there is none.
    """

    names: tuple[str, str, str]
    typed: str
    opening: str
    server: str = ""


def database_url(option: str | None, environment: Mapping[str, str]) -> DatabaseUrl:
    """Return the URL of the database that is meant.

    Each variable may be given as NAME_FILE instead, the path of a file that contains the URL, such as a mounted secret.
    If both are set, the file wins, because an image may set the variable itself.

    Raises:
        UsageError: what was given is empty, or a file cannot be read.
    """
    if option is not None:
        return DatabaseUrl(_cleaned(option) or _refuse_empty(OPTION), OPTION)
    for name in VARIABLES:
        path = environment.get(f"{name}_FILE")
        if path is not None:
            return DatabaseUrl(_from_file(path, f"{name}_FILE"), f"{name}_FILE")
        if name in environment:
            return DatabaseUrl(_cleaned(environment[name]) or _refuse_empty(name), name)
    return DatabaseUrl(DEFAULT, "")


def urls_in(path: str) -> Iterator[DatabaseUrl]:
    """Yield the URLs of a file with one a line, each with its place in the file; ``-`` is stdin.

    Empty lines are left out, and comments, which begin with # at the beginning of a line or after a blank.

    Raises:
        UsageError: the file cannot be read, or contains no URL.
    """
    name = "stdin" if path == "-" else path
    try:
        with open(sys.stdin.fileno() if path == "-" else path, encoding="utf-8-sig", closefd=path != "-") as file:
            lines = file.read().splitlines()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        message = f"The file {name}, named by {LIST}, cannot be read: {why}."
        raise UsageError(message, "Name a file with one database URL a line, or - for stdin.") from None
    urls = [(number, _cleaned(re.split(r"(?:^|\s)#", line)[0])) for number, line in enumerate(lines, 1)]
    if not any(url for _, url in urls):
        raise UsageError(f"The file {name}, named by {LIST}, contains no URL.", "Write one database URL a line.")
    yield from (DatabaseUrl(url, f"{name}, line {number}") for number, url in urls if url)


def names_of(addresses: Sequence[Address]) -> list[str]:
    """Return a name for each of several databases: its shortest that no other one has, or else its longest."""
    counted = [Counter(names) for names in zip(*(address.names for address in addresses), strict=True)]
    names = []
    for address in addresses:
        alone = (name for name, counts in zip(address.names, counted, strict=True) if counts[name] == 1)
        names.append(visible(next(alone, address.names[-1])))
    places = [names[:place].count(name) + 1 for place, name in enumerate(names)]
    return [f"{name} ({place})" if place > 1 else name for name, place in zip(names, places, strict=True)]


def split_scheme(url: str) -> tuple[str, bool, str]:
    """Return "sqlite" or "postgresql", whether the scheme asks for peewee's pool, and what follows ``://``.

    Raises:
        UsageError: there is no scheme, or its database or driver is not supported.
    """
    scheme, separator, rest = url.partition("://")
    base, _, driver = scheme.lower().partition("+")
    family = FAMILIES.get(base) if separator else None
    if family and driver in DRIVERS:
        return family, driver == "pool", rest
    if family and driver.replace("_", "").isalnum():
        raise UsageError(
            f"The database URL asks for the driver {driver}, which this tool does not use.",
            f"Leave +{driver} out: {base}://...",
        )
    is_name = separator and f"a{scheme}".replace("+", "").isalnum()  # anything else may be a part of a password
    raise UsageError(
        f"The scheme {scheme!r} is not supported." if is_name else "The database URL has no scheme.",
        "Use sqlite:///file.db or postgresql://user:password@host:5432/name.",
    )


def _cleaned(text: str) -> str:
    """Return a URL without the blanks and quotes that shells and secret files leave around it."""
    url = text.strip()
    return url[1:-1].strip() if len(url) > 1 and url[0] == url[-1] and url[0] in QUOTES else url


def _refuse_empty(source: str) -> NoReturn:
    hint = f"Set it to a database URL, such as {DEFAULT}" + ("." if source == OPTION else f", or unset {source}.")
    raise UsageError(f"{source} is set but empty.", hint)


def _from_file(path: str, name: str) -> str:
    hint = f"Name a file that contains one database URL, or unset {name}."
    if not path.strip():
        raise UsageError(f"{name} is set but empty.", hint)
    try:
        with open(path, encoding="utf-8") as file:
            url = _cleaned(file.read())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise UsageError(f"The file {path}, named by {name}, cannot be read: {why}.", hint) from None
    if not url:
        raise UsageError(f"The file {path}, named by {name}, is empty.", hint)
    return url
