"""Reads what a PostgreSQL server says of replication: its lag as a standby, and what follows it as a primary."""

from __future__ import annotations

from indexer.postgres.run.sessions import Sessions
from indexer.replication import Follower, Replication, Slot, Standby

# What it has received may lie before what it has replayed: of WAL from an archive, and after a restart. The view shows
# every role that there is a receiver, and only some roles where the WAL of the sender ends. By then it may be promoted.
STANDBY = """
    SELECT CASE WHEN s.received >= s.replayed
                THEN pg_catalog.pg_wal_lsn_diff(GREATEST(s.received, s.sent), s.replayed)::pg_catalog.int8 END AS bytes,
           GREATEST(
               pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - s.committed), 0)::pg_catalog.float8 AS age,
           s.is_connected,
           s.sender,
           pg_catalog.pg_is_wal_replay_paused() AS is_paused,
           COALESCE(NULLIF(pg_catalog.current_setting('recovery_min_apply_delay'), '0'), '') AS delay
      FROM (
           SELECT pg_catalog.pg_last_wal_receive_lsn() AS received,
                  pg_catalog.pg_last_wal_replay_lsn() AS replayed,
                  pg_catalog.pg_last_xact_replay_timestamp() AS committed,
                  (
                  SELECT pg_catalog.max(w.latest_end_lsn)
                    FROM pg_catalog.pg_stat_wal_receiver AS w) AS sent,
                  (
                  SELECT pg_catalog.min(w.sender_host || ':' || w.sender_port)
                    FROM pg_catalog.pg_stat_wal_receiver AS w) AS sender,
                  EXISTS (
                  SELECT 1
                    FROM pg_catalog.pg_stat_wal_receiver AS w) AS is_connected) AS s
     WHERE pg_catalog.pg_is_in_recovery()
"""

# What streams for a logical slot is shown as that slot. Of a hidden one only pid and application name are known.
FOLLOWERS = """
    SELECT pg_catalog.concat_ws(', ', NULLIF(r.application_name, ''), pg_catalog.host(r.client_addr)) AS name,
           r.state,
           r.sync_state AS sync,
           pg_catalog.pg_wal_lsn_diff(p.written, r.replay_lsn)::pg_catalog.int8 AS bytes,
           pg_catalog.date_part('epoch', r.replay_lag)::pg_catalog.float8 AS seconds,
           pg_catalog.pg_wal_lsn_diff(p.written, CASE p.commit
               WHEN 'remote_write' THEN r.write_lsn
               WHEN 'remote_apply' THEN r.replay_lsn
               ELSE r.flush_lsn END)::pg_catalog.int8 AS commit_bytes,
           pg_catalog.date_part('epoch', CASE p.commit
               WHEN 'remote_write' THEN r.write_lag
               WHEN 'remote_apply' THEN r.replay_lag
               ELSE r.flush_lag END)::pg_catalog.float8 AS commit_seconds,
           CURRENT_USER::pg_catalog.text AS role,
           CASE WHEN pg_catalog.current_setting('synchronous_standby_names') <> ''
                 AND p.commit NOT IN ('off', 'local') THEN p.commit ELSE '' END AS commit
      FROM pg_catalog.pg_stat_replication AS r,
           (
           SELECT pg_catalog.pg_current_wal_flush_lsn() AS written,
                  pg_catalog.current_setting('synchronous_commit') AS commit) AS p
     WHERE r.state IS DISTINCT FROM 'backup'
       AND NOT EXISTS (
           SELECT 1
             FROM pg_catalog.pg_replication_slots AS s
            WHERE s.active_pid = r.pid
              AND s.slot_type = 'logical')
     ORDER BY name, r.pid
"""

# PostgreSQL 12 has no wal_status. A slot that copies a table for a subscription ends by itself.
SLOTS = """
    SELECT s.slot_name AS name,
           s.slot_type || ' slot' AS kind,
           s.active AS is_active,
           COALESCE(pg_catalog.to_jsonb(s) ->> 'wal_status' = 'lost', false) AS is_lost,
           pg_catalog.pg_wal_lsn_diff(
               pg_catalog.pg_current_wal_flush_lsn(), s.restart_lsn)::pg_catalog.int8 AS bytes
      FROM pg_catalog.pg_replication_slots AS s
     WHERE NOT s.temporary
       AND s.slot_name !~ '^pg_[0-9]+_sync_[0-9]+_'
     ORDER BY s.slot_name
"""


def standby_of(sessions: Sessions) -> Standby | None:
    """Return how far the server is behind; None if it is no standby any more."""
    rows = sessions.visible_rows(STANDBY)
    if rows is None:
        return Standby(None, None, is_connected=True, is_paused=False)
    for row in rows:
        age = row.pop("age")
        is_level = row["bytes"] == 0 and row["is_connected"]
        return Standby(seconds=0.0 if is_level else age, **row)
    return None


def replication_of(sessions: Sessions) -> Replication:
    """Return what follows the server, as far as our role can see it."""
    followers, slots = sessions.visible_rows(FOLLOWERS), sessions.visible_rows(SLOTS)
    is_readable = followers is not None and slots is not None
    role, commit = "", ""
    standbys = []
    for row in followers or ():
        current, commit = row.pop("role"), row.pop("commit")
        role = role or (current if row["state"] is None else "")
        standbys.append(Follower(**row))
    return Replication(tuple(standbys), tuple(Slot(**row) for row in slots or ()), commit, role, is_readable)
