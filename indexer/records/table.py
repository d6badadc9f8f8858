"""The tables that a run writes to: their models bound to a schema, and what the tool's own ones have in common."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from peewee import SQL, Entity, Model, NodeList, _ModelWriteQueryHelper

from indexer.catalog import TRUSTED, Table, TableTrust
from indexer.errors import IndexerError, PreflightFailed, Problem
from indexer.migrator import CatalogMigrator
from indexer.text import identifier, literal, visible

HIDDEN = "Connect as a role that it does not concern, or as the owner run:"
TRUSTED_AGAIN = "Look at it, then a superuser or its owner can run:"


def bound(model: type[Model], name: str, migrator: CatalogMigrator) -> Any:
    """The model as the table of this name in the migrator's database and schema."""
    model._meta.set_database(migrator.database)
    model._meta.schema = migrator.schema
    model._meta.set_table_name(name)
    return model


@contextmanager
def placed(models: Sequence[Any], schema: str | None) -> Iterator[None]:
    """Let the models name their tables with this schema until the block ends."""
    before = [(model._meta, model._meta.schema) for model in models]
    try:
        for meta, _ in before:
            meta.schema = schema
        yield
    finally:
        for meta, former in before:
            meta.schema = former


class OwnTable:
    """A table of this tool's own, known by its name and its columns; made by the first write, never by a read."""

    name: str
    columns: tuple[str, ...]

    def __init__(self, migrator: CatalogMigrator) -> None:
        self.migrator = migrator
        self._table: Table | None = None
        self._home = TRUSTED
        self._stands = False

    @staticmethod
    def declared() -> type[Model]:
        """The table as a model, a new one for each schema."""
        raise NotImplementedError

    @cached_property
    def model(self) -> Any:
        """The model to read and write with."""
        return bound(self.declared(), self.name, self.migrator)

    def look(self, tables: dict[str, Table]) -> None:
        """Learn from the catalog whether the table exists and whose it ought to be.

        Raises:
            PreflightFailed: another tool's table has the name, or one that cannot be trusted.
        """
        self._table = table = tables.get(self.name)
        self._stands = table is not None
        self._home = next((each.trust for each in tables.values() if each.trust.main_owner), TRUSTED)
        if table:
            refuse_untrusted(table, self.migrator.qualified(self.name))
            self._refuse_another_tools(table)

    def _refuse_another_tools(self, table: Table) -> None:
        missing = [column for column in self.columns if column not in table.columns]
        if missing:
            name = self.migrator.qualified(self.name)
            raise PreflightFailed(
                [f"table {name} is not this tool's: it has no column {', '.join(missing)}"],
                "Rename that table; this tool records its revisions under the name.",
            )

    def stands(self, tables: dict[str, Table]) -> bool:
        """Return whether the table exists and can be read.

        Raises:
            PreflightFailed: it is not ours or cannot be trusted, or our role may not read it.
        """
        self.look(tables)
        if self.is_closed:
            raise PreflightFailed(self.migrator.missing_rights_to_read(tables), "")
        return self._stands

    @property
    def is_closed(self) -> bool:
        """Whether the table exists and our role may not read it."""
        return self._table is not None and not self._table.readable

    @property
    def is_writable(self) -> bool:
        """Whether our role may write to the table, or can try to make it."""
        return self._table is None or self._table.writable

    @property
    def obstacle(self) -> str:
        """Why our role may not write to the table, with the statement that changes that."""
        assert self._table, "only a table that exists refuses to be written"
        name, role = self.migrator.qualified(self.name), self._table.role
        return f"role {role} may not write it: GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO {identifier(role)}"

    def making(self) -> list[Any]:
        """What makes the table if it does not exist yet, as peewee nodes; the owner of the other tables may use it."""
        if self._stands:
            return []
        self._stands = True
        return [self.model._schema._create_table(safe=False), *self._opening(self._home)]

    def sharing(self) -> list[Any]:
        """Return what lets the owner of the other tables work with a table that another role made."""
        table = self._table
        if table is None or not table.owned or table.owner == table.trust.main_owner:
            return []
        if table.trust.is_shared and not table.trust.can_be_given:
            return []
        return [SQL("SET LOCAL lock_timeout TO '500ms'"), *self._opening(table.trust)]

    def check(self, readable: Mapping[str, bool], row: Mapping[str, Any], key: str, then: str = "") -> None:
        """Make sure that a row can be read: somebody may have put into it what no run has written.

        Args:
            readable: for each column that is read, whether it holds what a run writes.
            row: all values of the row.
            key: the column by which the row is found.
            then: what to do once the row is deleted.

        Raises:
            IndexerError: it cannot; names the first such column, and the row.
        """
        wrong = [column for column, is_right in readable.items() if not is_right]
        if not wrong:
            return
        name, value = self.migrator.qualified(self.name), row[key]
        where = f"{key} = {literal(value) if isinstance(value, str) else value}"
        message = f"The row of {name} with {where} cannot be read: its {wrong[0]} is {visible(str(row[wrong[0]]))}."
        raise IndexerError(message, f"Delete the row: DELETE FROM {name} WHERE {where};{then}")  # noqa: S608  to be read

    @property
    def creation(self) -> str:
        """The text of its CREATE TABLE."""
        return str(self.migrator.make_context().sql(self.model._schema._create_table(safe=False)).query()[0])

    def forget(self) -> None:
        """Take back that the table has been made: the transaction was rolled back."""
        self._stands = self._table is not None

    def _opening(self, trust: TableTrust) -> list[Any]:
        """What gives the table to the owner of the other ones or, without the right to do so, lets that role use it."""
        if not trust.main_owner:
            return []
        table, owner = Entity(self.migrator.schema, self.name), Entity(trust.main_owner)
        if trust.can_be_given:
            return [NodeList((SQL("ALTER TABLE"), table, SQL("OWNER TO"), owner))]
        return [NodeList((SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON"), table, SQL("TO"), owner))]


def from_json(stored: Any) -> Any:
    """Return what a column holds as JSON; None where it holds no JSON."""
    try:
        return json.loads(stored)
    except (ValueError, TypeError):
        return None


def hidden_rows(tables: Iterable[Table]) -> IndexerError | None:
    """Return the error about tables whose rows a policy may hide from our role, if there are any."""
    hiding = [table for table in tables if table.trust.unhiding]
    if not hiding:
        return None
    names = ", ".join(table.name for table in hiding)
    lines = [HIDDEN, *(f"  {table.trust.unhiding};" for table in hiding)]
    return IndexerError(f"Row-level security may hide rows of {names} from role {hiding[0].role}.", "\n".join(lines))


def written_by(statements: Sequence[Any]) -> set[tuple[str | None, str]]:
    """Return schema and name of each table whose rows these statements write."""
    metas = [statement.model._meta for statement in statements if isinstance(statement, _ModelWriteQueryHelper)]
    return {(meta.schema, meta.table_name) for meta in metas}


def refuse_untrusted(table: Table, name: str) -> None:
    """Raise PreflightFailed if reading or writing a table could run other people's code, or hide rows."""
    if not table.trust.flaw:
        return
    problem = f"{name} {table.trust.flaw}: revisions are recorded in an ordinary table of a trusted role"
    raise PreflightFailed([Problem(problem, TRUSTED_AGAIN, [table.trust.remedy])], "")
