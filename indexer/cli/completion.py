"""Completion of the command line in a shell: Click's script for the shell, and the words that Click cannot know."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from indexer.errors import PROGRAM, UsageError
from indexer.project import Project

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_INDEXER_COMPLETE"  # environment variable: the shell asks for words, and which shell asks

# A revision file is read as text: no code of it runs while a line is being typed.
ID = r"""(?m)^revision\s*=\s*["'](\S+)["']"""
INDEX = r"""\bIndex\(\s*(?:name\s*=\s*)?["'](\w+)["']"""
DESCRIPTION = r'\s*r?"""(.*)'
UNSORTED = r"(?m)^( *)complete -o nosort (.*)$"


def script_for(shell: str, group: click.Group, program: str) -> str:
    """Return the script that lets a shell complete the command line.

    Raises:
        UsageError: the program was started in a way that a shell cannot complete, such as ``python cli.py``.
    """
    from click.shell_completion import ShellComplete, get_completion_class

    if len(program.split()) > 1:
        message = f"A shell completes the program {PROGRAM}, and cannot complete {program}."
        raise UsageError(message, f"Install it with pip install ., then run: {PROGRAM} completion {shell}")
    completes = get_completion_class(shell)
    assert completes, "Click knows the three shells"
    # Not its own source(), which for bash first asks the version of another bash than the one that will run the script.
    script = ShellComplete.source(completes(group, {}, program, VARIABLE))
    return re.sub(UNSORTED, r"\1complete -o nosort \2 2>/dev/null || complete \2", script)  # before bash 4.4


def revisions(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return base, head and the ids of the folder's revisions that begin with what was typed."""
    from click.shell_completion import CompletionItem

    project = ctx.find_object(Project) or Project(os.getcwd())
    named = [("base", "before the first revision"), ("head", "the last revision"), *_headers(project.folder)]
    return [CompletionItem(id, help=description) for id, description in named if id.startswith(incomplete)]


def indexes(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of indexes in the folder's revision files that begin with what was typed."""
    from click.shell_completion import CompletionItem

    from indexer.revisions.chain import files_in

    project, found = ctx.find_object(Project) or Project(os.getcwd()), dict[str, None]()
    for path in files_in(project.folder):
        with open(path, encoding="utf-8", errors="replace") as file:
            found.update(dict.fromkeys(re.findall(INDEX, file.read())))
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def _headers(folder: str) -> Iterator[tuple[str, str]]:
    """Yield the id and the description of each revision file that can be read."""
    from indexer.revisions.chain import files_in

    for path in files_in(folder):
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        if found := re.search(ID, text):
            description = re.match(DESCRIPTION, text)
            yield found[1], description[1].rstrip('".') if description else ""
