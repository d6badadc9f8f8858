"""The key and the predicate of an index, read from the CREATE INDEX that SQLite keeps as it was typed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from indexer.tuples import NamedTuple

TOKEN = re.compile(
    r"""
      (?P<space>   \s+ | --[^\n]* | /\*.*?\*/ )
    | (?P<string>  [xX]?'(?:[^']|'')*' )
    | (?P<quoted>  "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\] )
    | (?P<number>  \d+(?:\.\d*)?(?:[eE][-+]?\d+)? | \.\d+ )
    | (?P<word>    [^\W\d][\w$]* )
    | (?P<other>   <> | != | == | <= | >= | << | >> | ->> | -> | \|\| | . )
    """,
    re.VERBOSE | re.DOTALL,
)
SAME = {"==": "=", "!=": "<>"}
KEYWORDS = frozenset(("and", "between", "else", "in", "like", "not", "or", "then", "when"))
ALONE = re.compile(r"[a-z_]\w*")


class Statement(NamedTuple):
    """The expressions of a key, without COLLATE and direction, and the predicate, each as ``normal`` returns it."""

    key: tuple[str, ...] = ()
    predicate: str | None = None


def read(sql: str) -> Statement:
    """Return the parts of a CREATE INDEX; nothing if it has no key."""
    tokens = _tokens(sql)
    if "(" not in tokens:
        return Statement()
    begin = tokens.index("(")
    end = begin + _length(tokens[begin:])
    where = tokens[end + 1 :] if tokens[end : end + 1] == ["where"] else None
    key = tuple(_joined(_expression(part)) for part in _parts(tokens[begin + 1 : end - 1]))
    return Statement(key, _joined(where) if where else None)


def normal(sql: str) -> str:
    """Return an expression in one way of writing it: one case, no outer parentheses, a space between two words."""
    return _joined(_tokens(sql))


def quoted_names(sql: str) -> list[str]:
    """Return the names in double quotes that can be columns: no function, collation or type."""
    matches = [match for match in TOKEN.finditer(sql) if match.lastgroup != "space"]
    texts = ["", *(match[0].lower() for match in matches), ""]
    return [
        _unquoted(match[0])
        for before, match, after in zip(texts, matches, texts[2:], strict=False)
        if match[0].startswith('"') and before not in ("collate", "as") and after != "("
    ]


def _tokens(sql: str) -> list[str]:
    return [_written(match) for match in TOKEN.finditer(sql) if match.lastgroup != "space"]


def _written(match: re.Match[str]) -> str:
    """Return a token as all its equals are written: a name that needs no quotes has none, and is lower-case."""
    text = match[0]
    if match.lastgroup == "quoted":
        name = _unquoted(text).lower()
        return name if ALONE.fullmatch(name) else '"{}"'.format(name.replace('"', '""'))
    if match.lastgroup == "string":
        return text
    return SAME.get(text, text.lower())


def _unquoted(text: str) -> str:
    return text[1:-1].replace(text[-1] * 2, text[-1])


def _joined(tokens: Sequence[str]) -> str:
    while len(tokens) > 2 and tokens[0] == "(" and _length(tokens) == len(tokens):
        tokens = tokens[1:-1]
    joined = tokens[0] if tokens else ""
    for before, text in pairwise(tokens):
        is_call = text == "(" and before not in KEYWORDS and ALONE.fullmatch(before)
        joined += text if is_call or before == "(" or text in (")", ",") else f" {text}"
    return joined


def _length(tokens: Sequence[str]) -> int:
    """Return after how many tokens the parenthesis that comes first is closed."""
    depth = 0
    for place, text in enumerate(tokens, 1):
        depth += (text == "(") - (text == ")")
        if depth == 0:
            return place
    return len(tokens)


def _parts(tokens: Sequence[str]) -> Iterator[list[str]]:
    """Yield the parts of a key, which commas outside of parentheses separate."""
    part: list[str] = []
    depth = 0
    for text in tokens:
        depth += (text == "(") - (text == ")")
        if text == "," and depth == 0:
            yield part
            part = []
        else:
            part.append(text)
    yield part


def _expression(part: list[str]) -> list[str]:
    """Return a part of a key without its direction and its collation."""
    if part[-1] in ("asc", "desc"):
        part = part[:-1]
    return part[:-2] if part[-2:-1] == ["collate"] else part
