"""Create and drop indexes on a live database, PostgreSQL or SQLite, from any Peewee project.

A file migrate_*.py declares indexes. It needs Index and what that is made of, and Migrator as the type of the argument
of its functions. A file queries.py declares what the indexes are for: Query, once, rows_of.

A program applies the files of a folder to its own peewee database, or to a URL:

    with connect(database) as connection:
        outcome = Runner(connection, load("."), [Loan]).up()

Whatever goes wrong is an IndexerError, whose message is a sentence and whose hint says what to do next:

    UsageError          an argument cannot be understood
    ChainBroken         a migrate_*.py file is missing or wrong
    RevisionRefused     a function of such a file does more than build or drop its indexes
    Unreachable         no connection
    PreflightFailed     something that the run needs is missing; nothing was changed
    Different           an index is not what a revision declares; nothing was changed
    StatementFailed     the database refused a statement
    Locked, Blocked     the run gave up waiting for another run, or for another session
    Interrupted         the run was asked to stop
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indexer.connection import connect as connect
    from indexer.definition import Column as Column
    from indexer.definition import Expression as Expression
    from indexer.definition import desc as desc
    from indexer.errors import Blocked as Blocked
    from indexer.errors import ChainBroken as ChainBroken
    from indexer.errors import Different as Different
    from indexer.errors import IndexerError as IndexerError
    from indexer.errors import Interrupted as Interrupted
    from indexer.errors import Locked as Locked
    from indexer.errors import PreflightFailed as PreflightFailed
    from indexer.errors import RevisionRefused as RevisionRefused
    from indexer.errors import StatementFailed as StatementFailed
    from indexer.errors import Unreachable as Unreachable
    from indexer.errors import UsageError as UsageError
    from indexer.options import Options as Options
    from indexer.revisions.chain import load as load
    from indexer.revisions.operations import Migrator as Migrator
    from indexer.runner import Runner as Runner
    from indexer.spec import Index as Index
    from indexer.spec import Variant as Variant
    from indexer.verify.query import Query as Query
    from indexer.verify.query import once as once
    from indexer.verify.query import rows_of as rows_of

__version__ = "0.1.0"
ERRORS = (
    *("Blocked", "ChainBroken", "Different", "IndexerError", "Interrupted", "Locked", "PreflightFailed"),
    *("RevisionRefused", "StatementFailed", "Unreachable", "UsageError"),
)
MODULES = {
    **dict.fromkeys(("Column", "Expression", "desc"), "indexer.definition"),
    **dict.fromkeys(("Index", "Variant"), "indexer.spec"),
    **dict.fromkeys(("Query", "once", "rows_of"), "indexer.verify.query"),
    **dict.fromkeys(ERRORS, "indexer.errors"),
    "Migrator": "indexer.revisions.operations",
    "Options": "indexer.options",
    "Runner": "indexer.runner",
    "connect": "indexer.connection",
    "load": "indexer.revisions.chain",
}  # of the public names
__all__ = sorted(MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that a command that is interrupted at its start imports little."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(MODULES[name]), name)


def __dir__() -> list[str]:
    """Return the public names, so that help() shows them."""
    return [*__all__, "__doc__", "__version__"]
