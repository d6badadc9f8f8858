"""The ten indexes as SQL, made from the INDEXES of the migration."""

from __future__ import annotations

from indexer import Index, Variant
from migrate_10992629d68e import INDEXES

WHOLE_BTREE = Variant()
NAMES = [index.name for index in INDEXES]


def creations(concurrently: bool = False, tolerant: bool = False, on_postgresql: bool = True) -> list[str]:
    """Return ten CREATE INDEX; ``tolerant`` means IF NOT EXISTS."""
    modifiers = (" CONCURRENTLY" if concurrently else "") + (" IF NOT EXISTS" if tolerant else "")
    return [f"CREATE INDEX{modifiers} {_definition(index, on_postgresql)}" for index in INDEXES]


def drops(concurrently: bool = False, tolerant: bool = False) -> list[str]:
    """Return ten DROP INDEX, the last index first; ``tolerant`` means IF EXISTS."""
    modifiers = (" CONCURRENTLY" if concurrently else "") + (" IF EXISTS" if tolerant else "")
    return [f"DROP INDEX{modifiers} {name}" for name in reversed(NAMES)]


def script(statements: list[str]) -> str:
    """Return statements as a script for the shell of a database."""
    return "".join(f"{statement};\n" for statement in statements)


def _definition(index: Index, on_postgresql: bool) -> str:
    variant = index.on_postgresql if on_postgresql else WHOLE_BTREE
    using = "" if variant.using == WHOLE_BTREE.using else f" USING {variant.using}"
    where = f" WHERE {variant.where}" if variant.where else ""
    return f"{index.name} ON {index.table}{using} ({', '.join(map(str, index.key))}){where}"
