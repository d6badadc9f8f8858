"""Options from environment variables: INDEXER_MAX_WAIT for --max-wait, INDEXER_UP_MAX_WAIT for that of up alone."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from command import HEAD, Result, execute, run, succeed
from scenes import running

from indexer.cli.commands import cli
from indexer.cli.environment import Option

CONSENTS = {"--replace", "--include-adopted", "--below-later", "--published", "--offline"}
COMMANDS = pytest.mark.parametrize("name", sorted(cli.commands))


def run_with(*arguments: str, url: str, **variables: str) -> Result:
    """Run a command with these variables."""
    with running(*arguments, url=url, **variables) as command:
        return command.end()


def options_of(name: str) -> list[click.Option]:
    """Return the options of a command."""
    return [each for each in cli.commands[name].params if isinstance(each, click.Option)]


@COMMANDS
def test_every_option_has_a_variable_except_the_url_which_has_its_own(name):
    for option in options_of(name):
        assert isinstance(option, Option), option.name
        word = option.opts[0].removeprefix("--").replace("-", "_").upper()
        expected = (f"INDEXER_{name.upper()}_{word}", f"INDEXER_{word}")
        assert option.envvar == (() if option.hidden or word == "DATABASE_URL" else expected)


@COMMANDS
def test_what_one_run_is_allowed_is_given_by_no_variable(name):
    assert {option.opts[0] for option in options_of(name) if option.is_consent} == CONSENTS & {
        option.opts[0] for option in options_of(name)
    }


def test_a_variable_gives_an_option_and_what_is_typed_wins(sqlite_url):
    assert json.loads(run_with("status", url=sqlite_url, INDEXER_JSON="1").stdout)["head"] == HEAD
    assert "has none of the tables" in run_with("status", url=sqlite_url, INDEXER_JSON="false").stdout
    assert "has none of the tables" in run_with("status", url=sqlite_url, INDEXER_JSON="").stdout
    plan = ("plan", "--to", "base")
    assert f"-> {HEAD}" not in run_with(*plan, url=sqlite_url, INDEXER_TO="head").stdout
    assert f"-> {HEAD}" in run_with("plan", url=sqlite_url, INDEXER_TO="head").stdout


def test_the_variable_of_a_command_wins_over_that_of_all(sqlite_url):
    variables = {"INDEXER_TO": "base", "INDEXER_PLAN_TO": "head"}
    assert f"-> {HEAD}" in run_with("plan", url=sqlite_url, **variables).stdout


def test_a_variable_of_another_command_is_left_alone(sqlite_head_url):
    variables = {"INDEXER_JOBS": "none", "INDEXER_REPLACE": "1", "INDEXER_MAXWAIT": "?", "INDEXER_SERVICE_PORT": "80"}
    result = run_with("status", url=sqlite_head_url, **variables)
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("INDEXER_MAX_WAIT", "soon", "'soon' is not a number of seconds."),
        ("INDEXER_UP_RETRIES", "-1", "-1 is not in the range x>=0."),
        ("INDEXER_NO_WAIT", "perhaps", "'perhaps' is neither true nor false."),
        ("INDEXER_SCHEMA", "'a", "No closing quotation."),
    ],
)
def test_a_value_that_cannot_be_understood_is_refused_with_the_name_of_its_variable(
    sqlite_url, variable, value, reason
):
    result = run_with("up", url=sqlite_url, **{variable: value})
    assert result.exit_code == 2
    assert f"Invalid value for '{variable}': {reason}" in result.stderr


@pytest.mark.parametrize("option", sorted(CONSENTS))
def test_a_consent_in_a_variable_is_refused_and_neither_obeyed_nor_left_out(sqlite_head_url, option):
    command = "up" if option in ("--replace", "--offline", "--published") else "down"
    variable = f"INDEXER_{option.removeprefix('--').replace('-', '_').upper()}"
    result = run_with(command, url=sqlite_head_url, **{variable: "1"})
    assert result.exit_code == 2
    assert variable in result.stderr
    assert f"type {option}" in result.stderr
    assert run_with("plan", "down", url=sqlite_head_url, **{variable: "0"}).exit_code == 0


def test_a_typed_consent_wins_over_its_variable(sqlite_head_url):
    assert run_with("up", "--replace", url=sqlite_head_url, INDEXER_REPLACE="1").exit_code == 0


def test_the_address_of_a_kubernetes_service_is_no_value(sqlite_head_url):
    result = run_with("up", url=sqlite_head_url, INDEXER_RETRIES="tcp://10.0.0.7:8080")
    assert result.exit_code == 0, result


def test_several_values_have_blanks_between_them_and_quotes_around_one_with_blanks(postgres_url):
    execute(postgres_url, "CREATE SCHEMA a", 'CREATE SCHEMA "b c"')
    result = run_with("status", "--json", url=postgres_url, INDEXER_SCHEMA="a 'b c'")
    assert [each["schema"] for each in result.json()["schemas"]] == ["a", "b c"]


@pytest.mark.parametrize(
    ("typed", "variables"),
    [
        (("status", "--schema", "public"), {"INDEXER_ALL_SCHEMAS": "tenant_*"}),
        (("plan", "--sql"), {"INDEXER_JSON": "1"}),
        (("up", "--wait-lock", "5"), {"INDEXER_NO_WAIT": "1"}),
    ],
)
def test_what_is_typed_wins_over_a_variable_for_its_alternative(head_url, typed, variables):
    result = run_with(*typed, url=head_url, **variables)
    assert result.exit_code == 0, result


def test_a_typed_url_wins_over_a_variable_that_names_a_list(sqlite_head_url, tmp_path: Path):
    (tmp_path / "urls").write_text("sqlite:///elsewhere.db\n")
    arguments = ("status", "--json", "--database-url", sqlite_head_url)
    result = run_with(*arguments, url="sqlite:///x.db", INDEXER_URLS_FROM=str(tmp_path / "urls"))
    assert result.json()["database"] == sqlite_head_url


def test_the_url_of_this_program_wins_over_those_of_others_and_may_have_blanks(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/a b.db"
    succeed("up", "--to", "base", "--database-url", url, url="sqlite:///x.db")
    variables = {"MIGRATION_DATABASE_URL": "sqlite:///y.db", "INDEXER_DATABASE_URL": url}
    assert run_with("status", "--json", url="sqlite:///x.db", **variables).json()["database"] == url


def test_usage_errors_are_documents_where_a_variable_asks_for_json(sqlite_url):
    result = run_with("up", "--unknown", url=sqlite_url, INDEXER_JSON="1")
    assert result.json()["exit_code"] == 2


def test_the_name_of_the_program_is_no_option(sqlite_head_url):
    result = run_with("plan", "down", url=sqlite_head_url, INDEXER_PROGRAM="docker run crm")
    assert "docker run crm down" in result.stdout


def test_the_help_says_how(sqlite_url):
    said = " ".join(run("--help", url=sqlite_url).stdout.split())
    assert "INDEXER_MAX_WAIT=30 is --max-wait 30" in said
