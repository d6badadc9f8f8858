"""``plan`` and ``up`` say what a run will take, and afterwards how far that was wrong."""

from __future__ import annotations

import os
import re

import pytest
from command import CLI, TEN_NAMES, execute, run, succeed

from indexer.connection import connect
from indexer.events import IndexFinished, RunPredicted
from indexer.postgres.predictor import PostgresPredictor
from indexer.revisions.chain import load
from indexer.runner import Runner


@pytest.fixture
def crm_with_rows(database_url: str) -> str:
    """Return the URL of a database with 30,000 activities."""
    succeed("seed", "--rows", "30000", url=database_url)
    return database_url


def test_plan_predicts_and_up_says_how_far_that_was_wrong_and_remembers_it(crm_with_rows):
    plan = succeed("plan", "--json", url=crm_with_rows).json()
    predicted = {step["name"]: step["prediction"] for step in plan["steps"]}
    assert predicted.keys() == TEN_NAMES
    assert (plan["prediction"]["seconds"], plan["prediction"]["unknown"]) == (None, [])

    *events, done = succeed("up", "--json", url=crm_with_rows).story()
    assert any(event["event"] == RunPredicted.__name__ for event in events)
    finished = {event["index"]: event for event in events if event["event"] == IndexFinished.__name__}
    for name, each in finished.items():
        assert each["predicted_bytes"] == predicted[name]["bytes"]
        assert each["predicted_bytes"] == pytest.approx(each["bytes"], rel=0.1, abs=5 * 8192), name
    assert done["prediction"]["bytes"] == plan["prediction"]["bytes"]
    assert done["builds"]["ix_activity_type"]["bytes"] == finished["ix_activity_type"]["bytes"]

    (first, *_) = succeed("history", "--json", url=crm_with_rows).json()["history"]
    assert first["builds"] == done["builds"]
    total = sum(each["bytes"] for each in first["builds"].values())
    assert sum(each["predicted_bytes"] for each in first["builds"].values()) == pytest.approx(total, rel=0.1)
    assert re.search(
        r"10 created, \d+ [kM]B \(predicted: \d+ [kM]B, [+-]\d%\)", run("history", url=crm_with_rows).stdout
    )

    succeed("down", url=crm_with_rows)
    again = succeed("plan", "--json", url=crm_with_rows).json()["prediction"]
    assert again["source"] == "measured in an earlier run"
    assert 0 < again["seconds"] < 60


def test_plan_says_what_it_predicts_in_words(crm_with_rows):
    text = succeed("plan", url=crm_with_rows).stdout
    assert re.search(r"\n    predicted: about 1\d+ kB, ", text)
    assert re.search(r"\n  Predicted: about \d+ [kM]B; ", text)


def test_nothing_to_do_asks_nothing_more(crm_with_rows, monkeypatch):
    succeed("up", url=crm_with_rows)
    with connect(crm_with_rows) as migrator:
        runner = Runner(migrator, load(str(CLI.parent)))
        monkeypatch.setattr(type(migrator), "predictor", property(lambda self: pytest.fail("asked")))
        assert not runner.up().changed


@pytest.mark.skipif(os.geteuid() != 0, reason="Linux shows others in which directory a process works to root alone")
def test_the_file_system_of_a_server_on_this_machine_is_known_and_no_other(superuser_url, monkeypatch, tmp_path):
    # As the superuser, who alone may ask for the data directory.
    (data_directory,) = execute(superuser_url, "SHOW data_directory")[0]
    if not os.path.isdir(data_directory):
        pytest.skip("the server is on another machine")
    with connect(superuser_url) as migrator:
        predictor = PostgresPredictor(migrator.catalog, migrator.context.options)
        assert os.stat(data_directory).st_dev in {disk.device for disk in predictor.disks() if disk.free > 0}
        monkeypatch.setattr("indexer.postgres.predictor.PROCESSES", tmp_path)
        assert predictor.disks() == ()


def test_a_file_system_without_enough_room_is_warned_of_and_nothing_is_refused(sqlite_url, monkeypatch):
    succeed("seed", "--rows", "3000", url=sqlite_url)
    full = os.statvfs_result((4096, 4096, 1000, 9, 9, 1000, 9, 9, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    with connect(sqlite_url) as migrator:
        runner = Runner(migrator, load(str(CLI.parent)))
        plan, outcome = runner.plan(forecasts=True), runner.up()
    (warning,) = plan.warnings
    assert re.fullmatch(r"The run needs about \d+ kB \(.*\), and 36 kB are free on that disk\.", warning)
    assert (warning in outcome.warnings, outcome.changed) == (True, True)


def test_a_script_of_a_plan_asks_for_no_prediction(crm_with_rows):
    assert "redicted" not in succeed("plan", "--sql", url=crm_with_rows).stdout
