"""Hypertables of TimescaleDB are recognised, and refused with TimescaleDB's own way; other tables beside them are not.

TimescaleDB is not installed here: its catalog is a stand-in, and what its server refuses is not.
"""

from __future__ import annotations

import pytest
from command import TEN_NAMES, created_indexes, execute, nothing_changes, run, succeed
from timescale import pretend_hypertable, pretend_timescale

OF_ACTIVITY = {"ix_activity_openphone_id", "ix_activity_conversation_created", "ix_activity_type"}
REMARK = "public.activity is a hypertable of TimescaleDB: of its indexes only what is outside of the chunks is measured"


@pytest.fixture
def hypertable_url(superuser_url: str, base_url: str) -> str:
    """Return the owner's URL of a database whose activity is a hypertable; only a superuser can make the stand-in."""
    pretend_timescale(superuser_url)
    pretend_hypertable(superuser_url, "activity")
    return base_url


def statements(said: str) -> list[str]:
    """Return the statements that an error shows."""
    return [line.strip() for line in said.splitlines() if line.startswith(("  CREATE INDEX", "  DROP INDEX"))]


def test_up_refuses_to_build_on_a_hypertable_with_the_statements_that_timescaledb_accepts(hypertable_url: str) -> None:
    with nothing_changes(hypertable_url):
        refused = run("up", url=hypertable_url)

    assert refused.exit_code == 1
    assert "\n  - public.activity is a hypertable, which refuses CONCURRENTLY\n" in refused.stderr
    assert statements(refused.stderr) == [
        'CREATE INDEX "ix_activity_openphone_id" ON "public"."activity" ("openphone_id")'
        " WITH (timescaledb.transaction_per_chunk);",
        'CREATE INDEX "ix_activity_conversation_created" ON "public"."activity" ("conversation_id", "created_at" DESC)'
        " WITH (timescaledb.transaction_per_chunk);",
        'CREATE INDEX "ix_activity_type" ON "public"."activity" ("activity_type")'
        " WITH (timescaledb.transaction_per_chunk);",
    ]


def test_once_its_indexes_are_built_the_others_are_built_as_ever_and_stay_apart(hypertable_url: str) -> None:
    said = statements(run("up", url=hypertable_url).stderr)
    execute(hypertable_url, *(line.replace(" WITH (timescaledb.transaction_per_chunk)", "") for line in said))
    succeed("up", url=hypertable_url)

    assert created_indexes(hypertable_url).keys() == TEN_NAMES
    check = succeed("check", "--json", url=hypertable_url).json()
    assert check["uncovered"] == []  # TimescaleDB gives each chunk the indexes of its hypertable
    assert any(warning.startswith(REMARK) for warning in check["warnings"])
    succeed("down", url=hypertable_url)
    assert created_indexes(hypertable_url).keys() == OF_ACTIVITY


def test_down_refuses_to_drop_what_up_made_before_the_table_became_a_hypertable(superuser_url, head_url) -> None:
    """Only a superuser can make the stand-in."""
    pretend_timescale(superuser_url)
    pretend_hypertable(superuser_url, "activity")
    with nothing_changes(head_url):
        refused = run("down", url=head_url)
    assert refused.exit_code == 1
    drops = statements(refused.stderr)
    assert {each.split(".")[1].strip('";') for each in drops} == OF_ACTIVITY
    execute(head_url, *drops)
    succeed("down", url=head_url)

    assert created_indexes(head_url) == {}


def test_offline_builds_on_a_hypertable_like_on_any_table(hypertable_url: str) -> None:
    succeed("up", "--offline", url=hypertable_url)

    assert created_indexes(hypertable_url).keys() == TEN_NAMES


def test_a_database_with_the_extension_and_no_hypertable_is_like_any_other(superuser_url, base_url) -> None:
    """Only a superuser can make the stand-in."""
    pretend_timescale(superuser_url)
    succeed("up", url=base_url)

    assert "hypertable" not in succeed("check", url=base_url).stdout


def test_a_catalog_that_does_not_belong_to_the_extension_is_not_read(superuser_url, hypertable_url) -> None:
    """Only a superuser can take the table away from the extension."""
    execute(superuser_url, "DELETE FROM pg_depend WHERE refobjid = 999999")
    succeed("up", url=hypertable_url)
