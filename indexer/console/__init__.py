"""What a person or a machine reads: text, tables, progress, and the documents of --json."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.console import progress as progress
    from indexer.console import text as text


def __getattr__(name: str) -> ModuleType:
    """Import ``progress`` or ``text`` when it is first used: --help needs neither, and they need much of the engine."""
    if name not in ("progress", "text"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
