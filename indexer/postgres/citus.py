"""What Citus does in its own way, as far as a run has to know it to come to its end.

The coordinator shows of a distributed table and its indexes an empty shell; the rows, the builds and the waits are
on the workers. Citus's own tables and views are in pg_catalog, where nobody but a superuser can make anything, and
none of them is named before the extension has proved to be there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

WORKER = "the server is a Citus worker: connect to the coordinator"
UNSEEN = (
    "Citus: only the coordinator is looked at. Not seen yet are the shards' own indexes and sizes, the progress of"
    " builds on the workers, and sessions there that hold them up."
)

IS_CITUS = """
    SELECT EXISTS (
           SELECT 1
             FROM pg_catalog.pg_extension AS e
            WHERE e.extname = 'citus') AS is_citus
"""

LOCAL_GROUP = """
    SELECT g.groupid <> 0 AS is_worker
      FROM pg_catalog.pg_dist_local_group AS g
"""

ANY_DISTRIBUTED = """
    SELECT EXISTS (
           SELECT 1
             FROM pg_catalog.pg_dist_partition AS p
             JOIN pg_catalog.pg_class AS c ON c.oid = p.logicalrelid
            WHERE c.relnamespace = %(namespace)s
              AND c.relname = ANY (%(tables)s::pg_catalog.text[])) AS is_distributed
"""

# The statements of all nodes: the coordinator's own, and those that it or one that has crashed gave to the workers.
STATEMENTS = """
    SELECT a.pid,
           a.query
      FROM pg_catalog.citus_stat_activity AS a
     WHERE a.state = 'active'
       AND a.datname = pg_catalog.current_database()
       AND a.query LIKE '%%CONCURRENTLY%%'
     ORDER BY a.is_worker_query, a.pid
"""

WORD = re.compile(r'"(?:[^"]|"")*"|[^\W\d][\w$]*')
SHARD = re.compile(r"_\d+$")


class Asks(Protocol):
    """A catalog, as far as it is needed here."""

    schema: str | None

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of one SELECT."""


def is_citus(catalog: Asks) -> bool:
    """Return whether the extension is in this database."""
    return bool(catalog.rows(IS_CITUS)[0]["is_citus"])


def is_worker(catalog: Asks) -> bool:
    """Return whether this server is a worker: it refuses to build, and would keep our records to itself."""
    return any(row["is_worker"] for row in catalog.rows(LOCAL_GROUP))


def unseen(catalog: Asks, tables: Sequence[str]) -> list[str]:
    """Return what nobody looks at here, if any of these tables is distributed or copied to each worker."""
    if is_worker(catalog):
        return [f"{WORKER[0].upper()}{WORKER[1:]}."]
    return [UNSEEN] if catalog.rows(ANY_DISTRIBUTED, tables=list(tables))[0]["is_distributed"] else []


def at_work(catalog: Asks, names: Sequence[str]) -> dict[str, int]:
    """Return the process that is building or dropping each of these indexes anywhere in the cluster, by name.

    While the shards are built the coordinator holds no lock, and its own index looks like what a failed build left.
    """
    statements = [(row["pid"], row["query"]) for row in catalog.rows(STATEMENTS)]
    found = ((name, _worker(name, catalog.schema or "", statements)) for name in names)
    return {name: pid for name, pid in found if pid is not None}


def _worker(name: str, schema: str, statements: Iterable[tuple[int, str]]) -> int | None:
    return next((pid for pid, statement in statements if concerns(statement, name, schema)), None)


def concerns(statement: str, name: str, schema: str) -> bool:
    """Return whether a statement builds or drops this index, or that of one of its shards.

    A statement that names no schema found its table by a search path that nobody else can know.
    """
    words = [_unquoted(word) for word in WORD.findall(statement)]
    on_an_index = words[1:3] in (["index", "concurrently"], ["unique", "index"])
    named = any(name in (word, SHARD.sub("", word)) for word in words)
    return on_an_index and named and (schema in words or "." not in statement)


def _unquoted(word: str) -> str:
    return word[1:-1].replace('""', '"') if word.startswith('"') else word.lower()
