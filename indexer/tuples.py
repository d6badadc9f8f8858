"""``NamedTuple`` as in typing, made in half of the time, because its annotations are not compiled.

A command that finds nothing to do imports fifty of them: with typing's they take a fifteenth of its time.
"""

from __future__ import annotations

from collections import namedtuple
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:

    class _Maker(type):
        def __new__(cls, name, bases, body):
            fields = body["__annotations__"]
            made = namedtuple(name, fields, defaults=[body.pop(field) for field in fields if field in body])
            for attribute, value in body.items():
                setattr(made, attribute, value)
            return made

    NamedTuple = type.__new__(_Maker, "NamedTuple", (), {})
