"""Statements as psycopg2 and the server want them."""

from __future__ import annotations

import re
from typing import NamedTuple

QUOTED = re.compile(r'"(?:[^"]|"")*"')


class PreparedQuery(NamedTuple):
    """A SELECT that a run repeats, and that takes the server longer to plan than to execute.

    Attributes:
        name: the name of the prepared statement.
        types: PostgreSQL's type of each named parameter of the text.
        text: the SELECT.
    """

    name: str
    types: dict[str, str]
    text: str

    @property
    def preparation(self) -> str:
        """The statement that prepares the query."""
        numbered = {name: f"${number}" for number, name in enumerate(self.types, 1)}
        types = f"({', '.join(self.types.values())})" if self.types else ""
        return f"PREPARE {self.name}{types} AS {self.text % numbered}".replace("%", "%%")

    @property
    def execution(self) -> str:
        """The statement that executes the prepared query, with the same named parameters."""
        parameters = f"({', '.join(f'%({name})s' for name in self.types)})" if self.types else ""
        return f"EXECUTE {self.name}{parameters}"


def sendable(sql: str) -> str:
    """Return a statement of peewee's in which a percent sign in a quoted name does not begin a parameter."""
    return QUOTED.sub(lambda name: name[0].replace("%", "%%"), sql)
