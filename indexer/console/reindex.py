"""The answers of reindex: what it did, or what it would do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from indexer.console.documents import utc
from indexer.console.output import BOLD, Answer, Line, of_failure, styled
from indexer.console.progress import listed
from indexer.console.text import left
from indexer.errors import Hint, IndexerError
from indexer.text import counted, duration, few, in_bytes, visible

if TYPE_CHECKING:
    from indexer.care.choice import Candidate
    from indexer.care.rebuilds import LeftOut, Rebuilt, Reindexed, ReindexPlan
    from indexer.catalog import Place
    from indexer.console.documents import Document

MOST_LEAVES = 2  # of a partitioned table, whose indexes are named one by one


# What was done ------------------------------------------------------------------------------------------------------


def of_run(done: Reindexed, place: Place) -> Answer:
    """Return which indexes were rebuilt, with the gain, and which were left out."""
    rest = done.rest
    document = {
        **place._asdict(),
        "rebuilt": [_rebuilt(each) for each in done.rebuilt],
        "left_out": [_left_out(each) for each in done.left_out],
        "dropped": done.dropped,
        "analyzed": done.analyzed,
        "room_bytes": done.room,
        "left": dict(rest.left) if rest else {},
        "opens": utc(rest.opens) if rest else None,
        "exit_code": done.exit_code,
        "seconds": round(done.seconds, 3),
        "warnings": done.warnings,
    }
    summary = _summary(done, place) + "".join(f". {_corrupt(each)}" for each in done.corrupt)
    line = Hint(summary, "; ", left(rest)) if rest else Hint(f"{summary}.")
    return Answer(document, line, done.exit_code, (*_shown_left_out(done.left_out), line))


def _summary(done: Reindexed, place: Place) -> str:
    """Return what was done, as a sentence without its full stop."""
    counts = [
        *([f"{len(done.rebuilt)} rebuilt{_gain(done.rebuilt)}"] if done.rebuilt else []),
        *([f"{counted(len(done.dropped), 'leftover')} dropped"] if done.dropped else []),
        *([f"{len(done.left_out)} left out"] if done.left_out else []),
    ]
    after = f" after ANALYZE of {', '.join(done.analyzed)}" if done.analyzed else ""
    if done.rebuilt or done.dropped:
        return visible(f"Done in {duration(done.seconds)}{after}: {', '.join(counts)} on {place}")
    if done.rest:
        return visible(f"Nothing was changed on {place}, because the window is closed")
    return visible(f"Nothing to rebuild{after}: {', '.join(counts) or 'no index is declared'} on {place}")


def _corrupt(each: Rebuilt) -> str:
    found = each.finding.text if each.finding else ""
    return visible(f"{each.name} is corrupt although it is new: {found} Check the disks and the memory")


def _gain(rebuilt: Sequence[Rebuilt]) -> str:
    """Return the sizes of all indexes before and after, if both are known of each."""
    before = [each.bytes_before for each in rebuilt if each.bytes_before is not None]
    after = [each.bytes for each in rebuilt if each.bytes is not None]
    is_known = len(before) == len(after) == len(rebuilt)
    return f" ({in_bytes(sum(before))} -> {in_bytes(sum(after))})" if is_known else ""


def _rebuilt(each: Rebuilt) -> Document:
    return {
        "index": each.name,
        "partitioned_index": each.leaf.of if each.leaf else None,
        "table": each.leaf.table if each.leaf else each.target.table,
        "bytes_before": each.bytes_before,
        "bytes": each.bytes,
        "seconds": round(each.seconds, 3),
        "by_another_session": each.by_another,
        "check": each.finding.result if each.finding else None,
        "checked_by": each.finding.by if each.finding else None,
    }


# What would be done -------------------------------------------------------------------------------------------------


def of_plan(plan: ReindexPlan, place: Place, error: IndexerError | None) -> Answer:
    """Return which indexes would be rebuilt, with the statements, and why the others would not be.

    Args:
        error: why the run itself would be refused, if it would be.
    """
    chosen = counted(len(plan.chosen), "index", "indexes") if plan.chosen else "no index"
    line = visible(f"reindex would rebuild {chosen} on {place}")
    document = {
        **place._asdict(),
        "exit_code": error.exit_code if error else 0,
        "rebuilds": [_candidate(each) for each in plan.chosen],
        "left_out": [_left_out(each) for each in plan.left_out],
        "drops": [each.step.index.name for each in plan.leftovers],
        "analyzes": list(dict.fromkeys(each.table for each in plan.stale)),
        "statements": [statement for step in plan.steps for statement in step.statements],
        "room_bytes": plan.room,
        "problems": plan.problems,
        "blockers": [blocker._asdict() for blocker in plan.blockers],
        "warnings": plan.warnings,
    }
    answered = line if error is None else of_failure(error).line
    return Answer(document, answered, document["exit_code"], _shown_plan(plan, line), error)


def _shown_plan(plan: ReindexPlan, line: str) -> Iterator[Line]:
    from indexer.care.choice import gain
    from indexer.care.rebuilds import room_needed

    yield f"{line}{':' if plan.steps else '.'}"
    for each in plan.chosen:
        yield f"  {styled(each.name, BOLD)} {gain(each.evidence, plan.at)}"
    for step in plan.steps:
        yield from (f"    {visible(statement)};" for statement in step.statements)
    yield from _shown_left_out(plan.left_out)
    if plan.blockers:
        yield f"  would wait for these sessions, unless they end first:{listed(plan.blockers)}"
    stale = ", ".join(dict.fromkeys(each.table for each in plan.stale))
    notes = [f"Statistics may be old. reindex runs ANALYZE of {stale} first, and judges again."] if stale else []
    yield from (Hint("Note: ", note).with_texts(visible) for note in (*notes, *room_needed(plan), *plan.warnings))
    if not plan.is_empty and not plan.problems:
        yield Hint("Nothing was changed. To do it, run: ", plan.command)


def _candidate(each: Candidate) -> Document:
    evidence = each.evidence
    return {
        "index": each.name,
        "partitioned_index": each.leaf.of if each.leaf else None,
        "table": each.table,
        "bytes": each.size,
        "bytes_after_rebuild": evidence.bytes_after_rebuild if evidence else None,
        "evidence": evidence.source if evidence else None,
    }


def _left_out(each: LeftOut) -> Document:
    return {**_candidate(each.candidate), "reason": each.reason}


def _shown_left_out(left_out: Sequence[LeftOut]) -> Iterator[Line]:
    """Yield a line for each index that is left out, and one for those that do not exist."""
    missing = [each for each in left_out if each.candidate.step.found is None]
    if left_out:
        yield "Left out:"
    if len(missing) > 1:
        names = ", ".join(few([each.candidate.name for each in missing]))
        yield Hint(
            f"  {counted(len(missing), 'index', 'indexes')} that do not exist ({names}); run: ",
            missing[0].candidate.remedy,
        )
    leaves: dict[str, list[LeftOut]] = {}
    for each in left_out:
        if each.candidate.leaf:
            leaves.setdefault(each.candidate.declared, []).append(each)
        elif each not in missing or len(missing) == 1:
            yield Hint(f"  {each.candidate.name} ", each.reason).with_texts(visible)
    for name, group in leaves.items():
        group.sort(key=lambda each: each.candidate.size or 0, reverse=True)
        for each in group[:MOST_LEAVES]:
            yield Hint(f"  {each.candidate.name} ", each.reason).with_texts(visible)
        if others := group[MOST_LEAVES:]:
            yield visible(f"  {counted(len(others), 'smaller leaf index', 'smaller leaf indexes')} of {name}")
