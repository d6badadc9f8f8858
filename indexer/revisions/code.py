"""Runs the code of a revision file, and finds out on which line and why it fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout


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
        line = _line_of(error, path)
        raise CodeFailed(at(line), _reason(error, path, line)) from error


def at(line: int | None) -> str:
    """Return the line of a file as it follows the file's name; empty without a line."""
    return f", line {line}" if line else ""


def _line_of(error: BaseException, path: str) -> int | None:
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
        text = error.msg
    elif isinstance(error, KeyError):
        text = f"no {error}"
    elif isinstance(error, OSError):
        text = error.strerror or text
    first = next(iter(text.strip().splitlines()), "").rstrip(".")
    import linecache  # slow, and seldom needed

    return first or linecache.getline(path, line or 0).strip() or "it fails"
