"""Test the board for Grafana and the alerts against what the service says, the latter with a real Prometheus."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import snapshots
from command import HEAD, execute, succeed
from prometheus import scraping
from scenes import running, until
from served import address_of

import cli
from indexer.service.metrics import metrics

DEPLOY = Path(cli.__file__).resolve().parent / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yaml"
BOARD = json.loads((DEPLOY / "grafana" / "indexer.json").read_text())
PANELS: list[dict[str, Any]] = BOARD["panels"]
SELECTOR = '{job=~"$job", instance=~"$instance"}'
VARIABLES = {"$__rate_interval": "5s", "$job": ".*", "$instance": ".*"}
MAY_BE_EMPTY = ("expected_size", "last_scan", "deep_check", "build_")  # of small indexes that nothing has used yet


def queries_of_the_board() -> list[str]:
    """Return the queries of all panels and annotations."""
    return [
        *(target["expr"] for panel in PANELS for target in panel["targets"]),
        *(annotation["expr"] for annotation in BOARD["annotations"]["list"]),
    ]


def expressions_of_the_alerts() -> list[str]:
    """Return the conditions of the alerts."""
    return re.findall(r"expr: (?:>-\s+)?(.*?)\s+for:", RULES.read_text(), re.DOTALL)


def test_the_board_and_the_alerts_use_only_metrics_that_the_service_has():
    exposed = set(re.findall(r"^# TYPE (\S+)", metrics(snapshots.pending()).decode(), re.MULTILINE))
    used = set(re.findall(r"indexer_\w+", " ".join([*queries_of_the_board(), *expressions_of_the_alerts()])))
    assert used <= exposed
    assert exposed - used == {"indexer_build_info", "indexer_revision_info"}


def test_every_panel_has_its_place_its_queries_and_a_description():
    assert len({panel["id"] for panel in PANELS}) == len({panel["title"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        across, down = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        squares = {(x, y) for x in across for y in down}
        assert not squares & taken
        assert max(across) < 24
        taken |= squares
        assert panel["description"].endswith((".", "up", "check", "verify", "reindex"))
        assert panel["fieldConfig"]["defaults"]["noValue"] == "not known"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    rows = sorted({y for _, y in taken})
    assert all(after - before == 1 for before, after in pairwise(rows))


def test_every_query_is_of_the_chosen_instances():
    for query in queries_of_the_board():
        assert query.count("indexer_") == query.count(SELECTOR) > 0


def test_an_index_dropped_by_hand_fires_until_it_is_built_again(head_url: str, tmp_path: Path):
    dropped = ("IndexerIndexNotAsDeclared", "ix_activity_type")
    with running("serve", "--port", "0", "--interval", "1", url=head_url) as service:
        target = urlsplit(address_of(service)).netloc
        with scraping(target, RULES, tmp_path) as prometheus:
            until(lambda: prometheus.query("count(indexer_query_served)"), "all has been read")
            for query in queries_of_the_board():
                for variable, value in VARIABLES.items():
                    query = query.replace(variable, value)
                found = until(lambda query=query: prometheus.query(query) or re.search("|".join(MAY_BE_EMPTY), query))
                assert found, query
            assert prometheus.firing() == set()
            assert prometheus.query("indexer_revision_info") == [
                ({"__name__": "indexer_revision_info", "head": HEAD, "revision": HEAD, **labels_of(target)}, 1.0)
            ]

            execute(head_url, "DROP INDEX ix_activity_type")
            until(lambda: dropped in prometheus.firing(), "the alert fires")
            assert [value for _, value in prometheus.query("indexer_gate_open")] == [0.0]

            succeed("up", url=head_url)
            until(lambda: not prometheus.firing(), "no alert fires")
            assert [value for _, value in prometheus.query("indexer_gate_open")] == [1.0]


def labels_of(target: str) -> dict[str, str]:
    """Return the labels that Prometheus gives to what it scrapes."""
    return {"job": "indexer", "instance": target}
