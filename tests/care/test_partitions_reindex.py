"""reindex rebuilds the index of a partitioned table leaf by leaf, and only the leaves that need it."""

from __future__ import annotations

from typing import Any

from command import ask, broken, execute, prepare, refuses, succeed
from counters import change
from partitioned import OF_ACTIVITY, by_range, index_parents, leaf_indexes
from scenes import until

NAME = "ix_activity_openphone_id"
OLD, GROWING = "activity_2022_openphone_id_idx", "activity_2024_openphone_id_idx"


def bloated(url: str) -> None:
    """Bring a database to the head, with a partitioned table of which one leaf has lost most of its rows."""
    prepare(url)
    execute(url, f"DROP INDEX {', '.join(OF_ACTIVITY)}")
    by_range(url, rows=0)
    index_parents(url)
    execute(url, "CREATE SCHEMA archive", "ALTER TABLE activity_2022 SET SCHEMA archive")
    for year in (2022, 2024):
        execute(
            url,
            "INSERT INTO activity (openphone_id, conversation_id, activity_type, created_at)"
            f" SELECT 'AC' || md5(n::text), n % 50, 'call', '{year}-05-01' FROM generate_series(1, 30000) AS n",
        )
    change(url, "DELETE FROM archive.activity_2022 WHERE id % 10 <> 0")
    change(url, "VACUUM ANALYZE archive.activity_2022", "VACUUM ANALYZE activity_2024")


def files(url: str, name: str = NAME) -> dict[str, int]:
    """Return the number of the file of each leaf index."""
    found = {index for _, _, index, _, _ in leaf_indexes(url, name)}
    return {name: file for name, file in ask(url, "SELECT relname, relfilenode FROM pg_class") if name in found}


def plan_of(url: str, *arguments: str) -> Any:
    """Return what reindex would do."""
    return succeed("reindex", "--dry-run", "--json", *arguments, url=url).json()


def test_only_the_bloated_leaf_is_rebuilt_in_its_schema(base_url):
    bloated(base_url)
    until(lambda: [each["index"] for each in plan_of(base_url)["rebuilds"]] == [f"archive.{OLD}"], "the statistics")
    advice = succeed("health", url=base_url).stdout
    assert f"1 of 4 leaf indexes of {NAME} is bloated: archive.{OLD}: " in advice
    assert f"Rebuild what is bloated: python cli.py reindex {NAME} --bloated-over 2\n" in advice
    before = files(base_url)
    done = succeed("reindex", "--json", NAME, "--bloated-over", "2", url=base_url).json()
    (rebuilt,) = done["rebuilt"]
    assert (rebuilt["index"], rebuilt["table"]) == (f"archive.{OLD}", "archive.activity_2022")
    assert (rebuilt["partitioned_index"], rebuilt["check"]) == (NAME, "2,000 of 2,000 found")
    assert rebuilt["bytes"] * 2 < rebuilt["bytes_before"]
    after = files(base_url)
    assert {name for name in before if before[name] != after[name]} == {OLD}
    assert broken(base_url) == set()
    succeed("check", url=base_url)
    assert plan_of(base_url)["rebuilds"] == []


def test_an_index_that_is_named_is_rebuilt_on_all_leaves_and_a_leaf_can_be_named(base_url):
    bloated(base_url)
    before = files(base_url)
    document = succeed("reindex", "--json", NAME, url=base_url).json()
    assert len(document["rebuilt"]) == 4
    after = files(base_url)
    assert all(before[name] != after[name] for name in before)
    succeed("reindex", GROWING, url=base_url)
    assert {name for name in after if after[name] != files(base_url)[name]} == {GROWING}
    succeed("reindex", f"archive.{OLD}", url=base_url)
    refuses(base_url, "reindex", "activity_2024_openphone_id_idy", exit_code=2)
