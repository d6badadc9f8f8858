"""The record that a migration declares: what it says about each database, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from indexer import Column, Expression, Index, Variant, desc
from indexer.definition import Definition
from indexer.records.revisions import checksum
from migrate_10992629d68e import INDEXES

INDEX = Index("ix_activity_conversation_created", "activity", ("conversation_id", desc("created_at")))


def test_the_key_has_a_direction_for_each_column():
    assert INDEX.key == (Column("conversation_id"), Column("created_at", descending=True))
    assert [str(column) for column in INDEX.key] == ["conversation_id", "created_at DESC"]


def test_an_index_is_a_whole_btree_unless_it_says_otherwise():
    assert INDEX.on_postgresql == Variant(using="btree", where=None)
    assert not INDEX.unique


def test_a_name_may_have_63_bytes_and_no_more():
    assert Index("ix_" + "a" * 60, "activity", ("id",))
    with pytest.raises(ValueError, match="longer than 63 bytes"):
        Index("ix_" + "a" * 61, "activity", ("id",))


def test_a_name_is_measured_in_bytes_not_in_letters():
    with pytest.raises(ValueError, match="longer than 63 bytes"):
        Index("ix_" + "é" * 31, "activity", ("id",))


@pytest.mark.parametrize("columns", ["phone", (), []], ids=["a string", "an empty tuple", "an empty list"])
def test_columns_are_a_tuple_with_something_in_it(columns):
    with pytest.raises(ValueError, match="needs its columns as a tuple"):
        Index("ix_contact_phone", "contact", columns)


@pytest.mark.parametrize("method", ["", "btree (x); DROP TABLE contact; --", "two words"])
def test_an_access_method_is_a_single_name(method):
    with pytest.raises(ValueError, match="is not the name of an access method"):
        Variant(using=method)


def test_desc_takes_a_name_a_column_or_an_expression():
    assert desc("made") == Column("made", descending=True)
    assert desc(Column("made", nulls="last")) == Column("made", descending=True, nulls="last")
    assert desc(Expression("lower(email)")) == Expression("lower(email)", descending=True)


def test_each_database_has_its_variant():
    index = Index(
        "ix_contact_email",
        "contact",
        (Column("email", opclass="gin_trgm_ops"),),
        include=("id",),
        where="email <> ''",
        on_postgresql=Variant("gin", where="email IS NOT NULL", storage={"fastupdate": False}),
        on_sqlite=Variant(columns=(Column("email", collation="NOCASE"),)),
    )
    assert index.postgresql == Definition(
        "contact",
        "gin",
        (Column("email", opclass="gin_trgm_ops"),),
        include=("id",),
        predicate="email IS NOT NULL",
        storage=("fastupdate=off",),
    )
    assert index.sqlite == Definition(
        "contact", "btree", (Column("email", collation="NOCASE"),), predicate="email <> ''"
    )


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a column that is no name": ({"columns": (7,)}, "needs its columns as a tuple"),
    "a column without a name": ({"columns": (Column(""),)}, "needs its columns as a tuple"),
    "desc of no name": ({"columns": (desc(7),)}, "needs its columns as a tuple"),  # type: ignore[arg-type]
    "columns of a variant": ({"on_sqlite": Variant(columns="email")}, "needs its columns as a tuple"),
    "include as a string": ({"include": "status"}, "needs the columns to INCLUDE as a tuple of names"),
    "include of a column": ({"include": (Column("status"),)}, "needs the columns to INCLUDE as a tuple of names"),
    "an empty expression": ({"columns": (Expression(" "),)}, "needs SQL text"),
    "an expression that is no text": ({"columns": (Expression(7),)}, "needs SQL text"),  # type: ignore[arg-type]
    "a control character": ({"columns": (Expression("lower(email)\x1b"),)}, "without control characters"),
    "a comment": ({"columns": (Expression("lower(email) -- folded"),)}, "has a comment"),
    "an open parenthesis": ({"columns": (Expression("lower(email"),)}, "each parenthesis closed"),
    "two expressions": ({"columns": (Expression("lower(email)), (id"),)}, "each parenthesis closed"),
    "a list of expressions": ({"columns": (Expression("first, lower(last)"),)}, "make each of them a part of columns"),
    "a list in parentheses": ({"columns": (Expression("(first, last)"),)}, "has several, separated by commas"),
    "a list of conditions": ({"where": "kind = 'a', id > 1"}, "join them with AND"),
    "two statements": ({"where": "true; DROP TABLE contact"}, "needs one expression"),
    "a column as an expression": ({"columns": (Expression("(email)"),)}, "leave Expression out"),
    "a quoted column as an expression": ({"columns": (Expression('"E mail"'),)}, "leave Expression out"),
    "a collation in an expression": ({"columns": (Expression('(email COLLATE "C")'),)}, "collation=..."),
    "an order of NULLs": ({"columns": (Column("email", nulls="FIRST"),)}, "use 'first' or 'last'"),
    "a direction": ({"columns": (Column("email", "desc"),)}, "use True or False"),  # type: ignore[arg-type]
    "a collation": ({"columns": (Column("email", collation=""),)}, "name a collation"),
    "an operator class": ({"columns": (Column("email", opclass="gin; DROP"),)}, "name an operator class"),
    "a predicate": ({"where": ""}, "needs SQL text"),
    "a predicate of a variant": ({"on_sqlite": Variant(where="a -- b")}, "has a comment"),
    "a method on SQLite": ({"on_sqlite": Variant("hash")}, "SQLite has no access methods"),
    "a parameter on SQLite": ({"on_sqlite": Variant(storage={"fillfactor": 70})}, "SQLite has no access methods"),
}


@pytest.mark.parametrize(("wrong", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_declared_is_said(wrong, said):
    with pytest.raises(ValueError, match="ix_email") as refused:
        Index(**{"name": "ix_email", "table": "contact", "columns": ("email",), **wrong})
    assert said in str(refused.value)


@pytest.mark.parametrize("storage", [{"fill factor": 70}, {7: 70}, {"fillfactor": None}, {"fillfactor": "7\0"}])
def test_a_storage_parameter_is_a_name_and_a_plain_value(storage):
    with pytest.raises(ValueError, match="is not a storage parameter"):
        Variant(storage=storage)


@pytest.mark.parametrize(
    "sql",
    [
        "lower(email) || '--;('",
        "(a) || (b)",
        'left(email COLLATE "C", 3)',
        "note ->> 'kind'",
        "a\n+ b",
        "x = ANY (ARRAY['a,', b])",
        "(a, b) = (b, a)",
    ],
)
def test_any_other_expression_can_be_declared(sql):
    assert Index("ix", "contact", (Expression(sql),)).key == (Expression(sql),)


def test_the_checksum_on_record_of_the_ten_does_not_change():
    assert checksum(INDEXES) == "21bc8e8d07dc4f57"


OTHERS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "an expression": {"columns": (Expression("lower(email)"),)},
    "NULLs": {"columns": (Column("email", nulls="first"),)},
    "a collation": {"columns": (Column("email", collation="C"),)},
    "an operator class": {"columns": (Column("email", opclass="text_pattern_ops"),)},
    "INCLUDE": {"include": ("id",)},
    "a predicate": {"where": "email IS NOT NULL"},
    "a predicate on PostgreSQL": {"on_postgresql": Variant(where="email IS NOT NULL")},
    "a predicate on SQLite": {"on_sqlite": Variant(where="email IS NOT NULL")},
    "columns on PostgreSQL": {"on_postgresql": Variant(columns=("id",))},
    "columns on SQLite": {"on_sqlite": Variant(columns=("id",))},
    "INCLUDE on PostgreSQL": {"on_postgresql": Variant(include=("id",))},
    "a storage parameter": {"on_postgresql": Variant(storage={"fillfactor": 70})},
}


def test_all_that_is_declared_counts_in_a_checksum():
    plain = Index("ix", "contact", ("email",))
    assert len({checksum([replace(plain, **other)]) for other in OTHERS.values()}) == len(OTHERS)
