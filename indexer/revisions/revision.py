"""One revision file: its header and its INDEXES, read as data; its functions are not called here."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from indexer.errors import ChainBroken
from indexer.revisions.code import CodeFailed, at, running
from indexer.spec import Index

COMPLETE = "Complete the header of the file."
INDEXES = 'a tuple of Index, such as (Index("ix_contact_phone", table="contact", columns=("phone",)),)'

# schema_revision and Alembic's own table have room for 32 characters.
AN_ID = (
    lambda value: isinstance(value, str) and re.fullmatch(r"\S{1,32}", value) is not None and value.isprintable(),
    'a string of 1 to 32 printable characters without blanks, such as "10992629d68e"',
)
A_FUNCTION = callable, "a function of one migrator"

# The names in the header, each with a check of its value and what the value must be.
Header = dict[str, tuple[Callable[[Any], bool], str]]
REQUIRED: Header = {
    "revision": AN_ID,
    "down_revision": AN_ID,
    "INDEXES": (
        lambda value: isinstance(value, tuple | list) and all(isinstance(each, Index) for each in value),
        INDEXES,
    ),
    "upgrade": A_FUNCTION,
    "downgrade": A_FUNCTION,
}
OPTIONAL: Header = {
    "__doc__": (lambda text: text is None or bool(text.strip()), "one line that says what the revision is for"),
    "date": (lambda date: isinstance(date, str), 'a string, such as "2025-08-21"'),
    "in_alembic": (lambda value: isinstance(value, bool), "True or False"),
}


class Revision(NamedTuple):
    """One revision file: its id, the revision before it, the indexes it declares, and its two functions.

    Attributes:
        in_alembic: whether Alembic's chain has the same revision, so that its version table is updated, too.
    """

    id: str
    down_revision: str
    date: str
    description: str
    file: str
    upgrade: Callable[[Any], None]
    downgrade: Callable[[Any], None]
    in_alembic: bool = False
    indexes: tuple[Index, ...] = ()


def read(path: str) -> Revision:
    """Read one revision file.

    Raises:
        ChainBroken: the file cannot be loaded, or a part of its header is missing or wrong.
    """
    file = os.path.basename(path)
    module = _load(path, file)
    missing = [name for name in REQUIRED if not hasattr(module, name)]
    if missing:
        declare = f" INDEXES is {INDEXES}." if "INDEXES" in missing else ""
        raise ChainBroken(f"{file} has no {' and no '.join(missing)}.", f"{COMPLETE}{declare}")
    for name, (is_right, expected) in {**REQUIRED, **OPTIONAL}.items():
        if hasattr(module, name) and not is_right(getattr(module, name)):
            called = "the docstring" if name == "__doc__" else name
            raise ChainBroken(f"{file}{at(_line_of(path, name))}: {called} must be {expected}.", COMPLETE)
    return Revision(
        id=module.revision,
        down_revision=module.down_revision,
        date=getattr(module, "date", ""),
        description=(module.__doc__ or file).strip().splitlines()[0].rstrip("."),
        file=file,
        upgrade=module.upgrade,
        downgrade=module.downgrade,
        in_alembic=getattr(module, "in_alembic", False),
        indexes=tuple(module.INDEXES),
    )


def _load(path: str, file: str) -> ModuleType:
    """Return the module of a file, loaded by its path: two directories may have files of the same name."""
    spec = importlib.util.spec_from_file_location(file.removesuffix(".py"), path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    try:
        with running(path):
            spec.loader.exec_module(module)
    except CodeFailed as failure:
        message = f"{file} cannot be loaded{failure.place}: {failure.reason}."
        raise ChainBroken(message, "Correct the file.") from failure.__cause__
    return module


def _line_of(path: str, name: str) -> int | None:
    """Return the last line that assigns or defines a name of the header; 1 for the docstring."""
    import tokenize

    if name == "__doc__":
        return 1
    with tokenize.open(path) as file:
        lines = [number for number, line in enumerate(file, 1) if re.match(rf"(def |class )?{name}\s*[=:(]", line)]
    return lines[-1] if lines else None
