"""A real Prometheus for the tests: it scrapes one service five times a second, and evaluates the rules as often."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from postgres_server import die_with_parent, free_port
from scenes import until

CONFIGURATION = """
global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}
rule_files: [alerts.yaml]
scrape_configs:
  - job_name: indexer
    static_configs: [{targets: ["%s"]}]
"""


class Prometheus:
    """The server at a URL."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str) -> Any:
        """Return what a path of its API answers."""
        with urlopen(f"{self.url}/api/v1/{path}?{urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return the samples of an expression, each with its labels."""
        found = self.get("query", query=expression)["result"]
        return [(each["metric"], float(each["value"][1])) for each in found]

    def firing(self) -> set[tuple[str, str | None]]:
        """Return the alerts that fire, each with the index that it is about."""
        labels = [each["labels"] for each in self.get("alerts")["alerts"] if each["state"] == "firing"]
        return {(each["alertname"], each.get("index")) for each in labels}

    def _is_ready(self) -> bool:
        try:
            with urlopen(f"{self.url}/-/ready", timeout=10) as answer:
                return answer.status == 200
        except (URLError, OSError):
            return False


@contextmanager
def scraping(target: str, rules: Path, folder: Path) -> Iterator[Prometheus]:
    """Yield a Prometheus that scrapes a target, and whose alerts fire at once; skip the test without Prometheus."""
    program = shutil.which("prometheus")
    if not program:
        pytest.skip("there is no Prometheus on this machine; Debian's package prometheus has it")
    (folder / "prometheus.yml").write_text(CONFIGURATION % target)
    (folder / "alerts.yaml").write_text(re.sub(r"\bfor: \w+", "for: 0s", rules.read_text()))
    address = f"127.0.0.1:{free_port()}"
    options = {"config.file": "prometheus.yml", "storage.tsdb.path": "data", "web.listen-address": address}
    command = [program, *(f"--{name}={value}" for name, value in options.items()), "--log.level=error"]
    with open(os.devnull, "w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, preexec_fn=die_with_parent)
    prometheus = Prometheus(f"http://{address}")
    try:
        until(lambda: process.poll() is not None or prometheus._is_ready(), "Prometheus is ready")
        assert process.poll() is None
        yield prometheus
    finally:
        process.kill()
        process.wait()
