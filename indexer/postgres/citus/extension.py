"""What a run has to know about the extension Citus.

Its tables, views and functions are in pg_catalog, where only a superuser can create anything. None of them is named
before the extension is known to exist.
"""

from __future__ import annotations

from collections.abc import Sequence

from indexer.errors import Detail, Hint, statement
from indexer.postgres.citus.nodes import allowed, ask, shards
from indexer.postgres.session.reader import CatalogReader
from indexer.text import identifier

WORKER = "the server is a Citus worker: connect to the coordinator"
UNSEEN = (
    "Citus: {role} may not ask the nodes of the cluster, so only the coordinator is inspected. Not visible are the"
    " shards' own indexes and sizes, the progress of builds on the workers, and the sessions that block them there."
    " To allow it: "
)

EXTENSION = """
    SELECT EXISTS (
           SELECT 1
             FROM pg_catalog.pg_extension AS e
            WHERE e.extname = 'citus') AS is_citus
"""

LOCAL_GROUP = """
    SELECT g.groupid <> 0 AS is_worker
      FROM pg_catalog.pg_dist_local_group AS g
"""

FUNCTIONS = (
    "pg_catalog.run_command_on_all_nodes(text, boolean, boolean)",
    "pg_catalog.master_run_on_worker(text[], integer[], text[], boolean)",
)
FORBIDDEN = """
    SELECT f.name AS function,
           CURRENT_USER::pg_catalog.text AS role
      FROM pg_catalog.unnest(%(functions)s::pg_catalog.text[]) AS f (name)
     WHERE NOT pg_catalog.has_function_privilege(pg_catalog.to_regprocedure(f.name), 'EXECUTE')
"""


def is_worker(catalog: CatalogReader) -> bool:
    """Return whether this server is a worker: it refuses to build, and would keep our records to itself."""
    return any(row["is_worker"] for row in catalog.rows(LOCAL_GROUP))


def unseen(catalog: CatalogReader, tables: Sequence[str]) -> list[str | Hint]:
    """Return what is not visible from here, if any of these tables is distributed or copied to each worker."""
    if is_worker(catalog):
        return [f"{WORKER[0].upper()}{WORKER[1:]}."]
    forbidden = catalog.rows(FORBIDDEN, functions=list(FUNCTIONS))
    if not forbidden or not shards(catalog, tables):
        return []
    functions, role = ", ".join(row["function"] for row in forbidden), identifier(forbidden[0]["role"])
    grant = statement(f"GRANT EXECUTE ON FUNCTION {functions} TO {role};", "status")
    return [Hint(Detail(UNSEEN.format(role=f"role {role}"), UNSEEN.format(role="this role")), grant)]


def problems(catalog: CatalogReader, tables: Sequence[str]) -> list[str]:
    """Return why the cluster cannot change indexes of these tables: a worker was asked, or a node does not answer."""
    if is_worker(catalog):
        return [WORKER]
    if not shards(catalog, tables):
        return []
    with allowed():
        return [unanswered(answer.where, answer.error) for answer in ask(catalog, "SELECT 1") if answer.rows is None]
    return []


def unanswered(node: str, reason: str) -> str:
    """Return that a node does not answer, without a full stop."""
    return f"node {node} of the Citus cluster does not answer: {reason}"
