"""The engine's own connections: by the private socket, as the superuser, without a password.

What a script sets for roles, databases or all of a server has no effect on them.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType

from psycopg import AsyncConnection, Error, pq
from psycopg.conninfo import make_conninfo
from psycopg.pq import ExecStatus, PollingStatus
from psycopg.pq.abc import PGconn, PGresult

from pgstrata.domain.instance import Server
from pgstrata.errors import ServerError

APPLICATION_NAME = "pgstrata engine"
"""What servers list the engine's own sessions as: one may still be ending after it was closed."""

_CONNECT_SECONDS = 10

OWN_SETTINGS = {
    "default_transaction_read_only": "off",
    "lock_timeout": "0",
    "role": "none",
    "search_path": "pg_catalog",
    "statement_timeout": "0",
    "synchronous_commit": "local",
}
"""Settings that could keep our sessions out, or make them do something else."""

_EVENT_TRIGGERS = 17
"""The first major where event triggers can be switched off for a session; it is also the first
that has them for logins."""


def own_options(major: int, settings: Mapping[str, str] = MappingProxyType({})) -> str:
    """Our settings for a session, changed by these, as libpq takes them."""
    own = OWN_SETTINGS | ({"event_triggers": "off"} if major >= _EVENT_TRIGGERS else {})
    return " ".join(f"-c {name}={value}" for name, value in {**own, **settings}.items())


def _conninfo(
    server: Server,
    database: str | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The connection string, which leaves nothing for libpq to read from the environment."""
    endpoint = server.endpoint
    return make_conninfo(
        host=str(endpoint.socket_dir),
        port=endpoint.socket_port,
        user=endpoint.user,
        dbname=database or endpoint.database,
        sslmode="disable",
        gssencmode="disable",
        options=own_options(endpoint.major, settings),
        application_name=APPLICATION_NAME,
    )


async def tell(server: Server, *statements: str) -> None:
    """Carry out statements, each by itself. Raises ``ServerError``."""
    async with bare_connection(server) as connection:
        for statement in statements:
            await answer(server, connection, statement)


async def check_it_answers(server: Server) -> None:
    """Connect and disconnect: a server that accepts a connection is ready for queries.

    That also fills caches for its first client. Raises ``ServerError`` if the server refuses.
    """
    async with bare_connection(server):
        pass


@asynccontextmanager
async def bare_connection(
    server: Server, database: str | None = None, *, superuser: bool = True
) -> AsyncIterator[PGconn]:
    """A plain libpq connection, which takes a quarter of the time of an ``AsyncConnection``.

    Every start and most steps wait for one. ``database``: None for the one of the server's
    endpoint. Raises ``ServerError`` if the server refuses, or if the user must be a ``superuser``
    and is none any more.
    """
    connection = pq.PGconn.connect_start(_conninfo(server, database).encode())
    try:
        while (status := connection.connect_poll()) != PollingStatus.OK:
            if status == PollingStatus.FAILED:
                raise _no_answer(server, connection.get_error_message())
            await _wait_ready(connection.socket, writing=status == PollingStatus.WRITING)
        if superuser and connection.parameter_status(b"is_superuser") != b"on":
            raise _no_answer(server, f"{server.endpoint.user} is no superuser any more")
        yield connection
    finally:
        connection.finish()


async def answer(server: Server, connection: PGconn, query: str) -> bytes | None:
    """The first value that a query returns, if any. Raises ``ServerError``."""
    try:
        connection.send_query(query.encode())
        value = None
        while result := await _next_result(connection):
            if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
                raise _no_answer(server, result.get_error_message())
            value = result.get_value(0, 0) if result.ntuples else None
    except Error as error:
        raise _no_answer(server, str(error)) from error
    return value


async def ask(server: Server, query: str) -> bytes | None:
    """The first value that a query returns whose answer takes no time, over its own connection.

    Raises ``ServerError``, also if none comes in time, as from a server that was stopped.
    """
    try:
        async with (
            asyncio.timeout(_CONNECT_SECONDS),
            bare_connection(server, superuser=False) as connection,
        ):
            return await answer(server, connection, query)
    except TimeoutError:
        raise _no_answer(server, "connection timeout expired") from None


async def _next_result(connection: PGconn) -> PGresult | None:
    while connection.is_busy():
        await _wait_ready(connection.socket, writing=False)
        connection.consume_input()
    return connection.get_result()


async def _wait_ready(descriptor: int, *, writing: bool) -> None:
    """Wait until a socket can be read from or written to."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    add, remove = (
        (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    )
    add(descriptor, ready.set_result, None)
    try:
        await ready
    finally:
        remove(descriptor)


def _no_answer(server: Server, reason: str) -> ServerError:
    line = reason.strip().replace("\n", " ")
    return ServerError(
        f"{server.title} (port {server.endpoint.port}) does not answer: {line}",
        remedy=f"see its log, {server.log}",
    )


@asynccontextmanager
async def engine_connection(
    server: Server,
    database: str | None = None,
    *,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[AsyncConnection]:
    """A connection in autocommit mode, closed at the end. Raises ``ServerError``.

    ``database``: None for the one of the server's endpoint. ``settings``: of the session, beside
    our own.
    """
    try:
        connection = await AsyncConnection.connect(
            _conninfo(server, database, settings),
            connect_timeout=_CONNECT_SECONDS,
            autocommit=True,
        )
        async with connection:
            yield connection
    except Error as error:
        raise _no_answer(server, str(error)) from error
