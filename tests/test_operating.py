"""docs/operating.md has every path, metric and alert of the service, and no other."""

import re

import yaml
from command import CLI
from prometheus_client.parser import text_string_to_metric_families
from snapshots import advised, drifted, pending, well

from indexer.service.metrics import metrics

ROOT = CLI.parent
PAGE = (ROOT / "docs" / "operating.md").read_text()
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"


def rows(beginning: str) -> dict[str, list[str]]:
    """Return the other cells of the rows whose first cell begins so, by its code."""
    lines = re.findall(rf"^\| `({beginning}[^`]*)` \| ?(.*) \|$", PAGE, re.MULTILINE)
    return {name: re.split(r" ?\| ?", cells) for name, cells in lines}


def served() -> dict[str, set[str]]:
    """Return the labels of each metric, by its name."""
    found: dict[str, set[str]] = {}
    for document in (well(), drifted(), pending(), advised()):
        for family in text_string_to_metric_families(metrics(document).decode()):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_metric_is_explained_with_its_labels():
    explained = {name: set(re.findall(r"\w+", cells[0])) for name, cells in rows("indexer_").items()}
    assert explained == served()


def test_every_alert_is_explained():
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    assert list(rows("Indexer")) == [rule["alert"] for rule in group["rules"]]


def test_every_path_is_explained():
    source = (ROOT / "indexer" / "service" / "app.py").read_text()
    assert set(rows("/")) == set(re.findall(r'"(/[a-z.]*)"', source))


def test_the_configuration_of_prometheus_can_be_read():
    (block,) = re.findall(r"^```yaml\n(.*?)\n```", PAGE, re.MULTILINE | re.DOTALL)
    assert yaml.safe_load(block)["rule_files"] == [ALERTS.name]
