"""Queries of any project, and the samplers of their arguments, on models of no CRM."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from peewee import CharField, IntegerField, Model, ModelSelect, SqliteDatabase, UUIDField

from indexer.verify.query import Query, once, rows_of

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


@pytest.fixture(autouse=True)
def tables() -> Iterator[None]:
    """The tables, empty."""
    with DATABASE:
        DATABASE.create_tables([Product, Token])
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
