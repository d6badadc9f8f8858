"""Creates and drops indexes on a live database.

A revision file needs Index, Column, Expression, Variant and desc; queries.py needs Query, once and rows_of. A program
that applies revisions by itself needs the others:

runner = Runner(connect("sqlite:///crm.db"), load("."), lambda: models.TABLES, Options(jobs=1))
runner.up()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indexer.connection import connect as connect
    from indexer.definition import Column as Column
    from indexer.definition import Expression as Expression
    from indexer.definition import desc as desc
    from indexer.errors import IndexerError as IndexerError
    from indexer.options import Options as Options
    from indexer.revisions.chain import load as load
    from indexer.runner import Runner as Runner
    from indexer.spec import Index as Index
    from indexer.spec import Variant as Variant
    from indexer.verify.query import Query as Query
    from indexer.verify.query import once as once
    from indexer.verify.query import rows_of as rows_of

__version__ = "0.1.0"
__all__ = [
    "Column",
    "Expression",
    "Index",
    "IndexerError",
    "Options",
    "Query",
    "Runner",
    "Variant",
    "connect",
    "desc",
    "load",
    "once",
    "rows_of",
]
MODULES = {
    "Column": "indexer.definition",
    "Expression": "indexer.definition",
    "IndexerError": "indexer.errors",
    "Options": "indexer.options",
    "Query": "indexer.verify.query",
    "Runner": "indexer.runner",
    "connect": "indexer.connection",
    "desc": "indexer.definition",
    "load": "indexer.revisions.chain",
    "once": "indexer.verify.query",
    "rows_of": "indexer.verify.query",
}  # of the public names that are not in indexer.spec


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that a command that is interrupted at its start imports little."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(MODULES.get(name, "indexer.spec")), name)
