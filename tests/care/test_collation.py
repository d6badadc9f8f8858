"""`check` suspects an index whose collation changed since it was built or found clean, and only that one."""

from __future__ import annotations

import json
import re
import uuid

import pytest
from command import HEAD, TEN_NAMES, execute, nothing_changes, run, succeed
from corruption import sort_by
from postgres_server import with_database
from roles import OWNER

from indexer.advice import SUSPECT
from indexer.connection import connect
from indexer.postgres.care.collations import collations_of

TEXT = {
    "ix_activity_openphone_id",
    "ix_webhook_event_processed",
    "ix_campaign_membership_campaign_status",
    "ix_activity_type",
    "ix_webhook_event_event_type",
}
ONE = "ix_activity_type"
ICU = 'ALTER TABLE activity ALTER COLUMN activity_type TYPE varchar(20) COLLATE "en-x-icu"'


def suspects(url: str) -> dict[str, str]:
    """Return the text of each suspicion by the name of its index; ``check`` must change nothing and exit with 0."""
    with nothing_changes(url):
        result = run("check", "--json", url=url)
    assert result.exit_code == 0, result
    return {each["index"]: each["text"] for each in result.json()["advice"] if each["kind"] == SUSPECT}


def tell_version(url: str, version: str, key: str = "\0baselines") -> None:
    """Change the version of the collation that is on record for an index."""
    [(stored,)] = execute(url, f"SELECT existed_before FROM schema_revision WHERE revision = '{HEAD}'")
    content = json.loads(stored)
    each = json.loads(content[key])
    each[ONE]["collation_version"] = version
    content[key] = json.dumps(each)
    changed = json.dumps(content).replace("'", "''")
    execute(url, f"UPDATE schema_revision SET existed_before = '{changed}' WHERE revision = '{HEAD}'")


@pytest.fixture
def up_url(base_url: str) -> str:
    """Return the URL of a database that ``up`` has brought to head, with one column that sorts by a version."""
    execute(base_url, ICU)
    succeed("up", url=base_url)
    return base_url


def test_without_a_change_nothing_is_suspect(up_url):
    assert suspects(up_url) == {}


def test_an_index_built_with_another_version_is_suspect_until_it_is_found_clean(up_url):
    tell_version(up_url, '"en-x-icu" 1.0')
    found = suspects(up_url)
    assert found.keys() == {ONE}
    assert 'the version of its collation was "en-x-icu" 1.0 at its build on ' in found[ONE]
    assert found[ONE].endswith(f"check --deep {ONE}")

    assert "may be corrupt" not in succeed("check", "--deep", ONE, url=up_url).stdout
    assert suspects(up_url) == {}
    tell_version(up_url, '"en-x-icu" 2.0', "\0checks")
    assert "at its deep check on" in suspects(up_url)[ONE]


def test_an_index_that_is_built_again_is_no_longer_suspect(up_url):
    tell_version(up_url, '"en-x-icu" 1.0')
    succeed("down", url=up_url)
    succeed("up", url=up_url)
    assert suspects(up_url) == {}


def test_what_the_server_recorded_counts_for_an_index_without_a_baseline(base_url, superuser_url):
    execute(base_url, ICU, f"CREATE INDEX {ONE} ON activity (activity_type)")
    execute(superuser_url, "UPDATE pg_collation SET collversion = '1.0' WHERE collname = 'en-x-icu'")
    result = run("check", "--json", url=base_url)  # of an index that another tool built
    assert result.exit_code == 3
    (advice,) = result.json()["advice"]
    assert (advice["kind"], advice["index"], advice["about"]) == (SUSPECT, ONE, ONE)
    assert "recorded version 1.0 of collation en-x-icu" in advice["text"]

    succeed("up", url=base_url)  # keeps it
    assert suspects(base_url).keys() == {ONE}
    succeed("check", "--deep", ONE, url=base_url)
    assert suspects(base_url) == {}


def test_a_refresh_without_a_rebuild_does_not_hide_it(up_url, superuser_url):
    tell_version(up_url, '"en-x-icu" 1.0')
    execute(superuser_url, 'ALTER COLLATION pg_catalog."en-x-icu" REFRESH VERSION')  # the superuser's collation
    assert suspects(up_url).keys() == {ONE}


def test_indexes_that_no_order_of_text_matters_to_are_never_suspect(head_url, superuser_url):
    sort_by(superuser_url, "en-x-icu", *TEN_NAMES)  # the catalog is the superuser's
    execute(superuser_url, "UPDATE pg_collation SET collversion = '1.0' WHERE collname = 'en-x-icu'")
    assert suspects(head_url).keys() == TEXT  # not the hash index, nor the one whose predicate admits one text


def test_the_sentence_about_recording_a_version_counts_the_other_indexes(base_url, superuser_url):
    execute(
        base_url, ICU, f"CREATE INDEX {ONE} ON activity (activity_type)", "CREATE INDEX two ON activity (activity_type)"
    )
    with connect(base_url) as opened:
        migrator = opened.within(opened.context, ["activity"])
        assert migrator.care.refreshes([ONE]) == []
        execute(superuser_url, "UPDATE pg_collation SET collversion = '1.0' WHERE collname = 'en-x-icu'")
        (sentence,) = migrator.care.refreshes([ONE])
        assert "First check or rebuild what else sorts by it: 1 other index. Then run:" in sentence
        assert sentence.endswith('ALTER COLLATION pg_catalog."en-x-icu" REFRESH VERSION;')
        (found,) = collations_of(migrator.catalog, [ONE])[ONE]
        assert (found.column, found.name, found.recorded) == ("activity_type", "en-x-icu", "1.0")
        execute(base_url, "DROP INDEX two")
        (sentence,) = migrator.care.refreshes([ONE])
        assert "the system has version" in sentence
        assert " Run: ALTER COLLATION" in sentence


def test_the_default_of_the_database_is_recorded_by_altering_the_database(base_url, superuser_url):
    [(version,)] = execute(base_url, "SELECT current_setting('server_version_num')::integer")
    if version < 150000:
        pytest.skip("the default collation has had a version since PostgreSQL 15")
    name = "with_icu_" + uuid.uuid4().hex[:8]
    execute(
        superuser_url,
        f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'"
        " COLLATION_VERSION '1.0'",
    )
    try:
        url = with_database(base_url, name)
        execute(url, "CREATE TABLE words (word text PRIMARY KEY)")
        with connect(url) as opened:
            migrator = opened.within(opened.context, ["words"])
            (sentence,) = migrator.care.refreshes(["words_pkey"])
        assert sentence.startswith("PostgreSQL recorded version 1.0 of collation default, and the system has version")
        (statement,) = re.findall(r"Run: (ALTER DATABASE .* REFRESH COLLATION VERSION);$", sentence)
        execute(url, statement)
    finally:
        execute(superuser_url, f"DROP DATABASE {name}")


def test_the_deep_check_counts_the_text_indexes_that_it_does_not_cover(up_url):
    execute(up_url, 'CREATE TABLE elsewhere (word text COLLATE "en-x-icu" UNIQUE, other text COLLATE "C" UNIQUE)')
    result = succeed("check", "--deep", "--json", url=up_url)
    assert result.json()["other_text_indexes"] == 1
    assert "Not covered: 1 other text index of the database." in succeed("check", "--deep", url=up_url).stdout
