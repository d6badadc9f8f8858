"""What is recorded and said is what was done: when others make indexes meanwhile, after kills, by scripts."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from command import (
    BASE,
    HEAD,
    TEN_NAMES,
    ask,
    created_indexes,
    execute,
    indexes,
    is_postgres,
    prepare,
    run,
    specified,
    statements_of,
    succeed,
)
from roles import OWNER
from scenes import (
    ByHand,
    old_snapshot,
    open_reader,
    open_writer,
    running,
    transaction,
    until,
    until_dropping,
    until_idle,
    until_phase,
)

from indexer.connection import connect
from indexer.events import IndexFinished, StatementStarted
from indexer.options import DEFAULTS, Options
from indexer.revisions.chain import load
from indexer.runner import Runner

NAME = "ix_webhook_event_event_type"  # the last of the ten, so that a run comes to it late and down drops it first
MADE_BY_HAND = f"CREATE INDEX {NAME} ON webhook_event (event_type)"
FIRST = "ix_activity_openphone_id"
FIRST_BY_HAND = f"CREATE INDEX {FIRST} ON activity (openphone_id)"
SERVER_PROCESSES = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'indexer%'
"""


def origins(url: str) -> dict[str, str | None]:
    """Return the origin of each index, as status shows it."""
    return {each["name"]: each["origin"] for each in run("status", "--json", url=url).json()["indexes"]}


def last_entry(url: str) -> dict[str, Any]:
    """Return what history says about the last run."""
    return succeed("history", "--json", url=url).json()["history"][0]


def down_leaves(url: str, *names: str) -> None:
    """Revert the revision; these of the ten must be left, and no other."""
    succeed("down", url=url)
    assert created_indexes(url).keys() == set(names)


# Others are faster ---------------------------------------------------------------------------------------------------


@contextmanager
def waiting_up(url: str) -> Iterator[Any]:
    """Run up while its first build waits for a writer, and others make the index of a later one."""
    with open_writer(url) as writer, running("up", "--json", "--jobs", "1", url=url) as up:
        until_phase(url, "waiting for writers before build")
        execute(url, MADE_BY_HAND)
        up.writer = writer
        yield up


def test_an_index_that_others_make_while_a_run_waits_is_reported_recorded_and_left(base_url):
    with waiting_up(base_url) as up:
        up.writer.end()
        outcome = up.succeed().json()
        said = up.find("IndexFinished", index=NAME)

    assert said["action"] == "keep"
    assert outcome["indexes"] == {name: "keep" if name == NAME else "create" for name in TEN_NAMES}
    assert origins(base_url) == {name: "adopted" if name == NAME else "created" for name in TEN_NAMES}
    assert last_entry(base_url)["indexes"] == outcome["indexes"]
    down_leaves(base_url, NAME)


def killed(up: Any, url: str) -> None:
    """Kill a run and its sessions on the server."""
    up.kill()
    execute(url, SERVER_PROCESSES)
    until_idle(url)


def test_an_index_that_others_made_before_a_killed_run_came_to_it_is_left_by_down(base_url):
    with waiting_up(base_url) as up:
        killed(up, base_url)
    assert origins(base_url)[NAME] == "adopted"

    down_leaves(base_url, NAME)


def test_an_index_that_others_made_before_a_killed_run_came_to_it_is_adopted_by_the_next(base_url):
    with waiting_up(base_url) as up:
        killed(up, base_url)
    outcome = succeed("up", "--json", url=base_url).json()

    assert outcome["indexes"][NAME] == "keep"
    assert origins(base_url) == {name: "adopted" if name == NAME else "created" for name in TEN_NAMES}
    down_leaves(base_url, NAME)


def test_an_index_made_between_the_decision_and_the_statement_of_a_killed_run_is_left(base_url):
    with old_snapshot(base_url, OWNER), running("up", "--json", "--jobs", "1", "--max-wait", "60", url=base_url) as up:
        name = up.event("Waiting", phase="waiting before the start")["index"]
        execute(base_url, specified(base_url)[name])
        killed(up, base_url)

    down_leaves(base_url, name)


def test_a_run_that_has_waited_decides_anew_before_its_statement(base_url):
    with old_snapshot(base_url, OWNER) as old, running("up", "--json", "--max-wait", "60", url=base_url) as up:
        name = up.event("Waiting", phase="waiting before the start")["index"]
        execute(base_url, specified(base_url)[name])
        old.end()
        assert up.succeed().json()["indexes"][name] == "keep"
        assert not up.find("StatementStarted", index=name)

    assert origins(base_url)[name] == "adopted"
    down_leaves(base_url, name)


def until_waiting_for_a_lock(url: str) -> None:
    """Wait until a build of a run waits for a lock on its table."""
    query = """
        SELECT pid FROM pg_stat_activity
         WHERE datname = current_database() AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'
    """
    until(lambda: ask(url, query), "a build that waits for a lock")


def test_an_index_of_a_transaction_that_is_committed_while_a_run_waits_is_adopted(base_url):
    with transaction(base_url, FIRST_BY_HAND) as session, running("up", "--json", "--jobs", "1", url=base_url) as up:
        until_waiting_for_a_lock(base_url)
        session.execute("COMMIT")
        assert up.succeed().json()["indexes"][FIRST] == "keep"

    assert origins(base_url)[FIRST] == "adopted"
    down_leaves(base_url, FIRST)


@pytest.mark.real_start
def test_an_index_of_a_transaction_that_is_committed_after_a_run_was_stopped_is_left(base_url):
    """The server has said that the statement was cancelled, so an index that exists later is not its result."""
    with transaction(base_url, FIRST_BY_HAND) as session, running("up", "--jobs", "1", url=base_url) as up:
        until_waiting_for_a_lock(base_url)
        up.send(signal.SIGTERM)
        assert up.end().exit_code == 143
        session.execute("COMMIT")

    down_leaves(base_url, FIRST)


def test_an_index_begun_by_a_killed_run_counts_as_created(base_url):
    with waiting_up(base_url) as up:
        until(lambda: FIRST in indexes(base_url))
        killed(up, base_url)
    succeed("up", url=base_url)

    assert origins(base_url)[FIRST] == "created"
    down_leaves(base_url, NAME)


def test_a_build_by_hand_that_a_run_waits_for_is_recorded_as_adopted(base_url):
    by_hand = FIRST_BY_HAND.replace("INDEX", "INDEX CONCURRENTLY")
    with open_writer(base_url) as writer:
        other = ByHand(base_url, by_hand)
        until_phase(base_url, "waiting for writers before build")
        with running("up", "--json", "--jobs", "1", url=base_url) as up:
            up.event("Joined", index=FIRST)
            writer.end()
            up.succeed()
        other.end()

    assert origins(base_url)[FIRST] == "adopted"
    down_leaves(base_url, FIRST)


def until_noted(url: str, name: str) -> None:
    """Wait until a run has recorded which index of this name it is working on."""
    query = f"SELECT 1 FROM public.schema_revision WHERE existed_before ~ '{name}.{{2,4}}[0-9]'"
    until(lambda: execute(url, query), f"a note about {name}")


@pytest.mark.parametrize("then", ["down", "up"])
def test_an_index_that_replaced_the_one_of_a_killed_build_is_kept(base_url, then):
    with open_writer(base_url), running("up", "--json", "--jobs", "1", url=base_url) as up:
        name = up.event("Waiting", phase="waiting for writers before build")["index"]
        until_noted(base_url, name)
        killed(up, base_url)
    execute(base_url, f"DROP INDEX {name}", specified(base_url)[name])
    assert origins(base_url)[name] == "adopted"
    if then == "up":
        assert succeed("up", "--json", url=base_url).json()["indexes"][name] == "keep"
        assert origins(base_url)[name] == "adopted"

    down_leaves(base_url, name)


@pytest.mark.parametrize("then", ["down", "up"])
def test_an_index_that_replaced_the_one_of_a_killed_drop_is_kept(head_url, then):
    name = "ix_activity_type"  # the first that the reader holds
    with open_reader(head_url), running("down", "--json", "--jobs", "1", url=head_url) as down:
        down.event("StatementStarted", index=name)
        until_dropping(head_url)
        killed(down, head_url)
    execute(head_url, f"DROP INDEX {name}", specified(head_url)[name])
    if then == "up":
        assert succeed("up", "--json", url=head_url).json()["indexes"][name] == "keep"
        assert origins(head_url)[name] == "adopted"

    down_leaves(head_url, name)


@contextmanager
def waiting_down(url: str) -> Iterator[Any]:
    """Run down while it waits for a reader, and others make an index again that it has dropped."""
    with open_reader(url) as reader, running("down", "--json", "--jobs", "1", url=url) as down:
        until(lambda: NAME not in indexes(url))
        until_dropping(url)
        execute(url, MADE_BY_HAND)
        down.reader = reader
        yield down


def test_an_index_that_others_make_again_after_down_has_dropped_it_is_left(head_url):
    with waiting_down(head_url) as down:
        down.reader.end()
        assert down.succeed().json()["indexes"] == dict.fromkeys(TEN_NAMES, "drop")

    assert created_indexes(head_url).keys() == {NAME}


@pytest.mark.parametrize("then", ["down", "up"])
def test_an_index_that_others_make_again_before_down_is_killed_is_left_by_the_next_run(head_url, then):
    with waiting_down(head_url) as down:
        killed(down, head_url)
    if then == "up":
        succeed("up", url=head_url)
        assert origins(head_url) == {name: "adopted" if name == NAME else "created" for name in TEN_NAMES}

    down_leaves(head_url, NAME)


# Killed at any statement ---------------------------------------------------------------------------------------------

ONE_INDEX = '''"""Index the notes."""
from indexer import Index

revision = "aaaa"
down_revision = "base0"
INDEXES = (Index("ix_note_text", table="note", columns=("text",)),)


def upgrade(migrator):
    migrator.migrate(*map(migrator.add_index, INDEXES))


def downgrade(migrator):
    migrator.migrate(*map(migrator.drop_index, INDEXES))
'''
EARLIER, DECLARED = "note USING btree (kind)", "note USING btree (text)"
REPLACE = Options(replace=True)
STATEMENTS = ("CREATE INDEX", "BEGIN", "ALTER INDEX", "ALTER INDEX", "COMMIT", "DROP INDEX")
MOMENTS = range(1, len(STATEMENTS) + 2)  # before each statement, and after the last one, before it is recorded


@pytest.fixture
def notes(postgres_url: str, tmp_path: Path) -> str:
    """Return a database with one table and an index of the declared name and another definition."""
    (tmp_path / "migrate_aaaa.py").write_text(ONE_INDEX)
    execute(postgres_url, "CREATE TABLE note (text varchar(20), kind varchar(20))")
    execute(postgres_url, "CREATE INDEX ix_note_text ON note (kind)")
    return postgres_url


def act(url: str, folder: Path, action: Callable[[Runner], Any], options: Options = DEFAULTS, **how: Any) -> Any:
    """Run a command on the revision of this folder."""
    migrator = connect(url)
    with closing(migrator.database):
        return action(Runner(migrator, load(folder), options=options, **how))


def kill_at(moment: int, url: str, folder: Path, action: Callable[[Runner], Any], options: Options = DEFAULTS) -> str:
    """Run it in a process that is killed when it reports that it sends this statement; return its last report."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        numbers = count(1)

        def report(event: Any) -> None:
            if isinstance(event, StatementStarted | IndexFinished) and next(numbers) == moment:
                os.write(writing, getattr(event, "statement", "end").encode())
                os.kill(os.getpid(), signal.SIGKILL)

        with suppress(BaseException):
            act(url, folder, action, options, report=report)
        os._exit(1)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with open(reading, "rb") as said:
        last = said.read().decode()
    assert os.WIFSIGNALED(status), "it ended before that"
    until_idle(url)
    return last


def on_note(url: str) -> dict[str, str]:
    """Return the indexes of the table, by name."""
    return {name: definition.partition("public.")[2] for name, definition in indexes(url).items() if "note" in name}


@pytest.mark.parametrize("moment", MOMENTS)
def test_down_after_a_replacement_killed_at_any_statement_gives_the_earlier_name_back(notes, tmp_path, moment):
    last = kill_at(moment, notes, tmp_path, Runner.up, REPLACE)
    assert last.startswith((*STATEMENTS, "end")[moment - 1])
    dropped = moment == MOMENTS[-1]
    act(notes, tmp_path, Runner.down)

    assert on_note(notes) == ({} if dropped else {"ix_note_text": EARLIER})


@pytest.mark.parametrize("moment", MOMENTS)
def test_up_after_a_replacement_killed_at_any_statement_ends_it_and_down_drops_it(notes, tmp_path, moment):
    kill_at(moment, notes, tmp_path, Runner.up, REPLACE)
    act(notes, tmp_path, Runner.up, REPLACE)
    assert on_note(notes) == {"ix_note_text": DECLARED}
    act(notes, tmp_path, Runner.down)

    assert on_note(notes) == {}


def test_an_up_that_replaces_nothing_leaves_the_earlier_index_for_down_to_restore(notes, tmp_path):
    kill_at(len(STATEMENTS), notes, tmp_path, Runner.up, REPLACE)
    act(notes, tmp_path, Runner.up)
    assert on_note(notes) == {"ix_note_text": DECLARED, "ix_note_text_replaced": EARLIER}
    act(notes, tmp_path, Runner.down)

    assert on_note(notes) == {"ix_note_text": EARLIER}


GIVING_BACK = ("BEGIN", "ALTER INDEX", "ALTER INDEX", "COMMIT", "DROP INDEX", "end")


@pytest.mark.parametrize("moment", range(1, len(GIVING_BACK) + 1))
@pytest.mark.parametrize("then", ["down", "up"])
def test_a_way_back_killed_at_any_statement_is_ended_by_the_next_run(notes, tmp_path, moment, then):
    kill_at(len(STATEMENTS), notes, tmp_path, Runner.up, REPLACE)
    assert kill_at(moment, notes, tmp_path, Runner.down).startswith(GIVING_BACK[moment - 1])
    if then == "up":
        act(notes, tmp_path, Runner.up, REPLACE)
        assert on_note(notes) == {"ix_note_text": DECLARED}
    act(notes, tmp_path, Runner.down)

    assert on_note(notes) == ({"ix_note_text": EARLIER} if then == "down" else {})


def test_the_earlier_index_is_dropped_where_that_is_asked_for(notes, tmp_path):
    kill_at(len(STATEMENTS), notes, tmp_path, Runner.up, REPLACE)
    act(notes, tmp_path, Runner.down, Options(include_adopted=True))

    assert on_note(notes) == {}


# By script -----------------------------------------------------------------------------------------------------------

SEVEN_SECONDS_AGO = {
    True: "UPDATE public.schema_revision SET started_at = started_at - interval '7 seconds'",
    False: "UPDATE schema_revision SET started_at = strftime('%Y-%m-%d %H:%M:%f', started_at, '-7 seconds')",
}


def execute_slowly(url: str, script: str) -> None:
    """Execute a script as if its indexes took seven seconds."""
    statements = statements_of(script)
    first = next(i for i, statement in enumerate(statements) if re.match("(CREATE|DROP) INDEX", statement))
    execute(url, *statements[:first], SEVEN_SECONDS_AGO[is_postgres(url)], *statements[first:])


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_script_records_the_time_and_the_role_of_its_execution(database_url, direction):
    if direction == "down":
        prepare(database_url)
    script = succeed("plan", direction, "--sql", url=database_url).stdout
    execute_slowly(database_url, script)
    entry = last_entry(database_url)

    assert socket.gethostname() not in script
    assert not re.search(r"'\d{4}-\d\d-\d\d", script)
    assert (entry["revision"], entry["direction"]) == (HEAD, direction)
    assert 7000 <= entry["duration_ms"] < 60_000
    assert re.fullmatch(r"crm_owner@\S+ \(script\)" if is_postgres(database_url) else "sqlite3 script", entry["by"])


def test_the_records_of_a_script_are_as_sensible_as_those_of_a_run(database_url):
    execute_slowly(database_url, succeed("plan", "--sql", url=database_url).stdout)
    records = {each["revision"]: each for each in succeed("status", "--json", url=database_url).json()["revisions"]}
    by_script = records[HEAD]

    assert by_script["applied_by"] == last_entry(database_url)["by"]
    assert 7000 <= by_script["duration_ms"] < 60_000
    assert by_script["started_at"] < by_script["applied_at"]
    assert records[BASE]["started_at"] <= records[BASE]["applied_at"] <= by_script["applied_at"]
