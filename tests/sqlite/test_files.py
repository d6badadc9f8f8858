"""SQLite files: permissions, symbolic links, names without regard to case, readers that hold up a commit."""

from __future__ import annotations

import ctypes
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

from command import (
    HEAD,
    TEN_NAMES,
    Result,
    created_indexes,
    execute,
    file_of,
    indexes,
    nothing_changes,
    run,
    specified,
    succeed,
)

PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2


def as_anybody() -> None:
    """Drop the capabilities of root, so that file permissions apply to root, too."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "cannot give up the rights of root")


def run_as_anybody(*arguments: str, url: str) -> Result:
    """Run a command for which the permissions of a file mean something, even if the tests are run by root."""
    return run(*arguments, url=url, before=as_anybody if os.geteuid() == 0 and sys.platform == "linux" else None)


def test_a_file_that_may_not_be_written_is_refused(sqlite_crm):
    file_of(sqlite_crm).chmod(0o444)
    with nothing_changes(sqlite_crm):
        refused = run_as_anybody("up", url=sqlite_crm)
        status = run_as_anybody("status", url=sqlite_crm)

    assert refused.exit_code == 1
    assert f"the file {file_of(sqlite_crm)} cannot be written" in refused.stderr
    assert status.exit_code == 3


def test_a_folder_that_may_not_be_written_is_refused(sqlite_crm):
    folder = file_of(sqlite_crm).parent
    folder.chmod(0o555)
    with nothing_changes(sqlite_crm):
        refused = run_as_anybody("up", url=sqlite_crm)
        status = run_as_anybody("status", url=sqlite_crm)
    folder.chmod(0o755)

    assert refused.exit_code == 1
    assert f"the folder {folder} cannot be written" in refused.stderr
    assert status.exit_code == 3


def test_behind_a_symbolic_link_the_real_folder_counts(sqlite_crm, tmp_path):
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "crm.db").symlink_to(file_of(sqlite_crm))
    url = f"sqlite:///{folder / 'crm.db'}"
    real = file_of(sqlite_crm).parent
    real.chmod(0o555)
    refused = run_as_anybody("up", url=url)
    real.chmod(0o755)

    assert refused.exit_code == 1
    assert f"the folder {real} cannot be written" in refused.stderr

    folder.chmod(0o555)
    done = run_as_anybody("up", url=url)
    folder.chmod(0o755)

    assert done.exit_code == 0, done.stderr
    assert created_indexes(sqlite_crm) == specified(sqlite_crm)


def test_no_file_is_made_in_a_folder_that_may_not_be_written(sqlite_url):
    folder = file_of(sqlite_url).parent
    folder.chmod(0o555)
    with nothing_changes(sqlite_url):
        refused = run_as_anybody("up", url=sqlite_url)
    folder.chmod(0o755)

    assert refused.exit_code in (1, 7)
    assert str(folder) in refused.stderr


def test_a_trigger_that_is_called_like_an_index_is_none_of_our_business(sqlite_crm):
    execute(
        sqlite_crm,
        "CREATE TRIGGER ix_activity_type AFTER INSERT ON activity BEGIN UPDATE setting SET value = 1; END",
    )
    succeed("up", url=sqlite_crm)

    assert created_indexes(sqlite_crm) == specified(sqlite_crm)
    assert run("status", url=sqlite_crm).exit_code == 0


def test_names_are_compared_without_regard_to_case_as_sqlite_does(sqlite_crm):
    execute(sqlite_crm, "CREATE INDEX IX_Activity_Type ON Activity (Activity_Type)")
    result = succeed("up", url=sqlite_crm)

    assert "  ix_activity_type kept (already exists)" in result.lines
    succeed("down", url=sqlite_crm)
    assert [name for name in indexes(sqlite_crm) if name.lower() in TEN_NAMES] == ["IX_Activity_Type"]


@contextmanager
def long_read(url: str) -> Iterator[None]:
    """Hold a read transaction open on the file, so that no session can commit."""
    with closing(sqlite3.connect(file_of(url))) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM setting").fetchone()
        yield


def test_a_run_that_cannot_be_committed_leaves_the_file_as_it_was_and_says_so(sqlite_crm):
    with nothing_changes(sqlite_crm), long_read(sqlite_crm):  # in this order: closing a file gives up its locks
        result = run("up", "--no-wait", url=sqlite_crm)

    assert result.exit_code == 5
    assert "another process reads the file" in result.stderr


def test_a_revision_is_not_called_applied_before_it_is_committed(sqlite_crm):
    with long_read(sqlite_crm):
        result = run("up", "--no-wait", url=sqlite_crm)

    assert result.exit_code == 5
    assert f"{HEAD}  applied" not in result.stdout
