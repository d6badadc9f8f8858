"""Which indexes serve a query, by its plan: the table of what an index can lack, and of what else a plan can do."""

from __future__ import annotations

import re

import pytest

from indexer import Index, desc
from indexer.catalog import CatalogEntry, Table
from indexer.definition import Column, Definition
from indexer.query_planner import Plan, Scan
from indexer.server import Child
from indexer.verify.serving import Indexes

MEMBERS = Index("ix_members", table="membership", columns=("campaign_id", "status"))
HISTORY = Index("ix_history", table="activity", columns=("conversation_id", desc("created_at")))


def of(table: str, *key: str, method: str = "btree", predicate: str | None = None, valid: bool = True) -> CatalogEntry:
    """Return an index of these columns, each with its direction and its collation."""
    parts = (re.fullmatch(r"(\w+)(?: COLLATE (\w+))?( DESC)?", each) for each in key)
    columns = tuple(Column(part[1], bool(part[3]), collation=part[2]) for part in parts if part)
    return CatalogEntry("", "index", Definition(table, method, columns, predicate=predicate), valid=valid)


def known(entries: dict[str, CatalogEntry], children: list[Child]) -> Indexes:
    tables = {name: Table(name, "table", frozenset()) for name in ("membership", "activity")}
    declared = {index.name: index.postgresql for index in (MEMBERS, HISTORY)}
    return Indexes(entries, children, tables, declared)


def child(name: str, has_rows: bool, parent: str = "activity") -> Child:
    return Child(parent, "public", name, 1, "owner", True, has_rows)


def plan(*scans: tuple[str, str], sorts: bool = False, whole: tuple[str, ...] = ()) -> Plan:
    """Return a plan of these uses of indexes, each with the columns that it is searched by."""
    return Plan(tuple(Scan(name, frozenset(columns.split())) for name, columns in scans), sorts, whole=frozenset(whole))


@pytest.mark.parametrize(
    ("key", "searched", "options", "serves"),
    [
        pytest.param(("campaign_id", "status"), "campaign_id status", {}, True, id="as declared"),
        pytest.param(("status", "campaign_id"), "campaign_id status", {}, True, id="columns exchanged"),
        pytest.param(("campaign_id", "status", "id"), "campaign_id status", {}, True, id="wider"),
        pytest.param(("campaign_id", "status"), "campaign_id", {}, True, id="searched by the first column alone"),
        pytest.param(("campaign_id",), "campaign_id", {}, False, id="one column is missing"),
        pytest.param(("id", "campaign_id", "status"), "campaign_id status", {}, False, id="begins with another column"),
        pytest.param(("campaign_id",), "campaign_id", {"predicate": "status = 'sent'"}, True, id="implied"),
        pytest.param(("campaign_id",), "campaign_id", {"predicate": "id > 1"}, False, id="another predicate"),
        pytest.param(("campaign_id", "status COLLATE x"), "campaign_id", {}, False, id="another collation"),
        pytest.param(("campaign_id", "status"), "campaign_id status", {"method": "brin"}, False, id="blocks"),
    ],
)
def test_an_index_serves_that_leaves_no_condition_to_be_checked_in_the_table(key, searched, options, serves):
    indexes = known({"ix": of("membership", *key, **options)}, [])
    assert indexes.serving(plan(("ix", searched)), MEMBERS) == ({"ix"} if serves else set())


def test_an_index_that_the_catalog_does_not_know_serves_nothing():
    assert known({}, []).serving(plan(("ix", "campaign_id status")), MEMBERS) == set()


@pytest.mark.parametrize(
    ("children", "found", "serving", "unserved"),
    [
        pytest.param([], plan(("ix", "conversation_id")), {"ix"}, set(), id="in order"),
        pytest.param([], plan(("ix", "conversation_id"), sorts=True), set(), set(), id="sorted"),
        pytest.param([], plan(("ix", "conversation_id"), whole=("activity",)), set(), set(), id="read whole"),
        pytest.param(
            [child("old", True)],
            plan(("ix", "conversation_id"), whole=("old",)),
            set(),
            {"old"},
            id="a child read whole",
        ),
        pytest.param(
            [child("old", True)],
            plan(("ix", "conversation_id"), ("of_old", "conversation_id")),
            {"ix"},
            set(),
            id="a child served by its own index, which is not named",
        ),
        pytest.param(
            [child("old", True)],
            plan(("ix", "conversation_id"), ("by_time", "")),
            set(),
            {"old"},
            id="a child scanned by an index made for something else",
        ),
        pytest.param(
            [child("next", False)],
            plan(("ix", "conversation_id"), sorts=True, whole=("next",)),
            {"ix"},
            set(),
            id="an empty child makes the planner sort",
        ),
    ],
)
def test_no_index_serves_while_rows_are_read_whole_or_sorted(children, found, serving, unserved):
    entries = {
        "ix": of("activity", "conversation_id", "created_at DESC"),
        "of_old": of("old", "conversation_id", "created_at DESC"),
        "by_time": of("old", "created_at DESC"),
    }
    indexes = known(entries, children)
    assert indexes.serving(found, HISTORY) == serving
    assert indexes.unserved_children(found, HISTORY) == unserved


def test_usable_indexes_that_serve_all_queries_make_the_declared_one_redundant():
    entries = {
        "ix_members": of("membership", "campaign_id", "status"),
        "same": of("membership", "campaign_id", "status"),
        "wider": of("membership", "campaign_id", "status", "id"),
        "narrower": of("membership", "campaign_id"),
        "partial": of("membership", "campaign_id", "status", predicate="id > 1"),
        "invalid": of("membership", "campaign_id", "status", valid=False),
        "elsewhere": of("campaign", "campaign_id", "status"),
    }
    assert known(entries, []).making_redundant(MEMBERS) == {"same", "wider"}
    assert known(entries, []).partial == {"partial"}


@pytest.mark.parametrize(
    ("key", "searched", "predicate", "serves"),
    [
        pytest.param(("id",), "", "status = 'waiting'", True, id="the same predicate"),
        pytest.param(("id",), "", None, False, id="all rows in order"),
        pytest.param(("id",), "id", None, False, id="all rows of a range"),
        pytest.param(("status", "id"), "status", None, True, id="all rows, found by the predicate's column"),
        pytest.param(("status", "id"), "", None, False, id="all rows, read whole"),
        pytest.param(("id",), "", "status <> 'done'", True, id="a weaker predicate on the same column"),
        pytest.param(("id",), "id", "campaign_id = 1", False, id="another predicate"),
    ],
)
def test_an_index_of_all_rows_serves_as_a_partial_one_only_if_it_finds_the_rows_of_the_predicate(
    key, searched, predicate, serves
):
    waiting = Index("ix_waiting", table="membership", columns=("id",), where="status = 'waiting'")
    tables = {"membership": Table("membership", "table", frozenset({"id", "status", "campaign_id"}))}
    entries = {"ix": of("membership", *key, predicate=predicate)}
    indexes = Indexes(entries, [], tables, {waiting.name: waiting.postgresql})
    assert indexes.serving(plan(("ix", searched)), waiting) == ({"ix"} if serves else set())
