"""A shop with one table, whose database is said by its configuration."""

import psycopg
from flask import Flask, current_app, g, request


def database():
    if "database" not in g:
        g.database = psycopg.connect(current_app.config["DATABASE"])
    return g.database


def create_app(dsn):
    app = Flask(__name__)
    app.config["DATABASE"] = dsn

    @app.get("/orders")
    def orders():
        return [what for (what,) in database().execute("select what from orders order by id")]

    @app.post("/orders")
    def order():
        database().execute("insert into orders (what) values (%s)", [request.json["what"]])
        database().commit()
        return {}, 201

    @app.teardown_appcontext
    def close(_error):
        if (known := g.pop("database", None)) is not None:
            known.close()

    return app
