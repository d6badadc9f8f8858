"""Checks one index after another: amcheck where our role may call it, else sampled lookups. Each is one transaction."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from peewee import Entity, PeeweeException

from indexer.care.deep import AMCHECK, CANNOT_TELL, CLEAN, CORRUPT, LOOKUPS, Checker, Finding
from indexer.errors import Command, Hint, Locked, StatementFailed, Unreachable
from indexer.postgres.care import lookups
from indexer.postgres.care.amcheck import amcheck
from indexer.postgres.care.collations import other_text_indexes
from indexer.postgres.care.lookups import Count, Facts, facts_of, other_scan
from indexer.postgres.run.failures import is_race
from indexer.postgres.session import server_errors
from indexer.postgres.session.server_errors import is_damage, is_missing_block
from indexer.spec import BTREE

if TYPE_CHECKING:
    from indexer.postgres.migrator import OnlineMigrator

UNSUPPORTED = ("0A000", "42501", "42883")  # amcheck cannot check such an index, or may not be called any more
INTERNAL, CANCELLED, LOCK_NOT_AVAILABLE = "XX000", "57014", "55P03"
RECOVERED, AGAIN, TOLERANCE = 60.0, 0.5, 1.0  # seconds: for recovery, between two attempts, and of a measurement
UNCANCELLED = 10.0  # seconds after which a statement is given up that its timeout has not cancelled
ENDED = "The check ended with an error: {}"
OURS = "indexer "  # how the names of the sessions of a run begin
NO_INDEX = "There is no valid index of this name."

CHECK = "SELECT {function}(%s::pg_catalog.regclass, %s)"

# A concurrent build anywhere in the database waits for the snapshots that are older than its second scan.
BUILDS = """
    SELECT b.pid,
           COALESCE(c.relname, 'an index') AS name,
           a.application_name AS application
      FROM pg_catalog.pg_stat_progress_create_index AS b
      LEFT JOIN pg_catalog.pg_class AS c ON c.oid = b.index_relid
      LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = b.pid
     WHERE b.datname = pg_catalog.current_database()
       AND b.pid <> pg_catalog.pg_backend_pid()
     ORDER BY b.pid
"""


# A crash sets all statistics back, and the time of that with them.
CRASHED = """
    SELECT COALESCE(b.stats_reset > pg_catalog.clock_timestamp()
                    - pg_catalog.make_interval(secs => %(seconds)s), false) AS crashed
      FROM pg_catalog.pg_stat_bgwriter AS b
"""


class PostgresChecker(Checker):
    """The checks on the main session.

    Args:
        heap: whether amcheck looks for rows that an index lacks, too.
        longest: how many seconds one statement may take.
    """

    def __init__(self, migrator: OnlineMigrator, heap: bool, longest: float) -> None:
        super().__init__()
        self.migrator = migrator
        self.database = migrator.database
        self.catalog = migrator.catalog
        self.heap = heap
        self.longest = longest
        self._amcheck = amcheck(self.catalog)

    def check(self, name: str) -> Finding:
        """Check an index by amcheck; if that cannot be called, or cannot check such an index, by lookups."""
        started = time.monotonic()
        try:
            measured, facts = self.catalog.measured([name]).get(name), facts_of(self.catalog, name)
        except PeeweeException as error:
            if self.database.is_lost:
                raise
            return Finding(name, CANNOT_TELL, None, ENDED.format(server_errors.said(error)), is_failed=True)
        if facts is None or measured is None:
            return Finding(name, CANNOT_TELL, None, NO_INDEX, is_failed=True)
        finding = self._by_amcheck(name, facts)
        if finding is None:
            finding = self._by_lookups(name, facts)
        elif finding.state == CLEAN and not self.heap:
            finding = self._with_lookups(finding, facts)
        seconds = time.monotonic() - started
        return finding._replace(seconds=seconds, collation_version=measured.collation_version)

    def builds_delayed(self) -> list[str]:
        """Return the builds that wait until a check ends, one phrase each; raise Locked if this tool builds one."""
        builds = self.catalog.ask(BUILDS)
        for row in builds:
            if str(row["application"]).startswith(OURS):
                hint = Hint("Wait for it to end, or see what it is doing: ", Command("status"))
                raise Locked(f"Another run builds {row['name']} in another schema (pid {row['pid']}).", hint)
        return [f"{row['name']} (pid {row['pid']})" for row in builds]

    def others(self, names: Sequence[str]) -> int:
        """Return how many other B-trees of the database sort text by a collation that can change."""
        return other_text_indexes(self.catalog, names)

    # amcheck ---------------------------------------------------------------------------------------------------------

    def _by_amcheck(self, name: str, facts: Facts) -> Finding | None:
        """Return what amcheck says of a B-tree; None where it says nothing."""
        if facts.method != BTREE:
            return None
        if not self._amcheck.is_callable:
            self.advice = [self._amcheck.advice(self.catalog.schema or "", self.migrator.server.is_standby)]
            return None
        function = self._quoted(str(self._amcheck.schema), "bt_index_check")
        index, started = self._quoted(self.catalog.schema or "", name), time.monotonic()
        try:
            with self._transaction():
                self.database.execute_sql(CHECK.format(function=function), (index, self.heap))
        except PeeweeException as error:
            if server_errors.sqlstate(error) in UNSUPPORTED:
                return None
            return self._failed(name, AMCHECK, facts, error, started)
        return Finding(name, CLEAN, AMCHECK)

    def _with_lookups(self, finding: Finding, facts: Facts) -> Finding:
        """Return what lookups add to a finding of amcheck, which does not notice the rows that an index lacks."""
        looked_up = self._by_lookups(finding.name, facts)
        if looked_up.state == CLEAN and looked_up.looked_up:
            return looked_up._replace(by=finding.by)
        return looked_up if looked_up.state == CORRUPT or looked_up.is_failed else finding

    # Lookups ---------------------------------------------------------------------------------------------------------

    def _by_lookups(self, name: str, facts: Facts) -> Finding:
        """Return how many of the sampled rows the index finds."""
        if facts.obstacle:
            return Finding(name, CANNOT_TELL, None, facts.obstacle)
        started = time.monotonic()
        try:
            with self._transaction(*lookups.settings(facts)):
                finding = self._looked_up(name, facts, facts.patterns)
                if finding.looked_up is None:  # another index may serve the search for NULL alone
                    finding = self._looked_up(name, facts, facts.patterns[:1])
                return finding
        except PeeweeException as error:
            return self._failed(name, LOOKUPS, facts, error, started)

    def _looked_up(self, name: str, facts: Facts, patterns: Sequence[int]) -> Finding:
        """Return how many rows with these patterns of NULL the index finds, if the planner uses it."""
        with self._prepared(facts, patterns):
            (document,) = self.database.execute_sql("EXPLAIN (FORMAT JSON) EXECUTE deep_check").fetchone()
            if other := other_scan(document[0]["Plan"], facts, name):
                text = f"Its rows cannot be looked up by it, because the planner uses {other} for the same key."
                return Finding(name, CANNOT_TELL, None, text)
            count = Count(*self.database.execute_sql("EXECUTE deep_check").fetchone())
        state = CLEAN if count.found == count.looked_up else CORRUPT
        if count.looked_up == 0 and (facts.percentage < 100 or patterns != facts.patterns):
            state = CANNOT_TELL
        return Finding(name, state, LOOKUPS, count.text, 0.0, count.looked_up, count.found)

    @contextmanager
    def _prepared(self, facts: Facts, patterns: Sequence[int]) -> Iterator[None]:
        """Prepare the statement, and forget it at the end: a rollback does not undo a PREPARE."""
        table = self._quoted(self.catalog.schema or "", facts.table_name)
        statement = lookups.statement(table, facts, patterns).replace("%", "%%")
        self.database.execute_sql(f"PREPARE deep_check AS {statement}")
        try:
            yield
        except PeeweeException:
            if not self.database.is_lost:
                self.database.rollback()
                self.database.execute_sql("DEALLOCATE deep_check")
            raise
        self.database.execute_sql("DEALLOCATE deep_check")

    def _quoted(self, *names: str) -> str:
        return str(self.database.get_sql_context().sql(Entity(*names)).query()[0])

    @contextmanager
    def _transaction(self, *settings: str) -> Iterator[None]:
        """Begin a read-only transaction with these settings, and roll it back at the end."""
        limits = (f"statement_timeout = {round(self.longest * 1000)}", *settings)
        with self.database.manual_commit():
            self.database.begin()
            self.database.longest_statement = self.longest + UNCANCELLED if self.longest else None
            try:
                # a separate message: in version 12 a timeout holds from the next message on
                self.database.execute_sql("; ".join(("SET TRANSACTION READ ONLY", *(f"SET LOCAL {s}" for s in limits))))
                yield
            finally:
                self.database.longest_statement = None
                if not self.database.is_lost:
                    self.database.rollback()

    def _failed(self, name: str, by: str, facts: Facts, error: PeeweeException, started: float) -> Finding:
        """Return what an error of a check says of the index."""
        if self.database.is_lost:
            return self._lost(name, by, error, started)
        said, code = server_errors.said(error), server_errors.sqlstate(error)
        if is_damage(error) or self._is_of_index(by, facts, error):
            other = self._other_damaged(name, facts, error)
            state = CANNOT_TELL if other else CORRUPT
            return Finding(name, state, by, f"{other}{said}", is_failed=bool(other))
        text: str | Hint = ENDED.format(said)
        if code == CANCELLED and time.monotonic() - started >= self.longest:
            longer = Command("check", "--deep", name, "--timeout", f"{max(self.longest * 10, 1):.0f}")
            text = Hint(f"It took longer than {self.longest:g} s. Allow more: ", longer)
        elif code == LOCK_NOT_AVAILABLE:
            text = self.migrator.translate_error(error).summary
        return Finding(name, CANNOT_TELL, by, text, is_failed=True)

    def _is_of_index(self, by: str, facts: Facts, error: PeeweeException) -> bool:
        """Return whether an internal error comes from what is stored in the index: its table can be read."""
        if server_errors.sqlstate(error) != INTERNAL or is_race(server_errors.original(error)):
            return False
        if by == AMCHECK:
            return not self.heap
        table = self._quoted(self.catalog.schema or "", facts.table_name)
        with suppress(PeeweeException), self._transaction(*lookups.WITHOUT_INDEX):
            self.database.execute_sql(lookups.sample(table, facts).replace("%", "%%"))
            return True
        return False

    def _lost(self, name: str, by: str, error: PeeweeException, started: float) -> Finding:
        """Return what the loss of the session says of the index, which is the last one to be checked.

        Some damage crashes the process that reads it, and the server then ends all sessions. Some makes it read for
        ever, deaf to every request to stop.
        """
        is_told = getattr(server_errors.original(error), "pgcode", None)  # why the server itself ended it
        crashed = self._reconnected_after_crash(started) and not is_told
        others = Hint("Read the server's log. Then check the others by name: ", Command("check", "--deep", "INDEX"))
        self.stopped = StatementFailed(
            f"The session was lost during the check of {name}, which is the last one.", others
        )
        if crashed:
            return Finding(name, CORRUPT, by, "The server process that read it crashed: see the server's log.")
        said = f"The session was lost: {server_errors.said(error)}"
        return Finding(name, CANNOT_TELL, by, said, is_failed=True)

    def _reconnected_after_crash(self, started: float) -> bool:
        """Open another session, as soon as the server has recovered; return whether it has crashed since the start."""
        until = time.monotonic() + RECOVERED
        while time.monotonic() < until:
            self.migrator.context.stop.sleep(AGAIN)  # at first, so that the server has noticed the end of its process
            with suppress(PeeweeException, Unreachable):
                self.migrator.reconnect()
                return self._has_crashed(started)
        self.migrator.reconnect()
        return self._has_crashed(started)

    def _has_crashed(self, started: float) -> bool:
        seconds = time.monotonic() - started + TOLERANCE
        return bool(self.catalog.rows(CRASHED, seconds=seconds)[0]["crashed"])

    def _other_damaged(self, name: str, facts: Facts, error: PeeweeException) -> str:
        """Return what else is damaged according to an error, as the beginning of a sentence; "" if it is the index.

        The planner opens all indexes of the table, and a lookup reads the table. A block that the table does not have
        is one that the index points to.
        """
        said = server_errors.said(error)
        if f'"{name}"' in said or facts.file in said:
            return ""
        if facts.table_file in said and not is_missing_block(error):
            return f"Its table {facts.table_name} is damaged: "
        others = (each for each in facts.others if f'"{each}"' in said)
        return next((f"Index {each} of the same table is damaged: " for each in others), "")
