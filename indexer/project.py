"""The project that the engine works for: its revision files, models, queries and sample rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.bench.sample import Sample
    from indexer.verify.query import Query

T = TypeVar("T")


def importing(folder: str, file: str, load: Callable[[], T]) -> Callable[[], T]:
    """Return a function that returns what ``load`` imports from a file of the folder.

    It raises ProjectBroken where the file cannot be imported.
    """

    def imported() -> T:
        from indexer.errors import IndexerError, ProjectBroken
        from indexer.revisions.revision import CodeFailed, running

        try:
            with running(os.path.join(folder, file)):
                return load()
        except CodeFailed as failure:
            if isinstance(failure.__cause__, IndexerError):
                raise failure.__cause__ from None
            message = f"{file} cannot be imported{failure.place}: {failure.reason}."
            raise ProjectBroken(message, f"Correct {file}.") from failure.__cause__

    return imported


def initialised(database: Any) -> Any:
    """Return a peewee database, or that of a proxy; None if it is not initialised."""
    inner = getattr(database, "obj", database)
    return None if getattr(inner, "deferred", False) else inner


class Project(NamedTuple):
    """The project whose database the commands work on.

    All but the folder are functions, so that a command imports only what it uses.

    Attributes:
        folder: the path of the folder with the migrate_*.py files.
        models: returns the peewee models of the base schema, referenced ones first.
        queries: returns the queries that the indexes exist for.
        sample: returns the module that makes up rows, as ``indexer.bench.sample.Sample`` describes it; None if there is
            none.
        database: returns the peewee database to work on where no URL is given, maybe one that is not initialised yet;
            None where there is none.
    """

    folder: str
    models: Callable[[], Sequence[type[Any]]] = tuple
    queries: Callable[[], Sequence[Query]] = tuple
    sample: Callable[[], Sample] | None = None
    database: Callable[[], Any] = lambda: None
