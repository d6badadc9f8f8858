"""Indexes of partitioned tables: what up, down, status, check and plan do about a parent index and its leaves."""

from __future__ import annotations

import pytest
from command import (
    ask,
    broken,
    execute,
    indexes,
    nothing_changes,
    records,
    refuses,
    run,
    run_script,
    succeed,
)
from kinds import runner_of
from leftovers import cancel
from partitioned import (
    LEAVES,
    NEWEST,
    NEWEST_ON,
    OF_ACTIVITY,
    OPENED,
    add_year,
    by_range,
    covered,
    down,
    fill,
    findings,
    index_parents,
    leaf_indexes,
    problems,
    shell,
    up,
)
from roles import another_role

from indexer import Index
from indexer.care.checking import DeepCheck
from indexer.care.choice import Criteria
from indexer.care.reindex import Reindexer
from indexer.console.progress import in_a_line
from indexer.decide import Action
from indexer.errors import Different
from indexer.events import Event, IndexFinished, PartitionFinished, StatementStarted
from indexer.records.provenance import ADOPTED
from indexer.spec import LONGEST_NAME

SHAPES = {
    "range": ("RANGE (created_at)", "FOR VALUES FROM ('2020-01-01') TO ('2030-01-01')"),
    "list": ("LIST (activity_type)", "FOR VALUES IN ('message')"),
    "hash": ("HASH (id)", "FOR VALUES WITH (modulus 1, remainder 0)"),
    "default": ("RANGE (id)", "DEFAULT"),
}


# Up and down ---------------------------------------------------------------------------------------------------------


def test_every_command_works_on_a_mix_of_plain_and_partitioned_tables(base_url: str) -> None:
    by_range(base_url)
    plan = succeed("plan", "--json", url=base_url).json()
    succeed("up", url=base_url)
    assert all(covered(base_url, name) == sorted(LEAVES) for name in OF_ACTIVITY)
    assert len(next(step for step in plan["steps"] if step["name"] == "ix_activity_type")["statements"]) == 9
    assert run("up", url=base_url).lines[-1].startswith("Nothing to do")
    found = {each["name"]: each for each in succeed("check", "--json", url=base_url).json()["indexes"]}
    assert {found[name]["state"] for name in OF_ACTIVITY} == {"valid"}
    sizes = {each["name"]: each["bytes"] for each in succeed("status", "--json", url=base_url).json()["indexes"]}
    assert sizes["ix_activity_type"] > 4 * 8192
    assert "ix_activity_type completed" not in succeed("history", url=base_url).stdout
    succeed("down", url=base_url)
    assert set(OF_ACTIVITY) & set(indexes(base_url)) == set()
    assert [name for name in indexes(base_url) if name.startswith("ix_")] == []


def test_every_kind_of_partitioning_is_indexed(base_url: str) -> None:
    for by, values in SHAPES.values():
        shell(base_url, "activity", by)
        execute(base_url, f"CREATE TABLE part PARTITION OF activity {values}")
        fill(base_url, 50)
        assert up(base_url, NEWEST, OPENED) == {"ix_newest": Action.CREATE, "ix_opened": Action.CREATE}
        assert covered(base_url, "ix_newest") == covered(base_url, "ix_opened") == ["part"]
        assert broken(base_url) == set()
        assert down(base_url, NEWEST, OPENED) == {"ix_newest": Action.DROP, "ix_opened": Action.DROP}
        assert [name for name in indexes(base_url) if name.startswith("ix_")] == []
        execute(base_url, "DROP TABLE activity", "ALTER TABLE activity_before RENAME TO activity")


def test_partitions_of_partitions_in_other_schemas_are_indexed(base_url: str) -> None:
    shell(base_url, "activity", "RANGE (created_at)")
    execute(
        base_url,
        "CREATE SCHEMA archive",
        "CREATE TABLE archive.activity PARTITION OF activity"
        " FOR VALUES FROM ('2022-01-01') TO ('2024-01-01') PARTITION BY LIST (activity_type)",
        "CREATE TABLE archive.messages PARTITION OF archive.activity FOR VALUES IN ('message')",
        "CREATE TABLE archive.empty PARTITION OF activity"
        " FOR VALUES FROM ('2010-01-01') TO ('2011-01-01') PARTITION BY HASH (id)",
        'CREATE TABLE archive."Other; rows" PARTITION OF archive.activity DEFAULT',
    )
    add_year(base_url, 2024)
    fill(base_url, 100)
    up(base_url, NEWEST, jobs=2)
    assert covered(base_url, "ix_newest") == ["Other; rows", "activity_2024", "messages"]
    assert broken(base_url) == set()
    assert findings(base_url, NEWEST) == {"ix_newest": "valid"}
    assert up(base_url, NEWEST) == {}
    down(base_url, NEWEST)
    assert [name for name in indexes(base_url) if name.startswith("ix_")] == []


def test_a_table_without_partitions_is_indexed_and_gives_its_index_to_later_ones(base_url: str) -> None:
    shell(base_url, "activity", "RANGE (created_at)")
    up(base_url, NEWEST)
    add_year(base_url, 2024)
    assert covered(base_url, "ix_newest") == ["activity_2024"]
    assert findings(base_url, NEWEST) == {"ix_newest": "valid"}


def test_the_names_of_leaf_indexes_are_never_cut_nor_those_that_are_taken(base_url: str) -> None:
    by_range(base_url, years=())
    long = "p" * LONGEST_NAME
    execute(
        base_url,
        f"CREATE TABLE {long} PARTITION OF activity FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
        "CREATE TABLE ix_newest_activity_default (id integer)",
    )
    up(base_url, NEWEST)
    names = [name for _, _, name, _, _ in leaf_indexes(base_url, "ix_newest")]
    assert names[0] == "ix_newest_activity_default_2"
    assert names[1].startswith("ix_newest_ppp")
    assert len(names[1]) == LONGEST_NAME


def test_offline_a_plain_statement_builds_all_of_it(base_url: str) -> None:
    by_range(base_url)
    with runner_of(base_url, NEWEST, offline=True) as runner:
        (step,) = runner.up().steps
    assert step.statements == ('CREATE INDEX "ix_newest" ON "public"."activity" ("activity_type", "created_at" DESC)',)
    assert covered(base_url, "ix_newest") == sorted(LEAVES)


def test_offline_no_index_of_another_order_is_attached(base_url: str) -> None:
    by_range(base_url)
    execute(base_url, "CREATE INDEX ascending ON activity_2023 (activity_type, created_at)")
    up(base_url, NEWEST, offline=True)
    assert findings(base_url, NEWEST) == {"ix_newest": "valid"}
    assert "ascending" not in [name for _, _, name, _, _ in leaf_indexes(base_url, "ix_newest")]


def test_the_script_of_a_plan_does_the_same_and_waits_for_a_moment_only(base_url: str) -> None:
    by_range(base_url)
    script = succeed("plan", "--sql", url=base_url).stdout
    assert "SET lock_timeout = '300ms';\nALTER INDEX" in script
    assert script.index("SET lock_timeout = '0';\nCREATE INDEX CONCURRENTLY") > 0
    run_script(script, base_url)
    succeed("check", url=base_url)
    recorded = records(base_url)
    run_script(succeed("plan", "down", "--sql", url=base_url).stdout, base_url)
    assert len(recorded) == 2
    assert [name for name in indexes(base_url) if name.startswith("ix_")] == []


def test_stamp_records_the_indexes_that_partitions_have_and_refuses_a_part_of_them(base_url: str) -> None:
    by_range(base_url)
    succeed("up", url=base_url)
    execute(base_url, "DELETE FROM schema_revision", "CREATE INDEX old ON ONLY activity (id)")
    succeed("stamp", "head", url=base_url)
    execute(base_url, "DROP INDEX ix_activity_type", "CREATE INDEX ix_activity_type ON ONLY activity (activity_type)")
    execute(base_url, "DELETE FROM schema_revision")
    assert "ix_activity_type" in refuses(base_url, "stamp", "head", exit_code=4).stderr


def test_a_plan_shows_the_statements_of_a_few_partitions_and_says_how_an_index_is_dropped(base_url: str) -> None:
    by_range(base_url, years=tuple(range(2010, 2025)))
    shown = succeed("plan", url=base_url).stdout
    assert shown.count("ATTACH PARTITION") == 3 * 2
    assert "... and the same for 14 more partitions: plan --sql prints all" in shown
    assert succeed("plan", "--sql", url=base_url).stdout.count("ATTACH PARTITION") == 3 * 16
    succeed("up", url=base_url)
    down = succeed("plan", "down", url=base_url).stdout
    assert "each DROP INDEX locks activity and its 16 partitions (ACCESS EXCLUSIVE) for a moment" in down
    assert succeed("plan", "down", "--json", url=base_url).json()["steps"][2]["bytes"] >= 16 * 8192
    status = succeed("status", "--json", url=base_url).json()["indexes"]
    assert {each["name"]: each["partitions"] for each in status if each["partitions"]} == {
        name: {"count": 16, "undone": []} for name in OF_ACTIVITY
    }


def test_how_indexes_of_several_partitioned_tables_are_dropped_is_said_once(base_url: str) -> None:
    by_range(base_url)
    shell(base_url, "conversation", "LIST (contact_id)")
    execute(base_url, "CREATE TABLE of_all PARTITION OF conversation DEFAULT")
    of_conversation = Index("ix_of_conversation", "conversation", ("contact_id",))
    up(base_url, NEWEST, of_conversation)
    with runner_of(base_url, NEWEST, of_conversation) as runner:
        (said,) = (str(each) for each in runner.plan("down").warnings if "CONCURRENTLY" in str(each))
    assert "locks conversation and its 1 partition, or activity and its 4 partitions (ACCESS EXCLUSIVE)" in said


# What others have made -----------------------------------------------------------------------------------------------


def test_indexes_that_a_partitioned_table_has_are_kept_and_are_not_dropped(base_url: str) -> None:
    by_range(base_url)
    index_parents(base_url)
    succeed("up", url=base_url)
    succeed("check", url=base_url)
    succeed("down", url=base_url)
    assert set(OF_ACTIVITY) <= set(indexes(base_url))


def test_what_is_in_another_schema_is_shown_with_it(base_url: str) -> None:
    by_range(base_url)
    execute(
        base_url,
        "CREATE SCHEMA archive",
        "ALTER TABLE activity_2023 SET SCHEMA archive",
        f"CREATE INDEX by_hand ON archive.activity_2023 {NEWEST_ON}",
    )
    with runner_of(base_url, NEWEST) as runner:
        said = "Partitions have ix_newest under other names: archive.by_hand on archive.activity_2023. "
        assert any(str(each).startswith(said) for each in runner.plan().warnings)
    execute(
        base_url,
        f"CREATE INDEX ix_newest ON ONLY activity {NEWEST_ON}",
        *(f"ALTER TABLE activity DETACH PARTITION activity_{year}" for year in (2022, 2024)),
    )
    assert findings(base_url, NEWEST) == {"ix_newest": "missing on archive.activity_2023, activity_default"}
    events: list[Event] = []
    with runner_of(base_url, NEWEST) as runner:
        runner.reporting(events.append).up()
    (finished,) = (each for each in events if isinstance(each, PartitionFinished) and "archive" in each.table)
    assert (finished.table, finished.part) == ("archive.activity_2023", "archive.ix_newest_activity_2023")
    started = {each.target.name for each in events if isinstance(each, StatementStarted)}
    assert "archive.ix_newest_activity_2023" in started


def test_an_incomplete_index_of_others_is_completed_and_remains_theirs(base_url: str) -> None:
    by_range(base_url)
    execute(base_url, f"CREATE INDEX ix_newest ON ONLY activity {NEWEST_ON}")
    assert findings(base_url, NEWEST) == {"ix_newest": "missing on activity_2022, activity_2023 and 2 more"}
    assert up(base_url, NEWEST) == {"ix_newest": Action.COMPLETE}
    assert covered(base_url, "ix_newest") == sorted(LEAVES)
    assert down(base_url, NEWEST) == {"ix_newest": Action.LEAVE}
    assert covered(base_url, "ix_newest") == sorted(LEAVES)


def test_an_attached_leaf_of_another_order_is_refused_with_its_name(base_url: str) -> None:
    by_range(base_url)
    execute(
        base_url,
        f"CREATE INDEX ix_newest ON ONLY activity {NEWEST_ON}",
        "CREATE INDEX ascending ON activity_2023 (activity_type, created_at)",
        "ALTER INDEX ix_newest ATTACH PARTITION ascending",
    )
    with nothing_changes(base_url), runner_of(base_url, NEWEST) as runner, pytest.raises(Different) as refused:
        runner.up()
    (difference,) = refused.value.found["ix_newest"][:1]
    assert (difference.part, difference.found) == ("key of ascending on activity_2023", "activity_type, created_at")
    by_hand = "Detach public.activity_2023, drop public.ascending, and attach public.activity_2023 again (PostgreSQL"
    assert str(refused.value.hint).startswith(by_hand)
    assert findings(base_url, NEWEST)["ix_newest"] == "different definition"
    execute(
        base_url,
        "ALTER TABLE activity DETACH PARTITION activity_2023",
        "DROP INDEX ascending",
        "ALTER TABLE activity ATTACH PARTITION activity_2023 FOR VALUES FROM ('2023-01-01') TO ('2024-01-01')",
    )
    up(base_url, NEWEST)
    assert findings(base_url, NEWEST) == {"ix_newest": "valid"}


def test_an_index_of_another_order_is_not_attached_and_the_leaf_gets_its_own(base_url: str) -> None:
    by_range(base_url)
    execute(base_url, "CREATE INDEX ix_newest_activity_2023 ON activity_2023 (activity_type, created_at)")
    up(base_url, NEWEST)
    assert findings(base_url, NEWEST) == {"ix_newest": "valid"}
    assert all("DESC" in definition for *_, definition in leaf_indexes(base_url, "ix_newest"))


def test_a_leaf_index_of_others_is_attached_if_allowed_and_then_kept_by_down_with_the_whole(base_url: str) -> None:
    by_range(base_url)
    execute(base_url, f"CREATE INDEX by_hand ON activity_2023 {NEWEST_ON}")
    up(base_url, NEWEST, adopt_renamed=True)
    assert "by_hand" in [name for _, _, name, _, _ in leaf_indexes(base_url, "ix_newest")]
    with runner_of(base_url, NEWEST) as runner:
        status = runner.inspector.status()
        assert [plan.origin(step) for plan in status.revisions for step in plan.steps] == [ADOPTED]
        kept = "ix_newest is kept, because others have made a part of it: public.by_hand. To drop all of it: "
        assert any(str(warning).startswith(kept) for warning in runner.plan("down").warnings)
    assert down(base_url, NEWEST) == {"ix_newest": Action.LEAVE}
    assert "by_hand" in indexes(base_url)
    up(base_url, NEWEST)


def test_what_existed_before_up_on_a_partition_is_dropped_with_the_whole_if_that_is_allowed(base_url: str) -> None:
    by_range(base_url)
    execute(base_url, f"CREATE INDEX by_hand ON activity_2023 {NEWEST_ON}")
    up(base_url, NEWEST, adopt_renamed=True)
    assert down(base_url, NEWEST, include_adopted=True) == {"ix_newest": Action.DROP}
    assert "by_hand" not in indexes(base_url)


def test_a_plan_says_that_a_leaf_index_of_others_with_the_name_of_up_is_attached(base_url: str) -> None:
    by_range(base_url)
    execute(base_url, f"CREATE INDEX ix_newest_activity_2023 ON activity_2023 {NEWEST_ON}")
    with runner_of(base_url, NEWEST) as runner:
        said = (
            "public.ix_newest_activity_2023 exists already: up attaches it to ix_newest, and down then keeps ix_newest."
            " To drop all of it later: indexer down --include-adopted"
        )
        assert said in map(str, runner.plan().warnings)
        runner.up()
        assert said not in map(str, runner.plan().warnings)
    assert down(base_url, NEWEST, include_adopted=True) == {"ix_newest": Action.DROP}


def test_a_plan_says_that_an_index_of_others_on_a_partition_is_renamed_and_attached(base_url: str) -> None:
    by_range(base_url)
    execute(base_url, f"CREATE INDEX ix_newest ON activity_2023 {NEWEST_ON}")
    with runner_of(base_url, NEWEST) as runner:
        said = (
            "public.ix_newest on activity_2023 (up renames it to ix_newest_activity_2023) exists already: up attaches"
        )
        assert any(str(each).startswith(said) for each in runner.plan().warnings)
        runner.up()
    assert down(base_url, NEWEST) == {"ix_newest": Action.LEAVE}


def test_the_index_of_a_partition_that_is_attached_after_up_is_named_before_it_is_dropped(base_url: str) -> None:
    by_range(base_url)
    up(base_url, NEWEST)
    add_year(base_url, 2025)  # whose index PostgreSQL builds and names
    execute(
        base_url,
        "CREATE TABLE activity_2026 (LIKE activity)",
        f"CREATE INDEX by_hand ON activity_2026 {NEWEST_ON}",
        "ALTER TABLE activity ATTACH PARTITION activity_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    )
    with runner_of(base_url, NEWEST) as runner:
        (said,) = (str(each) for each in runner.plan("down").warnings if "PostgreSQL drops" not in str(each))
    assert said.startswith("public.by_hand is attached to ix_newest under a name that up does not give, and will be")
    assert down(base_url, NEWEST) == {"ix_newest": Action.DROP}


def test_down_leaves_an_index_that_a_wider_one_holds_says_so_and_drops_the_others(base_url: str) -> None:
    by_range(base_url)
    named = Index("ix_contact_name", "contact", ("first_name",))
    up(base_url, NEWEST, OPENED, named)
    for table, part in (("activity", "activity"), ("contact", "contact")):
        execute(
            base_url,
            f"CREATE TABLE wide_{table} (LIKE {table}) PARTITION BY LIST (id)",
            f"ALTER TABLE wide_{table} ATTACH PARTITION {part} DEFAULT",
        )
    execute(
        base_url,
        f"CREATE INDEX wider ON wide_activity {NEWEST_ON}",
        "CREATE INDEX of_names ON wide_contact (first_name)",
    )
    said = "ix_newest is a part of public.wider, and PostgreSQL drops it only with that: down leaves it. To drop"
    with runner_of(base_url, NEWEST, OPENED, named, include_adopted=True) as runner:
        assert any(str(each).startswith(said) for each in runner.inspector.status().warnings)
        plan = runner.plan("down")
        assert any(str(each).startswith(said) for each in plan.warnings)
        assert not any("wide" in statement for step in plan.steps for statement in step.statements)
        events: list[Event] = []
        taken = {step.index.name: step.action for step in runner.reporting(events.append).down().steps}
    left = Action.LEAVE
    assert taken == {"ix_newest": left, "ix_opened": Action.DROP, "ix_contact_name": left}
    lines = [in_a_line(event, str) for event in events if isinstance(event, IndexFinished)]
    assert "  ix_newest left: it is a part of public.wider" in lines
    assert {"ix_newest", "ix_contact_name"} <= set(indexes(base_url)) - broken(base_url)
    assert up(base_url, NEWEST, OPENED, named)["ix_opened"] is Action.CREATE


def test_an_invalid_index_that_a_wider_one_holds_is_rebuilt_and_none_is_replaced(base_url: str) -> None:
    name = Index("ix_contact_name", "contact", ("first_name",))
    build = "CREATE INDEX CONCURRENTLY ix_contact_name ON contact (first_name)"
    cancel(base_url, build, "LOCK TABLE contact IN ROW EXCLUSIVE MODE")
    execute(
        base_url,
        "CREATE TABLE wide (LIKE contact) PARTITION BY LIST (id)",
        "ALTER TABLE wide ATTACH PARTITION contact DEFAULT",
        "CREATE INDEX of_names ON wide (first_name)",
    )
    assert up(base_url, name) == {"ix_contact_name": Action.REINDEX}
    assert findings(base_url, name) == {"ix_contact_name": "valid"}
    other = Index("ix_contact_name", "contact", ("last_name",))
    with nothing_changes(base_url), runner_of(base_url, other, replace=True) as runner, pytest.raises(Different) as no:
        runner.up()
    assert ("part of", "public.of_names") in [(each.part, each.found) for each in no.value.found["ix_contact_name"]]


def test_an_old_leaf_index_is_not_recorded_as_fresh_nor_is_the_whole_that_it_is_a_part_of(base_url: str) -> None:
    by_range(base_url, rows=24_000)
    execute(base_url, "CREATE INDEX by_hand ON activity_2023 (openphone_id)")
    phone = Index("ix_phone", "activity", ("openphone_id",))
    up(base_url, phone, adopt_renamed=True)
    with runner_of(base_url, phone) as runner:
        baselines = runner.inspector.records()["kinds"].baselines
    assert sorted(baselines) == ["ix_phone_activity_2022", "ix_phone_activity_2024"]


def test_a_leaf_index_of_others_is_not_attached_unless_that_is_allowed(base_url: str) -> None:
    by_range(base_url)
    execute(base_url, f"CREATE INDEX by_hand ON activity_2023 {NEWEST_ON}")
    with runner_of(base_url, NEWEST) as runner:
        hint = "Partitions have ix_newest under other names: by_hand on activity_2023. Attach these: indexer up --adopt"
        assert hint in " ".join(map(str, runner.plan().warnings))
        runner.up()
    down(base_url, NEWEST)
    assert "by_hand" in indexes(base_url)


def test_another_definition_is_refused_and_cannot_be_replaced(base_url: str) -> None:
    by_range(base_url)
    execute(base_url, "CREATE INDEX ix_newest ON activity (activity_type)")
    for options in ({}, {"replace": True}):
        with (
            nothing_changes(base_url),
            runner_of(base_url, NEWEST, **options) as runner,
            pytest.raises(Different) as refused,
        ):
            runner.up()
        reason = "--replace leaves indexes of partitioned tables, because PostgreSQL drops none of these CONCURRENTLY. "
        by_hand = "Rename or drop ix_newest if nothing needs it, then run: "
        assert str(refused.value.hint).startswith(f"{reason if options else ''}{by_hand}")


def test_an_invalid_attached_leaf_is_rebuilt(base_url: str, superuser_url: str) -> None:
    by_range(base_url)
    up(base_url, NEWEST)
    # Only a superuser can make an index invalid without a crash.
    for name in ("ix_newest", "ix_newest_activity_2023"):
        execute(superuser_url, f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{name}'::regclass")
    assert findings(base_url, NEWEST) == {"ix_newest": "invalid on activity_2023"}
    assert up(base_url, NEWEST) == {"ix_newest": Action.COMPLETE}
    assert findings(base_url, NEWEST) == {"ix_newest": "valid"}
    assert broken(base_url) - {"ix_newest"} == set()


def test_an_invalid_leaf_is_never_attached(base_url: str, superuser_url: str) -> None:
    by_range(base_url)
    execute(
        base_url,
        f"CREATE INDEX ix_newest ON ONLY activity {NEWEST_ON}",
        f"CREATE INDEX ix_newest_activity_2023 ON activity_2023 {NEWEST_ON}",
    )
    # Only a superuser can make an index invalid without a crash.
    execute(
        superuser_url,
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_newest_activity_2023'::regclass",
    )
    with runner_of(base_url, NEWEST) as runner:
        statements = [each for each in runner.plan().steps[0].statements if "activity_2023" in each]
        assert statements[0].startswith("DROP INDEX CONCURRENTLY")
        runner.up()
    assert broken(base_url) == set()


# The table changes ---------------------------------------------------------------------------------------------------


def partition_later(url: str) -> None:
    """Make a table that was indexed as a whole the first partition of a new one of its name."""
    execute(
        url,
        "UPDATE activity SET created_at = '2020-01-01' WHERE created_at IS NULL",
        "ALTER TABLE activity RENAME TO activity_until_2025",
        "CREATE TABLE activity (LIKE activity_until_2025 INCLUDING DEFAULTS) PARTITION BY RANGE (created_at)",
        "ALTER TABLE activity ATTACH PARTITION activity_until_2025 FOR VALUES FROM (MINVALUE) TO ('2025-01-01')",
    )
    add_year(url, 2025)


def test_a_table_that_was_partitioned_since_keeps_its_index_as_that_of_a_leaf(base_url: str) -> None:
    fill(base_url, 100)
    up(base_url, NEWEST)
    (before,) = ask(base_url, "SELECT oid FROM pg_class WHERE relname = 'ix_newest'")
    partition_later(base_url)
    assert findings(base_url, NEWEST) == {"ix_newest": "missing on activity_2025; not attached on activity_until_2025"}
    assert up(base_url, NEWEST) == {"ix_newest": Action.CREATE}
    assert covered(base_url, "ix_newest") == ["activity_2025", "activity_until_2025"]
    assert ask(base_url, "SELECT oid FROM pg_class WHERE relname = 'ix_newest_activity_until_2025'") == [before]
    assert findings(base_url, NEWEST) == {"ix_newest": "valid"}
    assert down(base_url, NEWEST) == {"ix_newest": Action.DROP}
    assert [name for name in indexes(base_url) if name.startswith("ix_")] == []


def test_a_table_that_became_a_part_of_a_larger_one_keeps_its_index_with_its_leaves(base_url: str) -> None:
    shell(base_url, "activity", "RANGE (created_at)")
    add_year(base_url, 2024)
    up(base_url, NEWEST)
    (before,) = ask(base_url, "SELECT oid FROM pg_class WHERE relname = 'ix_newest_activity_2024'")
    partition_later(base_url)
    with runner_of(base_url, NEWEST) as runner:
        (step,) = runner.up().steps
    assert sum(statement.startswith("CREATE INDEX") for statement in step.statements) == 2  # of the new parent and leaf
    assert covered(base_url, "ix_newest") == ["activity_2024", "activity_2025"]
    assert ask(base_url, "SELECT oid FROM pg_class WHERE relname = 'ix_newest_activity_2024'") == [before]
    assert findings(base_url, NEWEST) == {"ix_newest": "valid"}
    assert down(base_url, NEWEST) == {"ix_newest": Action.DROP}


def test_down_drops_the_index_of_a_table_that_was_partitioned_since(base_url: str) -> None:
    up(base_url, NEWEST)
    partition_later(base_url)
    with runner_of(base_url, NEWEST) as runner:
        (step,) = runner.down().steps
    assert step.statements == ('DROP INDEX CONCURRENTLY "public"."ix_newest"',)
    assert [name for name in indexes(base_url) if name.startswith("ix_")] == []


def test_a_table_that_is_not_partitioned_any_more_gets_its_name_back_on_the_index(base_url: str) -> None:
    by_range(base_url)
    up(base_url, NEWEST)
    execute(
        base_url,
        "ALTER TABLE activity DETACH PARTITION activity_2023",
        "DROP TABLE activity",
        "ALTER TABLE activity_2023 RENAME TO activity",
    )
    assert findings(base_url, NEWEST) == {"ix_newest": "missing"}
    assert up(base_url, NEWEST, adopt_renamed=True) == {"ix_newest": Action.RENAME}
    assert findings(base_url, NEWEST) == {"ix_newest": "valid"}


def test_a_partition_that_is_detached_is_not_missed(base_url: str) -> None:
    by_range(base_url)
    up(base_url, NEWEST)
    execute(base_url, "CREATE TABLE loose (LIKE activity)", "ALTER TABLE activity DETACH PARTITION activity_2022")
    assert findings(base_url, NEWEST) == {"ix_newest": "valid"}
    down(base_url, NEWEST)
    assert "ix_newest_activity_2022" in indexes(base_url)  # its table is no partition any more


def test_an_index_without_the_detached_partition_that_lacked_it_is_valid(base_url: str) -> None:
    by_range(base_url)
    execute(base_url, f"CREATE INDEX ix_newest ON ONLY activity {NEWEST_ON}")
    for table in LEAVES[1:]:
        execute(
            base_url,
            f"CREATE INDEX ix_newest_{table} ON {table} {NEWEST_ON}",
            f"ALTER INDEX ix_newest ATTACH PARTITION ix_newest_{table}",
        )
    execute(base_url, f"ALTER TABLE activity DETACH PARTITION {LEAVES[0]}")
    up(base_url, NEWEST)
    assert findings(base_url, NEWEST) == {"ix_newest": "valid"}


# What preflight finds ------------------------------------------------------------------------------------------------


def test_a_partition_of_another_role_is_found_before_anything_is_made(base_url: str, superuser_url: str) -> None:
    by_range(base_url)
    # Only a superuser can give a table to a role that the owner is no member of.
    with another_role(superuser_url) as role:
        execute(superuser_url, f"ALTER TABLE activity_2023 OWNER TO {role}")
        assert [str(each) for each in problems(base_url, NEWEST)] == [
            f"table public.activity_2023 belongs to role {role}, and only its owner can index it"
        ]


def test_a_schema_in_which_our_role_may_create_nothing_is_found_before_anything_is_made(
    base_url: str, superuser_url: str
) -> None:
    by_range(base_url, years=())
    # Only a superuser can make a schema of another role.
    execute(
        superuser_url,
        "CREATE SCHEMA closed",
        "CREATE TABLE closed.activity PARTITION OF activity FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
        "ALTER TABLE closed.activity OWNER TO crm_owner",
    )
    (problem,) = problems(base_url, NEWEST)
    assert problem == "role crm_owner may not create anything in schema closed"
    execute(superuser_url, *problem.statements)
    up(base_url, NEWEST)
    assert findings(base_url, NEWEST) == {"ix_newest": "valid"}


def test_a_foreign_partition_is_found_before_anything_is_made(base_url: str, superuser_url: str) -> None:
    by_range(base_url, years=())
    # Only a superuser can create a wrapper of foreign data.
    execute(
        superuser_url,
        "CREATE FOREIGN DATA WRAPPER far",
        "CREATE SERVER far FOREIGN DATA WRAPPER far",
        "CREATE FOREIGN TABLE elsewhere PARTITION OF activity"
        " FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') SERVER far",
    )
    (problem,) = problems(base_url, NEWEST)
    assert "public.elsewhere is a foreign table" in problem
    up(base_url, NEWEST, offline=True)
    assert findings(base_url, NEWEST) == {"ix_newest": "valid"}
    with runner_of(base_url, NEWEST) as runner:
        (step,) = runner.inspector.status().steps
        assert (step.partitions, runner.migrator.catalog.tables(["activity"])["activity"].partitions) == (1, 1)
        (rebuilt,) = Reindexer(runner).run(Criteria(("ix_newest",))).rebuilt
        deep = DeepCheck(runner.inspector, (), heap=False, longest=60).run().deep
    assert rebuilt.name.startswith("activity_default_activity_type")  # versions cut the name in different places
    assert deep
    assert [finding.is_failed for finding in deep.findings] == [False]
    down(base_url, NEWEST)


def test_a_unique_index_needs_the_columns_that_the_table_is_partitioned_by(base_url: str) -> None:
    by_range(base_url)
    (problem,) = problems(base_url, Index("ix_unique", "activity", ("id",), unique=True))
    assert "all columns by which public.activity is partitioned (created_at)" in problem
    unique = Index("ix_unique", "activity", ("id", "created_at"), unique=True)
    up(base_url, unique)
    assert findings(base_url, unique) == {"ix_unique": "valid"}
