"""A command on several databases or schemas: each has its own session, lock, record and answer.

Threads do the work: they wait for their servers most of the time, a further one costs less than a megabyte where a
process costs thirty, and a peewee connection belongs to one thread anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from queue import Empty
from threading import Thread

from indexer.cli.agenda import LISTING, REST, Agenda, Task
from indexer.cli.running import Call, Work, default_database
from indexer.cli.worker import Job, Result, Worker
from indexer.console import output
from indexer.console.many import Part, Report
from indexer.signals import CANCELLING, Stop

LOOK = 0.1  # seconds between two looks at what is still running after a signal


def work_on_each(call: Call, work: Work, tables: Sequence[str], stop: Stop) -> int:
    """Do work on each database or schema, also after a failure; print the answers, and return the highest exit code.

    Args:
        work, tables: as for ``work_on``.

    Raises:
        UsageError: ``first`` names none of them.
        IndexerError: only one database was named, and its schemas cannot be listed.
        Interrupted: a signal came, and nothing was changed.
    """
    where = None if call.target.source else default_database(call.project)
    agenda = Agenda(list(_tasks(call)), call.first)
    report = Report(call.write, len(call.targets), call.as_json, call.as_script)
    for part, answer in _results(Job(call, work, tables, agenda, where), stop):
        if answer.error and part.schema is None and not call.targets:
            raise answer.error
        report.add(part, answer)
    if agenda.refusal:
        raise agenda.refusal
    if stop.asked and not call.changes:
        raise stop.interruption()
    left = [task.part for task in agenda.left]
    stopped_by = agenda.stopped_by.part if agenda.stopped_by else None
    return report.finish(left, stopped_by, stop.interruption().exit_code if stop.asked else 0)


def _tasks(call: Call) -> Iterator[Task]:
    """Yield the first task on each database: to list its schemas, if there may be several, else the work itself."""
    for number, target in enumerate(call.all_targets):
        part = Part((number, -1), target.name, target.typed, opening=target.opening)
        yield Task(LISTING if target.is_many else REST, part, target)


def _results(job: Job, stop: Stop) -> Iterator[Result]:
    """Yield each result as soon as it is known; after a signal, wait only for what has to be cleaned up."""
    workers = {Worker(job, stop) for _ in range(job.call.parallel)}
    for worker in workers:
        Thread(target=worker.run, name="worker", daemon=True).start()
    stop.on_ask(job.agenda.close)
    stop.on_ask(lambda: job.ended.put(None))
    while workers:
        with suppress(Empty):
            ended = job.ended.get(timeout=LOOK if stop.asked else None)
            if isinstance(ended, Worker):
                workers.remove(ended)
            elif ended:
                yield ended
        if stop.asked and stop.asked_for() > CANCELLING and all(worker.stop.at_once for worker in workers):
            break
    for worker in workers:
        if worker.task:
            yield Result(worker.task.part, output.of_failure(worker.stop.interruption()))
