"""The Dockerfile and what goes into the image. The image itself is built where there is an engine for it."""

from __future__ import annotations

import re
import subprocess
from fnmatch import fnmatch

from command import CLI
from packaging.requirements import Requirement

from indexer import __version__

ROOT = CLI.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PINNED = re.findall(
    r"^([\w.-]+)==([\w.]+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)",
    (ROOT / "requirements-image.txt").read_text(),
    re.M,
)


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(["hadolint", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_requirement_of_the_image_is_pinned_with_its_hashes() -> None:
    lines = (ROOT / "requirements-image.txt").read_text().splitlines()
    assert len(PINNED) == sum(not line.startswith((" ", "#")) for line in lines)


def test_the_image_has_what_the_program_and_serve_require() -> None:
    versions = {name.lower(): version for name, version, _ in PINNED}
    for file in ("requirements.txt", "requirements-serve.txt"):
        for line in (ROOT / file).read_text().splitlines():
            required = Requirement(line)
            version = versions[required.name.lower().replace("_", "-")]
            assert required.specifier.contains(version), f"{line}: the image has {version}"


def test_the_base_is_pinned_to_a_patch_release() -> None:
    (base,) = re.findall(r"^ARG PYTHON=(.*)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", base)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${PYTHON}", "${PYTHON}"]


def test_the_image_says_its_version_and_runs_as_a_numeric_user() -> None:
    assert f'org.opencontainers.image.version="{__version__}"' in DOCKERFILE
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]


def test_all_that_is_copied_exists_and_nothing_else_is_sent_to_the_builder() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.M) for word in line.split()]
    assert sorted(allowed) == sorted(copied)
    paths = [str(path.relative_to(ROOT)) for path in (*ROOT.iterdir(), *(ROOT / "deploy").iterdir())]
    assert [name for name in copied if not any(fnmatch(path, name) for path in paths)] == []
