"""The command lines in the image, in Compose and on Kubernetes are ones that this version accepts."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator

import pytest
import yaml
from command import CLI

from indexer.cli.commands import cli

ROOT = CLI.parent
OF_COMPOSE = "docker compose run --rm migrate "


def in_the_image() -> Iterator[list[str]]:
    """Yield the default command of the image."""
    yield json.loads(re.findall(r"^CMD (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0])


def in_compose() -> Iterator[list[str]]:
    """Yield the command of each service that is the program, those after cli.py, and those in the comments."""
    for path in (ROOT / "compose.yaml", ROOT / "examples" / "application" / "compose.replicas.yaml"):
        text = path.read_text()
        services = yaml.safe_load(text.replace("!override", ""))["services"]
        for service in services.values():
            entrypoint = service.get("entrypoint", [])
            if "/app/cli.py" in entrypoint:
                yield entrypoint[entrypoint.index("/app/cli.py") + 1 :]
            elif "command" in service and not entrypoint:
                yield service["command"]
        yield from (shlex.split(line)[:1] for line in re.findall(rf"^# +{OF_COMPOSE}(.*)$", text, re.MULTILINE))


def on_kubernetes() -> Iterator[list[str]]:
    """Yield the arguments in the manifests, and the commands in their README."""
    for path in (ROOT / "deploy" / "kubernetes").glob("*.yaml"):
        yield from (yaml.safe_load(each) for each in re.findall(r"args:? (\[.*?\])", path.read_text()))
    readme = (ROOT / "deploy" / "kubernetes" / "README.md").read_text()
    yield from (line.split() for line in re.findall(r"-- python /app/cli\.py ([a-z ]+)", readme))


LINES = {" ".join(line): line for source in (in_the_image, in_compose, on_kubernetes) for line in source()}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_the_program_accepts_the_command_line(line: list[str]) -> None:
    name, *arguments = line
    cli.commands[name].make_context(name, list(arguments))


def test_every_place_has_command_lines() -> None:
    assert {line[0] for line in in_compose()} == {"up", "serve", "seed", "down"}
    assert {line[0] for line in on_kubernetes()} >= {"up", "serve", "check", "reindex", "wait"}
