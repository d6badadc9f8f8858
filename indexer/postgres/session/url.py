"""Reads a PostgreSQL URL with libpq, and shows neither it nor a message about it with a password."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from indexer.errors import UsageError
from indexer.text import literal, percent_encoded, visible
from indexer.urls import Address

if TYPE_CHECKING:
    from peewee import PostgresqlDatabase

SECRETS = re.compile("password|secret|token")  # in the name of a parameter
IN_ADDRESS = ("user", "password", "host", "port", "dbname")

# Parameters of peewee's pool (playhouse.db_url), which libpq does not know.
OF_A_POOL = ("max_connections", "stale_timeout", "timeout", "autorollback", "register_hstore", "server_side_cursors")

CHECK_PARAMETERS = "Check the parameters after the question mark: libpq knows sslmode, connect_timeout and others."
CHECK_URL = "Use postgresql://user:password@host:5432/name, with % in a password as %25."


def parameters_of(rest: str, pooled: bool = False) -> dict[str, str]:
    """Return libpq's parameters for the URL after ``postgresql://``; if ``pooled``, without those of peewee's pool.

    Raises:
        UsageError: it cannot be read, a part of it may be meant for another, or it names no database.
    """
    rest = _without_pool(rest) if pooled else rest
    _refuse_ambiguous(rest)
    try:
        parameters: dict[str, str] = parse_dsn(f"postgresql://{rest}")
    except psycopg2.ProgrammingError as error:
        from urllib.parse import parse_qsl

        # libpq quotes what it could not read, which may be a part of the password. Names of parameters are shown.
        names = (name for name, _ in parse_qsl(rest.partition("?")[2], keep_blank_values=True))
        known = set(filter(str.isidentifier, names))
        reason = re.sub(r'"([^"]*)"', lambda quoted: quoted[0] if quoted[1] in known else "...", str(error))
        message = f"The database URL cannot be read: {one_sentence(reason.removeprefix('invalid dsn: '))}."
        raise UsageError(message, CHECK_PARAMETERS if "query parameter" in reason else CHECK_URL) from None
    named = (parameters.get("dbname"), parameters.get("service"), *map(os.environ.get, ("PGDATABASE", "PGSERVICE")))
    if not any(named):
        raise UsageError("The database URL names no database.", f"Add one at the end: {address_of(parameters)}/NAME")
    return parameters


def parameters_of_database(database: PostgresqlDatabase) -> dict[str, str]:
    """Return libpq's parameters of a peewee database, without those that only the driver or the pool knows.

    Raises:
        UsageError: libpq cannot read one of them.
    """
    given = {name: value for name, value in database.connect_params.items() if _is_known(name)}
    url = database.database if database.database.startswith("postgresql://") else None
    named = {} if url else {"dbname": database.database}
    try:
        parameters: dict[str, str] = parse_dsn(make_dsn(database.connect_params.get("dsn", url), **{**named, **given}))
    except psycopg2.ProgrammingError:  # its message may quote a part of the password
        message = "The connection parameters of the database object cannot be read."
        raise UsageError(message, "Check them: libpq knows host, port, user, sslmode and others.") from None
    return parameters


def _is_known(name: str) -> bool:
    """Return whether libpq knows a parameter of this name."""
    try:
        parse_dsn(f"{name}=''")
    except psycopg2.ProgrammingError:
        return False
    return True


def _without_pool(rest: str) -> str:
    path, question, query = rest.partition("?")
    kept = [each for each in query.split("&") if each.partition("=")[0] not in OF_A_POOL]
    return path + (question + "&".join(kept) if any(kept) else "")


def _refuse_ambiguous(rest: str) -> None:
    """Raise UsageError if libpq could take a part of the user or password for another part of the URL."""
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    hosts = authority.rpartition("@")[2].split(",")
    # All that follows the first colon is the port to libpq, and may be a password whose @ was encoded.
    ports = [port for host in hosts for port in re.findall(r"^(?:\[[^\]]*\]|[^:]*):(.*)$", host)]
    are_ports = all(port == "" or port.isdigit() for port in ports)
    if authority.count("@") > 1 or "@" in rest[len(authority) :].partition("?")[0] or not are_ports:
        raise UsageError(
            "The user or password in the database URL holds a character that ends it early, or the port is no number.",
            "Write @ as %40, : as %3A, / as %2F, ? as %3F, # as %23 and % as %25.",
        )


def address_of(parameters: dict[str, str]) -> str:
    """Return the URL as it may be shown: the user, the hosts and the database, nothing else."""
    user = percent_encoded(parameters.get("user", ""))
    hosts = parameters.get("host", parameters.get("hostaddr", "")).split(",")
    ports = parameters.get("port", "").split(",")
    ports += [ports[-1]] * (len(hosts) - len(ports))
    address = f"postgresql://{user}{'@' if user else ''}{','.join(map(_host, hosts, ports))}"
    name = parameters.get("dbname") or os.environ.get("PGDATABASE", "")
    service = parameters.get("service") or os.environ.get("PGSERVICE")
    if service and not name:
        return f"{address}?service={percent_encoded(service)}"
    return f"{address}/{percent_encoded(name)}" if name else address


def described(parameters: dict[str, str]) -> Address:
    """Return the names of the database: its own, that with the hosts, and the URL; and the URL to be typed."""
    address = address_of(parameters)
    with_hosts = address.removeprefix("postgresql://").rpartition("@")[2]
    name = parameters.get("dbname") or with_hosts
    others = [
        f"{each}={percent_encoded(value)}"
        for each, value in parameters.items()
        if each not in IN_ADDRESS and f"{each}=" not in address and not SECRETS.search(each)
    ]
    url = address + (("&" if "?" in address else "?") + "&".join(others) if others else "")
    typed = url.replace("@", ":PASSWORD@", 1) if "password" in parameters and "user" in parameters else url
    server = with_hosts.rpartition("/")[0] or "local"
    return Address((name, with_hosts, address), typed, f"\\connect {literal(url)}", server)


def _host(host: str, port: str) -> str:
    bracketed = f"[{host}]" if ":" in host else percent_encoded(host)
    return bracketed + (f":{port}" if port else "")


def one_sentence(text: str) -> str:
    """Return a message of libpq's without its line breaks, advice and repeated addresses."""
    lines = [line for line in text.strip().splitlines() if line.strip() and not line.startswith("\t")]
    reasons = [re.sub(r"^(connection to server .*? failed: )?((FATAL|ERROR):\s+)?", "", line) for line in lines]
    return visible("; ".join(dict.fromkeys(reasons)).rstrip("."))


def without_secrets(text: str, parameters: dict[str, str]) -> str:
    """Return a text with *** for each password among the parameters."""
    from urllib.parse import unquote

    secrets = {parameters[name] for name in ("password", "sslpassword") if parameters.get(name)}
    for secret in secrets | {unquote(secret) for secret in secrets}:
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
    return text
