"""A database that a later version has migrated: `up` warns and succeeds, and `down` has to be asked for."""

from __future__ import annotations

import alembic_app
import pytest
from command import (
    BASE,
    HEAD,
    Result,
    created_indexes,
    execute,
    is_postgres,
    nothing_changes,
    revisions,
    run,
    specified,
    succeed,
)

NAME = "ix_activity_type"
LATER = "feedfacefeed"


@pytest.fixture
def url(any_head_url: str) -> str:
    """Return a database at a revision after our head, unknown to this version."""
    known = execute(any_head_url, f"SELECT * FROM schema_revision WHERE revision = '{HEAD}'")
    assert known
    record_like_head(any_head_url, LATER, after=HEAD)
    return any_head_url


def record_like_head(url: str, revision: str, after: str) -> None:
    """Record another revision as applied, otherwise like our head."""
    columns = (
        "SELECT attname FROM pg_attribute WHERE attrelid = 'schema_revision'::regclass AND attnum > 0 ORDER BY attnum"
        if is_postgres(url)
        else "SELECT name FROM pragma_table_info('schema_revision')"
    )
    named = {"revision": f"'{revision}'", "down_revision": f"'{after}'"}
    values = ", ".join(named.get(name, name) for (name,) in execute(url, columns))
    execute(url, f"INSERT INTO schema_revision SELECT {values} FROM schema_revision WHERE revision = '{HEAD}'")


def warnings(result: Result, revision: str = LATER) -> list[str]:
    """Return the lines that name the unknown revision."""
    return [line for line in (result.stdout + result.stderr).splitlines() if revision in line]


# Forward -------------------------------------------------------------------------------------------------------------


def test_up_succeeds_again_and_again_where_the_ten_exist(url):
    with nothing_changes(url):
        for _ in range(2):
            result = succeed("up", url=url)
            assert len(warnings(result)) == 1
            assert "Nothing to do" in result.stdout


def test_up_builds_missing_indexes_and_keeps_the_unknown_row(url):
    execute(url, f"DROP INDEX {NAME}")
    result = succeed("up", url=url)

    assert created_indexes(url) == specified(url)
    assert len(warnings(result)) == 1
    assert revisions(url) == {BASE: "applied", HEAD: "applied", LATER: "applied"}


def test_up_builds_the_ten_where_only_the_unknown_one_is_recorded(any_head_url):
    record_like_head(any_head_url, LATER, after=HEAD)
    execute(
        any_head_url,
        f"DELETE FROM schema_revision WHERE revision = '{HEAD}'",
        *(f"DROP INDEX {name}" for name in specified(any_head_url)),
    )
    succeed("up", url=any_head_url)

    assert created_indexes(any_head_url) == specified(any_head_url)
    assert revisions(any_head_url)[HEAD] == "applied"
    assert revisions(any_head_url)[LATER] == "applied"


def test_check_and_status_warn_and_find_nothing_wrong(url):
    with nothing_changes(url):
        check = run("check", "--json", url=url)
        status = run("status", url=url)
        for_people = run("check", url=url)

    assert check.exit_code == status.exit_code == for_people.exit_code == 0
    assert any(LATER in warning for warning in check.json()["warnings"])
    assert warnings(status)
    assert warnings(for_people)


def test_check_still_finds_what_is_wrong_with_the_ten_indexes(url):
    execute(url, f"DROP INDEX {NAME}")

    assert run("check", url=url).exit_code == 4
    assert run("status", url=url).exit_code == 4


def test_a_warning_does_not_disturb_the_documents(url):
    result = succeed("up", "--json", url=url)

    assert result.json()["changed"] is False
    assert LATER in result.stdout + result.stderr


# Back ----------------------------------------------------------------------------------------------------------------


def test_down_below_the_unknown_revision_asks_for_yes_and_names_it(url):
    with nothing_changes(url):
        refused = run("down", url=url)

    assert refused.exit_code == 1
    assert LATER in refused.stderr
    assert "--below-later" in refused.stderr


def test_down_with_yes_drops_the_ten_and_leaves_the_unknown_row(url):
    succeed("down", "--yes", url=url)

    assert created_indexes(url) == {}
    assert HEAD not in revisions(url)
    assert revisions(url)[LATER] == "applied"


def test_after_down_with_yes_up_builds_the_ten_again(url):
    succeed("down", "--yes", url=url)
    succeed("up", url=url)

    assert created_indexes(url) == specified(url)
    assert run("check", url=url).exit_code == 0


# Both records --------------------------------------------------------------------------------------------------------


def test_unknown_in_both_records_is_still_a_success(url):
    alembic_app.put(url, "c0ffeec0ffee")
    with nothing_changes(url):
        result = succeed("up", url=url)
        refused = run("down", url=url)

    assert warnings(result)
    assert warnings(result, "c0ffeec0ffee")
    assert refused.exit_code == 1
    assert LATER in refused.stderr or "c0ffeec0ffee" in refused.stderr
    succeed("down", "--yes", url=url)
    assert created_indexes(url) == {}
    assert alembic_app.current(url) == ("c0ffeec0ffee",)


def test_more_columns_than_we_know_in_the_record_do_not_matter(url):
    execute(url, "ALTER TABLE schema_revision ADD COLUMN mood varchar(20) DEFAULT 'fine'")
    succeed("up", url=url)
    succeed("down", "--yes", url=url)
    succeed("up", url=url)

    assert created_indexes(url) == specified(url)
    assert run("check", url=url).exit_code == 0


def test_a_state_that_we_do_not_know_is_not_taken_for_applied(any_head_url):
    execute(any_head_url, f"UPDATE schema_revision SET state = 'verifying' WHERE revision = '{HEAD}'")
    assert run("status", url=any_head_url).exit_code == 3
    succeed("up", url=any_head_url)

    assert revisions(any_head_url)[HEAD] == "applied"
