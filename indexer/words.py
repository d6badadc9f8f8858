"""How numbers of things, long lists, names and errors are put into words."""

from __future__ import annotations

import re
from collections.abc import Sequence

FEW = 3


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: 1 index, 2 indexes."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def in_bytes(count: int) -> str:
    """Return a size as psql's \\di+ shows it: 8192 bytes, 16 kB, 24 MB, with units of 1,024."""
    size, units = count, ["bytes", "kB", "MB", "GB", "TB", "PB"]
    while size >= 10 * 1024 and len(units) > 1:
        size, units = (size + 512) // 1024, units[1:]
    return f"{size} {units[0]}"


def identifier(name: str) -> str:
    """A name as a statement needs it: quoted where it has to be."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"{}"'.format(name.replace('"', '""'))


def reason(error: Exception) -> str:
    """What an error says, in its first line and without the full stop; its kind if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def are(things: Sequence[object]) -> str:
    """The verb for as many things."""
    return "is" if len(things) == 1 else "are"


def few(sentences: Sequence[str], most: int = FEW) -> list[str]:
    """The first of them, and how many more there are."""
    more = len(sentences) - most
    return [*sentences[:most], *([f"… and {more} more"] if more > 0 else [])]
