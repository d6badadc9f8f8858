"""Scenes for the tests of a busy database: blocking sessions, runs in the background, servers that crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import postgres_server
import psycopg2
import pytest
from command import (
    NOT_PASSED_ON,
    Result,
    ask,
    broken,
    created_indexes,
    execute,
    is_postgres,
    prepare,
    specified,
    statements_of,
    succeed,
)
from processes import start
from roles import APPLICATION, as_application, as_owner, as_role, make_roles, new_database

T = TypeVar("T")

PATIENCE = 30  # seconds after which a wait of a test fails
SHORTEST_PAUSE, LONGEST_PAUSE = 0.005, 0.05  # seconds between two looks, which take time from what is waited for
WRITE = "INSERT INTO activity (openphone_id) VALUES ('written')"
READ = "SELECT count(*) FROM activity"
MANY_ROWS = 80_000


def until(
    condition: Callable[[], T], what: str = "the condition", seconds: float = PATIENCE, longest: float = LONGEST_PAUSE
) -> T:
    """Wait until a condition is true, and return what it returned.

    Args:
        longest: seconds between two looks; the first pauses are shorter.
    """
    deadline, pause = time.monotonic() + seconds, SHORTEST_PAUSE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true in {seconds} seconds"
        time.sleep(pause)
        pause = min(1.3 * pause, longest)
    return found


# The end of a run ---------------------------------------------------------------------------------------------------


def assert_all_valid(url: str) -> None:
    """Check that the ten indexes exist as specified and no index is invalid."""
    assert created_indexes(url) == specified(url)
    assert not is_postgres(url) or broken(url) == set()


def assert_none_exist(url: str) -> None:
    """Check that none of the ten indexes exists, not even an invalid one."""
    assert created_indexes(url) == {}


def build_all(url: str) -> None:
    """Bring a database from the base revision to the head by the script that ``plan --sql`` prints."""
    if not _script:
        _script.extend(statements_of(succeed("plan", "--sql", url=url).stdout))
    execute(url, *_script)


_script: list[str] = []


# A run in the background --------------------------------------------------------------------------------------------


class Run:
    """``python cli.py ...`` in the background, its output read line by line as it comes.

    Attributes:
        starts_really: whether to start Python instead of a fork; the marker real_start sets it.
    """

    starts_really = False

    def __init__(self, *arguments: str, url: str, **environment: str) -> None:
        passed_on = {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON}
        self.lines: list[str] = []
        self._errors: list[str] = []
        self._events: list[dict[str, Any]] = []
        self._are_read = 0  # lines in which events were looked for
        self._folder = tempfile.TemporaryDirectory()
        (read_output, stdout), (read_errors, stderr) = os.pipe(), os.pipe()
        given = {**passed_on, "DATABASE_URL": url, **environment}
        self.process = start(arguments, self._folder.name, given, stdout, stderr, really=self.starts_really)
        os.close(stdout)
        os.close(stderr)
        self._readers = [
            threading.Thread(target=self._read, args=streams, daemon=True)
            for streams in ((read_output, self.lines), (read_errors, self._errors))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: int, lines: list[str]) -> None:
        with open(stream) as output:
            lines.extend(output)

    @property
    def events(self) -> list[dict[str, Any]]:
        """Return the events so far of a run with --json."""
        lines = self.lines[self._are_read :]
        self._are_read += len(lines)
        self._events += [json.loads(line) for line in lines if line.startswith('{"event"')]
        return self._events

    @property
    def is_running(self) -> bool:
        """Return whether the run has not ended yet."""
        return self.process.poll() is None

    def find(self, event: str, **wanted: Any) -> dict[str, Any] | None:
        """Return the first event of this kind with these values."""
        return next((each for each in self.events if {"event": event, **wanted}.items() <= each.items()), None)

    def event(self, event: str, **wanted: Any) -> dict[str, Any]:
        """Wait for an event; a run that ends without it is an error."""
        found = until(lambda: self.find(event, **wanted) or self._ended(), f"{event} {wanted}", longest=SHORTEST_PAUSE)
        assert isinstance(found, dict), f"ended without {event} {wanted}: {self.end()}"
        return found

    def line(self, part: str) -> str:
        """Wait for a line that has this part."""
        matching = lambda: [line for line in list(self.lines) if part in line]  # noqa: E731
        found = until(lambda: matching() or self._ended(), part, longest=SHORTEST_PAUSE)
        assert isinstance(found, list), f"ended without {part!r}: {self.end()}"
        return found[0]

    def _ended(self) -> tuple | None:
        """Return a true value once the run has ended and its output is read."""
        return None if self.is_running or any(reader.is_alive() for reader in self._readers) else ("ended",)

    def send(self, number: int) -> None:
        """Send the run a signal."""
        self.process.send_signal(number)

    def end(self) -> Result:
        """Wait for the end, and return the result, which must show no traceback."""
        try:
            self.process.wait(60)
        finally:
            self.close()
        for reader in self._readers:
            reader.join()
        result = Result(self.process.returncode, "".join(self.lines), "".join(self._errors))
        assert "Traceback" not in result.stderr, result.stderr
        return result

    def succeed(self) -> Result:
        """Wait for the end, which must have the exit code 0."""
        result = self.end()
        assert result.exit_code == 0, result
        return result

    def wait(self, seconds: float) -> None:
        """Wait until the run ends, at most this long."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def kill(self) -> None:
        """Kill the process with SIGKILL, and wait until it has ended."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Kill the process, and remove its directory."""
        self.process.kill()
        self.process.wait()
        self._folder.cleanup()


@contextmanager
def running(*arguments: str, url: str, **environment: str) -> Iterator[Run]:
    """Run a command in the background, and kill it at the end of the block."""
    run = Run(*arguments, url=url, **environment)
    try:
        yield run
    finally:
        run.close()


# Other sessions -----------------------------------------------------------------------------------------------------


class Session:
    """Another client's session with an open transaction that has executed these statements."""

    def __init__(self, url: str, *statements: str, isolation: str = "READ COMMITTED") -> None:
        self._connection = psycopg2.connect(url, application_name="another client")
        self._connection.set_session(isolation_level=isolation)
        self.pid: int = self._connection.info.backend_pid
        for statement in statements:
            self.execute(statement)

    def execute(self, statement: str) -> None:
        """Execute one more statement in the same transaction."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement)

    def end(self) -> None:
        """End the transaction and the session; the server may be gone."""
        with suppress(psycopg2.Error):
            self._connection.rollback()
        self._connection.close()


@contextmanager
def transaction(url: str, *statements: str, isolation: str = "READ COMMITTED") -> Iterator[Session]:
    """Open a transaction, and end it with the block unless the test has ended it before."""
    session = Session(url, *statements, isolation=isolation)
    try:
        yield session
    finally:
        session.end()


def open_writer(url: str, write: str = WRITE, role: str = APPLICATION) -> Any:
    """Open a transaction that has written to a table: builds on that table wait for it."""
    return transaction(as_role(url, role), write)


def open_reader(url: str, read: str = READ, role: str = APPLICATION) -> Any:
    """Open a transaction that has read a table: drops wait for it, builds do not."""
    return transaction(as_role(url, role), read)


def old_snapshot(url: str, role: str = APPLICATION) -> Any:
    """Open a transaction with an old snapshot: every build waits for it in its last phase."""
    return transaction(as_role(url, role), "SELECT 1", isolation="REPEATABLE READ")


@contextmanager
def prepared_transaction(url: str, name: str = "left alone", role: str = APPLICATION) -> Iterator[str]:
    """Prepare a transaction that has written: it has no process, and survives its session."""
    url = as_role(url, role)
    quoted = name.replace("'", "''")
    with transaction(url, WRITE, f"PREPARE TRANSACTION '{quoted}'"):
        pass
    try:
        yield name
    finally:
        with suppress(psycopg2.Error):
            execute(url, f"ROLLBACK PREPARED '{quoted}'")


@contextmanager
def long_copy(url: str, role: str = APPLICATION) -> Iterator[int]:
    """Run a COPY into activity until the block ends, and yield its process id."""
    url = as_role(url, role)
    reading, writing = os.pipe()
    with closing(psycopg2.connect(url)) as connection, open(reading, "rb") as rows, open(writing, "wb", 0) as client:

        def copy() -> None:
            with suppress(psycopg2.Error), connection.cursor() as cursor:
                cursor.copy_expert("COPY activity (openphone_id) FROM STDIN", rows, size=1)

        thread = threading.Thread(target=copy, daemon=True)
        thread.start()
        try:
            pid = connection.info.backend_pid
            client.write(b"copied\n")
            until(lambda: ask(url, f"SELECT 1 FROM pg_locks WHERE pid = {pid} AND mode = 'RowExclusiveLock'"))
            yield pid
        finally:
            client.close()
            thread.join(PATIENCE)


class ByHand:
    """A statement that another client executes in the background."""

    def __init__(self, url: str, statement: str) -> None:
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True
        self.pid: int = self._connection.info.backend_pid
        self.error: psycopg2.Error | None = None
        self._thread = threading.Thread(target=self._execute, args=(statement,), daemon=True)
        self._thread.start()

    def _execute(self, statement: str) -> None:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement)
        except psycopg2.Error as error:
            self.error = error

    def end(self) -> None:
        """Wait until the statement has ended."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "a statement by hand did not end"
        self._connection.close()


class Application:
    """A process that writes to and reads from the tables in a loop, and ends at the first failure."""

    def __init__(self, url: str, *settings: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("application.py"), as_application(url), *settings],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._rounds: list[str] = []
        self._reader = threading.Thread(target=self._rounds.extend, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def wait_for_rounds(self, rounds: int = 20) -> None:
        """Wait until the application has done this many more rounds."""
        wanted = len(self._rounds) + rounds
        until(lambda: len(self._rounds) >= wanted or self.process.poll() is not None, "the application's work")
        assert self.process.poll() is None, self.process.stderr.read()

    def end(self) -> None:
        """Stop the application, in which nothing must have failed."""
        self.process.terminate()
        _, errors = self.process.communicate()
        assert (self.process.returncode, errors) == (0, "")


@contextmanager
def application(url: str, *settings: str) -> Iterator[Application]:
    """Run the application as its role during the block, in a session with these settings."""
    at_work = Application(url, *settings)
    try:
        at_work.wait_for_rounds()
        yield at_work
        at_work.end()
    finally:
        at_work.process.kill()
        at_work.process.wait()


# The state of the server --------------------------------------------------------------------------------------------


def phases(url: str) -> dict[int, str]:
    """Return the phase of each running build in this database, by process id."""
    view = "SELECT pid, phase FROM pg_stat_progress_create_index WHERE datname = current_database()"
    return dict(ask(url, view))


def until_phase(url: str, phase: str, counting: bool = False) -> int:
    """Wait until a build is in a phase whose name begins like this, and return its process id.

    Every build passes through the phases of waiting, so one counts only while a session blocks the build.
    With ``counting``, wait until the phase has a total, which it lacks at its start.
    """
    query = """
        SELECT pid FROM pg_stat_progress_create_index
         WHERE datname = current_database()
           AND phase LIKE %(phase)s || '%%'
           AND (blocks_total + tuples_total > 0 OR NOT %(counting)s)
           AND (phase NOT LIKE 'waiting%%' OR cardinality(pg_blocking_pids(pid)) > 0)
    """
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True  # one connection for all polls, because a phase may be short

        def look() -> int | None:
            cursor.execute(query, {"phase": phase, "counting": counting})
            return next((pid for (pid,) in cursor.fetchall()), None)

        return until(look, phase, longest=SHORTEST_PAUSE)


def until_dropping(url: str) -> int:
    """Wait until a DROP INDEX waits for a lock, and return its process id."""
    query = """
        SELECT pid FROM pg_stat_activity
         WHERE datname = current_database() AND query LIKE 'DROP INDEX%' AND wait_event_type = 'Lock'
    """
    return until(lambda: next((pid for (pid,) in ask(url, query)), None), "a drop that waits")


def until_idle(url: str) -> None:
    """Wait until no session builds or drops an index, not even one whose client is gone."""
    query = """
        SELECT pid FROM pg_stat_activity
         WHERE datname = current_database() AND state = 'active' AND query ~ '^(CREATE|DROP) INDEX'
    """
    until(lambda: not ask(url, query), "the end of all work on indexes")


def lock_holder(url: str) -> int | None:
    """Return the id of the process that holds the run lock; a run that waits for it holds a shared one."""
    query = """
        SELECT pid FROM pg_locks
         WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock'
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
    return next((pid for (pid,) in ask(url, query)), None)


def fill_activity(url: str, rows: int = MANY_ROWS) -> None:
    """Fill activity so that a build takes a moment, and disable autovacuum on it."""
    execute(
        url,
        "ALTER TABLE activity SET (autovacuum_enabled = false)",
        f"""
        INSERT INTO activity (openphone_id, activity_type, created_at)
        SELECT repeat(md5(i::text), 3), 'call', timestamp '2025-01-01' + i * interval '1 minute'
          FROM generate_series(1, {rows}) AS i
        """,
    )


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Suspend a process of the test's server during the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# Separate servers ---------------------------------------------------------------------------------------------------


class Server:
    """A separate server, which can crash and start again."""

    def __init__(self, binaries: Path, top: Path, account: dict) -> None:
        self._binaries, self._data, self._account = binaries, top / "data", account
        self.log = top / "log"
        self.process, self.url = postgres_server.start(binaries, self._data, self.log, account)
        make_roles(self.url)
        self.port = int(psycopg2.extensions.parse_dsn(self.url)["port"])

    def crash(self) -> None:
        """Stop at once, as in a crash: the next start recovers."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(PATIENCE)

    def launch(self) -> None:
        """Start again on the same port, without waiting for the answer."""
        self.process = postgres_server.launch(self._binaries, self._data, self.port, self.log, self._account)

    def come_back(self) -> None:
        """Start again on the same port and wait for the answer."""
        self.launch()
        assert postgres_server.answers(self.process, self.url, self._data)

    @contextmanager
    def new_database(self) -> Iterator[str]:
        """Yield the owner's URL of a new database at the base revision, and drop it at the end."""
        with new_database(self.url) as superuser_url:
            url = as_owner(superuser_url)
            prepare(url, to="base")
            yield url

    def has_logged(self, text: str) -> bool:
        """Return whether the server's log contains this text."""
        return text in self.log.read_text(errors="replace")


@contextmanager
def own_server(**settings: str) -> Iterator[Server]:
    """Start a server with these settings."""
    with postgres_server.work_directory() as top, pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setitem(postgres_server.SETTINGS, name, value)
        account = postgres_server.unprivileged(top)
        binaries = postgres_server.executable_for(account, postgres_server.own_binaries(), top)
        postgres_server.make_cluster(binaries, top / "data", account)
        server = Server(binaries, top, account)
        try:
            yield server
        finally:
            server.crash()  # the data are thrown away, so no checkpoint is needed
