"""A full disk: a clear error, no leftovers, and the next run continues once there is room."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import postgres_server
import pytest
from command import TEN_NAMES, broken, created_indexes, execute, revisions, run, succeed
from roles import OWNER
from scenes import Server, assert_all_valid, fill_activity, own_server

ROOM = "8m"  # for some of the indexes, not for all
ROWS = 60_000


def may_mount() -> bool:
    """Return whether a file system can be mounted: by root, unless a container forbids it."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        return False
    with postgres_server.work_directory() as top:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", top], capture_output=True)
        subprocess.run(["umount", top], capture_output=True)
    return mounted.returncode == 0


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Yield a small directory that the server can write to."""
    if not may_mount():
        pytest.skip("only root can mount a small file system")
    with postgres_server.work_directory() as top:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "none", top], check=True)
        postgres_server.unprivileged(top)  # gives the directory to the server's account
        try:
            yield top
        finally:
            subprocess.run(["umount", "--lazy", top], check=True)


@pytest.fixture
def server() -> Iterator[Server]:
    """Yield a separate server with a tablespace on the small disk."""
    with own_server() as server:
        yield server


@contextmanager
def indexes_on(disk: Path, server: Server) -> Iterator[str]:
    """Return the URL of a database with a large table activity whose new indexes go to the small disk."""
    with server.new_database() as url:
        fill_activity(url, ROWS)
        name = execute(url, "SELECT current_database()")[0][0]
        execute(
            server.url,
            f"CREATE TABLESPACE small LOCATION '{disk}'",
            f"GRANT CREATE ON TABLESPACE small TO {OWNER}",
            f"ALTER DATABASE {name} SET default_tablespace = small",
        )
        yield url
        execute(server.url, f"ALTER DATABASE {name} RESET default_tablespace")


def test_a_full_disk_is_a_clear_error_without_a_leftover_and_the_next_up_continues(small_disk, server):
    with indexes_on(small_disk, server) as url:
        result = run("up", url=url)
        assert result.exit_code == 1
        assert "No space left on device" in result.stderr
        assert any(name in result.stderr for name in TEN_NAMES)
        assert "Free or add disk space" in result.stderr
        assert broken(url) == set()
        assert set(revisions(url).values()) == {"applied", "applying"}
        built = created_indexes(url)

        subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
        again = succeed("up", url=url)
        assert all(name not in " ".join(again.announced()) for name in built)
        assert_all_valid(url)
        succeed("down", url=url)


def test_temporary_files_that_grow_too_large_are_a_clear_error_without_a_leftover(server):
    with server.new_database() as url:
        fill_activity(url, ROWS)
        limited = f"ALTER ROLE {OWNER} IN DATABASE {url.rpartition('/')[2]} SET temp_file_limit = '64kB'"
        execute(server.url, limited)  # which only a superuser may set
        result = run("up", url=url)
        if result.exit_code == 0:
            pytest.fail("the build needed no temporary file")
        assert result.exit_code == 1
        assert "temporary file size exceeds" in result.stderr
        assert broken(url) == set()
