"""Statements as psycopg2 and the server want them."""

from __future__ import annotations

import re
from typing import NamedTuple

PARAMETER = re.compile(r"%\((\w+)\)s")
QUOTED = re.compile(r'"(?:[^"]|"")*"')


class PreparedQuery(NamedTuple):
    """A SELECT that a run repeats, and that takes the server longer to plan than to execute.

    The server infers the type of each named parameter from the text.

    Attributes:
        name: the name of the prepared statement.
        text: the SELECT.
    """

    name: str
    text: str

    @property
    def preparation(self) -> str:
        """The statement that prepares the query."""
        numbered = {name: f"${number}" for number, name in enumerate(self._parameters(), 1)}
        return f"PREPARE {self.name} AS {self.text % numbered}".replace("%", "%%")

    @property
    def execution(self) -> str:
        """The statement that executes the prepared query, with the same named parameters."""
        parameters = ", ".join(f"%({name})s" for name in self._parameters())
        return f"EXECUTE {self.name}" + (f"({parameters})" if parameters else "")

    def _parameters(self) -> list[str]:
        return list(dict.fromkeys(PARAMETER.findall(self.text)))


def sendable(sql: str) -> str:
    """Return a statement of peewee's in which a percent sign in a quoted name does not begin a parameter."""
    return QUOTED.sub(lambda name: name[0].replace("%", "%%"), sql)
