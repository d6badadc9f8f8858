"""Performance indexes for a CRM's database, put on and taken off while it goes on working.

The database is --database-url, else MIGRATION_DATABASE_URL, else DATABASE_URL, else sqlite:///crm.db.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from signal import SIGINT
from typing import TYPE_CHECKING, Any, NamedTuple

import click

import console
from indexer import IndexerError, __version__, documents
from indexer.errors import Interrupted, UsageError
from indexer.patience import Patience
from indexer.stop import Stop, interruptible

if TYPE_CHECKING:
    from peewee import Model

    from indexer.runner import Runner

DEFAULT_URL = "sqlite:///crm.db"
MIGRATIONS = os.path.dirname(os.path.realpath(__file__))


class Options(NamedTuple):
    """What every command is told."""

    database_url: str
    schema: str | None
    as_json: bool
    verbose: bool

    @contextmanager
    def reader(self) -> Iterator[Runner]:
        """A runner that can change nothing."""
        with self._runner(console.Lines(), Patience(), Stop(), read_only=True) as runner:
            yield runner

    @contextmanager
    def writer(self, patience: Patience, stop: Stop, wait_db: float) -> Iterator[Runner]:
        """A runner that tells what it does."""
        report = console.reporter(self.as_json)
        try:
            with self._runner(report, patience, stop, wait_db) as runner:
                yield runner
        finally:
            report.close()

    @contextmanager
    def _runner(
        self, report: Any, patience: Patience, stop: Stop, wait_db: float = 0, read_only: bool = False
    ) -> Iterator[Runner]:
        # Imported here, because --help need not wait for peewee.
        from indexer.chain import load
        from indexer.connect import connect_patiently
        from indexer.runner import Runner

        chain = load(MIGRATIONS)
        migrator = connect_patiently(self.database_url, self.schema, wait_db, report, stop, read_only)
        try:
            yield Runner(migrator, chain, _models, report, patience, stop)
        finally:
            migrator.database.close()


def _models() -> tuple[type[Model], ...]:
    import models

    return models.TABLES


class Failure(click.ClickException):
    """One of our errors on its way out: what happened and what to type next, on stderr."""

    def __init__(self, error: IndexerError) -> None:
        super().__init__(error.message)
        self.exit_code = error.exit_code  # type: ignore[misc]
        self.hint = error.hint

    def show(self, file: Any = None) -> None:
        """Say it."""
        click.secho("Error: ", fg="red", nl=False, err=True)
        click.echo("\n".join(filter(None, (self.message, self.hint))), err=True)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A command with the options that all share, and the one door through which errors leave."""

    @click.option(
        "--database-url",
        metavar="URL",
        envvar=["MIGRATION_DATABASE_URL", "DATABASE_URL"],
        default=DEFAULT_URL,
        help=f"Where to work: sqlite:///file.db or postgresql://user:password@host/name.  [default: {DEFAULT_URL}]",
    )
    @click.option("--schema", metavar="NAME", help="PostgreSQL schema of the tables.  [default: by the search path]")
    @click.option("--json", "as_json", is_flag=True, help="JSON on stdout, nothing else there; messages on stderr.")
    @click.option("--verbose", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(function)
    def door(database_url: str, schema: str | None, as_json: bool, verbose: bool, **arguments: Any) -> None:
        try:
            function(Options(database_url, schema, as_json, verbose), **arguments)
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            ours = error if isinstance(error, IndexerError) else _unexpected(error)
            if verbose:
                click.echo(console.traceback_of(error), err=True)
            if as_json:
                console.print_document(documents.of_failure(ours))
            raise Failure(ours) from error

    return cli.command()(door)


def _unexpected(error: BaseException) -> IndexerError:
    if isinstance(error, KeyboardInterrupt):
        return Interrupted(SIGINT)
    return IndexerError(f"{type(error).__name__}: {error}", "Add --verbose to see where this happened.")


class Jobs(click.ParamType["int | None"]):
    """A number of builds, or auto."""

    name = "jobs"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """None for auto."""
        return None if value == "auto" else click.IntRange(min=1).convert(value, param, ctx)


SECONDS = click.FloatRange(min=0)
to_revision = click.option("--to", metavar="REV", help="The revision to stop at: an id, its start, base or head.")


def patient(function: Callable[..., None]) -> Callable[..., None]:
    """The options of a run that changes something, and a thread for it, so that signals are heard."""

    @to_revision
    @click.option("--max-wait", type=SECONDS, metavar="SECONDS", help="Give up a try that waits longer for others.")
    @click.option(
        "--retries", type=click.IntRange(min=0), default=3, metavar="N", help="Tries after the first.  [default: 3]"
    )
    @click.option("--wait-lock", type=SECONDS, metavar="SECONDS", help="Wait for another run only while it gets on.")
    @click.option("--no-wait", is_flag=True, help="Do not wait for another run at all: exit with 5.")
    @click.option("--wait-db", type=SECONDS, default=0, metavar="SECONDS", help="Wait for a server that is starting.")
    @click.option("--jobs", type=Jobs(), default="auto", metavar="N", help="Builds side by side.  [default: auto]")
    @click.option("--offline", is_flag=True, help="Build plainly and fast, blocking writers: a maintenance window.")
    @functools.wraps(function)
    def run(
        options: Options,
        to: str | None,
        max_wait: float | None,
        retries: int,
        wait_lock: float | None,
        no_wait: bool,
        wait_db: float,
        jobs: int | None,
        offline: bool,
    ) -> None:
        patience = Patience(max_wait, retries, 0 if no_wait else wait_lock, jobs, offline)

        def work(stop: Stop) -> None:
            with options.writer(patience, stop, wait_db) as runner:
                function(options, runner, to)

        interruptible(work)

    return run


@click.group(help=__doc__, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="indexer")
def cli() -> None:
    pass


@command
@patient
def up(options: Options, runner: Runner, to: str | None) -> None:
    """Build what is pending: go forward to the last revision.

    An empty database is given its tables first. What stands already and is the same is kept, what a killed run
    left behind is rebuilt. Running it again is always safe.
    """
    console.show_outcome(runner.up(to), runner, options.as_json)


@command
@patient
def down(options: Options, runner: Runner, to: str | None) -> None:
    """Drop what up built: go back one revision.

    Indexes that stood there before up stay. No row and no table is touched.
    """
    console.show_outcome(runner.down(to), runner, options.as_json)


@command
def status(options: Options) -> None:
    """Show the revisions, where the database stands, and every index. Changes nothing.

    Exits with 3 when a revision is pending, and with 4 when an index of an applied one is missing or different.
    """
    with options.reader() as runner:
        found = runner.status()
    console.show_status(found, options.as_json)
    raise click.exceptions.Exit(found.exit_code)


@command
@click.argument("direction", type=click.Choice(["up", "down"]), default="up")
@to_revision
@click.option("--sql", "as_sql", is_flag=True, help="Print a script for psql or sqlite3 instead.")
def plan(options: Options, direction: str, to: str | None, as_sql: bool) -> None:
    """Show what up (or down) would do, statement by statement. Changes nothing.

    Exits as the run itself would: with 1 or 4 when it would refuse to start.
    """
    if as_sql and options.as_json:
        raise UsageError("A plan is a script or a document, not both.", "Leave out --sql or --json.")
    with options.reader() as runner:
        found = runner.plan(direction, to, sizes=True)
        if as_sql:
            found.check()
            click.echo(runner.script(found))
        else:
            console.show_plan(found, runner, options.as_json)
    if not options.as_json:
        found.check()
    raise click.exceptions.Exit(found.exit_code)


@command
@click.option("--timeout", type=SECONDS, default=60, metavar="SECONDS", help="How long to wait.  [default: 60]")
def wait(options: Options, timeout: float) -> None:
    """Wait until the database answers: for a server that starts, a name not yet known, a free connection.

    What waiting cannot heal, such as a wrong password, fails at once, with 7.
    """

    def work(stop: Stop) -> str:
        from indexer.connect import connect_patiently

        report = console.reporter(options.as_json)
        migrator = connect_patiently(options.database_url, options.schema, timeout, report, stop, read_only=True)
        migrator.database.close()
        return migrator.address

    address = interruptible(work)
    if options.as_json:
        console.print_document({"database": address, "reachable": True})
    else:
        click.echo(f"{address} answers.")


if __name__ == "__main__":
    cli(prog_name="cli.py")
