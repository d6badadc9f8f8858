"""Whether values are like those that an index was built of."""

from __future__ import annotations

import pytest

from indexer.care.facts import Column
from indexer.care.values import is_alike

ROWS = 100_000
THEN = "36/0/-1 8/0.5/-0.4"
CODE = Column(None, 36, -1.0, 0.0)
NUMBER = Column(8, 8, -0.4, 0.5)
CHANGES = {
    "nothing": ((CODE, NUMBER), True),
    "a little shorter": ((CODE._replace(width=34), NUMBER), True),
    "shorter": ((CODE._replace(width=7), NUMBER), False),
    "longer": ((CODE._replace(width=70), NUMBER), False),
    "fewer NULLs": ((CODE, NUMBER._replace(nulls=0.4)), False),
    "many equal": ((CODE._replace(distinct=50.0), NUMBER), False),
    "some equal": ((CODE._replace(distinct=-0.5), NUMBER), False),
    "as many different ones, counted otherwise": ((CODE._replace(distinct=0.95 * ROWS), NUMBER), True),
    "no statistics now": ((CODE, NUMBER._replace(width=None)), False),
    "another number of columns": ((CODE,), False),
}


@pytest.mark.parametrize(("columns", "alike"), CHANGES.values(), ids=CHANGES)
def test_values_are_alike_as_long_as_a_build_of_them_takes_the_same_room(columns, alike):
    assert is_alike(THEN, ROWS, columns, ROWS) is alike
