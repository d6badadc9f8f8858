"""The chain of migrate_*.py files: its order, what breaks it, and how a revision is named."""

from pathlib import Path

import pytest

from indexer.errors import ChainBroken, IndexerError, UsageError
from indexer.revisions.chain import Chain, load

MOVES = "INDEXES = ()\ndef upgrade(migrator): ...\ndef downgrade(migrator): ...\n"


def write(directory: Path, name: str, revision: str, after: str | None) -> None:
    """Write a revision file that does nothing."""
    header = f'"""Revision {revision}."""\nrevision = {revision!r}\ndown_revision = {after!r}\n'
    (directory / f"migrate_{name}.py").write_text(header + MOVES)


def failure(directory: Path) -> ChainBroken:
    """Return the error with which loading this directory fails."""
    with pytest.raises(ChainBroken) as caught:
        load(directory)
    return caught.value


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    """Return the chain base0 - aa1 - ab2 - c3."""
    for name, revision, after in (("1", "aa1", "base0"), ("2", "ab2", "aa1"), ("3", "c3", "ab2")):
        write(tmp_path, name, revision, after)
    return load(tmp_path)


def test_the_order_is_that_of_down_revision_and_not_of_the_names(tmp_path):
    write(tmp_path, "a", "third", "second")
    write(tmp_path, "b", "second", "first")
    write(tmp_path, "c", "first", "start")
    chain = load(tmp_path)
    assert chain.ids == ("start", "first", "second", "third")
    assert [revision.file for revision in chain] == ["migrate_c.py", "migrate_b.py", "migrate_a.py"]
    assert (chain.base, chain.head) == ("start", "third")


def test_a_revision_is_described_by_its_header(tmp_path):
    write(tmp_path, "x", "abc", "start")
    (revision,) = load(tmp_path)
    assert (revision.id, revision.down_revision, revision.description) == ("abc", "start", "Revision abc")


def test_the_base_of_a_chain_whose_first_revision_comes_after_none_is_called_base(tmp_path):
    write(tmp_path, "second", "b2", "a1")
    write(tmp_path, "first", "a1", None)
    chain = load(tmp_path)
    assert (chain.base, chain.ids, chain.head) == ("base", ("base", "a1", "b2"), "b2")
    assert (chain.resolve("base"), chain.position("base")) == ("base", 0)


def test_two_first_revisions_are_a_fork(tmp_path):
    write(tmp_path, "left", "l1", None)
    write(tmp_path, "right", "r1", None)
    assert "migrate_left.py and migrate_right.py fork the chain: both come after base" in failure(tmp_path).message


def test_a_gap_after_a_first_revision_names_the_file_after_the_gap_alone(tmp_path):
    write(tmp_path, "first", "a1", None)
    write(tmp_path, "third", "c3", "b2")
    assert "gap: migrate_third.py comes after b2, and no file has this revision" in failure(tmp_path).message


def test_other_files_of_the_directory_are_not_read(tmp_path):
    write(tmp_path, "x", "abc", "start")
    (tmp_path / "cli.py").write_text("raise SystemExit")
    (tmp_path / "migrate_x.txt").write_text("no Python")
    assert load(tmp_path).ids == ("start", "abc")


def test_a_fork_names_both_files(tmp_path):
    write(tmp_path, "root", "abc", "start")
    write(tmp_path, "left", "l1", "abc")
    write(tmp_path, "right", "r1", "abc")
    message = failure(tmp_path).message
    assert "migrate_left.py and migrate_right.py fork the chain" in message
    assert "migrate_root.py" not in message


def test_two_starts_from_the_same_revision_are_a_fork(tmp_path):
    write(tmp_path, "left", "l1", "start")
    write(tmp_path, "right", "r1", "start")
    assert "migrate_left.py and migrate_right.py fork the chain" in failure(tmp_path).message


def test_a_gap_names_the_files_at_its_edges_and_the_missing_revision(tmp_path):
    write(tmp_path, "low", "abc", "start")
    write(tmp_path, "high", "xyz", "missing")
    message = failure(tmp_path).message
    assert "gap" in message
    assert "migrate_high.py comes after missing" in message


def test_a_duplicate_names_both_files(tmp_path):
    write(tmp_path, "one", "abc", "start")
    write(tmp_path, "two", "abc", "other")
    assert "migrate_one.py and migrate_two.py carry the same revision abc" in failure(tmp_path).message


@pytest.mark.parametrize(
    ("links", "guilty"),
    [
        ({"a": "b", "b": "a"}, "migrate_a.py, migrate_b.py"),
        ({"a": "a"}, "migrate_a.py"),
        ({"fine": "start", "x": "y", "y": "z", "z": "x"}, "migrate_x.py, migrate_y.py, migrate_z.py"),
    ],
    ids=["two", "itself", "beside a good line"],
)
def test_a_cycle_names_its_files_and_no_other(tmp_path, links, guilty):
    for revision, after in links.items():
        write(tmp_path, revision, revision, after)
    assert f"form a cycle: {guilty}." in failure(tmp_path).message


@pytest.mark.parametrize("missing", ["revision", "down_revision", "INDEXES", "upgrade", "downgrade"])
def test_a_header_without_one_of_its_parts_names_the_file_and_the_part(tmp_path, missing):
    parts = {
        "revision": 'revision = "abc"',
        "down_revision": 'down_revision = "start"',
        "INDEXES": "INDEXES = ()",
        "upgrade": "def upgrade(migrator): ...",
        "downgrade": "def downgrade(migrator): ...",
    }
    del parts[missing]
    (tmp_path / "migrate_x.py").write_text("\n".join(parts.values()))
    assert failure(tmp_path).message == f"migrate_x.py has no {missing}."


@pytest.mark.parametrize(
    "text", ["def upgrade(", "raise RuntimeError('not today')", "import nowhere_to_be_found"], ids=lambda text: text[:6]
)
def test_a_file_that_cannot_be_loaded_is_named(tmp_path, text):
    (tmp_path / "migrate_x.py").write_text(text)
    assert "migrate_x.py cannot be loaded" in failure(tmp_path).message


HEADER = {
    "revision": "'abc'",
    "down_revision": "'start'",
    "INDEXES": "()",
    "upgrade": "print",
    "downgrade": "print",
}
FAULTS = {
    "a number as revision": ({"revision": "123"}, 2, "revision must be a string of 1 to 32 printable"),
    "a number as down_revision": ({"down_revision": "456"}, 3, "down_revision must be a string"),
    "no down_revision": ({"down_revision": "''"}, 3, "down_revision must be a string"),
    "base as a revision": ({"revision": "'base'"}, 2, "revision must be a string"),
    "an empty revision": ({"revision": "''"}, 2, "revision must be a string of 1 to 32"),
    "a revision longer than its column": ({"revision": "'a' * 33"}, 2, "revision must be a string of 1 to 32"),
    "a revision with a blank": ({"revision": "'a b'"}, 2, "revision must be a string"),
    "a revision with an escape sequence": ({"revision": "'a\\x1b[2J'"}, 2, "revision must be a string"),
    "INDEXES is an index": ({"INDEXES": "Index('ix', 'note', ('text',))"}, 4, "INDEXES must be a tuple of Index"),
    "INDEXES holds a name": ({"INDEXES": "('ix_note',)"}, 4, "INDEXES must be a tuple of Index"),
    "INDEXES is None": ({"INDEXES": "None"}, 4, "INDEXES must be a tuple of Index"),
    "upgrade is no function": ({"upgrade": "None"}, 5, "upgrade must be a function"),
    "a date that is no text": ({"date": "20250821"}, 7, "date must be a string"),
    "in_alembic that is no truth": ({"in_alembic": "'yes'"}, 7, "in_alembic must be True or False"),
    "a blank docstring": ({"__doc__": "'  '"}, 1, "the docstring must be one line"),
}


@pytest.mark.parametrize(("fault", "line", "said"), FAULTS.values(), ids=FAULTS)
def test_a_wrong_value_in_a_header_is_reported_with_the_file_and_the_line(tmp_path, fault, line, said):
    parts = "".join(f"{name} = {value}\n" for name, value in {**HEADER, **fault}.items())
    (tmp_path / "migrate_x.py").write_text(f"from indexer import Index\n{parts}")
    error = failure(tmp_path)
    assert error.message.startswith(f"migrate_x.py, line {line}: {said}")
    assert error.hint


FAILURES = {
    "sys.exit": ("import sys\nsys.exit(0)", 2, "it ends the program (sys.exit)"),
    "exit": ("raise SystemExit", 1, "it ends the program (sys.exit)"),
    "an exception of no kind": ("raise BaseException('no')", 1, "no"),
    "an exception without a word": ("\nassert 1 > 2", 2, "assert 1 > 2"),
    "a syntax error": ("a = 1\ndef f(", 2, "'(' was never closed"),
    "a missing module": ("import nowhere_to_be_found", 1, "No module named 'nowhere_to_be_found'"),
    "a key error": ("{}['INDEXES']", 1, "no 'INDEXES'"),
    "an index without columns": ("from indexer import Index\nIndex('ix', 'note', ())", 2, "ix needs its columns"),
}


@pytest.mark.parametrize(("text", "line", "said"), FAILURES.values(), ids=FAILURES)
def test_a_file_that_fails_to_load_is_named_with_the_line_and_without_pythons_error_name(tmp_path, text, line, said):
    (tmp_path / "migrate_x.py").write_text(text)
    error = failure(tmp_path)
    assert error.message.startswith(f"migrate_x.py cannot be loaded, line {line}: {said}")
    assert "Error" not in error.message


def indexing(directory: Path, name: str, after: str, *indexes: str) -> None:
    """Write a revision file that declares indexes of these names."""
    declared = "".join(f"Index({index!r}, 'note', ('text',))," for index in indexes)
    header = f"revision = {name!r}\ndown_revision = {after!r}\nINDEXES = ({declared})\n"
    functions = "def upgrade(m): ...\ndef downgrade(m): ...\n"
    (directory / f"migrate_{name}.py").write_text(f"from indexer import Index\n{header}{functions}")


LONG = "ix_" + "a" * 55
SHARED = {
    "the same": ("ix_a", "ix_a", "the index ix_a is declared twice"),
    "the same on SQLite": ("ix_a", "IX_A", "ix_a and IX_A have the same name on SQLite"),
    "that of its replacement": ("ix_a", "ix_a_replacing", "would share the name ix_a_replacing"),
    "that of one put aside": ("ix_a_replaced", "ix_a", "would share the name ix_a_replaced"),
    "names cut to the same": (f"{LONG}1", f"{LONG}2", "would share the name"),
}


@pytest.mark.parametrize(("one", "other", "said"), SHARED.values(), ids=SHARED)
def test_two_revisions_that_declare_one_name_are_refused_with_both_files(tmp_path, one, other, said):
    indexing(tmp_path, "r1", "start", one)
    indexing(tmp_path, "r2", "r1", "ix_other", other)
    error = failure(tmp_path)
    assert error.message.startswith("migrate_r1.py and migrate_r2.py: ")
    assert said in error.message
    assert error.hint


@pytest.mark.parametrize(("one", "other", "said"), SHARED.values(), ids=SHARED)
def test_a_file_that_declares_one_name_twice_is_refused(tmp_path, one, other, said):
    indexing(tmp_path, "r1", "start", one, other)
    assert failure(tmp_path).message.startswith("migrate_r1.py: ")


def test_the_indexes_of_a_file_are_read_as_data(tmp_path):
    indexing(tmp_path, "r1", "start", "ix_a", "ix_b")
    (revision,) = load(tmp_path)
    assert [index.name for index in revision.indexes] == ["ix_a", "ix_b"]
    assert load(tmp_path).tables == ["note"]


def test_a_directory_without_migrations_is_an_error_that_names_it(tmp_path):
    assert str(tmp_path) in failure(tmp_path).message


def test_every_broken_chain_ends_with_the_next_step_and_exit_code_1(tmp_path):
    error = failure(tmp_path)
    assert error.hint
    assert error.exit_code == 1


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [("ab2", "ab2"), ("aa", "aa1"), ("c", "c3"), ("base", "base0"), ("base0", "base0"), ("b", "base0"), ("head", "c3")],
)
def test_a_revision_is_named_by_its_id_its_start_or_base_or_head(chain, wanted, meant):
    assert chain.resolve(wanted) == meant


@pytest.mark.parametrize(("wanted", "answer"), [("a", "More than one"), ("nope", "No"), ("b2", "No"), ("", "No")])
def test_a_name_of_no_single_revision_is_refused_with_the_list_of_revisions(chain, wanted, answer):
    with pytest.raises(UsageError, match=f"{answer} revision is called '{wanted}'") as caught:
        chain.resolve(wanted)
    assert "base0, aa1, ab2, c3" in str(caught.value.hint)


def test_an_id_that_is_the_start_of_another_one_can_be_named(tmp_path):
    write(tmp_path, "1", "ab", "start")
    write(tmp_path, "2", "abc", "ab")
    assert load(tmp_path).resolve("ab") == "ab"


def test_a_broken_chain_is_an_indexer_error():
    assert issubclass(ChainBroken, IndexerError)
