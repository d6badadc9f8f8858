"""One revision file: its header and its INDEXES, read as data, and how its code is run."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from types import ModuleType
from typing import Any

from indexer.errors import ChainBroken
from indexer.spec import Index
from indexer.tuples import NamedTuple

COMPLETE = "Complete the header of the file."
INDEXES = 'a tuple of Index, such as (Index("ix_contact_phone", table="contact", columns=("phone",)),)'

# schema_revision and Alembic's own table have room for 32 characters. --to takes two words in the place of an id.
ID = r"(?!(base|head)$)\S{1,32}"
AN_ID = (
    lambda value: isinstance(value, str) and re.fullmatch(ID, value) is not None and value.isprintable(),
    'a string of 1 to 32 printable characters without blanks, such as "10992629d68e", and not "base" or "head"',
)
A_PARENT = lambda value: value is None or AN_ID[0](value), f"{AN_ID[1]}, or None for the first revision"
A_FUNCTION = callable, "a function of one migrator"

# The names in the header, each with a check of its value and what the value must be.
Header = dict[str, tuple[Callable[[Any], bool], str]]
REQUIRED: Header = {
    "revision": AN_ID,
    "down_revision": A_PARENT,
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
        down_revision: the id of the revision before it; None for the first one.
        in_alembic: whether Alembic's chain has the same revision, so that its version table is updated, too.
    """

    id: str
    down_revision: str | None
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
            raise ChainBroken(f"{file}{_at(_line_of(path, name))}: {called} must be {expected}.", COMPLETE)
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


class CodeFailed(Exception):
    """Code of a revision file failed; its cause is what the code raised.

    Attributes:
        place: ", line 7", or empty if no line of the file has a part in the failure.
        reason: what the failure says, without a full stop.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(reason)
        self.place = place
        self.reason = reason


@contextmanager
def running(path: str) -> Iterator[None]:
    """Run the code of a file in the body.

    Raises:
        CodeFailed: the code failed or tried to end the program.
        KeyboardInterrupt: a signal, most likely: the command ends with 130.
    """
    try:
        with redirect_stdout(sys.stderr):  # what it prints is not part of a JSON document or a script
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit() among them, which would end the command without a message
        line = _failed_line(error, path)
        raise CodeFailed(_at(line), _reason(error, path, line)) from error


def _at(line: int | None) -> str:
    return f", line {line}" if line else ""


def _failed_line(error: BaseException, path: str) -> int | None:
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno
    line, traceback = None, error.__traceback__
    while traceback:
        if traceback.tb_frame.f_code.co_filename == path:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _reason(error: BaseException, path: str, line: int | None) -> str:
    """Return what an error says, without Python's name for it, or the source line that raised it if it says nothing."""
    text = str(error)
    if isinstance(error, SystemExit):
        text = "it ends the program (sys.exit)"
    elif isinstance(error, SyntaxError):
        other = os.path.basename(error.filename) if error.filename and error.filename != path else ""
        text = f"{other}{_at(error.lineno)}: {error.msg}" if other else error.msg
    elif isinstance(error, KeyError):
        text = f"no {error}"
    elif isinstance(error, OSError):
        text = error.strerror or text
    first = next(iter(text.strip().splitlines()), "").rstrip(".")
    import linecache  # slow, and seldom needed

    return first or linecache.getline(path, line or 0).strip() or "it fails"
