"""A query that an index has to serve, and where its arguments are sampled from: an entry of a project's queries.py.

    def contacts_by_email(email):
        return Contact.select().where(fn.LOWER(Contact.email) == email.lower())

    QUERIES = (
        Query(
            "ix_contact_email_lower",
            function=contacts_by_email,
            sample=rows_of(Contact.email, otherwise=("ada@example.com",)),
        ),
    )

Bind the models before you ask or sample.
"""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from peewee import Field, Model, Node, PeeweeException, SelectBase, ValueLiterals, fn

from indexer.errors import IndexerError, UsageError
from indexer.text import reason

Arguments = tuple[Any, ...]
Sampler = Callable[[int], list[Arguments]]

ANY_NUMBER = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)  # *args, **kwargs
GOLDEN_RATIO = (1 + 5**0.5) / 2
SPARE = 4  # rows read for each that is wanted: values can be missing or repeated


@dataclass(frozen=True)
class Query:
    """A query that an index has to serve.

    Attributes:
        index: the name of the index.
        function: the function that applications call. It returns the peewee query or the answer.
        sample: returns at most this many different arguments for the function, plausible ones if the table is empty.
        select: returns the peewee query that the function executes for the same arguments; needed unless the function
            returns that query itself.
        as_parameter: returns the query of an application that sends as a parameter what this one says literally.
        also_reads: the models of other tables that the query reads.
        claim: what the index makes of the cost, for the reports of ``bench``.
        measured: the arguments that ``bench`` measures with instead of sampled ones.
    """

    index: str
    function: Callable[..., Any]
    sample: Sampler
    select: Callable[..., SelectBase] | None = None
    as_parameter: Callable[..., SelectBase] | None = None
    also_reads: tuple[type[Model], ...] = ()
    claim: str = ""
    measured: tuple[Arguments, ...] = ()

    @cached_property
    def call(self) -> str:
        """The call of the function with the arguments that it needs, as text."""
        parameters = inspect.signature(self.function).parameters.values()
        needed = [each.name for each in parameters if each.default is each.empty and each.kind not in ANY_NUMBER]
        return f"{getattr(self.function, '__name__', 'query')}({', '.join(needed)})"

    def ask(self, *arguments: Any) -> Any:
        """Call the function and return the whole answer, all of its rows read."""
        answer = self.function(*arguments)
        return list(answer) if isinstance(answer, SelectBase) else answer

    def selected(self, *arguments: Any) -> SelectBase:
        """Return the peewee query that ``ask`` executes first, without executing it.

        Raises:
            UsageError: the function fails, or returns something else and the entry has no ``select``.
        """
        try:
            selected: Any = (self.select or self.function)(*arguments)
        except (PeeweeException, IndexerError):
            raise
        except Exception as error:
            given = ", ".join(map(reprlib.repr, arguments))
            message = f"queries.py: {self.call} fails for the arguments ({given}): {reason(error)}."
            raise UsageError(message, "Correct the function, or the sample of its arguments, in queries.py.") from error
        if isinstance(selected, SelectBase):
            return selected
        raise UsageError(
            f"queries.py: {self.call} returns no peewee query.",
            "Name beside it in the entry the function that returns the query: select=...",
        )


def once(count: int) -> list[Arguments]:
    """Sample the arguments of a function that takes none."""
    return [()]


def rows_of(*columns: Node, otherwise: Arguments) -> Sampler:
    """Return a sampler of the values that rows have in these columns, from all over the table.

    Where the primary key is one integer, it reads by that alone, so it is cheap on a table of any size. Otherwise it
    reads the last rows.

    Args:
        columns: columns of one model, or expressions of them such as ``fn.LOWER(Contact.email)``; a row counts if none
            of them is NULL.
        otherwise: the arguments to use if there is no such row, one for each column.

    Raises:
        ValueError: there is no column of a model, or another number of arguments.
    """
    model = next((field.model for field in _fields(columns)), None)
    if model is None:
        raise ValueError("rows_of needs columns of a model, such as Contact.email")
    if not isinstance(otherwise, tuple) or len(otherwise) != len(columns):
        raise ValueError(f"otherwise needs a tuple with a value for each column, not {otherwise!r}")

    def sample(count: int) -> list[Arguments]:
        rows = _spread(model, columns, count * SPARE)
        complete = (row for row in rows if all(value is not None for value in row))
        different = {repr(row): row for row in complete}  # a list, as an array is, has no hash
        return list(islice(different.values(), count)) or [otherwise]

    return sample


def _fields(node: Any) -> Iterator[Field]:
    """Yield the columns of models in an expression."""
    if isinstance(node, Field):
        yield node
    elif isinstance(node, list | tuple):
        for each in node:
            yield from _fields(each)
    elif isinstance(node, Node):
        yield from _fields(list(vars(node).values()))


def _spread(model: type[Model], columns: tuple[Node, ...], count: int) -> list[Arguments]:
    """Return the columns of about this many rows in an order in which the first few are spread over the table, too."""
    keys = model._meta.get_primary_keys()
    spread = _by_integers(model, keys[0], columns, count) if len(keys) == 1 else []
    if spread:
        return spread
    rows: Any = model.select(*columns).order_by(*(key.desc() for key in keys)).limit(count).tuples()
    return [tuple(row) for row in rows]


def _by_integers(model: type[Model], key: Field, columns: tuple[Node, ...], count: int) -> list[Arguments]:
    """Return the columns of rows with keys from all over the table; none if the keys are no integers or rarely used."""
    # One query each: SQLite reads the whole table for MIN and MAX in one.
    lowest, highest = (model.select(end(key)).scalar() for end in (fn.MIN, fn.MAX))
    if not isinstance(lowest, int):
        return []
    # Fractions of the golden ratio are spread evenly, and follow no pattern in the rows.
    fractions = (place * GOLDEN_RATIO % 1 for place in range(count))
    wanted = list(dict.fromkeys(lowest + int((highest - lowest + 1) * fraction) for fraction in fractions))
    rows: Any = model.select(key, *columns).where(key.in_(ValueLiterals(wanted))).tuples()
    by_key = {row[0]: tuple(row[1:]) for row in rows}
    return [by_key[each] for each in wanted if each in by_key] if len(by_key) * 2 > len(wanted) else []
