"""The service on a standby, which is promoted under it."""

from __future__ import annotations

from command import execute, prepare
from postgres_server import executable_for, make_cluster, own_binaries, start, stop, unprivileged, work_directory
from served import serving
from standby_server import configure, copy_cluster, following, let_the_standby_catch_up


def test_a_promotion_is_seen_with_the_next_read_and_the_sender_is_named_with_details_only():
    binaries = own_binaries()
    with work_directory() as top:
        account = unprivileged(top)
        binaries = executable_for(account, binaries, top)
        make_cluster(binaries, top / "primary", account)
        stop(start(binaries, top / "primary", top / "primary.log", account)[0])
        copy_cluster(top / "primary", top / "standby")
        configure(top / "primary", synchronous_standby_names="*")
        primary, primary_url = start(binaries, top / "primary", top / "primary.log", account)
        try:
            with following(top, "standby", primary_url, binaries, account) as url:
                prepare(primary_url)
                let_the_standby_catch_up(primary_url)
                see_promotion(url)
        finally:
            stop(primary)


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
