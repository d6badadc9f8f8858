"""The main session of a run: it reads the catalog, records, and holds the run lock."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import psycopg2
from peewee import PeeweeException, PostgresqlDatabase
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from indexer.events import Report, silent
from indexer.postgres.session.builders import Builder, Builders
from indexer.postgres.session.connection_limits import refusal
from indexer.postgres.session.encoding import UNCONVERTED, decode_leniently
from indexer.postgres.session.engines import Said
from indexer.postgres.session.engines import refusal as refusal_of_engine
from indexer.postgres.session.settings import FOR_ONE_STATEMENT, MAIN, MAIN_READ_ONLY, applying, greeting
from indexer.postgres.session.watchdog import PATIENCE, Unanswered, Watchdog, server_address
from indexer.signals import Stop
from indexer.text import literal

REMEMBERED = 5.0  # seconds for which no other session is opened on a server that did not answer

UNCANCELLED = 5.0  # seconds after its timeout until a session is ended whose statement the server has not cancelled
UNNAMED = "indexer"  # the application name as long as a run has set none
PARAMETER = re.compile(r"%\((\w+)\)s")
SENT_FIRST = ("server_version", "crdb_version", "session_authorization")  # by which an engine can be recognised
QUOTED = re.compile(r'"(?:[^"]|"")*"')


class OnlineDatabase(PostgresqlDatabase):
    """A peewee database whose one session is the main session of a run; the arguments are those of ``open_postgres``.

    Attributes:
        pooled: whether a pooler is in between: the server process is not the one that accepted the connection. Other
            clients may share the session then, so settings are made for the length of one statement only.
        is_read_only_by_default: whether role, database or server make transactions read-only.
        is_standby: whether the server was a standby when the session began.
        path: the schemas of the search path with which the session began, without those of the system.
        pid: the server process of the session; 0 as long as it is not known.
        server: host, port and address of the session's server. Further sessions open there: of several hosts on the
            same one, and without looking a name up.
        builders: the sessions that build, kept from one run to the next.
        watchdog: notices when the server gives no answer.
    """

    pooled = False
    is_read_only_by_default = False
    is_standby = False
    path: tuple[str, ...] = ()
    pid = 0
    server: Mapping[str, Any] = {}

    def __init__(
        self,
        database: str,
        read_only: bool = False,
        report: Report = silent,
        stop: Stop | None = None,
        **parameters: Any,
    ) -> None:
        self.builders = Builders(self.open_builder, self.execute_apart, partial(refusal, self))
        self.watchdog = Watchdog(self.execute_apart, report, stop)
        self._settings = MAIN_READ_ONLY if read_only else MAIN
        self._executed: set[str] = set()
        self._prepared: dict[str, str] = {}  # the name of the prepared statement by its query
        self._uncertain: list[str] = []  # the names of statements that failed, prepared or not
        self._before = ""  # statements that the next message begins with
        self._is_committed = False
        self.answers: dict[object, tuple[float, Any]] = {}  # when each question was answered, and the answer
        self.longest_statement: float | None = (
            None  # seconds after which the session is ended, whatever the server does
        )
        self._unanswered = float("-inf")  # when the server last gave another session no answer
        super().__init__(database, **parameters)

    def _connect(self) -> Any:
        """Open the session; begin it with standard_conforming_strings on.

        psycopg2 quotes a backslash as that setting is at the beginning, whatever sets it afterwards.
        """
        conn = super()._connect()  # type: ignore[misc]
        if conn.info.parameter_status("standard_conforming_strings") != "off":
            return conn
        given = self.connect_params.get("options")
        self.connect_params["options"] = " ".join(filter(None, (given, "-c standard_conforming_strings=on")))
        try:
            again = super()._connect()  # type: ignore[misc]
        except psycopg2.Error:  # a pooler accepts no options; on its sessions the setting is not changed
            return conn
        finally:
            self.connect_params["options"] = given
        conn.close()
        return again

    def _initialize_connection(self, conn: Any) -> None:
        self._prepared.clear()
        self._uncertain.clear()
        self.answers.clear()
        self._before = ""
        self._refuse_other_engine(conn)
        accepted_by = conn.info.backend_pid
        address = server_address(conn)
        self.server = {"host": conn.info.host, "port": conn.info.port, **({"hostaddr": address} if address else {})}
        self.pid = 0
        self.watchdog.start()
        with self.watchdog.watching(conn, self.pid, self.connect_timeout), conn.cursor() as cursor:
            self.pid, path, read_only, version, self.is_standby, _ = self._greet(conn, cursor, accepted_by)
            self._refuse_other_engine(conn, version)
            self.pooled = self.pid != accepted_by
            self.is_read_only_by_default = read_only == "on"
            if not self.pooled and conn.info.parameter_status("server_encoding") == UNCONVERTED:
                decode_leniently(conn)
                self.server = {**self.server, "client_encoding": UNCONVERTED}
        self.path = tuple(name for name in path if not name.startswith("pg_") and name != "information_schema")

    def _greet(self, conn: Any, cursor: Any, accepted_by: int) -> Any:
        """Return the row of the first statement; raise OtherEngine if that fails because of another engine."""
        try:
            cursor.execute(*greeting(self._settings, conn.server_version, accepted_by))
        except psycopg2.Error:
            with contextlib.suppress(psycopg2.Error):
                cursor.execute("SELECT pg_catalog.version()")
                self._refuse_other_engine(conn, *cursor.fetchone())
            raise
        return cursor.fetchone()

    def _refuse_other_engine(self, conn: Any, version: str = "") -> None:
        """Raise OtherEngine, and send nothing more, if the server is not PostgreSQL."""
        server_version, crdb_version, role = map(conn.info.parameter_status, SENT_FIRST)
        if error := refusal_of_engine(Said(version, server_version, crdb_version, role, conn.info.host)):
            conn.close()
            raise error

    def _close(self, conn: Any) -> None:
        self.builders.close()
        if not self.pooled and not conn.closed:
            # A session pooler may give the session to another client. RESET brings the first search path back.
            cleared = [f"DEALLOCATE {name}; " for name in self._prepared.values()]
            for message in (*(f"DEALLOCATE {name}" for name in self._uncertain), "".join([*cleared, "RESET ALL"])):
                watched = self.watchdog.watching(conn, self.pid, PATIENCE)
                with contextlib.suppress(psycopg2.Error), watched, conn.cursor() as cursor:
                    cursor.execute(message)
        self.watchdog.close()
        conn.close()

    @property
    def is_lost(self) -> bool:
        """Whether the server or the network has ended the session."""
        return self.is_closed() or bool(self.connection().closed)

    @property
    def connect_timeout(self) -> float | None:
        """The seconds that opening a session may take, by libpq's rules; None for no limit."""
        given = str(self.connect_params.get("connect_timeout") or 0).strip()
        seconds = int(given) if given.isascii() and given.isdigit() else 0  # libpq refuses what is no number
        return max(seconds, 2) if seconds > 0 else None

    @contextlib.contextmanager
    def opening_within(self, seconds: float | None) -> Iterator[None]:
        """Let a session take at most this many seconds to open meanwhile, if that is less than it may take already."""
        allowed, given = self.connect_timeout, self.connect_params.get("connect_timeout")
        if seconds is not None:
            self.connect_params["connect_timeout"] = str(round(max(min(allowed or seconds, seconds), 2)))
        try:
            yield
        finally:
            self.connect_params["connect_timeout"] = given

    def open_builder(self, seconds: float | None = None) -> Builder:
        """Open another session on the same server, within this many seconds; by default as many as the first session.

        Raises:
            psycopg2.Error: the server refused, or did not answer in time.
        """
        parameters = {**self.connect_params, **self.server}
        return Builder(parameters, seconds or self.connect_timeout, self.watchdog.stop)

    # Statements ------------------------------------------------------------------------------------------------------

    def cursor(self, named_cursor: str | None = None) -> Any:
        """Return a cursor whose statements the watchdog watches."""
        cursor = self.connection().cursor(cursor_factory=partial(WatchedCursor, self))
        if before := self._taken_before():
            cursor.execute(before)
        return cursor

    def execute(self, query: Any, **context_options: Any) -> Any:
        """Execute a query of peewee's; a percent sign in a quoted name does not begin a parameter."""
        sql, parameters = self.get_sql_context(**context_options).sql(query).query()
        return self.execute_sql(sendable(sql), parameters)

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Execute a statement, in one message with what has to come before it.

        That is the BEGIN of its transaction and, on a session that may be shared, the pinned settings.
        """
        is_alone = self.pooled and self.connection().info.transaction_status == TRANSACTION_STATUS_IDLE
        message = (FOR_ONE_STATEMENT if is_alone else "") + self._taken_before() + sql
        return super().execute_sql(message, params)

    def execute_last(self, queries: Sequence[Any]) -> None:
        """Execute queries of peewee's that end a transaction, and commit it, all in one message."""
        if not queries:
            return
        statements = [self.get_sql_context().sql(query).query() for query in queries]
        message = "; ".join([*(sendable(sql) for sql, _ in statements), "COMMIT"])
        self.execute_sql(message, [value for _, parameters in statements for value in parameters])
        self._is_committed = True

    def precede(self, statement: str) -> None:
        """Send a statement without parameters in one message with the next one, which fails if it does."""
        self._before += f"{statement}; "

    def begin(self, isolation_level: str | None = None) -> None:
        """Let the next statement begin a transaction."""
        self._is_committed = False
        self.precede("BEGIN")

    def commit(self) -> None:
        """Commit the transaction, if a statement has begun it and none has committed it."""
        is_committed, self._is_committed = self._is_committed, False
        if not self._taken_before() and not is_committed:
            super().commit()

    def rollback(self) -> None:
        """Roll the transaction back, if a statement has begun it."""
        if not self._taken_before():
            super().rollback()

    def _taken_before(self) -> str:
        before, self._before = self._before, ""
        return before

    def execute_apart(self, statement: str, parameters: tuple[Any, ...], seconds: float) -> Any:
        """Execute a short statement on a session opened for it, within this many seconds; return its first row.

        Raises:
            psycopg2.Error: the server refused the session, or did not answer.
        """
        started = time.monotonic()
        if started - self._unanswered < REMEMBERED:
            raise Unanswered("the server did not answer a moment ago")
        try:
            with contextlib.closing(self.open_builder(seconds)) as other:
                return other.execute(statement, parameters, seconds - (time.monotonic() - started))
        except Unanswered:
            self._unanswered = time.monotonic()
            raise

    def fetch(self, query: str, parameters: Any, often: bool = False) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Return the column names and the rows of a SELECT, also where a text is not in the database's encoding.

        Args:
            often: whether to prepare the statement when it is executed again.
        """
        try:
            cursor = self._execute_prepared(query, parameters) if often else self.execute_sql(query, parameters)
            rows = cursor.fetchall()
        except UnicodeDecodeError:
            connection = self.connection()
            if self.pooled or connection.info.parameter_status("server_encoding") != "UTF8":
                raise
            with self.watchdog.watching(connection, self.pid):
                decode_leniently(connection)
            return self.fetch(query, parameters, often)
        return [column[0] for column in cursor.description], rows

    def _execute_prepared(self, query: str, given: Any) -> Any:
        """Execute a SELECT with named parameters; the second time, prepare it in the same message.

        The server infers the types of the parameters from the text. A session that may be shared prepares nothing.
        """
        if self.pooled or query not in self._executed:
            self._executed.add(query)
            return self.execute_sql(query, given)
        parameters = dict.fromkeys(PARAMETER.findall(query))
        values = ", ".join(f"%({parameter})s" for parameter in parameters)
        name = self._prepared.get(query) or f"indexer_{len(self._prepared) + len(self._uncertain) + 1}"
        execute = f"EXECUTE {name}" + (f"({values})" if values else "")
        if query in self._prepared:
            return self.execute_sql(execute, given)
        text = query % {parameter: f"${number}" for number, parameter in enumerate(parameters, 1)}
        try:
            cursor = self.execute_sql(f"PREPARE {name} AS {text}".replace("%", "%%") + f"; {execute}", given)
        except PeeweeException:
            self._uncertain.append(name)
            raise
        self._prepared[query] = name
        return cursor

    # Settings --------------------------------------------------------------------------------------------------------

    def apply_settings(self) -> None:
        """Apply the settings to a session behind a pooler that shares it with no other client."""
        self.pooled = False
        self.execute_sql(*applying(self._settings, self.server_version))

    def limit_statements(self, seconds: float) -> None:
        """Let the server cancel each statement that takes longer; end the session if it does not.

        A session that may be shared is only ended: the setting would be that of the next client, too.
        """
        self.longest_statement = seconds + UNCANCELLED
        if not self.pooled:
            self.execute_sql(*applying({"statement_timeout": f"{round(seconds * 1000)}"}, self.server_version))

    def name_sessions(self, name: str) -> None:
        """Show this name for all sessions of the run in pg_stat_activity from the next statement on.

        Not if the URL names them.
        """
        if self.connect_params["application_name"] == UNNAMED and not self.pooled:
            self.connect_params["application_name"] = name
            self.precede(f"SET application_name TO {literal(name)}".replace("%", "%%"))


def sendable(sql: str) -> str:
    """Return a statement of peewee's in which a percent sign in a quoted name does not begin a parameter."""
    return QUOTED.sub(lambda name: name[0].replace("%", "%%"), sql)


class WatchedCursor(psycopg2.extensions.cursor):
    """A cursor whose statements the watchdog of the database watches."""

    def __init__(self, database: OnlineDatabase, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._database = database

    def execute(self, query: Any, vars: Any = None) -> None:
        """Execute a statement; raise psycopg2.OperationalError when it gets no answer."""
        database = self._database
        with database.watchdog.watching(self.connection, database.pid, database.longest_statement):
            super().execute(query, vars)
