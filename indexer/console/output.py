"""Output on stdout and stderr: text, documents, scripts. A run continues after its output can no longer be written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from threading import Lock
from typing import Any, TextIO

from indexer.console import documents
from indexer.console.hints import HintWriter, Write
from indexer.errors import PENDING, Hint, IndexerError, lines_of
from indexer.text import STYLE, shown, visible
from indexer.tuples import NamedTuple

INFO, WARNING, ERROR = "info", "warning", "error"  # levels of messages
BOLD, RED, PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[0m"
Line = str | Hint
MOST_NAMES = 10  # of schemas that failed alike


class Answer(NamedTuple):
    """What a command prints in the end.

    Attributes:
        document: for a machine.
        line: the answer in one line, also for one of several schemas.
        exit_code: what the command exits with.
        lines: the text for a person, if that has more than the line; drawn only when it is printed.
        error: what the command ends with after the rest is printed.
        script: what is printed instead of the text; empty where there is an error instead.
    """

    document: documents.Document
    line: Line
    exit_code: int = 0
    lines: Iterable[Line] = ()
    error: IndexerError | None = None
    script: str | None = None


# Answers ----------------------------------------------------------------------------------------------------------


def print_answer(answer: Answer, as_json: bool, write: HintWriter) -> None:
    """Print an answer."""
    if as_json:
        echo_document(_json(answer.document, write))
    elif answer.script is not None:
        echo_script(answer.script)
    elif is_log_json():
        echo_answer(answer, write)
    else:
        echo("\n".join(map(write, answer.lines or (answer.line,))))


def echo_answer(answer: Answer, write: HintWriter, name: str = "", keys: Mapping[str, Any] | None = None) -> None:
    """Print the line of an answer, after the name of its database.

    Args:
        name: that of one of several databases or schemas.
        keys: what distinguishes it in a log.
    """
    line, database = write(answer.line), str(answer.document.get("database", ""))
    name = name or (database if database not in line else "")
    line = visible(f"{name}: {line}") if name else line
    facts = {**(keys or {}), "exit_code": answer.exit_code, **answer.document}
    echo(line, level=level_of(answer.exit_code), facts=facts, write=write)


def level_of(exit_code: int) -> str:
    """Return the level of a message about the end of a command."""
    if exit_code in (0, PENDING):
        return WARNING if exit_code else INFO
    return ERROR


def _json(document: Any, write: Write) -> str:
    """Return a document as JSON, with its hints as text."""
    import json  # here, because --help needs none

    return json.dumps(document, default=write)


def of_failure(error: IndexerError) -> Answer:
    """Return the answer of a command that failed."""
    hint = error.hint.with_texts(in_a_line)
    line = Hint("Error: ", error.summary, " " if hint else "", hint)
    return Answer(documents.of_failure(error), line, error.exit_code, error=error)


def in_a_line(text: str) -> str:
    """Return a text of several lines in one."""
    first, *more = text.split("\n")
    return " ".join((first, *(line.strip() for line in more)))


def print_error(error: IndexerError, write: Write) -> None:
    """Print an error and its hint on stderr."""
    if is_log_json():
        document = documents.of_failure(error)
        echo(document.pop("error"), err=True, level=ERROR, facts=document, write=write)
        return
    told = shown(write(lines_of([error.message, error.hint])))
    echo(styled("Error: ", RED) + told, err=True)


def last_words(message: str) -> str:
    """Return what is written on stderr by a process that ends without cleaning up."""
    if not is_log_json():
        return f"Error: {message}"
    return _record(ERROR, message, {}, str)


def print_traceback(error: BaseException) -> None:
    """Print the traceback of an error on stderr."""
    import traceback

    echo(shown("".join(traceback.format_exception(error))), err=True, level=ERROR)


# Writing ------------------------------------------------------------------------------------------------------------


def styled(text: str, style: str) -> str:
    """Return a text in a colour or in bold, unless the user wants none (no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain else f"{style}{text}{PLAIN}"


def log_as_json(is_wanted: bool) -> None:
    """Print each message as a JSON object from now on, or as text."""
    _log["is_json"] = is_wanted


def is_log_json() -> bool:
    """Return whether messages are JSON objects."""
    return _log["is_json"]


def draws() -> bool:
    """Return whether stdout is a terminal to draw on."""
    return sys.stdout.isatty() and not is_log_json()


def echo(
    text: str, err: bool = False, level: str = INFO, facts: Mapping[str, Any] | None = None, write: Write = str
) -> None:
    """Print lines on stdout or on stderr; with --log-format json as one object, with its time.

    Args:
        level: info, warning or error.
        facts: the content of the text, for a machine.
        write: writes the hints in the facts.
    """
    stream = sys.stderr if err else sys.stdout
    line = shown(text, styled=True)
    if is_log_json():
        line = _record(level, STYLE.sub("", line).strip(), facts or {}, write)
    _print(stream, f"{line if stream.isatty() else STYLE.sub('', line)}\n")


def _record(level: str, message: str, facts: Mapping[str, Any], write: Write) -> str:
    now = documents.utc(datetime.now(timezone.utc), "milliseconds")
    return _json({"time": now, "level": level, "message": message, **facts}, write)


def echo_document(document: str) -> None:
    """Print a JSON document on stdout."""
    _print(sys.stdout, f"{document}\n")


def echo_script(script: str) -> None:
    """Print a script, unless it is empty, byte for byte, in UTF-8 whatever the terminal's encoding."""
    if script:
        _print(sys.stdout, script.encode(errors="surrogateescape") + b"\n")


def _print(stream: TextIO, text: str | bytes) -> None:
    with _printing:
        _write(stream, text)


def is_writing(seconds: float) -> bool:
    """Return whether lines are being written for so long, because nobody reads them; waits as long at most."""
    is_free = _printing.acquire(timeout=seconds)
    if is_free:
        _printing.release()
    return not is_free


def _write(stream: TextIO, text: str | bytes) -> None:
    try:
        if isinstance(text, bytes):
            stream.flush()
            stream.buffer.write(text)
        else:
            stream.write(text)
        stream.flush()
    except OSError as error:  # a full disk, a terminal that is gone: the run continues, and the error comes at its end
        lose(stream, error)


def lose(stream: TextIO, error: OSError) -> None:
    """Discard everything else that is written to a stream, because it accepts no more output."""
    if stream is sys.stdout and not isinstance(error, BrokenPipeError):
        _lost.append(error)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


_lost: list[OSError] = []
_log = {"is_json": False}  # of the process, as are its streams
_printing = Lock()  # several threads may print; a line of one does not come amid that of another


def check_written(code: int = 0) -> None:
    """Raise an error if a part of stdout could not be written, with the exit code of the command unless that is 0.

    A reader that has gone away, such as head, is not an error.
    """
    if _lost:
        error = unwritten(_lost.pop())
        error.exit_code = code or error.exit_code
        raise error


def unwritten(error: OSError) -> IndexerError:
    """Return the error for output that is lost."""
    return IndexerError(
        f"The output cannot be written: {error.strerror}.",
        "The command itself was carried out. Check the file or device that stdout goes to.",
    )
