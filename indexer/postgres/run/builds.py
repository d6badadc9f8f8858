"""The indexes that other sessions are building now: how far they are, and what they wait for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from indexer.events import Event, Progress, Waiting
from indexer.leftovers import name_and_ending
from indexer.postgres.catalog.catalog import PostgresCatalog
from indexer.postgres.citus.statements import concerns
from indexer.postgres.run.sessions import Sessions
from indexer.postgres.run.watch import NOT_VISIBLE, Watch
from indexer.server import RunningBuild
from indexer.spec import Index
from indexer.steps import Step

STARTED = """
    SELECT a.pid,
           pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.query_start)::pg_catalog.float8 AS seconds,
           a.query ~* '^DROP' AS is_drop
      FROM pg_catalog.pg_stat_activity AS a
     WHERE a.pid = ANY (%(pids)s::pg_catalog.int4[])
"""

# A build waits for the lock on its table before its index is in the catalog: behind a VACUUM, for example.
WAITING = """
    SELECT l.pid,
           a.query
      FROM pg_catalog.pg_locks AS l
      JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
      JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
     WHERE l.locktype = 'relation'
       AND l.database = (
           SELECT d.oid
             FROM pg_catalog.pg_database AS d
            WHERE d.datname = pg_catalog.current_database())
       AND l.mode = 'ShareUpdateExclusiveLock'
       AND NOT l.granted
       AND c.relnamespace = %(namespace)s
       AND c.relname = ANY (%(tables)s::pg_catalog.text[])
       AND a.query ~ '^(CREATE|REINDEX)'
"""


def running_builds(catalog: PostgresCatalog, steps: Sequence[Step]) -> list[RunningBuild]:
    """Return the indexes of these steps, and of their partitions, that other sessions are building now."""
    workers = {pid: index for step in steps for pid, index in _of_step(step)}
    declared = {name: step.index for step in steps for name in (step.index.name, step.index.replacing)}
    tables = sorted({step.index.table for step in steps})
    for entry in catalog.indexes_on(tables):
        index = declared.get(name_and_ending(entry.name)[0])  # REINDEX CONCURRENTLY builds one of another name
        if entry.worker is not None and index is not None:
            workers.setdefault(entry.worker, index)
    for row in Sessions(catalog).visible_rows(WAITING, tables=tables) or []:
        named = [index for name, index in declared.items() if concerns(row["query"], name, catalog.schema or "")]
        workers.update((row["pid"], index) for index in named[:1])
    started = _started(catalog, list(workers)) if workers else {}
    return [_observed(catalog, pid, index)._replace(**started.get(pid, {})) for pid, index in workers.items()]


def _of_step(step: Step) -> Iterator[tuple[int, Index]]:
    """Yield the process that builds the index of a step, or that of each of its partitions, and the index."""
    for each in [part.step for part in step.parts] or [step]:
        if each.found is not None and each.found.worker is not None and not each.found.usable:
            yield each.found.worker, each.index


def _started(catalog: PostgresCatalog, pids: list[int]) -> Mapping[int, Mapping[str, Any]]:
    """Return how long the statement of each process has run, and whether it is a drop, as far as our role sees that."""
    rows = Sessions(catalog).visible_rows(STARTED, pids=pids) or []
    return {row["pid"]: {"seconds": row["seconds"], "is_drop": bool(row["is_drop"])} for row in rows}


def _observed(catalog: PostgresCatalog, pid: int, index: Index) -> RunningBuild:
    """Return what can be seen now of the build of an index by a process."""
    events: list[Event] = []
    _watch(Sessions(catalog, events.append), index, pid).observe()
    build = RunningBuild(index.name, index.table, pid)
    for event in events:
        if isinstance(event, Progress):
            build = build._replace(phase=event.phase, fraction=event.fraction)
        elif isinstance(event, Waiting):
            build = build._replace(phase=event.phase, blockers=event.blockers)
    return build._replace(phase="") if build.phase.startswith(NOT_VISIBLE) else build


def _watch(sessions: Sessions, index: Index, pid: int) -> Watch:
    if not sessions.catalog.is_citus:
        return Watch(sessions, index, pid)
    from indexer.postgres.citus.watch import CitusWatch

    return CitusWatch(sessions, index, pid)
