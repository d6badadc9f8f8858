"""A revision that comes after none: its base is called base, in our records; in Alembic's table the base is no row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from command import execute, indexes, revisions, run_script

from indexer import Runner, connect, load

REVISION = """
from indexer import Index

revision = "a1"
down_revision = None
in_alembic = True
INDEXES = (Index("ix_loan_member", table="loan", columns=("member",)),)


def upgrade(migrator):
    migrator.migrate(*(migrator.add_index(index) for index in INDEXES))


def downgrade(migrator):
    migrator.migrate(*(migrator.drop_index(index) for index in INDEXES))
"""


@pytest.fixture
def runner(tmp_path: Path, database_url: str) -> Iterator[Runner]:
    """Yield a runner of one revision, on a database with its table, at Alembic's base."""
    (tmp_path / "migrate_a1.py").write_text(REVISION)
    execute(
        database_url,
        "CREATE TABLE loan (id integer PRIMARY KEY, member varchar(9))",
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
    )
    with connect(database_url) as migrator:
        yield Runner(migrator, load(tmp_path))


def alembic(url: str) -> list[tuple[str]]:
    """Return the rows of Alembic's table."""
    return execute(url, "SELECT version_num FROM alembic_version")


def test_up_and_down_move_both_records_between_the_base_and_the_first_revision(runner, database_url):
    assert runner.inspector.status().current == "base"
    assert (runner.up().end, alembic(database_url)) == ("a1", [("a1",)])
    assert execute(database_url, "SELECT revision, down_revision FROM schema_revision") == [("a1", None)]
    assert (runner.down().end, alembic(database_url)) == ("base", [])
    assert "ix_loan_member" not in indexes(database_url)
    assert runner.down().steps == ()


def test_the_scripts_do_the_same(runner, database_url):
    run_script(runner.script(runner.inspector.plan("up")), database_url)
    assert (revisions(database_url), alembic(database_url)) == ({"a1": "applied"}, [("a1",)])
    run_script(runner.script(runner.inspector.plan("down", "base")), database_url)
    assert (revisions(database_url), alembic(database_url)) == ({}, [])


def test_stamp_records_the_base_and_the_first_revision(runner, database_url):
    assert runner.stamp("base").changed
    assert revisions(database_url) == {"base": "applied"}
    execute(database_url, "CREATE INDEX ix_loan_member ON loan (member)")
    assert runner.stamp("head").changed
    assert (revisions(database_url), alembic(database_url)) == ({"base": "applied", "a1": "applied"}, [("a1",)])


def test_another_revision_in_alembic_is_left_alone(runner, database_url):
    execute(database_url, "INSERT INTO alembic_version VALUES ('elsewhere')")
    (warning,) = runner.up().warnings
    assert str(warning) == "alembic_version is not updated, because it holds elsewhere, unknown to this version."
    assert alembic(database_url) == [("elsewhere",)]
