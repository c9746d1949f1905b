"""A test of somebody's."""

import os

import psycopg


def test_products_have_a_price() -> None:
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        assert connection.execute("select price from product").fetchall() == [(None,)]
