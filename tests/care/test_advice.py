"""The advice about an index follows from what is observed of it; nothing is advised that is not sure."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from examined import WRITE

from indexer.advice import Advice
from indexer.care.advice import KINDS, Others, advice_on
from indexer.care.evidence import Evidence
from indexer.care.needless import Candidate, Costs, Needless, candidates, worst
from indexer.care.observed import Observed, is_needed
from indexer.care.statistics import Statistics
from indexer.care.usage import BUILT, STARTED, TableCounts, Usage
from indexer.catalog import CatalogEntry, Table
from indexer.decide import Action
from indexer.definition import Column, Definition, Expression, desc
from indexer.errors import Command, Hint
from indexer.spec import Index
from indexer.steps import Step
from indexer.text import day

NOW = datetime(2026, 11, 26, 12)
MAY = datetime(2026, 5, 3)
MB = 1024 * 1024


def entry(name: str, *columns: str, **changed: object) -> CatalogEntry:
    """Return a usable B-tree of the table activity."""
    definition = Definition("activity", "btree", tuple(map(Column, columns)))
    given = {part: changed.pop(part) for part in [*changed] if part in Definition._fields}
    return CatalogEntry(name, "index", definition._replace(**given), **changed)


def observed(name: str = "ix_a", declared: bool = True, **changed: object) -> Observed:
    """Return an index that is built as declared."""
    found = entry(name, "a")
    step = Step(Action.KEEP, Index(name, "activity", ("a",)), found.definition, found) if declared else None
    table = Table("activity", "table", frozenset("ab"), bytes=400 * MB)
    return Observed(name, "activity", step, found, table, None, None, None, None, None, False)._replace(**changed)


def others(**changed: object) -> Others:
    """Return what is known beside that."""
    statements = "DROP INDEX {}".format, "REINDEX INDEX {}".format, "CREATE INDEX {0} ON {1.table} ({1.key[0]})".format
    alone = Others((), {}, (), {}, "on this server alone", NOW, *statements)
    return alone._replace(**changed)


def said(index: Observed, **known: object) -> dict[str, str]:
    """Return the texts of the advice by kind."""
    return {advice.kind: WRITE(advice.text) for advice in advice_on(index, others(**known))}


# Bloated --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "source", "text"),
    [
        (18, "baseline", "39 MB; a rebuild would leave about 18 MB, measured against the build of 3 May."),
        (19, "learned", "39 MB; a rebuild would leave about 19 MB, measured against its state of 3 May, the best"),
        (18, "exact", "39 MB; a rebuild would leave about 18 MB, by reading all of it."),
        (18, "statistics", "39 MB; a rebuild would leave about 18 MB, by the statistics of its columns."),
    ],
)
def test_a_rebuild_is_advised_by_what_it_would_leave(after, source, text):
    moment = MAY if source in ("baseline", "learned") else None
    advice = said(observed(evidence=Evidence(39 * MB, after * MB, source, moment)))["bloated"]

    assert advice.startswith(f"ix_a: {text}")
    assert advice.endswith("Rebuild it: python cli.py reindex ix_a")


@pytest.mark.parametrize("after", [20, 39, None])
def test_below_twice_the_size_or_without_evidence_no_rebuild_is_advised(after):
    assert said(observed(evidence=Evidence(39 * MB, after and after * MB, "baseline", MAY))) == {}


def test_an_index_that_is_not_declared_is_rebuilt_by_a_statement():
    bloated = observed(declared=False, evidence=Evidence(39 * MB, 18 * MB, "exact", None))

    assert said(bloated)["bloated"].endswith("Rebuild it: REINDEX INDEX ix_a;")


def test_a_day_is_said_with_its_year_where_that_is_another():
    assert (day(MAY, NOW), day(datetime(2025, 12, 31), NOW)) == ("3 May", "31 December 2025")


def test_an_invalid_index_that_is_not_as_declared_is_compared_first():
    found = entry("ix_a", "b", valid=False)
    step = Step(Action.REFUSE, Index("ix_a", "activity", ("a",)), entry("ix_a", "a").definition, found)

    assert said(observed(step=step, entry=found))["invalid"].endswith("Compare: python cli.py check")


# Unused ---------------------------------------------------------------------------------------------------------------


def usage(days: float, scans: int = 0, is_known_built: bool = True) -> Usage:
    return Usage(scans, 0, 0, 0, None, NOW - timedelta(days), BUILT, is_known_built, 1)


def test_an_index_that_nothing_has_used_is_taken_out_by_a_revision_and_never_dropped():
    since = "since 22 October (35 days), when it was built, on this server alone; 2 standbys were not asked."
    text = said(observed(usage=usage(35)), where="on this server alone; 2 standbys were not asked")["unused"]

    assert text.startswith(f"Nothing has used ix_a {since} To take it out with a next revision: python cli.py new ")
    assert "DROP" not in text


def test_deep_checks_are_no_use():
    assert "unused" in said(observed(usage=usage(300, scans=2000)._replace(own=2000)))


@pytest.mark.parametrize(
    "changed",
    [
        {"usage": usage(34.9)},
        {"usage": usage(300, scans=1)},
        {"usage": usage(300, scans=2001)._replace(own=2000)},
        {"usage": usage(300)._replace(since=None)},
        {"usage": None},
        {"usage": usage(300), "is_needed": True},
        {"usage": usage(300), "entry": entry("ix_a", "a", valid=False, worker=7)},
    ],
)
def test_nothing_is_said_of_an_index_that_is_needed_or_was_used_or_not_counted_for_long_enough(changed):
    assert said(observed(**changed)) == {}


def test_an_index_whose_build_is_not_known_is_never_called_unused():
    """It may have been built a moment ago, as by hand or by a restore into a server that has counted for months."""
    used = usage(206, is_known_built=False)._replace(begun_by=STARTED)

    assert "unused" not in said(observed(declared=False, usage=used))
    assert "unused" not in said(observed(usage=used))
    assert "unused" in said(observed(usage=usage(206)))


@pytest.mark.parametrize(
    ("index", "needed"),
    [
        (entry("ix", "a"), False),
        (entry("ix", "a", unique=True), True),
        (entry("ix", "a", constraint="pk"), True),
        (entry("ix", "a", needed_by="REPLICA IDENTITY"), True),
        (entry("ix", "contact_id"), True),
        (entry("ix", "contact_id", "a"), True),
        (entry("ix", "a", "contact_id"), False),
        (entry("ix", "y", "x"), True),
        (entry("ix", "x"), False),
        (entry("ix", "contact_id", predicate="a = 1"), False),
    ],
)
def test_an_index_is_needed_by_its_constraint_or_as_the_only_one_of_a_foreign_key(index, needed):
    assert is_needed(index, [index], [("contact_id",), ("x", "y")]) == needed


def test_another_index_on_the_columns_of_a_foreign_key_makes_it_free():
    index, second, partial = (
        entry("ix", "contact_id"),
        entry("second", "contact_id", "a"),
        entry("third", "contact_id", predicate="a = 1"),
    )

    assert not is_needed(index, [index, second], [("contact_id",)])
    assert is_needed(index, [index, partial], [("contact_id",)])
    assert is_needed(index, [index, second._replace(valid=False)], [("contact_id",)])


def test_a_hash_index_of_few_values_is_replaced_in_a_revision():
    text = said(observed(), hash_distinct={"ix_a": "ix_a has about 4 different values"})["hash distinct"]

    assert text == (
        "ix_a has about 4 different values. To replace it with a B-tree in a next revision:"
        " python cli.py new 'replace ix_a'"
    )


def test_a_hash_index_of_few_values_that_is_not_declared_is_replaced_by_statements():
    text = said(observed(declared=False), hash_distinct={"ix_a": "ix_a has about 4 different values"})["hash distinct"]

    assert text == (
        "ix_a has about 4 different values. Build a B-tree instead: CREATE INDEX ix_a_btree ON activity (a);"
        " Then drop it: DROP INDEX ix_a;"
    )


# Statistics -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statistics", "flaw"),
    [
        (Statistics("t", 1000, True, MAY, 150), None),
        (Statistics("t", 1000, True, MAY, 151), "151 rows of t have changed since its statistics were gathered"),
        (
            Statistics("t", 1000, True, None, 0, True),
            "the server no longer knows what has changed in t, as after a crash",
        ),
        (Statistics("t", 0, True, None, 0, True), None),
        (Statistics("t", 1000, True, None, None, True), None),
        (Statistics("t", 1000, None, None, 10), None),
        (Statistics("t", 1000, False), "t has 1,000 rows and no statistics"),
        (Statistics("t", 0, False), None),
        (Statistics("t", None, False), "t is not empty on disk and has no statistics"),
        (Statistics("t", None, None), None),
        (Statistics("t", 0, False, None, 5), "t has 5 rows and no statistics"),
        (Statistics("t", 9, True, None, 191, False, 200), "t has 9 rows, and its statistics were gathered at 200"),
    ],
)
def test_statistics_are_old_where_that_is_known(statistics, flaw):
    assert (statistics.flaw or "")[: len(flaw or "")] == (flaw or "")
    assert (statistics.flaw is None) == (flaw is None)


def test_an_index_on_an_expression_without_statistics_is_a_reason_to_gather_them():
    text = said(observed(), without_statistics={"activity": ["ix_lower"]})["statistics"]

    assert text == "ix_lower is on an expression without statistics. Gather new statistics: python cli.py analyze"


# Needless -------------------------------------------------------------------------------------------------------------

WIDE = entry("wide", "processed", "event_type")
NARROW = entry("narrow", "event_type")


def test_a_wide_index_with_the_column_in_its_key_is_a_candidate():
    assert candidates([NARROW], [NARROW, WIDE]) == [
        Candidate("activity", "narrow", "wide", "event_type", ("processed", "event_type"))
    ]


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (entry("narrow", "processed"), WIDE),  # that is superfluous, on every version
        (entry("narrow", "event_type", "processed"), WIDE),
        (entry("narrow", "event_type", unique=True), WIDE),
        (entry("narrow", "event_type", predicate="a = 1"), WIDE),
        (entry("narrow", "event_type", method="hash"), WIDE),
        (NARROW, WIDE._replace(valid=False)),
        (NARROW, entry("wide", "processed", "event_type", predicate="a = 1")),
        (NARROW, entry("wide", "processed", "event_type", table="another")),
        (NARROW, entry("wide", "processed", key=(Column("a"), Column("event_type", opclass="text_pattern_ops")))),
        (NARROW, entry("wide", "processed", key=(Expression("lower(a)"), Column("event_type")))),
    ],
)
def test_other_indexes_are_no_candidates(narrow, wide):
    assert candidates([narrow], [narrow, wide]) == []


def test_a_descending_column_is_a_candidate_all_the_same():
    assert candidates([NARROW], [entry("wide", "a", key=(Column("a"), desc("event_type")))])


def test_a_narrow_index_is_needless_only_if_no_value_costs_much_more_without_it():
    cheap, dear = Costs(74.8, 5.0, 13.9), Costs(660.0, 130.0, 408.0)

    assert worst([cheap, Costs(500.0, 20.0, 25.0)]) == cheap
    assert worst([cheap, dear]) is None
    assert worst([cheap, Costs(100.0, 5.0, float("inf"))]) is None
    assert worst([]) is None


def test_that_an_index_is_nearly_needless_is_said_with_the_version_and_the_costs():
    (candidate,) = candidates([NARROW], [WIDE])
    found = Needless(candidate, Costs(74.8, 5.0, 13.9), "18.4")
    text = said(observed("narrow"), needless=(found,))["needless"]

    assert text.startswith(
        "narrow is nearly needless on this server version (18.4): without it, the planner finds a value of event_type"
        " with wide at a cost of 84 instead of 75. Only ORDER BY event_type needs it."
    )


def test_an_index_that_may_be_corrupt_is_said_as_check_says_it():
    suspect = Advice(
        "suspect", "ix_a", "ix_a", Hint("ix_a may be corrupt. Check it: ", Command("check", "--deep", "ix_a"))
    )

    assert said(observed(), said=(suspect,)) == {
        "suspect": "ix_a may be corrupt. Check it: python cli.py check --deep ix_a"
    }
    assert said(observed("ix_b"), said=(suspect,)) == {}


# Order ----------------------------------------------------------------------------------------------------------------


def test_the_most_urgent_advice_comes_first():
    index = observed(
        evidence=Evidence(39 * MB, 18 * MB, "exact", None),
        usage=usage(100),
        counts=TableCounts(1, 1),
        statistics=Statistics("activity", 9, False),
    )

    assert [*said(index)] == [kind for kind in KINDS if kind in ("bloated", "statistics", "unused")]
