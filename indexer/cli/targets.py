"""What a command works on: a database, several of them, or schemas of each; and how the user names them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from indexer.console.hints import DATABASE_URL, SCHEMA
from indexer.errors import UsageError
from indexer.options import VERSION_TABLE
from indexer.text import shell
from indexer.tuples import NamedTuple
from indexer.urls import DEFAULT, LIST, Address, DatabaseUrl, database_url

ONE_DATABASE = f"Name one {DATABASE_URL}."


class Target(NamedTuple):
    """A database, or the schemas of one, that a command works on.

    Attributes:
        url: the database URL.
        source: where it was given: an option, a variable, or nowhere ("").
        schemas: their names.
        pattern: what their names match instead.
        name: what the user reads, if it is one of several databases.
        typed: its URL as the user can type it, if it is one of several databases.
        opening: the line of a script that connects to it, if it is one of several databases.
        server: distinguishes the servers whose connections are limited; empty where there is none.
    """

    url: str = DEFAULT
    source: str = ""
    schemas: tuple[str, ...] = ()
    pattern: str | None = None
    name: str = ""
    typed: str = ""
    opening: str = ""
    server: str = ""

    @property
    def is_many(self) -> bool:
        """Whether there are several schemas."""
        return self.pattern is not None or len(self.schemas) > 1

    @property
    def schema(self) -> str | None:
        """The only schema that was named; None for that of the search path, or for several."""
        return self.schemas[0] if self.schemas and not self.is_many else None


def targets_of(given: Mapping[str, Any]) -> tuple[Target, ...]:
    """Return the targets that options and environment name: one without a name, or several with names.

    Raises:
        UsageError: there is no such URL or schema, or they are named in two ways.
    """
    if "database_url" not in given:
        return (Target(),)
    schemas, pattern = tuple(dict.fromkeys(given.get("schemas", ()))), given.get("pattern")
    if schemas and pattern is not None:
        raise UsageError("--schema and --all-schemas cannot be combined.", "Leave out --all-schemas.")
    if "" in schemas:
        raise UsageError("The name of a schema is empty.", "Check that the shell variable in it is set.")
    urls, listed = given["database_url"], given.get("urls_from")
    if len(urls) > 1 and "urls_from" not in given:
        raise UsageError("This command works on one database.", ONE_DATABASE)
    if urls and listed is not None:
        raise UsageError(f"{DATABASE_URL} and {LIST} cannot be combined.", f"Leave out {DATABASE_URL}.")
    if listed is None and len(urls) < 2:
        url, source = database_url(urls[0] if urls else None, os.environ)
        return (Target(url, source, schemas, pattern),)
    return _several(list(_given(urls, listed)), schemas, pattern)


def _given(urls: Sequence[str], listed: str | None) -> list[DatabaseUrl]:
    """Return the URLs of the options or of a file, each with its place."""
    from indexer.urls import urls_in

    if listed is not None:
        return list(urls_in(listed))
    return [
        DatabaseUrl(database_url(url, {}).url, f"{DATABASE_URL} number {number}") for number, url in enumerate(urls, 1)
    ]


def _several(urls: Sequence[DatabaseUrl], schemas: tuple[str, ...], pattern: str | None) -> tuple[Target, ...]:
    """Return a target for each different URL, with its name; raise UsageError, with its place, if it is none."""
    from indexer.connection import described
    from indexer.urls import names_of

    def address_of(url: str, place: str) -> Address:
        try:
            return described(url)
        except UsageError as error:
            raise UsageError(f"{place}: {error.message}", error.hint) from error

    found = {url: address_of(url, place) for url, place in urls}
    return tuple(
        Target(url, LIST, schemas, pattern, name, address.typed, address.opening, address.server)
        for (url, address), name in zip(found.items(), names_of(list(found.values())), strict=True)
    )


def typed_of(targets: Sequence[Target], given: Mapping[str, Any]) -> dict[str, str]:
    """Return the options to repeat in the next command, quoted for a shell; not a URL that may contain a password."""
    typed: dict[str, str] = {}
    target = targets[0]
    if target.source == DATABASE_URL:
        typed[DATABASE_URL] = shell(target.url) if target.url.startswith("sqlite:") else "URL"
    if target.schema:
        typed[SCHEMA] = shell(target.schema)
    if given.get("version_table", VERSION_TABLE) != VERSION_TABLE:
        typed["--version-table"] = shell(given["version_table"])
    return typed
