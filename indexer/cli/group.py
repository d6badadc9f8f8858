"""The command group: it turns the options of a command into its Call, and an error into its message."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cached_property, wraps
from io import TextIOWrapper
from typing import Any, NoReturn

import click

from indexer import IndexerError, __version__
from indexer.cli import options
from indexer.cli.completion import VARIABLE
from indexer.cli.environment import Option, is_set, typed_first
from indexer.cli.running import Call, unexpected
from indexer.cli.targets import targets_of, typed_of
from indexer.console import output
from indexer.console.hints import HintWriter
from indexer.errors import Command, Hint, UsageError
from indexer.options import Options
from indexer.project import Project

PROGRAM = "INDEXER_PROGRAM"  # environment variable: what the user types to start the program
HELP = """Create and drop performance indexes on a live database.

The database is --database-url, else INDEXER_DATABASE_URL, else MIGRATION_DATABASE_URL, else DATABASE_URL, else the one
that models.py binds its models to, else sqlite:///crm.db. Instead of a variable, NAME_FILE can hold the path of a file
that contains the URL: DATABASE_URL_FILE.

Other options can be variables, too: INDEXER_MAX_WAIT=30 is --max-wait 30, and INDEXER_UP_MAX_WAIT=30 is that for up
alone. What is typed wins. What one run is allowed, such as --replace, must be typed.
"""


class LazyCommand(click.Command):
    """Command whose options are made when they are asked for: those of all commands would take milliseconds.

    Args:
        options: the decorator that gives a function the options.
    """

    def __init__(self, *arguments: Any, options: Callable[[Any], Any], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._options = options
        del self.params

    @cached_property
    def params(self) -> list[click.Parameter]:  # type: ignore[override]  # an attribute of click.Command
        """The options and arguments."""
        params = click.command()(self._options(lambda: None)).params
        for option in (each for each in params if isinstance(each, Option)):
            option.envvar = option.variables(self.name or "")
        return params


class Commands(click.Group):
    """Command group that reports Click's usage errors as JSON, too."""

    def main(self, *arguments: Any, **settings: Any) -> Any:
        """Run the command; what Click itself prints, such as help, may find no room on the disk."""
        settings["complete_var"] = VARIABLE
        settings["prog_name"] = os.environ.get(PROGRAM) or settings.get("prog_name", "indexer")
        try:
            return super().main(*arguments, **settings)
        except OSError as error:
            output.lose(sys.stdout, error)
            output.echo(f"Error: {output.unwritten(error).message}", err=True, level=output.ERROR)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        as_json = "--json" in ctx.args or is_set("JSON")
        as_records = (
            "--log-format json" in " ".join(ctx.args).replace("=", " ")
            or os.environ.get("INDEXER_LOG_FORMAT") == "json"
        )
        if isinstance(sys.stdout, TextIOWrapper):  # a name may hold what the terminal's encoding does not
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            of_command = [error.ctx.info_name or ""] if error.ctx and error.ctx.parent else []
            hint = Hint("See the options: ", Command(*of_command, "--help"))
            known = UsageError(" ".join(error.format_message().split()), hint)
            if as_json:
                output.print_answer(output.of_failure(known), as_json, HintWriter(ctx.command_path))
            if not as_records:
                raise
            output.log_as_json(True)
            output.print_error(known, HintWriter(ctx.command_path))
            ctx.exit(known.exit_code)

    def options_of(self, name: str) -> set[str]:
        """Return the options of a command."""
        found = self.commands.get(name)
        return {option for each in found.params for option in each.opts} if found else set()


CALLED = {
    *("database_url", "urls_from", "first", "parallel", "schemas", "pattern", "as_json", "verbose", "wait_db"),
    *("no_wait", "no_alembic", "yes", "log_format"),
    *Options._fields,
}


def _run(function: Callable[..., int | None], changes: bool, given: dict[str, Any]) -> NoReturn:
    """Run a command and exit with its exit code; report an error as text, and with --json as a document."""
    ctx = click.get_current_context()
    write = HintWriter(ctx.find_root().info_name or "")
    given = typed_first(ctx, given)
    output.log_as_json(given["log_format"] == "json")
    try:
        targets = targets_of(given)
        write = HintWriter(write.program, typed_of(targets, given), cli.options_of)
        project = ctx.find_object(Project) or Project(os.getcwd())
        call = Call(
            project=project,
            target=targets[0],
            write=write,
            as_json=given.get("as_json", False),
            verbose=given["verbose"],
            options=_asked(given),
            wait_db=given.get("wait_db", 0),
            changes=changes,
            tells=changes,
            targets=targets if targets[0].name else (),
            first=given.get("first"),
            parallel=given.get("parallel", 1),
        )
        if call.first is not None and not call.is_many:
            raise UsageError("--first is for several databases or schemas.", "Leave it out.")
        if call.options.replicas and call.targets:
            raise UsageError("--replica is for one database.", "Leave it out, or name one --database-url.")
        code = function(call, **{name: value for name, value in given.items() if name not in CALLED}) or 0
        output.check_written(code)
    except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
        raise
    except (Exception, KeyboardInterrupt) as error:
        _leave(error, given.get("as_json", False), given["verbose"], write)
    ctx.exit(code)


def _asked(given: dict[str, Any]) -> Options:
    asked = Options(**{name: given[name] for name in Options._fields if name in given})
    if asked.replicas and asked.max_replica_lag is None:
        raise UsageError("--replica is for --max-replica-lag.", "Add --max-replica-lag, or leave --replica out.")
    is_parallel = given.get("parallel", 1) > 1  # which is to cost two connections for each database or schema
    return asked._replace(
        jobs=asked.jobs or (1 if is_parallel else None),
        wait_lock=0 if given.get("no_wait") else asked.wait_lock,
        below_later=asked.below_later or given.get("yes", False),
        alembic=not given.get("no_alembic"),
    )


def _leave(error: BaseException, as_json: bool, verbose: bool, write: HintWriter) -> NoReturn:
    """Say an error and exit with its code."""
    known = error if isinstance(error, IndexerError) else unexpected(error)
    if verbose:
        output.print_traceback(error)
    if as_json:
        output.print_answer(output.of_failure(known), as_json, write)
    output.print_error(known, write)
    raise click.exceptions.Exit(known.exit_code)


SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}


@click.group(cls=Commands, help=HELP, context_settings=SETTINGS)
@click.version_option(__version__, prog_name="indexer")
def cli() -> None:
    pass


def command(*own: Any, on: Any = options.on_database, changes: bool = False, output: Any = options.output) -> Any:
    """Return a decorator that makes a command of a function, which gets a ``Call`` and its own options.

    Args:
        own: decorators for its own options.
        on: the decorator for the options that name what it works on.
        changes: it changes the database, or tries to.
        output: the decorator for the options about what it prints.
    """

    def decorate(function: Callable[..., int | None]) -> click.Command:
        @wraps(function)
        def run(**given: Any) -> NoReturn:
            _run(function, changes, given)

        return cli.command(cls=LazyCommand, options=options.together(*own, on, output))(run)

    return decorate
