"""The queries of a project: loading them, and which index each of them is for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from indexer.errors import IndexerError, ProjectBroken, UsageError
from indexer.revisions.revision import CodeFailed, running
from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.project import Project
    from indexer.spec import Index
    from indexer.verify.query import Query

QUERIES = 'a tuple of Query, such as (Query("ix_contact_phone", function=..., sample=rows_of(...)),)'


class Calls(NamedTuple):
    """What the indexes are for: the calls of queries such as ``contact_by_phone(phone)``, by the names of the indexes.

    Attributes:
        warnings: why there are none, or which of them are for no index.
    """

    by_index: Mapping[str, Sequence[str]] = {}
    warnings: tuple[str, ...] = ()

    def of(self, index: str) -> list[str]:
        """Return the calls for an index."""
        return list(self.by_index.get(index, ()))


NO_CALLS = Calls()


def queries_of(project: Project) -> tuple[Query, ...]:
    """Return the queries of a project.

    Raises:
        ProjectBroken: queries.py cannot be imported, or QUERIES is something else than queries.
    """
    try:
        with running(os.path.join(project.folder, "queries.py")):
            queries = tuple(project.queries())
            wrong = [each for each in queries if not (hasattr(each, "index") and hasattr(each, "call"))]
    except CodeFailed as failure:
        if isinstance(failure.__cause__, IndexerError):
            raise failure.__cause__ from None
        message = f"queries.py cannot be imported{failure.place}: {failure.reason}."
        raise ProjectBroken(message, "Correct queries.py.") from failure.__cause__
    if wrong:
        raise ProjectBroken(f"QUERIES in queries.py must be {QUERIES}, without {wrong[0]!r}.", "Correct queries.py.")
    return queries


def refuse_unknown(queries: Sequence[Query], declared: Sequence[Index]) -> None:
    """Raise UsageError if a query is for an index that no revision declares."""
    unknown = _unknown(queries, declared)
    if unknown:
        raise UsageError(_said(unknown), f"Correct the name in queries.py{_similar(unknown[0], declared)}.")


def calls_of(project: Project, declared: Sequence[Index]) -> Calls:
    """Return the calls of a project's queries; a warning instead if they cannot be loaded."""
    try:
        queries = queries_of(project)
    except IndexerError as error:
        return Calls(warnings=(error.summary,))
    by_index: dict[str, list[str]] = {}
    for query in queries:
        by_index.setdefault(query.index, []).append(query.call)
    unknown = _unknown(queries, declared)
    return Calls(by_index, (_said(unknown),) if unknown else ())


def _unknown(queries: Sequence[Query], declared: Sequence[Index]) -> list[str]:
    return sorted({query.index for query in queries} - {index.name for index in declared})


def _said(unknown: Sequence[str]) -> str:
    return f"queries.py names indexes that no revision declares: {', '.join(unknown)}."


def _similar(unknown: str, declared: Sequence[Index]) -> str:
    """Return the declared name that was meant, most likely."""
    from difflib import get_close_matches  # slow, and seldom needed

    similar = get_close_matches(unknown, [index.name for index in declared], n=1)
    return f": {unknown} may be {similar[0]}" if similar else ", or declare the index in a revision"
