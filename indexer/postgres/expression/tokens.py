"""The tokens of an SQL expression, as PostgreSQL's lexer reads them (manual, 4.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from indexer.tuples import NamedTuple

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
ALLOWS_SIGN_AT_END = set("~!@#%^&|`?")  # only with one of these in it does an operator's name end in + or -
BETWEEN = "\0"  # no text in PostgreSQL contains it
COLLATE = re.compile(r"(?<![^\0])collate\0(?:[^\0]+\0\.\0)*([^\0]+)", re.IGNORECASE)

# The operators behind the grammar's keywords.
KEYWORD_OPERATORS = {
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
    def folded(self) -> str:
        """The name as the server folds it."""
        return folded(self.text)


def folded(name: str) -> str:
    """Return a written name as the server folds it: lower-case unless it is quoted."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()


def tokens(expression: str) -> list[Token]:
    """Return the tokens of an expression in order; joined, they are the expression again."""
    found: list[Token] = []
    position = 0
    while match := TOKEN.match(expression, position):
        kind = next(name for name in match.groupdict() if name != "tag" and match[name])
        text = _operator(match[0]) if kind == "operator" else match[0]
        found.append(Token(kind, text))
        position += len(text)
    return found


def words_in(read: Iterable[Token]) -> list[str]:
    """Return all names and keywords of an expression, folded."""
    return sorted({token.folded for token in read if token.kind in ("word", "quoted")})


def operators_in(read: Sequence[Token]) -> list[str]:
    """Return the operators of an expression, including those behind keywords such as LIKE and IN."""
    written = {"<>" if token.text == "!=" else token.text for token in read if token.kind == "operator"}
    return sorted(written.union(*(KEYWORD_OPERATORS.get(word, ()) for word in words_in(read))))


def calls_in(read: Sequence[Token]) -> list[tuple[str, str]]:
    """Return the schema, empty if none is written, and the name of each function and of each OPERATOR(schema.=)."""
    near = [token for token in read if token.kind != "space"]
    found: list[tuple[str, str]] = []
    for place, (token, following) in enumerate(pairwise(near)):
        is_function = following.text == "(" and token.kind in ("word", "quoted")
        has_schema = place > 1 and near[place - 1].text == "."
        if is_function or (has_schema and token.kind == "operator"):
            found.append((near[place - 2].folded if has_schema else "", token.folded))
    return found


def collations_in(read: Iterable[Token]) -> list[str]:
    """Return the collations that an expression names, without their schemas."""
    return sorted(map(folded, COLLATE.findall(_dense(read))))


def without_schemas(expression: str, schemas: Iterable[str]) -> str:
    """Return an expression's tokens for a comparison, without these schemas before names and in OPERATOR(schema.=).

    Args:
        expression: as the planner prints it.
        schemas: quoted where a statement has to quote them; at least one.
    """
    names = "|".join(map(re.escape, schemas))
    bare = re.sub(rf"(?<![^\0])OPERATOR\0\(\0(?:{names})\0\.\0([^\0]+)\0\)", r"\1", _dense(tokens(expression)))
    return re.sub(rf"(?<![^\0])(?:{names})\0\.\0", "", bare)


def _dense(read: Iterable[Token]) -> str:
    return BETWEEN.join(token.text for token in read if token.kind != "space")


def _operator(text: str) -> str:
    while len(text) > 1 and text[-1] in "+-" and not ALLOWS_SIGN_AT_END & set(text):
        text = text[:-1]
    return text
