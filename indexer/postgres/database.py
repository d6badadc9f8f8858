"""Our own sessions on the server: the one that looks, and those that build.

What is set on them is set explicitly, so that nobody's defaults decide over a build, and reset when they end.
"""

from __future__ import annotations

import contextlib
import re
import selectors
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import psycopg2
from peewee import PostgresqlDatabase
from psycopg2.extensions import POLL_OK, POLL_WRITE, TRANSACTION_STATUS_IDLE

from indexer.errors import NoSession
from indexer.postgres.encoding import UNCONVERTED, decode_leniently
from indexer.postgres.slots import FEWER, no_more, refusal
from indexer.postgres.watchdog import CANCEL, PATIENCE, POOLER, TICK, Watchdog, is_silence, server_address

# What a default of the role or the database could change in the meaning of our statements and of the answers. Where the
# user's will is meant it is kept: role, default_tablespace, default_table_access_method, synchronous_commit, TimeZone.
PINNED = {
    "search_path": "pg_catalog, pg_temp",  # unless pg_temp is named last, it comes first for tables and types
    "row_security": "off",  # rows that a policy hides are an error, and not taken for absent
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmloption": "content",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "exit_on_error": "off",
}
SHARED = {name: PINNED[name] for name in ("search_path", "row_security", "quote_all_identifiers")}
# A statement_timeout on the role cancels a long build, a lock_timeout kills a concurrent one in its waits and leaves
# an invalid index.
UNHURRIED = {
    **PINNED,
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "default_transaction_read_only": "off",
    # A client that is gone without a word must not hold the run lock for the kernel's two hours: it is known to be gone
    # after 30 seconds. No client_connection_check_interval: a build whose client is gone goes on, and becomes valid.
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30s",
}
BUILDING = UNHURRIED
# Our questions are short: to plan one anew takes as long as to answer it twice, and to compile it longer still.
QUICK = {"plan_cache_mode": "force_generic_plan", "jit": "off"}
# Its own writes are a row of the meta table; nobody locks that for long.
LOOKING = {**UNHURRIED, **QUICK, "lock_timeout": "5s"}
READING = {**LOOKING, "default_transaction_read_only": "on"}

SINCE = {"idle_session_timeout": 140000, "transaction_timeout": 170000}  # asking pg_settings takes milliseconds

FREED_IN, POLL = 1.0, 0.1  # seconds; a session that has just ended counts for a moment more
REMEMBERED = 5.0  # seconds for which a server that did not answer is not asked by another session again
ANSWERED = 30.0  # seconds; a short statement has been answered by then, or never will be

UNNAMED = "indexer"

QUOTED = re.compile(r'"(?:[^"]|"")*"')

# The first statement of a session, under the search path of the role or the database, on which a stranger's functions,
# operators and types may come first. It reads that path and pins ours in its place, unless the server process is not
# the one that greeted us: behind a pooler the session may be somebody else's next.
GREETING = """
    SELECT pg_catalog.pg_backend_pid(),
           {path},
           CASE WHEN pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) {pid} THEN ARRAY [{settings}] END
"""


class Question(NamedTuple):
    """A SELECT that a run asks again and again: planning it takes the server longer than answering it.

    ``types`` gives PostgreSQL's type of each parameter that the text names.
    """

    name: str
    types: dict[str, str]
    text: str

    @property
    def preparation(self) -> str:
        """The statement that prepares it."""
        numbered = {name: f"${number}" for number, name in enumerate(self.types, 1)}
        types = f"({', '.join(self.types.values())})" if self.types else ""
        return f"PREPARE {self.name}{types} AS {self.text % numbered}"

    @property
    def execution(self) -> str:
        """The statement that asks it, with the same named parameters."""
        parameters = f"({', '.join(f'%({name})s' for name in self.types)})" if self.types else ""
        return f"EXECUTE {self.name}{parameters}"


class OnlineDatabase(PostgresqlDatabase):
    """A peewee database whose session looks, records, and holds the run lock.

    Attributes:
        pooled: the server process is not the one that greeted us, so a pooler is in between. Nothing is set on a
            session that may not be ours, except for the length of one statement.
        path: the schemas of the search path that the session began with, those of the system left out.
        builders: the sessions that build, kept from one run to the next.
        watchdog: notices when the server gives no answer.
        pid: the server process behind the session; 0 as long as that is not known.
        place: where the session's server is, for further sessions: the same of several, and no name to look up.
    """

    pooled = False
    path: tuple[str, ...] = ()
    pid = 0
    place: Mapping[str, Any] = {}

    def __init__(self, database: str, read_only: bool = False, **parameters: Any) -> None:
        self._settings = READING if read_only else LOOKING
        self._asked: set[str] = set()
        self._prepared: set[str] = set()
        self.builders = Builders(self)
        self.watchdog = Watchdog(self.elsewhere)
        self._unanswered = float("-inf")
        super().__init__(database, **parameters)

    def _initialize_connection(self, conn: Any) -> None:
        self._prepared.clear()
        self.pid, self.place = 0, _place(conn)
        calls, parameters = _calls(self._settings, conn.server_version)
        self.watchdog.start()
        with self.watchdog.watching(conn, self.pid, self.connect_timeout), conn.cursor() as cursor:
            greeting = GREETING.format(path="pg_catalog.current_schemas(false)", pid="%s", settings=calls)
            cursor.execute(greeting, [conn.info.backend_pid, *parameters])
            self.pid, path, _ = cursor.fetchone()
            self.pooled = self.pid != conn.info.backend_pid
            if not self.pooled and conn.info.parameter_status("server_encoding") == UNCONVERTED:
                decode_leniently(conn)
                self.place = {**self.place, "client_encoding": UNCONVERTED}
        self.path = tuple(name for name in path if not name.startswith("pg_") and name != "information_schema")

    @property
    def is_lost(self) -> bool:
        """Did the server or the network end the session?"""
        return self.is_closed() or bool(self.connection().closed)

    def execute(self, query: Any, **context_options: Any) -> Any:
        """Execute a query of peewee's; a percent sign in a quoted name is not the start of a parameter."""
        sql, parameters = self.get_sql_context(**context_options).sql(query).query()
        return self.execute_sql(sendable(sql), parameters)

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Execute a statement; on a session that may be shared, with the pinned settings in the same message."""
        alone = self.pooled and self.connection().info.transaction_status == TRANSACTION_STATUS_IDLE
        return super().execute_sql(FOR_ONE_STATEMENT + sql if alone else sql, params)

    def cursor(self, named_cursor: str | None = None) -> Any:
        """Return a cursor whose statements are watched over."""
        return self.connection().cursor(cursor_factory=partial(WatchedCursor, self))

    @property
    def connect_timeout(self) -> float | None:
        """How many seconds a session may take to open; None for as long as it likes, as libpq has it."""
        given = str(self.connect_params.get("connect_timeout") or 0).strip()
        seconds = int(given) if given.isascii() and given.isdigit() else 0  # what is no number libpq refuses
        return max(seconds, 2) if seconds > 0 else None

    @contextlib.contextmanager
    def opening_within(self, seconds: float | None) -> Iterator[None]:
        """Allow a session so many seconds to open meanwhile, or what it is allowed already if that is less."""
        allowed, given = self.connect_timeout, self.connect_params.get("connect_timeout")
        if seconds is not None:
            self.connect_params["connect_timeout"] = str(round(max(min(allowed or seconds, seconds), 2)))
        try:
            yield
        finally:
            self.connect_params["connect_timeout"] = given

    def elsewhere(self, statement: str, parameters: tuple[Any, ...], seconds: float) -> Any:
        """Execute a short statement on a session opened for it, within so many seconds; returns its first row.

        Raises:
            psycopg2.Error: the server did not let it in, or did not answer.
        """
        begun = time.monotonic()
        if begun - self._unanswered < REMEMBERED:
            raise psycopg2.OperationalError("the server did not answer a moment ago")
        other = Builder(self)
        try:
            other.connect(seconds)
            return other.execute(statement, parameters, seconds - (time.monotonic() - begun))
        except psycopg2.Error as error:
            if is_silence(error):
                self._unanswered = time.monotonic()
            raise
        finally:
            other.close()

    def cancel(self, pid: int) -> None:
        """Ask the server to end the statement of one of our sessions; it then fails with query_canceled.

        psycopg2's own cancel opens a connection, without a limit and without giving the interpreter's lock back.
        """
        self.execute_sql(CANCEL, (pid,))

    def fetched(self, query: str, parameters: Any) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Return the names of a SELECT's columns and its rows, also where a text is not in the database's encoding."""
        try:
            cursor = self.execute_sql(query, parameters)
            rows = cursor.fetchall()
        except UnicodeDecodeError:
            connection = self.connection()
            if self.pooled or connection.info.parameter_status("server_encoding") != "UTF8":
                raise
            with self.watchdog.watching(connection, self.pid):
                decode_leniently(connection)
            cursor = self.execute_sql(query, parameters)
            rows = cursor.fetchall()
        return [column[0] for column in cursor.description], rows

    def settle(self) -> None:
        """Apply our settings to a session behind a pooler that has proved to be ours alone."""
        self.pooled = False
        self.execute_sql(*_applying(self._settings, self.server_version))

    def prepared(self, question: Question) -> str:
        """What to execute to ask this: prepared when it is asked again, on a session that is ours alone."""
        if self.pooled or question.name not in self._asked:
            self._asked.add(question.name)
            return question.text
        if question.name not in self._prepared:
            self.execute_sql(question.preparation.replace("%", "%%"))
            self._prepared.add(question.name)
        return question.execution

    def name_sessions(self, name: str) -> None:
        """Show this name in pg_stat_activity, for this session and those that build, unless the URL gives one."""
        if self.connect_params["application_name"] == UNNAMED and not self.pooled:
            self.connect_params["application_name"] = name
            self.execute_sql("SELECT pg_catalog.set_config('application_name', %s, false)", (name,))

    def _close(self, conn: Any) -> None:
        self.builders.close()
        if not self.pooled and not conn.closed:
            watched = self.watchdog.watching(conn, self.pid, PATIENCE)
            with contextlib.suppress(psycopg2.Error), watched, conn.cursor() as cursor:
                for name in self._prepared:  # names of our own; a pooler may give the session to somebody else
                    cursor.execute(f"DEALLOCATE {name}")
                cursor.execute("RESET ALL")  # last: what follows would be looked for on the session's first path
        self.watchdog.close()
        conn.close()


class WatchedCursor(psycopg2.extensions.cursor):
    """A cursor whose statements the watchdog of the database watches over."""

    def __init__(self, database: OnlineDatabase, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._database = database

    def execute(self, query: Any, vars: Any = None) -> None:
        """Execute a statement; raises psycopg2.OperationalError when it gets no answer."""
        with self._database.watchdog.watching(self.connection, self._database.pid):
            super().execute(query, vars)


class Builder:
    """A session that sends one statement at a time and does not block while the server works on it."""

    def __init__(self, database: OnlineDatabase) -> None:
        self._database = database
        self._connection = psycopg2.connect(**{**database.connect_params, **database.place}, async_=True)
        self._cursor: Any = None
        self._settings: dict[str, str] = {}
        self.pid = 0

    def fileno(self) -> int:
        """The socket, for select."""
        return int(self._connection.fileno())

    def connect(self, seconds: float | None = None) -> None:
        """Finish connecting; blocks, for so many seconds at most, by default as many as the first session."""
        allowed = seconds or self._database.connect_timeout
        self._wait(allowed)
        self._cursor = self._connection.cursor()
        calls, parameters = _calls(BUILDING, self._connection.server_version)
        greeted_by = self._connection.info.backend_pid
        greeting = GREETING.format(path="NULL", pid="%s", settings=calls)
        self.pid, *_ = self.execute(greeting, [greeted_by, *parameters], allowed or ANSWERED)
        if self.pid == greeted_by:
            self._settings = BUILDING

    def configure(self, settings: dict[str, str]) -> None:
        """Set these on the session, beside what every building session is given; blocks for a moment."""
        wanted = {**BUILDING, **settings}
        if wanted != self._settings:
            self.execute(*_applying(wanted, self._connection.server_version))
            self._settings = wanted

    def execute(self, statement: str, parameters: Sequence[Any] | None = None, seconds: float = ANSWERED) -> Any:
        """Execute a short statement and return its first row, if it has rows; blocks."""
        self._cursor.execute(statement, parameters)
        self._wait(seconds)
        return self._cursor.fetchone() if self._cursor.description else None

    def send(self, statement: str) -> None:
        """Send one statement; ``poll`` tells when it is done."""
        self._cursor.execute(statement.encode(errors="surrogateescape"))

    def poll(self) -> bool:
        """Is the statement done? Raises psycopg2.Error when it failed."""
        return bool(self._connection.poll() == POLL_OK)

    def close(self) -> None:
        """End the session."""
        with contextlib.suppress(psycopg2.Error):
            self._connection.close()

    @property
    def is_busy(self) -> bool:
        """Is a statement still running?"""
        return bool(self._connection.isexecuting())

    @property
    def is_in_transaction(self) -> bool:
        """Did a statement leave a transaction open, because it failed in the middle of one?"""
        return bool(self._connection.info.transaction_status != TRANSACTION_STATUS_IDLE)

    @property
    def closed(self) -> bool:
        """Did the server or the network end the session?"""
        return bool(self._connection.closed)

    def _wait(self, seconds: float | None) -> None:
        """Wait for the answer, so many seconds at most, and after a request to stop not as long.

        Raises:
            psycopg2.OperationalError: it did not come.
        """
        begun, stop = time.monotonic(), self._database.watchdog.stop
        while (state := self._connection.poll()) != POLL_OK:
            with selectors.DefaultSelector() as selector:  # select() takes no descriptor above 1,023
                selector.register(self, selectors.EVENT_WRITE if state == POLL_WRITE else selectors.EVENT_READ)
                while not selector.select(TICK):  # to poll before the socket is ready is an error while it connects
                    waited = time.monotonic() - begun
                    hurried = stop is not None and stop.asked and min(waited, stop.asked_for()) >= PATIENCE
                    if hurried or (seconds is not None and waited >= seconds):
                        self.close()
                        raise psycopg2.OperationalError(f"the server did not answer in {waited:.0f} seconds: {POOLER}")


class Builders:
    """Sessions that build, kept for the next statement when one is done.

    Attributes:
        busy: how many are in use now.
        most: how many the server lets us have, once it has refused one.
        are_told: whether the user knows that it has.
    """

    def __init__(self, database: OnlineDatabase) -> None:
        self.database = database
        self._idle: list[Builder] = []
        self.busy = 0
        self.most: int | None = None
        self.are_told = False

    @property
    def are_all_busy(self) -> bool:
        """Will none be free before a statement is done?"""
        return self.busy > 0 and not self._idle

    def take(self, settings: dict[str, str], ours: set[int]) -> Builder:
        """Return a session with these settings, and put its process id among ours.

        Raises:
            NoSession: there is none, and the server gives us no other.
        """
        while True:
            is_new = not self._idle
            self.reserve()
            builder = self._idle.pop()
            try:
                builder.configure(settings)
            except psycopg2.Error:
                builder.close()
                if is_new:  # else the server has ended it while it was idle
                    raise
            else:
                ours.add(builder.pid)
                self.busy += 1
                return builder

    def reserve(self) -> None:
        """Have one session ready; raises NoSession."""
        if not self._idle:
            if self.most is not None and self.busy >= self.most:
                raise NoSession("All sessions that the server allows this run are in use.", FEWER)
            self._idle.append(self._open())

    def _open(self) -> Builder:
        """Open one; the first is worth waiting for a moment, a further one only makes a run faster."""
        until = time.monotonic() + FREED_IN
        while True:
            try:
                builder = opened(self.database)
                builder.configure({})  # it may be idle for longer than the role's defaults allow
                return builder
            except psycopg2.Error as error:
                if self.busy:
                    self.most = self.busy
                    raise no_more(error) from error
                if time.monotonic() >= until:
                    raise refusal(self.database, error) from error
            time.sleep(POLL)

    def give_back(self, builder: Builder) -> None:
        """Keep the session, if it is still of use."""
        self.busy -= 1
        if builder.closed or builder.is_busy or builder.is_in_transaction:
            if builder.is_busy and not builder.closed:  # our own session was lost: nobody watches the statement
                with contextlib.suppress(psycopg2.Error):
                    self.database.elsewhere(CANCEL, (builder.pid,), PATIENCE)
            builder.close()
        else:
            self._idle.append(builder)

    def close(self) -> None:
        """End all that are kept."""
        self.most, self.are_told = None, False
        while self._idle:
            self._idle.pop().close()


def opened(database: OnlineDatabase) -> Builder:
    """Return a further session on the same server; raises psycopg2.Error."""
    builder = Builder(database)
    try:
        builder.connect()
    except psycopg2.Error:
        builder.close()
        raise
    return builder


def _place(connection: Any) -> dict[str, Any]:
    address = server_address(connection)
    named = {"host": connection.info.host, "port": connection.info.port}
    return {**named, "hostaddr": address} if address else named


def sendable(sql: str) -> str:
    """Peewee's text as psycopg2 wants it: a percent sign in a quoted name is not the start of a parameter."""
    return QUOTED.sub(lambda name: name[0].replace("%", "%%"), sql)


def _applying(settings: dict[str, str], version: int) -> tuple[str, list[str]]:
    """Return the statement that sets these on a session, and its parameters."""
    calls, parameters = _calls(settings, version)
    return f"SELECT {calls}", parameters


def _calls(settings: dict[str, str], version: int) -> tuple[str, list[str]]:
    """Return calls of set_config for the settings that the server knows, and their parameters."""
    known = [pair for pair in settings.items() if version >= SINCE.get(pair[0], 0)]
    calls = ", ".join(["pg_catalog.set_config(%s, %s, false)"] * len(known))
    return calls, [part for pair in known for part in pair]


# Several statements in one message are one transaction, which a pooler hands to one server process.
FOR_ONE_STATEMENT = "".join(f"SET LOCAL {name} TO {setting}; " for name, setting in SHARED.items())
