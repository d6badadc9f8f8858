"""The ten indexes as SQL, written from the migration's INDEXES, for the tools that want it so."""

from __future__ import annotations

from indexer import Index, Variant
from migrate_10992629d68e import INDEXES

WHOLE_BTREE = Variant()


def creations(concurrently: bool = False, tolerant: bool = False, on_postgresql: bool = True) -> list[str]:
    """Ten CREATE INDEX; tolerant means IF NOT EXISTS."""
    modifiers = (" CONCURRENTLY" if concurrently else "") + (" IF NOT EXISTS" if tolerant else "")
    return [f"CREATE INDEX{modifiers} {_definition(index, on_postgresql)}" for index in INDEXES]


def drops(concurrently: bool = False, tolerant: bool = False) -> list[str]:
    """Ten DROP INDEX, last built first; tolerant means IF EXISTS."""
    modifiers = (" CONCURRENTLY" if concurrently else "") + (" IF EXISTS" if tolerant else "")
    return [f"DROP INDEX{modifiers} {index.name}" for index in reversed(INDEXES)]


def script(statements: list[str]) -> str:
    """Statements as a script for a database's own shell."""
    return "".join(f"{statement};\n" for statement in statements)


def names() -> list[str]:
    """The names of the ten."""
    return [index.name for index in INDEXES]


def _definition(index: Index, on_postgresql: bool) -> str:
    variant = index.on_postgresql if on_postgresql else WHOLE_BTREE
    using = "" if variant.using == WHOLE_BTREE.using else f" USING {variant.using}"
    where = f" WHERE {variant.where}" if variant.where else ""
    return f"{index.name} ON {index.table}{using} ({', '.join(map(str, index.key))}){where}"
