"""The service on a standby, which is promoted under it."""

from __future__ import annotations

from command import execute, prepare
from served import serving
from standby_server import let_the_standby_catch_up, primary_with_copies


def test_a_promotion_is_seen_with_the_next_read_and_the_sender_is_named_with_details_only():
    with primary_with_copies("standby") as (primary_url, follow), follow("standby", primary_url) as url:
        prepare(primary_url)
        let_the_standby_catch_up(primary_url)
        see_promotion(url)


def see_promotion(url: str) -> None:
    """Read a standby, promote it, and read it again."""
    with serving(url) as service, serving(url, has_details=True) as telling:
        document = service.refresh().document()
        assert document["gate"]["open"] is True
        assert (document["database"]["standby"]["bytes"], document["database"]["standby"]["sender"]) == (0, None)
        assert "It receives WAL from (a server)." in document["warnings"][0]
        assert "127.0.0.1" not in service.get("/status.json").text + service.get("/").text
        assert "127.0.0.1" in telling.refresh().document()["database"]["standby"]["sender"]
        assert execute(url, "SELECT pg_promote()") == [(True,)]
        document = service.refresh().document()
        assert (document["database"]["standby"], document["gate"]["open"]) == (None, True)
        assert service.failures == []
