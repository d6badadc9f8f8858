"""What REINDEX CONCURRENTLY does to the indexes of shards: which files it makes, and what it leaves if interrupted.

Citus rebuilds the empty index of the coordinator first and then those of the shards. What an interrupted rebuild leaves
on a shard is unknown to the coordinator, which drops it on no node.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from indexer.catalog import ORPHAN, CatalogEntry, Flaw, IndexFile
from indexer.leftovers import is_named_by_reindex, name_and_ending
from indexer.postgres.catalog.catalog import BY_TABLE, INDEXES, entry_of
from indexer.postgres.citus.nodes import Answer, Shard, shards
from indexer.postgres.citus.reading import NodeReader, stored_as
from indexer.postgres.session.reader import CatalogReader
from indexer.text import literal, qualified

FILES = """
    SELECT c.relname AS name,
           c.relfilenode::pg_catalog.int8 AS number
      FROM pg_catalog.pg_class AS c
     WHERE c.relnamespace = %(namespace)s
       AND c.relkind = 'i'
       AND c.relname = ANY (%(names)s::pg_catalog.text[])
"""
UNUSABLE = """
       AND NOT (i.indisvalid AND i.indisready AND i.indislive)
"""

# master_run_on_worker returns an error as text, and the cast raises it with that.
DROP = (
    "SELECT pg_catalog.count(CASE WHEN r.success THEN 0 ELSE r.result::pg_catalog.int4 END)"
    " FROM pg_catalog.master_run_on_worker(ARRAY[{hosts}]::pg_catalog.text[], ARRAY[{ports}]::pg_catalog.int4[],"
    " ARRAY[{commands}]::pg_catalog.text[], false) AS r"
)


def file_of_cluster(coordinator: CatalogReader, name: str, file: IndexFile) -> IndexFile:
    """Return the files of an index: those of its placements, where it is distributed; none where one is not known."""
    stored = stored_as(coordinator, [name])
    answers: dict[str, list[Answer]] = {}
    names = sorted({each.name for each in stored})
    numbers = {
        (node, row["name"]): row["number"]
        for node in {each.node for each in stored}
        for row in NodeReader(coordinator, node, answers).rows(FILES, names=names)
    }
    found = [numbers.get((each.node, each.name)) for each in stored]
    if not stored:
        return file
    known = tuple(number for number in found if number is not None)
    return file._replace(number=None, of_placements=known if len(known) == len(found) else ())


def left_on_shards(coordinator: CatalogReader, tables: Collection[str]) -> list[CatalogEntry]:
    """Return what an interrupted REINDEX CONCURRENTLY left on shards of these tables, with the coordinator's names.

    Each has a flaw for each placement, with the name that it has there.
    """
    placed = shards(coordinator, sorted(tables))
    answers: dict[str, list[Answer]] = {}
    names = sorted({shard.name for shard in placed})
    found: list[tuple[Shard, CatalogEntry]] = []
    for node in {shard.node for shard in placed}:
        rows = NodeReader(coordinator, node, answers).rows(INDEXES + UNUSABLE + BY_TABLE, tables=names, sizes=False)
        of_shard = {shard.name: shard for shard in placed if shard.node == node}
        found += [(of_shard[row["table_name"]], entry_of(row)) for row in rows if row["table_name"] in of_shard]
    return together(found)


def together(found: Iterable[tuple[Shard, CatalogEntry]]) -> list[CatalogEntry]:
    """Return one entry for what was left of each index on its shards."""
    left: dict[str, CatalogEntry] = {}
    for shard, entry in found:
        if not is_named_by_reindex(entry.name) or entry.definition is None:
            continue
        of_shard, ending = name_and_ending(entry.name)
        name = of_shard.removesuffix(f"_{shard.id}") + ending
        definition = entry.definition._replace(table=shard.table, constraint=None)
        flaw = Flaw(shard.where, shard.id, ORPHAN, entry.name)
        before = left.get(name) or entry._replace(name=name, definition=definition, oid=None, valid=False)
        left[name] = before._replace(flaws=(*before.flaws, flaw))
    return [left[name] for name in sorted(left)]


def drop_on_nodes(schema: str, flaws: Sequence[Flaw]) -> str:
    """Return the statement that drops the indexes of these placements, one after another, each on its node."""
    nodes = [flaw.node.rpartition(":") for flaw in flaws]
    drops = [f"DROP INDEX CONCURRENTLY IF EXISTS {qualified(schema, flaw.name)}" for flaw in flaws]
    return DROP.format(
        hosts=", ".join(literal(host) for host, _, _ in nodes),
        ports=", ".join(port for _, _, port in nodes),
        commands=", ".join(literal(drop) for drop in drops),
    )


def is_left_on_shards(entry: CatalogEntry) -> bool:
    """Return whether an entry is what was left on shards alone."""
    return is_named_by_reindex(entry.name) and entry.is_orphaned


def with_workers(left: Iterable[CatalogEntry], workers: Mapping[str, int]) -> list[CatalogEntry]:
    """Return what was left, with the process that is rebuilding the index; it is no leftover then."""
    return [entry._replace(worker=workers.get(name_and_ending(entry.name)[0])) for entry in left]
