"""The gate: an application may start when every revision is applied and all indexes are as declared."""

from __future__ import annotations

from command import HEAD, execute, nothing_changes
from leftovers import not_valid

from indexer import Runner, connect, load
from indexer.care.deep import AMCHECK, CORRUPT, Deep, Finding
from indexer.catalog import Flaw
from indexer.decide import Action
from indexer.gate import OPEN, Gate, gate_of
from indexer.plans import Check
from indexer.steps import Step

CHAIN = load(".")


def checked(url: str) -> Check:
    """Return what ``check`` finds."""
    with connect(url, read_only=True) as migrator:
        return Runner(migrator, CHAIN).inspector.check()


def gate(url: str) -> Gate:
    """Return the gate of a database."""
    return gate_of(checked(url))


def test_the_gate_is_open_where_all_is_as_declared(any_head_url):
    with nothing_changes(any_head_url):
        assert gate(any_head_url) == OPEN


def test_the_gate_of_an_empty_database_is_closed(database_url):
    found = gate(database_url)
    assert (found.is_open, found.exit_code) == (False, 3)
    assert found.reason == "The database has none of the tables."


def test_the_gate_is_closed_while_a_revision_is_pending_and_up_opens_it(any_base_url):
    execute(any_base_url, "CREATE INDEX ix_activity_type ON activity (activity_type)")
    found = gate(any_base_url)
    assert (found.is_open, found.exit_code) == (False, 3)
    assert found.reason == f"Revision {HEAD} is pending (1 of its 10 indexes is valid)."
    assert str(found.hint) == "To build it, run: indexer up"
    with connect(any_base_url) as migrator:
        Runner(migrator, CHAIN).up()
    assert gate(any_base_url) == OPEN


def test_the_gate_stays_open_for_a_version_that_is_older_than_the_database(any_head_url):
    execute(
        any_head_url,
        f"CREATE TEMPORARY TABLE later AS SELECT * FROM schema_revision WHERE revision = '{HEAD}'",
        f"UPDATE later SET revision = 'feedfacefeed', down_revision = '{HEAD}'",
        "INSERT INTO schema_revision SELECT * FROM later",
    )
    assert gate(any_head_url) == OPEN


def test_the_gate_is_closed_by_an_index_that_was_dropped_or_is_invalid(head_url):
    execute(head_url, "DROP INDEX ix_activity_type")
    not_valid(head_url, "ix_webhook_event_processed", "webhook_event")
    found = gate(head_url)
    states = "ix_webhook_event_processed (invalid), ix_activity_type (missing)"
    assert (found.is_open, found.exit_code) == (False, 4)
    assert found.reason == f"These indexes are not as declared: {states}."
    assert str(found.hint) == "To repair them, run: indexer up"


def test_the_gate_names_what_another_index_of_the_name_needs(any_head_url):
    other = "CREATE INDEX ix_activity_type ON activity (openphone_id)"
    execute(any_head_url, "DROP INDEX ix_activity_type", other)
    found = gate(any_head_url)
    assert found.reason == "These indexes are not as declared: ix_activity_type (different)."
    assert "indexer up --replace" in str(found.hint)


def test_the_gate_is_closed_where_a_table_that_inherits_lacks_an_index(head_url):
    execute(head_url, "CREATE TABLE old () INHERITS (activity)", "INSERT INTO old (openphone_id) VALUES ('a')")
    found = gate(head_url)
    assert (found.is_open, found.exit_code) == (False, 4)
    assert found.reason == "Indexes are missing on tables that inherit: public.old."
    assert "indexer check" in str(found.hint)


def test_the_gate_does_not_name_a_node_that_does_not_answer(head_url):
    flaw = Flaw("node.internal:5432", 102008, "unknown", reason="could not connect to node.internal")
    check = checked(head_url)
    (applied,) = check.status.revisions
    first, *others = applied.steps
    silent = Step(Action.REFUSE, first.index, first.declared, first.found._replace(flaws=(flaw,)))
    status = check.status._replace(revisions=(applied._replace(steps=(silent, *others)),))

    found = gate_of(check._replace(status=status))
    assert (found.is_open, found.exit_code) == (False, 7)
    assert found.reason.endswith(f"so these indexes may not be valid: {first.index.name}.")
    assert "node.internal" not in found.reason + str(found.hint)


def test_the_gate_is_closed_by_an_index_that_a_deep_check_found_corrupt(head_url):
    corrupt = Finding("ix_activity_type", CORRUPT, AMCHECK)
    found = gate_of(checked(head_url)._replace(deep=Deep((corrupt,))))
    assert (found.is_open, found.exit_code) == (False, 4)
    assert found.reason == "These indexes are corrupt: ix_activity_type."
    assert "indexer reindex ix_activity_type" in str(found.hint)
