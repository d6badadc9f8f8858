"""Writes what is recorded: the records of revisions, and the log. Under the run lock only."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from peewee import PeeweeException

from indexer.errors import StatementFailed
from indexer.records.log import Entry, LogTable
from indexer.records.revisions import RevisionTable
from indexer.records.table import created_by, written_by
from indexer.text import reason


class Journal:
    """The tables that record revisions, of one migrator.

    Attributes:
        unlogged: why the log was not written, one sentence each.
    """

    def __init__(self, migrator: Any, revisions: RevisionTable, log: LogTable) -> None:
        self.migrator = migrator
        self.revisions = revisions
        self.log_table = log
        self.unlogged: list[str] = []

    def write(self, statements: Sequence[Any]) -> None:
        """Execute statements that record something, all of them or none; those that write rows as the last ones."""
        writing = [statement for statement in statements if written_by([statement])]
        creating = [statement for statement in statements if not written_by([statement])]
        with self.migrator.database.atomic():
            for statement in creating:
                self.migrator.database.execute(statement)
            self.migrator.lock_tables(written_by(writing) - created_by(creating))
            self.migrator.execute_last(writing)

    def log(self, entry: Entry) -> None:
        """Add an entry to the log, apart from the record: a failure to do so is a warning and fails no run."""
        if not self.log_table.is_writable:
            return  # the plan has warned of that
        try:
            self.write(self.log_table.insert(entry))
        except (PeeweeException, StatementFailed) as error:
            self.log_table.rolled_back()
            self.unlogged.append(
                f"{self.log_table.label} was not written, and history does not show this run: {reason(error)}."
            )

    def share(self) -> None:
        """Let the owner of the indexed tables use our tables, if another role created them and they are not in use."""
        for table in (self.revisions, self.log_table):
            if sharing := table.share():
                with suppress(PeeweeException):
                    self.write(sharing)
