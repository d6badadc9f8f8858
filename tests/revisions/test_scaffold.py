"""`new`: the file that it writes is the next revision, and goes up and down unchanged on both databases."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import alembic_app
import processes
import pytest
from command import (
    BASE,
    CLI,
    HEAD,
    TEN_NAMES,
    catalog,
    catalog_without_records,
    execute,
    indexes,
    is_postgres,
    revisions,
    run,
    succeed,
)

UNREACHABLE = "postgresql://clerk@127.0.0.1:1/crm"
MESSAGES = (
    "it's done",
    'say "so"',
    'ends with a "quote"',
    '"',
    "'''",
    '"""',
    'three """ quotes',
    "one backslash \\ and another at the end \\",
    "\\N{DASH} \\x00 \\u12",
    "índices für 電話 ☎",
    "100% of {braces} and %(names)s",
    "import os; os.abort()",
    "#",
    "a very long message " * 10,
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a copy of the program, which `run` and `succeed` then start."""
    copy = tmp_path / "project"
    copy.mkdir()
    for file in CLI.parent.glob("*.py"):
        shutil.copy2(file, copy)
    shutil.copytree(CLI.parent / "indexer", copy / "indexer")
    monkeypatch.setattr(processes, "CLI", copy / "cli.py")
    return copy


def new(message: str) -> dict[str, str]:
    """Write the next revision and return the document about it."""
    return succeed("new", message, "--json", url=UNREACHABLE).json()


def migrations(project: Path) -> set[str]:
    """Return the names of the revision files."""
    return {file.name for file in project.glob("migrate_*.py")}


def test_the_file_is_the_next_revision_after_the_head(project):
    before = migrations(project)
    written = new("Index number eleven")
    (file,) = migrations(project) - before
    text = (project / file).read_text()

    assert re.fullmatch(r"[0-9a-f]{12}", written["revision"])
    assert file == f"migrate_{written['revision']}.py"
    assert Path(written["file"]).name == file
    assert written["down_revision"] == HEAD
    assert text.startswith('"""Index number eleven\n')
    for part in (f'revision = "{written["revision"]}"', f'down_revision = "{HEAD}"', "def upgrade(", "def downgrade("):
        assert part in text
    assert 'Index(\n        "ix_activity_contact_id",' in text
    assert re.search(r'^date = "\d{4}-\d\d-\d\d"$', text, re.MULTILINE)


def test_the_path_is_printed(project):
    before = migrations(project)
    result = succeed("new", "Index number eleven", url=UNREACHABLE)
    (file,) = migrations(project) - before

    assert str(project / file) in result.stdout


def test_the_command_in_the_output_of_new_shows_the_plan(project, sqlite_url):
    written = succeed("new", "Index number eleven", url=UNREACHABLE)
    assert written.next_command() == ["plan"]
    assert succeed("plan", url=sqlite_url).stdout


def test_the_file_satisfies_the_linter_unchanged(project):
    file = project / Path(new("Index number eleven")["file"]).name
    for check in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--config", CLI.parent / "pyproject.toml", "--no-cache", file],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("declared", "instead", "missing"),
    [
        ('table="activity"', 'table="deal"', "table {schema}deal is missing"),
        ('("contact_id",)', '("closed_at",)', "table {schema}activity has no column closed_at"),
    ],
)
def test_a_table_that_the_models_do_not_create_is_reported_before_an_empty_database_changes(
    project, database_url, declared, instead, missing
):
    file = project / Path(new("Index number eleven")["file"]).name
    file.write_text(file.read_text().replace(declared, instead))
    before = catalog(database_url) if is_postgres(database_url) else []
    refused = run("up", "--json", url=database_url)
    schema = "public." if is_postgres(database_url) else ""
    assert (refused.exit_code, refused.json()["problems"]) == (1, [missing.format(schema=schema)])
    assert catalog(database_url) == before


def test_the_file_runs_unchanged_forward_and_back(project, database_url):
    succeed("up", url=database_url)
    before = catalog_without_records(database_url)
    eleven = new("Index number eleven")["revision"]
    assert run("status", url=database_url).exit_code == 3
    succeed("up", url=database_url)
    built = indexes(database_url).keys() - {row[1] for row in before}

    assert len(built) == 1
    assert revisions(database_url) == {BASE: "applied", HEAD: "applied", eleven: "applied"}
    assert run("check", url=database_url).exit_code == 0
    succeed("down", url=database_url)
    assert catalog_without_records(database_url) == before
    assert revisions(database_url) == {BASE: "applied", HEAD: "applied"}


def test_the_chain_runs_through_both_on_an_empty_database_and_back_to_the_base(project, database_url):
    succeed("up", "--to", "base", url=database_url)
    base = catalog_without_records(database_url)
    eleven = new("Index number eleven")["revision"]
    succeed("up", url=database_url)
    assert len(indexes(database_url).keys() - {row[1] for row in base}) == 11
    succeed("down", url=database_url)
    assert set(revisions(database_url)) == {BASE, HEAD}
    succeed("up", "--to", eleven[:5], url=database_url)
    succeed("down", "--to", "base", url=database_url)

    assert catalog_without_records(database_url) == base
    assert revisions(database_url) == {BASE: "applied"}


PREDICATES = (
    "status IN ('pending', 'sent')",
    "status = 'sent' OR campaign_id = 1 OR campaign_id = 2",
    "contact_id IS NOT NULL AND coalesce(campaign_id, 0) <> 0",
    "campaign_membership.sent_at > '2020-01-01'",
    "lower(status) NOT LIKE 're%'",
)


@pytest.mark.parametrize("predicate", PREDICATES)
def test_the_next_index_is_recognised_whatever_its_predicate_is(project, postgres_url, predicate):
    """The server rewrites a predicate when it stores it, and its planner rewrites it once more."""
    file = Path(new("partial")["file"])
    declared = f"""Index("ix_eleven", "campaign_membership", ("id",), on_postgresql=Variant(where={predicate!r}))"""
    text = file.read_text().replace("import Index", "import Index, Variant")
    file.write_text(re.sub(r"INDEXES = \(.*?\n\)", lambda _: f"INDEXES = ({declared},)", text, flags=re.DOTALL))
    succeed("up", url=postgres_url)
    assert "WHERE" in indexes(postgres_url)["ix_eleven"]
    assert run("check", url=postgres_url).exit_code == 0
    assert succeed("up", url=postgres_url).announced() == []
    succeed("down", url=postgres_url)

    assert "ix_eleven" not in indexes(postgres_url)


def test_two_new_revisions_follow_each_other(project, database_url):
    first, second = new("Index number eleven"), new("Index number twelve")
    assert second["down_revision"] == first["revision"]
    succeed("up", "--to", "base", url=database_url)
    base = catalog_without_records(database_url)
    result = succeed("up", url=database_url)

    assert set(revisions(database_url)) == {BASE, HEAD, first["revision"], second["revision"]}
    assert run("check", url=database_url).exit_code == 0
    assert result.stdout.index(first["revision"]) < result.stdout.index(second["revision"])
    succeed("down", url=database_url)
    assert run("check", url=database_url).exit_code == 3
    assert set(revisions(database_url)) == {BASE, HEAD, first["revision"]}
    succeed("down", "--to", "base", url=database_url)
    assert catalog_without_records(database_url) == base


def test_any_message_makes_a_file_that_runs(project, database_url):
    ids = [new(message)["revision"] for message in MESSAGES]
    succeed("up", url=database_url)
    status = run("status", "--json", url=database_url)

    assert status.exit_code == 0
    assert set(revisions(database_url)) == {BASE, HEAD, *ids}
    described = {each["revision"]: each["description"] for each in status.json()["revisions"]}
    assert [described[id] for id in ids] == [message.strip() for message in MESSAGES]
    succeed("down", "--to", "base", url=database_url)
    assert revisions(database_url) == {BASE: "applied"}
    assert indexes(database_url).keys() & TEN_NAMES == set()


def test_a_message_is_never_executed(project, sqlite_url):
    for quotes in ('"""', "'''", '\\"""', '\\\\"""', '"'):
        new(f"{quotes}; raise SystemExit(9); {quotes}")

    assert run("status", url=sqlite_url).exit_code == 3


@pytest.mark.parametrize(
    "message", ["", " ", "two\nlines", "\r\n", '"""\nraise SystemExit(9)\n"""', "next\x0cpage", "x" * 201]
)
def test_a_message_that_is_not_one_line_is_wrong_usage(project, message):
    before = migrations(project)

    assert run("new", message, url=UNREACHABLE).exit_code == 2
    assert migrations(project) == before


def test_the_file_is_utf_8_whatever_the_locale(project, monkeypatch, sqlite_url):
    monkeypatch.setenv("LC_ALL", "C")
    new("índices für 電話")

    assert run("status", url=sqlite_url).exit_code == 3


def test_no_database_is_needed(project):
    assert json.loads(succeed("new", "Index number eleven", "--json", url=UNREACHABLE).stdout)["down_revision"] == HEAD


def test_a_message_is_needed(project):
    before = migrations(project)

    assert run("new", url=UNREACHABLE).exit_code == 2
    refused = run("new", " ", url=UNREACHABLE)
    assert refused.exit_code == 2
    assert migrations(project) == before
    succeed(*refused.next_command(), url=UNREACHABLE)


def test_a_lost_index_comes_before_a_pending_revision(project, database_url):
    succeed("up", url=database_url)
    new("Index number eleven")
    execute(database_url, "DROP INDEX ix_activity_type")

    assert run("status", url=database_url).exit_code == 4
    assert run("check", url=database_url).exit_code == 4
    succeed("up", url=database_url)
    assert run("check", url=database_url).exit_code == 0


def test_a_revision_that_is_not_in_alembic_does_not_change_its_version_table(project, database_url):
    alembic_app.upgrade(database_url, BASE)
    eleven = new("Index number eleven")["revision"]
    result = succeed("up", url=database_url)

    assert alembic_app.current(database_url) == (HEAD,)
    assert revisions(database_url)[eleven] == "applied"
    assert "left alone" not in result.stdout + result.stderr
    succeed("down", url=database_url)
    assert alembic_app.current(database_url) == (HEAD,)
    succeed("down", url=database_url)
    assert alembic_app.current(database_url) == (BASE,)
    assert indexes(database_url).keys() & TEN_NAMES == set()


def test_a_deploy_rolled_back_below_the_new_revision_still_goes_up(project, database_url):
    new_file = project / Path(new("Index number eleven")["file"]).name
    succeed("up", url=database_url)
    new_file.unlink()
    result = succeed("up", url=database_url)

    assert new_file.stem.removeprefix("migrate_") in result.stdout + result.stderr
    assert run("down", url=database_url).exit_code == 1
