"""The decision about one index, as a table: what is declared, what is found, what follows. No database here."""

import pytest

from indexer import Index, desc
from indexer.catalog import CatalogEntry, IndexFile
from indexer.decide import Action, Existing, RevertContext, compare, decide, decide_drop, decide_rebuild
from indexer.definition import Definition, Difference, differences
from indexer.options import DEFAULTS, Options
from indexer.steps import Step

INDEX = Index("ix_activity_created", "activity", ("conversation_id", desc("created_at")))
DECLARED = Definition("activity", "btree", ("conversation_id", "created_at DESC"))
WORKER = 4711

SAME = CatalogEntry("ix_activity_created", "index", DECLARED)
BROKEN = SAME._replace(valid=False)
IN_BUILD = BROKEN._replace(worker=WORKER)
TABLE = CatalogEntry("ix_activity_created", "table")

OTHER_DEFINITIONS = {
    "table": DECLARED._replace(table="campaign"),
    "method": DECLARED._replace(method="hash"),
    "column": DECLARED._replace(key=("conversation_id", "updated_at DESC")),
    "order of columns": DECLARED._replace(key=("created_at DESC", "conversation_id")),
    "direction": DECLARED._replace(key=("conversation_id", "created_at")),
    "fewer columns": DECLARED._replace(key=("conversation_id",)),
    "collation": DECLARED._replace(key=('conversation_id COLLATE "C"', "created_at DESC")),
    "unique": DECLARED._replace(unique=True),
    "include": DECLARED._replace(include=("status",)),
    "predicate": DECLARED._replace(predicate="(status IS NULL)"),
    "nulls": DECLARED._replace(nulls_distinct=False),
}
DIFFERENT = [pytest.param(SAME._replace(definition=other), id=part) for part, other in OTHER_DEFINITIONS.items()]


REPLACE, ADOPT, INCLUDE = Options(replace=True), Options(adopt_renamed=True), Options(include_adopted=True)
OTHER = SAME._replace(definition=OTHER_DEFINITIONS["direction"])
REPLACING = SAME._replace(name=INDEX.replacing)


def up(found: CatalogEntry | None, options: Options = DEFAULTS, **others: CatalogEntry) -> Action:
    """Return what `up` decides about the index of these tests."""
    return decide(DECLARED, Existing(found, **others), options)


def drop(found: CatalogEntry | None, *existed_before: str) -> Action:
    """Return what `down` decides about the index, with these names listed as older."""
    return down(found, RevertContext({name: name for name in existed_before}))


def down(
    found: CatalogEntry | None, past: RevertContext, options: Options = DEFAULTS, **others: CatalogEntry
) -> Action:
    """Return what `down` decides in this context."""
    return decide_drop(DECLARED, Existing(found, **others), INDEX.name, past, options)


@pytest.mark.parametrize(
    ("found", "action"),
    [
        pytest.param(None, Action.CREATE, id="missing"),
        pytest.param(SAME, Action.KEEP, id="the same"),
        pytest.param(SAME._replace(worker=WORKER), Action.KEEP, id="the same, with another session working on it"),
        pytest.param(BROKEN, Action.REBUILD, id="not valid"),
        pytest.param(SAME._replace(ready=False), Action.REBUILD, id="not ready"),
        pytest.param(SAME._replace(live=False), Action.REBUILD, id="not live"),
        pytest.param(SAME._replace(valid=False, ready=False, live=False), Action.REBUILD, id="half dropped"),
        pytest.param(IN_BUILD, Action.WAIT, id="being built by another session"),
        pytest.param(SAME._replace(live=False, worker=WORKER), Action.WAIT, id="being dropped by another session"),
        pytest.param(TABLE, Action.REFUSE, id="a table"),
        pytest.param(TABLE._replace(kind="view"), Action.REFUSE, id="a view"),
    ],
)
def test_up_decides_by_what_has_the_name(found, action):
    assert up(found) is action


@pytest.mark.parametrize(
    ("found", "action"),
    [
        pytest.param(None, Action.ABSENT, id="missing"),
        pytest.param(SAME, Action.DROP, id="the same"),
        pytest.param(SAME._replace(worker=WORKER), Action.DROP, id="the same, with another session working on it"),
        pytest.param(BROKEN, Action.DROP, id="not valid"),
        pytest.param(SAME._replace(valid=False, ready=False, live=False), Action.DROP, id="half dropped"),
        pytest.param(IN_BUILD, Action.WAIT, id="being built by another session"),
        pytest.param(TABLE, Action.REFUSE, id="a table"),
    ],
)
def test_down_decides_by_what_has_the_name(found, action):
    assert drop(found) is action


@pytest.mark.parametrize("found", DIFFERENT)
def test_an_index_that_differs_in_any_part_is_neither_kept_nor_dropped(found):
    assert up(found) is Action.REFUSE
    assert drop(found) is Action.REFUSE


@pytest.mark.parametrize("found", DIFFERENT)
def test_a_broken_index_of_another_definition_is_neither_rebuilt_nor_dropped(found):
    broken = found._replace(valid=False)
    assert up(broken) is Action.REFUSE
    assert drop(broken) is Action.REFUSE
    assert up(broken._replace(worker=WORKER)) is Action.REFUSE


@pytest.mark.parametrize("found", [SAME, BROKEN, IN_BUILD, TABLE, *DIFFERENT])
def test_down_keeps_every_index_that_is_older_than_up(found):
    assert drop(found, INDEX.name) is Action.LEAVE


def test_an_older_index_that_is_gone_needs_no_action():
    assert drop(None, INDEX.name) is Action.ABSENT


def test_only_the_names_that_are_listed_as_older_are_left():
    assert drop(SAME, "ix_activity_type") is Action.DROP


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (None, "missing"),
        (SAME, "valid"),
        (BROKEN, "invalid"),
        (IN_BUILD, "in progress"),
        (TABLE, "table"),
        (SAME._replace(definition=OTHER_DEFINITIONS["direction"]), "different"),
        (BROKEN._replace(definition=OTHER_DEFINITIONS["direction"]), "different"),
    ],
)
def test_the_state_is_one_word(found, state):
    assert Step(Action.KEEP, INDEX, DECLARED, found).state == state


def test_looking_keeping_leaving_and_refusing_change_nothing():
    idle = {action for action in Action if not Step(action, INDEX, DECLARED).changes}
    assert idle == {Action.KEEP, Action.LEAVE, Action.ABSENT, Action.REFUSE, Action.ANALYZE}


def test_a_duplicate_is_renamed_only_when_that_is_allowed():
    duplicate = SAME._replace(name="by_hand")
    assert up(None, duplicate=duplicate) is Action.CREATE
    assert up(None, ADOPT, duplicate=duplicate) is Action.RENAME
    assert up(SAME, ADOPT, duplicate=duplicate) is Action.KEEP


@pytest.mark.parametrize(
    ("found", "others", "action"),
    [
        pytest.param(OTHER, {}, Action.REPLACE, id="nothing begun"),
        pytest.param(OTHER, {"replacing": REPLACING}, Action.REPLACE, id="built beside it"),
        pytest.param(OTHER, {"replacing": REPLACING._replace(valid=False)}, Action.REPLACE, id="half built beside it"),
        pytest.param(
            OTHER,
            {"replacing": REPLACING._replace(valid=False, worker=WORKER)},
            Action.WAIT,
            id="being built beside it",
        ),
        pytest.param(OTHER, {"conflict": OTHER}, Action.REFUSE, id="something else under a name it needs"),
        pytest.param(SAME, {"conflict": OTHER}, Action.KEEP, id="something else under a name that is not needed"),
        pytest.param(SAME, {"replaced": OTHER}, Action.REPLACE, id="only the old one to be dropped"),
        pytest.param(SAME, {}, Action.KEEP, id="done"),
        pytest.param(None, {}, Action.CREATE, id="missing"),
        pytest.param(TABLE, {}, Action.REFUSE, id="a table"),
        pytest.param(
            SAME._replace(definition=OTHER_DEFINITIONS["table"]), {}, Action.REFUSE, id="an index of another table"
        ),
        pytest.param(
            SAME._replace(definition=DECLARED._replace(constraint="key")), {}, Action.REFUSE, id="of a constraint"
        ),
    ],
)
def test_an_interrupted_replacement_continues_where_it_stopped(found, others, action):
    assert up(found, REPLACE, **others) is action


def test_an_index_that_had_another_name_gets_it_back():
    was = RevertContext({INDEX.name: "by_hand"})
    assert down(SAME, was) is Action.RENAME_BACK
    assert down(OTHER, was) is Action.LEAVE
    assert down(None, was) is Action.ABSENT


def test_an_older_index_is_dropped_only_if_an_option_allows_it():
    for was in (RevertContext({INDEX.name: INDEX.name}), RevertContext({INDEX.name: "by_hand"})):
        assert down(SAME, was, INCLUDE) is Action.DROP
        assert down(OTHER, was, INCLUDE) is Action.REFUSE


def test_down_keeps_the_indexes_that_an_unfinished_run_has_not_reached():
    assert down(OTHER, RevertContext(unfinished=True)) is Action.LEAVE
    assert down(SAME, RevertContext(unfinished=True)) is Action.DROP


def test_an_index_that_alembic_built_under_another_name_is_dropped_if_alembic_has_run():
    assert down(None, RevertContext(alembic_has_run=True), alembic_index=SAME) is Action.DROP
    assert down(None, RevertContext(), alembic_index=SAME) is Action.ABSENT
    assert down(None, RevertContext(alembic_has_run=True)) is Action.ABSENT


def test_an_index_with_dependent_objects_is_never_replaced():
    assert up(OTHER._replace(needed_by="a foreign key"), REPLACE) is Action.REFUSE


def test_the_names_of_a_replacement_are_never_cut_by_the_server():
    longest = Index("i" * 61 + "é", "activity", ("id",))
    assert all(len(name.encode()) <= 63 for name in longest.names)
    assert len(set(longest.names)) == 3


# Differences ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "difference"),
    [
        ("table", Difference("table", "activity", "campaign")),
        ("method", Difference("method", "btree", "hash")),
        ("direction", Difference("key", "conversation_id, created_at DESC", "conversation_id, created_at")),
        ("unique", Difference("unique", "no", "yes")),
        ("include", Difference("include", "none", "status")),
        ("predicate", Difference("predicate", "none", "(status IS NULL)")),
        ("nulls", Difference("nulls_distinct", "yes", "no")),
    ],
)
def test_a_difference_is_described_in_words(part, difference):
    assert differences(DECLARED, OTHER_DEFINITIONS[part]) == (difference,)


def test_all_differences_are_listed_in_the_order_of_a_definition():
    found = Definition("campaign", "hash", ("status",), predicate="(status IS NULL)")
    assert [difference.part for difference in differences(DECLARED, found)] == ["table", "method", "key", "predicate"]


def test_the_same_definition_has_no_differences():
    assert differences(DECLARED, DECLARED._replace()) == ()


def test_an_object_that_is_no_index_differs_in_its_kind():
    assert compare(DECLARED, TABLE._replace(kind="view")) == (Difference("kind", "index", "view"),)


@pytest.mark.parametrize(
    ("found", "file", "before", "action"),
    [
        pytest.param(None, None, IndexFile(1), Action.ABSENT, id="dropped meanwhile"),
        pytest.param(SAME, IndexFile(1), None, Action.REINDEX, id="valid"),
        pytest.param(SAME, IndexFile(1), IndexFile(1), Action.REINDEX, id="as it was chosen"),
        pytest.param(SAME, IndexFile(2), IndexFile(1), Action.WAIT, id="rebuilt meanwhile"),
        pytest.param(SAME, IndexFile(), IndexFile(), Action.REINDEX, id="on a database that cannot tell"),
        pytest.param(SAME, IndexFile(1, WORKER), IndexFile(1), Action.WAIT, id="being rebuilt"),
        pytest.param(IN_BUILD, IndexFile(1), IndexFile(1), Action.WAIT, id="being built"),
        pytest.param(BROKEN, IndexFile(1), IndexFile(1), Action.REFUSE, id="invalid"),
        pytest.param(OTHER, IndexFile(1), IndexFile(1), Action.REFUSE, id="different"),
        pytest.param(TABLE, IndexFile(1), IndexFile(1), Action.REFUSE, id="a table"),
    ],
)
def test_a_rebuild_is_decided_from_the_index_and_its_file(found, file, before, action):
    assert decide_rebuild(DECLARED, found, file, before) is action
