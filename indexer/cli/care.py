"""The commands that care for indexes in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from indexer.cli import options
from indexer.cli.environment import option
from indexer.cli.group import command
from indexer.cli.running import Call, ask
from indexer.errors import UsageError

if TYPE_CHECKING:
    from indexer.console.output import Answer
    from indexer.runner import Runner


@command(
    click.argument("names", metavar="[INDEX]...", nargs=-1),
    options.flag("--all", "Also show indexes of the tables that no revision declares.", "everything"),
    options.flag("--exact", "Read whole indexes where that tells more: pgstattuple, if it is installed."),
    option(
        "--also",
        multiple=True,
        metavar="URL",
        help="Also ask this server, such as a standby, for its scans; repeatable.",
    ),
    option(
        "--strict",
        type=options.Kinds(),
        default=(),
        show_default=False,
        help="Exit with 4 if there is advice of these kinds, such as bloated,invalid, or of all.",
    ),
    options.version_table,
)
def health(
    call: Call, names: tuple[str, ...], everything: bool, exact: bool, also: tuple[str, ...], strict: tuple[str, ...]
) -> int:
    """Show size, use and statistics of the indexes, and what to do about them.

    Says what a rebuild would leave of an index, how often it was scanned since when, and what it costs. Each advice
    names the command that follows. Changes nothing. Says "cannot tell" where that is so.
    """

    if also and call.targets:
        raise UsageError("--also is for one database.", "Leave it out, or name one --database-url.")

    def question(runner: Runner) -> Answer:
        from indexer.care.also import ask_also
        from indexer.care.health import health as healthy
        from indexer.console.health import answer

        inspector = runner.inspector
        asked = ask_also(also, runner.migrator, inspector.chain.tables)
        return answer(healthy(inspector, names, everything, exact, asked, strict))

    return ask(call, question)


@command(
    options.choice_of_indexes,
    options.flag("--dry-run", "Show what would be rebuilt, and change nothing."),
    options.patience,
    options.offline,
    options.pace,
    changes=True,
)
def reindex(
    call: Call,
    names: tuple[str, ...],
    bloated_over: float | None,
    max_size: int | None,
    min_age: float | None,
    dry_run: bool,
) -> int:
    """Rebuild bloated indexes while the application goes on working.

    Without INDEX: all declared indexes that a rebuild would make much smaller. Also drops what an interrupted REINDEX
    CONCURRENTLY left behind. Always safe to run again.
    """

    def question(runner: Runner) -> Answer:
        from indexer.care.choice import Criteria
        from indexer.care.rebuilds import refusal
        from indexer.care.reindex import Reindexer
        from indexer.console import reindex

        place, reindexer = runner.migrator.place, Reindexer(runner)
        criteria = Criteria(tuple(dict.fromkeys(names)), bloated_over, max_size, min_age)
        if dry_run:
            plan = reindexer.plan(criteria)
            return reindex.of_plan(plan, place, refusal(plan))
        return reindex.of_run(reindexer.run(criteria), place)

    return ask(call._replace(changes=not dry_run), question)


@command(
    click.argument("names", metavar="[TABLE|INDEX]...", nargs=-1),
    options.flag("--all", "Analyze the tables of all declared indexes, whether they need it or not.", "everything"),
    options.patience,
    changes=True,
)
def analyze(call: Call, names: tuple[str, ...], everything: bool) -> int:
    """Gather the planner's statistics of the tables that need it.

    Without a name: the tables of declared indexes that have no statistics, of which 50 rows and a tenth have changed
    since, whose counters were lost in a crash, or with an index on an expression without statistics. Blocks no reads
    and no writes.
    """

    def question(runner: Runner) -> Answer:
        from indexer.care.analyze import Analyzer
        from indexer.console.analyze import of_run

        done = Analyzer(runner).run(tuple(dict.fromkeys(names)), everything)
        return of_run(done, runner.migrator.place)

    return ask(call, question)
