"""How many messages a command sends to the server: each is a round trip, of which a run on small tables consists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from command import CLI, SEVEN_TABLES, execute

from indexer import migrator, runner
from indexer.connection import connect
from indexer.migrator import CatalogMigrator
from indexer.postgres.session import reader
from indexer.postgres.session.builders import Builder
from indexer.postgres.session.database import WatchedCursor
from indexer.revisions.chain import load
from indexer.runner import Runner

CHAIN = load(str(CLI.parent))
SENDING = ((WatchedCursor, "execute"), (Builder, "execute"), (Builder, "send"))


class Sent:
    """Counts the messages of a run, on all of its sessions, but for the greeting of the first."""

    def __init__(self) -> None:
        self.count = 0

    def counting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method that counts its calls."""

        def counted(*arguments: Any) -> Any:
            self.count += 1
            return method(*arguments)

        return counted

    def during(self, work: Callable[[], object]) -> int:
        """Do some work, and return how many messages it has sent."""
        before = self.count
        work()
        return self.count - before


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Count all messages from now on; on a busy machine, too, a run ends before what it has read is out of date."""
    sent = Sent()
    for module in (migrator, reader, runner):
        monkeypatch.setattr(module, "MOMENT", 60.0)
    for owner, name in SENDING:
        monkeypatch.setattr(owner, name, sent.counting(getattr(owner, name)))
    return sent


@contextmanager
def opened(url: str) -> Iterator[CatalogMigrator]:
    """Yield the migrator of a database."""
    migrator = connect(url)
    try:
        yield migrator
    finally:
        migrator.database.close()


@pytest.mark.parametrize(
    ("command", "most"),
    [
        (lambda runner: runner.up(), 9),
        (lambda runner: runner.inspector.status(), 9),
        (lambda runner: runner.inspector.check(), 11),
    ],
    ids=["up with nothing to do", "status", "check"],
)
def test_a_command_that_changes_nothing_sends_few_messages(head_url, sent, command, most):
    with opened(head_url) as migrator:
        assert sent.during(lambda: command(Runner(migrator, CHAIN))) <= most


def test_a_run_on_empty_tables_sends_at_most_five_messages_an_index_beside_what_is_asked_once(base_url, sent):
    for direction in ("up", "down"):
        with opened(base_url) as migrator:
            runner = Runner(migrator, CHAIN)
            assert sent.during(getattr(runner, direction)) <= 10 * 5 + 45


def test_each_further_schema_takes_fewer_messages_than_the_first(base_url, sent):
    schemas = ("one", "two", "three")
    copies = (f"CREATE TABLE {schema}.{table} (LIKE public.{table})" for schema in schemas for table in SEVEN_TABLES)
    execute(base_url, *(f"CREATE SCHEMA {schema}" for schema in schemas), *copies)
    with opened(base_url) as migrator:
        runs = [Runner(one, CHAIN) for one in migrator.in_schemas(schemas, None, CHAIN.tables)]
        counts = [sent.during(runner.up) for runner in runs]
    assert counts[-1] <= 10 * 5 + 34, counts
