"""Behind PgBouncer: shared sessions are refused before the first change, and no setting is left on them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from urllib.parse import urlsplit

import postgres_server
import psycopg2
import pytest
from command import BASE, HEAD, execute, indexes, nothing_changes, prepare, revisions, run, succeed
from scenes import application, assert_all_valid, assert_none_exist, old_snapshot, running, until, until_phase

import models
from indexer.connection import connect
from indexer.errors import StatementFailed
from indexer.verify.verify import verify
from migrate_10992629d68e import INDEXES
from queries import QUERIES

PGBOUNCER = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
MODES = ("session", "transaction", "statement")
SHARING = ("transaction", "statement")  # one server session for many clients

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed: apt-get install pgbouncer")

# What only the owner of a session would change on it, and what a run sets on its sessions.
SETTINGS = """
    SELECT name, setting FROM pg_settings
     WHERE name IN ('statement_timeout', 'lock_timeout', 'search_path', 'default_transaction_read_only',
                    'idle_in_transaction_session_timeout', 'maintenance_work_mem')
"""


@contextmanager
def pgbouncer(url: str, mode: str, sessions: int = 1) -> Iterator[str]:
    """Run PgBouncer in front of the server; yield the URL through it. In session mode a run needs several sessions."""
    server = urlsplit(url)
    login = f"user={server.username} " + (f"password={server.password}" if server.password else "")
    with postgres_server.work_directory() as top:
        account = postgres_server.unprivileged(top)
        port = postgres_server.free_port()
        settings = top / "pgbouncer.ini"
        settings.write_text(
            f"""
            [databases]
            * = host={server.hostname} port={server.port or 5432} {login}
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {port}
            unix_socket_dir =
            auth_type = any
            pool_mode = {mode}
            default_pool_size = {5 if mode == "session" else sessions}
            server_reset_query = DISCARD ALL
            """.replace("\n            ", "\n")
        )
        process = subprocess.Popen(
            [PGBOUNCER, "-q", settings],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=postgres_server.die_with_parent,
            **account,
        )
        pooled = f"postgresql://{server.username}@127.0.0.1:{port}{server.path}"
        try:
            until(lambda: answers(pooled), "PgBouncer's answer")
            yield pooled
        finally:
            process.terminate()
            process.wait(10)


def answers(url: str) -> bool:
    """Return whether the server answers through this URL."""
    with suppress(psycopg2.OperationalError):
        return execute(url, "SELECT 1") == [(1,)]
    return False


def settings_behind(pooled: str) -> dict[str, str]:
    """Return the settings of the server session that the next client gets."""
    return dict(execute(pooled, SETTINGS))


@pytest.mark.parametrize("mode", SHARING)
@pytest.mark.parametrize("command", ["up", "down", "reindex ix_activity_type"])
def test_a_pooler_that_shares_sessions_is_refused_before_anything_is_changed(postgres_url, mode, command):
    prepare(postgres_url, to="base" if command == "up" else "head")
    with pgbouncer(postgres_url, mode) as pooled, nothing_changes(postgres_url):
        before = settings_behind(pooled)
        result = run(*command.split(), url=pooled)
        assert result.exit_code == 1
        assert "Nothing was changed" in result.stderr
        assert "pooler" in result.stderr
        assert "MIGRATION_DATABASE_URL" in result.stderr
        assert settings_behind(pooled) == before


@pytest.mark.parametrize("mode", SHARING)
@pytest.mark.parametrize("command", ["up", "down", "status", "plan"])
def test_the_application_behind_the_same_pooler_does_not_notice_a_command(head_url, mode, command):
    with pgbouncer(head_url, mode, sessions=2) as pooled, application(pooled) as at_work:
        run(command, url=pooled)
        at_work.wait_for_rounds()


@pytest.mark.parametrize("mode", SHARING)
def test_a_shared_pool_is_detected_while_other_clients_use_it(base_url, mode):
    with pgbouncer(base_url, mode, sessions=4) as pooled, application(pooled), nothing_built(base_url):
        for _ in range(6):  # which session a client gets is chance: a single look may be lucky
            result = run("up", url=pooled)
            assert result.exit_code == 1
            assert "MIGRATION_DATABASE_URL" in result.stderr


@contextmanager
def nothing_built(url: str) -> Iterator[None]:
    """Check that the block creates no index and no record of one; rows may change."""
    before = indexes(url), revisions(url)
    yield
    assert (indexes(url), revisions(url)) == before


def test_an_empty_database_stays_empty_behind_a_pooler_that_shares_sessions(postgres_url):
    with pgbouncer(postgres_url, "transaction") as pooled, nothing_changes(postgres_url):
        assert run("up", url=pooled).exit_code == 1


def test_the_hint_helps(base_url):
    with (
        pgbouncer(base_url, "transaction") as pooled,
        running("up", url=pooled, MIGRATION_DATABASE_URL=base_url) as up,
    ):
        up.succeed()
    assert_all_valid(base_url)


def test_a_pooler_by_session_works(base_url):
    with pgbouncer(base_url, "session") as pooled:
        before = settings_behind(pooled)
        succeed("up", url=pooled)
        assert_all_valid(base_url)
        assert revisions(base_url).keys() == {BASE, HEAD}
        succeed("down", url=pooled)
        assert_none_exist(base_url)
        assert settings_behind(pooled) == before


def test_the_run_lock_holds_behind_a_pooler_by_session(base_url):
    with pgbouncer(base_url, "session") as pooled, old_snapshot(base_url), running("up", url=pooled):
        until_phase(base_url, "waiting for old snapshots")
        assert run("up", "--no-wait", url=base_url).exit_code == 5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("arguments", [("status",), ("plan",), ("plan", "down"), ("wait",)], ids=" ".join)
def test_reading_works_through_every_pooler_and_leaves_no_setting_behind(head_url, mode, arguments):
    with pgbouncer(head_url, mode) as pooled:
        before = settings_behind(pooled)
        with nothing_changes(head_url):
            assert run(*arguments, url=pooled).stdout.replace(pooled, "") == run(
                *arguments, url=head_url
            ).stdout.replace(head_url, "")
        assert settings_behind(pooled) == before


def test_verify_works_behind_a_pooler_by_transaction_and_leaves_nothing_behind(head_url):
    with pgbouncer(head_url, "transaction") as pooled:
        before = settings_behind(pooled)
        migrator = connect(pooled, read_only=True)
        with closing(migrator.database), nothing_changes(head_url):
            report = verify(migrator, QUERIES, models.TABLES, INDEXES)
        assert all(result.usable and result.generic for result in report.results)
        assert settings_behind(pooled) == before
        assert execute(pooled, "SELECT name FROM pg_prepared_statements") == []


def test_verify_behind_a_pooler_by_statement_is_refused(head_url):
    with pgbouncer(head_url, "statement") as pooled:
        migrator = connect(pooled, read_only=True)
        with closing(migrator.database), pytest.raises(StatementFailed) as raised:
            verify(migrator, QUERIES, models.TABLES, INDEXES)
        assert "Connect without a pooler, or with one that pools sessions" in str(raised.value.hint)
