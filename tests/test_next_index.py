"""Index number eleven, an expression, with the code of docs/next-index.md: from `new` to `down`."""

from __future__ import annotations

import re
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from command import CLI, execute, indexes

import models
import sample
from indexer.bench import inserts, measure, report
from indexer.cli.commands import cli
from indexer.project import Project

NAME = "ix_contact_email_lower"
REVISION, QUERIES = re.findall(
    r"^```python\n(.*?)^```", (CLI.parent / "docs" / "next-index.md").read_text(), re.MULTILINE | re.DOTALL
)
INDEXES = REVISION[REVISION.index("INDEXES = (") :]
QUERY, ENTRIES = QUERIES[QUERIES.index("def ") :].split("\n\nQUERIES = (\n    ...\n")
ENTRY = ENTRIES.removesuffix(")\n")
Command = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a copy of the CRM's files."""
    copy = tmp_path / "project"
    copy.mkdir()
    for file in (*CLI.parent.glob("migrate_*.py"), CLI.parent / "queries.py"):
        shutil.copy(file, copy)
    return copy


@pytest.fixture
def command(folder: Path, any_head_url: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return a function that runs a command on the copy and a database with the ten indexes."""
    monkeypatch.setenv("DATABASE_URL", any_head_url)
    monkeypatch.setattr(measure, "MOST", 6)
    monkeypatch.setattr(inserts, "TURNS", 2)
    monkeypatch.setattr(report, "is_installed", lambda package: False)  # nothing is drawn
    queries = folder / "queries.py"
    declared = lambda: runpy.run_path(str(queries))["QUERIES"]  # noqa: E731
    project = Project(str(folder), lambda: models.TABLES, declared, lambda: sample)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments, obj=project, prog_name="python cli.py")

    return run


def edit(folder: Path) -> None:
    """Edit the new revision and queries.py as the documentation says."""
    (file,) = set(folder.glob("migrate_*.py")) - {folder / "migrate_10992629d68e.py"}
    text = file.read_text().replace("import Index,", "import Expression, Index,")
    file.write_text(re.sub(r"^INDEXES = \(\n.*?^\)\n", lambda _: INDEXES, text, flags=re.MULTILINE | re.DOTALL))
    queries = folder / "queries.py"
    functions, entries = queries.read_text().removesuffix(")\n").split("# In the order")
    queries.write_text(f"{functions}{QUERY}\n\n# In the order{entries}{ENTRY})\n")


def test_the_next_index_goes_all_the_way(command, folder, any_head_url, tmp_path):
    before = indexes(any_head_url)
    assert "Add its query to queries.py:" in command("new", "Contacts by email address in any case").output
    edit(folder)

    plan = command("plan").output
    assert f"create {NAME} on contact" in plan
    assert "query: contacts_by_email(email)" in plan
    assert "1 created, " in command("up").output
    assert "lower" in indexes(any_head_url)[NAME]
    verified = command("verify")
    assert re.search(rf"^contacts_by_email\(email\) +{NAME} +yes", verified.output, re.MULTILINE)
    assert verified.exit_code == 0
    measured = command("bench", "--rows", "100", "--out", str(tmp_path / "results")).output
    assert re.search(rf"^{NAME} +\d", measured, re.MULTILINE)
    assert re.search(r"^contacts_by_email\(email\) +100", measured, re.MULTILINE)
    checked = command("check").output
    assert checked.endswith("\nEverything is as declared.\n")
    assert "Advice" not in checked
    assert "contacts_by_email(email)" in command("status").output
    assert "1 dropped." in command("down").output
    assert indexes(any_head_url) == before
    assert command("check").exit_code == 3


@pytest.mark.parametrize("instead", [None, "email", "upper(email)"])
def test_no_other_index_is_taken_for_one_of_the_expression(command, folder, any_head_url, instead):
    command("new", "Contacts by email address in any case")
    edit(folder)
    command("up")
    execute(any_head_url, f"DROP INDEX {NAME}")
    if instead:
        execute(any_head_url, f"CREATE INDEX {NAME} ON contact ({instead})")
    verified = command("verify")
    assert verified.exit_code == 4
    assert "Not served on" in verified.output
    assert command("check").exit_code == 4
    assert command("up", "--replace").exit_code == 0
    assert command("verify").exit_code == 0
