"""What the service answers to requests: paths, methods, host names, headers, and what it does not tell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from command import connect, execute, prepare, run
from prometheus_client.parser import text_string_to_metric_families
from served import Service, names_of, samples, serving

from indexer.service.document import Details, document_of
from queries import QUERIES

SQL = r"(?:DROP|CREATE|ALTER|REINDEX|GRANT|ROLLBACK) [A-Z]+|SELECT"
PATHS = ("/", "/gate", "/metrics", "/status.json", "/livez", "/readyz")


@pytest.fixture(scope="module")
def at_head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield a service that has read a SQLite file at the head revision."""
    url = f"sqlite:///{tmp_path_factory.mktemp('served') / 'crm.db'}"
    prepare(url)
    with serving(url, names=("service", "indexer.crm.svc")) as service:
        yield service.refresh()


@pytest.mark.parametrize("path", PATHS)
def test_every_path_is_answered_with_headers_that_forbid_storing_sniffing_and_framing(at_head, path):
    answer = at_head.get(path)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert int(answer.headers["Content-Length"]) == len(answer.body) > 0


@pytest.mark.parametrize("path", PATHS)
def test_head_is_answered_as_get_without_the_content(at_head, path):
    head, get = at_head.get(path, method="HEAD"), at_head.get(path)
    assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT", "get", "X"])
def test_other_methods_are_refused(at_head, method):
    answer = at_head.get("/gate", method=method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path", ["", "//", "/gate/", "/GATE", "/metrics/..", "/../etc/passwd", "/favicon.ico", "/\0", "*"]
)
def test_other_paths_are_not_found_and_not_repeated(at_head, path):
    answer = at_head.get(path)
    assert (answer.status, answer.text) == (404, "There is no such page.\n")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080", "10.1.2.3", "service:80"]
)
def test_addresses_localhost_and_the_names_that_were_allowed_are_answered(at_head, host):
    assert at_head.get("/gate", host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "service.", "127.0.0.1.evil.example", "1"])
def test_other_host_names_are_not_answered_because_a_browser_may_be_deceived(at_head, host):
    expected = 200 if host == "service." else 421
    assert at_head.get("/status.json", host=host).status == expected


@pytest.mark.parametrize(
    "host", ["", "a b", "a/b", "localhost, localhost", "user@localhost", "localhost:x", "[::1", None]
)
def test_what_is_no_host_is_refused(at_head, host):
    assert at_head.get("/", host=host).status == 400


def test_refreshing_can_be_switched_off(at_head):
    assert 'http-equiv="refresh"' in at_head.get("/").text
    assert 'http-equiv="refresh"' not in at_head.get("/", query="refresh=off").text


def test_nothing_is_open_or_ready_before_the_database_has_been_read(sqlite_url):
    with serving(sqlite_url) as service:
        assert service.get("/livez").status == 200
        assert service.get("/readyz").status == 503
        status, gate = service.gate()
        assert (status, gate["open"], gate["reason"]) == (503, False, "The database has not been read yet.")
        assert service.get("/gate").headers["Retry-After"] == "5"
        assert service.document()["snapshot"]["up"] is None
        assert samples(service.get("/metrics").text)["indexer_up"] == 0
        assert service.get("/").status == 200


def test_the_gate_opens_with_the_last_index_and_closes_when_one_is_dropped(any_base_url):
    with serving(any_base_url) as service:
        status, gate = service.refresh().gate()
        assert (status, gate["open"], gate["commands"]) == (503, False, ["python cli.py up"])
        assert "10992629d68e" in gate["reason"]
        prepare(any_base_url)
        assert service.refresh().gate()[0] == 200
        execute(any_base_url, "DROP INDEX ix_activity_type")
        status, gate = service.refresh().gate()
        assert (status, gate["open"]) == (503, False)
        assert "ix_activity_type" in gate["reason"]
        assert service.get("/readyz").status == 200


def test_a_missing_table_is_the_reason_and_up_only_follows_its_repair(sqlite_head_url):
    execute(sqlite_head_url, "DROP TABLE webhook_event")
    with serving(sqlite_head_url) as service:
        _, gate = service.refresh().gate()
        content = service.get("/").text
    reason = "The tables are not as the revisions need them: table webhook_event is missing."
    assert (gate["reason"], gate["hint"]) == (reason, "Fix this, then run: python cli.py up")
    assert reason in content
    assert f"{reason} Fix this, then run: python cli.py up" in run("status", url=sqlite_head_url).stdout


def test_the_metrics_are_read_by_prometheus_own_parser_and_have_no_sample_for_what_is_not_known(at_head):
    answer = at_head.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert all(name.startswith("indexer_") and family.documentation for name, family in families.items())
    assert len(families["indexer_index_valid"].samples) == 10
    assert len(families["indexer_index_size_bytes"].samples) == 10
    assert len(families["indexer_query_served"].samples) == len(QUERIES)
    assert families["indexer_index_scans"].samples == []  # SQLite counts none
    for name, count in (("indexer_index_drift", 30), ("indexer_build_running", 10)):  # which alerts may ask for
        assert [sample.value for sample in families[name].samples] == [0] * count


def test_metrics_say_which_index_has_drifted_and_how(head_url):
    execute(head_url, "DROP INDEX ix_activity_type", "DROP INDEX ix_webhook_event_event_type")
    execute(head_url, "CREATE INDEX ix_webhook_event_event_type ON webhook_event (processed)")
    with serving(head_url) as service:
        found = samples(service.refresh().get("/metrics").text)
    drift = [series for series, value in found.items() if series.startswith("indexer_index_drift") and value]
    assert drift == [
        'indexer_index_drift{index="ix_activity_type",kind="missing",schema="public",table="activity"}',
        'indexer_index_drift{index="ix_event",kind="different",schema="public",table="webhook_event"}'.replace(
            "ix_event", "ix_webhook_event_event_type"
        ),
    ]
    assert found['indexer_index_valid{index="ix_activity_type",schema="public",table="activity"}'] == 0
    assert found["indexer_gate_open"] == 0


@pytest.mark.parametrize("path", PATHS)
def test_no_answer_names_the_server_the_role_or_the_database_without_details(head_url, path):
    execute(head_url, "DROP INDEX ix_activity_type")
    with serving(head_url) as service:
        text = service.refresh().get(path).text
    assert [name for name in names_of(head_url) if name in text] == []


def test_no_answer_shows_sql_or_what_only_the_database_says_of_an_index_without_details(head_url):
    execute(
        head_url,
        "DROP INDEX ix_contact_phone_hash",
        "CREATE INDEX ix_contact_phone_hash ON contact (phone) WHERE phone <> '+1555SECRET'",
        "DROP INDEX ix_conversation_contact_id",
        "CREATE INDEX ix_conversation_contact_id ON conversation ((contact_id || 'SECRET'))",
        "CREATE INDEX hand_made ON webhook_event (event_type)",
        "CREATE INDEX narrow ON contact ((phone || 'SECRET'))",
        "CREATE INDEX wide ON contact ((phone || 'SECRET'), id)",
        "CREATE TABLE old_activity () INHERITS (activity)",
    )
    with serving(head_url) as service, serving(head_url, has_details=True) as telling:
        service.refresh()
        answers = {path: service.get(path).text for path in PATHS}
        assert [path for path, text in answers.items() if re.search(f"SECRET|{SQL}", text)] == []
        told = telling.refresh().get("/status.json").text
        assert {"SECRET", "DROP INDEX"} <= {*re.findall(f"SECRET|{SQL}", told)}
        by_index = {each["index"]: each for each in service.document()["advice"]}
        assert by_index["narrow"]["text"] == (
            "narrow can be dropped: wide serves the same queries. Drop it: see the statement with python cli.py health"
        )
        assert by_index["narrow"]["commands"] == ["python cli.py health"]
        differences = service.index("ix_contact_phone_hash")["differences"]
        assert differences[-1] == {"part": "predicate", "declared": "none", "found": None}
        assert "predicate: another one, declared <code>none</code>" in service.get("/").text


def test_with_details_the_database_is_named(head_url):
    with serving(head_url, has_details=True) as service:
        name = service.refresh().document()["database"]["name"]
    assert all(part in name for part in names_of(head_url))


def test_a_failure_is_said_without_names_and_told_to_the_log_with_all_that_is_known(head_url):
    where = head_url.rpartition("/")[0] + "/nowhere"
    with serving(where) as service, serving(where, has_details=True) as telling:
        service.refresh()
        telling.refresh()
        assert service.document()["snapshot"]["error"] == "The database refuses the connection."
        assert "nowhere" in telling.document()["snapshot"]["error"]
        assert [name for name in names_of(where) if name in service.get("/").text + service.get("/readyz").text] == []
        assert "nowhere" in service.failures[0]


def test_a_thousand_requests_ask_the_database_nothing(head_url):
    with serving(head_url) as service, closing(connect(head_url)) as watching, watching.cursor() as cursor:
        service.refresh()
        cursor.execute("SELECT query_start FROM pg_stat_activity WHERE application_name = 'indexer serve'")
        before = cursor.fetchall()
        for number in range(1000):
            assert service.get(PATHS[number % len(PATHS)]).status == 200
        cursor.execute("SELECT query_start FROM pg_stat_activity WHERE application_name = 'indexer serve'")
        assert cursor.fetchall() == before
        assert len(before) == 1


def test_an_error_of_the_page_is_no_traceback_for_the_client(at_head, monkeypatch):
    monkeypatch.setitem(at_head.application._pages, "/", lambda document: 1 / 0)
    at_head.application._responses.clear()
    answer = at_head.get("/")
    assert (answer.status, answer.text) == (500, "The service cannot show the snapshot. Its log says why.\n")
    assert at_head.failures.pop() == "division by zero"


def test_the_document_has_the_words_of_the_commands(head_url):
    with serving(head_url) as service:
        document = service.refresh().document()
    json.dumps(document)
    assert document["revision"] == document["head"] == "10992629d68e"
    assert [each["revision"] for each in document["revisions"]] == ["2792ed2d7978", "10992629d68e"]
    assert {each["state"] for each in document["indexes"]} == {"valid"}
    assert all(each["scans"] == 0 and each["since_event"] for each in document["indexes"])
    assert {each["served"] for each in document["queries"]} == {True}


def test_values_of_rows_which_the_notes_of_verify_name_are_shown_with_details_only(at_head):
    snapshot = at_head.refresher.snapshot
    report = snapshot.care.report
    results = tuple(replace(each, notes=("the planner does not use it for (+43660)",)) for each in report.results)
    noted = snapshot.care._replace(report=replace(report, results=results))
    said = [
        json.dumps(document_of(snapshot._replace(care=noted), now(), Details(str, shown))) for shown in (False, True)
    ]
    assert ["+43660" in each for each in said] == [False, True]


def now() -> datetime:
    """Return the time."""
    return datetime.now(timezone.utc)
