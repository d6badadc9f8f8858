"""SQLite: `up` and `down` against the sqlite3 shell that runs ten CREATE INDEX and ten DROP INDEX."""

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

from benchmarks import options, statements
from benchmarks.contestants import PROJECT, Commands
from benchmarks.process import CommandFailed, Run, run
from benchmarks.results import Aim, Section, megabytes, publish, ratio
from tests.support import foreign_crm

SHELL = shutil.which("sqlite3")
NO_SHELL = """\
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.executescript(open(sys.argv[2]).read())
"""
BASELINE, ONE_TRANSACTION, UP = "statements", "transaction", "up"
LIMIT = 0.85  # the aim
COLUMNS = ("", "forward, s", "of the statements", "rollback, s", "of the statements", "client memory, MB")
OURS_STANDING = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"

Both = tuple[Run, Run]
Measured = dict[str, list[Both]]


def prepare_statements(folder: Path, database: Path) -> Commands:
    """The shell with one statement after the other, each in its own transaction."""
    creations, drops = statements.creations(on_postgresql=False), statements.drops()
    return _by_shell(folder, database, statements.script(creations), statements.script(drops))


def prepare_transaction(folder: Path, database: Path) -> Commands:
    """The shell with all ten in one transaction."""
    creations, drops = statements.creations(on_postgresql=False), statements.drops()
    wrapped = [statements.script(["BEGIN IMMEDIATE", *each, "COMMIT"]) for each in (creations, drops)]
    return _by_shell(folder, database, *wrapped)


def prepare_up(folder: Path, database: Path) -> Commands:
    """Ours."""
    up, down = ([sys.executable, "cli.py", direction] for direction in ("up", "down"))
    return Commands(up, down, PROJECT, {"DATABASE_URL": f"sqlite:///{database}"})


def shell_version() -> str:
    """Which shell the baseline runs in."""
    if not SHELL:
        return f"Python's sqlite3 module, there is no sqlite3 shell (SQLite {sqlite3.sqlite_version})"
    printed = subprocess.run([SHELL, "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    return f"sqlite3 shell {printed.stdout.split()[0]}"


CONTESTANTS: dict[str, tuple[str, Callable[[Path, Path], Commands]]] = {
    BASELINE: ("ten statements", prepare_statements),
    ONE_TRANSACTION: ("ten statements in one transaction", prepare_transaction),
    UP: ("**up**", prepare_up),
}


def measure(template: Path, rounds: int) -> Measured:
    """Forward and rollback of each on a fresh copy of the template, in alternating rounds."""
    measured: Measured = {name: [] for name in CONTESTANTS}
    for name in options.rounds_of(tuple(CONTESTANTS), rounds):
        forward, rollback = both = _forward_and_back(template, CONTESTANTS[name][1])
        measured[name].append(both)
        print(f"sqlite {name:17} {forward.seconds:7.3f} s {rollback.seconds:7.3f} s", flush=True)
    return measured


def section(rows: int, rounds: int, measured: Measured) -> Section:
    """The medians as a section of the results."""
    return Section(
        title="SQLite",
        conditions=f"{rows:,} activities; medians of {rounds} alternating rounds. Baseline: {shell_version()}.",
        columns=COLUMNS,
        rows=[_row(name, measured) for name in CONTESTANTS],
        aims=[str(Aim("`up`, of ten CREATE INDEX", LIMIT, _median(measured, UP, 0) / _median(measured, BASELINE, 0)))],
        raw={
            name: [{"forward": forward.as_json(), "rollback": rollback.as_json()} for forward, rollback in both]
            for name, both in measured.items()
        },
    )


def perform(rows: int, rounds: int, folder: Path) -> None:
    """Fill a file, measure and publish."""
    with tempfile.TemporaryDirectory() as place:
        template = Path(place) / "template.db"
        with closing(sqlite3.connect(template)) as connection:
            foreign_crm.create_schema(connection)
            foreign_crm.load(connection, activities=rows)
        publish("sqlite", section(rows, rounds, measure(template, rounds)), folder)


def _forward_and_back(template: Path, prepare: Callable[[Path, Path], Commands]) -> Both:
    with tempfile.TemporaryDirectory() as folder:
        database = Path(shutil.copy(template, Path(folder) / "crm.db"))
        commands = prepare(Path(folder), database)
        forward = run(commands.forward, commands.folder, commands.environment)
        _expect(database, set(statements.names()))
        rollback = run(commands.rollback, commands.folder, commands.environment)
        _expect(database, set())
    return forward, rollback


def _expect(database: Path, wanted: set[str]) -> None:
    with closing(sqlite3.connect(database)) as connection:
        found = {name for (name,) in connection.execute(OURS_STANDING)} & set(statements.names())
    if found != wanted:
        raise CommandFailed(f"{len(found)} indexes stand, not {len(wanted)}")


def _by_shell(folder: Path, database: Path, up: str, down: str) -> Commands:
    (folder / "up.sql").write_text(up)
    (folder / "down.sql").write_text(down)
    (folder / "run.py").write_text(NO_SHELL)
    forward, rollback = (
        [SHELL, "-bail", str(database), f".read {script}"]
        if SHELL
        else [sys.executable, "run.py", str(database), script]
        for script in ("up.sql", "down.sql")
    )
    return Commands(forward, rollback, folder, {})


def _median(measured: Measured, name: str, part: int) -> float:
    return median(both[part].seconds for both in measured[name])


def _row(name: str, measured: Measured) -> Sequence[str]:
    cells = [CONTESTANTS[name][0]]
    for part in (0, 1):
        own = _median(measured, name, part)
        cells += [f"{own:.3f}", ratio(own, _median(measured, BASELINE, part))]
    return [*cells, megabytes(median(forward.peak_bytes for forward, _ in measured[name]))]


def main() -> None:
    """Called as python -m benchmarks.sqlite."""
    arguments: argparse.Namespace = options.parser(__doc__, rounds=5, on_postgresql=False).parse_args()
    perform(arguments.rows, arguments.rounds, arguments.results)


if __name__ == "__main__":
    main()
