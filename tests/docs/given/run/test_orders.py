"""A test of somebody's."""

import os

import psycopg


def test_orders() -> None:
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("insert into orders values (99)")
