"""The command serve as a user starts and stops it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from command import CLI, execute, prepare, run
from password_server import running_password_server
from scenes import Run, frozen, running, until
from served import address_of

from indexer.cli import service
from indexer.cli.running import Call
from indexer.cli.targets import Target
from indexer.console.hints import HintWriter
from indexer.errors import IndexerError
from indexer.project import Project
from indexer.service.address import Address


@contextmanager
def served(*options: str, url: str, **environment: str) -> Iterator[tuple[Run, str]]:
    """Run ``serve`` on a free port, and yield it with its URL once it answers."""
    with running("serve", "--port", "0", "--interval", "1", *options, url=url, **environment) as run:
        yield run, address_of(run)


def ask(url: str) -> tuple[int, str]:
    """Return the status and the content of an answer."""
    try:
        with urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as refused:
        return refused.code, refused.read().decode()


def test_the_gate_opens_while_the_service_runs_and_sigterm_ends_it_at_once(any_base_url):
    with served(url=any_base_url) as (run, url):
        until(lambda: ask(f"{url}/readyz")[0] == 200)
        status, body = ask(f"{url}/gate")
        assert (status, json.loads(body)["commands"]) == (503, ["python cli.py up"])
        prepare(any_base_url)
        until(lambda: ask(f"{url}/gate")[0] == 200)
        run.send(signal.SIGTERM)
        result = run.end()
    assert (result.exit_code, result.stdout) == (143, "")
    assert result.stderr.splitlines()[-1] == "Stopped by SIGTERM."
    assert execute(any_base_url, "SELECT count(*) FROM schema_revision") == [(2,)]


def test_sigterm_ends_it_within_a_second_while_the_database_gives_no_answer(head_url):
    with served(url=head_url) as (run, url):
        until(lambda: ask(f"{url}/readyz")[0] == 200)
        ((pid,),) = execute(head_url, "SELECT pid FROM pg_stat_activity WHERE application_name = 'indexer serve'")
        with frozen(pid):
            taken = json.loads(ask(f"{url}/status.json")[1])["snapshot"]["taken_at"]
            time.sleep(1.5)  # the next read has begun, and hangs
            assert json.loads(ask(f"{url}/status.json")[1])["snapshot"]["taken_at"] == taken
            run.send(signal.SIGTERM)
            run.wait(1)
            assert run.process.poll() == 143


def test_a_new_password_in_the_file_of_the_url_comes_into_effect(tmp_path):
    with running_password_server() as server:
        server.add_role("monitor", "old")
        file = tmp_path / "url"
        file.write_text(server.url("monitor", "old"))
        with served(url="sqlite:///ignored.db", DATABASE_URL_FILE=str(file)) as (run, url):
            until(lambda: ask(f"{url}/readyz")[0] == 200)
            execute(server.admin, "ALTER ROLE monitor PASSWORD 'new'")
            execute(server.admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'monitor'")
            until(lambda: "indexer_up 0.0" in ask(f"{url}/metrics")[1])
            file.write_text(server.url("monitor", "new"))
            until(lambda: "indexer_up 1.0" in ask(f"{url}/metrics")[1])
            assert not {"old", "new"} & set(ask(f"{url}/status.json")[1].split())
            run.send(signal.SIGINT)
            result = run.end()
    assert result.exit_code == 130
    assert "password authentication failed" in result.stderr
    assert "The database can be read again" in result.stderr


def test_a_log_in_json_has_what_the_service_does(sqlite_url):
    with running("serve", "--port", "0", "--log-format", "json", url=sqlite_url) as run:
        until(lambda: run._errors)
        run.send(signal.SIGTERM)
        result = run.end()
    started, ended = [json.loads(line) for line in result.stderr.splitlines()]
    assert started["url"].startswith("http://127.0.0.1:")
    assert (ended["event"], ended["level"], ended["signal"]) == ("ServiceEnded", "info", "SIGTERM")


@pytest.mark.parametrize(
    ("options", "exit_code", "message"),
    [
        (("--schema", "a", "--schema", "b"), 2, "The service is for one schema."),
        (("--host", "no.such.host.invalid"), 2, "There is no host 'no.such.host.invalid' to listen on."),
        (("--port", "65536"), 2, "65536 is not in the range"),
        (("--interval", "0"), 2, "0"),
        (("--database-url", "mysql://u@h/d"), 2, "The scheme 'mysql' is not supported."),
        (("--allow-host", "crm", "--allow-host", "crm:8080"), 2, "'crm:8080' is not the name of a host."),
        (("--allow-host", "*"), 2, "'*' is not the name of a host."),
        (("--host", "203.0.113.1", "--port", "0"), 1, "Cannot listen on 203.0.113.1, port 0: Cannot assign"),
    ],
)
def test_what_cannot_be_served_is_refused(sqlite_url, options, exit_code, message):
    result = run("serve", *options, url=sqlite_url)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert message in result.stderr


def test_a_package_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(service.NEEDED, "no_such_package", "no-such-package>=1")
    call = Call(Project(str(tmp_path)), Target(), HintWriter("indexer"))
    with pytest.raises(IndexerError, match="The service needs no_such_package") as error:
        service.serve(call, Address("127.0.0.1", 0), 5, False)
    assert str(error.value.hint) == "Install it: pip install 'no-such-package>=1'"


def test_the_packages_to_install_are_those_of_the_requirements():
    requirements = (CLI.parent / "requirements-serve.txt").read_text().split()
    assert sorted(service.NEEDED.values()) == requirements
