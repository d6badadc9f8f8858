"""Other sessions create, drop and rename the same indexes during a run, which reads the catalog and decides again."""

from __future__ import annotations

import pytest
from command import BASE, HEAD, TEN_NAMES, execute, ours, prepare, revisions, specified, succeed
from roles import OWNER, as_role
from scenes import assert_all_stand, assert_none_stands, broken, build_all, running, transaction, until

NAME = "ix_webhook_event_event_type"
OTHER = "CREATE INDEX {} ON webhook_event (processed)"
HOW = pytest.mark.parametrize("options", [[], ["--offline"]], ids=["online", "offline"])


@pytest.fixture
def owner_url(postgres_url: str) -> str:
    """Return the URL of the CRM's tables for their plain owner."""
    prepare(postgres_url, to="base")
    return postgres_url


def by_hand(url: str, statement: str):
    """Return an open transaction of the owner that has executed this statement and holds its locks."""
    return transaction(as_role(url, OWNER), statement)


def until_blocked(url: str, pid: int) -> None:
    """Wait until another session waits for this one."""
    until(lambda: execute(url, f"SELECT 1 FROM pg_stat_activity WHERE {pid} = ANY (pg_blocking_pids(pid))"))


@HOW
@pytest.mark.parametrize("is_committed", [True, False], ids=["commit", "rollback"])
def test_an_index_that_another_transaction_creates_meanwhile_is_kept_once_committed(owner_url, options, is_committed):
    with (
        by_hand(owner_url, specified(owner_url)[NAME]) as other,
        running("up", "--json", *options, url=owner_url) as up,
    ):
        until_blocked(owner_url, other.pid)
        other.execute("COMMIT" if is_committed else "ROLLBACK")
        outcome = up.succeed().json()
    assert outcome["indexes"][NAME] == ("keep" if is_committed else "create")
    assert_all_stand(owner_url)
    succeed("down", url=owner_url)
    assert set(ours(owner_url)) == ({NAME} if is_committed else set())


@HOW
def test_a_run_fails_with_a_sentence_if_another_transaction_takes_the_name_for_another_index(owner_url, options):
    with by_hand(owner_url, OTHER.format(NAME)) as other, running("up", *options, url=owner_url) as up:
        until_blocked(owner_url, other.pid)
        other.execute("COMMIT")
        refused = up.end()
    assert refused.exit_code in (1, 4), refused
    assert NAME in refused.stderr
    assert broken(owner_url) == set()


def test_up_beside_an_alembic_like_transaction_ends_with_all_indexes(owner_url):
    statements = ";".join(specified(owner_url).values())
    with by_hand(owner_url, statements) as other, running("up", "--json", url=owner_url) as up:
        until_blocked(owner_url, other.pid)
        other.execute("COMMIT")
        outcome = up.succeed().json()
    assert set(outcome["indexes"].values()) == {"keep"}
    assert_all_stand(owner_url)
    assert revisions(owner_url) == {BASE: "applied", HEAD: "applied"}


@HOW
def test_down_accepts_that_another_transaction_drops_an_index(owner_url, options):
    build_all(owner_url)
    with by_hand(owner_url, f"DROP INDEX {NAME}") as other, running("down", "--json", *options, url=owner_url) as down:
        until_blocked(owner_url, other.pid)
        other.execute("COMMIT")
        outcome = down.succeed().json()
    assert outcome["indexes"][NAME] in ("absent", "drop")
    assert_none_stands(owner_url)


def test_an_index_that_another_session_renames_while_down_waits_is_left(owner_url):
    build_all(owner_url)
    with (
        by_hand(owner_url, f"ALTER INDEX {NAME} RENAME TO theirs; LOCK TABLE webhook_event") as other,
        running("down", url=owner_url) as down,
    ):
        until_blocked(owner_url, other.pid)
        other.execute("COMMIT")
        down.succeed()
    assert_none_stands(owner_url)
    assert execute(owner_url, "SELECT 'theirs'::regclass::text") == [("theirs",)]


def test_a_replacement_continues_if_another_session_drops_the_replaced_index(owner_url):
    execute(owner_url, OTHER.format(NAME))
    with (
        by_hand(owner_url, f"ALTER INDEX {NAME} SET (fillfactor = 90)") as other,
        running("up", "--replace", "--json", url=owner_url) as up,
    ):
        until_blocked(owner_url, other.pid)  # by the change of names: the replacement is built
        other.execute(f"DROP INDEX {NAME}")
        other.execute("COMMIT")
        up.succeed()
    assert_all_stand(owner_url)
    assert _of_webhook_event(owner_url) == {name for name in TEN_NAMES if "webhook_event" in name}


def _of_webhook_event(url: str) -> set[str]:
    found = execute(url, "SELECT indexname FROM pg_indexes WHERE tablename = 'webhook_event' AND indexname LIKE 'ix%'")
    return {name for (name,) in found}
