"""Asks all nodes of a Citus cluster one question, on one connection to each. The nodes answer as our role."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from peewee import PeeweeException

from indexer.postgres.session.reader import CatalogReader
from indexer.postgres.session.server_errors import INSUFFICIENT_PRIVILEGE, sqlstate
from indexer.postgres.session.settings import PINNED
from indexer.text import identifier
from indexer.tuples import NamedTuple

# The name of a shard's table comes from Citus, which cuts and hashes a long one.
SHARDS = """
    SELECT c.relname AS table,
           s.shardid AS id,
           COALESCE(n.nodeid, 0) AS node,
           COALESCE(n.nodename || ':' || n.nodeport, 'the coordinator') AS where,
           names.parts[pg_catalog.array_upper(names.parts, 1)] AS name,
           pg_catalog.quote_ident(%(schema)s) AS schema
      FROM pg_catalog.pg_dist_shard AS s
      JOIN pg_catalog.pg_class AS c ON c.oid = s.logicalrelid
      JOIN pg_catalog.pg_dist_placement AS p ON p.shardid = s.shardid AND p.shardstate = 1
      LEFT JOIN pg_catalog.pg_dist_node AS n ON n.groupid = p.groupid AND n.noderole = 'primary'
     CROSS JOIN LATERAL (
           SELECT pg_catalog.parse_ident(pg_catalog.shard_name(s.logicalrelid, s.shardid)) AS parts) AS names
     WHERE c.relnamespace = %(namespace)s
       AND c.relname = ANY (%(tables)s::pg_catalog.text[])
     ORDER BY c.relname, s.shardid, n.nodeid
"""

ASK = """
    SELECT r.nodeid AS node,
           COALESCE(n.nodename || ':' || n.nodeport, 'the coordinator') AS where,
           COALESCE(n.hasmetadata AND n.groupid <> 0, false) AS has_shells,
           r.success,
           r.result
      FROM pg_catalog.run_command_on_all_nodes(%(command)s) AS r
      LEFT JOIN pg_catalog.pg_dist_node AS n ON n.nodeid = r.nodeid
     ORDER BY n.nodename, n.nodeport
"""

# The text is parsed once the settings are made, so that every name and operator in it is resolved by them.
COMMAND = """
    SELECT pg_catalog.query_to_xml(
               CASE WHEN pg_catalog.concat({settings}) IS NOT NULL THEN {text} END, false, false, '')
"""
ROWS = "SELECT pg_catalog.json_agg(pg_catalog.row_to_json(answer)) AS answer FROM ({query}) AS answer"
BEGIN, END = "<answer>", "</answer>"

LONGEST = 63  # bytes of a name
UNCUT = 40  # bytes of a name that Citus never cuts
HASH = 9  # bytes of an underscore and the hash of a long name, in hexadecimal


class Shard(NamedTuple):
    """A placement of a shard.

    Attributes:
        table: the distributed table.
        id: of the shard; a reference table has one shard with a placement on each node.
        node: the id of its node.
        where: the host and the port of the node.
        name: of the table of the shard.
        schema: as SQL.
    """

    table: str
    id: int
    node: int
    where: str
    name: str
    schema: str

    @property
    def relation(self) -> str:
        """The table of the shard with its schema, as SQL."""
        return f"{self.schema}.{identifier(self.name)}"


class Answer(NamedTuple):
    """What a node answers: rows, or None with the reason.

    Attributes:
        node: its id; 0 for a coordinator that is no node of the cluster.
        where: its host and port.
        has_shells: whether it is a worker with the empty tables that the coordinator has, so that it plans queries.
    """

    node: int
    where: str
    rows: list[dict[str, Any]] | None
    error: str = ""
    has_shells: bool = False


def shards(catalog: CatalogReader, tables: Sequence[str]) -> list[Shard]:
    """Return the placements of these tables; none for a local table."""

    def ask() -> list[Shard]:
        return [Shard(**row) for row in catalog.rows(SHARDS, tables=list(tables))]

    return catalog.recall((SHARDS, catalog.schema, *tables), ask)


def ask(catalog: CatalogReader, query: str, settings: Mapping[str, str] = {}) -> list[Answer]:
    """Return what each node answers to a query, its rows as JSON objects.

    Args:
        query: a SELECT without parameters; ``array`` and ``relations`` write values for it.
        settings: those under which the nodes are to plan and execute it, besides our search path.

    Raises:
        PeeweeException: our role may not ask the nodes.
    """
    return [answer_of(**row) for row in catalog.rows(ASK, command=command_of(query, settings))]


def command_of(query: str, settings: Mapping[str, str] = {}) -> str:
    """Return the command that executes a query on a node, and whose result ``answer_of`` reads; as for ``ask``."""
    pinned = {"search_path": PINNED["search_path"], **settings}
    calls = ", ".join(f"pg_catalog.set_config({quoted(name)}, {quoted(value)}, true)" for name, value in pinned.items())
    return COMMAND.format(settings=calls, text=quoted(ROWS.format(query=query)))


@contextmanager
def allowed() -> Iterator[None]:
    """End the block, and go on after it, if our role may not ask the nodes."""
    try:
        yield
    except PeeweeException as error:
        if sqlstate(error) != INSUFFICIENT_PRIVILEGE:
            raise


def answer_of(node: int, where: str, success: bool, result: str | None, has_shells: bool = False) -> Answer:
    """Return the answer of a node; its result is a row of XML, without an element where there are no rows."""
    if not success:
        return Answer(node, where, None, " ".join((result or "no reason was given").split()), has_shells)
    _, _, after = (result or "").partition(BEGIN)
    from xml.sax.saxutils import unescape  # which imports urllib and email; without Citus this module does nothing

    return Answer(node, where, json.loads(unescape(after.partition(END)[0]) or "[]"), has_shells=has_shells)


def quoted(text: str) -> str:
    """Return a text as a constant, whatever the settings of the node."""
    return "E'{}'".format(text.replace("\\", "\\\\").replace("'", "''"))


def array(values: Iterable[str]) -> str:
    """Return texts as an array."""
    return f"ARRAY[{', '.join(map(quoted, values))}]::pg_catalog.text[]"


def relations(names: Iterable[str]) -> str:
    """Return an array of the OIDs that relations have on a node.

    Args:
        names: with the schema, as SQL. One that the node does not have is left out.
    """
    oids = "SELECT pg_catalog.to_regclass(name)::pg_catalog.oid FROM pg_catalog.unnest"
    return f"ARRAY ({oids}({array(names)}) AS name)"


def beginning(name: str) -> str:
    """Return how the names begin that Citus gives to the relations of shards."""
    return name.encode()[:UNCUT].decode(errors="ignore")


def is_of_any_shard(name: str, found: str) -> bool:
    """Return whether Citus gives a relation of some shard this name; the arguments are as for the next function."""
    number = found.rpartition("_")[2]
    return number.isdecimal() and is_named_after(name, int(number), found)


def is_named_after(name: str, shard: int, found: str) -> bool:
    """Return whether Citus gives a relation of a shard this name, which it cuts and hashes where it is too long.

    Args:
        name: of the relation on the coordinator.
        found: of the relation of the shard.
    """
    number = f"_{shard}"
    room = LONGEST - len(number)
    if len(name.encode()) <= room:
        return found == name + number
    beginning = name.encode()[: room - HASH].decode(errors="ignore")
    return re.fullmatch(f"{re.escape(beginning)}_[0-9a-f]{{8}}{number}", found) is not None
