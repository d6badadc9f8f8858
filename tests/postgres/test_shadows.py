"""No function, operator, type or table of another role is used, although public comes first on the search path.

The commands run as a superuser on purpose: a function of the other role would run with a superuser's rights.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
import shadows
from click.testing import CliRunner
from command import CLI, ask, execute, run, run_script, statements_of, succeed
from kinds import runner_of
from roles import another_role, as_role, new_database
from scenes import transaction

import cli as program
from indexer import Column, Expression, Index, Variant
from indexer.bench import inserts, measure
from indexer.cli.commands import cli
from indexer.postgres.session import database
from indexer.project import Project

PROJECT = Project(str(CLI.parent), program.models, program.queries, program.sample)

Command = Callable[..., str]

# PostgreSQL keeps no record of what depends on its own.
OPERATORS_OF_INDEXES = """
    SELECT c.relname,
           d.refobjid
      FROM pg_depend AS d
      JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
     WHERE c.relkind = 'i'
       AND d.refclassid IN ('pg_operator'::regclass, 'pg_proc'::regclass)
"""


@contextmanager
def commands(url: str) -> Iterator[tuple[Command, list[str]]]:
    """Run commands in this process, and list every statement that they send."""
    sent: list[str] = []

    def recording(cursor: type) -> type:
        class Recording(cursor):
            def execute(self, query: Any, vars: Any = None) -> None:
                sent.append(self.mogrify(query).decode(errors="replace"))
                super().execute(query, vars)

        return Recording

    connect = psycopg2.connect

    def recorded(*arguments: Any, **parameters: Any) -> Any:
        return connect(*arguments, **{**parameters, "cursor_factory": recording(psycopg2.extensions.cursor)})

    def command(*arguments: str, exit_code: int = 0) -> str:
        result = CliRunner().invoke(cli, arguments, env={"DATABASE_URL": url}, obj=PROJECT)
        assert result.exit_code == exit_code, (arguments, result.output)
        return result.stdout

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg2, "connect", recorded)
        patch.setattr(database, "WatchedCursor", recording(database.WatchedCursor))
        patch.setitem(sys.modules, "matplotlib", None)  # a picture takes longer than all the rest
        patch.setattr(measure, "MOST", 1)
        patch.setattr(inserts, "TURNS", 1)
        yield command, sent


def every_command_but_bench(command: Command, url: str) -> None:
    """Run the commands, on an empty database first and on a filled one then."""
    command("wait")
    command("status", exit_code=3)
    command("plan")
    script = command("plan", "--sql")
    assert statements_of(script)[0] == "SET search_path = pg_catalog, pg_temp"
    run_script(script, url)
    assert ask(url, OPERATORS_OF_INDEXES) == []
    command("status")
    command("down")
    command("plan", "--sql", "--all-schemas", "pub*")
    command("up", "--offline", "--jobs", "2")
    run_script(command("plan", "down", "--sql"), url)
    command("seed", "--rows", "200")
    execute(url, "CREATE INDEX ix_activity_type ON public.activity (status)")
    command("check", exit_code=3)
    command("up", exit_code=4)
    command("up", "--replace", "--adopt-renamed")
    command("verify", "--analyze")
    command("verify", "--sql")
    command("check", "--schema", "public")
    with transaction(url, "INSERT INTO public.activity (openphone_id) VALUES ('written')"):
        command("plan", "down")
        command("down", "--max-wait", "0.1", "--retries", "0", exit_code=6)
    command("down", "--all-schemas", "*")
    command("stamp", "base")
    command("up", "--json", "--schema", "public")
    assert ask(url, OPERATORS_OF_INDEXES) == []
    command("stamp", "head")
    command("history")


def indexes_of_any_kind_go_up_and_down(url: str) -> None:
    """Build, compare and drop indexes whose expressions, operator classes and collations have to be looked up."""
    execute(url, "CREATE TABLE public.note (title pg_catalog.varchar(100), owner pg_catalog.int4)")
    kinds = (
        Index("ix_a", "note", (Expression("lower(title) || '-' || (owner + 1)::text"),), where="abs(owner) > 1"),
        Index("ix_b", "note", (Column("title", collation="C", opclass="text_pattern_ops"),), include=("owner",)),
        Index("ix_c", "note", (Expression("to_tsvector('simple', title)"),), on_postgresql=Variant("gin")),
    )
    with runner_of(url, *kinds) as runner:
        runner.up()
        assert [step.state for step in runner.inspector.status().steps] == ["valid"] * len(kinds)
        runner.down()


def test_no_command_runs_code_of_another_role(postgres_server, tmp_path):
    with new_database(postgres_server) as friendly, commands(friendly) as (command, sent):
        every_command_but_bench(command, friendly)
    assert any("schema_revision" in statement for statement in sent), "what peewee writes is among them"
    statements = [*sent, *(text for _, text in shadows.constants())]
    with (
        new_database(postgres_server) as url,
        another_role(
            url, "GRANT CREATE ON SCHEMA public TO {role}", "CREATE SCHEMA lure AUTHORIZATION {role}"
        ) as other_role,
    ):
        planted = shadows.plant(as_role(url, other_role), statements)
        assert planted.functions > 500, planted
        assert planted.operators > 500, planted
        assert planted.views > 15, planted
        assert planted.types > 5, planted
        shadows.count_calls(url)
        (name,) = ask(url, "SELECT current_database()")[0]
        execute(url, f"ALTER DATABASE {name} SET search_path = public, lure, pg_catalog")
        with commands(url) as (command, _):
            every_command_but_bench(command, url)
            command("bench", "--rows", "100", "--out", str(tmp_path / "results"))
        command("down")
        indexes_of_any_kind_go_up_and_down(url)

        assert shadows.called(url) == set()
        execute(url, "SELECT 'a'::varchar = 'b'")
        assert shadows.called(url), "a name that is not qualified means a shadow"


def test_a_view_of_another_role_in_place_of_a_table_is_not_read(postgres_server):
    with (
        new_database(postgres_server) as url,
        another_role(url, "GRANT CREATE ON SCHEMA public TO {role}", "CREATE SCHEMA lure AUTHORIZATION {role}") as role,
    ):
        succeed("up", url=url)
        execute(url, "ALTER TABLE campaign RENAME TO another", "GRANT SELECT ON another TO PUBLIC")
        shadows.plant(as_role(url, role), [])
        execute(
            as_role(url, role),
            "CREATE FUNCTION public.heard() RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN true; END'",
            "CREATE VIEW public.campaign AS SELECT * FROM public.another WHERE public.heard()",
        )
        shadows.count_calls(url)
        verified = run("verify", "--analyze", url=url)
        seeded = run("seed", "--rows", "100", url=url)

        assert "campaign is a view" in verified.stdout
        assert (verified.exit_code, seeded.exit_code) == (4, 1)
        assert "public.campaign is a view" in seeded.stderr
        assert f"the tables belong to several roles: postgres, {role}" in seeded.stderr
        assert shadows.called(url) == set()
        execute(url, "SELECT FROM public.campaign")
        assert shadows.called(url) == {"heard"}


def test_every_function_table_and_cast_in_our_sql_is_qualified(superuser_url):
    functions = {name for (name,) in ask(superuser_url, "SELECT DISTINCT proname FROM pg_proc")}
    relations = {name for (name,) in ask(superuser_url, "SELECT relname FROM pg_class")}
    of_the_grammar = {"coalesce", "nullif", "extract", "exists", "any", "all", "in", "values", "as", "array", "row"}
    keywords = {"bigint", "integer", "boolean", "float", "interval", "smallint"}
    for file, text in shadows.constants():
        plain = shadows.NOT_SQL.sub(" ", text)
        called = {name for before, name in re.findall(r"([\w.)]?)\b([a-z_]\w*)\(", plain) if before != "."}
        assert not called & functions - of_the_grammar, (file, text)
        read = set(re.findall(r"\b(?:FROM|JOIN)\s+([a-z_]\w*)(?![\w.(])", plain))
        assert not read & relations, (file, text)
        casts = set(re.findall(r"::([a-z_]\w*)(?![\w.])", plain))
        assert casts <= keywords, (file, text)
