"""What exists and a decision become a step with its statements; no database is needed for that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from peewee import SqliteDatabase

from indexer import Index
from indexer.catalog import CatalogEntry
from indexer.decide import Action, RevertContext
from indexer.definition import Column, Definition
from indexer.options import DEFAULTS, Options
from indexer.preflight import conflict_hint
from indexer.sqlite.dialect import SqliteDialect
from indexer.steps import Step, StepPlanner

INDEX = Index("ix_note_kind", table="note", columns=("kind",), alembic_name_on_sqlite="ix_kind")
DECLARED = Definition("note", "btree", (Column("kind"),))
OTHER = DECLARED._replace(key=(Column("text"),))
CREATE = 'CREATE INDEX "ix_note_kind" ON "note" ("kind")'
DROP = 'DROP INDEX "ix_note_kind"'
REPLACE = Options(replace=True)


def entry(name: str = INDEX.name, definition: Definition | None = DECLARED, **flags: Any) -> CatalogEntry:
    """Return what has a name: an index, or a table if there is no definition."""
    return CatalogEntry(name, "index" if definition else "table", definition, **flags)


def planner(*entries: CatalogEntry, options: Options = DEFAULTS, replaced: Iterable[str] = ()) -> StepPlanner:
    """Return a planner for a catalog with these entries."""

    def find(names: Sequence[str], sizes: bool = False) -> dict[str, CatalogEntry]:
        return {each.name: each for each in entries if each.name in names}

    catalog: Any = SimpleNamespace(schema=None, find=find, indexes_on=lambda tables: list(entries))
    dialect = SqliteDialect(SqliteDatabase(":memory:"), catalog)
    return StepPlanner(catalog, dialect, options, frozenset({INDEX.name}), frozenset(replaced))


def up(*entries: CatalogEntry, **how: Any) -> Step:
    """Return the step of ``up``."""
    return planner(*entries, **how).up([INDEX])[0]


def down(context: RevertContext, *entries: CatalogEntry, **how: Any) -> Step:
    """Return the step of ``down``."""
    return planner(*entries, **how).down([INDEX], context)[0]


@pytest.mark.parametrize(
    ("entries", "options", "action", "statements"),
    [
        pytest.param([], DEFAULTS, Action.CREATE, (CREATE,), id="missing"),
        pytest.param([entry()], DEFAULTS, Action.KEEP, (), id="the same"),
        pytest.param([entry(valid=False)], DEFAULTS, Action.REBUILD, (DROP, CREATE), id="invalid"),
        pytest.param([entry(definition=OTHER)], DEFAULTS, Action.REFUSE, (), id="different"),
        pytest.param([entry(definition=OTHER)], REPLACE, Action.REPLACE, (DROP, CREATE), id="to be replaced"),
        pytest.param([entry(definition=None)], REPLACE, Action.REFUSE, (), id="a table"),
        pytest.param(
            [entry("by_hand")],
            Options(adopt_renamed=True),
            Action.RENAME,
            ('DROP INDEX "by_hand"', CREATE),
            id="a duplicate, to be renamed",
        ),
    ],
)
def test_up_takes_a_step_with_the_statements_of_its_action(entries, options, action, statements):
    step = up(*entries, options=options)
    assert (step.action, step.statements) == (action, statements)


def test_a_duplicate_is_named_and_an_index_of_the_chain_is_none():
    assert up(entry("by_hand")).other_name == "by_hand"
    chain = planner(entry("by_hand"))._replace(declared=frozenset({INDEX.name, "by_hand"}))
    assert chain.up([INDEX])[0].other_name is None


def test_a_run_looks_for_duplicates_only_to_rename_them():
    assert planner(entry("by_hand")).next_up(INDEX).other_name is None
    assert planner(entry("by_hand"), options=Options(adopt_renamed=True)).next_up(INDEX).other_name == "by_hand"


def test_an_index_put_aside_is_a_leftover_only_if_that_is_on_record():
    aside = entry(INDEX.replaced, OTHER)
    assert planner(aside, replaced=[INDEX.replaced]).is_leftover(INDEX, aside)
    assert not planner(aside).is_leftover(INDEX, aside)
    assert up(entry(definition=OTHER), aside, options=REPLACE).conflict == aside


@pytest.mark.parametrize(
    ("context", "entries", "action", "statements"),
    [
        pytest.param(RevertContext(), [entry()], Action.DROP, (DROP,), id="created"),
        pytest.param(RevertContext({INDEX.name: INDEX.name}), [entry()], Action.LEAVE, (), id="adopted"),
        pytest.param(
            RevertContext({INDEX.name: "by_hand"}),
            [entry()],
            Action.RENAME_BACK,
            (DROP, 'CREATE INDEX "by_hand" ON "note" ("kind")'),
            id="renamed",
        ),
        pytest.param(RevertContext(), [], Action.ABSENT, (), id="missing"),
        pytest.param(
            RevertContext(alembic_has_run=True),
            [entry("ix_kind")],
            Action.DROP,
            ('DROP INDEX "ix_kind"',),
            id="Alembic's",
        ),
    ],
)
def test_down_takes_a_step_with_the_statements_of_its_action(context, entries, action, statements):
    step = down(context, *entries)
    assert (step.action, step.statements) == (action, statements)


# The hint about names that something else has ------------------------------------------------------------------------

REPLACEABLE = up(entry(definition=OTHER))
TABLE = up(entry(definition=None))


@pytest.mark.parametrize(
    ("refused", "direction", "options", "hint"),
    [
        (
            [REPLACEABLE],
            "up",
            DEFAULTS,
            "To replace ix_note_kind, run: indexer up --replace. "
            "Or rename or drop ix_note_kind if nothing needs it, then run: indexer up",
        ),
        ([TABLE], "up", DEFAULTS, "Give ix_note_kind another name in the revision file, then run: indexer up"),
        (
            [REPLACEABLE],
            "up",
            REPLACE,
            "Rename or drop ix_note_kind if nothing needs it, then run: indexer up --replace",
        ),
        (
            [TABLE, REPLACEABLE],
            "up",
            DEFAULTS,
            "Give ix_note_kind another name in the revision file, then replace ix_note_kind: indexer up --replace",
        ),
        (
            [REPLACEABLE],
            "down",
            DEFAULTS,
            "Replace ix_note_kind with what is declared first: indexer up --replace. "
            "Or rename or drop ix_note_kind if nothing needs it, then run: indexer down",
        ),
        ([TABLE], "down", DEFAULTS, "Rename ix_note_kind, then run: indexer down"),
    ],
)
def test_a_conflict_is_resolved_by_what_can_be_replaced_and_what_cannot(refused, direction, options, hint):
    assert str(conflict_hint(refused, direction, options)) == hint
