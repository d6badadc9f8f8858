"""A second server for the tests, which requires passwords and also listens on a Unix socket and on IPv6."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import postgres_server
import psycopg2
import pytest
from psycopg2 import sql

# postgres needs no password, to make the other roles. The role missing does not exist.
ACCESS = """\
host all postgres,missing 127.0.0.1/32 trust
local all all scram-sha-256
host all all all scram-sha-256
"""


@dataclass(frozen=True)
class PasswordServer:
    """A running server. ``admin`` is the URL of the one role that needs no password."""

    admin: str
    port: int
    sockets: Path

    def add_role(self, name: str, password: str) -> None:
        """Make a role that may log in, and a database of the same name that it owns."""
        with closing(psycopg2.connect(self.admin)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute("SET password_encryption = 'scram-sha-256'")
            role = sql.Identifier(name)
            cursor.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password)))
            cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(role, role))

    def url(self, name: str, password: str, scheme: str = "postgresql", host: str = "127.0.0.1") -> str:
        """Return the URL of a role and its database, percent-encoded."""
        role = quote(name, safe="")
        return f"{scheme}://{role}:{quote(password, safe='')}@{host}:{self.port}/{role}"


@contextmanager
def running_password_server() -> Iterator[PasswordServer]:
    """Start the server on a free port of this machine."""
    binaries = postgres_server.own_binaries()
    with postgres_server.work_directory() as top, pytest.MonkeyPatch.context() as settings:
        account = postgres_server.unprivileged(top)
        binaries = postgres_server.executable_for(account, binaries, top)
        postgres_server.make_cluster(binaries, top / "data", account)
        (top / "data" / "pg_hba.conf").write_text(ACCESS)
        settings.setitem(postgres_server.SETTINGS, "listen_addresses", "127.0.0.1,::1")
        settings.setitem(postgres_server.SETTINGS, "unix_socket_directories", str(top))
        process, admin = postgres_server.start(binaries, top / "data", top / "log", account)
        try:
            yield PasswordServer(admin, urlsplit(admin).port or 0, top)
        finally:
            postgres_server.stop(process)


def loopback_hosts() -> list[str]:
    """Return the loopback addresses as URLs write them; IPv6 only if the machine has it."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return ["127.0.0.1"]
    return ["127.0.0.1", "[::1]"]
