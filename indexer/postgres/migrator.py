"""The online migrator: every index is built and dropped CONCURRENTLY, one statement a call, outside of transactions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from peewee import Entity, Model, PeeweeException
from playhouse.migrate import PostgresqlMigrator
from psycopg2.extensions import TRANSACTION_STATUS_INERROR, TRANSACTION_STATUS_INTRANS

from indexer.catalog import META_TABLES, PARTITIONED_INDEX, CatalogEntry, Engine, Place, Table
from indexer.errors import IndexerError, NoSchema, StatementFailed, TableLocked, UsageError
from indexer.events import naming_schema
from indexer.migrator import CatalogMigrator, Context, Decide, Doing, IndexOperation, Work
from indexer.pace.pace import UNLIMITED, Pace
from indexer.postgres.catalog.catalog import PostgresCatalog
from indexer.postgres.catalog.rights import WITHHELD, withheld
from indexer.postgres.dialect import PostgresDialect
from indexer.postgres.run.sessions import Sessions, listed
from indexer.postgres.server import PostgresServer
from indexer.postgres.session import server_errors
from indexer.records.alembic import split_name
from indexer.records.provenance import Provenance
from indexer.records.table import hidden_rows
from indexer.spec import Index
from indexer.steps import Step
from indexer.text import few

if TYPE_CHECKING:
    from indexer.care.adapter import CareAdapter
    from indexer.postgres.run.execution import Run
    from indexer.postgres.run.lock import RunLock
    from indexer.predict.forecast import Predictor
    from indexer.query_planner import QueryPlanner

# What only a run uses is imported by the methods of a run: most commands find nothing to build, or only read.

LOCK_NOT_AVAILABLE = "55P03"
EXCLUDING = ("AccessExclusiveLock",)
KEEPING_WRITERS_OUT = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock")
MOST_SCHEMAS = 10  # that are named


class OnlineMigrator(CatalogMigrator, PostgresqlMigrator):
    """Builds and drops indexes while the application goes on working.

    Args:
        catalog: of the schema of the tables; with no name of one, for that of the search path which holds most of them.
        address: the database URL without its password.
        connect: opens a session that was lost again.
        lock: the lock of a run, if another migrator shares it.
        run: the run that has begun, in the same way.
    """

    transactional_ddl = False
    catalog: PostgresCatalog
    dialect: PostgresDialect
    server: PostgresServer

    def __init__(
        self,
        catalog: PostgresCatalog,
        address: str,
        connect: Callable[..., None],
        context: Context,
        lock: RunLock | None = None,
        run: Run | None = None,
    ) -> None:
        dialect = PostgresDialect(catalog.database, catalog, context.options.offline)
        self.sessions = Sessions(catalog, context.report)
        server = PostgresServer(self.sessions, dialect, context, schema_was_named=catalog.schema is not None)
        super().__init__(catalog.database, catalog, dialect, server, context)
        self._address = address
        self._connect = connect
        self._lock = lock
        self._run = run

    @property
    def lock(self) -> RunLock:
        """The lock of a run."""
        from indexer.postgres.run.lock import RunLock

        self._lock = self._lock or RunLock(self.sessions, self.context)
        return self._lock

    def within(self, context: Context, tables: Sequence[str]) -> OnlineMigrator:
        """Return another migrator on the same session, for work on these tables, whose schema it finds."""
        named = self.schema if self.server.schema_was_named else None
        migrator = OnlineMigrator(PostgresCatalog(self.database, named), self._address, self._connect, context)
        migrator.settle(tables)
        return migrator

    def beside(self, schema: str, namespace: int) -> OnlineMigrator:
        """Return the migrator of another schema with this OID, on the same session and in the same run."""
        if namespace == self.catalog.namespace:
            return self
        catalog = self.catalog.beside(schema, namespace)
        context = self.context._replace(report=naming_schema(self.context.report, schema))
        run = self._run.beside(schema, namespace) if self._run else None
        return OnlineMigrator(catalog, self._address, self._connect, context, self.lock, run)

    @property
    def place(self) -> Place:
        """The URL without its password, and the schema."""
        return Place(self._address, self.catalog.schema)

    @property
    def engine(self) -> Engine:
        """PostgreSQL, and the version of the server."""
        return Engine("postgresql", self.catalog.version)

    def is_current(self) -> bool:
        """Return whether the session is still open, on a server that was not promoted since it began."""
        self.database.answers.clear()
        try:
            return not self.database.is_lost and self.catalog.in_recovery == self.database.is_standby
        except PeeweeException:
            return False

    def limit_statements(self, seconds: float) -> None:
        """Let the server cancel each statement of this session that takes longer; end the session if it does not."""
        self.database.limit_statements(seconds)

    def settle(self, tables: Sequence[str]) -> None:
        """Find the schema of these tables once; every name is qualified with it, and no search path is trusted.

        Raises:
            NoSchema: the schema that the user named does not exist, or the search path names none that does.
        """
        if not self.catalog.settle(tables):
            unusable = "The search path contains no schema that this role can use."
            message = f"There is no schema {self.schema}." if self.schema else unusable
            raise NoSchema(message, "Name the schema of the tables: --schema NAME")
        self.schema = self.catalog.schema

    def in_schemas(self, names: Sequence[str], pattern: str | None, tables: Sequence[str]) -> list[CatalogMigrator]:
        """Return a migrator for each of these schemas, all on one session."""
        found, holding = names, [] if pattern is None else self.catalog.schemas_holding(tables)
        if pattern is not None:
            from fnmatch import fnmatchcase

            shell_pattern = pattern.replace("%", "*")  # as in LIKE; no shell pattern means anything by it
            found = [name for name in holding if fnmatchcase(name, shell_pattern)]
        if not found:
            hint = "No schema of this database contains any of them."
            if holding:
                hint = f"These schemas do: {', '.join(few(holding, MOST_SCHEMAS))}."
            raise UsageError(f"No schema with a name like {pattern!r} contains the tables.", hint)
        catalogs = (PostgresCatalog(self.database, name) for name in found)
        return [OnlineMigrator(catalog, self._address, self._connect, self.context) for catalog in catalogs]

    def free_connections(self) -> int | None:
        """Return how many more connections can be opened, without the last few of the server."""
        from indexer.postgres.session.connection_limits import free_connections

        return free_connections(self.database)

    def reconnect(self) -> None:
        """Open a session that was lost again."""
        if self.database.is_lost:
            self.database.close()
            self._connect()

    def reopen(self, within: float | None = None) -> None:
        """End the session and open another one."""
        self.database.close()
        self._connect(within)

    def translate_error(self, error: PeeweeException) -> IndexerError:
        """Return our error for a failure outside of a build; for a table that cannot be read, with who locks it."""
        if server_errors.is_secured(error):
            with suppress(PeeweeException):
                if failure := hidden_rows(self.catalog.tables(self.catalog.indexed).values()):
                    return failure
        if server_errors.sqlstate(error) != LOCK_NOT_AVAILABLE:
            return super().translate_error(error)
        holders = self._holding(EXCLUDING)
        who = f"by:{holders}" if holders else "by another session."
        message = f"A table of {self.place} is locked (ACCESS EXCLUSIVE) {who}"
        return TableLocked(message, "Wait for that to end, then run the same command again.")

    def _holding(self, modes: Sequence[str]) -> str:
        """Return lines about the sessions that hold a lock of these kinds on a table which a run reads or writes."""
        tables = [*self.catalog.indexed, *META_TABLES, split_name(self.context.options.version_table)[1]]
        with suppress(PeeweeException):
            return listed(self.sessions.holding(tables, modes))
        return ""

    def said(self, error: PeeweeException) -> str:
        """Return the server's message, its DETAIL and its HINT."""
        return server_errors.said(error)

    def remedy(self, error: PeeweeException) -> str:
        """Return what to do about an error of its kind."""
        if server_errors.sqlstate(error) == server_errors.INSUFFICIENT_PRIVILEGE:
            with suppress(PeeweeException):  # the rights that are missing may be those to look for them
                if grants := withheld(self.catalog, server_errors.said(error)):
                    lines = (WITHHELD, *(f"  {grant};" for grant in grants), "Then run the same command again.")
                    return "\n".join(lines)
        elif server_errors.sqlstate(error) == LOCK_NOT_AVAILABLE and (
            holders := self._holding([*EXCLUDING, *KEEPING_WRITERS_OUT])
        ):
            return f"The lock is held by:{holders}\nWait for that to end, then run the same command again."
        return server_errors.remedy(error)

    def driver_is_in_transaction(self, connection: Any) -> bool:
        """Return whether a transaction is open on a connection of psycopg."""
        return connection.info.transaction_status in (TRANSACTION_STATUS_INTRANS, TRANSACTION_STATUS_INERROR)

    @contextmanager
    def migration_context(self, atomic: bool = True) -> Iterator[None]:
        """Hold the run lock for one run, and no transaction, because CONCURRENTLY cannot run inside one."""
        from indexer.postgres.run.execution import Run
        from indexer.postgres.run.lag import ReplicaLag
        from indexer.postgres.run.lanes import Lanes
        from indexer.postgres.run.replicas import named_standbys
        from indexer.postgres.run.tuning import SERVER_MEANS, Means
        from indexer.postgres.session.pooler import refuse_transaction_pooling

        if self.database.pooled:
            refuse_transaction_pooling(self.database)
        options, report, stop, _ = self.context
        with named_standbys(options.replicas, self.catalog, self.context) as standbys, self.lock.held():
            means = Means(**self.catalog.recall(SERVER_MEANS, lambda: self.catalog.rows(SERVER_MEANS))[0])
            lag = ReplicaLag(self.sessions, options.max_replica_lag, standbys)
            self._run = Run(
                self.database,
                self.sessions,
                self.dialect,
                self.lock,
                options,
                means,
                stop,
                report,
                Lanes(),
                UNLIMITED,
                lag,
            )
            yield

    def reserve(self, steps: Sequence[Step]) -> None:
        """Open the session that builds before the first change; raises NoSession."""
        self.sessions.warned.update(self.server.advice)  # with the warnings of the plan
        if any(step.changes for step in steps):
            self.database.builders.reserve()

    def name_run(self, name: str) -> None:
        """Make our sessions recognisable in pg_stat_activity, unless the URL names them itself."""
        self.database.name_sessions(f"indexer {name}")

    def unbuildable(self, indexes: Sequence[Index], tables: Mapping[str, Table]) -> list[str]:
        """Return why the server would refuse to build these indexes, one sentence each."""
        from indexer.postgres.catalog.buildable import unbuildable

        return unbuildable(self.catalog.expressions, indexes)

    def unpartitionable(self, steps: Sequence[Step]) -> list[str]:
        """Return which partitions prevent these steps, which build on partitioned tables, one sentence each."""
        if not any(step.parts for step in steps):
            return []
        from indexer.postgres.catalog.unpartitionable import unpartitionable

        return unpartitionable(self.dialect, steps)

    def uncreatable(self, models: Sequence[type[Model]]) -> list[str]:
        """Return which columns have a type that this database does not have, one sentence each."""
        from indexer.postgres.catalog.types import unknown_types

        return [*unknown_types(self.catalog, models, self.database.get_context_options()["field_types"])]

    def create_tables(self, models: Sequence[type[Model]]) -> None:
        """Create the tables of an empty database; raise StatementFailed if a model declares what cannot be."""
        try:
            super().create_tables(models)
        except PeeweeException as error:
            if not server_errors.concerns_declaration(error):
                raise
            raise StatementFailed(
                f"The tables of the models cannot be created: {self.said(error)}",
                "Correct the models, then run the same command again.",
            ) from error

    def query_planner(self, models: Sequence[type[Model]]) -> QueryPlanner:
        """Return a planner that asks with EXPLAIN."""
        if self.catalog.is_citus:
            from indexer.postgres.citus.query_planner import ClusterQueryPlanner

            return ClusterQueryPlanner(self, models)
        from indexer.postgres.query_planner import PostgresQueryPlanner

        return PostgresQueryPlanner(self, models)

    @property
    def care(self) -> CareAdapter:
        """The questions about indexes in use to this server."""
        from indexer.postgres.care.adapter import PostgresCare

        return PostgresCare(self)

    @property
    def predictor(self) -> Predictor:
        """What tells how much this server will need to build indexes."""
        from indexer.postgres.predictor import PostgresPredictor

        return PostgresPredictor(self.catalog, self.context.options)

    def analyze(self, step: Step) -> None:
        """Gather the statistics of the table of a step; when it returns, the server has counted that."""
        from indexer.postgres.care.analyze import counting

        with counting(self.catalog, step.index.table, self.context.stop):
            super().analyze(step)

    def lock_tables(self, tables: Collection[tuple[str | None, str]]) -> None:
        """Lock these tables against new triggers and rules, then look at them as before the run."""
        for schema, name in tables:
            context = self.make_context().literal("LOCK TABLE ONLY ").sql(Entity(schema, name))
            self.database.precede(f"{context.query()[0]} IN ROW EXCLUSIVE MODE".replace("%", "%%"))
            for table in self.catalog.tables_in(schema, [name]).values():
                if table.trust.flaw:
                    raise StatementFailed(
                        f"Table {schema}.{name} {table.trust.flaw}, so nothing is written to it.",
                        f"Review it, then run as a superuser or its owner: {table.trust.remedy}",
                    )

    def execute_last(self, queries: Sequence[Any]) -> None:
        """Execute queries of peewee's that end a transaction, and commit it, in one message."""
        self.database.execute_last(queries)

    def execute_text(self, statement: str) -> None:
        """Execute a statement without parameters, its percent signs doubled for psycopg2."""
        self.database.execute_sql(statement.replace("%", "%%"))

    def _schedule(
        self, operations: Sequence[IndexOperation], work: Callable[[IndexOperation], Work], pace: Pace
    ) -> None:
        """Do the work of the operations on the largest tables first, after one that measures the rate if need be."""
        from indexer.postgres.run.lanes import Lanes
        from indexer.postgres.run.schedule import Schedule

        sizes = self.table_bytes({operation.index.table for operation in operations})
        lanes = Lanes(sizes, (operation.index.table for operation in operations))
        probe = pace.probe(sizes.keys())

        def rank(operation: IndexOperation) -> tuple[bool, int]:
            return operation.index.table != probe, -sizes.get(operation.index.table, 0)

        assert self._run, "a run has begun"
        self._run = self._run._replace(lanes=lanes, pace=pace)
        Schedule(self._run).execute(sorted(operations, key=rank), work)

    def _look_again(self, name: str) -> CatalogEntry | None:
        """Return what has the name of an index after its step; the whole revision is compared in the end.

        That of a partitioned table is usable if its parts are: before PostgreSQL 14 it may stay invalid itself.
        """
        found = self.catalog.built(name)
        if found is None or found.kind != PARTITIONED_INDEX:
            return found
        leaves = [leaf.entry for leaf in self.catalog.physical([name])[name]]
        is_usable = all(leaf.usable for leaf in leaves)
        return found._replace(valid=is_usable, bytes=sum(leaf.bytes or 0 for leaf in leaves))

    def _act(self, decide: Decide, provenance: Provenance) -> Doing:
        from indexer.postgres.run.execution import Execution

        assert self._run, "a run has begun"
        return (yield from Execution(self._run, decide, provenance).execute())
