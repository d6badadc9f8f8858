"""The tokens of an SQL expression, as PostgreSQL's lexer takes it apart (manual, 4.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

TOKEN = re.compile(
    r"""
      (?P<space>    \s+ | --[^\n]* | /\*.*?\*/ )
    | (?P<string>   [eE]'(?:[^'\\]|''|\\.)*' | (?:[bBxXnN]|[uU]&)?'(?:[^']|'')*' | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<quoted>   "(?:[^"]|"")*" )
    | (?P<number>   \d+(?:\.\d*)?(?:[eE][-+]?\d+)? | \.\d+ )
    | (?P<word>     [^\W\d][\w$]* )
    | (?P<operator> (?:(?!--|/\*)[-+*/<>=~!@\#%^&|`?])+ )
    | (?P<other>    :: | . )
    """,
    re.VERBOSE | re.DOTALL,
)
ENDS_IN_A_SIGN = set("~!@#%^&|`?")  # only with one of these in it does an operator's name end in + or -

# The operators that the grammar writes differently.
SPELT_OUT = {
    "in": ("=", "<>"),
    "between": (">=", "<="),
    "like": ("~~", "!~~"),
    "ilike": ("~~*", "!~~*"),
    "similar": ("~", "!~"),
    "distinct": ("=",),
    "nullif": ("=",),
    "case": ("=",),
    "not": ("<>", "=", "<", "<=", ">", ">=", "!~~", "!~~*", "!~", "!~*"),  # the planner writes the negated operator
}


class Token(NamedTuple):
    """A piece of an expression: a space, string, quoted name, number, word, operator, or another character."""

    kind: str
    text: str

    @property
    def lowered(self) -> str:
        """The name as the server folds it."""
        return self.text[1:-1].replace('""', '"') if self.kind == "quoted" else self.text.lower()


def tokens(expression: str) -> Iterator[Token]:
    """Yield the tokens of an expression in order; joined, they are the expression again."""
    place = 0
    while found := TOKEN.match(expression, place):
        kind = next(name for name in found.groupdict() if name != "tag" and found[name])
        text = _operator(found[0]) if kind == "operator" else found[0]
        yield Token(kind, text)
        place += len(text)


def words_in(read: Sequence[Token]) -> list[str]:
    """Return all names and keywords of an expression, folded."""
    return sorted({token.lowered for token in read if token.kind in ("word", "quoted")})


def operators_in(read: Sequence[Token]) -> list[str]:
    """Return the operators of an expression, those of keywords such as LIKE and IN included."""
    written = {"<>" if token.text == "!=" else token.text for token in read if token.kind == "operator"}
    return sorted(written.union(*(SPELT_OUT.get(word, ()) for word in words_in(read))))


def collations_in(read: Sequence[Token]) -> list[str]:
    """Return the collations that an expression names, without their schemas."""
    dense = [token for token in read if token.kind != "space"]
    found = []
    for place in (place for place, token in enumerate(dense) if token.kind == "word" and token.lowered == "collate"):
        name = place + 1
        while [token.text for token in dense[name + 1 : name + 2]] == ["."]:
            name += 2
        found += [token.lowered for token in dense[name : name + 1]]
    return sorted(found)


def is_type(read: Sequence[Token], place: int) -> bool:
    """Return whether the token at this place follows a ``::``."""
    before = [token for token in read[:place] if token.kind != "space"]
    return bool(before) and before[-1].text == "::"


def _operator(text: str) -> str:
    while len(text) > 1 and text[-1] in "+-" and not ENDS_IN_A_SIGN & set(text):
        text = text[:-1]
    return text
