"""A predicate means what it means to the application, for every column type, and no code of another role runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import pytest
from command import ask, broken, execute, indexes, prepare, refuses, run, run_script, succeed
from kinds import runner_of
from roles import another_role, as_role

from indexer import Expression, Index, Variant
from indexer.connection import connect
from indexer.errors import PreflightFailed
from indexer.postgres.expression.explain import NotUnderstood
from indexer.postgres.expression.tokens import operators_in, tokens, words_in

NAME = "ix_contact_flag_opted_out"
BY_HAND = f"CREATE INDEX {NAME} ON contact_flag (flag_type, contact_id) WHERE flag_type = 'opted_out'"
AS_TEXT = f"CREATE INDEX {NAME} ON contact_flag (flag_type, contact_id) WHERE flag_type::text = 'opted_out'::text"
IGNORES_CASE = "COLLATION ignores_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"


def extend(superuser_url: str, schema: str = "public") -> None:
    """Create the extension citext, which in version 12 only a superuser may."""
    available = ask(superuser_url, "SELECT 1 FROM pg_available_extensions WHERE name = 'citext'")
    if not available:
        pytest.skip("no citext")
    execute(superuser_url, f"CREATE EXTENSION citext SCHEMA {schema}")


def give_type(url: str, column_type: str, *before: str) -> None:
    """Create the base tables, and give contact_flag.flag_type another type."""
    prepare(url, to="base")
    execute(url, *before, f"ALTER TABLE contact_flag ALTER flag_type TYPE {column_type} USING flag_type::{column_type}")


@pytest.fixture
def citext_crm(superuser_url: str, postgres_url: str) -> str:
    """URL of a database whose flag_type is citext, for the owner; a superuser made the extension."""
    extend(superuser_url)
    give_type(postgres_url, "citext")
    return postgres_url


def uses_the_index(url: str) -> bool:
    """Return whether the application's own query, on its own search path, uses the index."""
    query = "EXPLAIN SELECT 1 FROM contact_flag WHERE flag_type = 'opted_out' AND contact_id = 7"
    plan = execute(url, "SET enable_seqscan = off", query)
    return any(NAME in line for (line,) in plan)


# What is built, and what is accepted ---------------------------------------------------------------------------------

TYPES = {
    "text": ("text",),
    "char": ("char(30)",),
    "name": ("name",),
    "citext": ("citext",),
    "domain": ("flag", "CREATE DOMAIN flag AS text CHECK (VALUE <> '')"),
    "domain of a domain of citext": ("flag", "CREATE DOMAIN inner_flag AS citext", "CREATE DOMAIN flag AS inner_flag"),
    "enum": ("flag", "CREATE TYPE flag AS ENUM ('opted_out', 'vip')"),
    "collation": ("varchar(20) COLLATE ignores_case", f"CREATE {IGNORES_CASE}"),
}


@pytest.mark.parametrize("types", TYPES.values(), ids=TYPES)
def test_up_a_script_and_the_application_build_the_same_index_and_each_is_accepted(superuser_url, postgres_url, types):
    column_type, *before = types
    if "citext" in "".join(types):
        extend(superuser_url)
    if "COLLATE" in column_type and not ask(superuser_url, "SELECT 1 FROM pg_collation WHERE collprovider = 'i'"):
        pytest.skip("a server without ICU")
    give_type(postgres_url, column_type, *before)

    execute(postgres_url, BY_HAND)
    by_hand = indexes(postgres_url)[NAME]
    assert uses_the_index(postgres_url)
    assert "kept" in succeed("up", url=postgres_url).stdout
    execute(postgres_url, f"DROP INDEX {NAME}")
    succeed("up", url=postgres_url)
    assert indexes(postgres_url)[NAME] == by_hand
    succeed("down", url=postgres_url)
    run_script(succeed("plan", "--sql", url=postgres_url).stdout, postgres_url)
    assert indexes(postgres_url)[NAME] == by_hand
    succeed("check", url=postgres_url)


def test_an_index_that_the_application_cannot_use_counts_as_different_and_is_replaced(citext_crm):
    succeed("up", url=citext_crm)
    execute(citext_crm, f"DROP INDEX {NAME}", AS_TEXT)
    assert not uses_the_index(citext_crm)
    refused = run("up", url=citext_crm)

    assert refused.exit_code == 4
    assert "(flag_type)::text = 'opted_out'::text" in refused.stderr
    assert "OPERATOR(public.=) 'opted_out'::public.citext" in refused.stderr
    assert run("check", url=citext_crm).exit_code == 4
    succeed("up", "--replace", url=citext_crm)
    assert uses_the_index(citext_crm)
    assert broken(citext_crm) == set()
    succeed("check", url=citext_crm)


def test_verify_reports_the_query_on_a_citext_column_as_served(citext_crm):
    succeed("up", url=citext_crm)
    succeed("verify", url=citext_crm)


def test_the_extension_is_found_in_a_schema_that_is_on_no_search_path(superuser_url, postgres_url):
    execute(superuser_url, "CREATE SCHEMA extensions", "GRANT USAGE ON SCHEMA extensions TO PUBLIC")
    extend(superuser_url, "extensions")
    give_type(postgres_url, "extensions.citext")
    succeed("up", url=postgres_url)

    assert "(flag_type OPERATOR(extensions.=) 'opted_out'::extensions.citext)" in indexes(postgres_url)[NAME]
    succeed("check", url=postgres_url)
    succeed("verify", url=postgres_url)


def test_up_refuses_with_the_grant_if_the_role_may_not_use_the_schema_of_the_extension(superuser_url, postgres_url):
    execute(superuser_url, "CREATE SCHEMA extensions", "GRANT USAGE ON SCHEMA extensions TO PUBLIC")
    extend(superuser_url, "extensions")
    give_type(postgres_url, "extensions.citext")
    execute(superuser_url, "REVOKE USAGE ON SCHEMA extensions FROM PUBLIC")
    refused = refuses(postgres_url, "up", exit_code=1)
    execute(superuser_url, re.findall("GRANT USAGE ON SCHEMA extensions TO crm_owner", refused.stderr)[0])
    succeed("up", url=postgres_url)


def test_up_refuses_with_the_grant_if_the_role_may_not_use_the_schema_of_an_enum(superuser_url, postgres_url):
    """Only a superuser can revoke the right on a schema of another role."""
    execute(superuser_url, "CREATE SCHEMA kinds", "GRANT USAGE ON SCHEMA kinds TO PUBLIC")
    execute(superuser_url, "CREATE TYPE kinds.flag AS ENUM ('opted_out', 'vip')")
    give_type(postgres_url, "kinds.flag")
    execute(superuser_url, "REVOKE USAGE ON SCHEMA kinds FROM PUBLIC")
    refused = refuses(postgres_url, "up", exit_code=1)
    assert "GRANT USAGE ON SCHEMA kinds TO crm_owner" in refused.stderr
    execute(superuser_url, "GRANT USAGE ON SCHEMA kinds TO crm_owner")
    succeed("up", url=postgres_url)
    succeed("check", url=postgres_url)


def test_a_predicate_with_another_collation_counts_as_different(base_url):
    execute(base_url, BY_HAND.replace("flag_type =", 'flag_type COLLATE "POSIX" ='))
    assert not uses_the_index(base_url)
    refused = run("up", url=base_url)

    assert refused.exit_code == 4
    assert 'COLLATE "POSIX"' in refused.stderr


def test_a_role_without_any_right_on_the_table_can_compare_predicates(citext_crm, superuser_url):
    """Only a superuser can create another role."""
    succeed("up", url=citext_crm)
    execute(citext_crm, "GRANT SELECT ON schema_revision, schema_revision_log TO PUBLIC")
    with another_role(superuser_url) as role:
        succeed("check", url=as_role(citext_crm, role))


def test_row_security_and_dropped_columns_do_not_change_a_comparison(head_url):
    execute(
        head_url,
        "ALTER TABLE contact_flag DROP COLUMN flag_reason",
        "ALTER TABLE contact_flag ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        "CREATE POLICY none ON contact_flag USING (false)",
    )
    succeed("check", url=head_url)


# Code of other roles -------------------------------------------------------------------------------------------------

FUNCTION = """
    CREATE FUNCTION public.foreign_equal(a {left}, b {right}) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'the code of another role'; END $$
"""
OPERATOR = "CREATE OPERATOR public.= (FUNCTION = public.foreign_equal, LEFTARG = {left}, RIGHTARG = {right})"


def plant(url: str, left: str, right: str) -> None:
    """Create an operator in public whose code fails."""
    execute(url, FUNCTION.format(left=left, right=right), OPERATOR.format(left=left, right=right))


@pytest.fixture
def other_role(superuser_url: str) -> Iterator[str]:
    """Yield the name of a role that may create in public; only a superuser creates roles."""
    with another_role(superuser_url, "GRANT CREATE ON SCHEMA public TO {role}") as role:
        yield role


@pytest.mark.parametrize("types", [("citext", "text"), ("text", "citext"), ("anyelement", "anyelement")])
def test_up_refuses_if_an_operator_of_another_role_could_be_taken(citext_crm, other_role, types):
    plant(as_role(citext_crm, other_role), *types)
    refused = refuses(citext_crm, "up", exit_code=1)
    assert f"operator public.= of role {other_role}" in refused.stderr
    assert "the code of another role" not in refused.stderr


def test_check_fails_while_an_operator_of_another_role_could_be_taken(citext_crm, other_role):
    succeed("up", url=citext_crm)
    plant(as_role(citext_crm, other_role), "citext", "text")
    result = run("check", url=citext_crm)

    assert result.exit_code == 4
    assert f"operator public.= of role {other_role} could be called" in " ".join(result.stdout.split())


def test_verify_plans_no_query_while_an_operator_of_another_role_could_be_taken(citext_crm, other_role):
    succeed("up", url=citext_crm)
    plant(as_role(citext_crm, other_role), "citext", "text")
    refused = run("verify", url=citext_crm)

    assert refused.exit_code == 1
    assert f"operator public.= of role {other_role} could be called" in refused.stderr
    assert "Then run again: python cli.py verify" in refused.stderr
    execute(as_role(citext_crm, other_role), "DROP OPERATOR public.= (citext, text)")
    succeed("verify", url=citext_crm)


def test_an_operator_of_another_role_for_other_types_is_ignored(citext_crm, superuser_url, other_role):
    plant(as_role(citext_crm, other_role), "varchar", "varchar")
    succeed("up", url=superuser_url)

    assert "OPERATOR(public.=) 'opted_out'::public.citext" in indexes(citext_crm)[NAME]
    succeed("check", url=superuser_url)


def test_an_operator_that_its_owner_added_to_the_extension_is_not_trusted(citext_crm, superuser_url):
    """Only a superuser can add to this extension; in later versions its owner need not be one."""
    plant(citext_crm, "citext", "text")
    execute(superuser_url, "ALTER EXTENSION citext ADD OPERATOR public.= (citext, text)")
    refused = run("up", url=superuser_url)

    assert refused.exit_code == 1
    assert "operator public.= of role crm_owner" in refused.stderr


def test_check_does_not_run_a_function_in_the_predicate_of_an_existing_index(superuser_url, head_url):
    """The planner runs an immutable function of constants with the rights of the role that asks, here a superuser."""
    execute(
        head_url,
        "CREATE SEQUENCE runs",
        "CREATE FUNCTION runs() RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT nextval('public.runs')::text $$",
        f"DROP INDEX {NAME}",
        f"CREATE INDEX {NAME} ON contact_flag (flag_type, contact_id) WHERE flag_type = runs()",
    )
    before = ask(head_url, "SELECT last_value FROM public.runs")
    result = run("check", url=superuser_url)

    assert result.exit_code == 4
    assert "runs()" in result.stdout
    assert ask(head_url, "SELECT last_value FROM public.runs") == before


FOLD = "CREATE FUNCTION public.fold(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT pg_catalog.lower($1) $$"


def folded(sql: str) -> Index:
    """Return an index of an expression over contact_flag."""
    return Index("ix_folded", "contact_flag", (Expression(sql),))


def test_a_function_of_our_own_is_used_where_the_expression_names_its_schema(base_url):
    execute(base_url, FOLD)
    with runner_of(base_url, folded("fold(flag_type)")) as runner, pytest.raises(PreflightFailed) as refused:
        runner.up()
    assert "function fold is of no extension: write its schema before it, as in public.fold(…)" in str(refused.value)
    with runner_of(base_url, folded("public.fold(flag_type)")) as runner:
        runner.up()
        assert "(public.fold((flag_type)::text))" in indexes(base_url)["ix_folded"]
        assert not runner.up().changed


def test_a_function_of_another_role_is_never_used(base_url, other_role):
    execute(as_role(base_url, other_role), FOLD)
    with runner_of(base_url, folded("public.fold(flag_type)")) as runner, pytest.raises(PreflightFailed) as refused:
        runner.up()
    assert f"function public.fold is code of role {other_role}, which role crm_owner does not run" in str(refused.value)


def test_a_function_of_another_role_beside_an_extensions_is_not_taken_for_the_one_meant(citext_crm, other_role):
    with runner_of(citext_crm, folded("lower(flag_type)")) as runner:
        runner.up()
        runner.down()
        hidden = "CREATE FUNCTION public.lower(citext) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'x' $$"
        execute(as_role(citext_crm, other_role), hidden)
        with pytest.raises(PreflightFailed) as refused:
            runner.up()
    assert f"function public.lower of role {other_role} could be called instead" in str(refused.value)


def test_an_index_whose_expression_calls_a_function_of_another_role_is_never_the_same(base_url, other_role):
    execute(as_role(base_url, other_role), FOLD)
    execute(base_url, "CREATE INDEX ix_folded ON contact_flag (fold(flag_type))")
    with runner_of(base_url, folded("public.fold(flag_type)")) as runner:
        (step,) = runner.inspector.status().steps
    assert step.state == "different"
    assert "which role crm_owner does not run" in step.differences[0].declared


def test_a_truth_value_of_a_storage_parameter_is_the_same_however_it_is_written(base_url):
    index = Index("ix", "activity", ("id",), on_postgresql=Variant("brin", storage={"autosummarize": True}))
    execute(base_url, "CREATE INDEX ix ON activity USING brin (id) WITH (autosummarize = 1)")
    with runner_of(base_url, index) as runner:
        (step,) = runner.inspector.status().steps
    assert step.differences == ()


def test_a_found_expression_on_several_lines_is_shown_on_one(base_url):
    execute(base_url, "CREATE INDEX ix_folded ON contact_flag ((CASE WHEN id > 1 THEN 1 ELSE 2 END))")
    with runner_of(base_url, folded("lower(flag_type)")) as runner:
        (step,) = runner.inspector.status().steps
    assert "CASE WHEN (id > 1) THEN 1 ELSE 2 END" in step.differences[0].found


# Other predicates ----------------------------------------------------------------------------------------------------

RESOLVED = {
    "a = 'x'": "(a OPERATOR(public.=) 'x'::public.citext)",
    "'x' = a": "('x'::public.citext OPERATOR(public.=) a)",
    "NOT a = 'x'": "(a OPERATOR(public.<>) 'x'::public.citext)",
    "a IN ('x', 'y')": "(a OPERATOR(public.=) ANY ('{x,y}'::public.citext[]))",
    "a NOT LIKE 'x%'": "(a OPERATOR(public.!~~) 'x%'::public.citext)",
    "a BETWEEN 'x' AND 'y'": (
        "((a OPERATOR(public.>=) 'x'::public.citext) AND (a OPERATOR(public.<=) 'y'::public.citext))"
    ),
    "a = 'x' AND t = 'y'": "((a OPERATOR(public.=) 'x'::public.citext) AND (t = 'y'::text))",
    "COALESCE(a, '') = 'x'": "(COALESCE(a, ''::public.citext) OPERATOR(public.=) 'x'::public.citext)",
    "a = 'it''s = \"so\"' -- or not": "(a OPERATOR(public.=) 'it''s = \"so\"'::public.citext)",
    "a = 'x'::citext": "(a OPERATOR(public.=) 'x'::public.citext)",
    "a::text = 'x'": "a::text = 'x'",
    "lower(a) = 'x'": "lower(a) = 'x'",
    "a OPERATOR(public.=) 'x'": "a OPERATOR(public.=) 'x'",
    "a IS NOT NULL": "a IS NOT NULL",
    "e = 'x'::mood": "(e = 'x'::public.mood)",
    "t = 'x'": "t = 'x'",
}
REFUSED = {
    "a IS DISTINCT FROM 'x'": "without relying on a search path",
    "e = 'unknown'": 'invalid input value for enum public.mood: "unknown"',
    "missing = 1": 'column "missing" does not exist',
    "t = 1": "operator does not exist",
    "(SELECT true)": "a subquery, an aggregate",
    "count(*) > 1": "a subquery, an aggregate",
    "generate_series(1, 2) > 1": "a subquery, an aggregate",
}


def test_each_kind_of_predicate_is_resolved_or_refused_with_the_reason(superuser_url, postgres_url):
    extend(superuser_url)
    execute(
        postgres_url,
        "CREATE TYPE mood AS ENUM ('x')",
        "CREATE TABLE flags (a citext, t text, e mood)",
    )
    migrator = connect(postgres_url)
    with closing(migrator.database):
        migrator.settle(["flags"])

        def resolved(where: str) -> str:
            return str(migrator.catalog.expressions.resolved("flags", where))

        assert {where: resolved(where) for where in RESOLVED} == RESOLVED
        for where, reason in REFUSED.items():
            with pytest.raises(NotUnderstood, match=reason.replace("(", r"\(")):
                resolved(where)


def test_the_databases_settings_do_not_change_a_resolved_predicate(superuser_url, postgres_url):
    """Constants are written so that a session with other settings reads the same."""
    extend(superuser_url)
    execute(postgres_url, "CREATE TABLE flags (a citext, at timestamp, weight float8)")
    name = postgres_url.rpartition("/")[2]
    parallel = ask(
        postgres_url, "SELECT name FROM pg_settings WHERE name ~ '^(force_parallel_mode|debug_parallel_query)$'"
    )
    for setting in ("datestyle = 'German, DMY'", "extra_float_digits = -15", f"{parallel[0][0]} = on"):
        execute(postgres_url, f"ALTER DATABASE {name} SET {setting}")
    where = "a = 'x' AND at > '2025-02-01' AND weight > 0.1234567890123456789"
    migrator = connect(postgres_url)
    with closing(migrator.database):
        migrator.settle(["flags"])
        resolved = migrator.catalog.expressions.resolved("flags", where)

    assert resolved == (
        "((a OPERATOR(public.=) 'x'::public.citext) AND (at > '2025-02-01 00:00:00'::timestamp without time zone)"
        " AND (weight > '0.12345678901234568'::double precision))"
    )


@pytest.mark.parametrize(
    "expression",
    [
        'a=\'b\'--c\n AND "odd ""name"" "=E\'it\\\'s\' /* = */ OR x<>-1.5e+3',
        "$tag$ 'a' = $ $tag$ || U&'d' @> '{}'::citext[] AND a!=b",
    ],
)
def test_tokens_joined_are_the_expression_again(expression):
    assert "".join(token.text for token in tokens(expression)) == expression


def test_operators_are_found_outside_of_strings_and_comments_and_behind_keywords():
    read = list(tokens("a='<'--!~\n AND \"x > y\"<>-1 AND b NOT LIKE 'c' AND d!=E'\\'@>'"))

    assert {"=", "<>", "-", "~~", "!~~"} <= set(operators_in(read))
    assert not {"@>", "=-", "<>-"} & set(operators_in(read))
    assert {"a", "x > y", "b", "d"} <= set(words_in(read))
