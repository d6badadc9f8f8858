"""The shell completes the program ``indexer``: commands, options, revisions; quickly, and without a word on stderr."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import CLI, run

START = "from indexer.cli.start import main; main()"
WORDS = {
    "indexer st": {"stamp", "status"},
    "indexer plan ": {"up", "down"},
    "indexer up --jo": {"--jobs"},
    "indexer up --to ": {"base", "head", "a1f3", "b2"},
    "indexer stamp a": {"a1f3"},
    "indexer completion ": {"bash", "zsh", "fish"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two revisions, of which one cannot be loaded, as models.py; and the program beside it."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "migrate_1.py").write_text(
        '"""Books by title."""\nrevision = "a1f3"\ndown_revision = None\n'
    )
    (tmp_path / "project" / "migrate_2.py").write_text("revision = 'b2'\nraise RuntimeError\n")
    (tmp_path / "project" / "models.py").write_text("raise RuntimeError")
    program = tmp_path / "indexer"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{START}' \"$@\"\n")
    program.chmod(0o755)
    return tmp_path / "project"


def ask(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the folder, with the program on the path."""
    path = f"{folder.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(CLI.parent), **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)


@pytest.mark.parametrize(("line", "words"), WORDS.items(), ids=WORDS)
def test_the_words_that_can_follow_are_told_without_running_code_of_the_project(folder, line, words):
    answer = ask(folder, "indexer", _INDEXER_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(line.count(" ")))
    assert {each.removeprefix("plain,") for each in answer.stdout.split()} == words
    assert answer.stderr == ""


def test_a_revision_is_told_with_its_description(folder):
    answer = ask(folder, "indexer", _INDEXER_COMPLETE="zsh_complete", COMP_WORDS="indexer up --to a", COMP_CWORD="3")
    assert answer.stdout.splitlines() == ["plain", "a1f3", "Books by title"]


def test_an_error_is_not_shown_amid_the_line_that_is_being_typed(folder):
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "migrate_1.py").mkdir()
    answer = ask(
        folder,
        "sh",
        "-c",
        "indexer || true",
        _INDEXER_COMPLETE="bash_complete",
        COMP_WORDS="indexer up --to ",
        COMP_CWORD="3",
    )
    assert (answer.stdout, answer.stderr) == ("", "")


SCENE = """
set -e
eval "$(indexer completion bash)"
complete -p indexer
COMP_WORDS=(indexer plan d) COMP_CWORD=2
_indexer_completion indexer
echo "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_bash_completes_with_the_script(folder):
    answer = ask(folder, "bash", "-c", SCENE)
    assert answer.stdout.splitlines()[-1] == "down"
    assert answer.stdout.splitlines()[0].endswith("-F _indexer_completion indexer")
    assert answer.stderr == ""


@pytest.mark.parametrize(("shell", "check"), [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")])
def test_each_shell_can_read_its_script(folder, shell, check):
    script = ask(folder, "indexer", "completion", shell).stdout
    assert "_INDEXER_COMPLETE" in script
    if shutil.which(shell):
        (folder / "script").write_text(script)
        assert ask(folder, shell, check, "script").stderr == ""


def test_the_program_that_a_shell_cannot_complete_says_so():
    result = run("completion", "bash", url="sqlite:///library.db")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "cannot complete python cli.py" in result.stderr
    assert "indexer completion bash" in result.stderr
