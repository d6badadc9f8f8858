"""The commands that care for indexes in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.cli import options
from indexer.cli.group import command
from indexer.cli.running import Call, ask

if TYPE_CHECKING:
    from indexer.console.output import Answer
    from indexer.runner import Runner


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
        from indexer.care.reindex import Reindexer, refusal
        from indexer.console import reindex

        place, reindexer = runner.migrator.place, Reindexer(runner)
        criteria = Criteria(tuple(dict.fromkeys(names)), bloated_over, max_size, min_age)
        if dry_run:
            plan = reindexer.plan(criteria)
            return reindex.of_plan(plan, place, refusal(plan))
        return reindex.of_run(reindexer.run(criteria), place)

    return ask(call._replace(changes=not dry_run), question)
