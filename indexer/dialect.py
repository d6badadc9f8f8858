"""What a database adapter supplies for each index: its definition, and the statements of that database's SQL."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from threading import RLock
from typing import TYPE_CHECKING, Any

from peewee import SQL, EnclosedNodeList, Entity, NodeList

from indexer.catalog import Catalog, CatalogEntry
from indexer.decide import Existing
from indexer.definition import Column, Definition, KeyPart, suffix
from indexer.spec import BTREE, Index
from indexer.text import literal
from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.options import Options
    from indexer.partitions import Part as PartOfIndex
    from indexer.records.revisions import Record

MODELS = RLock()  # held while the project's models, which all threads share, are bound to one database or schema


class ScriptValues(NamedTuple):
    """What a script records about itself, as expressions that the server evaluates. Times are UTC.

    Attributes:
        now: the time in whole seconds.
        start: the time in milliseconds.
        whole: ``started_at`` in whole seconds.
        elapsed: the milliseconds since ``started_at``.
        role: the role that runs the script.
    """

    now: SQL
    start: SQL
    whole: SQL
    elapsed: SQL
    role: SQL


class Brief(str):
    """A statement that takes a moment, and holds up all sessions behind it while it waits for its lock.

    So it waits for a moment only, gives way, and is sent again.
    """


class Part(NamedTuple):
    """Statements of a script; ``atomic`` where all of them are executed or none."""

    statements: Sequence[str]
    atomic: bool = True


class Dialect(ABC):
    """The SQL of one database, in which every name has the schema of the catalog.

    Args:
        offline: whether statements may block writers.
    """

    name: str  # of the database
    script_values: ScriptValues

    def __init__(self, database: Any, catalog: Catalog, offline: bool = False) -> None:
        self.database = database
        self.catalog: Any = catalog
        self.offline = offline

    @abstractmethod
    def declared(self, index: Index) -> Definition:
        """Return what the index is to be on this database, in the words of its declaration."""

    @abstractmethod
    def definition(self, index: Index, found: CatalogEntry | None) -> Definition:
        """Return what the index is to be on this database, in terms that compare with those of the found entry."""

    @abstractmethod
    def create_statement(self, index: Index) -> str:
        """Return the statement that builds the index."""

    def drop_statement(self, name: str) -> str:
        """Return the statement that drops the index of this name."""
        return self.drop_index_statement(name)

    def drop_statement_of(self, entry: CatalogEntry) -> str:
        """Return the statement that drops an existing index."""
        return self.drop_statement(entry.name)

    def parts(
        self, indexes: Sequence[Index], found: Mapping[str, CatalogEntry], options: Options, sizes: bool = False
    ) -> Mapping[Index, tuple[PartOfIndex, ...]]:
        """Return the parts of those of these indexes that are on partitioned tables, the root first.

        Args:
            found: what has the names of these indexes.
            sizes: whether to read their sizes as well.
        """
        return {}

    def clear_statements(self, index: Index, found: CatalogEntry) -> list[str]:
        """Return the statements that drop what was found of an index, under whichever of its names."""
        return [self.drop_statement_of(found)]

    def mark_statements(self, index: Index) -> list[str]:
        """Return the statements that mark an index as valid whose placements all are."""
        return []

    @abstractmethod
    def reindex_statement(self, name: str) -> str:
        """Return the statement that rebuilds the index of this name."""

    @abstractmethod
    def room_needed(self, rooms: Mapping[str, int]) -> str:
        """Return how much disk it needs to rebuild indexes one after another: ``rooms`` has the bytes by name."""

    def analyze_statement(self, table: str) -> str:
        """Return the statement that gathers the statistics of a table."""
        return str(self._context("ANALYZE ").sql(self._entity(table)).query()[0])

    @abstractmethod
    def rename_statements(self, index: Index, name: str, new_name: str) -> list[str]:
        """Return the statements that rename the index, which exists under the first name."""

    @abstractmethod
    def replace_statements(self, index: Index, existing: Existing, differs: bool) -> list[str]:
        """Return the statements that replace a different index, from wherever a killed run stopped.

        If none ``differs``, the declared index is in place already, and only leftovers are dropped.
        """

    def restore_statements(self, index: Index, existing: Existing) -> list[str]:
        """Return the statements that rename back the index that a killed replacement has put aside.

        There is none where a run is one transaction, because a replacement is then done or was never begun.
        """
        return []

    @abstractmethod
    def script(self, parts: Sequence[Part]) -> str:
        """Return a script for the database's own shell."""

    def stored_with_baselines(self, record: Record, names: Sequence[str]) -> SQL | None:
        """Return what is stored of a record once indexes of these names are built, as an expression for a script.

        None where a script keeps no baselines: SQLite's pages tell as much at any time.
        """
        return None

    def alembic_name(self, index: Index) -> str:
        """Return the name that Alembic's run of the same revision gives the index on this database."""
        return index.name

    def table_statements(self, models: Sequence[Any]) -> list[str]:
        """Return the statements that create the tables of these models, with the unique indexes they declare."""
        types = {**self.database.get_context_options()["field_types"], **self.column_types(models)}
        with MODELS, self.database.bind_ctx(models):
            contexts = [
                context
                for schema in (type(model._schema)(model, self.database, field_types=types) for model in models)
                for context in (schema._create_table(safe=False), *schema._create_indexes(safe=False))
            ]
        return [str(context.query()[0]) for context in contexts]

    def column_types(self, models: Sequence[Any]) -> dict[str, str]:
        """Return how to write the field types of these models that peewee would write in another way."""
        return {}

    # What the statements are made of, identifiers quoted by peewee --------------------------------------------------

    def create_index(self, name: str, definition: Definition, concurrently: bool = False, only: bool = False) -> str:
        """Return the text of a CREATE INDEX; with ``only`` for a partitioned table without its partitions."""
        context = self._context("CREATE UNIQUE INDEX " if definition.unique else "CREATE INDEX ")
        context.literal("CONCURRENTLY " if concurrently else "").sql(Entity(name))
        context.literal(" ON ONLY " if only else " ON ").sql(self._entity(definition.table))
        context.literal("" if definition.method == BTREE else f" USING {definition.method}")
        context.literal(" ").sql(EnclosedNodeList(list(map(_node, definition.key))))
        if definition.include:
            context.literal(" INCLUDE ").sql(EnclosedNodeList(list(map(Entity, definition.include))))
        if definition.storage:
            context.literal(" WITH ").sql(EnclosedNodeList(list(map(_setting, definition.storage))))
        context.literal(f" WHERE {definition.predicate}" if definition.predicate else "")
        return str(context.query()[0])

    def drop_index_statement(self, name: str, concurrently: bool = False, if_exists: bool = False) -> str:
        """Return the text of a DROP INDEX."""
        context = self._context("DROP INDEX CONCURRENTLY " if concurrently else "DROP INDEX ")
        context.literal("IF EXISTS " if if_exists else "")
        return str(context.sql(self._entity(name)).query()[0])

    def rename_index_statement(self, name: str, new_name: str) -> str:
        """Return the text of an ALTER INDEX that renames."""
        context = self._context("ALTER INDEX ").sql(self._entity(name)).literal(" RENAME TO ")
        return str(context.sql(Entity(new_name)).query()[0])

    def _context(self, beginning: str) -> Any:
        return self.database.get_sql_context().literal(beginning)

    def _entity(self, name: str) -> Any:
        return Entity(self.catalog.schema, name)


def _node(part: KeyPart) -> Any:
    node = Entity(part.name) if isinstance(part, Column) else SQL(f"({part.sql})")
    following = suffix(part)
    return NodeList((node, SQL(following)), glue="") if following else node


def _setting(parameter: str) -> SQL:
    name, equals, value = parameter.partition("=")
    return SQL(f"{name} = {literal(value)}" if equals else name)
