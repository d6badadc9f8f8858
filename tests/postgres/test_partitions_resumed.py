"""Runs on partitioned tables that are killed, or that others come between: the next run completes what is left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from signal import SIGTERM
from typing import Any

import psycopg2
import pytest
from command import broken, connect, execute, indexes, succeed
from kinds import runner_of
from partitioned import (
    LEAVES,
    NEWEST,
    NEWEST_ON,
    YEARS,
    add_year,
    by_range,
    covered,
    down,
    fill,
    findings,
    shell,
    up,
)
from roles import as_application
from scenes import open_reader, open_writer, running
from windows import closing_in

from indexer import Index
from indexer.decide import Action
from indexer.errors import Blocked, IndexFailed
from indexer.events import Event, StatementStarted, Waiting
from indexer.pace import pace
from indexer.pace.rate import Rate
from indexer.postgres.session.builders import Builder

WRITE_2022 = "INSERT INTO activity_2022 (id, created_at) VALUES (0, '2022-05-05')"
READ_2022, READ_2023 = "SELECT count(*) FROM activity_2022", "SELECT count(*) FROM activity_2023"


class Killed(BaseException):
    """Ends a run at once, as SIGKILL does: no clean-up of the run catches it."""


class Killer:
    """Kills a run at its n-th statement: right before that is sent, or right after the server has executed it."""

    def __init__(self, number: int, after: bool) -> None:
        self.number, self.after, self.seen = number, after, 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, StatementStarted):
            self.seen += 1
            if self.seen == self.number and not self.after:
                raise Killed

    def poll(self, builder: Builder, polled: bool) -> bool:
        """Return whether a statement is done; if it is the last one of the run, kill that."""
        if polled and self.after and self.seen == self.number:
            raise Killed
        return polled


@contextmanager
def at_work(url: str, *statements: str) -> Iterator[None]:
    """Execute these statements over and over during the block; none of them may fail."""
    ended, errors = threading.Event(), list[BaseException]()

    def work(statement: str) -> None:
        try:
            connection = connect(as_application(url))
            with connection.cursor() as cursor:
                while not ended.wait(0.01):
                    cursor.execute(statement)
            connection.close()
        except psycopg2.Error as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(statement,)) for statement in statements]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert errors == []


def killed(url: str, number: int, after: bool, direction: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Kill a run at its n-th statement; return whether it has that many."""
    killer, poll = Killer(number, after), Builder.poll
    with monkeypatch.context() as patched, runner_of(url, NEWEST, jobs=1) as runner:
        patched.setattr(Builder, "poll", lambda builder: killer.poll(builder, poll(builder)))
        observed = runner.reporting(killer)
        with suppress(Killed):
            getattr(observed, direction)()
            return False
    return True


def sub_partitioned(url: str) -> None:
    """Partition activities by year, and one year by type."""
    shell(url, "activity", "RANGE (created_at)")
    add_year(url, 2022)
    add_year(url, 2023)
    execute(
        url,
        "CREATE TABLE activity_2024 PARTITION OF activity"
        " FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (activity_type)",
        "CREATE TABLE activity_2024_other PARTITION OF activity_2024 DEFAULT",
    )
    fill(url, 60)


def test_a_run_killed_after_any_statement_is_completed_by_the_next(
    base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sub_partitioned(base_url)
    number = 1
    with at_work(base_url, WRITE_2022, READ_2023):
        while killed(base_url, number, number % 3 > 0, "up", monkeypatch):
            with runner_of(base_url, NEWEST) as runner:
                runner.up()
                check = runner.inspector.check()
                origins = {each.origin(step) for each in check.status.revisions for step in each.steps}
                assert (check.exit_code, origins) == (0, {"created"})
                assert covered(base_url, "ix_newest") == ["activity_2022", "activity_2023", "activity_2024_other"]
                assert killed(base_url, 1, number % 2 > 0, "down", monkeypatch)
                runner.down()
            assert [name for name in indexes(base_url) if name.startswith("ix_")] == []
            number += 1
    assert number == 10  # ON ONLY; ON ONLY and ATTACH; CREATE and ATTACH on each of three leaves


def test_a_reader_of_the_whole_table_holds_up_no_build_below_sub_partitions(base_url: str) -> None:
    sub_partitioned(base_url)
    with open_reader(base_url, "SELECT count(*) FROM activity"):
        assert up(base_url, NEWEST, max_wait=0.0, retries=0) == {"ix_newest": Action.CREATE}
    assert findings(base_url, NEWEST) == {"ix_newest": "valid"}


def test_down_after_a_killed_up_drops_what_is_not_attached_yet(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    by_range(base_url)
    execute(base_url, "CREATE INDEX by_hand ON activity_2023 (activity_type, created_at)")
    for number in (1, 2, 3, 5):
        assert killed(base_url, number, True, "up", monkeypatch)
        with runner_of(base_url, NEWEST) as runner:
            runner.down()
        assert [name for name in indexes(base_url) if name.startswith(("ix_", "by_"))] == ["by_hand"]


def test_the_build_of_a_killed_run_on_a_leaf_is_joined(base_url: str) -> None:
    by_range(base_url)
    with open_writer(base_url, WRITE_2022) as writer:
        with running("up", "--json", url=base_url) as first:
            first.event("StatementStarted", index="ix_activity_openphone_id_activity_2022")
            first.event("Waiting", index="ix_activity_openphone_id_activity_2022")
            first.kill()
        with running("up", "--json", url=base_url) as second:
            second.event("Joined", index="ix_activity_openphone_id_activity_2022")
            writer.end()
            second.succeed()
    assert covered(base_url, "ix_activity_openphone_id") == sorted(LEAVES)


def test_a_partition_that_is_added_during_the_run_is_indexed(base_url: str) -> None:
    by_range(base_url)
    execute(
        base_url,
        "CREATE TABLE activity_2025 (LIKE activity)",
        "INSERT INTO activity_2025 (id, created_at) VALUES (1, '2025-05-05')",
    )
    attach = "ALTER TABLE activity ATTACH PARTITION {} FOR VALUES FROM ('{}-01-01') TO ('{}-01-01')"
    seen: list[str] = []

    def add(event: Event) -> None:
        if isinstance(event, StatementStarted):
            seen.append(event.statement)
            if len(seen) == 1:
                execute(base_url, "CREATE TABLE activity_2026 (LIKE activity)")
                execute(base_url, attach.format("activity_2026", 2026, 2027))
            if len(seen) == 4:
                execute(base_url, attach.format("activity_2025", 2025, 2026))

    with runner_of(base_url, NEWEST) as runner:
        runner.reporting(add).up()
    assert covered(base_url, "ix_newest") == sorted([*LEAVES, "activity_2025", "activity_2026"])
    assert findings(base_url, NEWEST) == {"ix_newest": "valid"}


@pytest.mark.parametrize("attached", [False, True])
def test_a_leaf_index_that_others_make_during_the_run_is_kept_by_down_with_the_whole(
    base_url: str, attached: bool
) -> None:
    by_range(base_url)
    made: list[str] = []

    def make(event: Event) -> None:
        building = isinstance(event, StatementStarted) and event.statement.startswith("CREATE INDEX CONCURRENTLY")
        if building and not made:
            year = 2022 if "activity_2024" in event.statement else 2024
            made.append("by_hand" if attached else f"ix_newest_activity_{year}")
            execute(base_url, f"CREATE INDEX {made[0]} ON activity_{year} {NEWEST_ON}")
            if attached:
                execute(base_url, f"ALTER INDEX ix_newest ATTACH PARTITION {made[0]}")

    with runner_of(base_url, NEWEST, jobs=1) as runner:
        runner.reporting(make).up()
        (record,) = (each for each in runner.inspector.records().values() if each.existed_before)
        assert record.existed_before == {f"public.{made[0]}": f"public.{made[0]}"}
    assert down(base_url, NEWEST) == {"ix_newest": Action.LEAVE}
    assert covered(base_url, "ix_newest") == sorted(LEAVES)


@pytest.mark.parametrize("number", [2, 3])
def test_a_partition_that_is_detached_during_the_run_is_left_out(base_url: str, number: int) -> None:
    by_range(base_url)
    seen: list[str] = []

    def detach(event: Event) -> None:
        if isinstance(event, StatementStarted):
            seen.append(event.statement)
            if len(seen) == number:
                execute(base_url, "ALTER TABLE activity DETACH PARTITION activity_2022")

    with runner_of(base_url, NEWEST) as runner:
        runner.reporting(detach).up()
    assert covered(base_url, "ix_newest") == sorted(LEAVES[1:])
    assert findings(base_url, NEWEST) == {"ix_newest": "valid"}


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE activity_2024_other RENAME TO renamed",
        "ALTER TABLE activity_2024_other SET SCHEMA elsewhere",
        "DROP INDEX ix_newest_activity_2024",
    ],
)
def test_what_others_rename_move_or_drop_during_the_run_is_decided_anew(base_url: str, statement: str) -> None:
    sub_partitioned(base_url)
    execute(base_url, "CREATE SCHEMA elsewhere")
    sent: list[str] = []

    def change(event: Event) -> None:
        if isinstance(event, StatementStarted):
            sent.append(event.statement)
            if "activity_2024_other" in event.statement and "CREATE" in event.statement and not changed:
                changed.append(statement)
                execute(base_url, statement)

    changed: list[str] = []
    with runner_of(base_url, NEWEST, jobs=1) as runner:
        runner.reporting(change).up()
    assert changed
    assert findings(base_url, NEWEST) == {"ix_newest": "valid"}
    assert len(covered(base_url, "ix_newest")) == 3
    assert len([each for each in sent if "activity_2024_other" in each]) <= 3


@pytest.mark.parametrize("number", [1, 4])
def test_a_plain_build_of_others_on_the_whole_table_does_not_end_the_run(base_url: str, number: int) -> None:
    by_range(base_url)
    seen: list[str] = []

    def build(event: Event) -> None:
        if isinstance(event, StatementStarted):
            seen.append(event.statement)
            if len(seen) == number:
                name = "ix_newest" if number == 1 else "of_others"
                execute(base_url, f"CREATE INDEX {name} ON activity {NEWEST_ON}")

    with runner_of(base_url, NEWEST) as runner:
        runner.reporting(build).up()
    assert findings(base_url, NEWEST) == {"ix_newest": "valid"}
    with runner_of(base_url, NEWEST) as runner:
        runner.down()
    assert ("ix_newest" in indexes(base_url)) == (number == 1)


def test_statements_that_hold_up_readers_give_way_and_are_sent_again(base_url: str) -> None:
    by_range(base_url)
    waits: list[Waiting] = []
    with ExitStack() as sessions:

        def read(event: Event) -> None:
            if isinstance(event, StatementStarted) and "ATTACH" in event.statement and not waits:
                sessions.enter_context(open_reader(base_url, READ_2022))
            if isinstance(event, Waiting) and event.blockers and waits.append(event) is None and len(waits) == 1:
                assert event.blockers[0].application == "another client"
            if len(waits) == 5:
                execute(as_application(base_url), READ_2022)
                sessions.close()

        with runner_of(base_url, NEWEST, jobs=1) as runner:
            runner.reporting(read).up()
    assert len(waits) >= 5
    assert covered(base_url, "ix_newest") == sorted(LEAVES)


def test_down_gives_up_after_max_wait_and_names_the_reader(base_url: str) -> None:
    by_range(base_url)
    up(base_url, NEWEST)
    with (
        open_reader(base_url, READ_2022),
        runner_of(base_url, NEWEST, max_wait=0.5, retries=0) as runner,
        pytest.raises(Blocked) as blocked,
    ):
        runner.down()
    assert "another client" in blocked.value.message
    assert covered(base_url, "ix_newest") == sorted(LEAVES)


def test_progress_is_reported_for_each_partition_and_in_all(base_url: str) -> None:
    by_range(base_url)
    events: list[Any] = []
    with runner_of(base_url, NEWEST) as runner:
        runner.reporting(events.append).up()
    done = [(each.done, each.partitions) for each in events if type(each).__name__ == "PartitionFinished"]
    assert done == [(number, len(YEARS) + 1) for number in range(1, len(YEARS) + 2)]
    up(base_url, NEWEST)


def test_a_leaf_that_does_not_fit_the_window_is_left_and_the_others_are_built(base_url: str) -> None:
    by_range(base_url)
    execute(
        base_url,
        "INSERT INTO activity (id, created_at, body)"
        " SELECT n, '2023-05-05', repeat('x', 1500) FROM generate_series(1, 6000) AS n",
    )
    window = closing_in(20)
    slow = Rate(seconds=1e-5, bytes=10**9)  # a minute for the large partition, a moment for the others
    with runner_of(base_url, NEWEST, window=window) as runner, pytest.MonkeyPatch.context() as patched:
        patched.setattr(pace, "rate_of", lambda *arguments: slow)
        outcome = runner.up()
    assert outcome.exit_code == 3
    assert outcome.rest
    assert "activity_2023: about " in outcome.rest.left["ix_newest"]
    assert covered(base_url, "ix_newest") == sorted({*LEAVES} - {"activity_2023"})
    up(base_url, NEWEST)
    assert down(base_url, NEWEST) == {"ix_newest": Action.DROP}


def test_an_index_that_one_partition_cannot_have_is_built_on_the_others(base_url: str) -> None:
    by_range(base_url)
    execute(base_url, "UPDATE activity_2023 SET id = 1, created_at = '2023-05-05'")
    unique = Index("ix_unique", "activity", ("id", "created_at"), unique=True)
    with runner_of(base_url, unique, NEWEST) as runner, pytest.raises(IndexFailed) as failed:
        runner.up()
    assert "Building ix_unique_activity_2023 failed" in failed.value.message
    assert covered(base_url, "ix_unique") == sorted({*LEAVES} - {"activity_2023"})
    assert (covered(base_url, "ix_newest"), broken(base_url)) == (sorted(LEAVES), {"ix_unique"})
    execute(base_url, "DELETE FROM activity_2023")
    assert up(base_url, unique, NEWEST) == {"ix_unique": Action.COMPLETE, "ix_newest": Action.KEEP}
    assert down(base_url, unique, NEWEST) == {"ix_newest": Action.DROP, "ix_unique": Action.DROP}


def test_a_signal_ends_the_build_of_a_partition_and_the_next_run_completes_it(base_url: str) -> None:
    by_range(base_url)
    with open_writer(base_url, WRITE_2022), running("up", "--json", url=base_url) as run:
        run.event("Waiting", index="ix_activity_openphone_id_activity_2022")
        run.send(SIGTERM)
        ended = run.end()
    assert ended.exit_code == 143
    assert "built on some partitions" in ended.json()["error"]
    succeed("up", url=base_url)
    assert covered(base_url, "ix_activity_openphone_id") == sorted(LEAVES)
    assert broken(base_url) == set()


def test_an_index_of_a_partitioned_table_is_renamed_with_its_leaves(base_url: str) -> None:
    by_range(base_url)
    execute(base_url, f"CREATE INDEX by_hand ON activity {NEWEST_ON}")
    assert up(base_url, NEWEST, adopt_renamed=True) == {"ix_newest": Action.RENAME}
    assert findings(base_url, NEWEST) == {"ix_newest": "valid"}
    assert down(base_url, NEWEST) == {"ix_newest": Action.RENAME_BACK}
    assert "by_hand" in indexes(base_url)
