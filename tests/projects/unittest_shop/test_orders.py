import unittest
from pathlib import Path

import psycopg

from pgstrata import PgstrataError, psql
from pgstrata.testing.containers import PostgresContainer
from pgstrata.testing.unittest import PgClassMixin, PgMixin

SCHEMA = Path(__file__).with_name("schema.sql")


def count(dsn):
    with psycopg.connect(dsn) as connection:
        return connection.execute("select count(*) from orders").fetchone()[0]


class TestOrders(PgMixin, unittest.TestCase):
    pgstrata_recipe = "psql -f schema.sql"

    def setUp(self):
        super().setUp()
        self.pg.psql("insert into orders (what) values ('cocoa')")

    def test_one(self):
        self.assertEqual(count(self.pg.dsn), 2)

    def test_two(self):
        self.assertEqual(count(self.pg.dsn), 2)


class TestTogether(PgClassMixin, unittest.TestCase):
    pgstrata_recipe = psql(SCHEMA)

    def test_first(self):
        self.pg.psql("insert into orders (what) values ('cocoa')")

    def test_then(self):
        self.assertEqual(count(self.pg.dsn), 2)


class TestContainer(unittest.TestCase):
    def test_what_it_begins_with(self):
        scripts = "/docker-entrypoint-initdb.d/schema.sql"
        container = (
            PostgresContainer("postgres:latest", dbname="shop", driver=None)
            .with_volume_mapping(str(SCHEMA), scripts)
            .with_command("postgres -c work_mem=3MB")
            .with_env("TZ", "UTC")
        )
        with self.assertRaisesRegex(PgstrataError, "not started"):
            container.get_connection_url()
        with container as postgres:
            self.assertEqual(count(postgres.get_connection_url()), 1)
            with psycopg.connect(
                host=postgres.get_container_host_ip(),
                port=postgres.get_exposed_port(5432),
                user=postgres.username,
                password=postgres.password,
                dbname=postgres.dbname,
            ) as connection:
                row = connection.execute("select current_user, current_setting('work_mem')")
                self.assertEqual(row.fetchone(), ("test", "3MB"))
            url = postgres.get_connection_url(host="db", driver="asyncpg")
            self.assertRegex(url, r"^postgresql\+asyncpg://test:[^@]+@db:\d+/shop$")

    def test_a_password_of_ones_own(self):
        with PostgresContainer("docker.io/postgres", username="me", password="p/w") as postgres:
            self.assertIn("+psycopg2://me:p%2Fw@", postgres.get_connection_url())
            with psycopg.connect(postgres.get_connection_url(driver=None)) as connection:
                self.assertEqual(connection.info.dbname, "test")

    def test_what_only_containers_have(self):
        with self.assertRaisesRegex(PgstrataError, "no containers"):
            PostgresContainer().with_volume_mapping("x", "/var/lib/postgresql/data")
        with self.assertRaisesRegex(AttributeError, "with_network"):
            PostgresContainer().with_network(None)


if __name__ == "__main__":
    unittest.main()
