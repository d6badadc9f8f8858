"""Run all parts of the benchmark, one after the other, on one server that is filled once."""

from __future__ import annotations

import argparse
import time

from benchmarks import load, options, run, sqlite, startup
from benchmarks.server import opened


def main() -> None:
    """Run python -m benchmarks."""
    arguments: argparse.Namespace = options.parser(__doc__, rounds=3, contest=True).parse_args()
    folder, rounds, only = arguments.results, arguments.rounds, arguments.only
    started = time.monotonic()
    with opened(arguments.database_url, arguments.rows) as server:
        run.perform(server, rounds, only, folder)
        _report("forward and rollback", started)
        load.perform(server, rounds, load.PAUSE, only, folder)
        _report("under load", started)
        startup.perform(server, startup.RUNS, folder)
        _report("start-up", started)
    sqlite.perform(arguments.rows, rounds, folder)
    _report("SQLite", started)


def _report(part: str, started: float) -> None:
    print(f"{part}: done {time.monotonic() - started:.0f} s after the start\n", flush=True)


if __name__ == "__main__":
    main()
