"""Sampled lookups: rows of the table, each looked up by the index. Needs the right to SELECT alone.

One statement takes the sample and looks its rows up, under one snapshot: what other sessions change meanwhile makes no
difference. A row is looked up by its key, and found if the index returns it, or so many rows of its key that the rest
is not read. Where the planner takes another index or none, nothing is learnt, so the plan is read first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from indexer.postgres.session.reader import CatalogReader
from indexer.text import counted
from indexer.tuples import NamedTuple

ROWS = 2_000  # that are looked up
READ_PER_ROW = 100  # at most, of the rows with the same key
MARGIN = 1.5  # more is sampled than looked up, because pages hold more or fewer rows than the average
MOST_PAGES = 10_000  # of the table that are read for the sample
SHORT = 3  # columns of a key
SMALL = 500  # pages; a table of no more is read whole

# The equality of an operator class is the operator named so. Of an index that cannot be scanned in plain, a bitmap is
# made. reltuples is not to be trusted before the first VACUUM or ANALYZE.
FACTS = """
    SELECT c.relname AS name,
           t.relname AS table_name,
           m.amname AS method,
           pg_catalog.pg_index_has_property(c.oid, 'index_scan') AS is_plain,
           c.reltuples::pg_catalog.float8 AS tuples,
           t.relpages AS pages_then,
           pg_catalog.pg_relation_size(t.oid) / pg_catalog.current_setting('block_size')::pg_catalog.int8 AS pages,
           pg_catalog.pg_relation_filepath(c.oid) AS file,
           pg_catalog.pg_relation_filepath(t.oid) AS table_file,
           ARRAY (
           SELECT o.relname::pg_catalog.text
             FROM pg_catalog.pg_index AS x
             JOIN pg_catalog.pg_class AS o ON o.oid = x.indexrelid
            WHERE x.indrelid = t.oid
              AND x.indexrelid <> c.oid) AS others,
           pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS predicate,
           (
           SELECT pg_catalog.min(p.oid::pg_catalog.regprocedure::pg_catalog.text)
             FROM pg_catalog.pg_depend AS d
             LEFT JOIN pg_catalog.pg_operator AS o
               ON o.oid = d.refobjid
              AND d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass
             JOIN pg_catalog.pg_proc AS p
               ON p.oid = o.oprcode
               OR p.oid = d.refobjid
              AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass
             JOIN pg_catalog.pg_roles AS r ON r.oid = p.proowner
            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
              AND d.objid = c.oid
              AND r.rolname <> CURRENT_USER
              AND NOT r.rolsuper) AS foreign_function,
           ARRAY (
           SELECT ARRAY [
                  pg_catalog.pg_get_indexdef(c.oid, x.attnum, false),
                  (
                  SELECT pg_catalog.quote_ident(n.nspname) || '.' || o.oprname
                    FROM pg_catalog.pg_opclass AS p
                    JOIN pg_catalog.pg_amop AS a
                      ON a.amopfamily = p.opcfamily
                     AND a.amoplefttype = p.opcintype
                     AND a.amoprighttype = p.opcintype
                     AND a.amoppurpose = 's'
                    JOIN pg_catalog.pg_operator AS o ON o.oid = a.amopopr AND o.oprname = '='
                    JOIN pg_catalog.pg_namespace AS n ON n.oid = o.oprnamespace
                   WHERE p.oid = i.indclass[x.attnum - 1]),
                  (
                  SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(o.collname)
                    FROM pg_catalog.pg_collation AS o
                    JOIN pg_catalog.pg_namespace AS n ON n.oid = o.collnamespace
                   WHERE o.oid = i.indcollation[x.attnum - 1]),
                  pg_catalog.pg_index_column_has_property(c.oid, x.attnum, 'search_nulls')::pg_catalog.text]
             FROM pg_catalog.pg_attribute AS x
            WHERE x.attrelid = c.oid
              AND x.attnum BETWEEN 1 AND i.indnkeyatts
            ORDER BY x.attnum) AS key
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
      JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
      JOIN pg_catalog.pg_am AS m ON m.oid = c.relam
     WHERE c.relnamespace = %(namespace)s
       AND c.relkind = 'i'
       AND c.relname = ANY (%(names)s::pg_catalog.text[])
       AND i.indisvalid
"""

SETTINGS = (
    "enable_seqscan = off",
    "enable_tidscan = off",
    "enable_indexscan = on",
    "enable_nestloop = on",
    "plan_cache_mode = force_generic_plan",
    # Of two indexes that one is taken which reads fewer entries, then that which descends less often: a skip scan does
    # so for each value of the first column, and a hash index never.
    "cpu_index_tuple_cost = 1000",
    "cpu_operator_cost = 100",
    "max_parallel_workers_per_gather = 0",
)
WITHOUT_INDEX = ("enable_indexscan = off", "enable_indexonlyscan = off", "enable_bitmapscan = off")
SCANS = ("Index Scan", "Bitmap Index Scan")


class Part(NamedTuple):
    """A part of a key: its SQL, its equality operator, its collation, and whether NULL can be looked up by it."""

    sql: str
    equality: str | None
    collation: str | None
    finds_nulls: bool


class Facts(NamedTuple):
    """What the catalog says of one index.

    Attributes:
        tuples: of the index by the statistics, when the table had ``pages_then`` pages.
        file: of the index, below the server's directory.
        others: the other indexes of the table.
        foreign_function: of its key or predicate, of a role that is neither ours nor a superuser.
    """

    table_name: str
    method: str
    is_plain: bool
    tuples: float
    pages_then: int
    pages: int
    file: str
    table_file: str
    others: list[str]
    predicate: str | None
    foreign_function: str | None
    key: tuple[Part, ...]

    @property
    def obstacle(self) -> str:
        """Why its rows cannot be looked up, as a sentence; empty if they can."""
        if self.foreign_function:
            return f"Its rows are not looked up, because it uses {self.foreign_function}, which another role owns."
        if not all(part.equality for part in self.key):
            return f"Its rows cannot be looked up, because its {self.method} has no operator for equality."
        return ""

    @property
    def patterns(self) -> list[int]:
        """The combinations of columns that can be NULL in a key, as numbers in which each column has a bit.

        Of a long key only those with one such column. The first one is 0: none is NULL.
        """
        count = len(self.key)
        patterns = range(2**count) if count <= SHORT else (0, *(1 << place for place in range(count)))
        return [pattern for pattern in patterns if all(self.key[place].finds_nulls for place in _places(pattern))]

    @property
    def percentage(self) -> float:
        """The part of the table's pages to sample."""
        wanted = float(MOST_PAGES)
        if self.tuples > 0 and self.pages_then > 0:
            wanted = min(ROWS * MARGIN * self.pages_then / self.tuples, wanted)
        return min(100 * max(wanted, SMALL) / max(self.pages, 1), 100)


def _places(pattern: int) -> list[int]:
    return [place for place in range(pattern.bit_length()) if pattern >> place & 1]


class Count(NamedTuple):
    """How many rows were looked up, how many of them were found, and how many of those by their key alone."""

    looked_up: int
    found: int
    by_key: int
    missing: str | None

    @property
    def text(self) -> str:
        """What the numbers do not say by themselves, as a sentence."""
        if self.looked_up == 0:
            return "The sample has no rows to look up."
        if self.found < self.looked_up:
            lost = self.looked_up - self.found
            return f"{lost:,} of {counted(self.looked_up, 'row')} not found, such as the row with ctid {self.missing}."
        by_key = f"{self.by_key:,} of them by their key alone, which {READ_PER_ROW} rows or more have."
        return by_key if self.by_key else ""


def facts_of(reader: CatalogReader, name: str) -> Facts | None:
    """Return what the catalog says of a valid index of this name; None where there is none."""
    return facts_by_name(reader, [name]).get(name)


def facts_by_name(reader: CatalogReader, names: Sequence[str]) -> dict[str, Facts]:
    """Return what the catalog says of the valid ones of these indexes, by name."""
    found = {}
    for row in reader.rows(FACTS, names=list(names)):
        key = tuple(Part(sql, equality, collation, nulls == "true") for sql, equality, collation, nulls in row["key"])
        name = row.pop("name")
        found[name] = Facts(**{**row, "key": key})
    return found


def settings(facts: Facts) -> list[str]:
    """Return the settings under which the planner uses the index, unless another one serves as well."""
    return [*SETTINGS, f"enable_bitmapscan = {'off' if facts.is_plain else 'on'}"]


def statement(table: str, facts: Facts, patterns: Sequence[int], rows: int = ROWS) -> str:
    """Return the statement that samples rows, looks each of them up, and counts.

    No index serves IS NOT DISTINCT FROM, so there is a branch for each pattern of NULL; the other rows are left out.

    Args:
        rows: how many are looked up.
    """
    branch = " + ".join(f"{2**place} * (s.k{place} IS NULL)::pg_catalog.int4" for place in range(len(facts.key)))
    matches = "\nUNION ALL ".join(_branch(table, facts, each) for each in patterns)
    return f"""
        WITH taken AS ({_taken(table, facts)}),
        sample AS MATERIALIZED (
             SELECT *
               FROM (SELECT s.*, {branch} AS branch FROM taken AS s) AS s
              WHERE s.branch IN ({", ".join(map(str, patterns))})
              ORDER BY pg_catalog.random()
              LIMIT {rows})
        SELECT pg_catalog.count(*) AS looked_up,
               pg_catalog.count(*) FILTER (WHERE l.is_found OR l.seen = {READ_PER_ROW}) AS found,
               pg_catalog.count(*) FILTER (WHERE l.is_found IS NOT TRUE AND l.seen = {READ_PER_ROW}) AS by_key,
               pg_catalog.min(s.place::pg_catalog.text)
                   FILTER (WHERE l.is_found IS NOT TRUE AND l.seen < {READ_PER_ROW}) AS missing
          FROM sample AS s
         CROSS JOIN LATERAL (
               SELECT pg_catalog.count(*) AS seen,
                      pg_catalog.bool_or(m.place = s.place) AS is_found
                 FROM ({matches}
                        LIMIT {READ_PER_ROW}) AS m) AS l
    """  # noqa: S608  made of the catalog's own expressions and of quoted names


def sample(table: str, facts: Facts) -> str:
    """Return the statement that reads rows as the other one samples them, from the table alone."""
    keys = ", ".join(f"pg_catalog.count(s.k{place})" for place in range(len(facts.key)))
    return f"SELECT {keys} FROM ({_taken(table, facts)}) AS s"  # noqa: S608  as above


def _taken(table: str, facts: Facts) -> str:
    """Return the query for the sampled rows, with the parts of their keys."""
    columns = "".join(f", ({part.sql}) AS k{place}" for place, part in enumerate(facts.key))
    only = f" WHERE {facts.predicate}" if facts.predicate else ""
    return f"""
             SELECT t.ctid AS place{columns}
               FROM ONLY {table} AS t TABLESAMPLE pg_catalog.system ({facts.percentage:.6f}){only}"""  # noqa: S608


def _branch(table: str, facts: Facts, pattern: int) -> str:
    """Return the query for the rows with these columns of the key NULL."""
    conditions = [f"s.branch = {pattern}", *_conditions(facts, pattern)]
    if facts.predicate:
        conditions.append(facts.predicate)
    return f"SELECT t.ctid AS place FROM ONLY {table} AS t WHERE {' AND '.join(conditions)}"  # noqa: S608  as above


def _conditions(facts: Facts, pattern: int) -> Iterator[str]:
    for place, part in enumerate(facts.key):
        if pattern >> place & 1:
            yield f"({part.sql}) IS NULL"
        else:
            collation = f" COLLATE {part.collation}" if part.collation else ""
            yield f"({part.sql}) OPERATOR({part.equality}) s.k{place}{collation}"


def other_scan(plan: dict[str, Any], facts: Facts, index: str) -> str | None:
    """Return by what else than a search of the index a plan finds the rows; None if it searches that index alone."""
    for node in _nodes(plan):
        is_of_table = node.get("Relation Name") == facts.table_name or "Index Name" in node
        if not is_of_table or node["Node Type"] in ("Sample Scan", "Bitmap Heap Scan"):
            continue
        if node["Node Type"] not in SCANS or node.get("Index Name") != index or "Index Cond" not in node:
            return node.get("Index Name") or f"a {node['Node Type']}"
    return None


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)
