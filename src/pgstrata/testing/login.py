"""How a test connects, and SQL that has a server be what another tool would have made."""

from typing import NamedTuple

from psycopg import sql

from pgstrata.client.database import Database
from pgstrata.client.recipes import Recipe, psql
from pgstrata.errors import InvalidArgumentError

SUPERUSER = "postgres"


def server(
    image: str | None = None, user: str | None = None, password: str | None = None
) -> Recipe:
    """A server with nothing in it, and this superuser."""
    nobody_else = user in (None, SUPERUSER)
    step = "-- an empty database" if nobody_else else superuser(str(user), password)
    return psql(image=image).then(step)


class Login(NamedTuple):
    """What takes part in a DSN."""

    host: str
    port: int
    user: str
    password: str
    dbname: str


def login_of(database: Database) -> Login:
    """Where a database is, and as whom to connect."""
    found = database.libpq
    return Login(
        host=found["PGHOST"],
        port=int(found["PGPORT"]),
        user=found["PGUSER"],
        password=found["PGPASSWORD"],
        dbname=found["PGDATABASE"],
    )


def superuser(name: str, password: str | None = None) -> str:
    """Have the superuser be called so: with a password, one more; without, the one there is.

    Who is connected cannot be renamed, so another renames it.
    """
    if password is not None:
        return _text(
            "create role {} superuser login password {}",
            sql.Identifier(name),
            sql.Literal(password),
        )
    return _text(
        "create role pgstrata_renames superuser; set session authorization pgstrata_renames; "
        "alter role {} rename to {}; reset session authorization; drop role pgstrata_renames",
        sql.Identifier(SUPERUSER),
        sql.Identifier(name),
    )


def database(name: str, template: str = "postgres") -> str:
    """Have a copy of another database, which somebody may be connected to who does this."""
    return _text("create database {} template {}", sql.Identifier(name), sql.Identifier(template))


def server_settings(options: str) -> dict[str, str]:
    """The settings in options of the program postgres, ``-c fsync=off --work_mem=1MB``.

    Raises ``InvalidArgumentError`` for any others.
    """
    found = {}
    words = iter(options.split())
    for word in words:
        given = next(words, "") if word == "-c" else word.removeprefix("--")
        name, equals, value = given.partition("=")
        if not equals or not (word == "-c" or word.startswith("--")):
            raise InvalidArgumentError(
                f"`{word}` is no setting", remedy="write `-c name=value` for each of them"
            )
        found[name] = value
    return found


def _text(template: str, *parts: sql.Composable) -> str:
    return sql.SQL(template).format(*parts).as_string(None)
