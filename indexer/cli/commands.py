"""The commands: what each one asks the engine, and which options it has."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, NoReturn

import click

from indexer import IndexerError, __version__
from indexer.cli import options
from indexer.cli.running import Call, Target, ask, connected, target_of, typed_of, unexpected
from indexer.console import output, progress, text
from indexer.console.hints import HintWriter
from indexer.errors import Command, Hint, UsageError
from indexer.options import Options
from indexer.project import Project
from indexer.signals import Stop, interruptible

if TYPE_CHECKING:
    from indexer.catalog import Place
    from indexer.console.output import Answer
    from indexer.runner import Runner

PROGRAM = "INDEXER_PROGRAM"  # environment variable: what the user types to start the program
HELP = """Create and drop performance indexes on a live CRM database.

The database is --database-url, else MIGRATION_DATABASE_URL, else DATABASE_URL, else sqlite:///crm.db. Instead of a
variable, NAME_FILE can hold the path of a file that contains the URL: DATABASE_URL_FILE.
"""


class Commands(click.Group):
    """Command group that reports Click's usage errors as JSON, too."""

    def main(self, *arguments: Any, **settings: Any) -> Any:
        """Run the command; what Click itself prints, such as help, may find no room on the disk."""
        settings["prog_name"] = os.environ.get(PROGRAM) or settings.get("prog_name", "indexer")
        try:
            return super().main(*arguments, **settings)
        except OSError as error:
            output.lose(sys.stdout, error)
            output.tell(f"Error: {output.unwritten(error).message}", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        as_json = "--json" in ctx.args
        if isinstance(sys.stdout, TextIOWrapper):  # a name may hold what the terminal's encoding does not
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if as_json:
                of_command = [error.ctx.info_name or ""] if error.ctx and error.ctx.parent else []
                hint = Hint("See the options: ", Command(*of_command, "--help"))
                failure = output.of_failure(UsageError(error.format_message(), hint))
                output.say(failure, as_json, HintWriter(ctx.command_path))
            raise

    def options_of(self, name: str) -> set[str]:
        """Return the options of a command."""
        found = self.commands.get(name)
        return {option for each in found.params for option in each.opts} if found else set()


class OneCommand(click.Command):
    """A command that is called with a ``Call`` and its own options, and from which errors leave by one door."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and exit with its exit code; report an error as text, and with --json as a document."""
        given = ctx.params
        write = HintWriter(ctx.find_root().info_name or "")
        try:
            target = target_of(given)
            write = HintWriter(write.program, typed_of(target, given), cli.options_of)
            call = _call(given, ctx.find_object(Project) or Project(os.getcwd()), target, write)
            ctx.params = {"call": call, **{name: value for name, value in given.items() if name not in CALLED}}
            code = super().invoke(ctx) or 0
            output.check_written(code)
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            _leave(error, given["as_json"], given["verbose"], write)
        ctx.exit(code)


CALLED = {
    *("database_url", "schemas", "pattern", "as_json", "verbose", "wait_db", "no_wait", "no_alembic"),
    *Options._fields,
}


def _call(given: dict[str, Any], project: Project, target: Target, write: HintWriter) -> Call:
    asked = Options(**{name: given[name] for name in Options._fields if name in given})
    if given.get("no_wait"):
        asked = asked._replace(wait_lock=0)
    asked = asked._replace(alembic=not given.get("no_alembic"))
    wait_db = given.get("wait_db", 0)
    return Call(project, target, write, given["as_json"], given["verbose"], asked, wait_db)


def _leave(error: BaseException, as_json: bool, verbose: bool, write: HintWriter) -> NoReturn:
    """Say an error and exit with its code."""
    known = error if isinstance(error, IndexerError) else unexpected(error)
    if verbose:
        output.say_traceback(error)
    if as_json:
        output.say(output.of_failure(known), as_json, write)
    output.say_error(known, write)
    raise click.exceptions.Exit(known.exit_code)


@click.group(
    cls=Commands, help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="indexer")
def cli() -> None:
    pass


cli.command_class = OneCommand


# Changing a database ------------------------------------------------------------------------------------------------


@cli.command()
@options.to_revision
@options.adopt_renamed
@options.replace
@options.published
@options.alembic
@options.waiting
@options.on_database
@options.output
def up(call: Call, to: str | None) -> int:
    """Build the pending indexes, up to the last revision.

    Creates the tables first if the database is empty. Keeps an index that already exists with the same definition,
    and rebuilds one that an interrupted run left incomplete. Always safe to run again.
    """
    return ask(call, lambda runner: text.of_outcome(runner.up(to), runner.place), changes=True)


@cli.command()
@options.to_revision
@options.include_adopted
@options.below_later
@options.published
@options.alembic
@options.waiting
@options.on_database
@options.output
def down(call: Call, to: str | None) -> int:
    """Drop the indexes that up built, back one revision.

    Keeps indexes that existed before up. Changes no table and no row.
    """
    return ask(call, lambda runner: text.of_outcome(runner.down(to), runner.place), changes=True)


@cli.command()
@click.argument("revision", metavar="REV")
@options.published
@options.alembic
@options.on_database
@options.output
def stamp(call: Call, revision: str) -> int:
    """Record a revision without building anything.

    Compares the database with the revision first. Exits with 4 and lists the differences if there are any.
    """
    return ask(call, lambda runner: text.of_stamp(runner.stamp(revision), runner.place), changes=True)


@cli.command()
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    default=100_000,
    metavar="N",
    help="How many activities to create; other rows in proportion.  [default: 100000]",
)
@options.published
@options.on_database
@options.output
def seed(call: Call, rows: int) -> int:
    """Fill an empty database with made-up rows.

    Creates the tables first if there are none. Refuses a database that contains any row.
    """

    def question(runner: Runner) -> Answer:
        from indexer.bench.progress import reporting
        from proof.seed import seed as seeded

        with reporting(call.as_json, call.write, runner.report) as tell:
            return text.of_seed(seeded(runner, rows, tell=tell))

    return ask(call, question, changes=True)


# Reading a database -------------------------------------------------------------------------------------------------


@cli.command()
@options.version_table
@options.on_database
@options.output
def status(call: Call) -> int:
    """Show the current revision and the state of every index.

    Changes nothing. Exits with 4 if an index of an applied revision is missing or different, else with 3 if a
    revision is pending.
    """
    return ask(call, lambda runner: text.of_status(runner.status()))


@cli.command()
@options.version_table
@options.on_database
@options.output
def check(call: Call) -> int:
    """Compare the database with its revisions.

    Changes nothing. Exits with 4 if an index of an applied revision is missing, broken or different, else with 3 if a
    revision is pending. Advice, such as about a redundant index, does not change the exit code.
    """
    return ask(call, lambda runner: text.of_check(runner.check()))


@cli.command()
@click.argument("direction", type=click.Choice(["up", "down"]), default="up")
@options.to_revision
@click.option("--sql", "as_sql", is_flag=True, help="Print a script for psql or sqlite3 instead.")
@options.adopt_renamed
@options.replace
@options.include_adopted
@options.below_later
@options.published
@options.alembic
@options.on_database
@options.output
def plan(call: Call, direction: str, to: str | None, as_sql: bool) -> int:
    """Show the statements that up (or down) would execute.

    Changes nothing. Exits with 1 or 4 if the run itself would be refused.
    """
    if as_sql and call.as_json:
        raise UsageError("A plan is a script or a document, not both.", "Leave out --sql or --json.")
    own, others = call.options.words(direction), call.options.words("down" if direction == "up" else "up")
    if foreign := [option for option in others if option not in own]:
        raise UsageError(
            f"{' and '.join(foreign)}: not for a plan of {direction}.", "Leave out what is for the other direction."
        )

    def question(runner: Runner) -> Answer:
        found = runner.plan(direction, to, sizes=True)
        answer = text.of_plan(found, runner.place)
        if as_sql:
            found.check()
            return answer._replace(script=runner.script(found))
        return answer

    return ask(call, question, as_script=as_sql)


@cli.command()
@options.on_database
@options.output
def history(call: Call) -> int:
    """Show the last hundred runs: when, by whom, and which indexes.

    Changes nothing.
    """
    return ask(call, lambda runner: text.of_history(runner.entries(), runner.place))


@cli.command()
@click.option("--analyze", is_flag=True, help="Also run each query, read-only, and show its time. PostgreSQL only.")
@click.option("--sql", "as_sql", is_flag=True, help="Print the queries instead.")
@options.on_database
@options.output
def verify(call: Call, analyze: bool, as_sql: bool) -> int:
    """Check that the planner uses the indexes.

    Asks the planner about each query that the indexes exist for, with arguments taken from existing rows. Changes
    nothing, and runs no query without --analyze. Exits with 4 if no index serves a query. A query that another index
    serves is not a failure, nor is a table so small that a scan is cheaper.
    """
    if as_sql and call.as_json:
        raise UsageError("The queries are printed as text or as a document, not both.", "Leave out --sql or --json.")

    def question(runner: Runner) -> Answer:
        from indexer.verify.verify import verify as verified

        return text.of_verify(verified(runner.migrator, analyze, runner.declared), as_sql)

    return ask(call, question, as_script=as_sql)


@cli.command()
@click.option("--timeout", type=options.SECONDS, default=60, metavar="SECONDS", help="How long to wait.  [default: 60]")
@options.on_database
@options.output
def wait(call: Call, timeout: float) -> None:
    """Wait until the database accepts connections.

    Waits for a server that is starting, a host name that is not known yet, or a free connection. Fails at once with 7
    if waiting cannot help, as with a wrong password.
    """
    report = progress.reporter(call.as_json, call.write)

    def work(stop: Stop) -> tuple[Place, bool]:
        with connected(call._replace(wait_db=timeout), report, stop, changes=False) as migrator:
            return migrator.place, migrator.is_there

    place, is_there = interruptible(work, reading=True, look=call.looking())
    output.say(text.of_wait(place, is_there), call.as_json, call.write)


# Without a database -------------------------------------------------------------------------------------------------


@cli.command()
@click.option(
    "--rows",
    type=options.Numbers(),
    default="10000,100000,1000000",
    metavar="N,...",
    help="Numbers of activities to measure with.  [default: 10000,100000,1000000]",
)
@click.option(
    "--out", default="bench-results", metavar="FOLDER", help="Folder for the results.  [default: bench-results]"
)
@options.on_server
@options.output
def bench(call: Call, rows: list[int], out: str) -> int:
    """Measure the queries without and with the indexes.

    Creates made-up rows in a temporary file for SQLite, or in a temporary schema on PostgreSQL, and drops them
    afterwards. Does not read your tables.
    """

    def work(stop: Stop) -> Answer:
        from indexer.bench import report
        from indexer.bench.bench import bench as measured
        from indexer.bench.progress import reporting

        report.check(out)
        with reporting(call.as_json, call.write) as tell:
            result = measured(call.target.url, rows, call.project, tell, stop)
            answer = text.of_bench(result)
            try:
                report.write(result, out, tell)
            except IndexerError as error:  # what took minutes to measure is told all the same
                return answer._replace(error=error)
            return answer

    answer = interruptible(work, look=call.looking())
    output.say(answer, call.as_json, call.write)
    if answer.error:
        output.say_error(answer.error, call.write)
    return answer.error.exit_code if answer.error else 0


@cli.command()
@click.argument("message")
@options.output
def new(call: Call, message: str) -> None:
    """Write the next migrate_<id>.py, with an example in it.

    MESSAGE describes the revision in one line.
    """
    from indexer.revisions.scaffold import write_revision

    written = write_revision(call.project.folder, message)
    output.say(text.of_new(written), call.as_json, call.write)
