"""The online migrator: every index built and dropped CONCURRENTLY, one statement a call, no transaction around it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
from peewee import DatabaseError, Entity
from playhouse.migrate import PostgresqlMigrator
from psycopg2 import errorcodes

from indexer.catalog import Found
from indexer.errors import Blocked, IndexerError, StatementFailed, UsageError
from indexer.events import Blocker, Joined, Retrying, StatementStarted, Waiting
from indexer.migrator import CatalogMigrator, IndexOperation, Work
from indexer.plan import CREATIONS, Action, Step
from indexer.postgres.catalog import PostgresCatalog
from indexer.postgres.lock import RunLock
from indexer.postgres.pooler import refuse_transaction_pooling
from indexer.postgres.schedule import Schedule
from indexer.postgres.session import Builder, OnlineDatabase
from indexer.postgres.tuning import settings_for
from indexer.postgres.watch import WAITING_FOR_A_LOCK, Sessions, Watch, clock
from indexer.spec import Definition, Index

NEXT_STEP = {
    errorcodes.DISK_FULL: "Free or add disk space; the same command then goes on where it stopped.",
    errorcodes.INSUFFICIENT_PRIVILEGE: "Connect as the owner of the tables.",
}
AGAIN = "Run the same command again: it goes on where this run stopped."
HEALS = frozenset({errorcodes.DEADLOCK_DETECTED, errorcodes.LOCK_NOT_AVAILABLE})
CLEAN_UP = 1.5  # seconds; a drop that takes longer waits for somebody, and the next run will do it
BEFORE_THE_START = "waiting before the start"
LONGEST_PAUSE = 30.0  # seconds between two tries


class GaveUp(Exception):
    """A statement waited longer than the user has patience for, and was cancelled."""

    def __init__(self, phase: str, blockers: tuple[Blocker, ...]) -> None:
        super().__init__(phase)
        self.phase = phase
        self.blockers = blockers


class OnlineMigrator(CatalogMigrator, PostgresqlMigrator):
    """Builds and drops indexes while the application goes on working."""

    transactional_ddl = False
    catalog: PostgresCatalog
    schema: str | None

    def __init__(self, database: OnlineDatabase, address: str, schema: str | None = None) -> None:
        super().__init__(database, schema)
        self.catalog = PostgresCatalog(database, schema)
        self.lock = RunLock(self.catalog)
        self.sessions = Sessions(self.catalog)
        self.indexed_tables: Sequence[str] = ()
        self._address = address
        self._idle: list[Builder] = []

    @property
    def address(self) -> str:
        """The URL without its password, and the schema."""
        return f"{self._address} (schema {self.schema})" if self.schema else self._address

    def settle(self, tables: Sequence[str]) -> None:
        """Find the schema of these tables once; from then on every name is qualified and no search path trusted.

        Raises:
            UsageError: the schema that was asked for does not exist, or the search path names none that does.
        """
        self.indexed_tables = tables
        if self.schema is None:
            self.schema = self.catalog.schema = self.catalog.schema_of(tables)
        if self.schema is None or not self.catalog.schema_exists():
            asked = (
                f"There is no schema {self.schema}." if self.schema else "The search path names no schema that exists."
            )
            raise UsageError(asked, "Name the schema that holds the tables with --schema.")
        self.catalog.pin_search_path()

    @contextmanager
    def migration_context(self, atomic: bool = True) -> Iterator[None]:
        """One run: hold the run lock, and no transaction, because CONCURRENTLY cannot run inside one."""
        refuse_transaction_pooling(self.database)
        with self.lock.held(self.report, self.patience, self.stop):
            try:
                yield
            finally:
                while self._idle:
                    self._idle.pop().close()

    def name_run(self, name: str) -> None:
        """Make our sessions recognisable in pg_stat_activity, unless the URL names them itself."""
        self.database.name_sessions(f"indexer {name}")

    # Before --------------------------------------------------------------------------------------------------------

    def complaints(self, steps: Sequence[Step], creating_tables: bool = False) -> list[str]:
        """What would stop these steps; when the tables are elsewhere, where that is."""
        found = super().complaints(steps, creating_tables)
        if creating_tables or any(" is missing" in complaint for complaint in found):
            elsewhere = self.catalog.other_schemas(self.indexed_tables)
            found += [f"the tables stand in schema {schema}: add --schema {schema}" for schema in elsewhere]
        return found

    def expected_blockers(self, steps: Sequence[Step]) -> tuple[Blocker, ...]:
        """The sessions that these steps would have to wait for if they began now."""
        tables = sorted({step.index.table for step in steps if step.changes})
        dropping = all(step.action is Action.DROP for step in steps if step.changes)
        return self.sessions.expected(tables, dropping) if tables else ()

    def definition(self, index: Index, found: Found | None) -> Definition:
        """The index with its PostgreSQL variant; the predicate as the server prints it, if there is one to compare."""
        theirs = found.definition if found else None
        compared = theirs is not None and theirs.table == index.table and theirs.predicate is not None
        return Definition(
            table=index.table,
            method=index.on_postgresql.using,
            key=tuple(map(str, index.key)),
            unique=index.unique,
            predicate=self.catalog.predicate(index) if compared else index.on_postgresql.where,
        )

    def create_statement(self, index: Index) -> str:
        """CREATE INDEX CONCURRENTLY, never IF NOT EXISTS: that accepts an invalid index and any definition."""
        return self.create_index(index, index.on_postgresql, concurrently=not self.patience.offline)

    def drop_statement(self, index: Index) -> str:
        """DROP INDEX CONCURRENTLY: a plain DROP would queue every query of the table behind itself."""
        return self.drop_index_statement(index, concurrently=not self.patience.offline)

    # Carrying out --------------------------------------------------------------------------------------------------

    def _schedule(self, operations: Sequence[IndexOperation]) -> None:
        schedule = Schedule(self.patience, self.database.server_version, self._others_active, self.stop)
        schedule.run(operations, self._work)

    def _others_active(self) -> bool:
        return self.sessions.others_active()

    def _act(self, operation: IndexOperation) -> Generator[Any, None, Step]:
        """Decide, execute, and try again what can heal, deciding anew each time."""
        for attempt in range(1, self.patience.retries + 2):
            step = yield from self._join(operation)
            try:
                for statement in step.statements:
                    yield from self._execute(step, statement)
                return step
            except (GaveUp, psycopg2.Error) as failure:
                self._clean(step)
                self.stop.check()
                if attempt > self.patience.retries or not _heals(failure):
                    raise self._as_ours(step, failure) from failure
                yield from self._pause(step, failure, attempt)
        raise AssertionError("the last attempt returns or raises")

    def _join(self, operation: IndexOperation) -> Generator[Any, None, Step]:
        """Wait while another session works on this index, then look again: its finished index is kept."""
        step = self._decide(operation)
        watch = None
        while step.action is Action.JOIN and step.found and step.found.worker:
            self.stop.check()
            if watch is None or watch.pid != step.found.worker:
                self.report(Joined(operation.index, step.found.worker))
                watch = Watch(self.sessions, operation.index, step.found.worker, self.report)
            if watch.is_due():
                watch.look()
            yield None
            step = self._decide(operation)
        return step

    def _execute(self, step: Step, statement: str) -> Work:
        dropping = step.action is Action.DROP
        yield from self._let_pass(step.index, dropping)
        self.stop.check()
        self.lock.confirm()
        builder = self._builder(step.index)
        self.report(StatementStarted(step.index, statement))
        watch = Watch(self.sessions, step.index, builder.pid, self.report, dropping)
        try:
            builder.send(statement)
            yield from self._mind(builder, watch)
        finally:
            self._give_back(builder)

    def _mind(self, builder: Builder, watch: Watch) -> Work:
        """Until the statement is done: look at it, and cancel it when asked to stop or when it waited too long."""
        given_up = None
        cancelled = False
        try:
            while not builder.poll():
                yield builder
                if cancelled:
                    continue
                if watch.is_due():
                    watch.look()
                if self.patience.max_wait is not None and watch.waited() >= self.patience.max_wait:
                    given_up = GaveUp(watch.sight.phase or WAITING_FOR_A_LOCK, watch.sight.blockers)
                if given_up or self.stop.asked:
                    builder.cancel()
                    cancelled = True
        except psycopg2.errors.QueryCanceled:
            if given_up:
                raise given_up from None
            raise

    def _let_pass(self, index: Index, dropping: bool) -> Work:
        """Before a statement is sent: wait for another build on its table, and for whoever would hold it up.

        Two concurrent builds on one table deadlock. And a build that is given up while a writer is open leaves an
        invalid index that cannot be dropped before that writer ends, so with limited patience it does not begin.
        """
        started = clock()
        remaining = self._in_the_way(index, dropping)
        while remaining:
            waited = clock() - started
            self.report(Waiting(index, BEFORE_THE_START, remaining, waited))
            if self.patience.max_wait is not None and waited >= self.patience.max_wait:
                raise GaveUp(BEFORE_THE_START, remaining)
            self.stop.check()
            yield None
            still = {(blocker.pid, blocker.transaction) for blocker in self._in_the_way(index, dropping)}
            remaining = tuple(blocker for blocker in remaining if (blocker.pid, blocker.transaction) in still)

    def _in_the_way(self, index: Index, dropping: bool) -> tuple[Blocker, ...]:
        if self.patience.offline:
            return ()
        builds = self.sessions.building_on(index.table)
        patient = self.patience.max_wait is None
        return builds if patient else (*builds, *self.sessions.expected([index.table], dropping))

    def _pause(self, step: Step, failure: Exception, attempt: int) -> Work:
        pause = min(0.5 * 2**attempt, LONGEST_PAUSE)
        self.report(Retrying(step.index, _reason(failure), attempt, self.patience.retries, pause))
        until = clock() + pause
        while clock() < until:
            self.stop.check()
            yield None

    # Builders ------------------------------------------------------------------------------------------------------

    def _builder(self, index: Index) -> Builder:
        builder = self._idle.pop() if self._idle else self._connected()
        builder.configure(settings_for(index, self.patience))
        return builder

    def _connected(self) -> Builder:
        builder = Builder(self.database)
        builder.connect()
        return builder

    def _give_back(self, builder: Builder) -> None:
        if builder.closed or builder.is_busy:
            builder.close()
        else:
            self._idle.append(builder)

    def _clean(self, step: Step) -> None:
        """Drop what a failed build left behind, if that does not mean waiting for somebody."""
        if step.action not in CREATIONS:
            return
        with suppress(DatabaseError, psycopg2.Error):
            found = self._leftover(step)
            if found:
                cleaner = self._connected()
                cleaner.configure({"statement_timeout": f"{CLEAN_UP:g}s"})
                try:
                    cleaner.execute(self.drop_index_statement(step.index, concurrently=True))
                finally:
                    cleaner.close()

    def _leftover(self, step: Step) -> Found | None:
        """The invalid index that our own failed statement left, once its session has let go of it."""
        until = clock() + CLEAN_UP
        found = self._look(step.index)
        while found and found.worker and clock() < until:
            found = self._look(step.index)
        broken = found and found.definition and not found.usable and not found.worker
        return found if broken and self.step_up(step.index, found).action is Action.REBUILD else None

    def _as_ours(self, step: Step, failure: Exception) -> IndexerError:
        index = step.index
        left = self._left_behind(step)
        if isinstance(failure, GaveUp):
            who = "".join(f"\n  - {blocker}\n    end it: {blocker.ending}" for blocker in failure.blockers)
            return Blocked(f"Gave up on {index.name}, {failure.phase} for:{who}", left + AGAIN)
        code = getattr(failure, "pgcode", None) or ""
        return StatementFailed(
            f"The server refused {index.name}: {_reason(failure)}.", left + NEXT_STEP.get(code, AGAIN)
        )

    def _left_behind(self, step: Step) -> str:
        with suppress(DatabaseError):
            if step.action in CREATIONS and self._leftover(step):
                return f"An unfinished {step.index.name} stays behind; the next run rebuilds it. "
        return ""

    # Tables and scripts --------------------------------------------------------------------------------------------

    def table_statements(self, models: Sequence[Any]) -> list[str]:
        """The statements that create these tables, in our schema."""
        path = self.make_context().literal("SET LOCAL search_path TO ").sql(Entity(self.schema))
        return [str(path.query()[0]), *super().table_statements(models)]

    def script(self, tables: Sequence[str], statements: Sequence[str]) -> str:
        """A script for psql: in autocommit, without timeouts, stopped at the first error."""
        preamble = ["\\set ON_ERROR_STOP on", "SET statement_timeout = 0;", "SET lock_timeout = 0;"]
        transaction = ["BEGIN", *tables, "COMMIT"] if tables else []
        return "\n".join([*preamble, *(f"{statement};" for statement in (*transaction, *statements))])


def _heals(failure: Exception) -> bool:
    return isinstance(failure, GaveUp) or getattr(failure, "pgcode", None) in HEALS


def _reason(failure: Exception) -> str:
    if isinstance(failure, psycopg2.Error):
        return failure.diag.message_primary or str(failure).strip().splitlines()[0]
    return f"{failure} took too long"
