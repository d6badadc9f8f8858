"""What the service reads of a database, and how it outlives its absence, its replacement and a new password."""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta, timezone

import pytest
from command import execute, file_of, prepare
from partitioned import by_range
from peewee import PeeweeException
from roles import as_application
from scenes import open_reader, open_writer, running, transaction, until, until_phase
from served import samples, serving

from indexer.service import reader as reading
from indexer.service.document import gate_at
from indexer.urls import database_url

BUILT = "ix_activity_openphone_id"


def test_a_running_build_is_shown_with_its_phase_and_the_sessions_that_it_waits_for(base_url):
    with (
        open_writer(base_url) as writer,
        running("up", "--jobs", "1", url=base_url) as up,
        serving(base_url) as service,
    ):
        until_phase(base_url, "waiting for writers")
        service.refresh()
        (build,) = service.document()["builds"]
        assert (build["index"], build["table"], build["progress"]) == (BUILT, "activity", None)
        assert build["phase"].startswith("waiting for writers")
        assert build["seconds"] >= build["waiting_seconds"] >= 0
        (blocker,) = build["blockers"]
        assert set(blocker) == {"pid", "reason", "seconds"}
        assert blocker["pid"] == writer.pid
        found = samples(service.get("/metrics").text)
        labels = f'index="{BUILT}",schema="public",table="activity"'
        assert found[f"indexer_build_blockers{{{labels}}}"] == 1
        assert found[f"indexer_index_valid{{{labels}}}"] == 0
        assert service.gate()[0] == 503
        first = build["waiting_seconds"]
        until(lambda: service.refresh().document()["builds"][0]["waiting_seconds"] > first)
        writer.end()
        up.succeed()
        assert service.refresh().document()["builds"] == []
        assert service.gate()[0] == 200


def test_the_query_of_a_blocker_is_shown_with_details_only(base_url):
    with (
        open_writer(base_url),
        running("up", "--jobs", "1", url=base_url),
        serving(base_url) as service,
        serving(base_url, has_details=True) as telling,
    ):
        until_phase(base_url, "waiting for writers")
        answers = [service.refresh().get(path).text for path in ("/", "/status.json", "/metrics")]
        assert [name for name in ("crm_app", "crm_owner") for answer in answers if name in answer] == []
        assert service.document()["builds"][0]["blockers"][0]["reason"] == "state not visible to this role"
        assert telling.refresh().document()["builds"][0]["blockers"][0]["role"] == "crm_app"


def test_a_build_whose_phase_is_hidden_has_none_and_no_answer_names_the_role(base_url):
    prepare(base_url, "2792ed2d7978")
    with (
        open_writer(base_url),
        running("up", "--jobs", "1", url=base_url),
        serving(as_application(base_url)) as service,
    ):
        until_phase(base_url, "waiting for writers")
        answers = [service.refresh().get(path).text for path in ("/", "/status.json", "/metrics")]
        assert service.document()["builds"][0]["phase"] is None
    assert [name for name in ("crm_app", "crm_owner") for answer in answers if name in answer] == []
    assert f'indexer_build_running{{index="{BUILT}",phase="",schema="public",table="activity"}} 1.0' in answers[2]


def test_a_build_that_waits_for_the_lock_on_its_table_is_shown_before_its_index_exists(base_url):
    vacuum = "LOCK TABLE activity IN SHARE UPDATE EXCLUSIVE MODE"
    one_by_one = ("up", "--jobs", "1")
    with transaction(base_url, vacuum) as blocker, running(*one_by_one, url=base_url), serving(base_url) as service:
        (build,) = until(lambda: service.refresh().document()["builds"])
    assert (build["index"], build["phase"]) == (BUILT, "waiting for a lock")
    assert [each["pid"] for each in build["blockers"]] == [blocker.pid]


def test_a_build_by_reindex_has_the_name_of_the_index(head_url):
    with open_writer(head_url), running("reindex", "ix_activity_type", url=head_url), serving(head_url) as service:
        until_phase(head_url, "waiting for writers")
        (build,) = service.refresh().document()["builds"]
    assert (build["index"], build["table"]) == ("ix_activity_type", "activity")


def test_a_build_by_up_replace_has_the_name_of_the_index_that_it_replaces(head_url):
    execute(head_url, "DROP INDEX ix_activity_type", "CREATE INDEX ix_activity_type ON activity (created_at)")
    with open_writer(head_url), running("up", "--replace", url=head_url), serving(head_url) as service:
        until_phase(head_url, "waiting for writers")
        (build,) = service.refresh().document()["builds"]
        assert (build["index"], build["table"], len(build["blockers"])) == ("ix_activity_type", "activity", 1)
        assert re.search("being built</span><small>different", service.get("/").text)


def test_a_drop_is_called_a_drop_also_by_a_role_that_cannot_see_the_statement(head_url):
    with (
        open_reader(head_url),
        running("down", "--jobs", "1", url=head_url),
        serving(head_url) as service,
        serving(as_application(head_url)) as stranger,
    ):
        for each in (service, stranger):
            (drop,) = until(lambda each=each: [one for one in each.refresh().document()["builds"] if one["blockers"]])
            assert drop["dropping"] is True
            assert each.index(drop["index"])["finding"] == "being dropped"
            content = each.get("/").text
            assert "A drop is waiting for another session" in content
            assert "being built" not in content
            assert "indexer_build_blockers{" not in each.get("/metrics").text


def test_builds_of_partitions_are_shown(base_url):
    by_range(base_url)
    write = "INSERT INTO activity_2023 (openphone_id, activity_type, created_at) VALUES ('a', 'call', '2023-05-05')"
    with open_writer(base_url, write), running("up", "--jobs", "1", url=base_url), serving(base_url) as service:
        until_phase(base_url, "waiting for writers")
        (build,) = service.refresh().document()["builds"]
    assert (build["table"], len(build["blockers"])) == ("activity_2023", 1)


def test_the_session_can_change_nothing_and_the_server_ends_long_statements(head_url, monkeypatch):
    monkeypatch.setattr(reading, "LONGEST_STATEMENT", 0.2)
    with serving(head_url) as service:
        database = service.refresh().reader._migrator.database
        with pytest.raises(PeeweeException, match="read-only"):
            database.execute_sql("DROP INDEX ix_activity_type")
        with pytest.raises(PeeweeException, match="statement timeout"):
            database.execute_sql("SELECT pg_catalog.pg_sleep(10)")
        with transaction(head_url, "REINDEX INDEX ix_activity_type"):
            service.refresh()
        assert service.gate()[0] == 503
        assert service.refresh().gate()[0] == 200
    assert len(service.failures) == len(service.recoveries) == 1


def test_a_session_that_was_ended_while_idle_is_opened_again_without_a_failure(head_url, superuser_url):
    """As the superuser, who ends a session."""
    with serving(head_url) as service:
        service.refresh()
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'indexer serve'"
        assert execute(superuser_url, ended) == [(True,)]
        assert service.refresh().gate()[0] == 200
    assert service.failures == []


def test_a_database_may_go_away_and_come_back(fragile_server, fragile_url):
    prepare(fragile_url)
    execute(fragile_server.url, "CHECKPOINT")
    with serving(fragile_url) as service:
        service.refresh()
        before = samples(service.get("/metrics").text)
        fragile_server.crash()
        service.refresh().refresh()
        assert service.get("/readyz").status == 200
        assert service.gate()[1]["reason"] == "The database cannot be read."
        document = service.document()
        assert document["snapshot"]["up"] is False
        assert document["snapshot"]["error"] == "The database cannot be reached."
        assert len(document["indexes"]) == 10  # as they were
        assert service.get("/").status == 200
        during = samples(service.get("/metrics").text)
        assert during["indexer_up"] == 0
        assert during["indexer_snapshot_timestamp_seconds"] == before["indexer_snapshot_timestamp_seconds"]
        assert not [series for series in during if series.startswith("indexer_index")]
        fragile_server.come_back()
        assert service.refresh().gate()[0] == 200
    assert len(service.recoveries) == 1


def test_each_outage_and_its_end_are_told_once_also_while_the_queries_cannot_be_planned(base_url):
    execute(base_url, "REVOKE SELECT ON campaign_membership FROM crm_owner")
    urls = [base_url]
    with serving(lambda: urls[-1]) as service:
        service.refresh()
        for _ in range(2):
            urls.append(f"{base_url}_nowhere")
            service.refresh().refresh()
            urls.append(base_url)
            service.refresh()
    assert ["_nowhere" in each for each in service.failures] == [False, True, True]
    assert len(service.recoveries) == 2


def test_an_outage_is_as_long_as_the_time_since_the_last_good_read(sqlite_head_url):
    urls = [sqlite_head_url]
    with serving(lambda: urls[-1]) as service:
        service.refresh().refresher._read_at -= 60
        urls.append("sqlite:////no/such/folder/crm.db")
        service.refresh()
        urls.append(sqlite_head_url)
        service.refresh()
    assert service.recoveries[0] >= 60


def test_what_cannot_be_read_is_called_by_its_kind(head_url, monkeypatch):
    monkeypatch.setenv("DATABASE_URL_FILE", "/no/such/file")
    with serving(lambda: database_url(None, os.environ).url) as service:
        assert service.refresh().document()["snapshot"]["error"] == "The URL of the database cannot be read."
    with serving(head_url, schema="nowhere") as service:
        error = service.refresh().document()["snapshot"]["error"]
    assert error == "There is no schema that the role of the service may use."
    with serving(head_url) as service:
        service.refresh().reader._migrator.database.execute_sql("SET lock_timeout TO '100ms'")
        with transaction(head_url, "LOCK TABLE contact"):
            document = service.refresh(care=True).document()
    assert document["health"]["error"] == "A table is locked by another session."


def test_a_database_that_does_not_exist_yet_is_read_once_it_does(sqlite_url, tmp_path):
    with serving(f"sqlite:///{tmp_path}/later/crm.db") as service:
        service.refresh()
        assert (service.get("/readyz").status, service.get("/livez").status) == (503, 200)
        (tmp_path / "later").mkdir()
        service.refresh()
        assert service.gate()[1]["reason"] == "The database has none of the tables."
        prepare(service.where())
        assert service.refresh().gate()[0] == 200
        file_of(service.where()).unlink()
        assert service.refresh().gate()[0] == 503


def test_the_url_is_asked_for_again_so_that_a_new_one_comes_into_effect(head_url, sqlite_url):
    urls = [head_url]
    with serving(lambda: urls[-1]) as service:
        assert service.refresh().document()["database"]["engine"] == "postgresql"
        urls.append(sqlite_url)
        assert service.refresh().document()["database"]["engine"] == "sqlite"


def test_a_snapshot_that_is_late_opens_no_gate(head_url):
    with serving(head_url) as service:
        snapshot, now = service.refresh().refresher.snapshot, datetime.now(timezone.utc)
    assert gate_at(snapshot, now).is_open
    later = now + timedelta(seconds=40)
    assert snapshot.is_up(later) is False
    assert gate_at(snapshot, later).reason == "The database has not been read in time."


def test_a_query_that_cannot_be_planned_leaves_the_rest_readable(base_url):
    execute(base_url, "REVOKE SELECT ON campaign_membership FROM crm_owner")
    with serving(base_url) as service:
        document = service.refresh().document()
    assert document["snapshot"]["up"] is True
    assert document["health"]["error"] == "The role of the service may not read the tables."
    assert document["health"]["taken_at"]
    assert document["queries"] == []


def test_sizes_and_queries_are_read_again_when_the_indexes_have_changed_and_not_each_time(base_url):
    with serving(base_url) as service:
        service.refresh()
        taken = service.refresh().refresher.snapshot.care
        assert service.refresh().refresher.snapshot.care is taken
        prepare(base_url)
        assert service.refresh().refresher.snapshot.care is not taken
        assert {each["served"] for each in service.document()["queries"]} == {True}


def test_a_schema_can_be_named(base_url):
    execute(base_url, "CREATE SCHEMA tenant")
    with serving(base_url, schema="tenant") as service, serving(base_url, schema="no_such_schema") as lost:
        assert service.refresh().gate()[1]["reason"] == "The database has none of the tables."
        assert lost.refresh().document()["snapshot"]["error"]
    assert "no_such_schema" in lost.failures[0]
