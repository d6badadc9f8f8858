"""The databases of the tests. None is mocked; without PostgreSQL the tests fail and say why."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from command import is_postgres, make_crm, prepare
from memory import use_memory
from postgres_server import running_server
from roles import another_role, as_application, as_owner, make_roles, new_database
from scenes import Run, Server, own_server

pytest_plugins = ["workers", "bound_models"]
use_memory()

# A shell makes background processes ignore SIGINT, and their children inherit that. The tests of signals need the
# handlers of a foreground process.
for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(each) is signal.SIG_IGN:
        signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Yield the superuser's URL of a server: TEST_DATABASE_URL, or a server started for the tests."""
    given = os.environ.get("TEST_DATABASE_URL")
    with nullcontext(given) if given else running_server() as url:
        make_roles(url)
        yield url


@pytest.fixture(scope="session")
def template(postgres_server: str) -> Iterator[Callable[[str | None], str]]:
    """Yield a function that returns the name of a database to copy: one a preparation, made when it is first needed."""
    with ExitStack() as made:

        @cache
        def template_of(state: str | None) -> str:
            url = made.enter_context(new_database(postgres_server))
            if state:
                PREPARATIONS[state](as_owner(url))
            return urlsplit(url).path[1:]

        yield template_of


PREPARATIONS: dict[str, Callable[[str], None]] = {
    "base": lambda url: prepare(url, "base"),
    "head": prepare,
    "crm": make_crm,
}
PREPARED = {"base_url": "base", "any_base_url": "base", "head_url": "head", "any_head_url": "head"}
PREPARED |= {"crm": "crm", "any_crm": "crm"}


@pytest.fixture
def superuser_url(request: pytest.FixtureRequest, postgres_server: str, template: Callable) -> Iterator[str]:
    """Yield the superuser's URL of the database of postgres_url. A test that uses it says why."""
    state = next((PREPARED[name] for name in request.fixturenames if name in PREPARED), None)
    with new_database(postgres_server, template(state)) as url:
        yield url


@pytest.fixture
def postgres_url(superuser_url: str) -> str:
    """Return the owner's URL of a new, empty PostgreSQL database, which is dropped after the test even if in use."""
    return as_owner(superuser_url)


@pytest.fixture
def app_url(superuser_url: str) -> str:
    """Return the URL of the same database for the application, which may read and write the owner's tables."""
    return as_application(superuser_url)


@pytest.fixture(autouse=True)
def _real_start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Obey the marker real_start."""
    if request.node.get_closest_marker("real_start"):
        monkeypatch.setattr(Run, "starts_really", True)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Return the URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'crm.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty database; the test runs on SQLite and on PostgreSQL."""
    return request.getfixturevalue({"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param])


@pytest.fixture
def base_url(postgres_url: str) -> str:
    """Return the URL of a PostgreSQL database at the base revision: the seven tables without the ten indexes."""
    return postgres_url


@pytest.fixture
def head_url(postgres_url: str) -> str:
    """Return the URL of a PostgreSQL database at the head revision, with the ten indexes."""
    return postgres_url


@pytest.fixture
def sqlite_base_url(sqlite_url: str) -> str:
    """Return the URL of a SQLite file at the base revision."""
    prepare(sqlite_url, "base")
    return sqlite_url


@pytest.fixture
def sqlite_head_url(sqlite_url: str) -> str:
    """Return the URL of a SQLite file at the head revision."""
    prepare(sqlite_url)
    return sqlite_url


@pytest.fixture
def any_base_url(database_url: str) -> str:
    """Return the URL of a database at the base revision; the test runs on SQLite and on PostgreSQL."""
    if not is_postgres(database_url):
        prepare(database_url, "base")
    return database_url


@pytest.fixture
def any_head_url(database_url: str) -> str:
    """Return the URL of a database at the head revision; the test runs on SQLite and on PostgreSQL."""
    if not is_postgres(database_url):
        prepare(database_url)
    return database_url


@pytest.fixture
def crm(postgres_url: str) -> str:
    """Return the URL of a PostgreSQL database with the tables of another tool."""
    return postgres_url


@pytest.fixture
def sqlite_crm(sqlite_url: str) -> str:
    """Return the URL of a SQLite file with the tables of another tool."""
    make_crm(sqlite_url)
    return sqlite_url


@pytest.fixture
def any_crm(database_url: str) -> str:
    """Return the URL of a database with the tables of another tool; the test runs on SQLite and on PostgreSQL."""
    if not is_postgres(database_url):
        make_crm(database_url)
    return database_url


@pytest.fixture(scope="module")
def fragile_server() -> Iterator[Server]:
    """Yield a server that may crash."""
    with own_server() as server:
        yield server


@pytest.fixture
def fragile_url(fragile_server: Server) -> Iterator[str]:
    """Yield the URL of a database on it at the base revision."""
    with fragile_server.new_database() as url:
        yield url


@pytest.fixture
def role(superuser_url: str) -> Iterator[str]:
    """Yield a role that may log in and owns nothing. It is dropped after the test with everything it owns."""
    with another_role(superuser_url, "GRANT USAGE, CREATE ON SCHEMA public TO {role}") as name:
        yield name
