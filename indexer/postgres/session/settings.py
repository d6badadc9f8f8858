"""The settings of every session: no default of the server, the role or the database may decide over a run.

The first statement of a session sets them, and its last one resets them.
"""

from __future__ import annotations

from collections.abc import Mapping

# Defaults of these could change what a statement or an answer means. What the user decides is kept: role,
# default_tablespace, default_table_access_method, synchronous_commit, TimeZone.
PINNED = {
    "search_path": "pg_catalog, pg_temp",  # unless pg_temp is named last, it comes first for tables and types
    "row_security": "off",  # rows that a policy would hide raise an error, and are not taken for absent
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmloption": "content",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "exit_on_error": "off",
}
BUILDING = {
    **PINNED,
    # A statement_timeout of the role cancels a long build. A lock_timeout cancels a concurrent build while it waits,
    # and leaves an invalid index.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "default_transaction_read_only": "off",
    # The server detects a lost client after 30 seconds. By the kernel's defaults a lost client would hold the run lock
    # for two hours. client_connection_check_interval is not set: a build whose client is lost ends, and is valid.
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30s",
}
# Catalog queries are short: planning one takes as long as executing it twice, and compiling it takes longer.
QUICK = {"plan_cache_mode": "force_generic_plan", "jit": "off"}
# The main session writes single rows of the tool's own tables, on which no lock lasts long.
MAIN = {**BUILDING, **QUICK, "lock_timeout": "5s"}
MAIN_READ_ONLY = {**MAIN, "default_transaction_read_only": "on"}

SINCE = {"idle_session_timeout": 140000, "transaction_timeout": 170000}  # asking pg_settings takes milliseconds

# On a session that a pooler may share. Several statements in one message are one transaction, which a pooler hands to
# one server process.
FOR_ONE_STATEMENT = "".join(
    f"SET LOCAL {name} TO {PINNED[name]}; " for name in ("search_path", "row_security", "quote_all_identifiers")
)

# The first statement runs under the search path of the role or the database, where functions, operators and types of
# other roles may come first. It reads that path and pins ours in its place, unless the server process is not the one
# that accepted the connection: then a pooler may give the session to another client next.
GREETING = """
    SELECT pg_catalog.pg_backend_pid(),
           pg_catalog.current_schemas(false),
           pg_catalog.current_setting('default_transaction_read_only'),
           pg_catalog.version(),
           pg_catalog.pg_is_in_recovery(),
           CASE WHEN pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) %s THEN ARRAY [{calls}] END
"""


def greeting(settings: Mapping[str, str], version: int, pid: int) -> tuple[str, list[object]]:
    """Return the first statement of a session, and its parameters.

    Its row begins with the server process, the schemas of the search path, whether transactions are read-only by
    default, what version() says, and whether the server is a standby.

    Args:
        version: a number such as 150004.
        pid: the server process that accepted the connection.
    """
    calls, parameters = _calls(settings, version)
    return GREETING.format(calls=calls), [pid, *parameters]


def applying(settings: Mapping[str, str], version: int) -> tuple[str, list[str]]:
    """Return the statement that applies settings to a session, and its parameters."""
    calls, parameters = _calls(settings, version)
    return f"SELECT {calls}", parameters


def _calls(settings: Mapping[str, str], version: int) -> tuple[str, list[str]]:
    known = [pair for pair in settings.items() if version >= SINCE.get(pair[0], 0)]
    calls = ", ".join(["pg_catalog.set_config(%s, %s, false)"] * len(known))
    return calls, [part for pair in known for part in pair]
