"""The connection limits: a run needs two sessions, and an error names the limit that refuses one of them."""

from __future__ import annotations

from typing import Any

import psycopg2

from indexer.errors import NoSession
from indexer.postgres.session.url import one_sentence
from indexer.text import identifier

# The limit of a role counts all its sessions. Of those that the role may not observe, role and database are visible.
LIMITS = """
    SELECT r.rolname AS role,
           r.rolconnlimit AS role_limit,
           pg_catalog.count(*) FILTER (WHERE a.usesysid = r.oid) AS of_role,
           d.datname AS database,
           d.datconnlimit AS database_limit,
           pg_catalog.count(*) FILTER (WHERE a.datid = d.oid) AS in_database,
           pg_catalog.current_setting('max_connections')::pg_catalog.int4
           - pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int4
           - COALESCE(pg_catalog.current_setting('reserved_connections', true)::pg_catalog.int4, 0) AS server_limit,
           pg_catalog.count(*) FILTER (WHERE a.datid IS NOT NULL) AS on_server
      FROM pg_catalog.pg_roles AS r
     CROSS JOIN pg_catalog.pg_database AS d
     CROSS JOIN pg_catalog.pg_stat_activity AS a
     WHERE r.rolname = SESSION_USER
       AND d.datname = pg_catalog.current_database()
     GROUP BY r.rolname, r.rolconnlimit, d.datname, d.datconnlimit
"""

SPARE = 3  # connections of the server that are left to others

LIMIT = "A superuser can raise the limit: ALTER {kind} {name} CONNECTION LIMIT {limit};"
ON_SERVER = "End another session, or raise max_connections; then run the same command again."
NO_LIMIT = "The first connection was accepted. Check the server's log, and any pooler or firewall in between."


def free_connections(database: Any) -> int:
    """Return how many more connections our role may open to the database, without the last few of the server."""
    cursor = database.execute_sql(LIMITS)
    _, role_limit, of_role, _, database_limit, in_database, server_limit, on_server = cursor.fetchone()
    limits = ((role_limit, of_role), (database_limit, in_database), (server_limit, on_server + SPARE))
    free: int = min(limit - used for limit, used in limits if limit >= 0)
    return free


def refusal(database: Any, error: psycopg2.Error) -> NoSession:
    """Return the error of a run that was refused its second session: the server's reason, and the limit to raise."""
    message = f"A run needs two connections, and the second was refused: {one_sentence(str(error))}."
    cursor = database.execute_sql(LIMITS)
    role, role_limit, of_role, name, database_limit, in_database, server_limit, on_server = cursor.fetchone()
    if 0 <= role_limit <= max(of_role, 1):
        return NoSession(message, LIMIT.format(kind="ROLE", name=identifier(role), limit=of_role + 1))
    if 0 <= database_limit <= max(in_database, 1):
        return NoSession(message, LIMIT.format(kind="DATABASE", name=identifier(name), limit=in_database + 1))
    return NoSession(message, ON_SERVER if on_server >= server_limit else NO_LIMIT)


def no_more(error: psycopg2.Error) -> NoSession:
    """Return the error of a run that has the two sessions it needs, and was refused another."""
    message = f"Fewer indexes are built at once, because another connection was refused: {one_sentence(str(error))}."
    return NoSession(message, "Build one index at a time: --jobs 1")
