"""How far standbys and replication slots are behind, as far as our role can see it.

The server tells seconds of connected standbys only, and to some roles only. To every role it shows how far a slot is in
the WAL. So a run remembers where the WAL was at which moment: what has reached the position of a moment ago is at most
that moment behind.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from indexer.events import Laggard
from indexer.postgres.run.sessions import Sessions
from indexer.replication import drop_slot
from indexer.text import identifier

if TYPE_CHECKING:
    from indexer.postgres.run.replicas import NamedStandby

LEAST_INTERVAL = 0.5  # seconds between two moments that are remembered
WITHIN_LIMIT, REMEMBERED = 20, 1000  # moments

POSITION = """
    SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_flush_lsn(), '0/0')::pg_catalog.int8 AS position
"""

# PostgreSQL 12 has no wal_status. A slot that copies a table for a subscription ends by itself.
SLOTS = """
    SELECT s.slot_name AS name,
           s.slot_type || ' slot' AS kind,
           s.active_pid AS pid,
           s.slot_type = 'physical' AS is_physical,
           pg_catalog.to_jsonb(s) ->> 'wal_status' = 'lost' AS is_lost,
           pg_catalog.pg_wal_lsn_diff(
               COALESCE(s.confirmed_flush_lsn, s.restart_lsn), '0/0')::pg_catalog.int8 AS position
      FROM pg_catalog.pg_replication_slots AS s
     WHERE NOT s.temporary
       AND s.slot_name !~ '^pg_[0-9]+_sync_[0-9]+_'
     ORDER BY s.slot_name
"""

# Of a standby, a role without pg_read_all_stats sees the pid and the application name, and NULL for all the rest.
STANDBYS = """
    SELECT r.pid,
           pg_catalog.concat_ws(', ', NULLIF(r.application_name, ''), pg_catalog.host(r.client_addr)) AS name,
           r.state IS NULL AS is_hidden,
           CURRENT_USER::pg_catalog.text AS role,
           pg_catalog.pg_wal_lsn_diff(r.replay_lsn, '0/0')::pg_catalog.int8 AS position
      FROM pg_catalog.pg_stat_replication AS r
     WHERE r.state IS NULL
        OR r.state IN ('catchup', 'streaming')
     ORDER BY r.pid
"""

# What follows where it is not visible how far a standby is: with a slot and without one.
RECEIVED, UNSEEN = "only what it has received counts", "the run does not wait for it"

Row = dict[str, Any]


class ReplicaLag:
    """The standbys and slots of one server, and the positions of its WAL in the course of a run.

    A standby of a standby is not visible on the primary, unless the user names it.

    Args:
        limit: how many seconds they may be behind; None asks nothing of the server.
        named: the standbys that the user names.
    """

    def __init__(self, sessions: Sessions, limit: float | None, named: Sequence[NamedStandby] = ()) -> None:
        self.sessions, self.limit, self.named = sessions, limit, named
        self._positions: deque[tuple[float, int]] = deque(maxlen=REMEMBERED)

    def remember(self) -> None:
        """Remember the position of the WAL, unless that was done a moment ago."""
        if self.limit is None:
            return
        interval = max(LEAST_INTERVAL, self.limit / WITHIN_LIMIT)
        if not self._positions or time.monotonic() - self._positions[-1][0] >= interval:
            with self.sessions.tolerating_errors():
                self._look()

    def behind(self) -> tuple[Laggard, ...]:
        """Return the standbys and slots that are, or may be, further behind than the limit."""
        if self.limit is None:
            return ()
        with self.sessions.tolerating_errors():
            self._look()
            slots, standbys = self.sessions.visible_rows(SLOTS), self.sessions.visible_rows(STANDBYS)
            connected = {row["pid"]: row for row in standbys or []}
            found = [self._of_slot(row, connected.pop(row["pid"], None)) for row in slots or []]
            found += [self._of_standby(row) for row in connected.values()]
            found += [self._of_named(standby) for standby in self.named]
            return tuple(laggard for laggard in found if laggard)
        return ()

    def _look(self) -> None:
        position = self.sessions.catalog.rows(POSITION)[0]["position"]
        self._positions.append((time.monotonic(), position))

    def _of_slot(self, slot: Row, standby: Row | None) -> Laggard | None:
        """Return a slot that is too far behind; of a standby counts what it has replayed, if that is visible."""
        name, position = slot["name"], slot["position"]
        if slot["is_lost"]:
            self.sessions.warn(
                f"Replication slot {name} has lost its WAL, and is not waited for. Drop it: {drop_slot(name)}"
            )
            return None
        if standby and standby["is_hidden"] and slot["is_physical"]:
            self._warn_of_hidden(RECEIVED, standby)
        elif standby and standby["position"] is not None:
            name, position = f"{name} ({standby['name']})", standby["position"]
        return self._laggard(slot["kind"], name, position, "" if slot["pid"] else drop_slot(name))

    def _of_standby(self, standby: Row) -> Laggard | None:
        if standby["is_hidden"]:
            self._warn_of_hidden(UNSEEN, standby)
            return None
        return self._laggard("standby", standby["name"], standby["position"])

    def _of_named(self, standby: NamedStandby) -> Laggard | None:
        standby.look()
        if standby.position is None:
            self.sessions.warn(f"{standby.name} is no standby any more, and is not waited for.")
        name = standby.name if standby.is_reachable else f"{standby.name}, which cannot be reached"
        return self._laggard("standby", name, standby.position)

    def _laggard(self, kind: str, name: str, position: int | None, ending: str = "") -> Laggard | None:
        """Return the standby or slot, if it has not reached the position of any moment within the limit."""
        (now, current), limit = self._positions[-1], self.limit or 0.0
        reached = next(each for moment, each in self._positions if now - moment <= limit)
        if position is None or position >= reached:
            return None
        since = next(moment for moment, each in self._positions if each > position)
        return Laggard(kind, name, current - position, now - since, ending)

    def _warn_of_hidden(self, consequence: str, standby: Row) -> None:
        role, name = identifier(standby["role"]), standby["name"] or f"pid {standby['pid']}"
        what = f"What standby {name} has replayed is not visible to role {role}, so {consequence}."
        self.sessions.warn(f"{what} To show it: GRANT pg_read_all_stats TO {role};", topic=f"{consequence} {name}")
