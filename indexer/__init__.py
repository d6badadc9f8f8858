"""Creates and drops indexes on a live database. A migration needs only these names."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indexer.errors import IndexerError as IndexerError
    from indexer.spec import Column as Column
    from indexer.spec import Index as Index
    from indexer.spec import Variant as Variant
    from indexer.spec import desc as desc

__version__ = "0.1.0"
__all__ = ["Column", "Index", "IndexerError", "Variant", "desc"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is used first: a command that is interrupted at its start has imported little."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module("indexer.errors" if name == "IndexerError" else "indexer.spec")
    return getattr(module, name)
