"""The failures of a statement: which of them another attempt can heal, and what the others mean to the user."""

from __future__ import annotations

import psycopg2

from indexer.decide import Action
from indexer.errors import Blocked, IndexerError, IndexFailed, StatementFailed
from indexer.events import Blocker, Laggard
from indexer.postgres.run.sessions import listed
from indexer.postgres.session.server_errors import AGAIN, DECLARED, UNKNOWN, concerns_one_index, remedy, said
from indexer.steps import Step

DOING = {
    Action.DROP: "Dropping",
    Action.REINDEX: "Rebuilding",
    Action.ANALYZE: "Analyzing",
    Action.RENAME: "Renaming",
    Action.RENAME_BACK: "Renaming",
    Action.REPLACE: "Replacing",
    Action.ATTACH: "Attaching",
}

# Another session created, renamed or dropped the index first. The server says so with one of these SQLSTATEs, or with
# an internal error, whose message it does not translate.
RACES = ("42P07", "42710", "42P01", "42704")  # duplicate table or object, undefined table or object
NAME_IS_TAKEN = "pg_class_relname_nsp_index"  # violated by the second of two plain builds in open transactions
NOT_TO_BE_ATTACHED = ("42P17", "55000")  # invalid object definition, object not in prerequisite state
NOT_ATTACHED = (
    "Run the same command again, which looks for what is attached instead. If it fails again, the partition is detached"
    " where it happened: attach it there, then run the command once more."
)
INTERNAL_RACES = ("tuple concurrently", "could not open relation", "could not find tuple", "cache lookup failed")


class GaveUp(Exception):
    """A statement was cancelled, or not sent, because it had waited for longer than the options allow."""

    def __init__(self, phase: str, blockers: tuple[Blocker | Laggard, ...]) -> None:
        super().__init__(phase)
        self.blockers = blockers


class Changed(Exception):
    """While a statement waited to be sent, another session changed what it is about."""


def has_ended(failure: Exception) -> bool:
    """Return whether the server has ended the statement; without an answer, it may still be executing it."""
    return isinstance(failure, GaveUp) or bool(getattr(failure, "pgcode", None))


def is_race(failure: BaseException) -> bool:
    """Return whether another session was first, so that the next decision is about another state of the index."""
    if not isinstance(failure, psycopg2.Error):
        return False
    if isinstance(failure, psycopg2.errors.UniqueViolation):
        return failure.diag.constraint_name == NAME_IS_TAKEN
    if isinstance(failure, psycopg2.errors.InternalError_):
        return (failure.diag.message_primary or "").startswith(INTERNAL_RACES)
    return failure.pgcode in RACES


def cannot_be_attached(step: Step, failure: Exception) -> bool:
    """Return whether an index cannot be attached: its table is no partition any more, or has another one attached."""
    return step.action is Action.ATTACH and getattr(failure, "pgcode", None) in NOT_TO_BE_ATTACHED


def reason_of(failure: Exception) -> str:
    """Return why a statement is sent again, as a phrase."""
    return f"{failure} took too long" if isinstance(failure, GaveUp) else said(failure).rstrip(".")


def as_error(step: Step, name: str, failure: Exception, is_left: bool) -> IndexerError:
    """Return the error with which a run ends.

    Args:
        name: of the index, as it is shown.
        is_left: whether the statement has left an incomplete index.
    """
    left = f"An incomplete {name} may remain; the next run rebuilds it. " if is_left else ""
    if step.action is Action.REINDEX:
        left = ""  # the caller says what is left: an incomplete copy, or the old index
    if isinstance(failure, GaveUp):
        blockers = f" for:{listed(failure.blockers)}" if failure.blockers else "."
        return Blocked(f"Gave up on {name}, {failure}{blockers}", left + AGAIN)
    doing = DOING.get(step.action, "Building")
    kind = IndexFailed if concerns_one_index(failure) else StatementFailed
    return kind(f"{doing} {name} failed: {said(failure)}", left + _remedy(step, failure))


def _remedy(step: Step, failure: Exception) -> str:
    """Return what to do about a failure; the declaration is not at fault where nothing is built by it."""
    if cannot_be_attached(step, failure):
        return NOT_ATTACHED
    found = remedy(failure)
    return UNKNOWN if found == DECLARED and step.action in (Action.ANALYZE, Action.DROP) else found
