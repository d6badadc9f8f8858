"""The tables that a run writes to: their models bound to a schema, and what the tool's own ones have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from peewee import Model

from indexer.catalog import Table
from indexer.errors import PreflightFailed
from indexer.migrator import CatalogMigrator
from indexer.words import identifier


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
        """Learn from the catalog whether it stands; raises PreflightFailed when another tool's has its name."""
        table = tables.get(self.name)
        missing = [column for column in self.columns if table and column not in table.columns]
        if missing:
            name = self.migrator.qualified(self.name)
            raise PreflightFailed(
                [f"table {name} is not this tool's: it has no column {', '.join(missing)}"],
                "Rename that table; this tool records its revisions under the name.",
            )
        self._stands = table is not None

    def stands(self, tables: dict[str, Table]) -> bool:
        """Is it there to be read? Raises PreflightFailed when it is not ours, or when our role may not read it."""
        self.look(tables)
        if not self._stands:
            return False
        table, name = tables[self.name], self.migrator.qualified(self.name)
        if not table.readable:
            raise PreflightFailed(
                [f"table {name}, where the revisions are recorded, belongs to role {table.owner} and cannot be read"],
                f"GRANT SELECT ON {name} TO {identifier(table.role)}",
            )
        return True

    def making(self) -> list[Any]:
        """What makes it, as peewee nodes, if it does not stand yet."""
        made = [] if self._stands else [self.model._schema._create_table(safe=False)]
        self._stands = True
        return made
