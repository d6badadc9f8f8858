"""The chain of migrate_*.py files: its order, what breaks it, and how a revision is named."""

from pathlib import Path

import pytest

from indexer.chain import Chain, load
from indexer.errors import ChainBroken, IndexerError, UsageError

MOVES = "INDEXES = ()\ndef upgrade(migrator): ...\ndef downgrade(migrator): ...\n"


def write(directory: Path, name: str, revision: str, after: str) -> None:
    """A migration file that does nothing."""
    header = f'"""Revision {revision}."""\nrevision = {revision!r}\ndown_revision = {after!r}\n'
    (directory / f"migrate_{name}.py").write_text(header + MOVES)


def failure(directory: Path) -> ChainBroken:
    """How loading this directory fails."""
    with pytest.raises(ChainBroken) as caught:
        load(directory)
    return caught.value


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    """base0 - aa1 - ab2 - c3."""
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


def test_a_revision_says_who_it_is_in_its_header(tmp_path):
    write(tmp_path, "x", "abc", "start")
    (revision,) = load(tmp_path)
    assert (revision.id, revision.down_revision, revision.description) == ("abc", "start", "Revision abc")


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


def test_a_gap_names_the_files_on_its_edges_and_what_they_miss(tmp_path):
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
    assert f"in a circle: {guilty}." in failure(tmp_path).message


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
def test_a_name_that_means_no_single_revision_is_refused_with_the_ones_there_are(chain, wanted, answer):
    with pytest.raises(UsageError, match=f"{answer} revision is called '{wanted}'") as caught:
        chain.resolve(wanted)
    assert "base0, aa1, ab2, c3" in caught.value.hint


def test_an_id_that_another_one_starts_with_can_still_be_named(tmp_path):
    write(tmp_path, "1", "ab", "start")
    write(tmp_path, "2", "abc", "ab")
    assert load(tmp_path).resolve("ab") == "ab"


def test_a_broken_chain_is_one_of_the_errors_the_command_line_knows():
    assert issubclass(ChainBroken, IndexerError)
