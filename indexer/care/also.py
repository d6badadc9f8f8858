"""Asks further servers, such as standbys, what they have counted. Reads only; one that fails does not fail the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from peewee import PeeweeException

from indexer.care.health import NONE_ASKED, Asked
from indexer.care.usage import ServerCounts
from indexer.connection import connect
from indexer.errors import IndexerError, UsageError
from indexer.urls import split_scheme

if TYPE_CHECKING:
    from indexer.migrator import CatalogMigrator

WITHIN = 10.0  # seconds that connecting to one of them may take


def ask_also(urls: Sequence[str], migrator: CatalogMigrator, tables: Sequence[str]) -> Asked:
    """Return what the servers of these URLs have counted of the tables, each server once.

    Args:
        migrator: of the database that the command works on.
        tables: the names of the tables, which are in the same schema there.

    Raises:
        UsageError: a URL cannot be read, or one of the databases counts no scans.
    """
    if not urls:
        return NONE_ASKED
    own = migrator.care.counts(())
    if own is None:
        raise UsageError("SQLite counts no scans.", "Leave --also out.")
    _check(urls)
    asked, failures = list[ServerCounts](), list[str]()
    known = dict.fromkeys((own.identity, *own.members), own)
    for number, url in enumerate(urls, 1):
        try:
            counts = _counts(url, migrator, tables)
        except UsageError as error:
            raise UsageError(f"--also number {number}: {error.message}", error.hint) from error
        except IndexerError as error:
            failures.append(error.summary)
            continue
        if counts.identity in known:
            same = known[counts.identity].place.database
            failures.append(f"--also number {number} ({counts.place.database}) is the server of {same}, asked already.")
            continue
        known[counts.identity] = counts
        if counts.indexes:
            asked.append(counts)
        else:
            failures.append(f"{counts.place} has none of the indexes.")
    return Asked(tuple(asked), tuple(failures))


def _check(urls: Sequence[str]) -> None:
    for url in urls:
        if split_scheme(url)[0] == "sqlite":
            raise UsageError("--also names a SQLite file, which counts no scans.", "Leave it out.")


def _counts(url: str, beside: CatalogMigrator, tables: Sequence[str]) -> ServerCounts:
    context = beside.context
    with connect(url, beside.schema, True, context.report, context.stop, WITHIN) as migrator:
        try:
            migrator.settle(tables)
            counts = migrator.care.counts(tables)
        except UsageError as error:
            raise IndexerError(f"{migrator.place}: {error.message}", error.hint) from error
        except PeeweeException as error:
            raise migrator.translate_error(error) from error
    assert counts
    return counts
