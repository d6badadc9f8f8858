"""Puts indexes on a live database and takes them off again. A migration needs only these names."""

from indexer.errors import IndexerError
from indexer.spec import Column, Index, Variant, desc

__version__ = "0.1.0"
__all__ = ["Column", "Index", "IndexerError", "Variant", "desc"]
