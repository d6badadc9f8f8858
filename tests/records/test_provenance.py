"""Who made an index, as a table: what is recorded, where Alembic is, what exists, what follows. No database here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pytest

from indexer import Index
from indexer.catalog import CatalogEntry
from indexer.decide import Action, Existing, decide_drop
from indexer.definition import Definition
from indexer.options import Options
from indexer.partitions import Part, Partition
from indexer.records.alembic import InAlembic, Position
from indexer.records.provenance import (
    A_RUN,
    ADOPTED,
    CREATED,
    OTHERS,
    RENAMED,
    Provenance,
    RevisionState,
    existed_before,
    former_name,
    origin,
    revert_context,
    state_of,
)
from indexer.records.revisions import APPLIED, APPLYING, REVERTED, REVERTING, Record
from indexer.steps import Step

NAME = "ix_activity_type"
INDEX = Index(NAME, "activity", ("activity_type",))
DECLARED = Definition("activity", "btree", ("activity_type",))
OID, ANOTHER = 4711, 4712
SAME = CatalogEntry(NAME, "index", DECLARED, oid=OID)
BROKEN = SAME._replace(valid=False)
OTHER = SAME._replace(definition=DECLARED._replace(unique=True))
AT, PAST, BELOW = Position.AT, Position.PAST, Position.BELOW


def recorded(
    state: str | None, before: Mapping[str, str] | None = None, made: Mapping[str, int] | None = None
) -> Record | None:
    """Return a record in a state; none without one."""
    if state is None:
        return None
    began = datetime(2026, 1, 1)
    return Record("b", "a", "", state, began, None, None, "", "", "", before or {}, made or {})


def step(found: CatalogEntry | None = SAME, action: Action = Action.KEEP, known_to_alembic: bool = True) -> Step:
    """Return a step about the index of these tests."""
    return Step(action, INDEX, DECLARED, found, known_to_alembic=known_to_alembic)


# What has become of a revision ---------------------------------------------------------------------------------------

NONE, ONE, HALF, MOST, ALL = (0, 4), (1, 4), (2, 4), (3, 4), (4, 4)


@pytest.mark.parametrize(
    ("state", "position", "found", "expected"),
    [
        (None, None, NONE, RevisionState.NEW),
        (None, None, ALL, RevisionState.NEW),
        (None, BELOW, NONE, RevisionState.NEW),
        (None, BELOW, ALL, RevisionState.NEW),
        (None, AT, NONE, RevisionState.ALEMBIC_APPLIED),
        (None, AT, ALL, RevisionState.ALEMBIC_APPLIED),
        (None, PAST, NONE, RevisionState.ALEMBIC_PASSED),
        (None, PAST, ONE, RevisionState.ALEMBIC_APPLIED),
        (None, PAST, ALL, RevisionState.ALEMBIC_APPLIED),
        (APPLYING, None, ALL, RevisionState.APPLYING),
        (APPLYING, BELOW, NONE, RevisionState.APPLYING),
        (APPLYING, AT, ALL, RevisionState.APPLYING),
        (APPLIED, None, NONE, RevisionState.APPLIED),
        (APPLIED, AT, NONE, RevisionState.APPLIED),
        (APPLIED, PAST, NONE, RevisionState.APPLIED),
        (APPLIED, BELOW, NONE, RevisionState.ALEMBIC_REVERTED),
        (APPLIED, BELOW, HALF, RevisionState.ALEMBIC_REVERTED),
        (APPLIED, BELOW, MOST, RevisionState.APPLIED),
        (APPLIED, BELOW, ALL, RevisionState.APPLIED),
        (REVERTING, None, ALL, RevisionState.REVERTING),
        (REVERTING, AT, ALL, RevisionState.REVERTING),
        (REVERTED, None, ALL, RevisionState.REVERTED),
        (REVERTED, BELOW, ALL, RevisionState.REVERTED),
        (REVERTED, AT, MOST, RevisionState.REVERTED),
        (REVERTED, AT, ALL, RevisionState.ALEMBIC_REAPPLIED),
        (REVERTED, PAST, MOST, RevisionState.REVERTED),
        (REVERTED, PAST, ALL, RevisionState.ALEMBIC_REAPPLIED),
        ("of a later version", None, ALL, RevisionState.REVERTING),
    ],
)
def test_the_state_of_a_revision_follows_from_the_record_alembic_and_the_catalog(state, position, found, expected):
    existing, declared = found
    exists = [number < existing for number in range(declared)]

    assert state_of(recorded(state), InAlembic(position), exists) is expected


@pytest.mark.parametrize(
    ("state", "is_applied", "is_undoable", "made_by"),
    [
        (RevisionState.NEW, False, False, OTHERS),
        (RevisionState.ALEMBIC_APPLIED, True, True, A_RUN),
        (RevisionState.ALEMBIC_PASSED, False, False, A_RUN),
        (RevisionState.APPLYING, False, True, A_RUN),
        (RevisionState.APPLIED, True, True, A_RUN),
        (RevisionState.ALEMBIC_REVERTED, False, True, OTHERS),
        (RevisionState.REVERTING, False, True, A_RUN),
        (RevisionState.REVERTED, False, False, OTHERS),
        (RevisionState.ALEMBIC_REAPPLIED, True, True, A_RUN),
    ],
)
def test_the_state_of_a_revision_decides_what_down_may_do_and_who_made_its_indexes(
    state, is_applied, is_undoable, made_by
):
    assert (state.is_applied, state.is_undoable, state.made_by) == (is_applied, is_undoable, made_by)


# Where an index comes from, and what `down` does about it ------------------------------------------------------------

BY_HAND = {NAME: "by_hand"}
KEPT = {NAME: NAME}


@pytest.mark.parametrize(
    ("state", "position", "before", "made", "found", "expected", "down"),
    [
        pytest.param(None, None, {}, {}, SAME, None, Action.DROP, id="no run has applied it"),
        pytest.param(None, AT, {}, {}, SAME, CREATED, Action.DROP, id="Alembic has run it"),
        pytest.param(None, PAST, {}, {}, SAME, CREATED, Action.DROP, id="Alembic is past it"),
        pytest.param(None, AT, {}, {}, OTHER, None, Action.REFUSE, id="Alembic has run it, and another one exists"),
        pytest.param(None, AT, {}, {}, None, None, Action.ABSENT, id="Alembic has run it, and none exists"),
        pytest.param(APPLYING, None, {}, {}, SAME, CREATED, Action.DROP, id="a killed up has begun it"),
        pytest.param(APPLYING, None, {}, {NAME: OID}, SAME, CREATED, Action.DROP, id="a killed up has made it"),
        pytest.param(APPLYING, None, {}, {NAME: ANOTHER}, SAME, ADOPTED, Action.LEAVE, id="it was remade after a kill"),
        pytest.param(APPLYING, None, KEPT, {}, SAME, ADOPTED, Action.LEAVE, id="a killed up has not come to it"),
        pytest.param(APPLYING, None, {}, {}, OTHER, None, Action.LEAVE, id="another one, in a killed up"),
        pytest.param(APPLIED, None, {}, {}, SAME, CREATED, Action.DROP, id="up has made it"),
        pytest.param(APPLIED, None, {}, {}, BROKEN, CREATED, Action.DROP, id="up has made it, and it is broken"),
        pytest.param(APPLIED, None, {}, {}, OTHER, None, Action.REFUSE, id="another one has its name"),
        pytest.param(APPLIED, None, {}, {}, None, None, Action.ABSENT, id="it is missing"),
        pytest.param(APPLIED, None, KEPT, {}, SAME, ADOPTED, Action.LEAVE, id="it is older than up"),
        pytest.param(APPLIED, None, KEPT, {}, OTHER, None, Action.LEAVE, id="another one is older than up"),
        pytest.param(APPLIED, None, BY_HAND, {}, SAME, RENAMED, Action.RENAME_BACK, id="up has renamed it"),
        pytest.param(APPLIED, None, BY_HAND, {}, OTHER, None, Action.LEAVE, id="up has renamed it, another one exists"),
        pytest.param(APPLIED, AT, {}, {}, SAME, CREATED, Action.DROP, id="up has made it, and Alembic follows"),
        pytest.param(APPLIED, PAST, {}, {}, SAME, CREATED, Action.DROP, id="up has made it, and Alembic is past it"),
        pytest.param(REVERTING, None, {}, {}, SAME, CREATED, Action.DROP, id="a killed down has not come to it"),
        pytest.param(REVERTING, None, {}, {NAME: ANOTHER}, SAME, ADOPTED, Action.LEAVE, id="remade in a killed down"),
        pytest.param(REVERTING, None, KEPT, {}, SAME, ADOPTED, Action.LEAVE, id="a killed down leaves it"),
        pytest.param(REVERTED, PAST, KEPT, {}, SAME, ADOPTED, Action.LEAVE, id="down has left it"),
        pytest.param(REVERTED, PAST, {}, {}, SAME, CREATED, Action.DROP, id="Alembic has run it again"),
    ],
)
def test_the_origin_of_an_index_and_what_down_does_about_it(state, position, before, made, found, expected, down):
    record = recorded(state, before, made)
    revision = state_of(record, InAlembic(position), [found is not None])
    context = revert_context(record, InAlembic(position))

    assert origin(step(found), record, revision) == expected
    assert decide_drop(DECLARED, Existing(found), NAME, context) is down


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (RevisionState.APPLIED, CREATED),
        (RevisionState.ALEMBIC_REVERTED, None),
        (RevisionState.REVERTED, None),
        (RevisionState.ALEMBIC_REAPPLIED, CREATED),
    ],
)
def test_an_index_that_exists_after_its_revision_was_reverted_may_be_of_others(state, expected):
    assert origin(step(), recorded(APPLIED), state) == expected


def test_alembic_leaves_an_index_that_has_another_name_with_it():
    assert origin(step(known_to_alembic=False), recorded(APPLIED), RevisionState.ALEMBIC_REVERTED) == CREATED


@pytest.mark.parametrize("before", [KEPT, BY_HAND])
def test_down_drops_an_older_index_only_if_it_is_asked_to(before):
    context = revert_context(recorded(APPLIED, before), InAlembic())

    assert decide_drop(DECLARED, Existing(SAME), NAME, context, Options(include_adopted=True)) is Action.DROP


@pytest.mark.parametrize(
    ("before", "found", "former"),
    [({}, SAME, None), (KEPT, SAME, None), (BY_HAND, SAME, "by_hand"), (BY_HAND, None, None)],
)
def test_an_index_that_up_has_renamed_has_a_former_name(before, found, former):
    assert former_name(step(found), recorded(APPLIED, before)) == former


# What `up` must not take for its own ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "before", "made", "of_step", "listed"),
    [
        pytest.param(None, {}, {}, step(), KEPT, id="it exists before the first run"),
        pytest.param(None, {}, {}, step(None, Action.CREATE), KEPT, id="it may be made before the run comes to it"),
        pytest.param(None, {}, {}, step(BROKEN, Action.REBUILD), KEPT, id="it exists, broken, before the first run"),
        pytest.param(APPLYING, {}, {}, step(), {}, id="a killed up has made it"),
        pytest.param(APPLYING, {}, {}, step(None, Action.CREATE), {}, id="a killed up has begun it"),
        pytest.param(APPLYING, {}, {NAME: ANOTHER}, step(), KEPT, id="it was remade after a kill"),
        pytest.param(APPLYING, KEPT, {}, step(), KEPT, id="a killed up has not come to it"),
        pytest.param(APPLIED, {}, {}, step(), {}, id="up has made it"),
        pytest.param(APPLIED, {}, {}, step(BROKEN, Action.REBUILD), {}, id="up has made it, and it is broken"),
        pytest.param(APPLIED, {}, {}, step(None, Action.CREATE), KEPT, id="up has made it, and it is missing"),
        pytest.param(APPLIED, {}, {}, step(OTHER, Action.REPLACE), KEPT, id="another one has its name"),
        pytest.param(APPLIED, BY_HAND, {}, step(), BY_HAND, id="up has renamed it"),
        pytest.param(REVERTED, {}, {}, step(), KEPT, id="it was made after down"),
        pytest.param(REVERTED, {}, {}, step(BROKEN, Action.REBUILD), {}, id="down has broken it"),
    ],
)
def test_up_records_the_indexes_that_existed_before(state, before, made, of_step, listed):
    record = recorded(state, before, made)
    revision = state_of(record, InAlembic(), [of_step.found is not None])

    assert existed_before([of_step], record, revision) == listed


def test_an_index_that_alembic_has_made_is_not_listed():
    assert existed_before([step()], None, RevisionState.ALEMBIC_APPLIED) == {}


def test_an_index_whose_place_was_taken_stays_listed():
    record = recorded(APPLIED, {INDEX.replaced: NAME})

    assert existed_before([step()], record, RevisionState.APPLIED) == {INDEX.replaced: NAME}


# What a run notes ----------------------------------------------------------------------------------------------------


class Saved(list[tuple[dict[str, str], dict[str, int]]]):
    """What a run has saved: the older names, and the OIDs of what it has made, each time."""

    def __call__(self, record: Record) -> None:
        self.append((dict(record.existed_before), dict(record.made)))


def run_of(before: Mapping[str, str], made: Mapping[str, int] | None = None) -> tuple[Provenance, Saved]:
    """Return the notes of a run that begins with this record, and what it will save."""
    saved = Saved()
    return Provenance(recorded(APPLYING, before, made), saved), saved


def test_a_name_leaves_the_list_right_before_the_statement_that_makes_the_index():
    notes, saved = run_of(KEPT)
    notes.begin(step(None, Action.CREATE), "CREATE INDEX")
    notes.see(SAME)
    notes.finish(step(None, Action.CREATE))

    assert saved == [({}, {}), ({}, {NAME: OID})]
    assert notes.has_seen(INDEX)
    assert notes.existed_before == {}


def test_an_index_of_a_partition_leaves_the_list_once_it_is_gone_and_built_anew():
    notes, saved = run_of({NAME: NAME, "crm.ix_a": "crm.ix_a", "crm.ix_b": "crm.ix_b"})
    whole = Step(Action.CREATE, INDEX, DECLARED, parts=(part_of("ix_a", None), part_of("ix_b", SAME)))
    notes.begin(whole, "CREATE INDEX")

    assert saved == [({"crm.ix_b": "crm.ix_b"}, {})]


def part_of(name: str, found: CatalogEntry | None) -> Part:
    """Return the index of a partition, which this has of it."""
    partition = Partition(1, 2, "crm", 3, "activity_2024", "table", "crm_owner", True)
    return Part(partition, Step(Action.ATTACH, Index(name, "activity_2024", ("a",)), DECLARED, found), False)


def test_a_name_goes_back_on_the_list_if_others_were_faster():
    notes, saved = run_of(KEPT)
    notes.begin(step(None, Action.CREATE), "CREATE INDEX")
    notes.disclaim(step(None, Action.CREATE))

    assert [before for before, _ in saved] == [{}, KEPT]


def test_the_former_name_of_a_renamed_index_is_listed_before_it_is_renamed():
    notes, saved = run_of(KEPT)
    renaming = Step(Action.RENAME, INDEX, DECLARED, other_name="by_hand")
    notes.begin(renaming, "ALTER INDEX")
    notes.finish(renaming)

    assert saved == [(BY_HAND, {})]


def test_a_replaced_index_is_listed_under_its_temporary_name_until_it_is_dropped():
    notes, saved = run_of({})
    replacing = step(OTHER, Action.REPLACE)
    notes.begin(replacing, "CREATE INDEX")
    notes.begin(replacing, "ALTER INDEX")
    notes.finish(replacing)

    assert [before for before, _ in saved] == [{INDEX.replaced: NAME}, {}]


def test_the_oid_of_an_index_that_down_is_about_to_drop_is_noted_and_then_its_name():
    notes, saved = run_of({})
    notes.begin(step(SAME, Action.DROP), "DROP INDEX")
    notes.finish(step(SAME, Action.DROP))

    assert saved == [({}, {NAME: OID})]
    assert notes.existed_before == KEPT


def test_an_index_that_has_its_name_back_is_older_than_the_run():
    notes, saved = run_of({INDEX.replaced: NAME})
    notes.finish(step(OTHER, Action.RENAME_BACK))

    assert saved == [(KEPT, {})]


def test_without_a_record_nothing_is_saved():
    notes = Provenance()
    notes.begin(step(SAME, Action.DROP), "DROP INDEX")

    assert notes.has_seen(INDEX)
