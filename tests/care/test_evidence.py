"""What the evidence says that a rebuild would leave, against what a real REINDEX leaves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import pytest
from command import HEAD, execute, is_postgres, nothing_changes
from counters import change
from roles import OWNER, as_role

from indexer.care import evidence
from indexer.care.evidence import Evidence, evidence_of, learn
from indexer.connection import connect
from indexer.records.baseline import UP, Baseline, baseline_of
from indexer.records.table import now
from indexer.revisions.chain import load
from indexer.runner import Runner

CLOSE = pytest.approx(1, abs=0.05)

# The kinds of keys that the rules were made from: five indexes of the revision.
FILL = (
    """
    DO $$
    DECLARE
        found record;
    BEGIN
        FOR found IN SELECT conrelid::regclass AS of_table, conname FROM pg_constraint WHERE contype = 'f' LOOP
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', found.of_table, found.conname);
        END LOOP;
    END $$
    """,
    """
    INSERT INTO activity (conversation_id, openphone_id, activity_type, created_at)
    SELECT n % 8000, 'AC' || md5(n::text), (ARRAY ['call', 'message', 'voicemail', 'email'])[1 + n % 4],
           timestamp '2025-01-01' + n * interval '1 s'
      FROM generate_series(1, 60000) AS n
    """,
    "INSERT INTO contact (first_name, last_name, phone) "
    "SELECT 'A', 'B', '+1' || (4000000000 + n * 7919::bigint) FROM generate_series(1, 60000) AS n",
    "INSERT INTO contact_flag (contact_id, flag_type) "
    "SELECT n, CASE WHEN n % 4 = 0 THEN 'other' ELSE 'opted_out' END FROM generate_series(1, 16000) AS n",
    "ANALYZE",
)
FIVE = (
    "ix_activity_conversation_created",
    "ix_activity_openphone_id",
    "ix_activity_type",
    "ix_contact_flag_opted_out",
    "ix_contact_phone_hash",
)


# A table with other kinds of keys; OLD_ROWS is inserted before its indexes are built.
NOTES = """
    CREATE TABLE note (id int, owner int, code text, kind text, token uuid, body text, maybe int, made timestamp)
"""
ROWS = """
    INSERT INTO note
    SELECT n, n % {owners}, 'AC' || md5(n::text), (ARRAY ['call', 'message', 'voicemail', 'email'])[1 + n % 4],
           md5((n * 7)::text)::uuid, repeat(md5(n::text), 5), CASE WHEN n % 7 < 3 THEN n END,
           timestamp '2025-01-01' + n * interval '1 s'
      FROM generate_series({first}, {last}) AS n
"""
COUNT, OWNERS = 16_000, 2000
OLD_ROWS = ROWS.format(first=1, last=COUNT, owners=OWNERS)
NEW_ROWS = ROWS.format(first=COUNT + 1, last=2 * COUNT, owners=OWNERS)
INDEXES = {
    "by_owner": "(owner)",
    "by_owner_made": "(owner, made DESC)",
    "by_owner_with_code": "(owner) INCLUDE (code)",
    "by_code": "(code)",
    "by_code_loosely": "(code) WITH (fillfactor = 70)",
    "by_kind": "(kind)",
    "by_token": "(token)",
    "by_body": "(body)",
    "by_maybe": "(maybe)",
    "by_lower": "(lower(code))",
    "of_calls": "(kind, id) WHERE kind = 'call'",
}
HALF, FEW = "DELETE FROM note WHERE hashint4(id) % 2 = 0", "DELETE FROM note WHERE id % 20 <> 0"
ROUNDS = [
    statement
    for remainder in (0, 1, 2)
    for statement in (f"UPDATE note SET made = made + interval '1 h' WHERE id % 3 = {remainder}", "VACUUM ANALYZE note")
]
LONGER = "UPDATE note SET code = code || code || code"
SHORTER = "UPDATE note SET code = left(code, 6)"
OTHERS = """
    INSERT INTO note (id, owner, code, kind, token)
    SELECT n, -n, md5(n::text) || md5(n::text), left(md5(n::text), 20), md5(n::text)::uuid
      FROM generate_series(20001, 36000) AS n
"""
UNIQUE = "UPDATE note SET owner = id, kind = kind || id"
FLIPPED = "UPDATE note SET kind = 'call' WHERE id % 2 = 1"
PAGE = 8192

# What happens to the rows, and for which indexes the evidence still gives the size after a rebuild.
ALL = set(INDEXES)
CHANGES = {
    "nothing": ([], ALL),
    "half deleted": ([HALF, "VACUUM ANALYZE note"], ALL),
    "half deleted, statistics old": ([HALF, "VACUUM note"], ALL - {"by_owner", "by_maybe"}),
    "most deleted": ([FEW, "VACUUM ANALYZE note"], ALL - {"by_owner", "by_kind", "of_calls"}),
    "doubled, statistics old": ([NEW_ROWS], {"by_owner_made", "by_token"}),
    "doubled and vacuumed": ([NEW_ROWS, "VACUUM note"], {"by_owner_made", "by_token"}),
    "doubled and analyzed": ([NEW_ROWS, "ANALYZE note"], ALL - {"by_owner", "by_lower"}),
    "deleted and inserted again": ([FEW, "VACUUM note", NEW_ROWS, "VACUUM note"], set()),
    "updated in rounds": (ROUNDS, ALL),
    "keys longer": ([LONGER, "VACUUM FULL note", "ANALYZE note"], ALL),
    "keys shorter": (
        [SHORTER, "VACUUM ANALYZE note"],
        ALL - {"by_code", "by_code_loosely", "by_owner_with_code", "by_lower"},
    ),
    "other values added": ([OTHERS, "VACUUM ANALYZE note"], set()),
    "other values added, statistics old": ([OTHERS, "VACUUM note"], set()),
    "half deleted, not vacuumed": ([HALF], set()),
    "keys all different": ([UNIQUE, "VACUUM FULL note", "ANALYZE note"], set()),
    "rows moved to the partial index": ([FLIPPED], set()),
    "emptied": (["TRUNCATE note"], set()),
}


@pytest.fixture
def small_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let indexes be told about that are large enough for a test, and too small for a user."""
    monkeypatch.setattr(evidence, "SMALLEST", {})
    monkeypatch.setattr(evidence, "SMALLEST_OTHER", 8 * PAGE)
    monkeypatch.setattr(evidence, "SMALLEST_BASELINE", 8)


@pytest.fixture
def notes(postgres_url: str, small_is_enough: None) -> tuple[str, dict[str, Baseline]]:
    """Return the URL of a database with the table of notes and its indexes, and their baselines."""
    change(postgres_url, NOTES, OLD_ROWS, "ANALYZE note")
    execute(postgres_url, *(f"CREATE INDEX {name} ON note {key}" for name, key in INDEXES.items()))
    return postgres_url, measured(postgres_url, INDEXES)


def measured(url: str, names: Iterable[str]) -> dict[str, Baseline]:
    """Return the baselines of fresh indexes of notes."""
    with connect(url, read_only=True) as migrator:
        migrator.settle(["note"])
        found = migrator.catalog.measured(list(names))
    return {name: each for name in found if (each := baseline_of(found[name], UP, now()))}


def sizes(url: str) -> dict[str, int]:
    """Return the bytes of all indexes, by name."""
    found = "SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) FROM pg_stat_user_indexes"
    return dict(execute(url, found))


def rebuilt(url: str, *names: str) -> dict[str, int]:
    """Rebuild indexes, and return the bytes that this leaves, by name."""
    execute(url, *(f"REINDEX INDEX {name}" for name in names))
    return {name: size for name, size in sizes(url).items() if name in names}


def look(
    url: str, table: str, baselines: Mapping[str, Baseline], *names: str, exact: bool = False
) -> dict[str, Evidence]:
    """Return the evidence about indexes of a table."""
    with connect(url, read_only=True) as migrator:
        migrator.settle([table])
        return evidence_of(migrator, names or list(baselines), baselines, exact)


def test_a_baseline_of_up_tells_what_a_rebuild_leaves(base_url: str, small_is_enough: None) -> None:
    change(base_url, *FILL)
    with connect(base_url) as migrator:
        runner = Runner(migrator, load("."))
        runner.up()
        inspector = runner.inspector
        tables = inspector.migrator.catalog.tables(["schema_revision"])
        baselines = inspector.revisions.read(tables)[HEAD].baselines
    for name, each in look(base_url, "activity", baselines, *FIVE).items():
        assert (each.ratio, each.source, name) == (CLOSE, "baseline", name)
    for table in ("activity", "contact", "contact_flag"):
        change(base_url, f"DELETE FROM {table} WHERE hashint4(id) % 2 = 0", f"VACUUM ANALYZE {table}")
    found = look(base_url, "activity", baselines, *FIVE)
    after = rebuilt(base_url, *FIVE)
    assert {name: (each.source, each.measured_at) for name, each in found.items()} == {
        name: ("baseline", baselines[name].at) for name in FIVE
    }
    assert {name: (each.bytes_after_rebuild or 0) / after[name] for name, each in found.items()} == dict.fromkeys(
        FIVE, CLOSE
    )
    assert all((each.ratio or 0) > 1.8 for each in found.values())


@pytest.mark.parametrize(("statements", "told"), CHANGES.values(), ids=CHANGES)
def test_no_bloat_is_invented_whatever_happens_to_the_rows(notes, statements, told):
    url, baselines = notes
    change(url, *statements)
    found = look(url, "note", baselines)
    after = rebuilt(url, *INDEXES)
    answers = {name: each.bytes_after_rebuild for name, each in found.items() if each.bytes_after_rebuild is not None}
    invented = {name: (size, after[name]) for name, size in answers.items() if size < 0.94 * after[name] - PAGE}
    assert invented == {}
    wrong = {name: (answers.get(name), after[name]) for name in told if not is_close(answers.get(name), after[name])}
    assert wrong == {}


def is_close(told: int | None, true: int) -> bool:
    """Return whether a size was told to five per cent, or to a page."""
    return told is not None and abs(told - true) <= max(0.05 * true, PAGE)


# Without a build on record -------------------------------------------------------------------------------------------

UNIQUE_KEYS = {"by_owner_made", "by_code", "by_code_loosely", "by_token", "by_body", "by_owner_with_code"}
OTHER_KEYS = {"by_owner", "by_kind", "by_maybe"}


def merges(url: str) -> bool:
    """Return whether the server stores equal keys once."""
    return execute(url, "SELECT current_setting('server_version_num')::int >= 130000") == [(True,)]


def test_without_a_baseline_only_columns_with_nearly_unique_values_tell_the_size(notes):
    url, _ = notes
    change(url, HALF, "VACUUM ANALYZE note")
    found = look(url, "note", {}, *INDEXES)
    after = rebuilt(url, *INDEXES)
    told = {name: each.bytes_after_rebuild for name, each in found.items() if each.source == "statistics"}
    assert set(told) == (UNIQUE_KEYS if merges(url) else UNIQUE_KEYS | OTHER_KEYS)
    assert {name: size for name, size in told.items() if not is_close(size, after[name])} == {}
    silent = {name: each for name, each in found.items() if name not in told}
    assert {(each.bytes_after_rebuild, each.ratio, each.source) for each in silent.values()} == {(None, None, None)}
    assert all("no build of it is on record" in each.why for each in silent.values())


def test_what_our_role_may_not_read_tells_nothing(notes, superuser_url, role):
    url, _ = notes
    change(url, "VACUUM ANALYZE note")
    with_rights = look(url, "note", {}, "by_token")["by_token"]
    without = look(as_role(superuser_url, role), "note", {}, "by_token")["by_token"]
    assert (with_rights.source, without.source) == ("statistics", None)
    assert "this role may see" in without.why
    assert without.bytes == with_rights.bytes


@pytest.fixture
def pgstattuple(superuser_url: str) -> str:
    """Create the extension as a superuser, in a schema of its own, and return the schema, which the owner may use."""
    available = execute(superuser_url, "SELECT 1 FROM pg_available_extensions WHERE name = 'pgstattuple'")
    if not available:
        pytest.skip("this PostgreSQL has no pgstattuple")
    execute(superuser_url, 'CREATE SCHEMA "of extensions %"', 'CREATE EXTENSION pgstattuple SCHEMA "of extensions %"')
    execute(superuser_url, f'GRANT USAGE ON SCHEMA "of extensions %" TO {OWNER}')
    return '"of extensions %"'


def test_reading_a_whole_index_tells_its_size_where_that_is_asked_for(notes, superuser_url, pgstattuple):
    url, baselines = notes
    change(url, "CREATE INDEX by_hash ON note USING hash (token)", HALF, "VACUUM ANALYZE note")
    assert "role crm_owner may not call pgstatindex" in look(url, "note", {}, "of_calls", exact=True)["of_calls"].why
    for function in ("pgstatindex", "pgstathashindex"):
        execute(superuser_url, f"GRANT EXECUTE ON FUNCTION {pgstattuple}.{function}(regclass) TO {OWNER}")
    names = (*INDEXES, "by_hash")
    with nothing_changes(url):
        found = look(url, "note", {}, *names, exact=True)
        unasked = look(url, "note", {}, *names)
        preferred = look(url, "note", baselines, "by_token", exact=True)
    after = rebuilt(url, *names)
    assert {each.source for each in found.values()} == {"exact"}
    assert "exact" not in {each.source for each in unasked.values()}
    assert re.fullmatch(r"by_hash has \d+ overflow pages? for 64 buckets", found["by_hash"].overflow)
    assert {each.overflow for name, each in found.items() if name != "by_hash"} == {""}
    assert preferred["by_token"].source == "baseline"
    wrong = {name: each for name, each in found.items() if not is_close(each.bytes_after_rebuild, after[name])}
    assert wrong == {}


def test_a_function_that_only_has_the_name_of_one_of_the_extension_is_not_called(notes):
    url, _ = notes
    function = "pgstatindex(regclass) RETURNS TABLE (leaf_pages int8, avg_leaf_density float8)"
    execute(url, f"CREATE FUNCTION {function} LANGUAGE sql AS 'SELECT 1::int8, 1::float8'")
    found = look(url, "note", {}, "of_calls", exact=True)["of_calls"]
    assert (found.source, "pgstattuple is not installed" in found.why) == (None, True)


# Learning -------------------------------------------------------------------------------------------------------------


def learned(url: str, baselines: Mapping[str, Baseline], *names: str) -> dict[str, Baseline]:
    """Return what is learned about indexes of notes."""
    with connect(url, read_only=True) as migrator:
        migrator.settle(["note"])
        return learn(migrator, names, baselines)


def test_the_least_size_for_its_rows_is_learned_and_tells_later_what_a_rebuild_leaves(notes):
    url, baselines = notes
    names = ("by_code", "by_kind", "by_maybe", "of_calls")
    change(url, HALF, "VACUUM note")
    assert learned(url, {}, *names) == {}  # statistics are too old
    change(url, "ANALYZE note")
    assert learned(url, baselines, *names) == {}  # their builds were smaller
    bloated = learned(url, {}, *names)
    assert {(each.by, each.built_at) for each in bloated.values()} == {("learned", None)}
    found = look(url, "note", bloated, *names)
    assert {found[name].source for name in ("by_code", "of_calls")} == {"statistics", None}
    assert "has never been much smaller" in found["of_calls"].why
    rebuilt(url, *names)
    least = learned(url, bloated, *names)
    assert set(least) == set(names)
    change(url, FEW, "VACUUM ANALYZE note")
    found = look(url, "note", least, *names)
    after = rebuilt(url, *names)
    assert {each.source for each in found.values()} <= {"learned", "statistics", None}
    assert all(is_close(each.bytes_after_rebuild, after[name]) for name, each in found.items() if each.source)
    assert found["by_code"].source == "learned"


def test_too_small_an_index_tells_nothing(any_head_url: str) -> None:
    found = look(any_head_url, "activity", {}, "ix_activity_type", "ix_contact_phone_hash")
    hash_index = "a hash index under 8 MB" if is_postgres(any_head_url) else "an index under 1 MB"
    for name, kind in {"ix_activity_type": "an index under 1 MB", "ix_contact_phone_hash": hash_index}.items():
        assert (found[name].source, found[name].why) == (None, f"{kind} is too small")
