"""What a revision file's functions may do: build or drop the indexes of INDEXES, and nothing else, on any database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from command import catalog, execute, indexes, is_postgres

from indexer.connection import connect
from indexer.errors import IndexerError, RevisionRefused
from indexer.revisions.chain import load
from indexer.runner import Runner

HEADER = '''"""Index the notes."""
from playhouse.migrate import SchemaMigrator, migrate

from indexer import Index

revision = "aaaa"
down_revision = "base0"
INDEXES = (
    Index("ix_note_text", table="note", columns=("text",)),
    Index("ix_note_kind", table="note", columns=("kind",)),
)
OTHER = Index("ix_note_other", table="note", columns=("kind", "text"))
CHANGED = Index("ix_note_kind", table="note", columns=("text",))
'''
ADD = "migrator.migrate(*(migrator.add_index(index) for index in INDEXES))"
DROP = "migrator.migrate(*(migrator.drop_index(index) for index in INDEXES))"
FIRST_LINE = len(HEADER.splitlines()) + 2  # the first line of upgrade()


def write(folder: Path, upgrade: str = ADD, downgrade: str = DROP) -> None:
    """Write a revision file with these statements in its functions."""
    bodies = [f"def {name}(migrator):\n    {body}\n" for name, body in (("upgrade", upgrade), ("downgrade", downgrade))]
    (folder / "migrate_aaaa.py").write_text(HEADER + "".join(bodies))


@contextmanager
def runner(url: str, folder: Path, **how: Any) -> Iterator[Runner]:
    """Yield a runner of the files of this folder."""
    migrator = connect(url)
    with closing(migrator.database):
        yield Runner(migrator, load(folder), **how)


@pytest.fixture
def notes(database_url: str) -> str:
    """Return the URL of a database with one table and one row."""
    execute(
        database_url,
        "CREATE TABLE note (id integer PRIMARY KEY, text varchar(20), kind varchar(20))",
        "INSERT INTO note VALUES (1, 'unchanged', 'a')",
    )
    return database_url


REFUSED = {
    "add_column": ("migrator.migrate(migrator.add_column('note', 'more', None))", "uses add_column"),
    "sql": (f"migrator.sql('UPDATE note SET text = 0'); {ADD}", "uses sql"),
    "rename_table": (f"{ADD}; migrator.rename_table('note', 'notes')", "uses rename_table"),
    "a statement": ("migrator.database.execute_sql('UPDATE note SET text = 0')", "uses database.execute_sql"),
    "a transaction": ("migrator.database.atomic()", "uses database.atomic"),
    "playhouse's own add_index": ("migrator.add_index('note', ('text',))", "something other than an Index"),
    "an index not declared": (f"{ADD}; migrate(migrator.add_index(OTHER))", "ix_note_other, which has no entry in"),
    "another definition": ("migrate(migrator.add_index(CHANGED))", "ix_note_kind, which has another definition"),
    "an index left out": ("migrate(migrator.add_index(INDEXES[1]))", "leaves out ix_note_text"),
    "nothing": ("pass", "leaves out ix_note_text, ix_note_kind"),
    "operations that are never carried out": ("migrator.add_index(INDEXES[0])", "leaves out ix_note_text"),
    "an index twice": (f"{ADD}; migrate(migrator.add_index(INDEXES[0]))", "names ix_note_text twice"),
    "drop_index": ("migrate(migrator.drop_index(INDEXES[0]))", "calls drop_index"),
    "a list": ("migrator.migrate([migrator.add_index(INDEXES[0])])", "passes list to migrate()"),
    "an operation of another migrator": (
        "migrator.migrate(SchemaMigrator(None).add_not_null('note', 'text'))",
        "passes add_not_null to migrate()",
    ),
    "what it was refused, caught": (
        f"{ADD}\n    try:\n        migrator.add_column\n    except Exception:\n        pass",
        "uses add_column",
    ),
    "the end of the program": (f"{ADD}; import sys; sys.exit(0)", "it ends the program"),
    "an error": ("print(1 / 0)", "division by zero"),
    "an error without a word": ("raise ValueError", "raise ValueError"),
    "an error of no exception's kind": ("raise BaseException('no')", "failed: no."),
}


@pytest.mark.parametrize(("upgrade", "said"), REFUSED.values(), ids=REFUSED)
def test_an_upgrade_that_does_anything_else_is_refused_before_any_change(notes, tmp_path, upgrade, said):
    write(tmp_path, upgrade)
    before = catalog(notes)
    with runner(notes, tmp_path) as run:
        with pytest.raises(RevisionRefused) as planned:
            run.plan()
        with pytest.raises(RevisionRefused) as caught:
            run.up()

    assert (planned.value.message, planned.value.hint) == (caught.value.message, caught.value.hint)
    assert caught.value.exit_code == 1
    assert caught.value.message.startswith("migrate_aaaa.py")
    assert "upgrade() of revision aaaa" in caught.value.message
    assert said in caught.value.message
    assert "migrate_aaaa.py" in str(caught.value.hint)
    assert catalog(notes) == before
    assert execute(notes, "SELECT text FROM note") == [("unchanged",)]


def test_the_refusal_names_the_line_and_what_is_allowed(notes, tmp_path):
    write(tmp_path, "migrator.add_column('note', 'more', None)")
    with runner(notes, tmp_path) as run, pytest.raises(RevisionRefused) as caught:
        run.up()

    assert caught.value.message == (
        f"migrate_aaaa.py, line {FIRST_LINE}: upgrade() of revision aaaa uses add_column; "
        "it may only call add_index for each index of its INDEXES. Nothing was changed."
    )


def test_a_misspelt_operation_is_corrected(notes, tmp_path):
    write(tmp_path, "migrator.migrate(migrator.add_indx(INDEXES[0]))")
    with runner(notes, tmp_path) as run, pytest.raises(RevisionRefused) as caught:
        run.plan()

    assert "uses add_indx" in caught.value.message
    assert str(caught.value.hint) == "Call add_index instead in migrate_aaaa.py."


def test_a_corrected_file_goes_up_after_a_refusal(notes, tmp_path):
    write(tmp_path, "migrate(migrator.add_index(INDEXES[0]))")
    with runner(notes, tmp_path) as run, pytest.raises(RevisionRefused) as caught:
        run.up()
    call = str(caught.value.hint).partition("INDEXES in migrate_aaaa.py: ")[2]
    write(tmp_path, call)
    with runner(notes, tmp_path) as run:
        run.up()

    assert {"ix_note_text", "ix_note_kind"} <= indexes(notes).keys()


def test_a_downgrade_that_does_anything_else_is_refused_and_the_indexes_stay(notes, tmp_path):
    write(tmp_path, downgrade=f"{DROP}; migrator.drop_column('note', 'text')")
    with runner(notes, tmp_path) as run:
        run.up()
    before = catalog(notes)
    with (
        runner(notes, tmp_path) as run,
        pytest.raises(RevisionRefused, match=r"downgrade\(\) of revision aaaa uses dr"),
    ):
        run.down()

    assert catalog(notes) == before


def test_a_later_revision_that_is_refused_keeps_the_earlier_one_from_being_applied(notes, tmp_path):
    write(tmp_path)
    (tmp_path / "migrate_bbbb.py").write_text(
        'revision = "bbbb"\ndown_revision = "aaaa"\nINDEXES = ()\n'
        "def upgrade(migrator): migrator.drop_table('note')\ndef downgrade(migrator): ...\n"
    )
    before = catalog(notes)
    with runner(notes, tmp_path) as run, pytest.raises(RevisionRefused, match="revision bbbb uses drop_table"):
        run.up()

    assert catalog(notes) == before


ALLOWED = {
    "one call": (ADD, DROP),
    "playhouse's migrate": (
        "migrate(*map(migrator.add_index, INDEXES))",
        "migrate(*map(migrator.drop_index, INDEXES[::-1]))",
    ),
    "a call for each": (
        "for index in INDEXES:\n        migrator.migrate(migrator.add_index(index))",
        "for index in INDEXES:\n        migrator.drop_index(index).run()",
    ),
    "an equal index": (
        "migrate(*(migrator.add_index(Index(i.name, i.table, list(i.columns))) for i in INDEXES))",
        DROP,
    ),
}


@pytest.mark.parametrize(("upgrade", "downgrade"), ALLOWED.values(), ids=ALLOWED)
def test_every_way_to_name_each_index_once_works(notes, tmp_path, upgrade, downgrade):
    write(tmp_path, upgrade, downgrade)
    with runner(notes, tmp_path) as run:
        assert [step.index.name for step in run.up().steps] == ["ix_note_text", "ix_note_kind"]
        assert {"ix_note_text", "ix_note_kind"} <= indexes(notes).keys()
    with runner(notes, tmp_path) as run:
        assert [step.index.name for step in run.down().steps] == ["ix_note_kind", "ix_note_text"]

    assert not {"ix_note_text", "ix_note_kind"} & indexes(notes).keys()


READS: dict[str, Callable[[Runner], Any]] = {
    "status": lambda run: run.inspector.status(),
    "check": lambda run: run.inspector.check(),
    "history": lambda run: run.inspector.entries(),
    "plan": lambda run: run.script(run.inspector.plan("up")),
    "plan down": lambda run: run.script(run.inspector.plan("down")),
    "stamp": lambda run: run.stamp("base"),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_only_up_and_down_run_the_functions_of_a_file_and_each_runs_them_once(notes, tmp_path, read):
    ran = tmp_path / "ran"
    note = f"open({str(ran)!r}, 'a').write('{{}}')"
    write(tmp_path, f"{note.format('u')}; {ADD}", f"{note.format('d')}; {DROP}")

    def written() -> str:
        return ran.read_text() if ran.exists() else ""

    with runner(notes, tmp_path) as run:
        read(run)
        assert written() == ""
        run.up()
        assert written() == "u"
        if read is not READS["stamp"]:
            read(run)
        run.up()
        assert written() == "u"
        run.down()
        read(run)
        assert written() == "ud"


def test_a_plan_shows_the_order_of_indexes_and_the_reverse_for_down(notes, tmp_path):
    write(tmp_path, "migrate(*map(migrator.add_index, INDEXES[::-1]))")
    with runner(notes, tmp_path) as run:
        assert [step.index.name for step in run.inspector.plan("up").steps] == ["ix_note_text", "ix_note_kind"]
        run.up()
        assert [step.index.name for step in run.inspector.plan("down").steps] == ["ix_note_kind", "ix_note_text"]


def test_a_refused_file_leaves_no_sqlite_file_behind(sqlite_url, tmp_path):
    write(tmp_path, "migrator.add_column")
    from models import TABLES

    text = (tmp_path / "migrate_aaaa.py").read_text()
    (tmp_path / "migrate_aaaa.py").write_text(text.replace('"note"', '"activity"').replace("text", "status"))
    with runner(sqlite_url, tmp_path, models=lambda: TABLES) as run, pytest.raises(IndexerError):
        run.up()

    assert not Path(sqlite_url.removeprefix("sqlite:///")).exists()
    assert not is_postgres(sqlite_url)


def test_what_a_file_prints_goes_to_stderr(notes, tmp_path, capsys):
    write(tmp_path, upgrade=f"print('upgrading'); {ADD}")
    file = tmp_path / "migrate_aaaa.py"
    file.write_text(file.read_text() + "print('loading')\n")
    with runner(notes, tmp_path) as running:
        running.up()
    printed = capsys.readouterr()

    assert printed.out == ""
    assert printed.err == "loading\nupgrading\n"


@pytest.mark.parametrize("broken", ['""', "None", '"a\\0b"', '"note", columns=(1,)', '"note", columns=("",)'])
def test_an_index_without_a_usable_name_table_or_column_names_its_line(tmp_path, broken):
    write(tmp_path)
    file = tmp_path / "migrate_aaaa.py"
    replaced = f'"ix_note_text", table={broken}' + ("" if "columns" in broken else ', columns=("text",)')
    file.write_text(file.read_text().replace('"ix_note_text", table="note", columns=("text",)', replaced))
    with pytest.raises(IndexerError, match=r"migrate_aaaa.py cannot be loaded, line [89]: .*needs"):
        load(tmp_path)
