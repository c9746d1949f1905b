"""Seeds a database in any language."""

import os

import psycopg

with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    connection.execute("create table product (id int primary key, name text)")
    with open("rows.csv") as rows, connection.cursor() as cursor:
        with cursor.copy("copy product from stdin csv header") as copy:
            copy.write(rows.read())
