"""A query that an index has to serve, and where its arguments are sampled from: an entry of a project's queries.py.

    Query(
        "ix_contact_phone",
        function=contacts_by_phone,
        sample=rows_of(Contact.phone, otherwise=("+12025550123",)),
    )

Bind the models before you ask or sample.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from peewee import Field, Model, SelectBase, ValueLiterals, fn

Arguments = tuple[Any, ...]
Sampler = Callable[[int], list[Arguments]]

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

    @property
    def call(self) -> str:
        """The call of the function with the arguments that it needs, as text."""
        parameters = inspect.signature(self.function).parameters.values()
        needed = [each.name for each in parameters if each.default is inspect.Parameter.empty]
        return f"{self.function.__name__}({', '.join(needed)})"

    def ask(self, *arguments: Any) -> Any:
        """Call the function and return the whole answer, all of its rows read."""
        answer = self.function(*arguments)
        return list(answer) if isinstance(answer, SelectBase) else answer

    def selected(self, *arguments: Any) -> SelectBase:
        """Return the peewee query that ``ask`` executes first, without executing it."""
        return (self.select or self.function)(*arguments)


def once(count: int) -> list[Arguments]:
    """Sample the arguments of a function that takes none."""
    return [()]


def rows_of(*columns: Field, otherwise: Arguments) -> Sampler:
    """Return a sampler of the values that rows have in these columns, from all over the table.

    It reads by primary key alone, so it is cheap on a table of any size.

    Args:
        columns: columns of one model; a row counts if it has a value in each.
        otherwise: the arguments to use if there is no such row.
    """

    def sample(count: int) -> list[Arguments]:
        complete = (row for row in _spread(columns, count * SPARE) if all(row))
        return list(islice(dict.fromkeys(complete), count)) or [otherwise]

    return sample


def _spread(columns: tuple[Field, ...], count: int) -> list[Arguments]:
    """Return the columns of about this many rows in an order in which the first few are spread over the table, too."""
    model, key = columns[0].model, columns[0].model._meta.primary_key
    # One query each: SQLite reads the whole table for MIN and MAX in one.
    lowest, highest = (model.select(end(key)).scalar() for end in (fn.MIN, fn.MAX))
    if isinstance(lowest, int):
        # Fractions of the golden ratio are spread evenly, and follow no pattern in the rows.
        fractions = (place * GOLDEN_RATIO % 1 for place in range(count))
        keys = list(dict.fromkeys(lowest + int((highest - lowest + 1) * fraction) for fraction in fractions))
        rows = model.select(key, *columns).where(key.in_(ValueLiterals(keys))).tuples()
        by_key = {row[0]: tuple(row[1:]) for row in rows}
        if len(by_key) * 2 > len(keys):
            return [by_key[each] for each in keys if each in by_key]
    return [tuple(row) for row in model.select(*columns).order_by(key.desc()).limit(count).tuples()]
