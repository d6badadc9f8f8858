"""The commands: what each one asks of the engine, and which options it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from indexer import IndexerError, console
from indexer.cli import care as care  # its commands
from indexer.cli import options
from indexer.cli.completion import SHELLS, revisions, script_for
from indexer.cli.environment import option
from indexer.cli.group import cli as cli
from indexer.cli.group import command
from indexer.cli.running import Call, ask, work_on
from indexer.console import output
from indexer.errors import UsageError
from indexer.signals import Stop, interruptible

if TYPE_CHECKING:
    from indexer.console.output import Answer
    from indexer.runner import Runner

SQL_AND_JSON = "--sql and --json cannot be combined."

# Changing a database ------------------------------------------------------------------------------------------------


@command(
    options.to_revision,
    options.adopt_renamed,
    options.replace,
    options.published,
    options.alembic,
    options.waiting,
    options.pace,
    option("--heartbeat", metavar="FILE", help="Touch this file every 5 seconds until the end, for a probe."),
    changes=True,
)
def up(call: Call, to: str | None, heartbeat: str | None) -> int:
    """Build the pending indexes, up to the last revision.

    Creates the tables first if the database is empty. Keeps an index that already exists with the same definition,
    and rebuilds one that an interrupted run left incomplete. Always safe to run again.
    """

    def question(runner: Runner) -> Answer:
        return console.text.of_outcome(runner.up(to), runner.migrator.place)

    if heartbeat is None:
        return ask(call, question)
    from indexer.cli.heartbeat import beating

    with beating(heartbeat):
        return ask(call, question)


@command(
    options.to_revision,
    options.include_adopted,
    options.below_later,
    options.published,
    options.alembic,
    options.waiting,
    changes=True,
)
def down(call: Call, to: str | None) -> int:
    """Drop the indexes that up built, back one revision.

    Keeps indexes that existed before up. Changes no table and no row.
    """
    return ask(call, lambda runner: console.text.of_outcome(runner.down(to), runner.migrator.place))


@command(
    click.argument("revision", metavar="REV", shell_complete=revisions),
    options.published,
    options.alembic,
    changes=True,
)
def stamp(call: Call, revision: str) -> int:
    """Record a revision without building anything.

    Compares the database with the revision first. Exits with 4 and lists the differences if there are any.
    """
    return ask(call, lambda runner: console.text.of_stamp(runner.stamp(revision), runner.migrator.place))


@command(
    option(
        "--rows",
        type=click.IntRange(min=1),
        default=100_000,
        metavar="N",
        help="Activities to create; other rows in proportion.",
    ),
    options.published,
    on=options.on_one_database,
    changes=True,
)
def seed(call: Call, rows: int) -> int:
    """Fill an empty database with made-up rows.

    Creates the tables first if there are none. Refuses a database that contains any row.
    """
    from indexer.bench.sample import sample_of

    sample = sample_of(call.project.sample)

    def question(runner: Runner) -> Answer:
        from indexer.bench.progress import reporting

        with reporting(call.as_json, call.write, runner.report) as tell:
            return console.text.of_seed(runner.migrator.place, sample.seed(runner, rows, tell=tell))

    return ask(call, question)


def _check_script(call: Call) -> None:
    """Raise UsageError if the answers cannot be one script."""
    if call.as_json:
        raise UsageError(SQL_AND_JSON, "Leave out --sql or --json.")
    if len({target.opening.partition(" ")[0] for target in call.targets}) > 1:
        raise UsageError("A script is for PostgreSQL or for SQLite, not for both.", "Print one for each.")


# Reading a database -------------------------------------------------------------------------------------------------


@command(options.version_table)
def status(call: Call) -> int:
    """Show the current revision and the state of every index.

    Changes nothing. Exits with 4 if an index of an applied revision is missing or different, else with 3 if a
    revision is pending.
    """

    def question(runner: Runner) -> Answer:
        from indexer.verify.declared import calls_of

        inspector = runner.inspector
        return console.text.of_status(inspector.status(), calls_of(call.project, inspector.declared))

    return ask(call, question)


@command(
    click.argument("names", metavar="[INDEX]...", nargs=-1),
    options.flag("--deep", "Also check that the valid indexes, or those named, find the rows of their tables."),
    options.flag("--heap", "With --deep, also look for rows that a B-tree lacks: reads the whole table."),
    option(
        "--timeout", type=options.Seconds(), default=600, help="With --deep, cancel the check of an index after this."
    ),
    options.version_table,
)
def check(call: Call, names: tuple[str, ...], deep: bool, heap: bool, timeout: float) -> int:
    """Compare the database with its revisions.

    Changes nothing. Exits with 4 if an index of an applied revision is missing, broken or different, else with 3 if a
    revision is pending. Advice, such as about a redundant index, does not change the exit code.

    With --deep, reads the indexes themselves and exits with 4 if one is corrupt: amcheck reads whole B-trees where it
    may be called, else sampled rows are looked up. Holds the run lock for one index at a time, ends with 5 if a run
    holds it, and records which indexes are clean.
    """
    if not deep:
        if names or heap:
            named = "INDEX" if names else "--heap"
            raise UsageError(f"{named} is for deep checks.", "Add --deep.")
        return ask(call, lambda runner: console.text.of_check(runner.inspector.check()))

    def question(runner: Runner) -> Answer:
        from indexer.care.checking import DeepCheck

        return console.text.of_check(DeepCheck(runner.inspector, names, heap, timeout).run())

    options_of_run = call.options._replace(wait_lock=0)  # what is recorded waits for nobody
    return ask(call._replace(records=True, options=options_of_run), question)


@command(
    click.argument("direction", type=click.Choice(["up", "down"]), default="up"),
    options.to_revision,
    options.flag("--sql", "Print a script for psql or sqlite3 instead.", "as_sql"),
    options.adopt_renamed,
    options.replace,
    options.include_adopted,
    options.below_later,
    options.published,
    options.alembic,
)
def plan(call: Call, direction: str, to: str | None, as_sql: bool) -> int:
    """Show the statements that up (or down) would execute.

    Changes nothing. Exits with 1 or 4 if the run itself would be refused.
    """
    if as_sql:
        _check_script(call)
    own, others = call.options.words(direction), call.options.words("down" if direction == "up" else "up")
    if foreign := [option for option in others if option not in own]:
        named = " and ".join(foreign)
        raise UsageError(f"plan {direction} does not accept {named}.", f"Leave out {named}.")

    def question(runner: Runner) -> Answer:
        from indexer.verify.declared import NO_CALLS, calls_of

        inspector = runner.inspector
        found = runner.plan(direction, to, sizes=True, forecasts=not as_sql)
        calls = NO_CALLS if as_sql else calls_of(call.project, inspector.declared)
        answer = console.text.of_plan(found, runner.migrator.place, calls)
        if as_sql:
            return answer._replace(script="" if answer.error else runner.script(found))
        return answer

    return ask(call._replace(as_script=as_sql), question)


@command()
def history(call: Call) -> int:
    """Show the last hundred runs: when, by whom, and which indexes.

    Changes nothing.
    """

    def question(runner: Runner) -> Answer:
        standby = runner.migrator.server.standby()
        return console.text.of_history(runner.inspector.entries(), runner.migrator.place, standby)

    return ask(call, question)


@command(
    option("--analyze", is_flag=True, help="Also run each query, read-only, and show its time. PostgreSQL only."),
    options.flag("--sql", "Print the queries instead.", "as_sql"),
    on=options.on_databases,  # one at a time: the queries belong to the models, which all threads share
)
def verify(call: Call, analyze: bool, as_sql: bool) -> int:
    """Check that the planner uses the indexes.

    Asks the planner about each query that the indexes exist for, with arguments taken from existing rows. Changes
    nothing, and runs no query without --analyze. Exits with 4 if no index serves a query. A query that another index
    serves is not a failure, nor is a table so small that a scan is cheaper.
    """
    if as_sql:
        _check_script(call)

    def question(runner: Runner) -> Answer:
        from indexer.verify.declared import queries_of
        from indexer.verify.verify import verify as verified

        project, declared = call.project, runner.inspector.declared
        report = verified(runner.migrator, queries_of(project), project.models(), declared, analyze)
        return console.text.of_verify(report, as_sql)

    return ask(call._replace(as_script=as_sql), question)


@command(
    option(
        "--for",
        "condition",
        type=click.Choice(["reachable", "applied"]),
        default="reachable",
        help="applied waits until every revision is applied and check passes.",
    ),
    option("--timeout", type=options.Seconds(), default=60, help="How long to wait."),
    options.version_table,
)
def wait(call: Call, condition: str, timeout: float) -> int:
    """Wait until the database accepts connections, or until an application may start on it.

    Waits for a server that is starting, a host name that is not known yet, or a free connection. Fails at once with 7
    if waiting cannot help, as with a wrong password.

    With --for applied, also waits for up, which another process runs, and then exits with 0. After --timeout, exits
    with what check exits with: 3 if a revision is pending, 4 if an index is missing or different. Changes nothing.
    """
    if condition == "applied":
        from indexer.cli.waiting import wait_for_gate

        return wait_for_gate(call, timeout)
    return work_on(
        call.on_databases()._replace(wait_db=timeout, tells=True),
        lambda migrator, *_: console.text.of_wait(migrator.place, migrator.exists),
    )


@command(
    option("--host", default="127.0.0.1", metavar="ADDRESS", help="Address to listen on; 0.0.0.0 for all."),
    option(
        "--port",
        type=click.IntRange(0, 65535),
        default=8080,
        metavar="N",
        help="Port to listen on; 0 for any free one.",
    ),
    option(
        "--allow-host",
        "names",
        multiple=True,
        metavar="NAME",
        help="Also answer to this host name, besides localhost and IP addresses; repeatable.",
    ),
    option("--interval", type=options.Seconds(min=1), default=5, help="How often to read the state of the indexes."),
    options.flag("--details", "Also show SQL, roles, and the names of servers and of the database."),
    options.version_table,
    on=options.on_one_schema,
    output=options.messages,
)
def serve(call: Call, host: str, port: int, names: tuple[str, ...], interval: float, details: bool) -> int:
    """Serve a page, metrics and a gate for applications over HTTP.

    \b
    /             a page that shows revisions, indexes, builds, queries and advice
    /gate         200 if an application may start, else 503 with the reason
    /metrics      the figures for Prometheus
    /status.json  all of it as JSON
    /livez        200 as long as the service answers
    /readyz       200 once it has read the database

    Reads the database every few seconds, however often it is asked, and changes nothing. Waits for a database that
    cannot be reached. SIGTERM ends it.
    """
    from indexer.cli.service import serve as serve_on
    from indexer.service.address import Address

    return serve_on(call, Address(host, port, names), interval, details)


# Without a database -------------------------------------------------------------------------------------------------


@command(
    option(
        "--rows",
        type=options.Numbers(),
        default="10000,100000,1000000",
        help="Numbers of activities to measure with.",
    ),
    option("--out", default="bench-results", metavar="FOLDER", help="Folder for the results."),
    on=options.on_server,
)
def bench(call: Call, rows: list[int], out: str) -> int:
    """Measure the queries without and with the indexes.

    Creates made-up rows in a temporary file for SQLite, or in a temporary schema on PostgreSQL, and drops them
    afterwards. Does not read your tables.
    """

    def work(stop: Stop) -> Answer:
        from indexer.bench import report, tables
        from indexer.bench.bench import bench as measured
        from indexer.bench.progress import reporting

        report.check(out)
        with reporting(call.as_json, call.write) as tell:
            result = measured(call.target.url, rows, call.project, tell, stop)
            answer = tables.answer(result)
            try:
                report.write(result, out, tell)
            except IndexerError as error:  # what took minutes to measure is printed all the same
                return answer._replace(error=error)
            return answer

    answer = interruptible(work, look=call.looking(), last_words=output.last_words)
    output.print_answer(answer, call.as_json, call.write)
    if answer.error:
        output.print_error(answer.error, call.write)
    return answer.error.exit_code if answer.error else 0


@command(click.argument("message"), on=options.together())
def new(call: Call, message: str) -> None:
    """Write the next migrate_<id>.py, with an example.

    MESSAGE describes the revision in one line. The example is an index on a column of your models. Prints its query, to
    be added to queries.py.
    """
    from indexer.revisions.scaffold import write_revision

    written = write_revision(call.project.folder, message, call.project.models())
    output.print_answer(console.text.of_new(written), call.as_json, call.write)


@command(click.argument("shell", type=click.Choice(SHELLS)), on=options.together())
def completion(call: Call, shell: str) -> None:
    """Print the script that lets a shell complete commands, options and revisions.

    \b
    bash  Add to ~/.bashrc:  eval "$(indexer completion bash)"
    zsh   Add to ~/.zshrc:   eval "$(indexer completion zsh)"
    fish  Run once:          indexer completion fish > ~/.config/fish/completions/indexer.fish
    """
    script = script_for(shell, cli, call.write.program)
    output.print_answer(console.text.of_completion(shell, script), call.as_json, call.write)
