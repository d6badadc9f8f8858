"""What a rebuild would leave, as it is told, against what a real REINDEX leaves."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from command import execute
from counters import change

from indexer.care.evidence import Evidence, evidence_of
from indexer.connection import connect
from indexer.options import Options
from indexer.records.baseline import Baseline
from indexer.revisions.chain import load
from indexer.runner import Runner

CLOSE = pytest.approx(1, abs=0.05)

# The kinds of keys that the rules were made from: five indexes of the revision, large enough to be believed.
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
    SELECT n % 20000, 'AC' || md5(n::text), (ARRAY ['call', 'message', 'voicemail', 'email'])[1 + n % 4],
           timestamp '2025-01-01' + n * interval '1 s'
      FROM generate_series(1, 170000) AS n
    """,
    "INSERT INTO contact (first_name, last_name, phone) "
    "SELECT 'A', 'B', '+1' || (4000000000 + n * 7919::bigint) FROM generate_series(1, 300000) AS n",
    "INSERT INTO contact_flag (contact_id, flag_type) "
    "SELECT n, CASE WHEN n % 4 = 0 THEN 'other' ELSE 'opted_out' END FROM generate_series(1, 60000) AS n",
    "ANALYZE",
)
FIVE = (
    "ix_activity_conversation_created",
    "ix_activity_openphone_id",
    "ix_activity_type",
    "ix_contact_flag_opted_out",
    "ix_contact_phone_hash",
)


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


def test_a_baseline_of_up_tells_what_a_rebuild_leaves(base_url: str) -> None:
    change(base_url, *FILL)
    with connect(base_url) as migrator:
        runner = Runner(migrator, load("."), options=Options())
        runner.up()
        inspector = runner.inspector
        tables = inspector.migrator.catalog.tables(["schema_revision"])
        baselines = inspector.revisions.read(tables)["10992629d68e"].baselines
    for name, evidence in look(base_url, "activity", baselines, *FIVE).items():
        assert (evidence.ratio, evidence.source, name) == (CLOSE, "baseline", name)
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
    assert all((each.ratio or 0) > 1.9 for each in found.values())
