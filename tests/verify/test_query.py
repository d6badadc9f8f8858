"""Queries of any project, and the samplers of their arguments, on models of no CRM."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from peewee import CharField, CompositeKey, IntegerField, Model, ModelSelect, SqliteDatabase, UUIDField, fn

from indexer import Query, once, rows_of
from indexer.errors import UsageError

DATABASE = SqliteDatabase(":memory:")


class Product(Model):
    """A table with an integer key."""

    sku = CharField(null=True)
    price = IntegerField(null=True)

    class Meta:
        database = DATABASE


class Token(Model):
    """A table whose key is no number."""

    key = CharField(primary_key=True)
    owner = UUIDField(null=True)

    class Meta:
        database = DATABASE


class Member(Model):
    """A table with a key of two columns."""

    team = IntegerField()
    person = IntegerField()

    class Meta:
        database = DATABASE
        primary_key = CompositeKey("team", "person")


class Line(Model):
    """A table without a key."""

    text = CharField()

    class Meta:
        database = DATABASE
        primary_key = False


@pytest.fixture(autouse=True)
def tables() -> Iterator[None]:
    """The tables, empty."""
    with DATABASE:
        DATABASE.create_tables([Product, Token, Member, Line])
        yield


def products(*keys: int) -> None:
    """Insert a product for each key."""
    Product.insert_many([(key, f"sku {key}", key) for key in keys], [Product.id, Product.sku, Product.price]).execute()


def by_sku(sku: str, limit: int = 10) -> ModelSelect[Product]:
    return Product.select().where(Product.sku == sku).limit(limit)


def exists(sku: str) -> bool:
    return len(by_sku(sku)) > 0


# Queries


def test_a_call_names_the_arguments_that_are_needed():
    assert Query("ix", by_sku, once).call == "by_sku(sku)"
    assert Query("ix", lambda sku, *more, **options: by_sku(sku), once).call == "<lambda>(sku)"


def test_a_function_that_returns_its_query_needs_no_other():
    products(1)
    query = Query("ix", by_sku, rows_of(Product.sku, otherwise=("none",)))
    assert query.ask("sku 1") == [Product.get_by_id(1)]
    assert query.selected("sku 1").sql() == by_sku("sku 1").sql()


def test_a_function_that_returns_an_answer_has_another_for_its_query():
    products(1)
    query = Query("ix", exists, rows_of(Product.sku, otherwise=("none",)), select=by_sku)
    assert query.ask("sku 1") is True
    assert query.selected("sku 1").sql() == by_sku("sku 1").sql()
    with pytest.raises(UsageError, match=r"exists\(sku\) returns no peewee query"):
        Query("ix", exists, once).selected("sku 1")


# Samples


def test_an_empty_table_gives_what_is_named_instead():
    assert rows_of(Product.sku, otherwise=("none",))(5) == [("none",)]


def test_samples_are_different_and_no_more_than_wanted():
    products(*range(1, 101))
    found = rows_of(Product.sku, Product.price, otherwise=("none", 0))(10)
    assert len(set(found)) == len(found) == 10


def test_even_the_first_few_samples_are_from_all_over_the_table():
    products(*range(1, 1001))
    prices = sorted(price for (price,) in rows_of(Product.price, otherwise=(0,))(4))
    gaps = [after - before for before, after in pairwise([0, *prices, 1001])]
    assert max(gaps) < 400


def test_rows_without_a_value_are_left_out():
    Product.insert_many([("a", None), (None, 1), ("b", 2)], [Product.sku, Product.price]).execute()
    assert rows_of(Product.sku, Product.price, otherwise=("none", 0))(9) == [("b", 2)]


def test_a_value_that_many_rows_have_is_sampled_once():
    Product.insert_many([("a",)] * 50, [Product.sku]).execute()
    assert rows_of(Product.sku, otherwise=("none",))(9) == [("a",)]


def test_where_the_keys_leave_large_gaps_the_last_rows_are_sampled():
    products(1, 2, 3, 1_000_000)
    assert sorted(rows_of(Product.price, otherwise=(0,))(4)) == [(1,), (2,), (3,), (1_000_000,)]


def test_keys_that_are_no_numbers_are_sampled_from_the_end():
    Token.insert_many([(f"key {n}",) for n in range(9)], [Token.key]).execute()
    assert rows_of(Token.key, otherwise=("none",))(2) == [("key 8",), ("key 7",)]


def test_zero_false_and_the_empty_text_are_values():
    Product.insert_many([("", 0)], [Product.sku, Product.price]).execute()
    assert rows_of(Product.sku, Product.price, otherwise=("none", 1))(9) == [("", 0)]
    assert rows_of(Product.price > 5, otherwise=(True,))(9) == [(False,)]


def test_an_expression_is_sampled_as_a_column_is():
    products(*range(1, 101))
    found = rows_of(fn.UPPER(Product.sku), fn.ABS(Product.price), otherwise=("NONE", 0))(10)
    assert len(found) == 10
    assert all(sku == f"SKU {price}" for sku, price in found)


def test_a_table_with_a_key_of_two_columns_or_none_is_sampled():
    Member.insert_many([(team, person) for team in range(3) for person in range(3)]).execute()
    Line.insert_many([("first",), ("second",)]).execute()
    assert rows_of(Member.team, Member.person, otherwise=(0, 0))(2) == [(2, 2), (2, 1)]
    assert sorted(rows_of(Line.text, otherwise=("none",))(9)) == [("first",), ("second",)]


def test_values_that_have_no_hash_are_sampled_once_each():
    Line.insert_many([("a b",), ("a b",), ("c",)]).execute()
    words = fn.REPLACE(Line.text, "", "").python_value(str.split)
    assert sorted(rows_of(words, otherwise=([],))(9)) == [(["a", "b"],), (["c"],)]


@pytest.mark.parametrize("otherwise", ["none", (), ("none", 1)], ids=["no tuple", "too few", "too many"])
def test_other_arguments_than_columns_are_refused_when_the_entry_is_made(otherwise):
    with pytest.raises(ValueError, match="a value for each column"):
        rows_of(Product.sku, otherwise=otherwise)
    with pytest.raises(ValueError, match="columns of a model"):
        rows_of(fn.NOW(), otherwise=otherwise)
