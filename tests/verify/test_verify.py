"""verify against the planners of real databases, for the queries that the ten indexes exist for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import command
import foreign_crm
import leftovers
import pytest
from command import TEN_NAMES, created_indexes, execute, file_of, is_postgres, nothing_changes, prepare, run, succeed
from peewee import SQL, ModelSelect, PostgresqlDatabase, fn
from roles import another_role, as_owner, as_role, new_database

import models
from indexer import Expression, Index, IndexerError, Query, once, rows_of
from indexer.connection import connect
from indexer.console import verify as console
from indexer.console.hints import HintWriter
from indexer.console.verify import conclusion_of, document, script
from indexer.errors import Held, StatementFailed, UsageError
from indexer.migrator import CatalogMigrator
from indexer.records.table import placed
from indexer.verify.result import QueryResult, Report
from indexer.verify.verify import verify
from migrate_10992629d68e import INDEXES
from models import Activity, Contact
from queries import AUDIENCE, QUERIES, contact_by_phone, opted_out_among

CALLS = {query.call: query.index for query in QUERIES}
WRITE = HintWriter("python cli.py")
HISTORY = "ix_activity_conversation_created"
PHONE = "ix_contact_phone_hash"
OPTED_OUT = "ix_contact_flag_opted_out"
MEMBERS = "ix_campaign_membership_campaign_status"
EVENTS = "ix_webhook_event_processed"


@contextmanager
def migrating(url: str, schema: str | None = None) -> Iterator[CatalogMigrator]:
    """Yield a read-only migrator, as the command line opens it."""
    migrator = connect(url, schema, read_only=True)
    try:
        yield migrator
    finally:
        migrator.database.close()


@contextmanager
def asked_about(migrator: CatalogMigrator) -> Iterator[None]:
    """Bind the models to the migrator's database, whose search path names no schema of tables."""
    schema = "public" if isinstance(migrator.database, PostgresqlDatabase) else None
    with migrator.database.bind_ctx(models.TABLES), placed(models.TABLES, schema):
        yield


def verified(url: str, schema: str | None = None, analyze: bool = False) -> Report:
    """Return the report of verify on a database."""
    with migrating(url, schema) as migrator:
        return verify(migrator, QUERIES, models.TABLES, INDEXES, analyze)


def of(index: str, report: Report) -> QueryResult:
    """Return the first result of an index."""
    return next(result for result in report.results if result.index == index)


def about(index: str, report: Report) -> str:
    """Return all notes about an index."""
    return "\n".join(WRITE(note) for result in report.results if result.index == index for note in result.notes)


def text(report: Report) -> str:
    """Return the report as the command prints it."""
    return "\n".join(map(WRITE, console.lines(report)))


class Place(NamedTuple):
    """A database: its URL for the owner, and for a role that may load rows without a check of foreign keys."""

    url: str
    loaded_by: str


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Place]]:
    """Yield a function that creates databases, all of one kind."""
    if request.param == "sqlite":
        yield lambda name: Place(*[f"sqlite:///{tmp_path_factory.mktemp(name) / 'crm.db'}"] * 2)
        return
    server = request.getfixturevalue("postgres_server")
    with new_database(server) as first, new_database(server) as second:
        places = iter(Place(as_owner(url), url) for url in (first, second))
        yield lambda name: next(places)


@pytest.fixture(scope="module")
def empty_crm(place: Callable[[str], Place]) -> str:
    """Return the URL of a database with empty tables and the ten indexes, for tests that restore what they change."""
    url = place("empty").url
    prepare(url)
    return url


@pytest.fixture(scope="module")
def filled_crm(place: Callable[[str], Place]) -> str:
    """Return the URL of another tool's CRM with unique constraints, many rows and the ten indexes; for reading only."""
    url, loaded_by = place("filled")
    with closing(command.connect(url)) as connection:
        foreign_crm.create_schema(connection)
    with closing(command.connect(loaded_by)) as loader:
        if is_postgres(url):  # load without checking foreign keys: only a superuser may
            loader.cursor().execute("SET session_replication_role = replica")
        foreign_crm.load(loader, activities=100_000)
    prepare(url)
    execute(url, "VACUUM ANALYZE" if is_postgres(url) else "ANALYZE")
    return url


@pytest.fixture
def reader(superuser_url: str, head_url: str) -> Iterator[tuple[str, str]]:
    """Yield a role that may connect to a database with the ten indexes, and its URL; only a superuser makes roles."""
    with another_role(superuser_url) as role:
        yield role, as_role(head_url, role)


@contextmanager
def instead_of(name: str, url: str, definition: str | None = None) -> Iterator[None]:
    """Replace an index with another one of its name, or with nothing, and restore it at the end."""
    original = created_indexes(url)[name]
    execute(url, f"DROP INDEX {name}")
    if definition:
        execute(url, f"CREATE INDEX {name} ON {definition}")
    try:
        yield
    finally:
        execute(url, f"DROP INDEX IF EXISTS {name}", original)


# The ten indexes -----------------------------------------------------------------------------------------------------


def test_each_of_the_ten_indexes_has_a_query_in_the_order_of_the_migration():
    assert list(dict.fromkeys(CALLS.values())) == [index.name for index in INDEXES]


def test_with_the_ten_indexes_every_query_is_served(empty_crm):
    report = verified(empty_crm)

    assert report.exit_code == 0
    assert [result.index for result in report.results if not result.usable] == []
    assert {result.served_by for result in report.results} == {None}
    assert {result.generic for result in report.results} == {True}


@pytest.mark.parametrize("name", sorted(TEN_NAMES))
def test_without_its_index_a_query_is_not_served_and_the_index_is_named(empty_crm, name):
    with instead_of(name, empty_crm):
        report = verified(empty_crm)

    assert report.exit_code == 4
    assert report.unserved == (name,)
    assert document(report)["not_served"] == [name]
    assert f"{name} is missing. Build it: python cli.py up" in text(report)


def test_without_any_index_nothing_is_served(any_base_url):
    report = verified(any_base_url)
    assert report.exit_code == 4
    assert set(report.unserved) == TEN_NAMES


@pytest.mark.parametrize(
    ("select", "is_served"),
    [
        pytest.param(lambda: Activity.select(), False, id="all rows"),
        pytest.param(lambda: Activity.select().where(Activity.direction == "in"), False, id="another column"),
        pytest.param(lambda: Activity.select(Activity.activity_type), True, id="its column alone"),
        pytest.param(lambda: Activity.select().order_by(Activity.activity_type), True, id="its order"),
    ],
)
def test_an_index_that_is_read_whole_serves_only_if_the_query_gains_by_it(any_head_url, select, is_served):
    with migrating(any_head_url) as migrator:
        report = verify(migrator, [Query("ix_activity_type", select, once)], models.TABLES, INDEXES)
    assert [result.usable for result in report.results] == [is_served]


def test_an_expression_with_parameters_in_it_is_not_found_by_sqlite_and_the_note_says_so(sqlite_head_url):
    index = Index("ix_prefix", table="contact", columns=(Expression("substr(phone, 1, 5)"),))
    execute(sqlite_head_url, "CREATE INDEX ix_prefix ON contact (substr(phone, 1, 5))")
    sample = rows_of(fn.SUBSTR(Contact.phone, 1, 5), otherwise=("+1202",))

    def by_prefix(prefix: str, *area: Any) -> ModelSelect[Contact]:
        return Contact.select().where(fn.SUBSTR(Contact.phone, *area or (1, 5)) == prefix)

    literal = Query(index.name, lambda prefix: by_prefix(prefix, SQL("1"), SQL("5")), sample)
    with migrating(sqlite_head_url) as migrator:
        report = verify(migrator, [Query(index.name, by_prefix, sample), literal], models.TABLES, [index])
    assert [result.usable for result in report.results] == [False, True]
    assert "needs substr(phone, 1, 5) as declared, with literals and not parameters" in text(report)


def test_a_function_that_fails_is_named_with_its_arguments(sqlite_head_url):
    query = Query(PHONE, lambda phone, country: phone, rows_of(Contact.phone, otherwise=("+1",)))
    with migrating(sqlite_head_url) as migrator, pytest.raises(UsageError) as caught:
        verify(migrator, [query], models.TABLES, INDEXES)
    assert "<lambda>(phone, country) fails for the arguments ('+1'): " in caught.value.message
    assert "missing 1 required positional argument: 'country'" in caught.value.message


# Other indexes under the name ----------------------------------------------------------------------------------------

SERVING = [
    pytest.param(HISTORY, "activity (conversation_id, created_at)", id="ascending, read backwards"),
    pytest.param(HISTORY, "activity (conversation_id DESC, created_at DESC)", id="both descending"),
    pytest.param(PHONE, "contact (phone)", id="B-tree for hash"),
    pytest.param(PHONE, "contact (phone, email)", id="wider"),
    pytest.param(MEMBERS, "campaign_membership (status, campaign_id)", id="columns exchanged"),
    pytest.param(OPTED_OUT, "contact_flag (flag_type, contact_id)", id="whole for partial"),
    pytest.param(PHONE, "contact (phone) WHERE phone IS NOT NULL", id="without rows that no query asks for"),
    pytest.param(OPTED_OUT, "contact_flag (contact_id) WHERE flag_type = 'opted_out'", id="no more than it needs"),
]
USELESS = [
    pytest.param(HISTORY, "activity (conversation_id)", id="no order"),
    pytest.param(HISTORY, "activity (created_at DESC, conversation_id)", id="order first"),
    pytest.param(MEMBERS, "campaign_membership (campaign_id)", id="half of the columns"),
    pytest.param(EVENTS, "webhook_event (processed)", id="the useless half of the columns"),
    pytest.param(PHONE, "contact (lower(phone))", id="an expression"),
    pytest.param(PHONE, "contact (email)", id="another column"),
    pytest.param(OPTED_OUT, "contact_flag (flag_type, contact_id) WHERE flag_type = 'vip'", id="another predicate"),
    pytest.param(MEMBERS, "campaign_membership (campaign_id) WHERE status = 'pending'", id="one of many values"),
    pytest.param(PHONE, "contact (phone) WHERE phone > '+'", id="a part of the values"),
    pytest.param(OPTED_OUT, "contact_flag (flag_type) WHERE flag_type = 'opted_out'", id="not by contact"),
    pytest.param("ix_webhook_event_event_type", "webhook_event (processed, event_type)", id="another column first"),
    pytest.param("ix_activity_type", "activity (activity_type) WHERE contact_id > 0", id="an unprovable predicate"),
]


@pytest.mark.parametrize(("name", "definition"), SERVING)
def test_another_index_under_the_name_that_serves_is_usable(empty_crm, name, definition):
    specified = created_indexes(empty_crm)
    with instead_of(name, empty_crm, definition):
        differs = created_indexes(empty_crm) != specified
        report = verified(empty_crm)

    assert report.exit_code == 0, text(report)
    assert of(name, report).usable
    assert ("differs from the revision" in about(name, report)) is differs


@pytest.mark.parametrize(("name", "definition"), USELESS)
def test_another_index_under_the_name_that_does_not_serve_is_reported_with_the_difference(empty_crm, name, definition):
    with instead_of(name, empty_crm, definition):
        report = verified(empty_crm)

    assert report.unserved == (name,), text(report)
    assert "differs from the revision (" in about(name, report)


@pytest.mark.parametrize(
    ("name", "definition"),
    [
        ("ix_activity_openphone_id", "activity (openphone_id COLLATE {})"),
        (MEMBERS, "campaign_membership (campaign_id, status COLLATE {})"),
    ],
)
def test_an_index_in_another_collation_does_not_serve(empty_crm, name, definition):
    with instead_of(name, empty_crm, definition.format('"POSIX"' if is_postgres(empty_crm) else "NOCASE")):
        report = verified(empty_crm)
    assert report.unserved == (name,), text(report)


@pytest.mark.parametrize(
    ("name", "definition"),
    [
        (EVENTS, "webhook_event (processed, event_type) WHERE processed = {}"),
        (EVENTS, "webhook_event (event_type) WHERE processed = {}"),
        ("another_one", "webhook_event (event_type) WHERE processed = {}"),
    ],
    ids=["whole key", "no more than it needs", "another name"],
)
def test_an_index_of_what_the_query_always_asks_for_serves_but_no_generic_plan(empty_crm, name, definition):
    no = "false" if is_postgres(empty_crm) else "0"
    with instead_of(EVENTS, empty_crm, definition.format(no) if name == EVENTS else None):
        if name != EVENTS:
            execute(empty_crm, f"CREATE INDEX {name} ON {definition.format(no)}")
        report = verified(empty_crm)
        execute(empty_crm, "DROP INDEX IF EXISTS another_one")

    assert report.exit_code == 0, text(report)
    result = of(EVENTS, report)
    if name == EVENTS:
        assert (result.usable, result.generic) == (True, False)
        assert "a prepared statement with a generic plan cannot use it" in about(EVENTS, report)
    else:
        assert (result.usable, result.served_by) == (False, name)


def test_an_operator_class_that_knows_equality_serves(head_url):
    with instead_of(PHONE, head_url, "contact (phone text_pattern_ops)"):
        assert of(PHONE, verified(head_url)).usable


def test_a_history_whose_index_sorts_null_elsewhere_is_not_served(head_url):
    with instead_of(HISTORY, head_url, "activity (conversation_id, created_at DESC NULLS LAST)"):
        report = verified(head_url)
    assert report.unserved == (HISTORY,)
    assert "key is conversation_id, created_at DESC NULLS LAST, not conversation_id, created_at DESC" in text(report)


def test_an_invalid_index_serves_nothing(head_url):
    leftovers.not_valid(head_url, PHONE, "contact")
    report = verified(head_url)
    assert report.unserved == (PHONE,)
    assert f"{PHONE} is invalid, because its build was interrupted. Rebuild it: python cli.py up" in text(report)
    succeed("up", url=head_url)
    assert verified(head_url).exit_code == 0


def test_a_table_under_the_name_serves_nothing(empty_crm):
    with instead_of(PHONE, empty_crm):
        execute(empty_crm, f"CREATE TABLE {PHONE} (id integer)")
        try:
            report = verified(empty_crm)
        finally:
            execute(empty_crm, f"DROP TABLE {PHONE}")
    assert report.unserved == (PHONE,)
    assert "kind is table, not index" in about(PHONE, report)


# Other indexes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def unique_phone(empty_crm: str) -> Iterator[str]:
    """Yield the name of another index on contact.phone, as a unique constraint has it."""
    name = "contact_phone_key"
    execute(empty_crm, f"CREATE UNIQUE INDEX {name} ON contact (phone)")
    yield name
    execute(empty_crm, f"DROP INDEX {name}")


def test_a_query_that_a_unique_index_serves_is_served_without_the_declared_index(empty_crm, unique_phone):
    with instead_of(PHONE, empty_crm):
        report = verified(empty_crm)

    assert report.exit_code == 0
    assert not of(PHONE, report).usable
    assert of(PHONE, report).served_by == unique_phone
    assert f"{PHONE} is missing, but would be redundant here" in text(report)
    assert "Build it" not in text(report)


def test_beside_a_unique_index_the_declared_one_is_called_redundant(empty_crm, unique_phone):
    report = verified(empty_crm)
    assert report.exit_code == 0
    assert of(PHONE, report).usable
    assert of(PHONE, report).served_by == unique_phone
    assert f"{unique_phone} serves contact_by_phone(phone), so {PHONE} is redundant here" in text(report)


def test_the_declared_index_is_usable_beside_a_unique_one_that_is_always_preferred(empty_crm):
    execute(empty_crm, "CREATE UNIQUE INDEX rival ON activity (openphone_id)")
    try:
        report = verified(empty_crm)
    finally:
        execute(empty_crm, "DROP INDEX rival")

    seen = of("ix_activity_openphone_id", report)
    assert (seen.usable, seen.served_by) == (True, "rival"), text(report)


def test_a_partial_index_of_opt_outs_serves_on_sqlite_too(sqlite_head_url):
    with instead_of(OPTED_OUT, sqlite_head_url, "contact_flag (contact_id) where flag_type = 'opted_out'"):
        report = verified(sqlite_head_url)

    assert report.exit_code == 0, text(report)
    assert "predicate is flag_type = 'opted_out', not none" in about(OPTED_OUT, report)
    assert "a statement with a parameter in its place cannot use the index" in about(OPTED_OUT, report)
    assert "plan_cache_mode" not in text(report)


@pytest.mark.parametrize(
    ("name", "rival"),
    [
        (MEMBERS, "campaign_membership (campaign_id)"),
        (EVENTS, "webhook_event (event_type)"),
        (HISTORY, "activity (conversation_id)"),
        (OPTED_OUT, "contact_flag (contact_id)"),
        (PHONE, "contact (lower(phone))"),
    ],
)
def test_an_index_that_does_half_of_the_work_neither_hides_the_declared_one_nor_replaces_it(empty_crm, name, rival):
    execute(empty_crm, f"CREATE INDEX rival ON {rival}")
    try:
        beside = verified(empty_crm)
        with instead_of(name, empty_crm):
            alone = verified(empty_crm)
    finally:
        execute(empty_crm, "DROP INDEX rival")

    assert beside.exit_code == 0, text(beside)
    assert of(name, beside).usable
    assert of(name, beside).served_by is None
    assert alone.unserved == (name,), text(alone)


@pytest.mark.parametrize(
    ("name", "rival"),
    [
        (PHONE, "contact (phone) WHERE email IS NULL"),
        (MEMBERS, "campaign_membership (campaign_id, status) WHERE status = 'pending'"),
    ],
)
def test_an_index_of_some_rows_does_not_replace_one_of_all_rows(empty_crm, name, rival):
    execute(empty_crm, f"CREATE INDEX rival ON {rival}")
    try:
        with instead_of(name, empty_crm):
            assert verified(empty_crm).unserved == (name,)
        assert of(name, verified(empty_crm)).served_by is None
    finally:
        execute(empty_crm, "DROP INDEX rival")


def test_the_unique_constraints_of_a_foreign_crm_are_named(filled_crm):
    served_by = {result.index: result.served_by for result in verified(filled_crm).results if result.served_by}
    names = ("activity_openphone_id_key", "contact_phone_key")
    if not is_postgres(filled_crm):
        names = ("sqlite_autoindex_activity_1", "sqlite_autoindex_contact_2")
    assert served_by == {"ix_activity_openphone_id": names[0], PHONE: names[1]}


# What the planner chooses --------------------------------------------------------------------------------------------


def test_with_many_rows_every_index_is_chosen_or_an_equal_one(filled_crm):
    report = verified(filled_crm)
    assert report.exit_code == 0
    assert [each.index for each in selective(report) if not (each.usable and (each.chosen or each.served_by))] == []


def test_the_planner_expects_an_index_to_be_cheaper_than_a_scan(filled_crm):
    for result in selective(verified(filled_crm)):
        if is_postgres(filled_crm):
            assert 0 < result.cost_with < result.cost_without, result
        else:
            assert result.cost_with is result.cost_without is None


def selective(report: Report) -> list[QueryResult]:
    """Return the results but for event_counts(), which reads all rows: versions differ over what is cheapest then."""
    return [result for result in report.results if result.query != "event_counts()"]


def test_a_value_that_most_rows_have_is_distinguished_from_one_for_which_the_index_is_chosen(filled_crm):
    note = r"the planner chooses ix_activity_type for \('\w+'\), but not for \('message'\)( and \('\w+'\))*"
    assert bool(re.search(note, about("ix_activity_type", verified(filled_crm)))) is is_postgres(filled_crm)


def test_a_whole_index_of_flags_serves_where_its_contacts_are_not_worth_a_search(filled_crm):
    with instead_of(OPTED_OUT, filled_crm, "contact_flag (flag_type, contact_id)"):
        report = verified(filled_crm)
    assert [each.usable and each.chosen for each in report.results if each.index == OPTED_OUT] == [True, True]


def test_settings_of_the_session_do_not_hide_that_an_index_is_usable(head_url):
    with migrating(head_url) as migrator:
        for kind in ("indexscan", "indexonlyscan"):
            migrator.database.execute_sql(f"SET enable_{kind} = off")
        report = verify(migrator, QUERIES, models.TABLES, INDEXES)
    assert [result.index for result in report.results if not result.usable] == []
    note = f"conversation_history(conversation_id): the planner finds the rows with {HISTORY} now, but sorts them"
    assert note in about(HISTORY, report)


def test_on_a_tiny_table_a_scan_is_cheaper_and_that_is_no_failure(head_url):
    execute(
        head_url,
        "INSERT INTO contact (first_name, last_name, phone) VALUES ('Ada', 'Lovelace', '+12025550123')",
        "ANALYZE contact",
    )
    report = verified(head_url)
    assert report.exit_code == 0
    assert of(PHONE, report).usable
    assert not of(PHONE, report).chosen
    assert "contact_by_phone(phone): a scan of contact (about 1 row) is cheaper now" in text(report)


@pytest.mark.parametrize("rows", [1, 2, 1000])
@pytest.mark.parametrize("rival", [None, "webhook_event (event_type, id)"])
def test_an_index_that_another_one_outdoes_on_one_sided_rows_is_usable_all_the_same(head_url, rows, rival):
    execute(
        head_url,
        f"""
        INSERT INTO webhook_event (event_id, event_type, processed)
        SELECT 'event' || i, 'message.received', FALSE FROM generate_series(1, {rows}) AS i
        """,
        *([f"CREATE INDEX rival ON {rival}"] if rival else []),
        "ANALYZE webhook_event",
    )
    report = verified(head_url)

    assert report.exit_code == 0, text(report)
    assert of(EVENTS, report).usable
    assert of(EVENTS, report).generic
    assert of(EVENTS, report).served_by is None


def test_opt_outs_are_asked_for_ten_thousand_contacts_in_one_round_trip_over_the_partial_index(filled_crm):
    sent: list[Any] = []
    with migrating(filled_crm) as migrator, asked_about(migrator):
        migrator.database.query_hooks.append(sent.append)
        assert len(opted_out_among(range(1, 10_001))) == 273
        (event,) = sent
        explain = "EXPLAIN" if is_postgres(filled_crm) else "EXPLAIN QUERY PLAN"
        plan = str(list(migrator.database.execute_sql(f"{explain} {event.sql}", event.params)))
    assert OPTED_OUT in plan
    assert "Seq Scan" not in plan


# What the output says ------------------------------------------------------------------------------------------------


def test_the_history_comes_in_order_without_a_sort(filled_crm):
    assert f"{HISTORY} returns the rows of conversation_history(conversation_id) in order" in about(
        HISTORY, verified(filled_crm)
    )


def test_a_history_that_is_sorted_now_could_come_in_order(head_url):
    execute(head_url, "INSERT INTO activity (openphone_id) VALUES ('only')", "ANALYZE activity")
    report = verified(head_url)

    assert not of(HISTORY, report).chosen
    assert f"{HISTORY} can return the rows of conversation_history(conversation_id) in order" in about(HISTORY, report)


def test_a_hash_is_said_to_serve_equality_alone(empty_crm):
    note = f"{PHONE} serves only equality: a hash index cannot serve LIKE, ranges or ORDER BY on phone, nor be unique"
    assert (note in text(verified(empty_crm))) is is_postgres(empty_crm)


def test_a_b_tree_instead_of_the_hash_is_not_called_a_hash(head_url):
    with instead_of(PHONE, head_url, "contact (phone)"):
        report = verified(head_url)
    assert "serves only equality" not in text(report)
    assert "method is btree, not hash" in text(report)


def test_verify_notes_that_a_prepared_statement_may_not_use_a_partial_index(empty_crm):
    report = verified(empty_crm)
    note = f"{OPTED_OUT} needs the literal flag_type = 'opted_out' in the statement, as in queries.py."
    assert text(report).count(note) == is_postgres(empty_crm)
    assert ("SET plan_cache_mode = force_custom_plan" in about(OPTED_OUT, report)) is is_postgres(empty_crm)
    in_json = {each["generic_as_parameter"] for each in document(report)["queries"] if each["index"] == OPTED_OUT}
    assert in_json == {False if is_postgres(empty_crm) else None}
    (row,) = (line for line in text(report).splitlines() if line.startswith("has_opted_out"))
    assert ("literal" in row.split()) is is_postgres(empty_crm)


def test_a_prepared_statement_uses_the_partial_index_with_the_setting_that_is_printed(head_url):
    (setting,) = set(re.findall(r"SET plan_cache_mode = \w+", about(OPTED_OUT, verified(head_url))))
    prepared = "opted_out (text) AS SELECT 1 FROM contact_flag WHERE contact_id = 1 AND flag_type = $1"
    plans = [
        execute(
            head_url,
            "SET enable_seqscan = off",
            f"PREPARE {prepared}",
            each,
            "EXPLAIN EXECUTE opted_out('opted_out')",
        )
        for each in ("SET plan_cache_mode = force_generic_plan", setting)
    ]
    assert [OPTED_OUT in str(plan) for plan in plans] == [False, True]


def test_a_whole_index_serves_prepared_statements_with_the_flag_as_a_parameter(head_url):
    with instead_of(OPTED_OUT, head_url, "contact_flag (flag_type, contact_id)"):
        report = verified(head_url)
    assert of(OPTED_OUT, report).generic
    assert "literal" not in about(OPTED_OUT, report)


def test_the_document_is_json_with_all_that_the_table_shows(filled_crm):
    read = json.loads(json.dumps(document(verified(filled_crm)), default=WRITE))
    assert list(read) == ["database", "schema", "standby", "exit_code", "not_served", "without_query", "queries"]
    assert {query["query"]: query["index"] for query in read["queries"]} == CALLS
    assert all(query["served"] and query["usable"] for query in read["queries"])


def test_an_index_of_a_later_revision_has_no_query_and_is_named(sqlite_head_url):
    later = Index("ix_conversation_last_activity", table="conversation", columns=("last_activity_at",))
    with migrating(sqlite_head_url) as migrator:
        report = verify(migrator, QUERIES, models.TABLES, (*INDEXES, later))
    assert (report.exit_code, report.without_query) == (0, (later.name,))
    assert f"{later.name}: no query declared in queries.py." in text(report)
    assert f'Add one to QUERIES there: Query("{later.name}", function=..., sample=rows_of(...)).' in text(report)
    assert document(report)["without_query"] == [later.name]


def test_the_table_has_a_row_for_each_query_and_no_empty_column(empty_crm):
    header, *rows = text(verified(empty_crm)).split("\n\n")[0].splitlines()
    costs = ["cost with", "cost without"] if is_postgres(empty_crm) else []
    assert re.split("  +", header) == ["query", "index", "usable", "chosen", "generic", *costs]
    assert [row.split("  ")[0] for row in rows] == list(CALLS)


def test_the_queries_it_shows_can_be_run_as_they_are(filled_crm):
    shown = script(verified(filled_crm))
    assert len(re.findall("^-- ", shown, re.MULTILINE)) == len(CALLS)
    answers = [execute(filled_crm, query) for query in shown.split(";\n") if "SET search_path" not in query]
    assert all(answers), "each sample is of existing rows"


def test_the_queries_it_shows_are_about_the_schema_that_was_named(postgres_url):
    schema = "rate 5%s"
    succeed("up", "--to", "base", url=postgres_url)
    execute(postgres_url, f'CREATE SCHEMA "{schema}"')
    succeed("seed", "--rows", "3000", "--schema", schema, url=postgres_url)
    succeed("up", "--schema", schema, url=postgres_url)
    script = succeed("verify", "--sql", "--schema", schema, url=postgres_url).stdout

    assert script.startswith("SET search_path TO pg_catalog, pg_temp;\n")
    path, *queries = script.rstrip(";\n").split(";\n")
    answered = [query for query in queries if execute(postgres_url, path, query)]
    assert len(answered) > len(queries) / 2, "the tables in public are empty"


def test_the_queries_of_a_database_that_does_not_serve_them_are_printed_with_an_error_beside_them(any_base_url):
    result = run("verify", "--sql", url=any_base_url)

    assert result.exit_code == 4
    assert "-- ix_activity_type: activities_of_type(activity_type)\nSELECT " in result.stdout
    assert result.stderr.startswith("Error: ")
    assert re.search("Not served on .*: ix_activity_openphone_id, ", result.stderr)


# It only reads -------------------------------------------------------------------------------------------------------


def test_verify_changes_nothing(empty_crm):
    with nothing_changes(empty_crm):
        verified(empty_crm)


def test_no_query_is_run_and_nothing_remains_in_the_session(filled_crm):
    sent: list[str] = []
    with migrating(filled_crm) as migrator:
        before = settings(migrator)
        migrator.database.query_hooks.append(lambda event: sent.append(event.sql))
        asked = {query.sql for query in verify(migrator, QUERIES, models.TABLES, INDEXES).results}
        assert asked.isdisjoint(sent)
        if is_postgres(filled_crm):
            assert settings(migrator) == before
            prepared = migrator.database.execute_sql("SELECT name FROM pg_prepared_statements").fetchall()
            assert all(name.startswith("indexer_") for (name,) in prepared)  # the catalog's, which end with the session
            assert not any("ANALYZE" in text for text in sent)


def test_a_session_that_may_write_asks_in_a_transaction_that_may_not(head_url):
    migrator = connect(head_url)
    migrator.settle(["contact"])
    with closing(migrator.database), migrator.query_planner(models.TABLES).session():
        assert migrator.database.execute_sql("SHOW transaction_read_only").fetchone() == ("on",)


def settings(migrator: CatalogMigrator) -> list[Any]:
    """Return all settings of a session but the search path, which is set on purpose."""
    if not isinstance(migrator.database, PostgresqlDatabase):
        return []
    query = "SELECT name, setting FROM pg_settings WHERE name <> 'search_path' ORDER BY name"
    return list(migrator.database.execute_sql(query))


def test_samples_are_read_by_primary_key_alone(filled_crm):
    sent: list[Any] = []
    with migrating(filled_crm) as migrator, asked_about(migrator):
        migrator.database.query_hooks.append(sent.append)
        for query in QUERIES:
            assert 1 <= len(query.sample(2)) <= 2
        migrator.database.query_hooks.clear()
        explain = "EXPLAIN" if is_postgres(filled_crm) else "EXPLAIN QUERY PLAN"
        for event in sent:
            plan = str(list(migrator.database.execute_sql(f"{explain} {event.sql}", event.params)))
            assert "Seq Scan" not in plan, plan
            assert not any(name in plan for name in TEN_NAMES), plan
            assert "SCAN" not in plan, plan
    assert len(sent) > len(QUERIES)


def test_samples_are_of_existing_rows_from_all_over_the_table(filled_crm):
    with migrating(filled_crm) as migrator, asked_about(migrator):
        types = [next(iter(each)) for each in samples("activities_of_type(activity_type)", 100)]
        phones = samples("contact_by_phone(phone)", 50)
        audiences = samples("opted_out_among(contact_ids)", 3)
        assert sorted(types) == ["call", "email", "message", "voicemail"]
        assert len(set(phones)) == 50
        assert all(contact_by_phone(phone) for (phone,) in phones)
        assert [len(ids) <= AUDIENCE for (ids,) in audiences] == [True] * 3


def samples(call: str, count: int) -> list[tuple[Any, ...]]:
    """Return at most this many arguments of a query; the models are bound."""
    return next(query for query in QUERIES if query.call == call).sample(count)


def test_it_does_not_wait_for_writers(head_url):
    with closing(command.connect(head_url)) as connection, connection.cursor() as writer:
        connection.autocommit = False
        writer.execute("LOCK TABLE contact, activity, contact_flag, campaign IN EXCLUSIVE MODE")
        assert verified(head_url).exit_code == 0


def test_it_does_not_wait_long_for_an_exclusive_lock(head_url):
    with closing(command.connect(head_url)) as connection, connection.cursor() as alteration:
        connection.autocommit = False
        alteration.execute("ALTER TABLE contact ADD COLUMN nickname text")
        holder = rf"locked \(ACCESS EXCLUSIVE\) by:\n  - pid {connection.info.backend_pid} "
        with pytest.raises(StatementFailed, match=holder):
            verified(head_url)


def test_a_locked_file_is_an_error_and_no_result(sqlite_head_url):
    with migrating(sqlite_head_url) as migrator, closing(command.connect(sqlite_head_url)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Held, match="locked"):
            verify(migrator, QUERIES, models.TABLES, INDEXES)


def test_analyze_runs_the_queries_and_measures_how_long_they_take(head_url):
    with nothing_changes(head_url):
        report = verified(head_url, analyze=True)
    assert all(result.milliseconds is not None for result in report.results)
    assert " ms" in text(report).splitlines()[0]


def test_a_query_that_takes_too_long_is_stopped(postgres_url, reader, monkeypatch):
    role, url = reader
    execute(
        postgres_url,
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
        "INSERT INTO contact (first_name, last_name, phone) VALUES ('Ada', 'Lovelace', '+12025550123')",
        "ALTER TABLE contact ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY slow ON contact USING (pg_sleep(0.1) IS NOT NULL)",
    )
    monkeypatch.setattr("indexer.postgres.query_planner.LONGER", "SET LOCAL statement_timeout = '50ms'")
    report = verified(url, analyze=True)
    assert of(PHONE, report).milliseconds is None
    assert "contact_by_phone(phone) was stopped after 10 seconds" in about(PHONE, report)
    assert report.exit_code == 0


def test_sqlite_cannot_analyze(sqlite_head_url):
    with pytest.raises(UsageError, match="SQLite has no EXPLAIN ANALYZE"):
        verified(sqlite_head_url, analyze=True)


# Databases of any kind -----------------------------------------------------------------------------------------------


def test_a_database_that_is_empty_has_no_tables_and_nothing_is_served(database_url):
    if not is_postgres(database_url):
        execute(database_url, "CREATE TABLE setting (key text)")
    report = verified(database_url)
    assert report.exit_code == 4
    assert set(report.unserved) == TEN_NAMES
    assert "table contact is missing" in text(report).replace("public.", "")
    if is_postgres(database_url):
        assert text(report).endswith("In an empty database, create the tables: python cli.py up")
        succeed("up", url=database_url)
        assert verified(database_url).exit_code == 0


def test_a_missing_file_is_not_created(sqlite_url):
    assert verified(sqlite_url).exit_code == 4
    assert not file_of(sqlite_url).exists()


def test_a_missing_column_is_named_and_the_other_queries_have_results(any_head_url):
    execute(
        any_head_url,
        "DROP INDEX ix_conversation_contact_id",
        "DROP INDEX ix_webhook_event_processed",
        "ALTER TABLE conversation RENAME COLUMN contact_id TO person_id",
        "ALTER TABLE webhook_event RENAME COLUMN payload TO body",
    )
    report = verified(any_head_url)
    assert report.unserved == ("ix_webhook_event_processed", "ix_conversation_contact_id")
    assert "conversation has no column contact_id" in about("ix_conversation_contact_id", report)
    assert "unprocessed_events(event_type) cannot be planned: " in about("ix_webhook_event_processed", report)
    assert "payload" in about("ix_webhook_event_processed", report)
    misfits = "unprocessed_events(event_type), conversations_of(contact_id)"
    assert str(conclusion_of(report)).startswith(
        f"The tables lack what these queries read: {misfits}.\n"
        "Add what is missing with the application's own migrations, or correct queries.py."
    )


def test_a_view_in_the_place_of_a_table_is_named(any_base_url):
    execute(any_base_url, "ALTER TABLE contact RENAME TO person", "CREATE VIEW contact AS SELECT * FROM person")
    assert "contact is a view, not an ordinary table" in about(PHONE, verified(any_base_url))


def test_the_tables_may_be_in_a_schema_with_an_awkward_name(postgres_url):
    schema = 'a "second" CRM'
    with closing(command.connect(postgres_url)) as connection:
        foreign_crm.create_schema(connection, schema)
        for index in INDEXES:
            with migrating(postgres_url, schema) as migrator:
                connection.cursor().execute(migrator.dialect.create_statement(index).replace("CONCURRENTLY ", ""))
    report = verified(postgres_url, schema)
    assert report.exit_code == 0
    assert all(result.usable for result in report.results)
    assert verified(postgres_url).exit_code == 4


def test_a_role_that_may_only_read_sees_everything(postgres_url, reader):
    role, url = reader
    execute(postgres_url, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    assert verified(url).results == verified(postgres_url).results


@pytest.mark.parametrize("setting", ["enable_seqscan", "enable_sort"])
def test_the_cost_of_scans_is_reported_to_a_role_that_avoids_them_too(superuser_url, postgres_url, reader, setting):
    """Only a superuser can change settings of another role."""
    role, url = reader
    execute(postgres_url, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    execute(superuser_url, f"ALTER ROLE {role} SET {setting} = off")
    assert [each.query for each in verified(url).results if each.cost_without is None] == []


def granted(error: IndexerError) -> list[str]:
    """Return the statements of a hint that grant what is missing."""
    return re.findall("GRANT .*;", str(error.hint))


def test_a_role_that_may_not_read_gets_the_grant(postgres_url, reader):
    role, url = reader
    execute(
        postgres_url, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}", f"REVOKE SELECT ON activity FROM {role}"
    )
    with pytest.raises(IndexerError, match=f"Role {role} may not read public.activity") as raised:
        verified(url)
    (grant,) = granted(raised.value)
    assert grant == f"GRANT SELECT ON public.activity TO {role};"
    execute(postgres_url, grant)
    assert verified(url).exit_code == 0


def test_a_role_that_may_not_use_the_schema_is_told_what_to_grant(postgres_url, reader):
    role, url = reader
    execute(
        postgres_url,
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
        "REVOKE USAGE ON SCHEMA public FROM PUBLIC",
    )
    with pytest.raises(IndexerError, match=f"Role {role} may not use schema public") as raised:
        verified(url, "public")
    (grant,) = granted(raised.value)
    assert grant == f"GRANT USAGE ON SCHEMA public TO {role};"
    execute(postgres_url, grant)
    assert verified(url, "public").exit_code == 0
