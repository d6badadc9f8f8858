"""Database URLs: every supported form connects; every other one is one clear sentence without the password."""

import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest
from command import CLI, Result, run
from password_server import PasswordServer, loopback_hosts, running_password_server

from indexer.connection import connect

SPECIAL = "@:/?#%"  # what ends a user or a password early, unless it is encoded
SECRET = "Tr0ub4dor"
NOTHING_THERE_YET = 3  # how `status` exits once it has reached an empty database
SCHEMES = (
    "postgres",
    "postgresql",
    "postgresql+psycopg2",
    "postgresql+psycopg",
    "postgres+pool",
    "postgresext",
    "postgresqlext+pool",
    "psycopg3",
    "PostgreSQL",
)


@pytest.fixture(scope="module")
def server() -> Iterator[PasswordServer]:
    """Yield a server on which `clerk` and `builder` have the password SECRET; the clerk's database stays empty."""
    with running_password_server() as started:
        started.add_role("clerk", SECRET)
        started.add_role("builder", SECRET)
        yield started


@pytest.fixture(autouse=True)
def _libpq_knows_only_the_url(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))


def cli(*arguments: str, folder: Path, **variables: str) -> Result:
    """Run the command line in a folder, with only the given variables about databases in the environment."""
    environment = {name: value for name, value in os.environ.items() if "DATABASE_URL" not in name}
    done = subprocess.run(
        [sys.executable, CLI, *arguments],
        cwd=folder,
        env={**environment, **variables},
        capture_output=True,
        text=True,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def reaches(url: str) -> bool:
    """Return whether `status` reaches an empty database, and names it without a password."""
    result = run("status", url=url)
    return (
        result.exit_code == NOTHING_THERE_YET
        and "has none of the tables" in result.lines[0]
        and SECRET not in result.stdout
    )


def refused(url: str, exit_code: int, *words: str) -> None:
    """Check that `up` says in one sentence and one hint what is wrong with a URL, on stderr alone."""
    result = run("up", url=url)
    assert (result.exit_code, result.stdout) == (exit_code, ""), result
    sentence, hint = result.stderr.splitlines()
    assert re.fullmatch(r"Error: .+\.", sentence)
    assert hint
    assert [word for word in words if word not in sentence] == []
    assert SECRET not in result.stderr


# SQLite --------------------------------------------------------------------------------------------------------------


def test_three_slashes_name_a_file_in_the_current_directory(tmp_path):
    assert cli("up", "--database-url", "sqlite:///here.db", folder=tmp_path).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["here.db"]


def test_four_slashes_name_a_file_by_its_absolute_path(tmp_path):
    assert run("up", url=f"sqlite:///{tmp_path}/there.db").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["there.db"]


def test_a_sqlite_path_may_contain_spaces_and_other_letters(tmp_path):
    assert run("up", url=f"sqlite:///{tmp_path}/my crm é.db").exit_code == 0
    assert (tmp_path / "my crm é.db").exists()


def test_a_directory_is_refused(tmp_path):
    refused(f"sqlite:///{tmp_path}", 7, "is a directory")


def test_a_missing_directory_is_not_made(tmp_path):
    refused(f"sqlite:///{tmp_path}/missing/crm.db", 7, "there is no directory", str(tmp_path / "missing"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_a_database_is_refused_unchanged(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("Nothing that SQLite wrote.\n" * 100)
    refused(f"sqlite:///{notes}", 7, "notes.txt", "not a database")
    assert notes.read_text() == "Nothing that SQLite wrote.\n" * 100
    assert list(tmp_path.iterdir()) == [notes]


def test_a_damaged_database_is_one_clear_sentence(tmp_path):
    file = tmp_path / "crm.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE contact (id integer)")
    content = file.read_bytes()
    file.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    refused(f"sqlite:///{file}", 7, "malformed")
    assert (
        f"The file is damaged. Restore a backup, or save the rows that can be read in another file: sqlite3 {file}"
        in (run("check", url=f"sqlite:///{file}").stderr)
    )


@pytest.mark.parametrize("url", ["sqlite://crm.db", "sqlite://", f"sqlite://clerk:{SECRET}@localhost/crm"])
def test_two_slashes_are_one_too_few(url):
    refused(url, 2, "names no file")


@pytest.mark.parametrize("url", ["sqlite:///:memory:", "sqlite:///"])
def test_a_database_in_memory_is_refused(url):
    refused(url, 2, "ends with the command")


def test_a_sqlite_url_takes_no_parameters():
    refused("sqlite:///crm.db?mode=ro", 2, "parameters")


# PostgreSQL ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_of_postgresql_connects(server, scheme):
    assert reaches(server.url("clerk", SECRET, scheme=scheme))


@pytest.mark.parametrize("special", [*SPECIAL, SPECIAL, " ", "é"])
def test_an_encoded_user_password_and_database_connect(server, special):
    name, password = f"cl{special}erk", f"{special}pass{special}word"
    server.add_role(name, password)
    assert reaches(server.url(name, password))


def test_special_characters_work_with_every_scheme(server):
    name, password = "all" + SPECIAL, SPECIAL * 2
    server.add_role(name, password)
    assert all(reaches(server.url(name, password, scheme=scheme)) for scheme in SCHEMES)


@pytest.mark.parametrize("host", loopback_hosts())
def test_an_address_of_this_machine_connects_and_is_shown_as_given(server, host):
    url = server.url("clerk", SECRET, host=host)
    assert reaches(url)
    assert run("status", "--json", url=url).json()["database"].startswith(url.replace(f":{SECRET}", ""))


def test_a_unix_socket_is_the_parameter_host(server):
    assert reaches(f"postgresql://clerk:{SECRET}@/clerk?host={server.sockets}&port={server.port}")


def test_a_unix_socket_may_be_encoded_as_the_host(server):
    assert reaches(server.url("clerk", SECRET, host=str(server.sockets).replace("/", "%2F")))


def test_user_and_password_may_be_parameters(server):
    assert reaches(f"postgresql://127.0.0.1:{server.port}/clerk?user=clerk&password={SECRET}")


def test_the_next_host_is_tried_when_one_refuses(server):
    assert reaches(f"postgresql://clerk:{SECRET}@127.0.0.1:1,127.0.0.1:{server.port}/clerk")


@pytest.mark.parametrize(
    ("connects", "fails", "words"),
    [
        ("sslmode=disable", "sslmode=require", "SSL"),
        ("target_session_attrs=read-write", "target_session_attrs=read-only", "read-only"),
        ("connect_timeout=5", "connect_timeout=soon", "connect_timeout"),
    ],
)
def test_a_parameter_reaches_libpq(server, connects, fails, words):
    url = server.url("clerk", SECRET)
    assert reaches(f"{url}?{connects}")
    refused(f"{url}?{fails}", 7, words)


@pytest.mark.parametrize(("query", "name"), [("", "indexer"), ("?application_name=nightly", "nightly")])
def test_the_session_has_the_application_name_of_the_url_or_the_default(server, query, name):
    database = connect(server.url("clerk", SECRET) + query).database
    with closing(database):
        assert database.execute_sql("SHOW application_name").fetchone() == (name,)


def test_connect_timeout_ends_the_wait_for_a_host_that_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        refused(f"postgresql://clerk:{SECRET}@127.0.0.1:{port}/clerk?connect_timeout=1", 7, "timeout")


@pytest.mark.parametrize("parameter", ["connect_timeout", "keepalives_idle"])
def test_a_connection_parameter_in_the_url_wins_over_the_default(server, parameter):
    database = connect(server.url("clerk", SECRET) + f"?{parameter}=7").database
    with closing(database):
        assert database.connection().get_dsn_parameters()[parameter] == "7"


# What cannot work ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["mysql", "cockroachdb+pool", "mssql+pyodbc", "http", ""])
def test_a_scheme_that_is_not_supported_is_named(scheme):
    refused(f"{scheme}://clerk:{SECRET}@localhost/crm", 2, f"'{scheme}'")


@pytest.mark.parametrize("scheme", ["postgresql+asyncpg", "postgres+pg8000", "sqlite+aiosqlite"])
def test_the_hint_leaves_out_an_unsupported_driver(scheme):
    url = f"{scheme}://clerk:{SECRET}@localhost/crm"
    base, driver = scheme.split("+")
    refused(url, 2, f"the driver {driver}")
    assert run("up", url=url).stderr.splitlines()[1] == f"Leave +{driver} out: {base}://..."


@pytest.mark.parametrize("scheme", ["sqlite+pysqlite", "sqlite+pool", "SQLITE"])
def test_other_schemes_of_sqlite_open_the_file(scheme, tmp_path):
    assert cli("up", "--database-url", f"{scheme}:///here.db", folder=tmp_path).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["here.db"]


def test_parameters_of_peewees_pool_are_left_out(server):
    url = server.url("clerk", SECRET, scheme="postgres+pool")
    assert reaches(f"{url}?max_connections=20&stale_timeout=300&connect_timeout=5&timeout=3")


@pytest.mark.parametrize(
    "url", ["crm.db", "/data/crm.db", f"clerk:{SECRET}@localhost/crm", f"postgresql:clerk:{SECRET}@x"]
)
def test_a_url_without_a_scheme_is_refused(url):
    refused(url, 2, "no scheme")


@pytest.mark.parametrize("end", ["", "/", "/?sslmode=disable"])
def test_a_url_without_a_database_is_refused(server, end):
    refused(f"postgresql://clerk:{SECRET}@127.0.0.1:{server.port}{end}", 2, "names no database")


def test_an_unknown_database_is_named(server):
    refused(f"postgresql://clerk:{SECRET}@127.0.0.1:{server.port}/nowhere", 7, '"nowhere" does not exist')


def test_an_unknown_role_is_named(server):
    refused(server.url("unknown", SECRET), 7, "password authentication failed", '"unknown"')


def test_an_unknown_role_is_named_if_no_password_is_required(server):
    refused(server.url("missing", SECRET), 7, 'role "missing" does not exist')


def test_a_wrong_password_is_not_repeated(server):
    refused(server.url("clerk", SECRET + "x"), 7, "password authentication failed", '"clerk"')


def test_a_missing_password_is_asked_for(server):
    refused(f"postgresql://clerk@127.0.0.1:{server.port}/clerk", 7, "no password supplied")


def test_a_password_may_come_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", SECRET)
    assert reaches(f"postgresql://clerk@127.0.0.1:{server.port}/clerk")


def test_a_refused_connection_says_where(server):
    with socket.socket() as bound:  # a port that is taken, but not listened on
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        refused(f"postgresql://clerk:{SECRET}@127.0.0.1:{port}/crm", 7, f"127.0.0.1:{port}/crm", "refused")


def test_a_server_that_is_not_postgresql_is_distinguished_from_a_wrong_parameter():
    with socket.create_server(("127.0.0.1", 0)) as web:

        def answer() -> None:
            client, _ = web.accept()
            with client:
                client.recv(1024)
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        Thread(target=answer, daemon=True).start()
        result = run("status", url=f"postgresql://clerk@127.0.0.1:{web.getsockname()[1]}/crm")
    assert result.exit_code == 7
    assert "Check host and port" in result.stderr


def test_a_missing_socket_is_one_clear_sentence(tmp_path):
    refused(f"postgresql://clerk:{SECRET}@/crm?host={tmp_path}", 7, "No such file or directory")


def test_an_unknown_host_is_named():
    refused(f"postgresql://clerk:{SECRET}@no-such-host.invalid/crm", 7, "no-such-host.invalid")


@pytest.mark.parametrize("port", ["abc", "-1", "5432x", "99999", "0"])
def test_a_port_that_is_not_a_number_is_refused(port):
    result = run("up", url=f"postgresql://clerk:{SECRET}@127.0.0.1:{port}/crm")
    assert result.exit_code in (2, 7)
    assert "port" in result.stderr.splitlines()[0]
    assert SECRET not in result.stderr


def test_an_unknown_parameter_is_named_with_a_hint_about_parameters():
    url = f"postgresql://clerk:{SECRET}@localhost/crm?sslmod=require"
    refused(url, 2, "sslmod")
    assert "parameters after the question mark" in run("up", url=url).stderr


def test_a_service_of_libpq_names_the_database(server, tmp_path, monkeypatch):
    file = tmp_path / "services"
    file.write_text(f"[crm]\nhost=127.0.0.1\nport={server.port}\nuser=clerk\npassword={SECRET}\ndbname=clerk\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    assert reaches("postgresql://?service=crm")
    monkeypatch.setenv("PGSERVICE", "crm")
    assert reaches("postgresql://")
    monkeypatch.delenv("PGSERVICE")
    assert "PGSERVICEFILE" in run("status", url="postgresql://?service=unknown").stderr


def test_pgdatabase_names_the_database(server, monkeypatch):
    monkeypatch.setenv("PGDATABASE", "clerk")
    assert reaches(f"postgresql://clerk:{SECRET}@127.0.0.1:{server.port}")


def test_a_passfile_holds_the_password(server, tmp_path, monkeypatch):
    file = tmp_path / "passfile"
    file.write_text(f"127.0.0.1:{server.port}:clerk:clerk:{SECRET}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    assert reaches(f"postgresql://clerk@127.0.0.1:{server.port}/clerk")


# Passwords -----------------------------------------------------------------------------------------------------------

BARE = [f"postgresql://clerk:{SECRET}{special}{SECRET}@127.0.0.1:1/crm" for special in SPECIAL]
MISPLACED = [
    f"postgresql://clerk:{SPECIAL}{SECRET}@127.0.0.1:1/crm",
    f"postgresql://clerk:{SECRET}%zz@127.0.0.1:1/crm",
    f"postgresql://clerk:{SECRET}@[::1/crm",
    f"postgresql://clerk:{SECRET}@127.0.0.1:port/crm",
    f"postgresql://clerk:{SECRET}%40127.0.0.1:1/crm",
    f"postgresql://clerk:{SECRET}%40localhost/crm",
    f"postgresql://clerk:x{SECRET}y%40127.0.0.1:1,127.0.0.1:1/crm",
    f"postgresql://clerk@127.0.0.1:1/crm?password={SECRET}",
    f"postgresql://clerk@127.0.0.1:1/crm?password={SECRET}%zz",
    f"postgresql://clerk@127.0.0.1:1/crm?password={SECRET}&frobnicate=1",
    f"mysql://clerk:{SECRET}@127.0.0.1/crm",
    f"clerk:{SECRET}@127.0.0.1/crm",
    f"clerk:{SECRET}://127.0.0.1/crm",
    f"sqlite://clerk:{SECRET}@127.0.0.1/crm",
]


@pytest.mark.parametrize("url", [*BARE, *MISPLACED])
def test_a_password_is_never_printed_wherever_it_lands(url, tmp_path):
    result = cli("up", "--database-url", url, folder=tmp_path)
    assert result.exit_code in (2, 7)
    assert result.stdout == ""
    assert SECRET not in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("url", [*BARE, *MISPLACED])
def test_a_password_is_not_printed_with_a_traceback_or_in_a_document_either(url, tmp_path):
    result = cli("up", "--verbose", "--json", "--database-url", url, folder=tmp_path)
    assert result.exit_code in (2, 7)
    assert "Traceback" in result.stderr
    assert result.json()["exit_code"] == result.exit_code
    assert SECRET not in result.stdout + result.stderr


def test_a_wrong_password_is_not_printed_with_a_traceback_or_in_a_document_either(server, tmp_path):
    url = server.url("clerk", SECRET + "x")
    result = cli("up", "--verbose", "--json", "--database-url", url, folder=tmp_path)
    assert result.exit_code == result.json()["exit_code"] == 7
    assert SECRET not in result.stdout + result.stderr


@pytest.mark.parametrize("options", [(), ("--json", "--verbose")], ids=["plain", "json"])
def test_no_command_prints_the_password_of_a_database_it_works_on(server, options):
    for command in ("plan", "up", "status", "down"):
        assert SECRET not in str(run(command, *options, url=server.url("builder", SECRET)))


# Which URL -----------------------------------------------------------------------------------------------------------

OPTION, MIGRATION, APPLICATION = "sqlite:///option.db", "sqlite:///migration.db", "sqlite:///application.db"


@pytest.mark.parametrize(
    ("arguments", "variables", "file"),
    [
        ((), {}, "crm.db"),
        ((), {"DATABASE_URL": APPLICATION}, "application.db"),
        ((), {"DATABASE_URL": APPLICATION, "MIGRATION_DATABASE_URL": MIGRATION}, "migration.db"),
        (
            ("--database-url", OPTION),
            {"DATABASE_URL": APPLICATION, "MIGRATION_DATABASE_URL": MIGRATION},
            "option.db",
        ),
    ],
    ids=["none", "DATABASE_URL", "MIGRATION_DATABASE_URL", "the option"],
)
def test_the_option_wins_over_the_migration_url_and_that_over_the_applications(tmp_path, arguments, variables, file):
    assert cli("up", *arguments, folder=tmp_path, **variables).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_without_a_url_one_line_says_which_file_is_used(tmp_path):
    result = cli("up", "--json", folder=tmp_path)
    assert result.stderr == f"No database URL is given: using the file {tmp_path}/crm.db.\n"
    assert cli("up", folder=tmp_path, DATABASE_URL=APPLICATION).stderr == ""


@pytest.mark.parametrize("name", ["DATABASE_URL", "MIGRATION_DATABASE_URL", "DATABASE_URL_FILE"])
@pytest.mark.parametrize("value", ["", "  ", "\n"])
@pytest.mark.parametrize("command", ["up", "status", "wait"])
def test_a_variable_that_is_set_and_empty_is_a_mistake(tmp_path, command, name, value):
    result = cli(command, folder=tmp_path, **{name: value})
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{name} is set but empty." in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ['""', "''"])
def test_an_option_that_is_empty_is_a_mistake(tmp_path, value):
    result = cli("up", "--database-url", value, folder=tmp_path)
    assert (result.exit_code, result.stderr.splitlines()[0]) == (2, "Error: --database-url is set but empty.")


@pytest.mark.parametrize("form", [" {} ", "{}\n", '"{}"', "'{}'\r\n"])
def test_blanks_and_quotes_around_a_url_are_dropped(tmp_path, form):
    assert cli("up", folder=tmp_path, DATABASE_URL=form.format(APPLICATION)).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["application.db"]


@pytest.mark.parametrize("name", ["DATABASE_URL", "MIGRATION_DATABASE_URL"])
def test_a_file_with_the_url_wins_over_the_variable(tmp_path, name):
    (tmp_path / "secret").write_text(f"{MIGRATION}\n")
    (tmp_path / "work").mkdir()
    variables = {name: APPLICATION, f"{name}_FILE": str(tmp_path / "secret")}
    assert cli("up", folder=tmp_path / "work", **variables).exit_code == 0
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["migration.db"]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    result = cli("up", folder=tmp_path, DATABASE_URL_FILE=str(tmp_path / "missing"))
    assert result.exit_code == 2
    assert f"{tmp_path}/missing, named by DATABASE_URL_FILE, cannot be read: No such file" in result.stderr


@pytest.mark.parametrize("content", ["", " \n"])
def test_a_file_that_is_empty_is_a_mistake(tmp_path, content):
    (tmp_path / "secret").write_text(content)
    result = cli("up", folder=tmp_path, DATABASE_URL_FILE=str(tmp_path / "secret"))
    assert result.exit_code == 2
    assert f"{tmp_path}/secret, named by DATABASE_URL_FILE, is empty." in result.stderr
