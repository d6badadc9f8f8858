"""What to do about an index, as sentences with the command that follows. Pure: no database here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from indexer.advice import DUPLICATE, LEFTOVER, SAME_KEY, SUPERFLUOUS, SUSPECT, Advice
from indexer.care.evidence import Evidence
from indexer.care.needless import Needless
from indexer.care.observed import Observed
from indexer.care.statistics import lacking
from indexer.care.usage import BEGINNINGS
from indexer.catalog import PARTITIONED_INDEX
from indexer.definition import Definition
from indexer.errors import Command, Hint, statement
from indexer.spec import BTREE, with_suffix
from indexer.text import are, counted, day, few, in_bytes
from indexer.tuples import NamedTuple

INVALID, BLOATED, STATISTICS = "invalid", "bloated", "statistics"
HASH_DISTINCT, NEEDLESS, UNUSED = "hash distinct", "needless", "unused"
KINDS = (
    *(INVALID, LEFTOVER, SUSPECT, BLOATED, STATISTICS, HASH_DISTINCT),
    *(DUPLICATE, SAME_KEY, SUPERFLUOUS, NEEDLESS, UNUSED),
)  # in the order in which they are said
OF_CHECK = (DUPLICATE, SAME_KEY, SUPERFLUOUS, LEFTOVER, SUSPECT)  # those that check gives, too

HEALTHY = 1.4  # the ratio below which nothing is said: random inserts settle at 1.25 to 1.28
TOO_LARGE = 2.0  # the ratio from which a rebuild is advised
MOST_TABLES = 10  # that a sentence names
ANALYZE = Hint(". Gather new statistics: ", Command("analyze"))
LONG_ENOUGH = 35  # days; what runs once a month has run by then

SOURCES = {
    "baseline": "measured against the build of {day}",
    "learned": "measured against its state of {day}, the best that was seen",
    "exact": "by reading all of it",
    "statistics": "by the statistics of its columns",
}


class Others(NamedTuple):
    """What is known beside what is observed of each index.

    Attributes:
        said: the advice of ``check``, about duplicates and leftovers for example.
        hash_distinct: for each hash index with few distinct values, a sentence without its full stop.
        needless: the indexes that a wider one makes nearly needless.
        without_statistics: the indexes on expressions of which there are no statistics, by table.
        where: on which servers scans were counted, and which were not asked.
        now: the time, in UTC.
        drop, reindex: return the statement that drops, or rebuilds, the index of a name.
        create: returns the statement that builds an index of a name and a definition.
    """

    said: Sequence[Advice]
    hash_distinct: Mapping[str, str]
    needless: Sequence[Needless]
    without_statistics: Mapping[str, Sequence[str]]
    where: str
    now: datetime
    drop: Callable[[str], str]
    reindex: Callable[[str], str]
    create: Callable[[str, Definition], str]


def advice_on(index: Observed, others: Others) -> tuple[Advice, ...]:
    """Return the advice on an index."""
    found = [*_of_check(index, others), *_own(index, others)]
    return tuple(sorted(found, key=lambda advice: KINDS.index(advice.kind)))


def rebuilt(bytes: int | None, evidence: Evidence, now: datetime) -> str:
    """Return what a rebuild would leave of an index, and what says so."""
    said = SOURCES[str(evidence.source)].format(day=day(evidence.measured_at, now) if evidence.measured_at else "")
    return f"{in_bytes(bytes or 0)}; a rebuild would leave about {in_bytes(evidence.bytes_after_rebuild or 0)}, {said}"


def _of_check(index: Observed, others: Others) -> Iterator[Advice]:
    """Yield what ``check`` says of an index, with the statement that drops a superfluous one that is not declared."""
    yield from (advice for advice in others.said if advice.on_leaf and advice.about == index.name)
    for advice in others.said:
        is_about = advice.other == index.name and not advice.on_leaf
        if not is_about or advice.kind not in OF_CHECK or (index.entry and index.entry.worker):
            continue
        can_be_dropped = advice.can_be_dropped and not index.is_declared and not index.is_needed
        drop = Hint(" Drop it: ", statement(f"{others.drop(index.name)};")) if can_be_dropped else Hint()
        yield advice._replace(text=Hint(advice.text, drop))


def _own(index: Observed, others: Others) -> Iterator[Advice]:
    texts = {
        INVALID: _invalid(index, others),
        BLOATED: _bloated(index, others),
        STATISTICS: _statistics(index, others),
        HASH_DISTINCT: _hash_distinct(index, others),
        NEEDLESS: _needless(index, others),
        UNUSED: _unused(index, others),
    }
    for kind, text in texts.items():
        if text:
            yield Advice(kind, index.name, None, text)


def _invalid(index: Observed, others: Others) -> Hint | None:
    entry, name = index.entry, index.name
    is_leftover = any(advice.kind == LEFTOVER and advice.other == name for advice in others.said)
    if entry is None or entry.usable or entry.worker or entry.unknown or entry.definition is None or is_leftover:
        return None
    if entry.kind == PARTITIONED_INDEX:
        return _incomplete(index, others)
    cost = f"{name} is {entry.flaw}: no query uses it, and writes may go on paying for it."
    if index.step and index.step.differences:
        return Hint(f"{cost} It is not as declared, either. Compare: ", Command("check"))
    if index.step:
        return Hint(f"{cost} Rebuild it: ", Command("up"))
    reindex, drop = f"{others.reindex(name)};", f"{others.drop(name)};"
    if entry.definition.constraint:
        return Hint(f"{cost} Rebuild it: ", statement(reindex))
    if entry.definition.unique:  # most likely because of rows with the same key, which stop a rebuild, too
        rebuild = f"or, once no two rows have the same key, rebuild it: {reindex}"
        return Hint(f"{cost} Drop it: ", statement(f"{drop} {rebuild}"))
    return Hint(f"{cost} Rebuild it: ", statement(f"{reindex} or drop it: {drop}"))


def _incomplete(index: Observed, others: Others) -> Hint:
    """Return what to do about the index of a partitioned table that is not valid on each partition."""
    name, step = index.name, index.step
    if step is None:
        lacking = "on some partitions it has no valid index"
        drop = statement(f"{others.drop(name)};")
        return Hint(f"{name} is not complete: {lacking}. Attach one of each, or drop it: ", drop)
    if step.differences:
        return Hint(f"{name} is not complete, and not as declared. Compare: ", Command("check"))
    text = f"{name} is not complete: {step.finding}. Queries of these partitions do without it."
    return Hint(f"{text} Complete it: ", Command("up"))


def _bloated(index: Observed, others: Others) -> Hint | None:
    if index.leaves:
        return _bloated_leaves(index, others)
    evidence, name = index.evidence, index.name
    if evidence is None or evidence.ratio is None or evidence.ratio < TOO_LARGE:
        return None
    text = f"{name}: {rebuilt(index.bytes, evidence, others.now)}."
    if not index.is_declared:
        return Hint(f"{text} Rebuild it: ", statement(f"{others.reindex(name)};"))
    if evidence.is_stale:
        judging = Command("reindex", name, "--bloated-over", f"{TOO_LARGE:g}")
        return Hint(f"{text} The statistics may be old. To gather them first, and judge again: ", judging)
    return Hint(f"{text} Rebuild it: ", Command("reindex", name))


def _bloated_leaves(index: Observed, others: Others) -> Hint | None:
    """Return the advice to rebuild those leaf indexes that need it; the others of a partitioned index stay."""
    found = {label: each for label, each in index.leaves.items() if each.ratio is not None and each.ratio >= TOO_LARGE}
    if not found:
        return None
    worst = max(found, key=lambda label: (found[label].bytes or 0) - (found[label].bytes_after_rebuild or 0))
    of_all = f"{len(found):,} of {counted(len(index.leaves), 'leaf index', 'leaf indexes')} of {index.name}"
    which = f"{of_all} {are(list(found))} bloated{', such as' if len(found) > 1 else ':'} {worst}"
    text = f"{which}: {rebuilt(found[worst].bytes, found[worst], others.now)}."
    if not index.is_declared:
        return Hint(text)
    judging = Command("reindex", index.name, "--bloated-over", f"{TOO_LARGE:g}")
    if any(each.is_stale for each in found.values()):
        return Hint(f"{text} The statistics may be old. To gather them first, and judge again: ", judging)
    return Hint(f"{text} Rebuild what is bloated: ", judging)


def _statistics(index: Observed, others: Others) -> Hint | None:
    flaw = index.statistics.flaw if index.statistics else None
    flaw = flaw or lacking(others.without_statistics.get(index.table, ()))
    return Hint(f"{flaw[0].upper()}{flaw[1:]}" if flaw.startswith("the ") else flaw, ANALYZE) if flaw else None


def of_statistics(tables: Sequence[str]) -> Hint:
    """Return the advice to gather the statistics of several tables."""
    return Hint(f"The statistics of {', '.join(few(tables, MOST_TABLES))} are missing or old", ANALYZE)


def _hash_distinct(index: Observed, others: Others) -> Hint | None:
    said, entry = others.hash_distinct.get(index.name), index.entry
    if not said or entry is None or entry.definition is None:
        return None
    if index.is_declared:
        text = f"{said}. To replace it with a B-tree in a next revision: "
        return Hint(text, Command("new", f"replace {index.name}"))
    build = others.create(with_suffix(index.name, "_btree"), entry.definition._replace(method=BTREE))
    return Hint(f"{said}. Build a B-tree instead: ", statement(f"{build}; Then drop it: {others.drop(index.name)};"))


def _needless(index: Observed, others: Others) -> Hint | None:
    found = next((each for each in others.needless if each.candidate.narrow == index.name), None)
    if found is None:
        return None
    (_, name, wide, column, _), costs = found.candidate, found.costs
    cost, cost_now = f"{costs.with_wide:,.0f}", f"{costs.chosen:,.0f}"
    dearer = "the same cost" if cost == cost_now else f"a cost of {cost} instead of {cost_now}"
    return _in_a_revision(
        f"{name} is nearly needless on this server version ({found.version}): without it, the planner finds a value of"
        f" {column} with {wide} at {dearer}. Only ORDER BY {column} needs it.",
        index,
    )


def _unused(index: Observed, others: Others) -> Hint | None:
    days, usage = index.unused_days(others.now), index.usage
    if days is None or days < LONG_ENOUGH or index.is_needed or not index.is_usable or not (usage and usage.since):
        return None
    if not usage.is_known_built:  # it may have been built a moment ago, as after a restore
        return None
    since = f"since {day(usage.since, others.now)} ({counted(days, 'day')}), {BEGINNINGS[usage.begun_by]}"
    return _in_a_revision(f"Nothing has used {index.name} {since}, {others.where}.", index)


def _in_a_revision(text: str, index: Observed) -> Hint:
    """Return a text with the way to get rid of a declared index; who needs another one, only its owner knows."""
    if not index.is_declared:
        return Hint(text)
    return Hint(f"{text} To take it out with a next revision: ", Command("new", f"take out {index.name}"))
