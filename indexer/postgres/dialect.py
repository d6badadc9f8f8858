"""PostgreSQL's statements: every index is built, dropped and repaired CONCURRENTLY, unless the run is offline."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from peewee import SQL, Entity

from indexer.catalog import DIFFERENT, PARTITIONED_INDEX, UNATTACHED, CatalogEntry
from indexer.decide import Existing
from indexer.definition import Definition
from indexer.dialect import Brief, Dialect, Part, ScriptValues
from indexer.leftovers import is_left_of, is_named_by_reindex
from indexer.partitions import MOMENT
from indexer.postgres.catalog.catalog import PostgresCatalog
from indexer.postgres.expression.comparison import in_words_of, resolved
from indexer.postgres.expression.explain import NotUnderstood
from indexer.postgres.session.encoding import UNCONVERTED
from indexer.postgres.session.settings import PINNED
from indexer.records.revisions import BASELINES, Record, beside_baselines
from indexer.records.table import placed
from indexer.server import Child
from indexer.spec import Index
from indexer.text import in_bytes, literal

if TYPE_CHECKING:
    from indexer.options import Options
    from indexer.partitions import Part as PartOfIndex

BEGIN, COMMIT = "BEGIN", "COMMIT"
BRIEFLY = f"{MOMENT}ms"  # the lock_timeout of a brief statement
NO_PROPAGATION = "SET LOCAL citus.enable_ddl_propagation TO off"

# The path comes first: before it is set, an operator of another role could come before PostgreSQL's own in a predicate.
OF_A_SCRIPT = {
    **{name: PINNED[name] for name in ("search_path", "standard_conforming_strings", "row_security")},
    "client_encoding": "UTF8",
    "statement_timeout": "0",
    "lock_timeout": "0",
}
CLOCK = "pg_catalog.timezone('UTC', pg_catalog.clock_timestamp())"
SCRIPT_VALUES = ScriptValues(
    now=SQL(f"pg_catalog.date_trunc('second', {CLOCK})"),
    start=SQL(f"pg_catalog.date_trunc('milliseconds', {CLOCK})"),
    whole=SQL("pg_catalog.date_trunc('second', started_at)"),
    elapsed=SQL(
        f"pg_catalog.int4(pg_catalog.date_part('epoch', {CLOCK} OPERATOR(pg_catalog.-) started_at)"
        " OPERATOR(pg_catalog.*) 1000)"
    ),
    role=SQL(
        "pg_catalog.concat(SESSION_USER, '@',"
        " COALESCE(pg_catalog.host(pg_catalog.inet_client_addr()), 'local'), ' (script)')"
    ),
)


class PostgresDialect(Dialect):
    """The statements for one schema of a PostgreSQL database."""

    name = "postgres"
    script_values = SCRIPT_VALUES
    catalog: PostgresCatalog

    def beside(self, schema: str, namespace: int) -> PostgresDialect:
        """Return the dialect for another schema of the same database."""
        return PostgresDialect(self.database, self.catalog.beside(schema, namespace), self.offline)

    def declared(self, index: Index) -> Definition:
        """Return the index's PostgreSQL variant."""
        return index.postgresql

    def definition(self, index: Index, found: CatalogEntry | None) -> Definition:
        """Return the index's PostgreSQL variant, in the words of a found one as far as that means the same."""
        if found is None:
            return in_words_of(self.catalog.expressions, index.postgresql, "", None)
        return in_words_of(self.catalog.expressions, index.postgresql, found.name, found.definition)

    def create_statement(self, index: Index) -> str:
        """Return CREATE INDEX CONCURRENTLY, without IF NOT EXISTS: that accepts an invalid or a different index."""
        return self._create(index, index.name)

    def _create(self, index: Index, name: str) -> str:
        return self.create_index(name, self.resolved(index), not self.offline)

    def create_statement_on(self, child: Child, index: Index, name: str) -> str:
        """Return CREATE INDEX CONCURRENTLY for a table that inherits, under another name, for the user to execute."""
        there = self.beside(child.schema, child.namespace)
        return there.create_index(name, self.resolved(index)._replace(table=child.name), True)

    def resolved(self, index: Index) -> Definition:
        """Return the PostgreSQL variant, its names resolved with the types of the table's columns if they can be."""
        with suppress(NotUnderstood):
            return resolved(self.catalog.expressions, index.postgresql)
        return index.postgresql

    def drop_statement(self, name: str) -> str:
        """Return DROP INDEX CONCURRENTLY: a plain DROP would block every query of the table while it waits.

        On Citus IF EXISTS: without it a drop ends at the first shard that has lost its index already. Elsewhere the
        error is welcome, because it says that another session was faster.
        """
        return self.drop_index_statement(name, not self.offline, self.catalog.is_citus)

    def drop_statement_of(self, entry: CatalogEntry) -> str:
        """Return the statement that drops an existing index; that of a partitioned table cannot be CONCURRENTLY."""
        if entry.kind == PARTITIONED_INDEX:
            return Brief(self.drop_index_statement(entry.name, if_exists=self.catalog.is_citus))
        if entry.is_orphaned and is_named_by_reindex(entry.name):
            from indexer.postgres.citus.rebuilds import drop_on_nodes

            return drop_on_nodes(self.catalog.schema or "", entry.flaws)
        return self.drop_statement(entry.name)

    def drop_unattached_statement(self, entry: CatalogEntry) -> str:
        """Return the statement that drops what is attached to nothing on placements; "" if there is no such index."""
        flaws = [flaw for flaw in entry.flaws if flaw.state in (DIFFERENT, UNATTACHED) and not flaw.is_attached]
        if not flaws or entry.kind == PARTITIONED_INDEX:
            return ""
        from indexer.postgres.citus.rebuilds import drop_on_nodes

        return drop_on_nodes(self.catalog.schema or "", flaws)

    def attach_statement(self, schema: str, name: str, part_schema: str, part: str) -> Brief:
        """Return the statement that attaches the index of a partition to that of its parent."""
        context = self.database.get_sql_context().literal("ALTER INDEX ").sql(Entity(schema, name))
        context.literal(" ATTACH PARTITION ").sql(Entity(part_schema, part))
        return Brief(context.query()[0])

    def parts(
        self, indexes: Sequence[Index], found: Mapping[str, CatalogEntry], options: Options, sizes: bool = False
    ) -> Mapping[Index, tuple[PartOfIndex, ...]]:
        """Return the parts of those of these indexes that are on partitioned tables, the root first."""
        on_partitioned = [index for index in indexes if index.table in self.catalog.partitioned]
        if not on_partitioned:
            return {}
        from indexer.postgres.partitions import PartPlanner

        return PartPlanner(self, options).parts(on_partitioned, found, sizes)

    def clear_statements(self, index: Index, found: CatalogEntry) -> list[str]:
        """Return the drop; before it, if only shards have the index, what makes the coordinator know it.

        The drop is sent to the shards of an index that the coordinator has, and to no others.
        """
        drop = self.drop_statement_of(found)
        if not found.is_orphaned:
            return [drop]
        is_partitioned = found.kind == PARTITIONED_INDEX
        create = self.create_index(found.name, self.resolved(index), only=is_partitioned)
        return [*self._on_the_coordinator(create), drop]

    def mark_statements(self, index: Index) -> list[str]:
        """Return a plain REINDEX of the index as the coordinator has it, which is empty."""
        return self._on_the_coordinator(str(self._context("REINDEX INDEX ").sql(self._entity(index.name)).query()[0]))

    def _on_the_coordinator(self, statement: str) -> list[str]:
        return [BEGIN, NO_PROPAGATION, statement, COMMIT]

    def rename_statements(self, index: Index, name: str, new_name: str) -> list[str]:
        """Return ALTER INDEX: its lock on the index blocks neither readers nor writers (manual, ALTER INDEX)."""
        return [self.rename_index_statement(name, new_name)]

    def replace_statements(self, index: Index, existing: Existing, differs: bool) -> list[str]:
        """Build beside the old index, swap names in one transaction, drop the old; go on where a killed run stopped."""
        drop_replaced, replacing = self.drop_statement(index.replaced), existing.replacing
        clear = [drop_replaced] if existing.replaced else []
        if not differs:
            return [*clear, *([self.drop_statement(index.replacing)] if replacing else [])]
        if replacing and not replacing.usable:
            clear.append(self.drop_statement(index.replacing))
        build = [] if replacing and replacing.usable else [self._create(index, index.replacing)]
        return [*clear, *build, *self._swap_statements(index.name, index.replaced, index.replacing), drop_replaced]

    def restore_statements(self, index: Index, existing: Existing) -> list[str]:
        """Swap names back in one transaction, then drop the declared index; go on where a killed run stopped.

        A drop that was interrupted has made the earlier index invalid, and only REINDEX makes it valid again.
        """
        replaced, replacing = existing.replaced, existing.replacing
        assert replaced
        drop_replacing = [self.drop_statement(index.replacing)]
        clear = drop_replacing if replacing else []
        repair = self._leftovers_of_reindex(replaced)
        repair += [] if replaced.usable else [self.reindex_statement(replaced.name)]
        if existing.found is None:
            return [*repair, self.rename_index_statement(replaced.name, index.name), *clear]
        return [*clear, *repair, *self._swap_statements(index.name, index.replacing, index.replaced), *drop_replacing]

    def _swap_statements(self, name: str, aside: str, following: str) -> list[str]:
        """Return the statements that put the index of this name aside and give its name to another, at once."""
        renames = (self.rename_index_statement(name, aside), self.rename_index_statement(following, name))
        return [BEGIN, *renames, COMMIT]

    def _leftovers_of_reindex(self, index: CatalogEntry) -> list[str]:
        """Return the statements that drop what an interrupted REINDEX CONCURRENTLY of this index has left."""
        definition = index.definition
        entries = self.catalog.indexes_on([definition.table]) if definition else []
        return [
            self.drop_statement(entry.name)
            for entry in entries
            if definition and is_left_of(entry, index.name, definition)
        ]

    def reindex_statement(self, name: str) -> str:
        """Return REINDEX INDEX CONCURRENTLY, or a plain one in a run that is offline."""
        context = self._context("REINDEX INDEX " if self.offline else "REINDEX INDEX CONCURRENTLY ")
        return str(context.sql(self._entity(name)).query()[0])

    def room_needed(self, rooms: Mapping[str, int]) -> str:
        """Return what the largest rebuild needs: the old index, the new one and the sort are on disk together."""
        name = max(rooms, key=lambda each: rooms[each])
        size = in_bytes(rooms[name])
        return (
            f"The largest rebuild, of {name}, needs about {size} of disk beside the old index until that is dropped, "
            f"up to as much again to sort in, and about {size} of WAL. SQL does not show how much is free."
        )

    def stored_with_baselines(self, record: Record, names: Sequence[str]) -> SQL | None:
        """Return what is stored of a record with the baselines of these indexes, measured where it is evaluated."""
        if not names or self.catalog.is_citus:  # the coordinator has no index of its own there
            return None
        from indexer.postgres.catalog.measured import baselines_in_sql

        rest, kept = beside_baselines(record)
        begin, end = json.dumps({BASELINES: ""})[:-3], "}" if rest == "{}" else f", {rest[1:]}"
        measured = f"pg_catalog.to_json({baselines_in_sql(self.catalog, names, kept)}::pg_catalog.text)"
        return SQL(f"pg_catalog.concat({literal(begin)}, {measured}, {literal(end)})")

    def table_statements(self, models: Sequence[Any]) -> list[str]:
        """Return the statements that create these tables in the schema."""
        with placed(models, self.catalog.schema):
            return super().table_statements(models)

    def column_types(self, models: Sequence[Any]) -> dict[str, str]:
        """Return the types of extensions and of the user with their schemas, because no search path names these."""
        from indexer.postgres.catalog.types import column_types

        return column_types(self.catalog, models, self.database.get_context_options()["field_types"])

    def script(self, parts: Sequence[Part]) -> str:
        """Return a script for psql: in autocommit, without timeouts, stopped at the first error."""
        settings = dict(OF_A_SCRIPT)
        if self.database.connection().info.parameter_status("server_encoding") == UNCONVERTED:
            settings["client_encoding"] = UNCONVERTED  # any other would refuse a name that is no UTF-8
        preamble = ["\\set ON_ERROR_STOP on", *(f"SET {name} = {setting};" for name, setting in settings.items())]
        statements = [
            statement
            for part in parts
            for statement in ([BEGIN, *part.statements, COMMIT] if part.atomic else _bounded(part.statements))
        ]
        return "\n".join([*preamble, *(f"{statement};" for statement in statements)])


def _bounded(statements: Sequence[str]) -> Iterator[str]:
    """Yield statements for psql, which ends at one whose lock takes longer than it may hold up other sessions."""
    is_bounded = False
    for statement in statements:
        if isinstance(statement, Brief) != is_bounded:
            is_bounded = not is_bounded
            yield f"SET lock_timeout = '{BRIEFLY if is_bounded else 0}'"
        yield statement
    if is_bounded:
        yield "SET lock_timeout = '0'"
