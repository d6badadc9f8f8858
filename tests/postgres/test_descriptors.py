"""File descriptors: a connection that is closed or dropped leaves none, and many schemas need no more than one."""

from __future__ import annotations

import gc
import os
import shlex
import subprocess
import sys
from pathlib import Path

from command import CLI, HEAD, SIX_INDEXED_TABLES, execute
from scenes import until

from indexer.connection import connect
from indexer.revisions.chain import load
from indexer.runner import Runner

OPEN = Path("/dev/fd")
MIGRATIONS = str(CLI.parent)
SCHEMAS, DESCRIPTORS = 100, 40
COPIES = """
    DO $$
    BEGIN
        FOR number IN 1 .. {schemas} LOOP
            EXECUTE format('CREATE SCHEMA tenant_%s', number);
            {tables}
        END LOOP;
    END
    $$
"""
COPY = "EXECUTE format('CREATE TABLE tenant_%s.{name} (LIKE public.{name})', number);"


def descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir(OPEN))


def test_three_hundred_connections_that_are_closed_leave_no_descriptor(any_head_url):
    chain = load(MIGRATIONS)
    before = descriptors()
    for _ in range(300):
        migrator = connect(any_head_url)
        Runner(migrator, chain)
        migrator.database.close()
    assert descriptors() == before


def test_connections_that_are_dropped_without_being_closed_leave_no_descriptor(any_head_url):
    before = descriptors()
    for _ in range(10):
        connect(any_head_url)
    gc.collect()
    until(lambda: descriptors() == before)  # its watchdog holds a connection while it looks at it


def test_a_run_leaves_no_descriptor(any_base_url):
    chain = load(MIGRATIONS)
    before = descriptors()
    migrator = connect(any_base_url)
    runner = Runner(migrator, chain)
    runner.up()
    runner.down()
    migrator.database.close()
    del migrator, runner
    assert descriptors() == before


def test_many_schemas_need_few_descriptors(base_url):
    tables = "".join(COPY.format(name=name) for name in sorted(SIX_INDEXED_TABLES))
    execute(base_url, COPIES.format(schemas=SCHEMAS, tables=tables))
    command = [sys.executable, CLI, "plan", "--all-schemas", "tenant_*", "--to", HEAD]
    done = subprocess.run(
        ["sh", "-c", f"ulimit -n {DESCRIPTORS}; exec {shlex.join(map(str, command))}"],
        env={**os.environ, "DATABASE_URL": base_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == f"{SCHEMAS} schemas: {SCHEMAS} with exit code 0."
