"""Changes that the server has counted, before a test reads its counters."""

from __future__ import annotations

from command import execute
from scenes import until

OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
# Before PostgreSQL 15 a session reads counters from a file that may be half a second old, whatever it waits for.
OUTLIVE_THE_FILE = """
    SELECT CASE WHEN current_setting('server_version_num')::int < 150000 THEN pg_sleep(0.6) END
"""


def change(url: str, *statements: str) -> None:
    """Execute statements, each in a session of its own: a session tells what it has changed when it ends."""
    for statement in statements:
        execute(url, statement)
        until(lambda: execute(url, OTHERS) == [(0,)], "the end of other sessions")
    execute(url, OUTLIVE_THE_FILE)
