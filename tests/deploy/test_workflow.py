"""The workflow for GitHub Actions runs the tests on every version that is promised."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import CLI
from jsonschema import Draft7Validator

ROOT = CLI.parent
TEXT = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
WORKFLOW = yaml.safe_load(TEXT)
JOBS: dict[str, Any] = WORKFLOW["jobs"]
PYTHONS = [f"3.{minor}" for minor in range(10, 14)]
SERVERS = [str(major) for major in range(12, 19)]


def commands() -> list[str]:
    """Return the commands of all jobs."""
    return [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]


def test_the_schema_of_workflows_accepts_it():
    package = find_spec("check_jsonschema")  # which only brings the schema
    assert package
    assert package.origin
    schema = Path(package.origin).parent / "builtin_schemas" / "vendor" / "github-workflows.json"
    document = {"on" if key is True else key: value for key, value in WORKFLOW.items()}  # YAML 1.1 reads "on" as true
    Draft7Validator(json.loads(schema.read_text())).validate(document)


def test_every_promised_python_meets_every_promised_postgresql_and_sqlite():
    assert JOBS["postgresql"]["strategy"]["matrix"] == {"python": PYTHONS, "postgresql": SERVERS}
    assert JOBS["sqlite"]["strategy"]["matrix"] == {"python": PYTHONS}
    promise = (ROOT / "CONTRIBUTING.md").read_text()
    assert (
        f"Python {PYTHONS[0]} to {PYTHONS[-1]}, with PostgreSQL {SERVERS[0]} to {SERVERS[-1]}, and with SQLite"
        in promise
    )


def test_the_tests_get_the_server_of_the_job():
    job = JOBS["postgresql"]
    assert job["services"]["postgres"]["image"] == "postgres:${{ matrix.postgresql }}"
    assert job["services"]["postgres"]["env"]["POSTGRES_PASSWORD"] in job["env"]["TEST_DATABASE_URL"]
    assert job["steps"][-1]["run"] == "pytest"


def test_every_linter_of_ci_is_run():
    linters = re.findall(r"^(?:ruff|mypy).*", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert linters
    assert set(linters) <= set(commands())


def test_the_dependencies_are_audited_every_week():
    assert any(each.startswith("pip-audit") and "requirements.txt" in each for each in commands())
    assert re.search(r"^    - cron:", TEXT, re.MULTILINE)


@pytest.mark.parametrize("action", re.findall(r"uses: (.*)", TEXT))
def test_every_action_is_pinned_to_a_commit(action: str):
    assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_a_job_may_only_read_the_repository():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in JOBS.values())
