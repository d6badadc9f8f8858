"""The queries that queries.py declares, in status and plan, and what is said where it is wrong."""

from __future__ import annotations

import json
import re
import runpy
from contextlib import closing
from pathlib import Path

import pytest
from command import TEN_NAMES

import models
import queries
from indexer import Query, Runner, connect, load, once
from indexer.bench import bench
from indexer.bench.sample import sample_of
from indexer.console import text
from indexer.console.hints import HintWriter
from indexer.console.output import Answer
from indexer.errors import ProjectBroken, UsageError
from indexer.project import Project
from indexer.text import STYLE
from indexer.verify.declared import calls_of, queries_of, refuse_unknown
from migrate_10992629d68e import INDEXES

ROOT = Path(models.__file__).parent
PHONE, OPTED_OUT = "ix_contact_phone_hash", "ix_contact_flag_opted_out"
FAULTS = {
    "no Python": ("QUERIES = (\n", "queries.py cannot be imported, line 1: '(' was never closed."),
    "an import": ("import re\nimport nowhere\n", "queries.py cannot be imported, line 2: No module named 'nowhere'."),
    "no QUERIES": ("queries = ()\n", "queries.py cannot be imported: no 'QUERIES'."),
    "no queries": ("QUERIES = [len]\n", "QUERIES in queries.py must be a tuple of Query, such as"),
}


def project(queries_file: Path) -> Project:
    """Return the CRM with another queries.py."""
    return Project(
        str(queries_file.parent), lambda: models.TABLES, lambda: runpy.run_path(str(queries_file))["QUERIES"]
    )


CRM = Project(str(ROOT), lambda: models.TABLES, lambda: queries.QUERIES)


def answered(url: str, command: str, of: Project = CRM) -> Answer:
    """Return the answer of status or plan."""
    migrator = connect(url, read_only=True)
    with closing(migrator.database):
        inspector = Runner(migrator, load(ROOT), of.models).inspector
        calls = calls_of(of, inspector.declared)
        if command == "status":
            answer = text.of_status(inspector.status(), calls)
        else:
            answer = text.of_plan(inspector.plan("down"), migrator.place, calls)
        return answer._replace(lines=list(answer.lines))


def printed(answer: Answer) -> str:
    return "\n".join(map(HintWriter("python cli.py"), answer.lines))


def listed(answer: Answer) -> dict[str, list[str]]:
    """Return the queries of each index in the document."""
    document = json.loads(json.dumps(answer.document, default=str))
    return {index["name"]: index["queries"] for index in document.get("indexes") or document["steps"]}


@pytest.mark.parametrize("command", ["status", "plan"])
def test_each_index_is_shown_with_the_calls_of_its_queries(sqlite_head_url, command):
    answer = answered(sqlite_head_url, command)
    assert listed(answer).keys() == TEN_NAMES
    assert listed(answer)[PHONE] == ["contact_by_phone(phone)"]
    assert listed(answer)[OPTED_OUT] == ["has_opted_out(contact_id)", "opted_out_among(contact_ids)"]
    assert all(call in printed(answer) for calls in listed(answer).values() for call in calls)


def test_on_a_narrow_terminal_the_queries_are_left_out_before_the_states(sqlite_head_url, monkeypatch):
    monkeypatch.setattr("indexer.console.tables._room", lambda: 80)
    shown = STYLE.sub("", printed(answered(sqlite_head_url, "status")))
    assert max(len(line) for line in shown.splitlines() if line.startswith("ix_")) <= 80
    assert re.search("^Columns left out, because the terminal is too narrow: .*for", shown, re.MULTILINE)


@pytest.mark.parametrize("command", ["status", "plan"])
def test_an_index_without_a_query_has_its_purpose_and_says_so_quietly(sqlite_head_url, command, tmp_path):
    file = tmp_path / "queries.py"
    file.write_text(f"from indexer import Query, once\nQUERIES = (Query({PHONE!r}, len, once),)\n")
    answer = answered(sqlite_head_url, command, project(file))
    assert {name: calls for name, calls in listed(answer).items() if calls} == {PHONE: ["len(obj)"]}
    assert "history of a conversation, newest first" in printed(answer)
    assert printed(answer).count("(no query)" if command == "status" else "query: none in queries.py") == 9
    assert "Note:" not in printed(answer)


@pytest.mark.parametrize("command", ["status", "plan"])
@pytest.mark.parametrize(("code", "said"), FAULTS.values(), ids=FAULTS)
def test_a_broken_file_is_a_note_in_status_and_plan_and_an_error_in_verify(
    sqlite_head_url, tmp_path, command, code, said
):
    file = tmp_path / "queries.py"
    file.write_text(code)
    answer = answered(sqlite_head_url, command, project(file))
    assert f"Note: {said}" in printed(answer)
    assert said in str(answer.document["warnings"])
    assert answer.exit_code == 0
    assert "contact by exact phone number" in printed(answer)
    with pytest.raises(ProjectBroken) as caught:
        queries_of(project(file))
    assert caught.value.exit_code == 1
    assert caught.value.message.startswith(said)


def test_an_entry_for_an_index_that_no_revision_declares_is_named_with_what_was_meant(sqlite_head_url, tmp_path):
    file = tmp_path / "queries.py"
    file.write_text("from indexer import Query, once\nQUERIES = (Query('ix_contact_phone_hsh', len, once),)\n")
    said = "queries.py names indexes that no revision declares: ix_contact_phone_hsh."
    assert f"Note: {said}" in printed(answered(sqlite_head_url, "status", project(file)))
    with pytest.raises(UsageError) as caught:
        refuse_unknown(queries_of(project(file)), INDEXES)
    assert caught.value.message == said
    assert str(caught.value.hint).endswith(f"ix_contact_phone_hsh may be {PHONE}.")
    with pytest.raises(UsageError, match="declares"):
        refuse_unknown([Query("something_else", len, once)], INDEXES)


def test_without_made_up_rows_or_queries_bench_says_what_to_write(tmp_path):
    with pytest.raises(UsageError, match="this project has no module sample") as caught:
        bench.bench("sqlite:///", [1_000], CRM)
    assert "counts, fill, seed" in str(caught.value.hint)
    with pytest.raises(UsageError, match="a module sample that has no counts and no fill"):
        sample_of(lambda: bench)
    import sample

    with pytest.raises(UsageError, match="no query to measure"):
        bench.bench("sqlite:///", [1_000], CRM._replace(sample=lambda: sample, queries=tuple))
