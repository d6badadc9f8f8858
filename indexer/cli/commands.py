"""Performance indexes for a CRM's database, put on and taken off while it goes on working.

The database is --database-url, else MIGRATION_DATABASE_URL, else DATABASE_URL, else sqlite:///crm.db. Both variables
may be given as the path of a file that holds the URL: DATABASE_URL_FILE.
"""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from signal import SIGINT
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from indexer import IndexerError, __version__
from indexer.console import progress as reporters
from indexer.console import text as console
from indexer.errors import Interrupted, UsageError
from indexer.options import DEFAULTS, VERSION_TABLE
from indexer.options import Options as RunOptions
from indexer.project import Project
from indexer.signals import Stop, interruptible
from indexer.text import reason, shell, shown, visible
from indexer.urls import DEFAULT, OPTION, database_url

if TYPE_CHECKING:
    from indexer.catalog import Place
    from indexer.console.text import Answer
    from indexer.migrator import CatalogMigrator
    from indexer.revisions.chain import Chain
    from indexer.runner import Runner

DEFAULT_FILE = DEFAULT.removeprefix("sqlite:///")


class Options(NamedTuple):
    """What every command is told.

    ``source`` says where the URL was given, ``again`` holds the options that a command to type next needs as well.
    """

    database_url: str
    source: str
    schemas: tuple[str, ...]
    pattern: str | None
    as_json: bool
    verbose: bool
    project: Project
    again: str = ""

    @property
    def are_many(self) -> bool:
        """Is the command for several schemas?"""
        return self.pattern is not None or len(self.schemas) > 1

    @property
    def schema(self) -> str | None:
        """The one schema that was named; None for that of the search path, or for several."""
        return self.schemas[0] if self.schemas and not self.are_many else None


class Manner(NamedTuple):
    """How a command is to go about its work."""

    run: RunOptions = DEFAULTS
    wait_db: float = 0
    read_only: bool = True
    as_script: bool = False


def ask(options: Options, question: Callable[[Runner], Answer], manner: Manner = Manner()) -> None:  # noqa: B008
    """Put a question to the database, or to each of several schemas, say the answer, and exit as it says."""
    code = interruptible(lambda stop: Inquiry(options, question, manner, stop).put(), reading=manner.read_only)
    reporters.check_written(code)
    raise click.exceptions.Exit(code)


class Inquiry(NamedTuple):
    """A question on its way to the database and back."""

    options: Options
    question: Callable[[Runner], Answer]
    manner: Manner
    stop: Stop

    def put(self) -> int:
        """Put it, say the answer, and return the exit code."""
        options, manner = self.options, self.manner
        chain = _chain(options.project.folder)  # a chain that is broken is a reason not to connect at all
        report = reporters.Lines(err=True) if manner.read_only else reporters.reporter(options.as_json)
        try:
            with _connected(options, manner, report, self.stop) as migrator:
                if options.are_many:
                    return self._put_to_each(migrator, chain)
                answer = self._answer(migrator, chain, report)
        finally:
            report.close()
        console.say(answer, options.as_json, options.again)
        if answer.error and not options.as_json:
            raise answer.error
        return answer.exit_code

    def _put_to_each(self, migrator: CatalogMigrator, chain: Chain) -> int:
        """Put it to each schema, going on after a failure; returns the highest exit code."""
        options, as_script = self.options, self.manner.as_script
        schemas = migrator.in_schemas(options.schemas, options.pattern, chain.tables)
        answers: dict[str, Answer] = {}
        for one in schemas:
            schema = one.schema or ""
            try:
                one.reconnect()
                answers[schema] = self._answer(one, chain, reporters.reporter_of_schema(schema, options.as_json))
            except IndexerError as error:
                if options.verbose:
                    reporters.tell(console.traceback_of(error), err=True)
                answers[schema] = console.of_failure(error)
            if not options.as_json:
                (console.say_script if as_script else console.say_line)(schema, answers[schema], options.again)
            if self.stop.asked:
                break
        console.say_total(answers, len(schemas), options.as_json, as_script, options.again)
        return max(answer.exit_code for answer in answers.values())

    def _answer(self, migrator: CatalogMigrator, chain: Chain, report: Any) -> Answer:
        """The answer of one database or schema; whatever keeps it from answering becomes one of our errors."""
        from peewee import PeeweeException

        from indexer.runner import Runner

        manner = self.manner
        try:
            runner = Runner(migrator, chain, self.options.project.models, manner.run, report, self.stop)
            return self.question(runner)
        except IndexerError:
            raise
        except PeeweeException as error:
            raise migrator.translate_error(error) from error
        except Exception as error:
            raise _unexpected(error) from error


@contextmanager
def _connected(options: Options, manner: Manner, report: Any, stop: Stop) -> Iterator[CatalogMigrator]:
    # Imported here, because --help need not wait for peewee.
    from indexer.connect import connect_patiently

    url, schema = options.database_url, options.schema
    if not options.source:
        reporters.tell(f"No database URL is given: using the file {visible(os.path.abspath(DEFAULT_FILE))}.", err=True)
    waiting = None if manner.read_only else manner.run
    migrator = connect_patiently(url, schema, manner.wait_db, report, stop, manner.read_only, waiting)
    try:
        yield migrator
    finally:
        migrator.database.close()


@functools.cache
def _chain(folder: str) -> Chain:
    from indexer.revisions.chain import load

    return load(folder)


# Options ------------------------------------------------------------------------------------------------------------


class Failure(click.ClickException):
    """One of our errors on its way out: what happened and what to type next, on stderr."""

    def __init__(self, error: IndexerError, again: str) -> None:
        super().__init__(console.repeating(again, error.message))
        self.exit_code = error.exit_code  # type: ignore[misc]
        self.hint = console.repeating(again, error.hint)

    def show(self, file: Any = None) -> None:
        """Say it."""
        said = shown("\n".join(filter(None, (self.message, self.hint))))
        reporters.tell(reporters.styled("Error: ", fg="red") + said, err=True)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A command with the options that all share, and the one door through which errors leave."""

    @click.option(
        OPTION,
        "option",
        metavar="URL",
        help=f"Where to work: sqlite:///file.db or postgresql://user:password@host/name.  [default: {DEFAULT}]",
    )
    @click.option(
        "--schema",
        "schemas",
        metavar="NAME",
        multiple=True,
        help="PostgreSQL schema of the tables; may be repeated.  [default: by the search path]",
    )
    @click.option(
        "--all-schemas",
        "pattern",
        metavar="PATTERN",
        help="Every schema that holds the tables and has a name like this, such as 'tenant_*'.",
    )
    @click.option("--json", "as_json", is_flag=True, help="JSON on stdout, nothing else there; messages on stderr.")
    @click.option("--verbose", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(function)
    def door(
        option: str | None,
        schemas: tuple[str, ...],
        pattern: str | None,
        as_json: bool,
        verbose: bool,
        **arguments: Any,
    ) -> None:
        again, project = "", click.get_current_context().find_object(Project) or Project(os.getcwd())
        try:
            url, source = database_url(option, os.environ)
            options = Options(url, source, tuple(dict.fromkeys(schemas)), pattern, as_json, verbose, project)
            again = _again(options)
            options = options._replace(again=again)
            if schemas and pattern is not None:
                raise UsageError("Schemas are given by name or by a pattern, not both.", "Leave out --all-schemas.")
            if "" in schemas:
                raise UsageError("The name of a schema is empty.", "Is a variable of the shell not set?")
            function(options, **arguments)
            reporters.check_written()
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            ours = error if isinstance(error, IndexerError) else _unexpected(error)
            if verbose:
                reporters.tell(console.traceback_of(error), err=True)
            if as_json:
                console.say(console.of_failure(ours), as_json, again)
            raise Failure(ours, again) from error

    return cli.command()(door)


def _again(options: Options) -> str:
    """The options that were typed, for the commands to type next; a URL that may hold a password is not repeated."""
    url = shell(options.database_url) if options.database_url.startswith("sqlite:") else "URL"
    database = f" --database-url {url}" if options.source == OPTION else ""
    return database + (f" --schema {shell(options.schema)}" if options.schema else "")


def _keeping(options: Options, run: RunOptions) -> Options:
    """The options of a command that names Alembic's table: what it says to type next has to keep that in step, too."""
    return options._replace(again="".join((options.again, *(f" {shell(word)}" for word in run.words("up")))))


def _unexpected(error: BaseException) -> IndexerError:
    if isinstance(error, KeyboardInterrupt):
        return Interrupted(SIGINT)
    return IndexerError(
        f"An error that this tool does not expect: {reason(error)}.", "Add --verbose to see where it happened."
    )


class Jobs(click.ParamType["int | None"]):
    """A number of builds, or auto."""

    name = "jobs"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """None for auto."""
        if not (value == "auto" or (value.isascii() and value.isdigit() and int(value))):
            self.fail(f"{value!r} is neither a number from 1 on nor auto.", param, ctx)
        return None if value == "auto" else int(value)


class Numbers(click.ParamType["list[int]"]):
    """Several positive numbers with commas between them."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """All of them."""
        each = str(value).split(",")
        if not all(number.isascii() and number.isdigit() and int(number) for number in each):
            self.fail(f"{value!r} is not a list of whole numbers such as 10000,100000.", param, ctx)
        return [int(number) for number in each]


class Seconds(click.FloatRange):
    """A time; not the number that is none, with which nothing is ever over."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return it as a number."""
        seconds: float = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


SECONDS = Seconds(min=0)
to_revision = click.option("--to", metavar="REV", help="The revision to stop at: an id, its start, base or head.")


def patient(function: Callable[..., None]) -> Callable[..., None]:
    """The options about how long a run waits, how often it tries, and how much it does at once."""

    @click.option(
        "--max-wait", type=SECONDS, metavar="SECONDS", help="Give up an attempt that waits longer for others."
    )
    @click.option(
        "--retries", type=click.IntRange(min=0), default=3, metavar="N", help="Attempts after the first.  [default: 3]"
    )
    @click.option("--wait-lock", type=SECONDS, metavar="SECONDS", help="Wait for another run only while it gets on.")
    @click.option("--no-wait", is_flag=True, help="Do not wait for another run at all: exit with 5.")
    @click.option("--wait-db", type=SECONDS, default=0, metavar="SECONDS", help="Wait for a server that is starting.")
    @click.option("--jobs", type=Jobs(), default="auto", metavar="N", help="Builds side by side.  [default: auto]")
    @click.option("--offline", is_flag=True, help="Build plainly and fast, blocking writers: a maintenance window.")
    @functools.wraps(function)
    def decorated(
        options: Options,
        max_wait: float | None,
        retries: int,
        wait_lock: float | None,
        no_wait: bool,
        wait_db: float,
        jobs: int | None,
        offline: bool,
        run: RunOptions,
        **arguments: Any,
    ) -> None:
        waiting = 0 if no_wait else wait_lock
        asked = run._replace(max_wait=max_wait, retries=retries, wait_lock=waiting, jobs=jobs, offline=offline)
        function(options, manner=Manner(asked, wait_db, read_only=False), **arguments)

    return decorated


NO_ALEMBIC = "--no-alembic"
CONSENTS = {
    "adopt_renamed": click.option(
        "--adopt-renamed", is_flag=True, help="Rename an identical index of another name instead of building ours."
    ),
    "replace": click.option(
        "--replace", is_flag=True, help="Replace an index that has our name and another definition."
    ),
    "include_adopted": click.option(
        "--include-adopted", is_flag=True, help="Drop also the indexes that stood there before up."
    ),
    "below_later": click.option(
        "--below-later", "--yes", "below_later", is_flag=True, help="Go below a later revision of Alembic's."
    ),
    "published": click.option(
        "--published", is_flag=True, help="Make tables although a publication sends them: subscribers have them."
    ),
    "no_alembic": click.option(NO_ALEMBIC, is_flag=True, help="Leave Alembic's version table as it is."),
    "version_table": click.option(
        "--version-table",
        metavar="[SCHEMA.]NAME",
        default=VERSION_TABLE,
        help=f"Alembic's version table.  [default: {VERSION_TABLE}]",
    ),
}
OF_ALEMBIC = ("no_alembic", "version_table")


def consenting(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options by which the user allows more than the usual, gathered into one record."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(options: Options, no_alembic: bool, version_table: str, **arguments: Any) -> None:
            given = {name: arguments.pop(name) for name in names}
            asked = RunOptions(**given, alembic=not no_alembic, version_table=version_table)
            function(options, run=asked, **arguments)

        for name in (*names, *OF_ALEMBIC)[::-1]:
            run = CONSENTS[name](run)
        return run

    return decorate


# Commands -----------------------------------------------------------------------------------------------------------


class Commands(click.Group):
    """The commands for a project: wrong usage that Click finds is a document, too, where one was asked for."""

    project: Project | None = None
    program = "indexer"

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Carry out the command; what Click itself says, such as help, may find no room on the disk."""
        try:
            return super().main(*arguments, **{"obj": self.project, "prog_name": self.program, **options})
        except OSError as error:
            reporters.lose(sys.stdout, error)
            reporters.tell(f"Error: {reporters.unwritten(error).message}", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """Carry out the command."""
        as_json = "--json" in ctx.args
        if isinstance(sys.stdout, TextIOWrapper):  # a name may hold what the terminal's encoding does not
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if as_json:
                help_of = (error.ctx or ctx).command_path
                ours = UsageError(error.format_message(), f"See what can be given: {help_of} --help")
                console.say(console.of_failure(ours), as_json)
            raise


@click.group(
    cls=Commands, help=__doc__, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="indexer")
def cli() -> None:
    pass


@command
@to_revision
@consenting("adopt_renamed", "replace", "published")
@patient
def up(options: Options, manner: Manner, to: str | None) -> None:
    """Build what is pending: go forward to the last revision.

    An empty database is given its tables first. What stands already and is the same is kept, what a killed run
    left behind is rebuilt. Running it again is always safe.
    """
    ask(options, lambda runner: console.of_outcome(runner.up(to), runner.place), manner)


@command
@to_revision
@consenting("include_adopted", "below_later", "published")
@patient
def down(options: Options, manner: Manner, to: str | None) -> None:
    """Drop what up built: go back one revision.

    Indexes that stood there before up stay. No row and no table is touched.
    """
    ask(options, lambda runner: console.of_outcome(runner.down(to), runner.place), manner)


@command
@CONSENTS["version_table"]
def status(options: Options, version_table: str) -> None:
    """Show the revisions, where the database stands, and every index. Changes nothing.

    Exits with 4 when an index of an applied revision is missing or different, else with 3 when one is pending.
    """
    manner = Manner(RunOptions(version_table=version_table))
    ask(_keeping(options, manner.run), lambda runner: console.of_status(runner.status()), manner)


@command
@CONSENTS["version_table"]
def check(options: Options, version_table: str) -> None:
    """Compare what the revisions declare with what stands. Changes nothing.

    Exits with 4 when an index of an applied revision is missing, broken or different, else with 3 when one is
    pending. Advice, such as about another index on the same key, fails no check.
    """
    manner = Manner(RunOptions(version_table=version_table))
    ask(_keeping(options, manner.run), lambda runner: console.of_check(runner.check()), manner)


@command
@click.argument("direction", type=click.Choice(["up", "down"]), default="up")
@to_revision
@click.option("--sql", "as_sql", is_flag=True, help="Print a script for psql or sqlite3 instead.")
@consenting("adopt_renamed", "replace", "include_adopted", "below_later", "published")
def plan(options: Options, direction: str, to: str | None, as_sql: bool, run: RunOptions) -> None:
    """Show what up (or down) would do, statement by statement. Changes nothing.

    Exits as the run itself would: with 1 or 4 when it would refuse to start.
    """
    if as_sql and options.as_json:
        raise UsageError("A plan is a script or a document, not both.", "Leave out --sql or --json.")
    own, others = run.words(direction), run.words("down" if direction == "up" else "up")
    if foreign := [option for option in others if option not in own]:
        raise UsageError(
            f"{' and '.join(foreign)}: not for a plan of {direction}.", "Leave out what is for the other way."
        )

    def question(runner: Runner) -> Answer:
        found = runner.plan(direction, to, sizes=True)
        answer = console.of_plan(found, runner.place)
        if as_sql:
            found.check()
            return answer._replace(script=runner.script(found))
        return answer

    ask(options, question, Manner(run, as_script=as_sql))


@command
@click.argument("revision", metavar="REV")
@consenting("published")
def stamp(options: Options, revision: str, run: RunOptions) -> None:
    """Record a revision without building anything.

    That is done once the database has proved to be what the revision says. Exits with 4 and the differences when it is
    not.
    """
    manner = Manner(run, read_only=False)
    ask(options, lambda runner: console.of_stamp(runner.stamp(revision), runner.place), manner)


@command
@click.option(
    "--analyze", is_flag=True, help="Run each query, too, read-only, and tell how long it took. PostgreSQL only."
)
@click.option("--sql", "as_sql", is_flag=True, help="Print the queries instead.")
def verify(options: Options, analyze: bool, as_sql: bool) -> None:
    """Ask the planner whether the queries are served.

    These are the queries that the indexes exist for, with arguments from rows that are there. Changes nothing, and no
    query is run, unless with --analyze. Exits with 4 when a query is served by no index; one that is served by
    another index, or a table so small that a scan is cheaper, is no failure.
    """
    if as_sql and options.as_json:
        raise UsageError("The queries are printed as text or as a document, not both.", "Leave out --sql or --json.")

    def question(runner: Runner) -> Answer:
        from indexer.verify.verify import verify as verified

        return console.of_verify(verified(runner.migrator, analyze, runner.declared), as_sql)

    ask(options, question, Manner(as_script=as_sql))


@command
@click.option(
    "--rows",
    type=Numbers(),
    default="10000,100000,1000000",
    metavar="N,...",
    help="Numbers of activities to measure with.  [default: 10000,100000,1000000]",
)
@click.option(
    "--out", default="bench-results", metavar="FOLDER", help="Where the results go.  [default: bench-results]"
)
def bench(options: Options, rows: list[int], out: str) -> None:
    """Measure the queries without and with the indexes.

    The rows are made up, in a database that is thrown away: a temporary file for SQLite, a schema of its own on
    PostgreSQL. Your tables are not looked at.
    """

    if options.schemas or options.pattern is not None:
        raise UsageError("bench makes a schema of its own.", "Leave out --schema and --all-schemas.")

    def work(stop: Stop) -> Answer:
        from proof import report
        from proof.bench import bench as measured

        report.check(out)
        with reporters.measuring(options.as_json) as tell:
            result = measured(options.database_url, rows, tell, stop)
            answer = console.of_bench(result)
            try:
                report.write(result, out, tell)
            except IndexerError as error:  # what took minutes to measure is told all the same
                return answer._replace(error=error)
            return answer

    answer = interruptible(work)
    console.say(answer, options.as_json)
    if answer.error:
        raise Failure(answer.error, options.again)


@command
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    default=100_000,
    metavar="N",
    help="How many activities; other rows in proportion.  [default: 100000]",
)
@CONSENTS["published"]
def seed(options: Options, rows: int, published: bool) -> None:
    """Fill an empty database with made-up rows.

    A database without tables is given them first; one that holds any row is refused.
    """

    def question(runner: Runner) -> Answer:
        from proof.seed import seed as seeded

        with reporters.measuring(options.as_json, runner.report) as tell:
            return console.of_seed(seeded(runner, rows, tell=tell))

    ask(options, question, Manner(RunOptions(published=published), read_only=False))


@command
def history(options: Options) -> None:
    """Show what was done to the database, when and by whom.

    The last hundred moves, with how long each took and what became of the indexes. Changes nothing.
    """
    ask(options, lambda runner: console.of_history(runner.entries(), runner.place))


@command
@click.argument("message")
def new(options: Options, message: str) -> None:
    """Write the next migrate_<id>.py, with an example in it.

    MESSAGE says in one line what the revision is for.
    """
    from indexer.revisions.scaffold import write_revision

    written = write_revision(options.project.folder, message)
    console.say(console.of_new(written), options.as_json)


@command
@click.option("--timeout", type=SECONDS, default=60, metavar="SECONDS", help="How long to wait.  [default: 60]")
def wait(options: Options, timeout: float) -> None:
    """Wait until the database answers.

    For a server that starts, a name that is not known yet, a free connection. What waiting cannot heal, such as a wrong
    password, fails at once, with 7.
    """
    report = reporters.reporter(options.as_json)

    def work(stop: Stop) -> tuple[Place, bool]:
        with _connected(options, Manner(wait_db=timeout), report, stop) as migrator:
            return migrator.place, migrator.is_there

    console.say(console.of_wait(*interruptible(work, reading=True)), options.as_json, options.again)


def command_line(project: Project, program: str) -> Commands:
    """Return the commands for a project, which its user calls by the name of this program."""
    cli.project, cli.program = project, program
    return cli
