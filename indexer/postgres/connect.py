"""Opening a PostgreSQL session: libpq reads the URL, and no message of ours repeats a secret from it."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from urllib.parse import parse_qsl, quote, unquote

import psycopg2
from peewee import DatabaseError
from psycopg2.extensions import libpq_version, parse_dsn

from indexer.errors import Unreachable, UsageError
from indexer.events import Report, silent
from indexer.postgres.database import UNNAMED, OnlineDatabase
from indexer.postgres.migrator import OnlineMigrator
from indexer.signals import Stop
from indexer.text import identifier, visible

# What a URL leaves out. Keepalives: a server that is gone without a word is known to be gone after half a minute.
DEFAULTS = {
    "connect_timeout": "10",
    "application_name": UNNAMED,
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    **({"tcp_user_timeout": "30000"} if libpq_version() >= 120000 else {}),
}

NO_POSTGRES = "Check host and port in the database URL: what answers there is no PostgreSQL server."

# What libpq says, what to do about it, and whether waiting may help.
REASONS = (
    ("response to SSL negotiation", NO_POSTGRES, False),
    ("expected authentication request", NO_POSTGRES, False),
    (
        "definition of service",
        "Check the name of the service, and that PGSERVICEFILE or ~/.pg_service.conf defines it.",
        False,
    ),
    ("invalid ", "Check the parameters in the database URL.", False),
    ("password authentication failed", "Check the user and the password in the database URL.", False),
    ("no password supplied", "Put the password into the database URL or into PGPASSWORD.", False),
    ("authentication failed", "Check the user in the database URL, and the server's pg_hba.conf.", False),
    ("pg_hba.conf", "The server's pg_hba.conf does not let this host and user in.", False),
    (
        "too many connections for role",
        "Wait for a connection to become free, or ALTER ROLE ... CONNECTION LIMIT.",
        True,
    ),
    (
        "too many connections for d",
        "Wait for a connection to become free, or ALTER DATABASE ... CONNECTION LIMIT.",
        True,
    ),
    (
        "permission denied for database",
        "Its owner gives the right: GRANT CONNECT ON DATABASE {database} TO {role};",
        False,
    ),
    (
        "permission denied for function ",  # in the first statement of the session
        "A superuser gives the right: GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {role};",
        False,
    ),
    ('database "', "Create the database, or correct the name at the end of the database URL.", False),
    ("not permitted to log in", "Name a role that may log in, or: ALTER ROLE {role} LOGIN;", False),
    ('role "', "Create the role, or correct the user in the database URL.", False),
    ("onnection refused", "Is the server running, and are host and port right?", True),
    ("could not translate host name", "Check the host in the database URL.", True),
    ("No such file or directory", "Is the server running, and is the socket's directory right?", True),
    ("timeout", "Is the server running, and does the network let us through?", True),
    ("too many c", "Wait for connections to become free, or raise max_connections.", True),
    ("remaining connection slots", "Wait for connections to become free, or raise max_connections.", True),
    ("the database system is", "Wait a moment and run the same command again.", True),
    ("server closed the connection", "Wait a moment and run the same command again.", True),
    (
        "did not answer",
        "Look at the server's load and at the size of the pool; then run the same command again.",
        True,
    ),
    ("SSL", "Check sslmode in the database URL.", False),
    ("unsupported startup parameter", "Connect to the server directly, not through a pooler.", False),
)
PARAMETERS = "Check the parameters after the question mark: they are libpq's, such as sslmode or connect_timeout."
UNKNOWN = (
    "",
    "Check host, port, user, password and database in the database URL, and look into the server's log.",
    False,
)

# Parameters of peewee's own in a URL (playhouse.db_url): they are about its pool, and libpq does not know them.
OF_PEEWEE = ("max_connections", "stale_timeout", "timeout", "autorollback", "register_hstore", "server_side_cursors")


def open_postgres(
    rest: str,
    schema: str | None,
    read_only: bool,
    pooled: bool = False,
    report: Report = silent,
    stop: Stop | None = None,
    within: float | None = None,
) -> OnlineMigrator:
    """Open a session for what comes after ``postgresql://``, which may hold any libpq parameter in its query.

    Args:
        rest: user, password, host, port, database and parameters.
        schema: the schema of the tables; None looks for them on the search path.
        read_only: the session can change nothing.
        pooled: the URL is for peewee's pool, and may hold parameters of peewee's own.
        report: called when the server gives no answer.
        stop: ends a statement that gets no answer.
        within: how many seconds the first session may take to open, if that is less than the URL allows.
    """
    parameters = _parameters(_without(rest, OF_PEEWEE) if pooled else rest)
    address = _address(parameters)
    # libpq may know the name of the database from a service file or from PGDATABASE: None leaves that to it.
    database = OnlineDatabase(
        parameters.get("dbname") or "postgresql",
        read_only=read_only,
        report=report,
        stop=stop,
        **{**DEFAULTS, "dbname": None, **parameters, "client_encoding": "UTF8"},
    )

    def connect(within: float | None = None) -> None:
        try:
            with database.opening_within(within):
                database.connect()
        except DatabaseError as error:
            database.close()
            reason = _without_secrets(_one_sentence(str(error)), parameters)
            _, hint, can_heal = next((known for known in REASONS if known[0] in reason), UNKNOWN)
            info = {
                "database": parameters.get("dbname", "..."),
                "role": parameters.get("user", "..."),
                "function": reason.rpartition(" ")[2],
            }
            hint = hint.format(**{name: identifier(value) for name, value in info.items()})
            raise Unreachable(f"Cannot connect to {address}: {reason}.", hint, can_heal) from error

    connect(within)
    return OnlineMigrator(database, address, schema, connect)


def _without(rest: str, names: Collection[str]) -> str:
    """Return a URL without some parameters of its query."""
    path, question, query = rest.partition("?")
    kept = [each for each in query.split("&") if each.partition("=")[0] not in names]
    return path + (question + "&".join(kept) if any(kept) else "")


def _parameters(rest: str) -> dict[str, str]:
    """The URL taken apart by libpq, once nothing in it can end up in the wrong part."""
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    hosts = authority.rpartition("@")[2].split(",")
    # All that comes after the first colon is the port to libpq, and it may be a password whose @ was encoded.
    ports = [port for host in hosts for port in re.findall(r"^(?:\[[^\]]*\]|[^:]*):(.*)$", host)]
    if authority.count("@") > 1 or "@" in rest[len(authority) :].partition("?")[0] or not all(map(_is_port, ports)):
        raise UsageError(
            "The user or password in the database URL holds a character that ends it early, or the port is no number.",
            "Write @ as %40, : as %3A, / as %2F, ? as %3F, # as %23 and % as %25.",
        )
    try:
        parameters: dict[str, str] = parse_dsn(f"postgresql://{rest}")
    except psycopg2.ProgrammingError as error:
        # What libpq could not read, it quotes, and that may be a part of the password: names of parameters stay.
        names = (name for name, _ in parse_qsl(rest.partition("?")[2], keep_blank_values=True))
        known = set(filter(str.isidentifier, names))
        reason = re.sub(r'"([^"]*)"', lambda quoted: quoted[0] if quoted[1] in known else "...", str(error))
        unknown = "query parameter" in reason
        raise UsageError(
            f"The database URL cannot be read: {_one_sentence(reason.removeprefix('invalid dsn: '))}.",
            PARAMETERS if unknown else "Use postgresql://user:password@host:5432/name, with % in a password as %25.",
        ) from None
    named_elsewhere = (parameters.get("service"), *map(os.environ.get, ("PGDATABASE", "PGSERVICE")))
    if not any((parameters.get("dbname"), *named_elsewhere)):
        raise UsageError("The database URL names no database.", f"Add one at the end: {_address(parameters)}/NAME")
    return parameters


def _is_port(text: str) -> bool:
    return text == "" or text.isdigit()


def _address(parameters: dict[str, str]) -> str:
    """The URL for people: who, where and which database, nothing else."""
    user = quote(parameters.get("user", ""), safe="")
    hosts = parameters.get("host", parameters.get("hostaddr", "")).split(",")
    ports = parameters.get("port", "").split(",")
    ports += [ports[-1]] * (len(hosts) - len(ports))
    places = ",".join(_place(host, port) for host, port in zip(hosts, ports, strict=False))
    name = quote(parameters.get("dbname") or os.environ.get("PGDATABASE", ""), safe="")
    service = parameters.get("service") or os.environ.get("PGSERVICE")
    if service and not name:
        return f"postgresql://{user}{'@' if user else ''}{places}?service={quote(service, safe='')}"
    return f"postgresql://{user}{'@' if user else ''}{places}" + (f"/{name}" if name else "")


def _place(host: str, port: str) -> str:
    bracketed = f"[{host}]" if ":" in host else quote(host, safe="")
    return bracketed + (f":{port}" if port else "")


def _one_sentence(text: str) -> str:
    """libpq's message without its line breaks, advice and repeated addresses."""
    lines = [line for line in text.strip().splitlines() if line.strip() and not line.startswith("\t")]
    reasons = [re.sub(r"^(connection to server .*? failed: )?((FATAL|ERROR):\s+)?", "", line) for line in lines]
    return visible("; ".join(dict.fromkeys(reasons)).rstrip("."))


def _without_secrets(text: str, parameters: dict[str, str]) -> str:
    secrets = {parameters[name] for name in ("password", "sslpassword") if parameters.get(name)}
    for secret in secrets | {unquote(secret) for secret in secrets}:
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
    return text
