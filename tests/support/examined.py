"""The health of a database's indexes, asked for in this process."""

from __future__ import annotations

from typing import Any

from command import CLI

from indexer.care.also import ask_also
from indexer.care.health import Health, health
from indexer.care.observed import Observed
from indexer.connection import connect
from indexer.console.health import lines
from indexer.console.hints import HintWriter
from indexer.revisions.chain import load
from indexer.runner import Runner

CHAIN = load(str(CLI.parent))
WRITE = HintWriter("python cli.py")


def examined(url: str, *names: str, also: tuple[str, ...] = (), **options: Any) -> Health:
    """Return the health of these indexes, or of the declared ones, as the command line asks for it."""
    with connect(url, read_only=True) as migrator:
        runner = Runner(migrator, CHAIN)
        asked = ask_also(also, runner.migrator, CHAIN.tables)
        return health(runner.inspector, names, asked=asked, **options)


def facts_of(url: str, name: str, **options: Any) -> Observed:
    """Return what is known of one index."""
    (index,) = examined(url, name, **options).indexes
    return index.observed


def advised(report: Health) -> dict[str, str]:
    """Return the texts of all advice by its kind and index."""
    return {
        f"{advice.kind} {index.observed.name}": WRITE(advice.text)
        for index in report.indexes
        for advice in index.advice
    }


def text(report: Health) -> str:
    """Return the report as the command prints it."""
    return "\n".join(map(WRITE, lines(report)))
