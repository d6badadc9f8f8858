"""``connect`` takes the application's own peewee database, opens sessions beside it, and leaves that as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import ask, execute, file_of, indexes
from peewee import CharField, Database, DatabaseProxy, Model, MySQLDatabase, PostgresqlDatabase, SqliteDatabase
from playhouse.cockroachdb import CockroachDatabase
from playhouse.pool import PooledPostgresqlDatabase, PooledSqliteDatabase
from playhouse.postgres_ext import PostgresqlExtDatabase
from psycopg2.extensions import parse_dsn

from indexer import IndexerError, Runner, connect, load
from indexer.errors import PreflightFailed, UsageError

REVISION = """
from indexer import Index

revision = "a1"
down_revision = None
INDEXES = (Index("ix_loan_member", table="loan", columns=("member",)),)


def upgrade(migrator):
    migrator.migrate(*(migrator.add_index(index) for index in INDEXES))


def downgrade(migrator):
    migrator.migrate(*(migrator.drop_index(index) for index in INDEXES))
"""
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name ~ 'indexer'"


class Loan(Model):
    """A book that is lent to a member."""

    member = CharField()


@pytest.fixture
def chain(tmp_path: Path) -> Any:
    """Return a chain of one revision, whose index is on the table loan."""
    (tmp_path / "migrate_a1.py").write_text(REVISION)
    return load(tmp_path)


def parts(url: str) -> dict[str, Any]:
    """Return the arguments of a PostgresqlDatabase for a URL."""
    given = parse_dsn(url)
    return {"database": given.pop("dbname"), **given}


def proxy_for(database: Database) -> DatabaseProxy:
    """Return an initialised proxy."""
    proxy = DatabaseProxy()
    proxy.initialize(database)
    return proxy


POSTGRES: dict[str, Callable[[str], Any]] = {
    "its parts": lambda url: PostgresqlDatabase(**parts(url), sslmode="prefer", keepalives=1, connect_timeout=5),
    "a URL": lambda url: PostgresqlDatabase(url, options="-c statement_timeout=9s"),
    "a pool": lambda url: PooledPostgresqlDatabase(**parts(url), max_connections=2, stale_timeout=9, timeout=1),
    "extensions": lambda url: PostgresqlExtDatabase(**parts(url), server_side_cursors=True),
    "a proxy": lambda url: proxy_for(PostgresqlDatabase(**parts(url))),
}
SQLITE: dict[str, Callable[[str], Any]] = {
    "a path": lambda url: SqliteDatabase(file_of(url), pragmas={"foreign_keys": 1, "journal_mode": "wal"}),
    "a URI": lambda url: SqliteDatabase(f"file:{file_of(url)}?mode=rwc&cache=private", uri=True),
    "a pool": lambda url: PooledSqliteDatabase(str(file_of(url))),
    "memory": lambda url: SqliteDatabase(":memory:"),
}
ALL = [("postgres_url", make) for make in POSTGRES.values()] + [("sqlite_url", make) for make in SQLITE.values()]


@pytest.mark.parametrize(("url", "make"), ALL, ids=[*POSTGRES, *SQLITE])
def test_a_run_uses_sessions_beside_an_open_connection_and_leaves_that_as_it_was(request, chain, url, make):
    database, url = make(request.getfixturevalue(url)), request.getfixturevalue(url)
    database.connect()
    connection = database.connection()
    with connect(database) as migrator:
        outcome = Runner(migrator, chain, [Loan]).up()
        assert (outcome.start, outcome.end) == (None, "a1")
        assert [each.name for each in database.get_indexes("loan") if each.name == "ix_loan_member"]
        assert Runner(migrator, chain, [Loan]).down().end == "base"
        assert not [each.name for each in database.get_indexes("loan") if each.name == "ix_loan_member"]
    assert database.connection() is connection
    with database.bind_ctx([Loan]):
        assert Loan.create(member="Ada").member == "Ada"
    database.close()
    if url.startswith("postgres"):
        assert ask(url, SESSIONS) == [(0,)]


@pytest.mark.parametrize(
    ("url", "make"), [("postgres_url", POSTGRES["its parts"]), ("sqlite_url", SQLITE["a path"])], ids=["pg", "sqlite"]
)
def test_an_open_transaction_of_the_same_thread_is_refused_before_a_run_waits_for_it(request, chain, url, make):
    database = make(request.getfixturevalue(url))
    with connect(database) as migrator:
        runner = Runner(migrator, chain, [Loan])
        with database.atomic(), pytest.raises(PreflightFailed, match="open transaction in this thread"):
            runner.up()
        database.execute_sql("BEGIN")  # which peewee does not count
        with pytest.raises(PreflightFailed, match="open transaction in this thread"):
            runner.stamp("base")
        database.execute_sql("ROLLBACK")
        assert database.get_tables() == []
        assert runner.up().end == "a1"
    database.close()


def test_a_run_works_in_a_thread_that_is_not_the_main_one(any_application, chain):
    results: list[Any] = []

    def work() -> None:
        with connect(any_application) as migrator:
            results.append(Runner(migrator, chain, [Loan]).up().end)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == ["a1"]


@pytest.fixture(params=["postgres_url", "sqlite_url"])
def any_application(request: pytest.FixtureRequest) -> Database:
    """Return a database object that is not connected."""
    kinds = {"postgres_url": POSTGRES["its parts"], "sqlite_url": SQLITE["a path"]}
    return kinds[request.param](request.getfixturevalue(request.param))


def test_an_index_on_a_collation_of_the_application_is_built_with_its_database_object(sqlite_url, chain):
    application = SqliteDatabase(file_of(sqlite_url))
    application.register_collation(lambda one, other: (one > other) - (one < other), "by_surname")
    with application:
        application.execute_sql("CREATE TABLE loan (id INTEGER PRIMARY KEY, member TEXT COLLATE by_surname)")
    with connect(sqlite_url) as migrator, pytest.raises(PreflightFailed, match="by_surname"):
        Runner(migrator, chain).up()
    with connect(application) as migrator:
        assert Runner(migrator, chain).up().end == "a1"
    assert "ix_loan_member" in indexes(sqlite_url)


def test_a_file_that_a_run_creates_has_the_pragmas_of_the_application(sqlite_url, chain):
    application = SqliteDatabase(file_of(sqlite_url), pragmas={"page_size": 8192, "journal_mode": "wal"})
    with connect(application) as migrator:
        migrator_page_size = migrator.database.pragma("page_size")
        assert not file_of(sqlite_url).exists()
        Runner(migrator, chain, [Loan]).up()
    assert migrator_page_size != 8192
    assert execute(sqlite_url, "PRAGMA page_size") == [(8192,)]
    assert execute(sqlite_url, "PRAGMA journal_mode") == [("wal",)]


def test_a_file_that_exists_keeps_its_journal_mode(sqlite_url, chain):
    execute(sqlite_url, "CREATE TABLE loan (id INTEGER PRIMARY KEY, member TEXT)")
    with connect(SqliteDatabase(file_of(sqlite_url), pragmas={"journal_mode": "wal"})) as migrator:
        Runner(migrator, chain).up()
    assert execute(sqlite_url, "PRAGMA journal_mode") == [("delete",)]


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "an empty proxy": (DatabaseProxy, "not initialised"),
    "no name": (lambda: SqliteDatabase(None), "not initialised"),
    "MySQL": (lambda: MySQLDatabase("app"), "MySQLDatabase is not supported"),
    "Cockroach": (lambda: CockroachDatabase("app"), "CockroachDatabase is not supported"),
    "memory without a connection": (lambda: SqliteDatabase(":memory:"), "in memory, and no connection"),
    "a URI for reading": (lambda: SqliteDatabase("file:app.db?mode=ro", uri=True), "has mode=ro"),
    "a URI with a VFS": (lambda: SqliteDatabase("file:app.db?vfs=unix-none", uri=True), "has vfs=unix-none"),
    "an unknown object": (object, "object is not supported"),
}


@pytest.mark.parametrize(("make", "said"), REFUSED.values(), ids=REFUSED)
def test_a_database_that_cannot_be_used_is_refused_in_a_sentence_with_a_next_step(make, said):
    with pytest.raises(UsageError, match=said) as caught:
        connect(make())
    assert caught.value.hint


def test_no_message_contains_the_password():
    ways = (
        PostgresqlDatabase("app", host="127.0.0.1", port=1, user="clerk", password="secret"),
        PostgresqlDatabase("postgresql://clerk:secret@127.0.0.1:1/app", sslmode="wrong"),
        PostgresqlDatabase("postgresql://clerk:sec ret@[127.0.0.1/app"),
    )
    for database in ways:
        with pytest.raises(IndexerError) as caught:
            connect(database)
        assert "secret" not in f"{caught.value} {caught.value.hint}"
        assert "ret@" not in f"{caught.value} {caught.value.hint}"
        assert "URL" not in str(caught.value.hint)
