"""Which database is meant: the option, else the environment, else a file in the current directory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, NoReturn

from indexer.errors import UsageError

OPTION = "--database-url"
VARIABLES = ("MIGRATION_DATABASE_URL", "DATABASE_URL")
DEFAULT = "sqlite:///crm.db"
QUOTES = "'\""


class DatabaseUrl(NamedTuple):
    """A database URL and where it was given: the option, a variable, or nowhere ("")."""

    url: str
    source: str


def database_url(option: str | None, environment: Mapping[str, str]) -> DatabaseUrl:
    """Return the URL of the database that is meant.

    Each variable may be given as NAME_FILE instead, the path of a file that holds the URL: a mounted secret. Where both
    are set, the file wins, because an image may set the variable itself.

    Raises:
        UsageError: what was given is empty, or a file cannot be read.
    """
    if option is not None:
        return DatabaseUrl(_cleaned(option) or _refuse(OPTION), OPTION)
    for name in VARIABLES:
        path = environment.get(f"{name}_FILE")
        if path is not None:
            return DatabaseUrl(_from_file(path, f"{name}_FILE"), f"{name}_FILE")
        if name in environment:
            return DatabaseUrl(_cleaned(environment[name]) or _refuse(name), name)
    return DatabaseUrl(DEFAULT, "")


def _cleaned(text: str) -> str:
    """Return a URL without the blanks and quotes around it that shells and files for secrets leave there."""
    url = text.strip()
    return url[1:-1].strip() if len(url) > 1 and url[0] == url[-1] and url[0] in QUOTES else url


def _refuse(source: str) -> NoReturn:
    hint = f"Give it a database URL, such as {DEFAULT}" + ("." if source == OPTION else f", or unset {source}.")
    raise UsageError(f"{source} is set and empty.", hint)


def _from_file(path: str, name: str) -> str:
    hint = f"Name a file that holds one database URL, or unset {name}."
    if not path.strip():
        raise UsageError(f"{name} is set and empty.", hint)
    try:
        with open(path, encoding="utf-8") as file:
            url = _cleaned(file.read())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"The file {path}, named by {name}, cannot be read: {why}.", hint) from None
    if not url:
        raise UsageError(f"The file {path}, named by {name}, is empty.", hint)
    return url
