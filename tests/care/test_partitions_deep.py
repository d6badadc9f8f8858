"""check --deep checks the index of a partitioned table leaf by leaf."""

from __future__ import annotations

from command import execute, prepare, refuses, run, succeed
from corruption import lose_writes
from partitioned import OF_ACTIVITY, by_range, index_parents

NAME, LEAF = "ix_activity_type", "activity_2023_activity_type_idx"


def test_each_leaf_is_checked_and_a_corrupt_one_is_named(base_url, superuser_url):
    """A superuser alone can forge the catalog."""
    prepare(base_url)
    execute(base_url, f"DROP INDEX {', '.join(OF_ACTIVITY)}")
    by_range(base_url)
    index_parents(base_url)
    execute(base_url, "CREATE SCHEMA archive", "ALTER TABLE activity_2022 SET SCHEMA archive", "ANALYZE")
    deep = {each["index"]: each for each in succeed("check", "--deep", "--json", url=base_url).json()["deep"]}
    assert len(deep) == 10
    assert (deep[NAME]["result"], deep[NAME]["looked_up"], deep[NAME]["found"]) == ("clean", 300, 300)
    row = "INSERT INTO activity (activity_type, created_at) VALUES ('lost', '2023-07-01')"
    lose_writes(superuser_url, LEAF, row)
    result = run("check", "--deep", NAME, "--json", url=base_url)
    (finding,) = result.json()["deep"]
    assert (result.exit_code, finding["result"], finding["looked_up"], finding["found"]) == (4, "corrupt", 301, 300)
    assert finding["text"].startswith(f"{LEAF}: 1 of 101 rows not found, such as the row with ctid ")
    said = run("check", "--deep", url=base_url).stdout
    assert f"Corrupt: {LEAF}. To rebuild it, run: python cli.py reindex {LEAF}\n" in said
    (alone,) = run("check", "--deep", LEAF, "--json", url=base_url).json()["deep"]
    assert (alone["index"], alone["result"]) == (LEAF, "corrupt")
    succeed("check", "--deep", "archive.activity_2022_activity_type_idx", url=base_url)
    refuses(base_url, "check", "--deep", "activity_2022_activity_type_idx", exit_code=2)
    succeed("reindex", LEAF, url=base_url)
    succeed("check", "--deep", NAME, url=base_url)
