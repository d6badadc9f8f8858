"""Opens a PostgreSQL database, and says what to do when that fails."""

from __future__ import annotations

from functools import partial

from peewee import DatabaseError
from psycopg2.extensions import libpq_version

from indexer.errors import ServerFull, Unreachable
from indexer.migrator import Context
from indexer.postgres.catalog.catalog import PostgresCatalog
from indexer.postgres.migrator import OnlineMigrator
from indexer.postgres.session.database import UNNAMED, OnlineDatabase
from indexer.postgres.session.engines import OtherEngine
from indexer.postgres.session.url import address_of, one_sentence, without_secrets
from indexer.text import identifier

# What a URL leaves out. With these keepalives a lost server is noticed after half a minute.
DEFAULTS = {
    "connect_timeout": "10",
    "application_name": UNNAMED,
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    **({"tcp_user_timeout": "30000"} if libpq_version() >= 120000 else {}),
}

NO_POSTGRES = "Check host and port in {source}: a program that is not PostgreSQL answers there."
ROLE_LIMIT = "Wait for a connection to become free, or ALTER ROLE ... CONNECTION LIMIT."
DATABASE_LIMIT = "Wait for a connection to become free, or ALTER DATABASE ... CONNECTION LIMIT."
SERVER_LIMIT = "Wait for a connection to become free, or raise max_connections."
LIMITS = (ROLE_LIMIT, DATABASE_LIMIT, SERVER_LIMIT)
SERVICE = "Check the name of the service, and that PGSERVICEFILE or ~/.pg_service.conf defines it."
FUNCTION = "A superuser can GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {role};"
AGAIN = "Wait a moment and run the same command again."
POOL = "Check the server's load and the size of the pool, then run the same command again."

# A part of libpq's message, what to do, and whether waiting may help. The first that fits counts.
REASONS = (
    ("response to SSL negotiation", NO_POSTGRES, False),
    ("expected authentication request", NO_POSTGRES, False),
    ("definition of service", SERVICE, False),
    ("invalid ", "Check the parameters in {source}.", False),
    ("password authentication failed", "Check the user and the password in {source}.", False),
    ("no password supplied", "Put the password into {source} or into PGPASSWORD.", False),
    ("authentication failed", "Check the user in {source}, and the server's pg_hba.conf.", False),
    ("pg_hba.conf", "Allow this host and user in the server's pg_hba.conf.", False),
    ("too many connections for role", ROLE_LIMIT, True),
    ("too many connections for d", DATABASE_LIMIT, True),
    ("permission denied for database", "Its owner can GRANT CONNECT ON DATABASE {database} TO {role};", False),
    ("permission denied for function ", FUNCTION, False),  # in the first statement of the session
    ('database "', "Create the database, or correct the name in {source}.", False),
    ("not permitted to log in", "Use a role that can log in, or run: ALTER ROLE {role} LOGIN;", False),
    ('role "', "Create the role, or correct the user in {source}.", False),
    ("onnection refused", "Check that the server is running, and the host and port in {source}.", True),
    ("could not translate host name", "Check the host in {source}.", True),
    ("No such file or directory", "Check that the server is running, and the directory of its socket.", True),
    ("timeout", "Check that the server is running, and that no firewall is in between.", True),
    ("too many c", SERVER_LIMIT, True),
    ("remaining connection slots", SERVER_LIMIT, True),
    ("the database system is", AGAIN, True),
    ("server closed the connection", AGAIN, True),
    ("did not answer", POOL, True),
    ("SSL", "Check sslmode in {source}.", False),
    ("unsupported startup parameter", "Connect to the server directly, not through a pooler.", False),
    ("", "Check {source}: host, port, user, password and database. Then check the server's log.", False),
)


def open_postgres(
    parameters: dict[str, str],
    schema: str | None,
    read_only: bool,
    context: Context,
    within: float | None = None,
    source: str = "the database URL",
) -> OnlineMigrator:
    """Open a session and return its migrator.

    Args:
        parameters: of libpq: user, password, host, port, dbname and others.
        schema: of the tables; None finds them on the search path.
        context: its report is called when the server gives no answer; its stop ends a statement without one.
        within: how many seconds the first session may take to open, if that is less than the parameters allow.
        source: where the parameters come from, for a hint.

    Raises:
        Unreachable: the server cannot be reached, or refuses the session.
        OtherEngine: the server is not PostgreSQL.
    """
    # libpq may know the database's name from a service file or from PGDATABASE; None leaves it to libpq.
    settings = {**DEFAULTS, "dbname": None, **parameters, "client_encoding": "UTF8"}
    database = OnlineDatabase(
        parameters.get("dbname") or "postgresql", read_only, context.report, context.stop, **settings
    )
    connect = partial(_connect, database, parameters, source)
    connect(within)
    return OnlineMigrator(PostgresCatalog(database, schema), address_of(parameters), connect, context)


def _connect(database: OnlineDatabase, parameters: dict[str, str], source: str, within: float | None = None) -> None:
    try:
        with database.opening_within(within):
            database.connect()
    except OtherEngine:
        database.close()
        raise
    except DatabaseError as error:
        database.close()
        reason = without_secrets(one_sentence(str(error)), parameters)
        _, hint, can_heal = next(known for known in REASONS if known[0] in reason)
        failure = ServerFull if hint in LIMITS else Unreachable
        names = {
            "database": parameters.get("dbname", "..."),
            "role": parameters.get("user", "..."),
            "function": reason.rpartition(" ")[2],
        }
        hint = hint.format(source=source, **{name: identifier(value) for name, value in names.items()})
        raise failure(f"Cannot connect to {address_of(parameters)}: {reason}.", hint, can_heal) from error
