"""Warns of commits that wait for a synchronous standby which is not connected."""

from __future__ import annotations

from indexer.postgres.session.reader import CatalogReader
from indexer.text import visible

# A role without pg_read_all_stats sees that standbys exist, and NULL for their state: then there is no warning.
LACKING = """
    SELECT pg_catalog.current_setting('synchronous_standby_names') AS names
     WHERE pg_catalog.current_setting('synchronous_standby_names') <> ''
       AND pg_catalog.current_setting('synchronous_commit') NOT IN ('off', 'local')
       AND NOT pg_catalog.pg_is_in_recovery()
       AND NOT EXISTS (
           SELECT 1
             FROM pg_catalog.pg_stat_replication AS r
            WHERE r.sync_state IS NULL OR r.sync_state IN ('sync', 'quorum'))
"""


def delays(catalog: CatalogReader) -> list[str]:
    """Return a warning where every commit waits, because no synchronous standby is connected."""
    return [
        "No synchronous standby is connected, and every commit waits for one "
        f"(synchronous_standby_names = '{visible(row['names'])}')."
        for row in catalog.rows(LACKING)
    ]
