"""compose.yaml against the specification's schema, and against the life that its first lines promise."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import CLI
from jsonschema import Draft7Validator

from indexer import __version__

ROOT = CLI.parent
PATHS = [ROOT / "compose.yaml", ROOT / "examples" / "application" / "compose.replicas.yaml"]
OF_PROGRAM = ("migrate", "service", "application")


class Loader(yaml.SafeLoader):
    """Reads the tag of Compose that replaces a list instead of adding to it."""


Loader.add_constructor("!override", lambda loader, node: loader.construct_sequence(node))


def documents() -> list[dict[str, Any]]:
    """Return the documents of the two files."""
    return [yaml.load(path.read_text(), Loader) for path in PATHS]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """Return the services of compose.yaml."""
    found: dict[str, Any] = documents()[0]["services"]
    return found


@pytest.mark.parametrize("document", documents(), ids=[path.name for path in PATHS])
def test_the_specification_accepts_each_file(document: dict[str, Any]) -> None:
    package = find_spec("check_jsonschema")  # which only brings the schema
    assert package
    assert package.origin
    schema = Path(package.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    Draft7Validator(json.loads(schema.read_text())).validate(document)


def test_the_image_is_built_once(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if "build" in service] == ["migrate"]


def test_up_waits_for_the_database_and_the_service_for_up(services: dict[str, Any]) -> None:
    assert services["migrate"]["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert services["service"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert services["db"]["healthcheck"]["test"]


def test_the_application_waits_for_nothing_but_the_gate(services: dict[str, Any]) -> None:
    assert "depends_on" not in services["application"]
    assert services["application"]["entrypoint"][-1] == "http://service:8080/gate"


@pytest.mark.parametrize("name", OF_PROGRAM)
def test_each_container_of_the_program_is_restricted(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["image"] == f"indexer:{__version__}"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_no_port_is_open_to_other_machines(services: dict[str, Any]) -> None:
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_files_that_are_mounted_exist(services: dict[str, Any]) -> None:
    application = services["application"]
    (mount,) = application["volumes"]
    folder = ROOT / mount.split(":")[0]
    for path in re.findall(r"/srv/(\w+\.py)", " ".join(application["entrypoint"])):
        assert (folder / path).is_file()
