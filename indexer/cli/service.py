"""Runs the service for the command ``serve``."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from indexer.cli.running import Call, default_database, unexpected
from indexer.console import output
from indexer.console.hints import DATABASE_URL, HintWriter
from indexer.errors import Hint, IndexerError, Interrupted, StatementFailed, Unreachable, UsageError
from indexer.events import DatabaseReadable, Event, ServerAwaited, ServiceEnded, ServiceStarted, Warned
from indexer.signals import Stop, interruptible
from indexer.urls import OPTION, database_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from indexer.service.address import Address

# What requirements-serve.txt names. An extra is no hint: on PyPI, the name indexer belongs to another project.
NEEDED = {
    "waitress": "waitress>=3.0.1,<4",
    "jinja2": "jinja2>=3.1,<4",
    "prometheus_client": "prometheus-client>=0.21,<1",
}


def serve(call: Call, address: Address, interval: float, details: bool) -> int:
    """Serve until a signal ends it, and return the exit code of that.

    Args:
        interval: how many seconds from one read of the database to the next.
        details: whether to show SQL, roles, and the names of servers and of the database.

    Raises:
        IndexerError: a package is missing, or the service cannot listen there.
        UsageError: several schemas are named, the URL cannot be understood, or there is no such address.
    """
    _check(call)
    _check_names(address.names)
    from indexer.revisions.chain import load
    from indexer.service.document import Details
    from indexer.service.reader import Reader, Source
    from indexer.service.service import Watcher, run

    chain, report = load(call.project.folder), call.reporter()
    source = Source(_source(call), call.target.schema)

    def failed(error: BaseException) -> None:
        report(_event(error))
        if call.verbose:
            output.print_traceback(error)

    watcher = Watcher(
        begun=lambda url: report(ServiceStarted(url)),
        failed=failed,
        recovered=lambda seconds: report(DatabaseReadable(seconds)),
    )
    shown = Details(call.write if details else _without_url(call.write), details)

    def work(stop: Stop) -> int:
        reader = Reader(source, call.project, chain, call.options, report, stop)
        run(address, reader, shown, interval, watcher, stop)
        return 0

    try:
        return interruptible(work, reading=True, last_words=output.last_words)
    except Interrupted as error:
        report(ServiceEnded(error.number.name))
        return error.exit_code


def _check(call: Call) -> None:
    """Raise an error if the service cannot be started: for lack of a package, one schema, or a valid URL."""
    missing = [module for module in NEEDED if find_spec(module) is None]
    if missing:
        packages = " ".join(f"'{NEEDED[module]}'" for module in missing)
        raise IndexerError(f"The service needs {' and '.join(missing)}.", f"Install it: pip install {packages}")
    if call.is_many:
        raise UsageError("The service is for one schema.", "Start one service for each schema.")
    source = call.target.source
    if source and not source.endswith("_FILE"):  # the content of a file can change while the service runs
        from indexer.connection import described

        described(call.target.url)


def _check_names(names: Sequence[str]) -> None:
    """Raise UsageError if a name to answer to can be that of no host."""
    from indexer.service.hosts import AllowedHosts

    wrong = next((name for name in names if not AllowedHosts.is_name(name)), None)
    if wrong is not None:
        raise UsageError(
            f"{wrong!r} is not the name of a host.",
            "Give --allow-host a name as clients use it, without scheme, port and *; repeat it for each name.",
        )


def _source(call: Call) -> Callable[[], Any]:
    """Return the function that returns where the database is now: a variable may name a file that has changed since."""
    target = call.target
    if not target.source:
        default = default_database(call.project)
        return lambda: default
    if target.source == OPTION:
        return lambda: target.url
    return lambda: database_url(None, os.environ).url


def _event(error: BaseException) -> Event:
    """Return the event of a failure: what may pass by itself, or why the database cannot be read and what to do."""
    known = error if isinstance(error, IndexerError) else unexpected(error)
    if isinstance(known, StatementFailed) or (isinstance(known, Unreachable) and known.can_heal):
        return ServerAwaited(known.summary)
    return Warned(Hint(f"{known.summary} ", known.hint))


def _without_url(write: HintWriter) -> HintWriter:
    """Return the writer of hints that repeats no database URL, which may be the path of a file."""
    typed = {name: value for name, value in write.typed.items() if name != DATABASE_URL}
    return HintWriter(write.program, typed, write.options_of)
