"""The online migrator: every index built and dropped CONCURRENTLY, one statement a call, no transaction around it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any

from peewee import CommaNodeList, Entity, Model, PeeweeException
from playhouse.migrate import PostgresqlMigrator

from indexer.catalog import META_TABLES, CatalogEntry, Place, Table
from indexer.decide import Action, Existing, Step
from indexer.errors import IndexerError, Problem, StatementFailed, UsageError
from indexer.events import Blocker
from indexer.inheritance import Child, Uncovered
from indexer.migrator import CatalogMigrator, Doing, IndexOperation, Part, ScriptValues, Work
from indexer.postgres import buildable, citus, inheritance, publications, server_errors, standby
from indexer.postgres.catalog import PostgresCatalog
from indexer.postgres.database import OnlineDatabase
from indexer.postgres.encoding import UNCONVERTED
from indexer.postgres.execution import BEGIN, COMMIT, Execution, Run
from indexer.postgres.lock import RunLock
from indexer.postgres.pooler import refuse_transaction_pooling
from indexer.postgres.rights import WITHHELD, missing_rights, missing_rights_to_read, withheld
from indexer.postgres.schedule import Schedule
from indexer.postgres.sessions import Sessions, listed, visibility_advice
from indexer.postgres.settings import PINNED
from indexer.postgres.tuning import server_memory
from indexer.records.alembic import split_name
from indexer.records.provenance import Provenance
from indexer.records.table import hidden_rows, placed
from indexer.spec import Definition, Index, Variant, with_suffix
from indexer.text import few, shell

if TYPE_CHECKING:
    from indexer.verify.planner import QueryPlanner

# The path first: before that, a stranger's operator could come before PostgreSQL's own in the predicate of an index.
OF_A_SCRIPT = {
    **{name: PINNED[name] for name in ("search_path", "standard_conforming_strings", "row_security")},
    "client_encoding": "UTF8",
    "statement_timeout": "0",
    "lock_timeout": "0",
}
CLOCK = "pg_catalog.timezone('UTC', pg_catalog.clock_timestamp())"
SCRIPT_VALUES = ScriptValues(
    now=f"pg_catalog.date_trunc('second', {CLOCK})",
    start=f"pg_catalog.date_trunc('milliseconds', {CLOCK})",
    whole="pg_catalog.date_trunc('second', started_at)",
    elapsed=f"pg_catalog.int4(pg_catalog.date_part('epoch', {CLOCK} OPERATOR(pg_catalog.-) started_at)"
    " OPERATOR(pg_catalog.*) 1000)",
    role="pg_catalog.concat(SESSION_USER, '@',"
    " COALESCE(pg_catalog.host(pg_catalog.inet_client_addr()), 'local'), ' (script)')",
)
INSUFFICIENT_PRIVILEGE, LOCK_NOT_AVAILABLE = "42501", "55P03"
EXCLUDING = ("AccessExclusiveLock",)
KEEPING_WRITERS_OUT = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock")
MOST_SCHEMAS = 10  # that are named
NOTICEABLE = 1.0  # seconds; a transaction that is younger ends before anybody has read its name
ANOTHER_LOOK = 0.1  # seconds


class OnlineMigrator(CatalogMigrator, PostgresqlMigrator):
    """Builds and drops indexes while the application goes on working."""

    transactional_ddl = False
    script_values = SCRIPT_VALUES
    catalog: PostgresCatalog
    schema: str | None

    def __init__(self, database: OnlineDatabase, address: str, schema: str | None, connect: Callable[[], None]) -> None:
        super().__init__(database, schema)
        self.catalog = PostgresCatalog(database, schema)
        self.sessions = Sessions(self.catalog)
        self.lock = RunLock(self.catalog, self.sessions)
        self.indexed_tables: Sequence[str] = ()
        self.was_asked = schema is not None
        self._address = address
        self._connect = connect
        self._advice: list[str] = []
        self._run: Run

    @property
    def place(self) -> Place:
        """The URL without its password, and the schema."""
        return Place(self._address, self.schema)

    def settle(self, tables: Sequence[str]) -> None:
        """Find the schema of these tables once; every name is qualified with it, and no search path is trusted.

        Raises:
            UsageError: the schema that was asked for does not exist, or the search path names none that does.
        """
        self.indexed_tables = tables
        if not self.catalog.settle(tables):
            usable = "The search path names no schema that exists and that the role may use."
            asked = f"There is no schema {self.schema}." if self.schema else usable
            raise UsageError(asked, "Name the schema that holds the tables with --schema.")
        self.schema = self.catalog.schema

    def in_schemas(self, names: Sequence[str], pattern: str | None, tables: Sequence[str]) -> list[CatalogMigrator]:
        """A migrator for each of these schemas, all on one session."""
        found = names
        if pattern is not None:
            shell_pattern = pattern.replace("%", "*")  # as in LIKE; no shell pattern means anything by it
            found = [name for name in self.catalog.schemas_holding(tables) if fnmatchcase(name, shell_pattern)]
        if not found:
            holding = self.catalog.schemas_holding(tables)
            hint = (
                f"These do: {', '.join(few(holding, MOST_SCHEMAS))}." if holding else "No schema of this database does."
            )
            raise UsageError(f"No schema with a name like {pattern!r} holds the tables.", hint)
        return [OnlineMigrator(self.database, self._address, name, self._connect) for name in found]

    def beside(self, schema: str, namespace: int) -> OnlineMigrator:
        """Return a migrator for another schema, on the same session."""
        other = OnlineMigrator(self.database, self._address, schema, self._connect)
        other.catalog.namespace = namespace
        return other

    def tables_in(self, schema: str | None, names: Sequence[str]) -> dict[str, Table]:
        """Return the tables of these names in a schema, by name."""
        return self.catalog.tables_in(schema or "", names)

    def version_tables(self, schema: str | None, name: str) -> list[tuple[str | None, str]]:
        """Return the first few, in our schema and in those that hold none of the indexed tables."""
        return [(row["schema"], row["name"]) for row in self.catalog.version_tables(schema or "", name)]

    def children(self, tables: Mapping[str, Table]) -> list[Child]:
        """Return the tables that inherit from these."""
        parents = [table.name for table in tables.values() if table.has_children]
        return inheritance.children(self.catalog, parents) if parents else []

    def uncovered(self, indexes: Sequence[Index], tables: Mapping[str, Table]) -> list[Uncovered]:
        """Return which of these indexes are missing on tables that inherit from theirs."""
        found = self.children({index.table: tables[index.table] for index in indexes if index.table in tables})
        return inheritance.uncovered(self, indexes, found)

    def delays(self) -> list[str]:
        """Return what makes every commit wait."""
        with self.sessions.tolerating_errors(self.report):
            return standby.delays(self.catalog)
        return []

    def query_planner(self, models: Sequence[type[Model]]) -> QueryPlanner:
        """Return a planner that asks with EXPLAIN."""
        from indexer.postgres.query_planner import PostgresQueryPlanner

        return PostgresQueryPlanner(self, models)

    def unseen(self, tables: Sequence[str]) -> list[str]:
        """Return what of distributed tables is not looked at."""
        return citus.unseen(self.catalog, tables) if self.catalog.is_citus else []

    def reconnect(self) -> None:
        """Open a session that was lost again."""
        if self.database.is_lost:
            self.database.close()
            self._connect()

    def translate_error(self, error: PeeweeException) -> IndexerError:
        """A table that is locked whole is not to be read: by whom it is."""
        if server_errors.is_secured(error):
            return self._hidden_rows() or super().translate_error(error)
        if server_errors.sqlstate(error) != LOCK_NOT_AVAILABLE:
            return super().translate_error(error)
        holders = self._holding(EXCLUDING)
        who = f"by:{holders}" if holders else "by another session."
        message = f"A table of {self.place} is locked whole {who}"
        return StatementFailed(message, "Wait for that to end, then run the same command again.")

    def _holding(self, modes: Sequence[str]) -> str:
        """Return lines about the sessions that hold a lock of these kinds on a table which a run reads or writes."""
        tables = [*self.indexed_tables, *META_TABLES, split_name(self.options.version_table)[1]]
        with suppress(PeeweeException):
            return listed(self.sessions.holding(tables, modes))
        return ""

    def said(self, error: PeeweeException) -> str:
        """Return the server's message, its DETAIL and its HINT."""
        return server_errors.said(error)

    def remedy(self, error: PeeweeException) -> str:
        """Return what to do about an error of its kind."""
        if server_errors.sqlstate(error) == INSUFFICIENT_PRIVILEGE:
            with suppress(PeeweeException):  # the rights that are missing may be those to look for them
                if grants := withheld(self.catalog, server_errors.said(error)):
                    lines = (WITHHELD, *(f"  {grant};" for grant in grants), "Then run the same command again.")
                    return "\n".join(lines)
        elif server_errors.sqlstate(error) == LOCK_NOT_AVAILABLE and (
            holders := self._holding([*EXCLUDING, *KEEPING_WRITERS_OUT])
        ):
            return f"The lock is held by:{holders}\nWait for that to end, then run the same command again."
        return server_errors.remedy(error)

    def _hidden_rows(self) -> IndexerError | None:
        """Return which tables would have hidden rows, were it not for row_security = off."""
        with suppress(PeeweeException):
            return hidden_rows(self.catalog.tables(self.indexed_tables).values())
        return None

    @contextmanager
    def migration_context(self, atomic: bool = True) -> Iterator[None]:
        """One run: hold the run lock, and no transaction, because CONCURRENTLY cannot run inside one."""
        if self.database.pooled:
            refuse_transaction_pooling(self.database)
        with self.lock.held(self.report, self.options, self.stop):
            memory = server_memory(self.catalog)
            self._run = Run(self.database, self.sessions, self.lock, self.options, memory, self.stop, self.report)
            yield

    def reserve(self, steps: Sequence[Step]) -> None:
        """Have the session ready that builds, before anything is changed; raises NoSession."""
        self.sessions.warned.update(self._advice)  # with the warnings of the plan
        if any(step.changes for step in steps):
            self.database.builders.reserve()

    def name_run(self, name: str) -> None:
        """Make our sessions recognisable in pg_stat_activity, unless the URL names them itself."""
        self.database.name_sessions(f"indexer {name}")

    # Before --------------------------------------------------------------------------------------------------------

    def problems(self, steps: Sequence[Step], new: Mapping[str, Table] | None = None) -> list[str]:
        """What would stop these steps; when the tables are elsewhere, where that is."""
        found = super().problems(steps, new)
        if (new and not self.was_asked) or any(" is missing" in problem for problem in found):
            elsewhere = self.catalog.other_schemas(self.indexed_tables)
            found += few([f"the tables stand in schema {each}: add --schema {shell(each)}" for each in elsewhere])
        return found

    def unbuildable(self, indexes: Sequence[Index], tables: Mapping[str, Table]) -> list[str]:
        """Return what the server's catalog says against these indexes."""
        return buildable.unbuildable(self.catalog.predicates, indexes)

    def missing_rights(
        self, tables: Mapping[str, Table], indexed: Collection[str] = (), creating: bool = False
    ) -> list[Problem]:
        """Return the rights on the schema, on the tables, and on those that record revisions, that our role lacks."""
        return missing_rights(self.catalog, tables, indexed, creating)

    def missing_rights_to_read(self, tables: Mapping[str, Table]) -> list[Problem]:
        """Return the rights on the schema and on the tables that record revisions that our role lacks."""
        return missing_rights_to_read(self.catalog, tables)

    def hold(self, tables: Collection[tuple[str | None, str]]) -> None:
        """Lock these tables against new triggers and rules, then look at them as before the run."""
        self._refuse_untrusted(tables)
        found = [Entity(schema, name) for schema, name in tables if self.tables_in(schema, [name])]
        if not found:
            return
        context = self.make_context().literal("LOCK TABLE ONLY ").sql(CommaNodeList(found))
        self.execute_text(str(context.literal(" IN ROW EXCLUSIVE MODE").query()[0]))
        self._refuse_untrusted(tables)

    def _refuse_untrusted(self, tables: Collection[tuple[str | None, str]]) -> None:
        for schema, name in tables:
            for table in self.tables_in(schema, [name]).values():
                if table.trust.flaw:
                    raise StatementFailed(
                        f"Table {schema}.{name} {table.trust.flaw}, and is not written.",
                        f"Look at it, then run as a superuser or its owner: {table.trust.remedy}",
                    )

    def publications(self) -> list[str]:
        """Return those FOR ALL TABLES, and those FOR TABLES IN SCHEMA that name ours."""
        return publications.publications(self.catalog)

    def subscriptions(self) -> list[str]:
        """Return the names of the replication slots, which are those of the subscriptions unless one chose another."""
        return publications.subscriptions(self.catalog)

    def expected_blockers(self, steps: Sequence[Step]) -> tuple[Blocker, ...]:
        """The sessions that these steps would have to wait for if they began now.

        How old a transaction of another role is may be hidden; then it is looked at again until it is old enough.
        """
        tables = sorted({step.index.table for step in steps if step.changes})
        dropping = all(step.action is Action.DROP for step in steps if step.changes)
        with self.sessions.tolerating_errors(self.report):
            return self._lasting(partial(self.sessions.expected, tables, dropping, suspecting=True)) if tables else ()
        return ()

    def _lasting(self, look: Callable[[], tuple[Blocker, ...]]) -> tuple[Blocker, ...]:
        found, age = look(), self.sessions.age
        young = {each.identity for each in found if each.seconds is None and age(each) < NOTICEABLE}
        while young:
            self.stop.sleep(ANOTHER_LOOK)
            found = look()
            young &= {each.identity for each in found if age(each) < NOTICEABLE}
        return tuple(each for each in found if age(each) >= NOTICEABLE)

    def hidden(self, blockers: Sequence[Blocker]) -> list[str]:
        """What lets the role see more of these sessions, if it does not see all."""
        roles = {each.hidden_from for each in blockers if each.hidden_from}
        self._advice = [visibility_advice(role) for role in sorted(roles)]
        return self._advice

    def definition(self, index: Index, found: CatalogEntry | None) -> Definition:
        """The index with its PostgreSQL variant; the predicate as the server prints it, if there is one to compare."""
        theirs = found.definition if found else None
        predicate = index.on_postgresql.where
        if found and theirs and theirs.predicate and theirs.table == index.table:
            predicate = self.catalog.predicates.compared(index, found.name, theirs.predicate)
        return Definition(
            table=index.table,
            method=index.on_postgresql.using,
            key=tuple(map(str, index.key)),
            unique=index.unique,
            predicate=predicate,
        )

    def create_statement(self, index: Index) -> str:
        """CREATE INDEX CONCURRENTLY, never IF NOT EXISTS: that accepts an invalid index and any definition."""
        return self.create_index(index, self._variant(index), concurrently=not self.options.offline)

    def create_statement_on(self, child: Child, index: Index, name: str) -> str:
        """CREATE INDEX CONCURRENTLY on a table that inherits, under another name, for people to type."""
        there = self.beside(child.schema, child.namespace)
        return there.create_index(replace(index, table=child.name), self._variant(index), True, name)

    def _variant(self, index: Index) -> Variant:
        """Return the index's PostgreSQL variant, its predicate resolved with the types of the table's columns."""
        variant = index.on_postgresql
        return variant if variant.where is None else replace(variant, where=self.catalog.predicates.settled(index))

    def drop_statement(self, name: str) -> str:
        """DROP INDEX CONCURRENTLY: a plain DROP would queue every query of the table behind itself.

        On Citus IF EXISTS: without it a drop ends at the first shard that has lost its index already. Elsewhere the
        error is welcome, because it tells that somebody else was faster.
        """
        return self.drop_index_statement(name, not self.options.offline, self.catalog.is_citus)

    def rename_statements(self, index: Index, name: str, new_name: str) -> list[str]:
        """ALTER INDEX: its lock on the index stops neither reader nor writer (manual, ALTER INDEX)."""
        return [self.rename_index_statement(name, new_name)]

    def replace_statements(self, index: Index, standing: Existing, differs: bool) -> list[str]:
        """Build beside it, change names in one transaction, drop the old one; begins where a killed run stopped."""
        drop_replaced, replacing = self.drop_statement(index.replaced), standing.replacing
        clear = [drop_replaced] if standing.replaced else []
        if not differs:
            return [*clear, *([self.drop_statement(index.replacing)] if replacing else [])]
        if replacing and not replacing.usable:
            clear.append(self.drop_statement(index.replacing))
        online = not self.options.offline
        build = self.create_index(index, self._variant(index), online, index.replacing)
        swap = self._swap_statements(index.name, index.replaced, index.replacing)
        return [*clear, *([] if replacing and replacing.usable else [build]), *swap, drop_replaced]

    def restore_statements(self, index: Index, standing: Existing) -> list[str]:
        """Change names back in one transaction, then drop the declared one; begins where a killed run stopped.

        A drop that was cut off has made the earlier index invalid, and only REINDEX makes it valid again.
        """
        replaced, replacing = standing.replaced, standing.replacing
        assert replaced
        drop_replacing = [self.drop_statement(index.replacing)]
        repair = self._leftovers_of_reindex(replaced.name)
        repair += [] if replaced.usable else [self.reindex_statement(replaced.name)]
        if standing.found is None:
            rename = self.rename_index_statement(replaced.name, index.name)
            return [*repair, rename, *(drop_replacing if replacing else [])]
        swap = self._swap_statements(index.name, index.replacing, index.replaced)
        return [*(drop_replacing if replacing else []), *repair, *swap, *drop_replacing]

    def _swap_statements(self, name: str, aside: str, following: str) -> list[str]:
        """The statements that put the index of this name aside and give its name to another, at once."""
        renames = (self.rename_index_statement(name, aside), self.rename_index_statement(following, name))
        return [BEGIN, *renames, COMMIT]

    def _leftovers_of_reindex(self, name: str) -> list[str]:
        """The statements that drop what a REINDEX CONCURRENTLY that was cut off has left (manual, REINDEX)."""
        found = self.catalog.find([with_suffix(name, suffix) for suffix in ("_ccnew", "_ccold")])
        return [self.drop_statement(each.name) for each in found.values() if each.definition and not each.usable]

    def reindex_statement(self, name: str) -> str:
        """REINDEX INDEX CONCURRENTLY: it makes an invalid index valid."""
        context = self.make_context().literal("REINDEX INDEX ")
        context.literal("" if self.options.offline else "CONCURRENTLY ")
        return str(context.sql(self._table(name)).query()[0])

    # Carrying out --------------------------------------------------------------------------------------------------

    def _schedule(self, operations: Sequence[IndexOperation], work: Callable[[IndexOperation], Work]) -> None:
        tables = self.catalog.tables({operation.index.table for operation in operations})
        sizes = {name: table.bytes or 0 for name, table in tables.items()}
        largest_first = sorted(operations, key=lambda operation: -sizes.get(operation.index.table, 0))
        Schedule(self._run).execute(largest_first, work)

    def _act(self, operation: IndexOperation, provenance: Provenance) -> Doing:
        return (yield from Execution(self._run, lambda: self._decide(operation), provenance).execute())

    # Tables and scripts --------------------------------------------------------------------------------------------

    def execute_text(self, statement: str) -> None:
        """Execute a statement that is complete, with its percent signs as psycopg2 wants them."""
        self.database.execute_sql(statement.replace("%", "%%"))

    def table_statements(self, models: Sequence[Any]) -> list[str]:
        """Return the statements that create these tables in our schema."""
        with placed(models, self.schema):
            return super().table_statements(models)

    def script(self, parts: Sequence[Part]) -> str:
        """Return a script for psql: in autocommit, without timeouts, stopped at the first error."""
        settings = dict(OF_A_SCRIPT)
        if self.database.connection().info.parameter_status("server_encoding") == UNCONVERTED:
            settings["client_encoding"] = UNCONVERTED  # any other would refuse a name that is no UTF-8
        preamble = ["\\set ON_ERROR_STOP on", *(f"SET {name} = {setting};" for name, setting in settings.items())]
        statements = [
            statement
            for part in parts
            for statement in ([BEGIN, *part.statements, COMMIT] if part.atomic else part.statements)
        ]
        return "\n".join([*preamble, *(f"{statement};" for statement in statements)])
