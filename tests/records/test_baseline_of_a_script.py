"""The script of ``plan --sql`` keeps what the new indexes are like, as ``up`` does."""

from __future__ import annotations

from command import CLI, HEAD, TEN_NAMES, execute, run_script, succeed

from indexer.connection import connect as connect_migrator
from indexer.records.baseline import Baseline
from indexer.revisions.chain import load
from indexer.runner import Runner


def baselines(url: str) -> dict[str, Baseline]:
    with connect_migrator(url) as migrator:
        return dict(Runner(migrator, load(str(CLI.parent))).inspector.records()[HEAD].baselines)


def test_a_script_in_psql_records_the_same_baselines_as_up(postgres_url):
    succeed("seed", "--rows", "3000", url=postgres_url)
    script = succeed("plan", "--sql", url=postgres_url).stdout
    run_script(script, postgres_url)
    by_script = baselines(postgres_url)
    succeed("down", url=postgres_url)
    succeed("up", url=postgres_url)

    by_up = baselines(postgres_url)
    assert by_script.keys() == by_up.keys() == TEN_NAMES
    for name, each in by_script.items():
        assert each._replace(at=None, built_at=None) == by_up[name]._replace(at=None, built_at=None)
        assert each.at == each.built_at


def test_a_script_keeps_what_is_on_record_of_the_indexes_that_stay(postgres_url):
    succeed("seed", "--rows", "3000", url=postgres_url)
    execute(postgres_url, "CREATE INDEX ix_activity_type ON activity (activity_type)")
    succeed("up", url=postgres_url)
    before = baselines(postgres_url)
    execute(postgres_url, "DROP INDEX ix_contact_phone_hash", "DROP INDEX ix_conversation_contact_id")
    run_script(succeed("plan", "--sql", url=postgres_url).stdout, postgres_url)

    after = baselines(postgres_url)
    assert after.keys() == before.keys() == TEN_NAMES - {"ix_activity_type"}
    rebuilt = {"ix_contact_phone_hash", "ix_conversation_contact_id"}
    assert {name for name in after if after[name].at != before[name].at} <= rebuilt
    indexes = {each["name"]: each for each in succeed("status", "--json", url=postgres_url).json()["indexes"]}
    assert indexes["ix_activity_type"]["existed_before"]


def test_a_script_for_a_schema_with_an_odd_name_keeps_baselines_too(postgres_url):
    odd = '"It\'s ""odd"""'
    execute(postgres_url, f"CREATE SCHEMA {odd}")
    run_script(succeed("plan", "--sql", "--schema", 'It\'s "odd"', url=postgres_url).stdout, postgres_url)
    found = execute(postgres_url, f"SELECT existed_before FROM {odd}.schema_revision WHERE revision = '{HEAD}'")
    assert "ix_activity_type" in found[0][0]
