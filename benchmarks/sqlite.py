"""SQLite: ``up`` and ``down`` against ten CREATE INDEX and ten DROP INDEX in the sqlite3 shell."""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median

from benchmarks import crm, options, statements
from benchmarks.contestants import PROJECT
from benchmarks.process import Both, CommandFailed, Commands, Measured, forward_and_back, medians
from benchmarks.results import Aim, Section, megabytes, publish, ratio

SHELL = shutil.which("sqlite3")
NO_SHELL = """\
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.executescript(open(sys.argv[2]).read())
"""
BASELINE, ONE_TRANSACTION, UP = "statements", "transaction", "up"
LIMIT = 0.85  # the aim
COLUMNS = ("", "forward, s", "of the statements", "rollback, s", "of the statements", "client memory, MB")
INDEXES = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"


def prepare_statements(folder: Path, database: Path) -> Commands:
    """Prepare the shell with one statement after the other, each in its own transaction."""
    return _by_shell(folder, database, statements.creations(on_postgresql=False), statements.drops())


def prepare_transaction(folder: Path, database: Path) -> Commands:
    """Prepare the shell with all ten statements in one transaction."""
    scripts = (statements.creations(on_postgresql=False), statements.drops())
    return _by_shell(folder, database, *(["BEGIN IMMEDIATE", *each, "COMMIT"] for each in scripts))


def prepare_up(folder: Path, database: Path) -> Commands:
    """Prepare ``up`` and ``down``."""
    up, down = ([sys.executable, "cli.py", direction] for direction in ("up", "down"))
    return Commands(up, down, PROJECT, {"DATABASE_URL": f"sqlite:///{database}"})


CONTESTANTS: dict[str, tuple[str, Callable[[Path, Path], Commands]]] = {
    BASELINE: ("ten statements", prepare_statements),
    ONE_TRANSACTION: ("ten statements in one transaction", prepare_transaction),
    UP: ("**up**", prepare_up),
}


def perform(rows: int, rounds: int, folder: Path) -> None:
    """Fill a file, measure and publish."""
    with tempfile.TemporaryDirectory() as place:
        template = Path(place) / "template.db"
        template.touch()
        crm.create(f"sqlite:///{template}", rows)
        publish("sqlite", section(rows, rounds, measure(template, rounds)), folder)


def measure(template: Path, rounds: int) -> Measured:
    """Measure each contestant on a fresh copy of the template, in alternating rounds."""
    measured: Measured = {name: [] for name in CONTESTANTS}
    for name in options.rounds_of(tuple(CONTESTANTS), rounds):
        both = _forward_and_back(template, CONTESTANTS[name][1])
        measured[name].append(both)
        print(f"sqlite {name:17} {both.forward.seconds:7.3f} s {both.rollback.seconds:7.3f} s", flush=True)
    return measured


def section(rows: int, rounds: int, measured: Measured) -> Section:
    """Return the medians as a section of the results."""
    aim = Aim("`up`, of ten CREATE INDEX", LIMIT, medians(measured, UP)[0] / medians(measured, BASELINE)[0])
    return Section(
        title="SQLite",
        conditions=f"{rows:,} activities; medians of {rounds} alternating rounds. Baseline: {_shell_version()}.",
        columns=COLUMNS,
        rows=[_row(name, measured) for name in CONTESTANTS],
        aims=[str(aim)],
        raw={name: [both.as_json() for both in rounds_of_it] for name, rounds_of_it in measured.items()},
    )


def _shell_version() -> str:
    if not SHELL:
        return f"Python's sqlite3 module, as there is no sqlite3 shell (SQLite {sqlite3.sqlite_version})"
    printed = subprocess.run([SHELL, "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    return f"sqlite3 shell {printed.stdout.split()[0]}"


def _forward_and_back(template: Path, prepare: Callable[[Path, Path], Commands]) -> Both:
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "crm.db"
        shutil.copy(template, database)
        return forward_and_back(prepare(Path(folder), database), lambda built: _check(database, built))


def _check(database: Path, built: bool) -> None:
    with closing(sqlite3.connect(database)) as connection:
        found = {name for (name,) in connection.execute(INDEXES)} & set(statements.NAMES)
    if len(found) != (len(statements.NAMES) if built else 0):
        raise CommandFailed(f"{len(found)} of {len(statements.NAMES)} indexes exist")


def _by_shell(folder: Path, database: Path, up: list[str], down: list[str]) -> Commands:
    (folder / "up.sql").write_text(statements.script(up))
    (folder / "down.sql").write_text(statements.script(down))
    if SHELL:
        forward, rollback = ([SHELL, "-bail", str(database), f".read {name}"] for name in ("up.sql", "down.sql"))
    else:
        (folder / "run.py").write_text(NO_SHELL)
        forward, rollback = ([sys.executable, "run.py", str(database), name] for name in ("up.sql", "down.sql"))
    return Commands(forward, rollback, folder, {})


def _row(name: str, measured: Measured) -> Sequence[str]:
    cells = [CONTESTANTS[name][0]]
    for seconds, baseline in zip(medians(measured, name), medians(measured, BASELINE), strict=True):
        cells += [f"{seconds:.3f}", ratio(seconds, baseline)]
    return [*cells, megabytes(median(both.forward.peak_bytes for both in measured[name]))]


def main() -> None:
    """Run python -m benchmarks.sqlite."""
    arguments: argparse.Namespace = options.parser(__doc__, rounds=5, on_postgresql=False).parse_args()
    perform(arguments.rows, arguments.rounds, arguments.results)


if __name__ == "__main__":
    main()
