"""What the server says about an error, and what to do about it."""

from __future__ import annotations

import re
from contextlib import closing

import psycopg2
import pytest
from command import connect, execute, prepare, run
from peewee import PeeweeException
from psycopg2 import errorcodes

from indexer.connection import connect as open_database
from indexer.postgres.session.server_errors import REMEDIES, UNKNOWN, remedy, said, sqlstate

ALL_CODES = {code for name, code in vars(errorcodes).items() if re.fullmatch(r"[A-Z_]+", name) and len(code) == 5}

# What only the user can do, so that the same command alone would fail in the same way for ever.
CANNOT_HEAL = (
    *("0A000", "22P02", "23505", "25006", "28P01", "42501", "42704", "42P01", "53100", "53200", "53400", "54000"),
    *("57P04", "XX001", "XX002"),
)
CAN_HEAL = ("08006", "40001", "40P01", "57014", "57P01", "57P02", "57P03")


class Failure(psycopg2.Error):
    """An error with a given SQLSTATE."""

    def __init__(self, pgcode: str) -> None:
        super().__init__("what it says")
        self.code = pgcode

    @property
    def pgcode(self) -> str:
        """The SQLSTATE."""
        return self.code


def failure_of(url: str, statement: str) -> psycopg2.Error:
    """Return the error with which the server refuses a statement."""
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.Error) as caught:
            cursor.execute(statement)
        return caught.value


@pytest.mark.parametrize("code", CANNOT_HEAL)
def test_the_remedy_for_an_error_that_persists_says_what_to_do_first(code):
    assert not remedy(Failure(code)).startswith("Run the same command again")


@pytest.mark.parametrize("code", CAN_HEAL)
def test_the_remedy_for_an_error_that_can_heal_says_to_run_the_command_again(code):
    assert "run the same command again" in remedy(Failure(code)).lower()


@pytest.mark.parametrize("code", sorted(ALL_CODES))
def test_every_code_of_the_server_has_a_remedy_in_sentences(code):
    assert re.fullmatch(r"[A-Z].*\.", remedy(Failure(code)))


def test_an_unknown_code_gets_the_general_remedy():
    assert remedy(Failure("ZZ999")) == UNKNOWN
    assert all(re.fullmatch(r"[0-9A-Z]{2,5}", code) for code in REMEDIES)


def test_the_remedy_for_an_expression_that_is_not_immutable_is_to_write_another(postgres_url):
    prepare(postgres_url, to="base")
    failure = failure_of(postgres_url, "CREATE INDEX ix ON contact ((phone::timestamp))")
    assert "functions, operators and casts whose result never changes" in remedy(failure)


def test_an_error_of_several_lines_is_shown_as_one_and_what_it_repeats_once(postgres_url):
    lines = r"it failed: no route\n\tIs it running?\nno route\n\tIs it running?"
    failure = failure_of(postgres_url, f"DO $$ BEGIN RAISE EXCEPTION E'{lines}' USING DETAIL = 'no route'; END $$")
    assert said(failure) == "it failed: no route. Is it running?"


def test_the_detail_and_the_hint_of_the_server_are_shown(postgres_url):
    failure = failure_of(postgres_url, "SELECT format('%s')")
    assert said(failure) == "too few arguments for format()."
    failure = failure_of(postgres_url, "SELECT nothing_of_the_kind(1)")
    assert said(failure).startswith("function nothing_of_the_kind(integer) does not exist. The server's hint: ")
    prepare(postgres_url, to="base")
    failure = failure_of(postgres_url, "INSERT INTO conversation (contact_id) VALUES (17)")
    assert said(failure).endswith('Key (contact_id)=(17) is not present in table "contact".')


def test_a_control_character_in_what_the_server_says_is_visible(postgres_url):
    failure = failure_of(
        postgres_url, "DO $$ BEGIN RAISE EXCEPTION E'red \\x1b[31m' USING DETAIL = E'two\\nlines'; END $$"
    )
    assert said(failure) == r"red \x1b[31m. two lines."


def test_a_session_that_was_ended_has_the_code_of_a_lost_connection(postgres_url):
    with closing(connect(postgres_url)) as connection, connection.cursor() as cursor:
        execute(postgres_url, f"SELECT pg_terminate_backend({connection.info.backend_pid})")
        with pytest.raises(psycopg2.Error) as caught:
            cursor.execute("SELECT 1")
    assert sqlstate(caught.value) in ("57P01", "08006")


def test_a_value_too_long_for_the_index_is_reported_with_the_servers_detail_and_hint(base_url):
    execute(
        base_url,
        "ALTER TABLE activity ALTER COLUMN openphone_id TYPE text",
        "INSERT INTO activity (openphone_id) SELECT string_agg(md5(i::text), '') FROM generate_series(1, 180) AS i",
    )
    result = run("up", url=base_url)
    assert result.exit_code == 1
    assert "ix_activity_openphone_id failed: index row size" in result.stderr
    assert "Values larger than 1/3 of a buffer page cannot be indexed." in result.stderr
    assert "Shorten the values that are too long" in result.stderr


def test_an_error_that_peewee_wraps_keeps_its_code_detail_and_remedy(postgres_url):
    with closing(open_database(postgres_url).database) as database, pytest.raises(PeeweeException) as caught:
        database.execute_sql("SELECT 1 / 0")
    assert sqlstate(caught.value) == "22012"
    assert remedy(caught.value) == REMEDIES["22"]


AUDIT = (
    "CREATE TABLE public.changes (tag text)",
    "GRANT ALL ON public.changes TO crm_owner",
    "CREATE FUNCTION public.audit() RETURNS event_trigger LANGUAGE plpgsql"
    " AS $$ BEGIN INSERT INTO changes VALUES (tg_tag); END $$",
    "CREATE EVENT TRIGGER audit ON ddl_command_end EXECUTE FUNCTION public.audit()",
)


def test_an_event_triggers_function_that_relies_on_a_search_path_is_named_with_a_remedy(base_url, superuser_url):
    # Only a superuser can make an event trigger, and give its function a search path.
    execute(base_url, "DROP TABLE schema_revision_log")
    execute(superuser_url, *AUDIT)
    refused = run("up", url=base_url)
    assert refused.exit_code == 1
    assert "function public.audit()" in refused.stderr
    assert "ALTER FUNCTION ... SET search_path" in refused.stderr

    execute(superuser_url, "ALTER FUNCTION public.audit() SET search_path TO public")
    assert run("up", url=base_url).exit_code == 0


FORCING = (
    """
    CREATE FUNCTION public.force() RETURNS event_trigger LANGUAGE plpgsql SET search_path TO pg_catalog AS $$
    DECLARE made record;
    BEGIN
        FOR made IN
            SELECT object_identity AS name FROM pg_event_trigger_ddl_commands() WHERE object_type = 'table'
        LOOP
            EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', made.name);
        END LOOP;
    END $$
    """,
    "CREATE EVENT TRIGGER force ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION public.force()",
)


def test_row_security_that_is_forced_on_every_new_table_is_named(postgres_url, superuser_url):
    # Only a superuser can make an event trigger.
    execute(superuser_url, *FORCING)
    refused = run("up", url=postgres_url)
    assert refused.exit_code == 1
    assert "forces row-level security on every new table" in refused.stderr
    execute(superuser_url, "ALTER EVENT TRIGGER force DISABLE")
    assert run("up", url=postgres_url).exit_code == 0
