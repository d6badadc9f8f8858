"""Numbers, lists, names and errors as text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

FEW = 3
MISSPELT, SIMILAR = 2, 0.8  # by how many characters a misspelt name is longer or shorter, and how much it must resemble
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

# Characters that a terminal obeys or hides: control characters, line and paragraph separators, marks that change the
# direction of writing or have no width, and surrogates, which stand for bytes that could not be decoded.
OBEYED = re.compile(
    "[\0-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
STYLE = re.compile("(\x1b\\[[0-9;]*m)")

# PostgreSQL's keywords that name a table, schema or role only in quotes.
RESERVED = frozenset(
    """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
    column concurrently constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze
    from full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit
    localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references
    returning right select session_user similar some symmetric system_user table tablesample then to trailing true
    union unique user using variadic verbose when where window with
    """.split()  # noqa: SIM905  a list would be a hundred lines
)


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: 1 index, 2 indexes."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def may_be(unknown: str, known: Iterable[str]) -> str:
    """Return ": UNKNOWN may be KNOWN" for a name without its schema or a misspelt one; empty if none is similar."""
    known = list(known)
    if with_schema := [name for name in known if name.endswith(f".{unknown}")]:
        return f": {unknown} may be {with_schema[0]}"
    from difflib import get_close_matches  # slow, and seldom needed

    near = [name for name in known if abs(len(name) - len(unknown)) <= MISSPELT]
    similar = get_close_matches(unknown, near, n=1, cutoff=SIMILAR)
    return f": {unknown} may be {similar[0]}" if similar else ""


def in_bytes(count: int) -> str:
    """Return a size as psql's \\di+ shows it: 8192 bytes, 16 kB, 24 MB, with units of 1,024."""
    size, units = count, ["bytes", "kB", "MB", "GB", "TB", "PB"]
    while size >= 10 * 1024 and len(units) > 1:
        size, units = (size + 512) // 1024, units[1:]
    return f"{size} {units[0]}"


def duration(seconds: float) -> str:
    """Return a duration in the unit that suits it: 12 µs, 4.5 ms, 250 ms, 1.2 s, 3 min 4 s."""
    if seconds >= 60:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"
    if seconds >= 0.9995:
        return f"{seconds:.1f} s"
    value, unit = (seconds * 1e3, "ms") if seconds >= 0.9995e-3 else (seconds * 1e6, "µs")
    return f"{value:.0f} {unit}" if value >= 9.95 else f"{value:.1f} {unit}"


def day(moment: datetime, now: datetime) -> str:
    """Return the day of a moment: 3 May, or 3 May 2025 where that was another year than now."""
    year = f" {moment.year}" if moment.year != now.year else ""
    return f"{moment.day} {MONTHS[moment.month - 1]}{year}"


def identifier(name: str) -> str:
    """Return a name as SQL needs it: quoted if necessary, control characters as codes."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name not in RESERVED:
        return name
    quoted = name.replace('"', '""')
    if not OBEYED.search(name):
        return f'"{quoted}"'
    return 'U&"{}"'.format(OBEYED.sub(lambda found: f"\\+{ord(found[0]):06X}", quoted.replace("\\", "\\\\")))


def qualified(*names: str | None) -> str:
    """Return a name with its schema, or a column with its table, as a statement needs it; None is left out."""
    return ".".join(identifier(name) for name in names if name)


def literal(text: str) -> str:
    """Return a text as a string constant of PostgreSQL, control characters as codes."""
    quoted = text.replace("'", "''")
    if not OBEYED.search(text):
        return f"'{quoted}'"
    return "E'{}'".format(visible(quoted.replace("\\", "\\\\")))


def shell(text: str) -> str:
    """Return a text as one word for a shell, control characters as codes."""
    if not OBEYED.search(text):
        return shlex.quote(text)
    return "$'{}'".format(visible(text.replace("\\", "\\\\").replace("'", "\\'")))


def percent_encoded(text: str, kept: str = "") -> str:
    """Return a text as a part of a URL; a slash is kept if ``kept`` is one."""
    if re.fullmatch(rf"[\w.~{kept}-]*", text, re.ASCII):
        return text
    from urllib.parse import quote  # here, because it takes milliseconds to import, and few names need it

    return quote(text, safe=kept)


def fingerprint(text: str) -> str:
    """Return a short text that differs for another text, in all likelihood."""
    from hashlib import sha256  # here, because few commands need it

    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, without the full stop."""
    return visible(next(iter(str(error).strip().splitlines()), "no reason was given").rstrip("."))


def are(things: Sequence[object]) -> str:
    """Return the verb for as many things: is, or are."""
    return "is" if len(things) == 1 else "are"


def few(sentences: Sequence[str], most: int = FEW) -> list[str]:
    """Return the first sentences, and how many more there are."""
    more = len(sentences) - most
    return [*sentences[:most], *([f"… and {more} more"] if more > 0 else [])]


def visible(text: str) -> str:
    """Return a text in one line, with each character that a terminal would obey or hide as its code."""
    return OBEYED.sub(_code, text)


def shown(text: str, styled: bool = False) -> str:
    """Return a text as it may be printed: as ``visible``, with its line breaks and, if ``styled``, colours."""
    if styled:
        parts = STYLE.split(text)
        return "".join(part if place % 2 else shown(part) for place, part in enumerate(parts))
    return "\n".join(map(visible, text.split("\n")))


def _code(found: re.Match[str]) -> str:
    number = ord(found[0])
    if 0xDC80 <= number <= 0xDCFF:  # a byte that could not be decoded
        return f"\\x{number - 0xDC00:02x}"
    if 0x80 <= number <= 0xFF:  # \\x would be one byte where this is typed again
        return f"\\u{number:04x}"
    return found[0].encode("unicode_escape").decode()
