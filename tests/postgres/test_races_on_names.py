"""Other sessions create, drop and rename the same indexes during a run, which reads the catalog and decides again."""

from __future__ import annotations

import pytest
from command import BASE, HEAD, TEN_NAMES, created_indexes, execute, revisions, specified, succeed
from roles import OWNER, as_role
from scenes import assert_all_valid, assert_none_exist, broken, build_all, running, transaction, until

NAME = "ix_webhook_event_event_type"
OTHER = "CREATE INDEX {} ON webhook_event (processed)"
HOW = pytest.mark.parametrize("options", [[], ["--offline"]], ids=["online", "offline"])


def by_hand(url: str, statement: str):
    """Return an open transaction of the owner that has executed this statement and holds its locks."""
    return transaction(as_role(url, OWNER), statement)


def until_blocked(url: str, pid: int) -> None:
    """Wait until another session waits for this one."""
    until(lambda: execute(url, f"SELECT 1 FROM pg_stat_activity WHERE {pid} = ANY (pg_blocking_pids(pid))"))


@HOW
@pytest.mark.parametrize("is_committed", [True, False], ids=["commit", "rollback"])
def test_an_index_that_another_transaction_creates_meanwhile_is_kept_once_committed(base_url, options, is_committed):
    with (
        by_hand(base_url, specified(base_url)[NAME]) as other,
        running("up", "--json", *options, url=base_url) as up,
    ):
        until_blocked(base_url, other.pid)
        other.execute("COMMIT" if is_committed else "ROLLBACK")
        outcome = up.succeed().json()
    assert outcome["indexes"][NAME] == ("keep" if is_committed else "create")
    assert_all_valid(base_url)
    succeed("down", url=base_url)
    assert set(created_indexes(base_url)) == ({NAME} if is_committed else set())


@HOW
def test_a_run_fails_with_a_sentence_if_another_transaction_takes_the_name_for_another_index(base_url, options):
    with by_hand(base_url, OTHER.format(NAME)) as other, running("up", *options, url=base_url) as up:
        until_blocked(base_url, other.pid)
        other.execute("COMMIT")
        refused = up.end()
    assert refused.exit_code in (1, 4), refused
    assert NAME in refused.stderr
    assert broken(base_url) == set()


def test_up_beside_an_alembic_like_transaction_ends_with_all_indexes(base_url):
    statements = ";".join(specified(base_url).values())
    with by_hand(base_url, statements) as other, running("up", "--json", url=base_url) as up:
        until_blocked(base_url, other.pid)
        other.execute("COMMIT")
        outcome = up.succeed().json()
    assert set(outcome["indexes"].values()) == {"keep"}
    assert_all_valid(base_url)
    assert revisions(base_url) == {BASE: "applied", HEAD: "applied"}


@HOW
def test_down_accepts_that_another_transaction_drops_an_index(base_url, options):
    build_all(base_url)
    with by_hand(base_url, f"DROP INDEX {NAME}") as other, running("down", "--json", *options, url=base_url) as down:
        until_blocked(base_url, other.pid)
        other.execute("COMMIT")
        outcome = down.succeed().json()
    assert outcome["indexes"][NAME] in ("absent", "drop")
    assert_none_exist(base_url)


def test_an_index_that_another_session_renames_while_down_waits_is_left(base_url):
    build_all(base_url)
    with (
        by_hand(base_url, f"ALTER INDEX {NAME} RENAME TO other_index; LOCK TABLE webhook_event") as other,
        running("down", url=base_url) as down,
    ):
        until_blocked(base_url, other.pid)
        other.execute("COMMIT")
        down.succeed()
    assert_none_exist(base_url)
    assert execute(base_url, "SELECT 'other_index'::regclass::text") == [("other_index",)]


def test_a_replacement_continues_if_another_session_drops_the_replaced_index(base_url):
    execute(base_url, OTHER.format(NAME))
    with (
        by_hand(base_url, f"ALTER INDEX {NAME} SET (fillfactor = 90)") as other,
        running("up", "--replace", "--json", url=base_url) as up,
    ):
        until_blocked(base_url, other.pid)  # by the change of names: the replacement is built
        other.execute(f"DROP INDEX {NAME}")
        other.execute("COMMIT")
        up.succeed()
    assert_all_valid(base_url)
    assert _of_webhook_event(base_url) == {name for name in TEN_NAMES if "webhook_event" in name}


def _of_webhook_event(url: str) -> set[str]:
    found = execute(url, "SELECT indexname FROM pg_indexes WHERE tablename = 'webhook_event' AND indexname LIKE 'ix%'")
    return {name for (name,) in found}
