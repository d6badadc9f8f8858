"""What an interrupted REINDEX CONCURRENTLY leaves: an invalid copy, or the old index, now invalid. Pure."""

from __future__ import annotations

import re

from indexer.catalog import CatalogEntry
from indexer.definition import Definition, differences
from indexer.spec import LONGEST_NAME, with_suffix

NAME = re.compile(r"(.+)(_cc(?:new|old)[0-9]*)", re.DOTALL)  # (manual, REINDEX)


def is_named_by_reindex(name: str) -> bool:
    """Return whether REINDEX CONCURRENTLY gives such names to its new index, or to the old one."""
    return NAME.fullmatch(name) is not None


def name_and_ending(name: str) -> tuple[str, str]:
    """Return the index that something is left of, and what REINDEX CONCURRENTLY has appended to its name."""
    found = NAME.fullmatch(name)
    return (found[1], found[2]) if found else (name, "")


def first_names(name: str) -> tuple[str, str]:
    """Return what REINDEX CONCURRENTLY calls its new index and the old one, unless these names are taken."""
    return with_suffix(name, "_ccnew"), with_suffix(name, "_ccold")


def is_left_of(entry: CatalogEntry, name: str, definition: Definition) -> bool:
    """Return whether an interrupted REINDEX CONCURRENTLY of the index of this name and definition left an entry.

    A valid index is no leftover, nor is one that another session is building or dropping.
    """
    if entry.usable or entry.worker or entry.definition is None or not _is_named_after(entry.name, name):
        return False
    return not differences(definition._replace(constraint=None), entry.definition)  # the valid one has the constraint


def _is_named_after(left: str, name: str) -> bool:
    """Return whether REINDEX CONCURRENTLY names what it makes so; it cuts a name only where both do not fit.

    PostgreSQL counts bytes in the encoding of the database, which for some takes fewer bytes than UTF-8.
    """
    found = NAME.fullmatch(left)
    if found is None or not name.startswith(found[1]):
        return False
    with_one_more = name[: len(found[1]) + 1] + found[2]
    return found[1] == name or len(with_one_more.encode(errors="surrogateescape")) > LONGEST_NAME
