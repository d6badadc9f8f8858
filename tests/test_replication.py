"""What is said of a standby, and on it: pure, without a server."""

from __future__ import annotations

import pytest

from indexer.errors import Command, Hint
from indexer.replication import Follower, Replication, Slot, Standby, for_the_primary

MUCH = 20 * 1024 * 1024
AMCHECK = "Run as a superuser on the primary: CREATE EXTENSION amcheck;"
LEVEL = "it has replayed all WAL that it has received"
CUT_OFF = "it receives no WAL now, so how far it is behind cannot be told"
UNREPLAYED = "20 MB of WAL are not replayed yet"
AGO = "it shows the primary as it was 2.5 s ago"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (Hint("Rebuild it: ", Command("up")), "Rebuild it (on the primary): indexer up"),
        (
            Hint("Compare: ", Command("check"), ". Or: ", Command("down")),
            "Compare: indexer check. Or (on the primary): indexer down",
        ),
        ("Drop it: DROP INDEX CONCURRENTLY a;", "Drop it (on the primary): DROP INDEX CONCURRENTLY a;"),
        ("Gather them: ANALYZE", "Gather them (on the primary): ANALYZE"),
        (AMCHECK, AMCHECK),
        ("The query is slow: it sorts", "The query is slow: it sorts"),
    ],
)
def test_what_a_standby_refuses_is_said_to_belong_on_the_primary_and_only_once(text: str | Hint, said: str) -> None:
    assert str(for_the_primary(text)) == said
    assert str(for_the_primary(for_the_primary(text))) == said


@pytest.mark.parametrize(
    ("standby", "lag"),
    [
        (Standby(0, 0.0, True, False), LEVEL),
        (Standby(MUCH, 2.5, True, False), f"{UNREPLAYED}; {AGO}"),
        (Standby(MUCH, None, True, False), UNREPLAYED),
        (Standby(None, 2.5, True, False), f"how many bytes it is behind cannot be told; {AGO}"),
        (Standby(None, None, True, False), "its lag cannot be told"),
        (Standby(0, 2.5, False, False), f"{CUT_OFF}; {AGO}"),
        (Standby(0, None, False, False), CUT_OFF),
    ],
)
def test_the_lag_of_a_standby_is_said_as_far_as_it_is_known(standby: Standby, lag: str) -> None:
    assert standby.lag == lag
    assert ("looks like an interrupted one" in str(standby)) == (lag != LEVEL)


def follower(sync: str, commit_bytes: int | None, commit_seconds: float | None) -> Follower:
    return Follower("db2, 10.0.0.2", "streaming", sync, 0, None, commit_bytes, commit_seconds)


@pytest.mark.parametrize(
    ("standby", "delays"),
    [
        (follower("sync", 0, 0.001), False),
        (follower("sync", 5000, 3.0), True),
        (follower("quorum", MUCH, None), True),
        (follower("async", MUCH, 3.0), False),
        (follower("sync", None, None), False),
    ],
)
def test_only_a_synchronous_standby_that_lags_delays_commits(standby: Follower, delays: bool) -> None:
    assert standby.delays_commits is delays
    assert len(list(Replication((standby,), commit="on").warnings())) == delays


def test_a_slot_that_nothing_uses_keeps_wal_unless_it_has_reserved_none() -> None:
    unused, reserved = Slot("a", "physical slot", False, False, None), Slot("b", "logical slot", False, False, MUCH)
    used = Slot("c", "logical slot", True, False, MUCH)
    assert [each.is_abandoned for each in (unused, reserved, used)] == [False, True, False]
    assert list(Replication(slots=(unused, reserved, used)).warnings()) == [
        "Not in use, and keeping all WAL from now on, that of a run too: b."
    ]
