"""What the tool's two tables have in common: how each is found, checked, created, shared and read."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cached_property
from typing import Any, Protocol

from peewee import SQL, DateTimeField, Entity, Field, IntegerField, Model, NodeList, _ModelWriteQueryHelper

from indexer.catalog import TRUSTED, Table, TableTrust
from indexer.dialect import MODELS
from indexer.errors import Hint, IndexerError, PreflightFailed, Problem
from indexer.server import Server
from indexer.text import identifier, literal, visible

HIDDEN = "Connect as a role that the policy does not apply to, or run as the owner:"
NOTHING_ELSE = Hint()
KINDS = {DateTimeField: datetime, IntegerField: int}  # which a run reads as more than text
TRUSTED_AGAIN = "Review it, then a superuser or its owner can run:"


class Home(Protocol):
    """The database and the schema that a table is in, as a migrator has them."""

    database: Any
    schema: str | None
    catalog: Any
    server: Server

    def qualified(self, name: str) -> str:
        """Return a name with its schema, quoted where a statement needs that."""


def bind(model: type[Model], home: Home, schema: str | None, name: str) -> Any:
    """Return a copy of a model for the table of this name in a schema of a database."""
    meta = type("Meta", (), {"database": home.database, "schema": schema, "table_name": name})
    return type(model.__name__, (model,), {"Meta": meta})


@contextmanager
def placed(models: Sequence[Any], schema: str | None) -> Iterator[None]:
    """Let the models name their tables with this schema until the block ends."""
    with MODELS:
        before = [(model._meta, model._meta.schema) for model in models]
        try:
            for meta, _ in before:
                meta.schema = schema
            yield
        finally:
            for meta, former in before:
                meta.schema = former


class Creation(NodeList):
    """The statement that creates a table; ``table`` is its schema and its name."""

    def __init__(self, model: Any) -> None:
        super().__init__([model._schema._create_table(safe=False)])
        self.table = (model._meta.schema, model._meta.table_name)


class RecordTable:
    """A table of this tool, recognised by its name and its columns; the first run that changes something creates it.

    Wherever a method takes ``tables``, these are those of the schema by name, this one among them if it exists. No run
    may go on without a table that is required.
    """

    name: str
    declared: type[Model]
    is_required = True

    def __init__(self, home: Home) -> None:
        self.home = home
        self._table: Table | None = None
        self._trust = TRUSTED
        self._is_created = False

    @cached_property
    def model(self) -> Any:
        """The model to read and write with."""
        return bind(self.declared, self.home, self.home.schema, self.name)

    @property
    def label(self) -> str:
        """The name with the schema, quoted where SQL needs it."""
        return self.home.qualified(self.name)

    def find(self, tables: Mapping[str, Table]) -> None:
        """Find the table.

        Raises:
            PreflightFailed: another tool's table has the name, or a required one cannot be trusted.
        """
        self._table = table = tables.get(self.name)
        self._is_created = table is not None
        self._trust = next((each.trust for each in tables.values() if each.trust.main_owner), TRUSTED)
        if self.is_required:
            self._refuse_untrusted()
        columns = self.declared._meta.sorted_field_names
        missing = [column for column in columns if table and self.is_trusted and column not in table.columns]
        if missing:
            raise PreflightFailed(
                [f"table {self.label} is not this tool's: it has no column {', '.join(missing)}"],
                "Rename that table, because this tool records its revisions in a table of that name.",
            )

    def _refuse_untrusted(self) -> None:
        """Raise PreflightFailed if reading or writing the table runs other people's code, or hides rows."""
        if self._table and not self.is_trusted:
            trust = self._table.trust
            problem = f"{self.label} {trust.flaw}, so it cannot be trusted to record revisions"
            raise PreflightFailed([Problem(problem, TRUSTED_AGAIN, [trust.remedy])], "")

    def exists(self, tables: Mapping[str, Table]) -> bool:
        """Return whether the table exists and can be read.

        Raises:
            PreflightFailed: it is another tool's, cannot be trusted, or our role may not read it.
        """
        self.find(tables)
        if self.is_closed:
            raise PreflightFailed(self.home.server.missing_rights_to_read(tables), "")
        self._refuse_untrusted()
        return self._table is not None

    @property
    def is_closed(self) -> bool:
        """Whether the table exists and our role may not read it."""
        return self._table is not None and not self._table.readable

    @property
    def is_trusted(self) -> bool:
        """Whether nothing is attached to the table by others; an absent one is trusted."""
        return self._table is None or not self._table.trust.flaw

    @property
    def is_writable(self) -> bool:
        """Whether the table can be trusted, and our role may write to it or can try to create it."""
        return self.is_trusted and (self._table is None or self._table.writable)

    @property
    def obstacle(self) -> str:
        """Why the table cannot be written to, with the statements that change that."""
        assert self._table, "a table that does not exist has no obstacle"
        role, trust = self._table.role, self._table.trust
        if trust.flaw:
            return ": ".join(filter(None, (f"it {trust.flaw}", trust.remedy)))
        grant = f"GRANT SELECT, INSERT, UPDATE, DELETE ON {self.label} TO {identifier(role)}"
        return f"role {role} may not write to it: {grant}"

    def create(self) -> list[Any]:
        """Return the statements that create the table for the owner of the indexed ones, unless it exists."""
        if self._is_created:
            return []
        self._is_created = True
        return [Creation(self.model), *self._share(self._trust)]

    def share(self) -> list[Any]:
        """Return the statements that let the owner of the indexed tables use a table that another role created."""
        table = self._table
        if table is None or not (self.is_trusted and table.owned) or table.owner == table.trust.main_owner:
            return []
        if table.trust.is_shared and not table.trust.can_be_given:
            return []
        return [SQL("SET LOCAL lock_timeout TO '500ms'"), *self._share(table.trust)]

    def _share(self, trust: TableTrust) -> list[Any]:
        """Return what gives the table to the owner of the indexed ones or, without the right to do so, opens it."""
        if not trust.main_owner:
            return []
        table, owner = Entity(self.home.schema, self.name), Entity(trust.main_owner)
        if trust.can_be_given:
            return [NodeList((SQL("ALTER TABLE"), table, SQL("OWNER TO"), owner))]
        return [NodeList((SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON"), table, SQL("TO"), owner))]

    @property
    def creation(self) -> str:
        """The text of its CREATE TABLE."""
        return str(self.home.database.get_sql_context().sql(self.model._schema._create_table(safe=False)).query()[0])

    def rolled_back(self) -> None:
        """Note that the transaction that was to create the table is rolled back."""
        self._is_created = self._table is not None

    def check_row(self, row: Mapping[str, Any], readable: Mapping[str, bool], then: Hint = NOTHING_ELSE) -> None:
        """Check that a row holds what a run writes; others may have changed it, and SQLite stores any value anywhere.

        Args:
            readable: for each column of JSON, whether it holds what a run writes.
            then: what to do once the row is deleted.

        Raises:
            IndexerError: it does not; with the first such column, and the row.
        """
        meta: Any = self.declared._meta
        fields = {field.name: field for field in meta.sorted_fields}
        wrong = [name for name, field in fields.items() if not readable.get(name, _is_readable(field, row[name]))]
        if not wrong:
            return
        key = meta.primary_key.name
        value = row[key]
        where = f"{key} = {literal(value) if isinstance(value, str) else value}"
        message = (
            f"The row of {self.label} with {where} cannot be read: its {wrong[0]} is {visible(str(row[wrong[0]]))}."
        )
        delete = f"Delete the row: DELETE FROM {self.label} WHERE {where};"  # noqa: S608  shown
        raise IndexerError(message, Hint(delete, then))


def _is_readable(field: Field, value: Any) -> bool:
    return isinstance(value, KINDS.get(type(field), object)) or (field.null and value is None)


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


def created_by(statements: Sequence[Any]) -> set[tuple[str | None, str]]:
    """Return schema and name of each table that these statements create."""
    return {statement.table for statement in statements if isinstance(statement, Creation)}


def now() -> datetime:
    """Return the time in UTC, in whole seconds."""
    return datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)


def current_user() -> str:
    """Return the user who runs this process, and the host: at most 255 characters."""
    import getpass  # half a millisecond, needed only where something changes

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a numeric id without an entry in /etc/passwd, as in a container
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"[:255]
