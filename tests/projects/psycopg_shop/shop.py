"""Orders, in plain psycopg."""

from typing import Any

from psycopg import Connection


def order(connection: Connection, what: str) -> int:
    with connection.transaction():
        row = connection.execute("insert into orders (what) values (%s) returning id", [what])
        return row.fetchone()[0]


def count(connection: Connection) -> int:
    return connection.execute("select count(*) from orders").fetchone()[0]


def load_by_itself(**login: Any) -> None:
    import psycopg

    assert login["autocommit"]
    with psycopg.connect(**login) as db:
        order(db, "coffee")


def load(host: str, port: int, user: str, dbname: str, password: str) -> None:
    import psycopg

    with psycopg.connect(host=host, port=port, user=user, dbname=dbname, password=password) as db:
        order(db, "tea")
        order(db, "cocoa")
