"""One call of a command: connect, ask one database or several schemas, print the answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from signal import SIGINT
from typing import TYPE_CHECKING, Any

from indexer import console
from indexer.cli.targets import Target
from indexer.console import output
from indexer.console.hints import HintWriter
from indexer.errors import Command, Hint, IndexerError, Interrupted, PreflightFailed
from indexer.options import DEFAULTS, Options
from indexer.project import Project, initialised
from indexer.signals import Stop, interruptible
from indexer.text import reason, visible
from indexer.tuples import NamedTuple
from indexer.urls import DEFAULT

if TYPE_CHECKING:
    from indexer.console.output import Answer
    from indexer.console.progress import Reporter
    from indexer.migrator import CatalogMigrator
    from indexer.revisions.chain import Chain
    from indexer.runner import Runner

DEFAULT_FILE = DEFAULT.removeprefix("sqlite:///")
Question = Callable[["Runner"], "Answer"]
Work = Callable[["CatalogMigrator", "Reporter", Stop], "Answer"]


class Call(NamedTuple):
    """One call of a command.

    Attributes:
        write: writes hints.
        wait_db: how many seconds to wait for a server that is starting.
        changes: the command changes the database, or tries to.
        records: the command changes nothing but what is recorded.
        as_script: only a script goes to stdout.
        tells: its progress is a part of its output.
        targets: all databases, if there may be several; ``target`` is the first of them.
        first: the name of the database or schema that must end well before the others are begun.
        parallel: how many databases or schemas to work on at once.
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
    tells: bool = False
    targets: tuple[Target, ...] = ()
    first: str | None = None
    parallel: int = 1

    @property
    def is_many(self) -> bool:
        """Whether there are several databases or schemas, each with an answer."""
        return bool(self.targets) or self.target.is_many

    @property
    def all_targets(self) -> tuple[Target, ...]:
        """The databases."""
        return self.targets or (self.target,)

    def on_databases(self) -> Call:
        """Return the call for the databases themselves, whatever schemas of them are named."""
        whole = [each._replace(schemas=(), pattern=None) if each.is_many else each for each in self.all_targets]
        return self._replace(target=whole[0], targets=tuple(whole) if self.targets else ())

    def reporter(self) -> Reporter:
        """Return the progress reporter of a command on one database."""
        progress = console.progress
        return progress.reporter(self.as_json, self.write) if self.tells else progress.Lines(self.write, err=True)

    def looking(self) -> str:
        """Return what to say after an interruption without time to report what was done."""
        return self.write(Hint("To see what was done, run: ", Command("status")))


def ask(call: Call, question: Question) -> int:
    """Ask the database, or each of several schemas, print the answer, and return the exit code.

    Args:
        call: what the user typed.
        question: called with the Runner of a database or schema.
    """
    from indexer.revisions.chain import load

    chain = load(call.project.folder)  # before connecting, which a broken chain makes useless

    def work(migrator: CatalogMigrator, report: Reporter, stop: Stop) -> Answer:
        return ask_runner(call, question, migrator, chain, report, stop)

    return work_on(call, work, chain.tables)


def work_on(call: Call, work: Work, tables: Sequence[str] = ()) -> int:
    """Do work on the database, or on each of several databases and schemas; print the answer, return the exit code.

    Args:
        work: called with the connected migrator, a reporter of progress, and what asks it to stop.
        tables: those that a schema must contain to match a pattern.
    """
    if call.is_many:
        from indexer.cli.many import work_on_each

        return _interruptible(call, lambda stop: work_on_each(call, work, tables, stop))
    return _interruptible(call, lambda stop: _work_on_one(call, work, stop))


def _interruptible(call: Call, work: Callable[[Stop], int]) -> int:
    return interruptible(work, reading=not call.changes, look=call.looking(), last_words=output.last_words)


def _work_on_one(call: Call, work: Work, stop: Stop) -> int:
    report = call.reporter()
    try:
        with connected(call, report, stop) as migrator:
            answer = work(migrator, report, stop)
    finally:
        report.close()
    output.print_answer(answer, call.as_json, call.write)
    if answer.error and not call.as_json:
        raise answer.error
    return answer.exit_code


def ask_runner(
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
def connected(call: Call, report: Reporter, stop: Stop, where: Any = None) -> Iterator[CatalogMigrator]:
    """Connect to the target, or to ``where`` it is if no URL is given; wait for it as long as the call says."""
    # Imported here, because --help need not wait for peewee.
    from indexer.connection import connect_patiently

    target = call.target
    where = target.url if target.source else where or default_database(call.project)
    waiting = call.options if call.changes else None
    read_only = not (call.changes or call.records)
    with connect_patiently(where, target.schema, call.wait_db, report, stop, read_only, waiting) as migrator:
        yield migrator


def default_database(project: Project) -> Any:
    """Return the database to work on where no URL is given, and say which one that is."""
    declared = project.database()
    database = initialised(declared)
    name = "database of models.py" if database else f"file {visible(os.path.abspath(DEFAULT_FILE))}"
    why = ", because the database of models.py is not initialised" if declared and not database else ""
    output.echo(f"No database URL is given: using the {name}{why}.", err=True, level=output.WARNING)
    return database or DEFAULT


def unexpected(error: BaseException) -> IndexerError:
    """Return an IndexerError for an error that this tool does not expect."""
    if isinstance(error, KeyboardInterrupt):
        return Interrupted(SIGINT)
    return IndexerError(f"Unexpected error: {reason(error)}.", "To see where it happened, add --verbose.")
