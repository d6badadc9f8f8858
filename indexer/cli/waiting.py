"""Waiting for the gate: `wait --for applied`."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from indexer import console
from indexer.cli.running import Call, ask_runner, work_on
from indexer.console.output import Answer
from indexer.errors import GateClosed, Held, IndexerError, StatementFailed, Unreachable
from indexer.events import GateAwaited, ServerAwaited
from indexer.gate import gate_of
from indexer.signals import Stop
from indexer.text import duration

if TYPE_CHECKING:
    from indexer.console.progress import Reporter
    from indexer.migrator import CatalogMigrator
    from indexer.runner import Runner

SHORTEST_PAUSE, LONGEST_PAUSE = 0.2, 15.0  # seconds between two looks at a gate
PART = 0.1  # of the time waited so far: many replicas that wait for a long build look seldom


def wait_for_gate(call: Call, seconds: float) -> int:
    """Wait until the gate of a database, or of each of several, is open; print that, and return the exit code.

    Each look has its own session: none is held meanwhile, and a failover or a new file is seen at the next look.

    Args:
        seconds: how long to wait for all of them.

    Raises:
        GateClosed: that was not long enough.
        IndexerError: waiting cannot help, or the last look failed.
    """
    from indexer.revisions.chain import load

    chain = load(call.project.folder)
    started = time.monotonic()

    def look(runner: Runner) -> Answer:
        check = runner.inspector.check()
        gate = gate_of(check)
        if gate.is_open:
            return console.text.of_gate(check.status)
        raise GateClosed(gate.reason, gate.hint, gate.exit_code)

    def work(migrator: CatalogMigrator, report: Reporter, stop: Stop) -> Answer:
        looking = partial(ask_runner, call, look, migrator, chain, report, stop)
        return _wait(looking, migrator, report, stop, started, seconds)

    return work_on(call._replace(wait_db=seconds, tells=True), work, chain.tables)


def _wait(
    look: Callable[[], Answer], migrator: CatalogMigrator, report: Reporter, stop: Stop, started: float, seconds: float
) -> Answer:
    """Return the answer of the first look that does not fail; report each new reason to wait."""
    reported, is_connected = "", True
    while True:
        try:
            with stop.ending_at_once():
                if not is_connected:
                    migrator.reopen(started + seconds - time.monotonic())
                return look()
        except IndexerError as error:
            waited = time.monotonic() - started
            if not _can_pass(error):
                raise
            if waited >= seconds:
                raise _given_up(error, migrator, waited) from error
            if error.summary != reported:
                report((GateAwaited if isinstance(error, GateClosed) else ServerAwaited)(error.summary))
                reported = error.summary
        migrator.close()
        is_connected = False
        stop.sleep(min(max(SHORTEST_PAUSE, PART * waited), LONGEST_PAUSE, seconds - waited))


def _can_pass(error: IndexerError) -> bool:
    """Return whether a later look may succeed; a failed statement may have met a lock or a server that shuts down."""
    if isinstance(error, Unreachable):
        return error.can_heal
    return isinstance(error, GateClosed | StatementFailed)


def _given_up(error: IndexerError, migrator: CatalogMigrator, waited: float) -> IndexerError:
    """Return what the last look failed with, or for how long the gate was closed."""
    if not isinstance(error, GateClosed):
        return error.in_vain() if isinstance(error, Held) else error
    message = f"{migrator.place} is not ready after {duration(waited)}. {error.message}"
    return GateClosed(message, error.hint, error.exit_code)
