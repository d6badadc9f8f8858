"""What PostgreSQL will need to build indexes: their size, the WAL, the room to sort in, and how much room there is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from indexer.care.facts import HASH
from indexer.definition import Definition
from indexer.options import Options
from indexer.postgres.catalog.catalog import PostgresCatalog
from indexer.postgres.catalog.planned import PostgresPlanned
from indexer.postgres.citus.nodes import shards
from indexer.postgres.expression.comparison import resolved
from indexer.postgres.expression.explain import NotUnderstood
from indexer.postgres.run.tuning import SERVER_MEANS, Means, settings_for
from indexer.predict.forecast import DATA, SORT, WAL, Disk, Need
from indexer.predict.planned import Planned
from indexer.predict.size import Size, size_of
from indexer.steps import Step

# A build writes its pages to the WAL as they are, without the part that it leaves free; a hash index page by page, row
# by row.
OF_BTREE, OF_HASH = 0.92, 2.6
SORTED = 40  # bytes of memory for a row that is sorted, beside those of its index tuple
PROCESSES = Path("/proc")


class PostgresPredictor:
    """Reads what one schema's indexes will need."""

    def __init__(self, catalog: PostgresCatalog, options: Options) -> None:
        self.catalog = catalog
        self.options = options

    def needs(self, steps: Sequence[Step]) -> dict[str, Need]:
        """Return what the indexes of these steps will need, by name."""
        definitions = {step.index.name: self._definition(step) for step in steps}
        remote = self._remote(steps)
        local = {name: each for name, each in definitions.items() if each.table not in remote}
        planned = PostgresPlanned(self.catalog).read(local) if local else {}
        if remote:
            from indexer.postgres.citus.planned import on_nodes

            planned |= on_nodes(self.catalog, {name: definitions[name] for name in definitions.keys() - local.keys()})
        means = Means(**self.catalog.recall(SERVER_MEANS, lambda: self.catalog.rows(SERVER_MEANS))[0])
        return {step.index.name: self._need(step, planned[step.index.name], means) for step in steps}

    def _remote(self, steps: Sequence[Step]) -> set[str]:
        """Return the tables of these steps that Citus keeps on other nodes."""
        if not self.catalog.is_citus:
            return set()
        return {shard.table for shard in shards(self.catalog, [step.index.table for step in steps])}

    def _definition(self, step: Step) -> Definition:
        """Return the definition that is built, its names resolved if they can be."""
        with suppress(NotUnderstood):
            return resolved(self.catalog.expressions, step.index.postgresql)
        return step.index.postgresql

    def _need(self, step: Step, tables: Sequence[Planned], means: Means) -> Need:
        memory = 1024 * int(settings_for(step.index, self.options, means)["maintenance_work_mem"].removesuffix("kB"))
        found = [_need_on(planned, memory) for planned in tables]
        if [planned.table for planned in tables] == [step.index.table]:
            return found[0]
        return _together(found, {planned.table: planned.table_bytes for planned in tables}, step.declared)

    def disks(self) -> Sequence[Disk]:
        """Return the file systems of the server's files, if the server is on this machine and they can be seen."""
        if self.catalog.is_citus:  # the indexes are on other machines
            return ()
        with suppress(OSError):
            return _disks_of(self._process())
        return ()

    def _process(self) -> Path:
        """Return the folder in /proc of the server process of our session; raise OSError if it is elsewhere.

        It is on this machine if the process of its number here names itself as the server's does: with our database
        and role, and with the port that our connection comes from.
        """
        info = self.catalog.database.connection().info
        folder = PROCESSES / str(info.backend_pid)
        title = (folder / "cmdline").read_bytes().rstrip(b"\0 ").decode(errors="replace")
        client = f"({_port_of(info.socket)})" if not info.host.startswith("/") else "[local]"
        if not title.startswith("postgres") or f" {info.user} {info.dbname} " not in title or client not in title:
            raise FileNotFoundError
        return folder


def _port_of(descriptor: int) -> int:
    from socket import AF_INET, SOCK_STREAM, socket

    with socket(AF_INET, SOCK_STREAM, fileno=os.dup(descriptor)) as ours:
        return int(ours.getsockname()[1])


def _disks_of(process: Path) -> list[Disk]:
    """Return the file systems of a server: its process works in the data directory."""
    folders = {DATA: process / "cwd" / "base", SORT: process / "cwd" / "base", WAL: process / "cwd" / "pg_wal"}
    found: dict[int, Disk] = {}
    for kind, folder in folders.items():
        device, state = os.stat(folder).st_dev, os.statvfs(folder)
        holds = found[device].holds if device in found else frozenset()
        found[device] = Disk(device, state.f_bavail * state.f_frsize, holds | {kind})
    return list(found.values())


def _need_on(planned: Planned, memory: int) -> Need:
    """Return what an index needs on one table, whose build may sort in so much memory."""
    size, is_hash = size_of(planned), planned.method == HASH
    if size.sort_bytes is not None:
        in_memory = size.sort_bytes + SORTED * (size.tuples or 0)
        size = size._replace(sort_bytes=size.sort_bytes if in_memory > memory else 0)
    factor = (OF_HASH if is_hash else OF_BTREE) if planned.is_logged else 0.0
    wal, wal_at_most = (None if each is None else round(factor * each) for each in (size.bytes, size.at_most))
    return Need(planned.table_bytes, size, wal, wal_at_most, is_hash)


def _together(needs: Sequence[Need], leaves: Mapping[str, int], definition: Definition) -> Need:
    """Return what the index of a partitioned or distributed table needs: one index on each of its tables."""
    each = [need.size for need in needs]
    unknown = [size for size in each if size.bytes is None]
    bounds = [size.at_most if size.bytes is None else size.bytes for size in each]
    is_bounded = None not in bounds
    size = Size(
        bytes=None if unknown else sum(size.bytes or 0 for size in each),
        at_most=sum(bound or 0 for bound in bounds) if unknown and is_bounded else None,
        sort_bytes=max((size.sort_bytes or 0 for size in each), default=0),
        tuples=sum(size.tuples or 0 for size in each),
        why=_why(unknown, len(each)),
    )
    wal = None if unknown else sum(need.wal_bytes or 0 for need in needs)
    return Need(sum(leaves.values()), size, wal, None, definition.method == HASH, leaves, len(needs))


def _why(unknown: Sequence[Size], number: int) -> str:
    if len({size.why for size in unknown}) < 2:
        return unknown[0].why if unknown else ""
    others = f", and the sizes on {len(unknown) - 1} more of {number} tables are not known" if unknown[1:] else ""
    return f"{unknown[0].why}{others}"
