"""Test when the alerts of deploy/prometheus/ fire, by promtool, on hours of made-up samples."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import cli

RULES = Path(cli.__file__).resolve().parent / "deploy" / "prometheus" / "alerts.yaml"
INSTANCE = 'job="indexer", instance="crm:8080"'
INDEX = f'{INSTANCE}, schema="public", table="activity", index="ix_activity_type"'
WELL = {
    f"indexer_up{{{INSTANCE}}}": "1x240",
    f"indexer_snapshot_timestamp_seconds{{{INSTANCE}}}": "0+60x240",
    f"indexer_gate_open{{{INSTANCE}}}": "1x240",
    f"indexer_revisions_pending{{{INSTANCE}}}": "0x240",
    f'indexer_build_running{{{INDEX}, phase=""}}': "0x240",
    f"indexer_index_valid{{{INDEX}}}": "1x240",
    f'indexer_index_drift{{{INDEX}, kind="missing"}}': "0x240",
    f"indexer_index_collation_suspect{{{INDEX}}}": "0x240",
    f"indexer_index_size_bytes{{{INDEX}}}": "3000000000x240",
    f"indexer_index_expected_size_bytes{{{INDEX}}}": "2700000000x240",
    f'indexer_query_served{{{INSTANCE}, index="ix_activity_type", query="activities()"}}': "1x240",
}
GONE = {name: f"{values.split('x')[0]}x60 _x180" for name, values in WELL.items() if "_index_" in name}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool; skip the test if it is not installed."""
    found = shutil.which("promtool")
    if not found:
        pytest.skip("there is no promtool on this machine; Debian's package prometheus has it")
    return subprocess.run([found, *arguments], capture_output=True, text=True, check=False)


def assert_alerts(firing: dict[str, list[str]], samples: dict[str, str], folder: Path) -> None:
    """Check which alerts fire at a moment, such as 61m, while a series has these samples, one a minute.

    The values are as promtool takes them: 0x30 1x60 is 0 for half an hour, then 1 for an hour.
    """
    series = {**WELL, **samples}
    moments = [
        {
            "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": moment,
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in names],
        }
        for moment, names in firing.items()
    ]
    test: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": moments,
    }
    content = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}
    (folder / "test.yaml").write_text(json.dumps(content))
    done = promtool("test", "rules", str(folder / "test.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_valid():
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert done.returncode == 0, done.stderr
    assert "8 rules found" in done.stdout


def test_no_alert_fires_where_all_is_well(tmp_path: Path):
    assert_alerts({"10m": [], "2h": [], "4h": []}, {}, tmp_path)


def test_a_revision_may_be_pending_for_an_hour(tmp_path: Path):
    samples = {f"indexer_revisions_pending{{{INSTANCE}}}": "0x9 1x80 0x140"}
    assert_alerts({"69m": [], "70m": ["IndexerRevisionPending"], "91m": []}, samples, tmp_path)


def test_a_revision_may_be_pending_for_as_long_as_its_indexes_are_being_built(tmp_path: Path):
    samples = {
        f"indexer_revisions_pending{{{INSTANCE}}}": "1x240",
        f'indexer_build_running{{{INDEX}, phase="building index"}}': "1x120 _x120",
    }
    assert_alerts({"2h": [], "180m": [], "3h10m": ["IndexerRevisionPending"]}, samples, tmp_path)


def test_a_service_that_is_not_scraped_fires(tmp_path: Path):
    gone = {name: f"{values.split('x')[0]}x60 _x180" for name, values in WELL.items()}
    assert_alerts({"60m": [], "2h": ["IndexerServiceUnseen"]}, gone, tmp_path)


def test_a_service_that_is_not_scraped_fires_beside_another_that_is(tmp_path: Path):
    samples = {'indexer_up{job="indexer-erp", instance="erp:8080"}': "1x60 _x180"}
    assert_alerts({"60m": [], "2h": ["IndexerServiceUnseen"]}, samples, tmp_path)


def test_a_service_that_moves_to_another_pod_fires_nothing(tmp_path: Path):
    samples = {
        'indexer_up{job="indexer-erp", instance="10.0.0.1:8080"}': "1x60 _x180",
        'indexer_up{job="indexer-erp", instance="10.0.0.2:8080"}': "_x60 1x180",
    }
    assert_alerts({"61m": [], "2h": [], "4h": []}, samples, tmp_path)


def test_an_index_that_is_not_as_declared_fires_until_it_is_repaired(tmp_path: Path):
    samples = {f'indexer_index_drift{{{INDEX}, kind="missing"}}': "0x9 1x20 0x200"}
    assert_alerts({"14m": [], "15m": ["IndexerIndexNotAsDeclared"], "32m": []}, samples, tmp_path)


def test_a_changed_collation_fires_until_the_index_is_checked(tmp_path: Path):
    samples = {f"indexer_index_collation_suspect{{{INDEX}}}": "0x9 1x30 0x200"}
    assert_alerts({"24m": [], "25m": ["IndexerCollationSuspect"], "42m": []}, samples, tmp_path)


@pytest.mark.parametrize(
    ("size", "after", "fires"),
    [
        (3_000_000_000, 1_400_000_000, True),
        (3_000_000_000, 1_600_000_000, False),  # less than half
        (1_500_000_000, 500_000_000, False),  # less than 1 GB
        (1_600_000_000, 500_000_000, True),
    ],
)
def test_a_rebuild_is_worth_an_alert_from_half_and_one_gigabyte(size: int, after: int, fires: bool, tmp_path: Path):
    samples = {
        f"indexer_index_size_bytes{{{INDEX}}}": f"{size}x240",
        f"indexer_index_expected_size_bytes{{{INDEX}}}": f"{after}x240",
    }
    assert_alerts({"59m": [], "2h": ["IndexerIndexBloated"] if fires else []}, samples, tmp_path)


def test_a_size_after_a_rebuild_that_is_not_known_fires_nothing(tmp_path: Path):
    assert_alerts({"2h": []}, {f"indexer_index_expected_size_bytes{{{INDEX}}}": "_x240"}, tmp_path)


def test_a_build_that_another_session_blocks_fires_after_ten_minutes(tmp_path: Path):
    samples = {
        f"indexer_build_waiting_seconds{{{INDEX}}}": "0+60x30 _x200",
        f"indexer_build_blockers{{{INDEX}}}": "1x30 _x200",
    }
    assert_alerts({"11m": [], "12m": ["IndexerBuildBlocked"], "40m": []}, samples, tmp_path)


def test_a_query_that_is_not_served_fires_only_while_the_gate_is_open(tmp_path: Path):
    served = f'indexer_query_served{{{INSTANCE}, index="ix_activity_type", query="activities()"}}'
    assert_alerts({"59m": [], "61m": ["IndexerQueryNotServed"]}, {served: "0x240"}, tmp_path)
    closed = {served: "0x240", f"indexer_gate_open{{{INSTANCE}}}": "0x240"}
    assert_alerts({"2h": []}, closed, tmp_path)


def test_a_database_that_cannot_be_read_fires_one_alert_alone(tmp_path: Path):
    samples = {**GONE, f"indexer_up{{{INSTANCE}}}": "1x60 0x180", f"indexer_gate_open{{{INSTANCE}}}": "1x60 0x180"}
    assert_alerts({"65m": [], "70m": ["IndexerDatabaseUnread"]}, samples, tmp_path)


def test_every_alert_says_what_to_do():
    alerts = RULES.read_text().split("- alert: ")[1:]
    assert len(alerts) == 8
    for alert in alerts:
        assert re.search("severity: (critical|warning|info)\n", alert)
        assert "summary: " in alert
        assert "python cli.py " in alert or alert.startswith("IndexerBuildBlocked")
