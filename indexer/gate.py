"""The gate: whether an application may start on a database as it is now."""

from __future__ import annotations

from collections.abc import Sequence

from indexer.errors import Command, Different, Hint
from indexer.options import DEFAULTS
from indexer.plans import Check, RevisionPlan, Status
from indexer.preflight import conflict_hint
from indexer.replication import for_the_primary
from indexer.text import counted, few
from indexer.tuples import NamedTuple


class Gate(NamedTuple):
    """Whether the gate is open.

    Attributes:
        reason: why it is closed, in a sentence that names no host and no session; empty if it is open.
        hint: what opens it.
        exit_code: that of ``check``.
    """

    is_open: bool
    reason: str = ""
    hint: Hint = Hint()
    exit_code: int = 0


OPEN = Gate(is_open=True)


def gate_of(check: Check) -> Gate:
    """Return the gate: open if every revision is applied, or a later one is, and all indexes are as declared."""
    status = check.status
    if check.deep and check.corrupt:
        names = ", ".join(few(list(check.corrupt)))
        reindex = Hint("To rebuild them, run: ", Command("reindex", *check.deep.to_rebuild))
        return Gate(False, f"These indexes are corrupt: {names}.", reindex, Different.exit_code)
    if status.exit_code == 0:
        return OPEN
    reason, hint = _reason(status), _hint(status)
    return Gate(False, reason, for_the_primary(hint) if status.standby else hint, status.exit_code)


def _reason(status: Status) -> str:
    """Return why the gate is closed; the first of the reasons that decide the exit code of ``status``."""
    if status.unfit:
        return status.unfit
    if status.drifted:
        names = ", ".join(few([f"{step.index.name} ({step.state})" for step in status.drifted]))
        return f"These indexes are not as declared: {names}."
    if status.unindexed:
        tables = few(list(dict.fromkeys(each.table for each in status.unindexed)))
        return f"Indexes are missing on tables that inherit: {', '.join(tables)}."
    if status.unknown:
        names = ", ".join(few([step.index.name for step in status.unknown]))
        return f"A node of the cluster does not answer, so these indexes may not be valid: {names}."
    if status.current is None:
        return "The database has none of the tables."
    return _of_pending([each for each in status.revisions if not each.is_applied])


def _of_pending(pending: Sequence[RevisionPlan]) -> str:
    """Return how many revisions are pending, and how many indexes of the first one are valid."""
    first = pending[0]
    valid = sum(step.is_valid for step in first.steps)
    progress = f"{valid} of its {counted(len(first.steps), 'index', 'indexes')} {'is' if valid == 1 else 'are'} valid"
    if len(pending) == 1:
        return f"Revision {first.revision.id} is pending ({progress})."
    return f"{len(pending)} revisions are pending, the first of them {first.revision.id} ({progress})."


def _hint(status: Status) -> Hint:
    """Return what opens the gate."""
    if status.unfit:
        return Hint("Fix this, then run: ", Command("up"))
    if status.unindexed and not status.drifted:
        return Hint("To see the statements that build them, run: ", Command("check"))
    if status.unknown and not status.drifted:
        return Hint("When all nodes answer, run: ", Command("check"))
    if any(step.found and step.found.is_orphaned for step in status.refused):
        return Hint("To see the statements that drop what only shards have, run: ", Command("check"))
    if status.refused:
        return conflict_hint(status.refused, "up", DEFAULTS)
    if status.drifted:
        return Hint("To repair them, run: ", Command("up"))
    return Hint("To build it, run: ", Command("up"))
