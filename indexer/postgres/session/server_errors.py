"""What an error of the server says, and what to do about it, by its SQLSTATE (manual, appendix A)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import psycopg2

from indexer.text import reason, visible

AGAIN = "Run the same command again: it continues where this run stopped."
DECLARED = "Change the column's type or the index in the revision file, then run the same command again."
IMMUTABLE = (
    "Write the index in the revision file with functions, operators and casts whose result never changes, "
    "then run the same command again."
)
MISSING = "Another session has dropped or renamed it: find out which, then run the same command again."
LOST = f"Read the server's log if it happens again. {AGAIN}"

# A code of five characters wins over its class of two. AGAIN alone is for what can heal by itself.
REMEDIES = {
    "08": AGAIN,  # the connection was lost
    "0A": DECLARED,
    "22": "Correct the rows that the index cannot hold, then run the same command again.",
    "23505": "Remove the rows with duplicate keys, then run the same command again.",
    "25006": "The session is read-only: connect to the primary, or switch off default_transaction_read_only.",
    "28": "Check the user and the password in the database URL.",
    "40": AGAIN,  # a deadlock, or a conflict with another transaction
    "42501": "Connect as the owner of the tables; plan lists the rights that a role lacks.",
    "42P01": MISSING,
    "3F000": MISSING,
    "42P17": IMMUTABLE,
    "42": DECLARED,
    "53100": "Free or add disk space; the same command then continues where it stopped.",
    "53200": "Lower maintenance_work_mem of the server, then run the same command again.",
    "53300": "Wait for connections to become free, or raise the limit; then run the same command again.",
    "53400": "Raise the limit that the server names, such as temp_file_limit; then run the same command again.",
    "54": "Shorten the values that are too long for an index, then run the same command again.",
    "55P03": "Wait for the session that holds the table, then run the same command again.",
    "55": "Wait until what the server reports is free, then run the same command again.",
    "57014": "Another session or a timeout of the server cancelled the statement. " + AGAIN,
    "57P04": "The database was dropped: check the name at the end of the database URL.",
    "57P": LOST,  # the server ended the session: a restart, or pg_terminate_backend
    "58": "The server could not read or write a file. Read its log, then run the same command again.",
    "XX001": "The table is damaged: read the server's log, restore the table, then run the same command again.",
    "XX002": "An index is damaged. Read the server's log, and REINDEX the index that it names.",
    "XX": LOST,  # an error inside the server
}
# These concern one index and stop no other; without a change no run can build it.
OF_ONE_INDEX = ("0A000", "22", "23505", "42703", "42804", "42809", "42883", "42P17", "54000", "XX001")
OF_DECLARATION = ("42601", "42703", "42704", "42804", "42830", "42883", "42P16", "42P17")
UNKNOWN = "Fix what the server reports, then run the same command again."
SECURED = (
    "An event trigger, or something similar, forces row-level security on every new table. "
    "Exclude the tables that record revisions from it, then run the same command again."
)
OF_A_FUNCTION = (
    "The function belongs to this database, for example to an event trigger, and was called with the search path of "
    "this tool. Give it a search path of its own with ALTER FUNCTION ... SET search_path, "
    "then run the same command again."
)
INSUFFICIENT_PRIVILEGE = "42501"
DAMAGED = ("XX001", "XX002")
READING = ("XX000", "XX001", "58P01", "58030")
STORAGE = "md"  # how the functions of PostgreSQL's storage manager begin
UNKNOWN_NAMES = ("3F000", "42704", "42883", "42P01")
ON_A_NODE = r"while executing command on (\S+:\d+)"
CALL = r"[\w\"]\([^()]*\)"  # a function with its arguments, whatever language the server speaks


def original(error: BaseException) -> BaseException:
    """Return psycopg2's error that one of peewee's wraps, or else the error itself."""
    inner = getattr(error, "orig", None)
    return inner if isinstance(inner, psycopg2.Error) else error


def sqlstate(error: BaseException) -> str:
    """Return an error's SQLSTATE: that of a lost connection if the session ended without one, "" if there is none."""
    known = original(error)
    code = getattr(known, "pgcode", None)
    if code is None and isinstance(known, psycopg2.OperationalError | psycopg2.InterfaceError):
        return "08006"
    return code or ""


def said(error: BaseException) -> str:
    """Return what the server says, in sentences: its message, its DETAIL, its HINT and the function that failed."""
    known = original(error)
    diagnosis = getattr(known, "diag", None)
    message = getattr(diagnosis, "message_primary", None) or reason(Exception(str(known)))
    detail, hint = (getattr(diagnosis, f"message_{part}", None) for part in ("detail", "hint"))
    where, node = _function(known), _node(known)
    sentences = (
        message,
        detail,
        f"The server's hint: {hint}" if hint else None,
        f"It happened in: {where}" if where else None,
        f"It happened on node {node}" if node else None,
    )
    return " ".join(_sentence(visible(each)) for each in _without_repetition(filter(None, sentences)))


def _without_repetition(texts: Iterable[str]) -> Iterator[str]:
    """Yield texts, each as one line; a line of a text that was said before is left out, as libpq says some twice."""
    said: list[str] = []
    for text in texts:
        lines = []
        for line in (" ".join(each.split()) for each in text.splitlines()):
            if not any(line in each for each in said):
                said.append(line)
                lines.append(line)
        if lines:
            yield re.sub(r"(?<=[^.:;,?!]) \n(?=[A-Z])", ". ", " \n".join(lines)).replace("\n", "")


def _sentence(text: str) -> str:
    return text if text.endswith("?") else f"{text.rstrip('.')}."


def remedy(error: BaseException) -> str:
    """Return what to do about an error, as a sentence."""
    code = sqlstate(error)
    if is_secured(error):
        return SECURED
    if _function(original(error)):
        return OF_A_FUNCTION if code in UNKNOWN_NAMES else UNKNOWN
    return next((REMEDIES[code[:length]] for length in (5, 3, 2) if code[:length] in REMEDIES), UNKNOWN)


def is_secured(error: BaseException) -> bool:
    """Return whether the server refused a query because row-level security could hide rows."""
    return getattr(getattr(original(error), "diag", None), "source_function", None) == "check_enable_rls"


def is_damage(error: BaseException) -> bool:
    """Return whether the server found a page, an index or a file to be damaged."""
    return sqlstate(error) in DAMAGED or is_missing_block(error)


def is_missing_block(error: BaseException) -> bool:
    """Return whether the server was to read a block, or a file, that does not exist."""
    function = getattr(getattr(original(error), "diag", None), "source_function", None) or ""
    return sqlstate(error) in READING and function.lstrip("_").startswith(STORAGE)


def _function(error: BaseException) -> str:
    """Return the line of the error's context that names a function of the database; empty if there is none."""
    context = (getattr(getattr(error, "diag", None), "context", None) or "").splitlines()
    return next((line for line in context if re.search(CALL, line)), "")


def _node(error: BaseException) -> str:
    """Return the node of a Citus cluster that failed; empty if the error is not of one."""
    context = getattr(getattr(error, "diag", None), "context", None) or ""
    found = re.search(ON_A_NODE, context)
    return found[1] if found else ""


def concerns_declaration(error: BaseException) -> bool:
    """Return whether a statement is wrong in itself: its syntax, or a name, a type or a function in it."""
    return sqlstate(error) in OF_DECLARATION


def concerns_one_index(error: BaseException) -> bool:
    """Return whether an error concerns only the index that was being built."""
    return sqlstate(error).startswith(OF_ONE_INDEX)
