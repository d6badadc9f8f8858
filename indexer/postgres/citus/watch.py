"""Observes a statement of a Citus cluster: how many placements are done, and the sessions of workers that block it."""

from __future__ import annotations

import time

from indexer.events import Progress
from indexer.postgres.citus import nodes
from indexer.postgres.citus.placements import Building, building
from indexer.postgres.citus.sessions import waits
from indexer.postgres.run.watch import WAITING_FOR_A_LOCK, Counters, Observation, Watch, fraction

INTERVAL = 1.0  # seconds between two observations, each of which asks all nodes
BETWEEN = "building on the nodes"  # none of them shows a phase

PROGRESS = """
    SELECT c.relname AS name,
           i.indisvalid AND i.indisready AND i.indislive AS is_done,
           p.phase,
           COALESCE(p.blocks_total, 0) AS blocks_total,
           COALESCE(p.blocks_done, 0) AS blocks_done,
           COALESCE(p.tuples_total, 0) AS tuples_total,
           COALESCE(p.tuples_done, 0) AS tuples_done
      FROM pg_catalog.pg_index AS i
      JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
      LEFT JOIN pg_catalog.pg_stat_progress_create_index AS p ON p.index_relid = i.indexrelid
     WHERE i.indrelid = ANY ({relations})
       AND pg_catalog.starts_with(c.relname::pg_catalog.text, {beginning})
"""


class CitusWatch(Watch):
    """The watch over a statement of the coordinator, most of which the nodes execute."""

    def is_due(self) -> bool:
        """Return whether it is time for another observation."""
        return time.monotonic() - self._observed >= INTERVAL

    def observe_elsewhere(self, before: float) -> None:
        """Report the wait or the progress of the statement on the nodes."""
        if blockers := waits(self.sessions.catalog, self.pid):
            self.waited_in_all += self._observed - before
            self.report_blockers(WAITING_FOR_A_LOCK, blockers)
        elif not self.dropping and (found := self._building()) and found.placements:
            self._report_placements(found)

    def _building(self) -> Building | None:
        catalog, name = self.sessions.catalog, self.index.name
        shards = nodes.shards(catalog, [self.index.table])
        if not shards:
            return None
        relations = nodes.relations(shard.relation for shard in shards)
        beginning = nodes.quoted(nodes.beginning(name))
        with nodes.allowed():
            answers = nodes.ask(catalog, PROGRESS.format(relations=relations, beginning=beginning))
            return building(name, shards, {answer.node: answer.rows or [] for answer in answers})
        return None

    def _report_placements(self, found: Building) -> None:
        self.last = Observation(found.phase, found.done, self._observed)
        running = sum(fraction(Counters(**counters)) or 0.0 for counters in found.running)
        done = min((found.done + running) / found.placements, 1.0)
        seconds = self._observed - self._started
        progress = Progress(self.index, found.phase or BETWEEN, done, seconds)
        self.sessions.report(progress._replace(placements=found.placements, placements_done=found.done))
