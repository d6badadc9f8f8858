"""A primary and a hot standby that follows it, made for the tests from the same binaries as their server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psycopg2
from postgres_server import (
    copy_cluster,
    executable_for,
    make_cluster,
    own_binaries,
    start,
    stop,
    unprivileged,
    work_directory,
)

# Starts the copy of this name as a standby of the server at a URL, and yields its own URL.
Follow = Callable[[str, str], AbstractContextManager[str]]


class Pair(NamedTuple):
    """The URLs of the servers, each of the database `postgres`.

    Attributes:
        cascaded: a standby of the standby; empty without one.
    """

    primary: str
    standby: str
    cascaded: str = ""


@contextmanager
def running_pair() -> Iterator[Pair]:
    """Start a primary, its standby and a standby of that one, empty."""
    with (
        primary_with_copies("standby", "cascaded") as (primary_url, follow),
        follow("standby", primary_url) as standby_url,
        follow("cascaded", standby_url) as cascaded_url,
    ):
        yield Pair(primary_url, standby_url, cascaded_url)


@contextmanager
def primary_with_copies(*names: str) -> Iterator[tuple[str, Follow]]:
    """Start an empty primary whose commits wait for a standby; yield its URL, and what starts a copy as a standby."""
    binaries = own_binaries()
    with work_directory() as top:
        account = unprivileged(top)
        binaries = executable_for(account, binaries, top)
        make_cluster(binaries, top / "primary", account)
        # A standby may not have fewer connections than its copy remembers: initdb's number is not that of `start`.
        stop(start(binaries, top / "primary", top / "primary.log", account)[0])
        for name in names:
            copy_cluster(top / "primary", top / name)
        # Nothing replicates before the standby is there: a commit that asks for it waits until it is.
        configure(top / "primary", synchronous_standby_names="*")
        primary, primary_url = start(binaries, top / "primary", top / "primary.log", account)
        try:
            yield primary_url, partial(following, top, binaries, account)
        finally:
            stop(primary)


@contextmanager
def following(top: Path, binaries: Path, account: dict, name: str, source: str) -> Iterator[str]:
    """Start a copy as a standby that follows the server at a URL, and yield its own URL."""
    configure(top / name, primary_conninfo=f"{source}?application_name={name}", hot_standby="on")
    (top / name / "standby.signal").touch()
    process, url = start(binaries, top / name, top / f"{name}.log", account)
    try:
        yield url
    finally:
        stop(process)


def configure(data: Path, **settings: str) -> None:
    """Add settings to a cluster that is not running."""
    with (data / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())


def let_the_standby_catch_up(primary_url: str) -> None:
    """Return when the standby shows all that was committed on the primary so far."""
    with closing(psycopg2.connect(primary_url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("SET synchronous_commit = remote_apply")
        cursor.execute("SET statement_timeout = '30s'")
        cursor.execute("CREATE TABLE caught_up ()")
        cursor.execute("DROP TABLE caught_up")
