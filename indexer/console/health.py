"""The report of ``health`` as text, and as a document of --json."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from indexer.care.advice import HEALTHY, TOO_LARGE, rebuilt
from indexer.care.health import Health, IndexHealth
from indexer.care.observed import Observed
from indexer.care.statistics import Statistics
from indexer.care.usage import BEGINNINGS, BUILT, ServerCounts, Usage
from indexer.catalog import Table
from indexer.console.documents import Document, of_standby, utc
from indexer.console.output import Answer, Line
from indexer.console.tables import drawn
from indexer.console.text import cannot_tell
from indexer.errors import Command, Hint
from indexer.replication import for_the_primary
from indexer.text import counted, day, duration, few, in_bytes, visible

NUMBERS = ("size", "of table", "after rebuild", "scans", "tuples per scan", "hits", "writes", "rows", "changed since")
TITLES = (
    *("index", "table", "state", "size", "of table", "after rebuild"),
    *("scans", "tuples per scan", "last scan", "hits"),
)
LESS_NEEDED = ("hits", "of table", "counted since", "tuples per scan", "last scan", "table", "after rebuild")
TABLE_TITLES = ("table", "rows", "size", "writes", "statistics of", "changed since")
CANNOT_TELL = "cannot tell"
HOUR, DAY = 3600, 86400  # seconds
UPPER_BOUND = (
    "Scans are an upper bound: EXPLAIN, and so verify, can count as one, and each lookup of check --deep does."
    " Hits are those in shared buffers: a block that the operating system has cached counts as none."
)


def answer(health: Health) -> Answer:
    """Return the report."""
    return Answer(document(health), _line(health), health.exit_code, lines(health))


def document(health: Health) -> Document:
    """Return the report as a document; null stands for what cannot be told."""
    return {
        **health.place._asdict(),
        "standby": of_standby(health.standby),
        "exit_code": health.exit_code,
        "now": utc(health.now),
        "indexes": [_index(index, health) for index in health.indexes],
        "tables": [_table(table, statistics, health.now) for table, statistics in health.tables],
        "counted_on": [_server(server) for server in health.servers],
        "not_counted": list(health.failures),
        "warnings": list(health.warnings),
    }


def _index(index: IndexHealth, health: Health) -> Document:
    observed, usage = index.observed, index.observed.usage
    evidence, statistics = observed.evidence, observed.statistics
    analyzed_at = statistics.analyzed_at if statistics else None
    return {
        "index": observed.name,
        "table": observed.table,
        "declared": observed.is_declared,
        "state": observed.state,
        "bytes": observed.bytes,
        "partitions": observed.of_table.partitions if observed.of_table else None,
        "share_of_table": _rounded(observed.share),
        "bytes_after_rebuild": evidence.bytes_after_rebuild if evidence else None,
        "ratio": _rounded(evidence.ratio) if evidence else None,
        "evidence": evidence.source if evidence else None,
        "measured_at": _utc(evidence.measured_at) if evidence else None,
        "why": (evidence.why or None) if evidence else None,
        "scans": usage.by_others if usage else None,
        "own_scans": usage.own if usage else None,
        "since": _utc(usage.since) if usage else None,
        "since_event": usage.begun_by if usage and usage.since else None,
        "build_is_known": usage.is_known_built if usage else None,
        "last_scan": _utc(usage.last_scan) if usage else None,
        "tuples_per_scan": _rounded(usage.tuples_per_scan) if usage else None,
        "hit_ratio": _rounded(usage.hit_ratio) if usage else None,
        "writes": observed.writes,
        "writes_since": _utc(health.servers[0].since) if health.servers else None,
        "limits": list(observed.limits),
        "statistics_at": _utc(analyzed_at),
        "statistics_age": round((health.now - analyzed_at).total_seconds()) if analyzed_at else None,
        "modified": statistics.modified if statistics else None,
        "advice": [{"kind": advice.kind, "text": advice.text} for advice in index.advice],
    }


def _table(table: Table, statistics: Statistics | None, now: datetime) -> Document:
    return {
        "table": table.name,
        "partitions": table.partitions,
        "rows": statistics.rows if statistics else table.rows,
        "bytes": table.bytes,
        "has_statistics": statistics.exist if statistics else None,
        "statistics_at": _utc(statistics.analyzed_at) if statistics else None,
        "statistics_rows": statistics.rows_then if statistics else None,
        "modified": statistics.modified if statistics else None,
    }


def _server(server: ServerCounts) -> Document:
    return {
        **server.place._asdict(),
        "server_version": server.version,
        "standby": server.in_recovery,
        "standbys": server.standbys,
        "counts": server.is_counting,
        "since": _utc(server.since),
    }


def _utc(moment: datetime | None) -> str | None:
    return utc(moment) if moment else None


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)


# Text -----------------------------------------------------------------------------------------------------------------


def lines(health: Health) -> Iterator[Line]:
    """Yield the report: what was counted where, the figures, what else there is to know, and the advice."""
    if not health.tables:
        yield _nothing(health)
        return
    yield f"{health.place}: {_totals(health)}.{_counting(health)}\n"
    yield _figures(health) + "\n"
    yield _of_tables(health) + "\n"
    notes = [for_the_primary(note) if health.standby else note for note in _notes(health)]
    yield from (Hint("Note: ", note).with_texts(visible) for note in notes)
    if notes:
        yield ""
    where = ", to be followed on the primary" if health.standby else ""
    if health.advice or not health.unknown:
        yield f"Advice{where}:" if health.advice else "Nothing to advise."
    yield from (Hint("  ", advice.text).with_texts(visible) for advice in health.advice)
    if health.unknown:
        yield cannot_tell(health.unknown, "health")


def _line(health: Health) -> Line:
    """Return the report in one line, as that of one of several schemas."""
    if not health.tables:
        return _nothing(health)
    if health.unknown:
        return cannot_tell(health.unknown, "health")
    if not health.advice:
        return f"{_totals(health)}; nothing to advise."
    by_kind: dict[str, list[str]] = defaultdict(list)
    for advice in health.advice:
        by_kind[advice.kind].append(advice.other or "several tables")
    return f"{_totals(health)}; {', '.join(f'{kind}: {_named(names)}' for kind, names in by_kind.items())}."


def _nothing(health: Health) -> Line:
    none = f"{health.place} has none of the tables, so there is no index to look at."
    return Hint(f"{none} See what would be built: ", Command("plan"))


def _totals(health: Health) -> str:
    existing = [index.observed for index in health.indexes if index.observed.entry]
    sizes = [observed.bytes for observed in existing if observed.bytes is not None]
    size = f", {in_bytes(sum(sizes))}" if sizes else ""
    return f"{counted(len(existing), 'index', 'indexes')}{size}"


def _counting(health: Health) -> str:
    """Return since when, and where, scans were counted; since the earliest moment: later ones are builds."""
    used = [observed.usage for observed in _used(health) if observed.usage]
    if not health.servers or not used:
        return ""
    if not _is_common(health):
        return f" Scans are counted {health.where}."
    first = min(used, key=lambda usage: usage.since or health.now)
    begun = f", {BEGINNINGS[first.begun_by]}" if first.begun_by != BUILT else ""
    return f" Scans are counted {_since(first.since, health.now)}{begun}, {health.where}."


def _is_common(health: Health) -> bool:
    """Return whether the counts of all indexes begin on about the same day."""
    moments = [observed.usage.since for observed in _used(health) if observed.usage]
    known = [moment for moment in moments if moment]
    return len(known) == len(moments) and (not known or (max(known) - min(known)).total_seconds() < DAY)


def _since(since: datetime | None, now: datetime) -> str:
    if since is None:
        return "since a time that is not known"
    days = (now - since).days
    age = counted(days, "day") if days else duration((now - since).total_seconds())
    return f"since {day(since, now)} ({age})"


def _used(health: Health) -> list[Observed]:
    return [index.observed for index in health.indexes if index.observed.usage]


def _figures(health: Health) -> str:
    """Return the table of the indexes; since when is a column where it differs."""
    is_common = _is_common(health)
    titles = TITLES if is_common else (*TITLES, "counted since")
    rows = [_row(index.observed, health.now) for index in health.indexes]
    if not is_common:
        rows = [
            (*row, _moment(index.observed.usage.since, health.now) if index.observed.usage else "")
            for row, index in zip(rows, health.indexes, strict=True)
        ]
    return drawn(titles, rows, right=NUMBERS, less_needed=LESS_NEEDED)


def _row(observed: Observed, now: datetime) -> tuple[Any, ...]:
    usage = observed.usage
    return (
        observed.name,
        observed.table,
        "" if observed.state == "valid" else (observed.state, "yellow" if observed.state == "missing" else "red"),
        "" if observed.bytes is None else in_bytes(observed.bytes),
        _percent(observed.share),
        _rebuilt(observed),
        *(_usage(usage, now) if usage else ("",) * 4),
    )


def _usage(usage: Usage, now: datetime) -> tuple[str, ...]:
    per_scan = usage.tuples_per_scan
    return (
        f"{usage.by_others:,}",
        "" if per_scan is None else f"{per_scan:,.1f}" if per_scan < 100 else f"{per_scan:,.0f}",
        _moment(usage.last_scan, now),
        _percent(usage.hit_ratio),
    )


def _rebuilt(observed: Observed) -> str:
    """Return the size after a rebuild, where one would gain anything that is not usual."""
    evidence = observed.evidence
    if evidence is None:
        return ""
    if evidence.ratio is None:
        return CANNOT_TELL
    return in_bytes(evidence.bytes_after_rebuild or 0) if evidence.ratio >= HEALTHY else ""


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f}%"


def _moment(moment: datetime | None, now: datetime) -> str:
    """Return how long ago a moment was; its day if that was days ago."""
    if moment is None:
        return ""
    seconds = max((now - moment).total_seconds(), 0)
    if seconds >= 2 * DAY:
        return day(moment, now)
    return f"{counted(int(seconds // HOUR), 'hour')} ago" if seconds >= 2 * HOUR else f"{duration(seconds)} ago"


def _of_tables(health: Health) -> str:
    counts = health.servers[0].tables if health.servers else {}
    rows = []
    for table, statistics in health.tables:
        each = counts.get(table.name)
        rows.append(
            (
                _with_partitions(table),
                "" if statistics is None or statistics.rows is None else f"{statistics.rows:,}",
                "" if table.bytes is None else in_bytes(table.bytes),
                f"{each.inserts + each.updates:,}" if each else "",
                _age(statistics, health.now),
                _changed(statistics),
            )
        )
    since = health.servers[0].since if health.servers else None
    writes = f"index writes since {day(since, health.now)}" if since else "index writes"
    titles = [writes if title == "writes" else title for title in TABLE_TITLES]
    return drawn(titles, rows, right=(*NUMBERS, writes))


def _with_partitions(table: Table) -> str:
    return table.name if table.partitions is None else f"{table.name} ({counted(table.partitions, 'partition')})"


def _changed(statistics: Statistics | None) -> str:
    """Return how many rows have changed; not where that is known by their number alone."""
    if statistics is None or statistics.modified is None or statistics.rows_then is not None:
        return ""
    return f"{statistics.modified:,}"


def _age(statistics: Statistics | None, now: datetime) -> str:
    if statistics is None or statistics.exist is None:
        return CANNOT_TELL
    if not statistics.exist:
        return "never" if statistics.rows else ""
    if statistics.rows_then is not None:
        return counted(statistics.rows_then, "row")
    return _moment(statistics.analyzed_at, now) or CANNOT_TELL


# Notes ----------------------------------------------------------------------------------------------------------------


def _notes(health: Health) -> Iterator[str | Hint]:
    yield from (warning for warning in health.warnings if isinstance(warning, (str, Hint)))
    yield from health.failures
    yield from (f"{server.place} counts nothing (track_counts is off)." for server in health.servers if _is_off(server))
    yield from _states(health.indexes)
    yield from _sizes(health)
    yield from (f"{limit}." for index in health.indexes for limit in index.observed.limits)
    yield from _deep_checks(health)
    if _used(health):
        yield UPPER_BOUND
    if _used(health) and any(table.partitions for table, _ in health.tables):
        yield "A query of a partitioned table counts as a scan for each partition that it reads by the index."
    if not health.servers:
        yield "SQLite counts neither scans nor writes."


def _is_off(server: ServerCounts) -> bool:
    return not server.is_counting


def _states(indexes: Iterable[IndexHealth]) -> Iterator[str | Hint]:
    """Yield which declared indexes are not built or differ, and which indexes are being built."""
    observed = [index.observed for index in indexes]
    missing = [each.name for each in observed if each.state == "missing"]
    different = [each.name for each in observed if each.state == "different"]
    if missing:
        yield Hint(f"Not built yet: {_named(missing)}. Build: ", Command("up"))
    if different:
        yield Hint(f"Not as declared: {_named(different)}. Compare: ", Command("check"))
    for each in observed:
        if each.entry and each.entry.worker and not each.entry.usable:
            yield f"{each.name} is being built or dropped by another session (pid {each.entry.worker})."


def _deep_checks(health: Health) -> Iterator[str]:
    """Yield which scans were deep checks, and whether they are among those that are shown."""
    looked_up: dict[str, list[str]] = defaultdict(list)
    for observed in _used(health):
        if observed.checked and observed.checked.scans:
            left_out = "are left out" if observed.usage and observed.usage.own else "may be among those counted"
            last = day(observed.checked.at, health.now)
            looked_up[f"The lookups of check --deep, the last on {last}, {left_out}"].append(observed.name)
    for said, names in looked_up.items():
        yield f"{said}: {_named(names)}."


def _sizes(health: Health) -> Iterator[str]:
    """Yield what a rebuild would gain where that is no reason to rebuild yet, and where it cannot be told."""
    unknown: dict[str, list[str]] = defaultdict(list)
    for observed in (index.observed for index in health.indexes):
        evidence = observed.evidence
        if evidence and evidence.ratio is None and evidence.why:
            unknown[evidence.why].append(observed.name)
        elif evidence and evidence.ratio is not None and HEALTHY <= evidence.ratio < TOO_LARGE:
            yield f"{observed.name}: {rebuilt(observed.bytes, evidence, health.now)}."
    for why, names in unknown.items():
        yield f"Cannot tell what a rebuild would leave, because {why}: {_named(names)}."


def _named(names: Sequence[str]) -> str:
    return ", ".join(few(names, 10))
