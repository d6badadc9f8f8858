"""health, reindex, analyze and check --deep see the index of a partitioned table as the sum of its leaf indexes."""

from __future__ import annotations

from typing import Any

import pytest
from command import ask, execute, nothing_changes, run, succeed
from examined import examined
from kinds import runner_of
from partitioned import NEWEST, YEARS, add_year, by_range, index_parents
from scenes import until

from indexer.care.analyze import Analyzer
from indexer.errors import StatementFailed
from indexer.events import StatementStarted
from indexer.postgres.session.database import WatchedCursor

NAME = "ix_activity_type"


COLUMNS = "(openphone_id, conversation_id, activity_type, created_at)"
PLANNED = "SET enable_seqscan = off"
READ = "SELECT count(*) FROM activity WHERE activity_type = 'message'"


def head(url: str, rows: int = 300) -> None:
    """Put a partitioned table of activities in the place of the ordinary one, with its indexes."""
    by_range(url, rows=rows)
    index_parents(url)


def of(name: str, document: Any) -> Any:
    """Return what a document says of one index."""
    (found,) = (each for each in document["indexes"] if each["index"] == name)
    return found


def of_activity(document: Any) -> Any:
    """Return what a document says of the table of activities."""
    (found,) = (each for each in document["tables"] if each["table"] == "activity")
    return found


def advised(document: Any) -> dict[str, list[str]]:
    """Return the texts of the advice, by kind, each once."""
    found: dict[str, dict[str, None]] = {}
    for index in document["indexes"]:
        for advice in index["advice"]:
            found.setdefault(advice["kind"], {})[str(advice["text"])] = None
    return {kind: list(texts) for kind, texts in found.items()}


def health(url: str, *arguments: str) -> Any:
    """Return the document of health, which changes nothing."""
    with nothing_changes(url):
        return succeed("health", "--json", *arguments, url=url).json()


def test_size_scans_and_writes_of_an_index_are_those_of_its_leaf_indexes_in_any_schema(base_url):
    head(base_url, 900)
    execute(
        base_url, "CREATE SCHEMA archive", "ALTER TABLE activity_2022 SET SCHEMA archive", "VACUUM ANALYZE activity"
    )
    execute(base_url, PLANNED, READ, READ)
    until(lambda: of(NAME, health(base_url))["scans"] == 8, "the count of two scans of four leaf indexes")
    document = health(base_url)
    index = of(NAME, document)
    sizes = "SELECT sum(pg_relation_size(oid)) FROM pg_class WHERE relname ~ '^activity_.*activity_type_idx$'"
    assert index["bytes"] == ask(base_url, sizes)[0][0]
    assert (index["state"], index["writes"], index["tuples_per_scan"]) == ("valid", 900, 225.0)
    assert index["why"] == "the indexes of its partitions are too small"
    assert index["partitions"] == of_activity(document)["partitions"] == 4
    assert 0 < index["share_of_table"] < 1
    assert of_activity(document)["rows"] == 900


def test_the_lookups_of_check_deep_and_reindex_in_leaves_are_no_scans(base_url):
    if int(ask(base_url, "SHOW server_version_num")[0][0]) < 150000:
        pytest.skip("before PostgreSQL 15 the counters of a new database begin with the first ones that it reports")
    head(base_url)
    succeed("up", url=base_url)
    counted = "SELECT sum(idx_scan) FROM pg_stat_user_indexes WHERE indexrelname ~ '^activity_.*activity_type_idx$'"
    leaf = "activity_2023_activity_type_idx"
    commands = (("check", "--deep", NAME), ("check", "--deep", leaf), ("reindex", leaf), ("reindex", NAME))
    for command in commands:
        succeed(*command, url=base_url)
    until(lambda: ask(base_url, counted) == [(800,)], "the count of the lookups")
    index = of(NAME, health(base_url))
    assert (index["scans"], index["own_scans"], index["tuples_per_scan"]) == (0, 800, None)
    assert "The lookups of check --deep, the last on " in succeed("health", NAME, url=base_url).stdout


def test_a_partitioned_table_needs_its_own_statistics_which_autovacuum_does_not_gather(base_url):
    head(base_url, 900)
    execute(base_url, *(f"ANALYZE activity_{year}" for year in YEARS))
    advice = "activity has 900 rows and no statistics. Gather new statistics: python cli.py analyze"
    until(lambda: advised(health(base_url)).get("statistics") == [advice], "the count of ANALYZE")
    (done,) = succeed("analyze", "--json", url=base_url).json()["analyzed"]
    assert (done["table"], done["why"]) == ("activity", "activity has 900 rows and no statistics")
    assert "statistics" not in advised(health(base_url))
    assert succeed("analyze", "--json", url=base_url).json()["analyzed"] == []
    rows = "SELECT 'AC', 1, 'call', '2023-05-01' FROM generate_series(1, 200)"
    execute(base_url, f"INSERT INTO activity {COLUMNS} {rows}")
    (text,) = until(lambda: advised(health(base_url)).get("statistics"), "the count of new rows")
    assert text.startswith(("200 rows of activity have changed", "activity has 1,100 rows, and its statistics were"))
    assert "200 rows of activity have changed" in text


def test_a_leaf_without_statistics_is_named(base_url):
    head(base_url, 900)
    execute(base_url, "ANALYZE activity")
    add_year(base_url, 2025)
    execute(base_url, "ALTER TABLE activity_2025 SET (autovacuum_enabled = off)")
    rows = "SELECT 'AC', 1, 'call', '2025-05-01' FROM generate_series(1, 80)"
    execute(base_url, f"INSERT INTO activity {COLUMNS} {rows}")
    lacks = "activity_2025 has 80 rows and no statistics. Gather new statistics: python cli.py analyze"
    until(lambda: advised(health(base_url)).get("statistics") == [lacks], "the count of new rows")


def test_a_foreign_partition_that_does_not_answer_ends_analyze_at_once(base_url, superuser_url):
    if not ask(base_url, "SELECT 1 FROM pg_available_extensions WHERE name = 'postgres_fdw'"):
        pytest.skip("this PostgreSQL has no postgres_fdw")
    by_range(base_url, rows=9)
    counted = "SELECT sum(n_live_tup) FROM pg_stat_user_tables WHERE relname ~ '^activity_'"
    until(lambda: ask(base_url, counted) == [(9,)], "the count of the rows")
    # Only a superuser can create a wrapper of foreign data.
    execute(
        superuser_url,
        "CREATE EXTENSION postgres_fdw",
        "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw",
        "CREATE FOREIGN TABLE elsewhere PARTITION OF activity"
        " FOR VALUES FROM ('2030-01-01') TO ('2031-01-01') SERVER far",
        "ALTER FOREIGN TABLE elsewhere OWNER TO crm_owner",
    )
    events: list[object] = []
    with runner_of(base_url, NEWEST) as runner, pytest.raises(StatementFailed) as failure:
        Analyzer(runner.reporting(events.append)).run()
    assert failure.value.message.startswith("Analyzing activity failed: user mapping not found")
    assert str(failure.value.hint) == "Fix what the server reports, then run the same command again."
    assert [type(event) for event in events].count(StatementStarted) == 1


def test_an_incomplete_index_that_is_not_as_declared_is_to_be_compared(base_url):
    by_range(base_url, rows=0)
    execute(base_url, f"CREATE INDEX {NAME} ON ONLY activity (status)")
    (text,) = advised(health(base_url, NAME))["invalid"]
    assert text == f"{NAME} is not complete, and not as declared. Compare: python cli.py check"
    assert "status" in run("check", url=base_url).stdout


def test_a_table_needs_statistics_of_the_tables_that_inherit_from_it(base_url):
    execute(base_url, "CREATE TABLE activity_old () INHERITS (activity)", "INSERT INTO activity_old (id) VALUES (1)")
    execute(base_url, "ANALYZE activity_old")
    (done,) = succeed("analyze", "--json", url=base_url).json()["analyzed"]
    assert done["why"] == "activity has no statistics of the rows in the tables that inherit from it"
    assert succeed("analyze", "--json", url=base_url).json()["analyzed"] == []


def test_sixty_partitions_take_health_no_more_statements_than_four(base_url, monkeypatch):
    sent = []
    execute_one = WatchedCursor.execute
    monkeypatch.setattr(WatchedCursor, "execute", lambda *given: (sent.append(given), execute_one(*given))[1])
    head(base_url)
    examined(base_url)
    of_four = len(sent)
    years = [(year, year + 1) for year in range(1961, 2021)]
    new = "CREATE TABLE activity_{} PARTITION OF activity FOR VALUES FROM ('{}-01-01') TO ('{}-01-01')"
    execute(base_url, *(new.format(start, start, end) for start, end in years))
    examined(base_url)
    assert len(sent) == 2 * of_four
