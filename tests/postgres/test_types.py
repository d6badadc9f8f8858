"""The tables of an empty database get the types that the models name, of extensions and of the user too."""

from __future__ import annotations

import re

import pytest
from command import ask, execute, run_script
from kinds import runner_of
from peewee import CharField, Check, Field, Model, TextField
from roles import another_role, as_role

from indexer import Index
from indexer.errors import PreflightFailed, StatementFailed

INDEX = Index("ix_member_mood", "member", ("mood",))
TYPE = """
    SELECT pg_catalog.format_type(atttypid, NULL)
      FROM pg_attribute
     WHERE attrelid = 'public.member'::regclass
       AND attname = 'mood'
"""


def member(field_type: str, **options) -> type[Model]:
    """Return a model with a column of this type."""

    class Mood(Field):
        pass

    Mood.field_type = field_type

    class Member(Model):
        name = CharField(100)
        mood = Mood(**options)

    return Member


def problems(url: str, model: type[Model]) -> tuple[str, ...]:
    """Return the problems of a plan, which a run has as well, and which changes nothing."""
    with runner_of(url, INDEX, models=[model]) as runner:
        plan = runner.inspector.plan("up")
        with pytest.raises(PreflightFailed) as refusal:
            runner.up()
    assert refusal.value.problems == plan.problems
    assert not ask(url, "SELECT 1 FROM pg_class WHERE relname IN ('member', 'schema_revision')")
    return plan.problems


@pytest.mark.parametrize("schema", ["public", '"A type"'])
@pytest.mark.parametrize("written", ["mood", "MOOD", "mood[]"])
def test_a_type_of_the_user_is_found_in_any_schema(postgres_url, schema, written):
    execute(
        postgres_url, f"CREATE SCHEMA IF NOT EXISTS {schema}", f"CREATE TYPE {schema}.mood AS ENUM ('calm', 'wild')"
    )
    with runner_of(postgres_url, INDEX, models=[member(written)]) as runner:
        runner.up()

    assert ask(postgres_url, TYPE) == [(f"{schema}.mood{written[4:]}",)]


def test_a_script_names_the_schema_of_a_type(postgres_url):
    execute(postgres_url, "CREATE DOMAIN mood AS varchar(20)")
    with runner_of(postgres_url, INDEX, models=[member("mood")]) as runner:
        script = runner.script(runner.inspector.plan("up"))

    assert re.search(r'"mood" public.mood NOT NULL', script)
    run_script(script, postgres_url)
    assert ask(postgres_url, TYPE) == [("public.mood",)]


def test_a_type_of_an_extension_is_found(superuser_url, postgres_url):
    """Only a superuser creates an extension in version 12."""
    if not ask(superuser_url, "SELECT 1 FROM pg_available_extensions WHERE name = 'citext'"):
        pytest.skip("no citext")
    execute(superuser_url, "CREATE SCHEMA types", "CREATE EXTENSION citext SCHEMA types")
    execute(superuser_url, "GRANT USAGE ON SCHEMA types TO PUBLIC")
    with runner_of(postgres_url, INDEX, models=[member("citext")]) as runner:
        runner.up()

    assert ask(postgres_url, TYPE) == [("types.citext",)]


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("citext", "type citext, which this database does not have: CREATE EXTENSION citext"),
        ("geometry(Point, 4326)", "type geometry, which this database does not have: CREATE EXTENSION postgis"),
        ("modd", "type modd, which this database does not have"),
        ("public.citext", "type citext, which schema public does not have"),
    ],
)
def test_a_type_that_the_database_lacks_is_a_problem_of_plan_and_up(postgres_url, written, reason):
    assert problems(postgres_url, member(written)) == (f"member.mood needs {reason}",)


def test_a_type_of_another_role_is_not_taken_for_the_one_that_is_meant(superuser_url, postgres_url):
    """The superuser makes the other role."""
    with another_role(superuser_url, "CREATE SCHEMA AUTHORIZATION {role}") as role:
        execute(as_role(postgres_url, role), f"CREATE DOMAIN {role}.mood AS text CHECK (length(VALUE) > 0)")

        assert problems(postgres_url, member("mood")) == (
            f"member.mood needs type mood, which another role has made in schema {role}: write that before it",
        )


def test_what_else_is_wrong_with_a_model_is_not_blamed_on_the_revision_file(postgres_url):
    class Member(Model):
        mood = TextField(constraints=[Check("humour > 0")])

    with runner_of(postgres_url, INDEX, models=[Member]) as runner, pytest.raises(StatementFailed) as failure:
        runner.up()

    assert 'column "humour" does not exist' in failure.value.message
    assert str(failure.value.hint) == "Correct the models, then run the same command again."
