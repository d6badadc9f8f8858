"""One migration file: its header and its INDEXES, read as data; its functions are not run here."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from types import ModuleType
from typing import Any, NamedTuple

from indexer.errors import ChainBroken
from indexer.spec import Index

HEADER = ("revision", "down_revision", "INDEXES", "upgrade", "downgrade")
LONGEST_ID = 32  # characters; schema_revision and Alembic's own table have room for no more
AN_ID = f'a string of 1 to {LONGEST_ID} printable characters without blanks, such as "10992629d68e"'
INDEXES = 'a tuple of Index, such as (Index("ix_contact_phone", table="contact", columns=("phone",)),)'
COMPLETE = "Complete the header of the file."


class Revision(NamedTuple):
    """One migration file: its id, the revision before it, the indexes it declares, and its two functions.

    ``in_alembic`` says that Alembic's chain has the same revision, so that its version table is kept in step.
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

    def function(self, direction: str) -> Callable[[Any], None]:
        """Return the function that applies (``up``) or reverts (``down``) the revision."""
        return self.upgrade if direction == "up" else self.downgrade


def read(path: str) -> Revision:
    """Read one migration file.

    Raises:
        ChainBroken: the file cannot be loaded, or a part of its header is missing or not what it has to be.
    """
    file = os.path.basename(path)
    module = _load(path, file)
    missing = [name for name in HEADER if not hasattr(module, name)]
    if missing:
        declare = f" INDEXES is {INDEXES}." if "INDEXES" in missing else ""
        raise ChainBroken(f"{file} has no {' and no '.join(missing)}.", f"{COMPLETE}{declare}")
    for name, expected in _expected(module):
        if expected:
            raise ChainBroken(f"{file}{_at(_line_of(path, name))}: {name} must be {expected}.", COMPLETE)
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


def _expected(module: ModuleType) -> list[tuple[str, str | None]]:
    """Return what each part of the header has to be, or None where it is that."""
    texts = {name: getattr(module, name) for name in ("revision", "down_revision")}
    functions = {name: getattr(module, name) for name in ("upgrade", "downgrade")}
    described = module.__doc__ is None or module.__doc__.strip()
    return [
        *((name, None if _is_id(value) else AN_ID) for name, value in texts.items()),
        ("INDEXES", None if _are_indexes(module.INDEXES) else INDEXES),
        *((name, None if callable(value) else "a function of one migrator") for name, value in functions.items()),
        ("the docstring", None if described else "one line that says what the revision is for"),
        ("date", None if isinstance(getattr(module, "date", ""), str) else 'a string, such as "2025-08-21"'),
        ("in_alembic", None if isinstance(getattr(module, "in_alembic", False), bool) else "True or False"),
    ]


def _is_id(value: object) -> bool:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ID:
        return False
    return value.isprintable() and not any(map(str.isspace, value))


def _are_indexes(value: object) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(each, Index) for each in value)


# Loading -------------------------------------------------------------------------------------------------------------


def _load(path: str, file: str) -> ModuleType:
    """Return the module of a file, loaded by its path: two directories may hold files of the same name."""
    spec = importlib.util.spec_from_file_location(file.removesuffix(".py"), path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    try:
        with redirect_stdout(sys.stderr):  # what it prints is no part of a JSON document or a script
            spec.loader.exec_module(module)
    except KeyboardInterrupt:  # a signal, most likely: the command ends with 130
        raise
    except BaseException as error:  # sys.exit() among them, which would end the command without a word
        place = _at(line_of_error(error, path))
        said = what_failed(error, path)
        raise ChainBroken(f"{file} cannot be loaded{place}: {said}.", "Correct the file.") from error
    return module


def line_of_error(error: BaseException, path: str) -> int | None:
    """Return the line of the file at which it failed, if the file has a part in the failure."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno
    line, traceback = None, error.__traceback__
    while traceback:
        if traceback.tb_frame.f_code.co_filename == path:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def what_failed(error: BaseException, path: str) -> str:
    """Return what an error says, without the name that Python has for it; else the line that raised it."""
    if isinstance(error, SystemExit):
        return "it ends the program (sys.exit)"
    first = next(iter(_said(error).strip().splitlines()), "").rstrip(".")
    if first:
        return first
    import linecache

    return f"{linecache.getline(path, line_of_error(error, path) or 0).strip() or 'it fails'}"


def _said(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return error.msg
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"no {error}" if isinstance(error, KeyError) else str(error)


def _line_of(path: str, name: str) -> int | None:
    """Return the line on which a name of the header is given its value, the first one for the docstring."""
    import ast
    import tokenize

    if name == "the docstring":
        return 1
    with tokenize.open(path) as file:
        tree = ast.parse(file.read())
    lines = [node.lineno for node in tree.body if name in _given(node)]
    return lines[-1] if lines else None


def _given(node: Any) -> list[str]:
    """Return the names that a statement gives a value: an assignment or a definition."""
    targets = [*getattr(node, "targets", []), getattr(node, "target", None)]
    return [getattr(node, "name", ""), *(getattr(target, "id", "") for target in targets)]


def _at(line: int | None) -> str:
    return f", line {line}" if line else ""
