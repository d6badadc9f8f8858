"""One call of a command: connect, ask one database or several schemas, print the answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from signal import SIGINT
from typing import TYPE_CHECKING, Any

from indexer import console
from indexer.console import output
from indexer.console.hints import DATABASE_URL, SCHEMA, HintWriter
from indexer.errors import Command, Hint, IndexerError, Interrupted, PreflightFailed, UsageError
from indexer.options import DEFAULTS, VERSION_TABLE, Options
from indexer.project import Project, initialised
from indexer.signals import Stop, interruptible
from indexer.text import reason, shell, visible
from indexer.tuples import NamedTuple
from indexer.urls import DEFAULT, database_url

if TYPE_CHECKING:
    from indexer.console.output import Answer
    from indexer.console.progress import Reporter
    from indexer.migrator import CatalogMigrator
    from indexer.revisions.chain import Chain
    from indexer.runner import Runner

DEFAULT_FILE = DEFAULT.removeprefix("sqlite:///")
Question = Callable[["Runner"], "Answer"]


class Target(NamedTuple):
    """The database, or the schemas of one, that a command works on.

    Attributes:
        url: the database URL.
        source: where it was given: an option, a variable, or nowhere ("").
        schemas: their names.
        pattern: what their names match instead.
    """

    url: str = DEFAULT
    source: str = ""
    schemas: tuple[str, ...] = ()
    pattern: str | None = None

    @property
    def is_many(self) -> bool:
        """Whether there are several schemas."""
        return self.pattern is not None or len(self.schemas) > 1

    @property
    def schema(self) -> str | None:
        """The only schema that was named; None for that of the search path, or for several."""
        return self.schemas[0] if self.schemas and not self.is_many else None


class Call(NamedTuple):
    """One call of a command.

    Attributes:
        write: writes hints.
        wait_db: how many seconds to wait for a server that is starting.
        changes: the command changes the database, or tries to.
        records: the command changes nothing but what is recorded.
        as_script: only a script goes to stdout.
    """

    project: Project
    target: Target
    write: HintWriter
    as_json: bool = False
    verbose: bool = False
    options: Options = DEFAULTS
    wait_db: float = 0
    changes: bool = False
    records: bool = False
    as_script: bool = False

    def looking(self) -> str:
        """Return what to say after an interruption without time to report what was done."""
        return self.write(Hint("To see what was done, run: ", Command("status")))


def target_of(given: Mapping[str, Any]) -> Target:
    """Return the target that options and environment name.

    Raises:
        UsageError: there is no such URL or schema, or schemas are named in two ways.
    """
    if "database_url" not in given:
        return Target()
    url, source = database_url(given["database_url"], os.environ)
    schemas, pattern = given.get("schemas", ()), given.get("pattern")
    if schemas and pattern is not None:
        raise UsageError("--schema and --all-schemas cannot be combined.", "Leave out --all-schemas.")
    if "" in schemas:
        raise UsageError("The name of a schema is empty.", "Check that the shell variable in it is set.")
    return Target(url, source, tuple(dict.fromkeys(schemas)), pattern)


def typed_of(target: Target, given: Mapping[str, Any]) -> dict[str, str]:
    """Return the options to repeat in the next command, quoted for a shell; not a URL that may contain a password."""
    typed: dict[str, str] = {}
    if target.source == DATABASE_URL:
        typed[DATABASE_URL] = shell(target.url) if target.url.startswith("sqlite:") else "URL"
    if target.schema:
        typed[SCHEMA] = shell(target.schema)
    if given.get("version_table", VERSION_TABLE) != VERSION_TABLE:
        typed["--version-table"] = shell(given["version_table"])
    return typed


def ask(call: Call, question: Question) -> int:
    """Ask the database, or each of several schemas, print the answer, and return the exit code.

    Args:
        call: what the user typed.
        question: called with the Runner of a database or schema.
    """
    from indexer.revisions.chain import load

    chain = load(call.project.folder)  # before connecting, which a broken chain makes useless
    ask_all = _ask_each if call.target.is_many else _ask_one
    return interruptible(
        lambda stop: ask_all(call, question, chain, stop), reading=not call.changes, look=call.looking()
    )


def _ask_one(call: Call, question: Question, chain: Chain, stop: Stop) -> int:
    progress = console.progress
    report = progress.reporter(call.as_json, call.write) if call.changes else progress.Lines(call.write, err=True)
    try:
        with connected(call, report, stop) as migrator:
            answer = _answer(call, question, migrator, chain, report, stop)
    finally:
        report.close()
    output.print_answer(answer, call.as_json, call.write)
    if answer.error and not call.as_json:
        raise answer.error
    return answer.exit_code


def _ask_each(call: Call, question: Question, chain: Chain, stop: Stop) -> int:
    """Ask each schema, even after a failure; return the highest exit code."""
    target, as_json, write = call.target, call.as_json, call.write
    answers: dict[str, Answer] = {}
    with connected(call, console.progress.Lines(write, err=True), stop) as migrator:
        schemas = migrator.in_schemas(target.schemas, target.pattern, chain.tables)
        for one in schemas:
            schema = one.schema or ""
            try:
                one.reconnect()
                report = console.progress.reporter_of_schema(schema, as_json, write)
                answers[schema] = _answer(call, question, one, chain, report, stop)
            except IndexerError as error:
                if call.verbose:
                    output.print_traceback(error)
                answers[schema] = output.of_failure(error)
            if not as_json:
                (output.print_script if call.as_script else output.print_line)(schema, answers[schema], write)
            if stop.asked:
                break
        output.print_total(answers, len(schemas), as_json, call.as_script, write)
    return max(answer.exit_code for answer in answers.values())


def _answer(
    call: Call, question: Question, migrator: CatalogMigrator, chain: Chain, report: Reporter, stop: Stop
) -> Answer:
    """Return the answer of one database or schema; raise any error as an IndexerError."""
    from peewee import PeeweeException

    from indexer.runner import Runner

    try:
        runner = Runner(migrator, chain, call.project.models, call.options, report, stop)
        migrator = runner.migrator
        return question(runner)
    except PreflightFailed as error:
        if call.changes:
            raise
        raise error.while_reading() from error
    except IndexerError:
        raise
    except PeeweeException as error:
        raise migrator.translate_error(error) from error
    except Exception as error:
        raise unexpected(error) from error


@contextmanager
def connected(call: Call, report: Reporter, stop: Stop) -> Iterator[CatalogMigrator]:
    """Connect to the target, waiting for it as long as the call says."""
    # Imported here, because --help need not wait for peewee.
    from indexer.connection import connect_patiently

    target = call.target
    where = target.url if target.source else _default(call.project)
    waiting = call.options if call.changes else None
    read_only = not (call.changes or call.records)
    with connect_patiently(where, target.schema, call.wait_db, report, stop, read_only, waiting) as migrator:
        yield migrator


def _default(project: Project) -> Any:
    """Return the database to work on where no URL is given, and say which one that is."""
    declared = project.database()
    database = initialised(declared)
    name = "database of models.py" if database else f"file {visible(os.path.abspath(DEFAULT_FILE))}"
    why = ", because the database of models.py is not initialised" if declared and not database else ""
    output.echo(f"No database URL is given: using the {name}{why}.", err=True)
    return database or DEFAULT


def unexpected(error: BaseException) -> IndexerError:
    """Return an IndexerError for an error that this tool does not expect."""
    if isinstance(error, KeyboardInterrupt):
        return Interrupted(SIGINT)
    return IndexerError(f"Unexpected error: {reason(error)}.", "To see where it happened, add --verbose.")
