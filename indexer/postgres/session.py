"""Our own sessions on the server: what is set on them, so that nobody's defaults decide over a build."""

from __future__ import annotations

from typing import Any

from peewee import PostgresqlDatabase

# A statement_timeout on the role cancels a long build, a lock_timeout kills a concurrent one in its waits and leaves
# an invalid index; the set of names is filtered by what the server knows (transaction_timeout came with 17).
SETTINGS = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "default_tablespace": "",
}

APPLY = """
    SELECT pg_catalog.set_config(s.name, wanted.setting, false)
      FROM pg_catalog.pg_settings AS s
      JOIN unnest(%(names)s, %(settings)s) AS wanted (name, setting) ON wanted.name = s.name
"""


class OnlineDatabase(PostgresqlDatabase):
    """A peewee database each of whose sessions starts with our settings."""

    def __init__(self, database: str, read_only: bool = False, **parameters: Any) -> None:
        self._settings = {**SETTINGS, **({"default_transaction_read_only": "on"} if read_only else {})}
        super().__init__(database, **parameters)

    def _initialize_connection(self, conn: Any) -> None:
        with conn.cursor() as cursor:
            names = list(self._settings)
            cursor.execute(APPLY, {"names": names, "settings": [self._settings[name] for name in names]})
