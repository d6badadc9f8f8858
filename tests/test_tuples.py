"""The quickly made NamedTuple: a class of it is like one of typing's."""

from __future__ import annotations

import pickle
import typing

import pytest

from indexer.tuples import NamedTuple


class Quick(NamedTuple):
    """A point."""

    x: int
    y: int = 0

    @property
    def sum(self) -> int:
        """x and y."""
        return self.x + self.y

    def __str__(self) -> str:
        return f"{self.x}, {self.y}"


class Slow(typing.NamedTuple):
    """A point."""

    x: int
    y: int = 0


@pytest.mark.parametrize(
    "name", ["_fields", "_field_defaults", "__doc__", "__module__", "__slots__", "__annotations__"]
)
def test_a_class_has_what_one_of_typing_has(name):
    as_strings = {"x": "int", "y": "int"}
    assert getattr(Quick, name) == (as_strings if name == "__annotations__" else getattr(Slow, name))


def test_types_methods_and_pickled_tuples_are_kept():
    assert typing.get_type_hints(Quick) == {"x": int, "y": int}
    assert (Quick(1).sum, str(Quick(1, 2)), repr(Quick(1))) == (1, "1, 2", "Quick(x=1, y=0)")
    assert pickle.loads(pickle.dumps(Quick(1, 2))) == Quick(1, 2) == (1, 2)
