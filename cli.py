"""Performance indexes for a CRM's database, put on and taken off while it goes on working.

The database is --database-url, else MIGRATION_DATABASE_URL, else DATABASE_URL, else sqlite:///crm.db.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import console
from indexer import IndexerError, __version__, documents
from indexer.errors import Interrupted

if TYPE_CHECKING:
    from indexer.runner import Runner

DEFAULT_URL = "sqlite:///crm.db"
MIGRATIONS = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options:
    """What every command is told."""

    database_url: str
    schema: str | None
    as_json: bool
    verbose: bool

    @contextmanager
    def runner(self, read_only: bool = False) -> Iterator[Runner]:
        """The runner on the database, closed afterwards. Imported here: --help need not wait for peewee."""
        import models
        from indexer.chain import load
        from indexer.connect import connect
        from indexer.runner import Runner

        chain = load(MIGRATIONS)
        migrator = connect(self.database_url, self.schema, read_only)
        try:
            models.database.initialize(migrator.database)
            yield Runner(migrator, chain, models.TABLES, console.Lines(to_stderr=self.as_json))
        finally:
            migrator.database.close()


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
    @click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout; messages on stderr.")
    @click.option("--verbose", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(function)
    def door(database_url: str, schema: str | None, as_json: bool, verbose: bool, **arguments: Any) -> None:
        try:
            function(Options(database_url, schema, as_json, verbose), **arguments)
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            ours = _as_ours(error)
            if verbose:
                click.echo(console.traceback_of(error), err=True)
            if as_json:
                console.print_document(documents.of_failure(ours))
            raise Failure(ours) from error

    return cli.command()(door)


def _as_ours(error: BaseException) -> IndexerError:
    if isinstance(error, IndexerError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("Interrupted.", "The same command goes on where this one stopped; see python cli.py status")
    return IndexerError(f"{type(error).__name__}: {error}", "Add --verbose to see where this happened.")


to_revision = click.option("--to", metavar="REV", help="The revision to stop at: an id, its start, base or head.")


@click.group(help=__doc__, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="indexer")
def cli() -> None:
    pass


@command
@to_revision
def up(options: Options, to: str | None) -> None:
    """Build what is pending: go forward to the last revision.

    An empty database is given its tables first. What stands already and is the same is kept, what a killed run
    left behind is rebuilt. Running it again is always safe.
    """
    with options.runner() as runner:
        console.show_outcome(runner.up(to), runner, options.as_json)


@command
@to_revision
def down(options: Options, to: str | None) -> None:
    """Drop what up built: go back one revision.

    Indexes that stood there before up stay. No row and no table is touched.
    """
    with options.runner() as runner:
        console.show_outcome(runner.down(to), runner, options.as_json)


@command
def status(options: Options) -> None:
    """Show the revisions, where the database stands, and every index. Changes nothing.

    Exits with 3 when a revision is pending, and with 4 when an index of an applied one is missing or different.
    """
    with options.runner(read_only=True) as runner:
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
    with options.runner(read_only=True) as runner:
        found = runner.plan(direction, to)
        if as_sql:
            found.check()
            click.echo(runner.script(found))
        else:
            console.show_plan(found, runner, options.as_json)
    if not options.as_json:
        found.check()
    raise click.exceptions.Exit(found.exit_code)


if __name__ == "__main__":
    cli(prog_name="cli.py")
