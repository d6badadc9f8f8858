"""reindex rebuilds the index of a partitioned table leaf by leaf, and only the leaves that need it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from signal import SIGTERM
from typing import Any

import leftovers
import pytest
from command import HEAD, ask, broken, execute, prepare, refuses, succeed
from counters import change
from examined import CHAIN
from kinds import runner_of
from partitioned import NEWEST, OF_ACTIVITY, by_range, index_parents, leaf_indexes, up
from roles import another_role
from scenes import until

from indexer.care.choice import Criteria
from indexer.care.reindex import Reindexer
from indexer.connection import connect
from indexer.errors import Command, Interrupted, PreflightFailed
from indexer.events import IndexFinished
from indexer.records.baseline import Baseline
from indexer.runner import Runner

NAME = "ix_activity_openphone_id"
LEFT = "activity_2023_activity_type_idx_ccnew"
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


def health(url: str) -> Any:
    """Return what health says of each index."""
    return succeed("health", "--json", url=url).json()["indexes"]


def baselines(url: str) -> Mapping[str, Baseline]:
    """Return what is recorded of the size of the indexes when they were fresh."""
    with connect(url, read_only=True) as migrator:
        return Runner(migrator, CHAIN).inspector.records()[HEAD].baselines


def plan_of(url: str) -> Any:
    """Return what reindex would do about the index whose leaf is bloated."""
    return succeed("reindex", "--dry-run", "--json", NAME, "--bloated-over", "2", url=url).json()


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
    (of_whole, of_leaf) = (baselines(base_url)[name] for name in (NAME, GROWING))
    assert (of_whole.by, of_leaf.by) == ("reindex", "reindex")
    assert of_whole.bytes > of_leaf.bytes > 2**20
    after = files(base_url)
    assert all(before[name] != after[name] for name in before)
    succeed("reindex", GROWING, url=base_url)
    assert {name for name in after if after[name] != files(base_url)[name]} == {GROWING}
    said = succeed("reindex", f"archive.{OLD}", url=base_url).stdout
    assert f"  archive.{OLD} rebuilt in" in said
    assert f"  archive.{OLD}: 2,000 of 2,000 found" in said
    unknown = refuses(base_url, "reindex", "activity_2024_openphone_id_idy", exit_code=2)
    assert "activity_2024_openphone_id_idy may be activity_2024_openphone_id_idx" in unknown.stderr
    without_schema = refuses(base_url, "reindex", OLD, exit_code=2)
    assert f"No revision declares {OLD}: {OLD} may be archive.{OLD}." in without_schema.stderr


def test_an_interrupted_rebuild_of_many_leaves_names_the_command_that_rebuilds_the_others(base_url):
    by_range(base_url, rows=0, years=tuple(range(2018, 2025)))
    up(base_url, NEWEST)
    asked = Criteria(("ix_newest",))
    with runner_of(base_url, NEWEST) as runner:
        assert len(Reindexer(runner).run(asked).rebuilt) == 8
    young, left = interrupted(base_url, asked), sorted(leaf[2] for leaf in leaf_indexes(base_url, "ix_newest"))
    assert young.min_age is None
    assert sorted(young.names) == left[1:]
    with runner_of(base_url, NEWEST) as runner:
        assert sorted(each.name for each in Reindexer(runner).run(young).rebuilt) == left[1:]
        inspector = runner.inspector
        record = inspector.records()["kinds"]
        old = {name: each._replace(at=each.at - timedelta(days=2)) for name, each in record.baselines.items()}
        runner.migrator.database.execute(inspector.revisions.update(record._replace(baselines=old)))
    by_age = interrupted(base_url, asked)
    assert (by_age.names, by_age.min_age) == (("ix_newest",), 1)
    with runner_of(base_url, NEWEST) as runner:
        assert len(Reindexer(runner).run(by_age).rebuilt) == 7


def interrupted(url: str, criteria: Criteria) -> Criteria:
    """Interrupt a rebuild after its first index; return what the command asks for that it says to continue with."""
    with runner_of(url, NEWEST) as runner:

        def report(event: object) -> None:
            if isinstance(event, IndexFinished):
                runner.stop.ask(SIGTERM)

        with pytest.raises(Interrupted) as failure:
            Reindexer(runner.reporting(report)).run(criteria)
    (command,) = (part for part in failure.value.hint.parts if isinstance(part, Command))
    names = tuple(word for word in command[1:] if word.startswith("ix_newest"))
    assert command[1:] == (*names, *(("--min-age", "1") if "--min-age" in command else ()))
    return Criteria(names, min_age=1.0 if "--min-age" in command else None)


def test_a_right_that_is_missing_on_the_schema_of_a_leaf_is_found_before_anything_is_rebuilt(base_url, superuser_url):
    by_range(base_url, rows=0, years=(2023,))
    execute(base_url, "CREATE SCHEMA archive", "ALTER TABLE activity_2023 SET SCHEMA archive")
    up(base_url, NEWEST)
    # Only a superuser can give a schema to a role that the owner is no member of.
    with another_role(superuser_url) as role:
        execute(superuser_url, f"ALTER SCHEMA archive OWNER TO {role}")
        with runner_of(base_url, NEWEST) as runner, pytest.raises(PreflightFailed) as failure:
            Reindexer(runner).run(Criteria(("ix_newest",)))
        assert list(failure.value.problems) == ["role crm_owner may not use schema archive"]


def test_leftovers_and_duplicates_on_leaves_are_named_and_what_is_attached_is_never_to_be_dropped(base_url):
    prepare(base_url)
    execute(base_url, f"DROP INDEX {', '.join(OF_ACTIVITY)}")
    by_range(base_url, rows=9)
    index_parents(base_url)
    execute(
        base_url,
        "CREATE SCHEMA archive",
        "ALTER TABLE activity_2022 SET SCHEMA archive",
        "CREATE INDEX twin ON archive.activity_2022 (activity_type)",
        "CREATE INDEX of_one_leaf ON activity_2024 (status)",
        "CREATE INDEX ix_twin ON activity (openphone_id)",
    )
    write = "INSERT INTO activity (created_at) VALUES ('2023-05-01')"
    leftovers.cancel(base_url, f"REINDEX INDEX CONCURRENTLY {LEFT[:-6]}", write)
    check = succeed("check", "--json", url=base_url).json()
    advice = {(each["kind"], each["index"]): each["text"] for each in check["advice"]}
    on_leaf = "archive.twin on archive.activity_2022 is a duplicate of archive.activity_2022_activity_type_idx, which"
    assert advice["duplicate", "twin"].startswith(on_leaf)
    assert set(advice) == {("leftover", LEFT), ("duplicate", "twin"), ("duplicate", "ix_twin")}
    assert advice["duplicate", "twin"].endswith(' Drop it: DROP INDEX CONCURRENTLY "archive"."twin";')
    of_leaves = {each["text"] for index in health(base_url) for each in index["advice"] if each["kind"] != "statistics"}
    assert {advice["leftover", LEFT], advice["duplicate", "twin"]} < of_leaves
    (of_parent,) = of_leaves - {advice["leftover", LEFT], advice["duplicate", "twin"]}
    assert of_parent.endswith('Drop it: SET lock_timeout = \'300ms\'; DROP INDEX "public"."ix_twin";')
    assert succeed("reindex", "--json", url=base_url).json()["dropped"] == [LEFT]
    for text in (advice["duplicate", "twin"], of_parent):
        execute(base_url, *text.partition("Drop it: ")[2].split("; "))
    assert succeed("check", "--json", url=base_url).json()["advice"] == []
