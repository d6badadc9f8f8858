"""What the evidence says that a rebuild would leave of SQLite's indexes, against what REINDEX leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import execute

from indexer.care import evidence
from indexer.care.evidence import evidence_of, learn
from indexer.connection import connect
from indexer.records.baseline import UP, Baseline, baseline_of
from indexer.records.table import now

PAGE = 4096
INDEXES = {"by_owner": "(owner)", "by_owner_made": "(owner, made DESC)", "by_code": "(code)", "by_body": "(body)"}
ROWS = """
    INSERT INTO note
      WITH RECURSIVE numbers (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last})
    SELECT n, n % 500, n * 7919 % 10007, hex(n * 2654435761 % 4294967296), printf('%.*c', n % 97, 'x') FROM numbers
"""
CHANGES = {
    "nothing": [],
    "half deleted": ["DELETE FROM note WHERE id * 7919 % 100 < 50"],
    "most deleted": ["DELETE FROM note WHERE id % 20 <> 0"],
    "doubled": [ROWS.format(first=12_001, last=24_000)],
    "longer": ["UPDATE note SET code = code || code, body = body || body || code"],
    "shorter": ["UPDATE note SET code = substr(code, 1, 2), body = substr(body, 1, 9)"],
    "deleted and inserted again": ["DELETE FROM note WHERE id % 4 <> 0", ROWS.format(first=12_001, last=24_000)],
}


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, Baseline]]:
    """Return the URL of a file with a table of notes and its indexes, and their baselines."""
    monkeypatch.setattr(evidence, "SMALLEST_OTHER", PAGE)
    monkeypatch.setattr(evidence, "SMALLEST_BASELINE", 8)
    url = f"sqlite:///{tmp_path / 'notes.db'}"
    execute(url, "CREATE TABLE note (id INTEGER, owner INT, made INT, code TEXT, body TEXT)")
    execute(
        url, ROWS.format(first=1, last=12_000), *(f"CREATE INDEX {name} ON note {key}" for name, key in INDEXES.items())
    )
    with connect(url, read_only=True) as migrator:
        measured = migrator.catalog.measured(list(INDEXES))
    if not measured:
        pytest.skip("this SQLite was built without dbstat")
    return url, {name: each for name in measured if (each := baseline_of(measured[name], UP, now()))}


def sizes(url: str) -> dict[str, int]:
    """Return the bytes of the indexes, by name."""
    rows = execute(url, "SELECT name, sum(pgsize) FROM dbstat GROUP BY name")
    return {name: size for name, size in rows if name in INDEXES}


@pytest.mark.parametrize("statements", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("has_baseline", [True, False], ids=["baseline", "exact"])
def test_dbstat_tells_what_a_rebuild_leaves(notes, statements, has_baseline):
    url, baselines = notes
    execute(url, *statements, "SELECT 1")
    with connect(url, read_only=True) as migrator:
        found = evidence_of(migrator, list(INDEXES), baselines if has_baseline else {})
        assert learn(migrator, list(INDEXES), {}) == {}  # nothing need be: each page is read
    before = sizes(url)
    assert {name: each.bytes for name, each in found.items()} == before
    execute(url, *(f"REINDEX {name}" for name in INDEXES))
    after = sizes(url)
    # A baseline says it only where that agrees with what is in the pages.
    assert {each.source for each in found.values()} <= ({"baseline", "exact"} if has_baseline else {"exact"})
    if has_baseline and not statements:
        assert {each.source for each in found.values()} == {"baseline"}
    wrong = {
        name: (each.bytes_after_rebuild, after[name])
        for name, each in found.items()
        if each.bytes_after_rebuild is None
        or abs(each.bytes_after_rebuild - after[name]) > max(0.05 * after[name], 2 * PAGE)
    }
    assert wrong == {}
