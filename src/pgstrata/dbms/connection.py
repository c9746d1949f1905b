"""The engine's own way into a server: its private socket, as the superuser, without a password."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import AsyncConnection, Error, pq
from psycopg.conninfo import make_conninfo
from psycopg.pq import ExecStatus, PollingStatus
from psycopg.pq.abc import PGconn, PGresult

from pgstrata.domain.instance import Server
from pgstrata.errors import ServerError

_CONNECT_SECONDS = 10


def _conninfo(server: Server) -> str:
    """How the engine connects; nothing is left to its environment, where libpq looks for more."""
    endpoint = server.endpoint
    return make_conninfo(
        host=str(endpoint.socket_dir),
        port=endpoint.port,
        user=endpoint.user,
        dbname=endpoint.database,
        sslmode="disable",
        gssencmode="disable",
        options="",
        application_name="pgstrata",
    )


async def check_it_answers(server: Server) -> None:
    """Connect and go: a server that lets one in is ready for queries in that database.

    That also fills the caches that its first client would have to. Raises ``ServerError`` when the
    server refuses.
    """
    async with bare_connection(server):
        pass


@asynccontextmanager
async def bare_connection(server: Server) -> AsyncIterator[PGconn]:
    """A connection of libpq's own, at a quarter of a whole ``AsyncConnection``'s price.

    Every start and most steps wait for one. Raises ``ServerError`` when the server refuses.
    """
    connection = pq.PGconn.connect_start(_conninfo(server).encode())
    try:
        while (status := connection.connect_poll()) != PollingStatus.OK:
            if status == PollingStatus.FAILED:
                raise _silent(server, connection.get_error_message())
            await _turn(connection.socket, writing=status == PollingStatus.WRITING)
        yield connection
    finally:
        connection.finish()


async def answer(server: Server, connection: PGconn, query: str) -> bytes | None:
    """The first value that a query gives, if it gives any. Raises ``ServerError``."""
    try:
        connection.send_query(query.encode())
        value = None
        while result := await _next_result(connection):
            if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
                raise _silent(server, result.get_error_message())
            value = result.get_value(0, 0) if result.ntuples else None
    except Error as error:
        raise _silent(server, str(error)) from error
    return value


async def _next_result(connection: PGconn) -> PGresult | None:
    while connection.is_busy():
        await _turn(connection.socket, writing=False)
        connection.consume_input()
    return connection.get_result()


async def _turn(descriptor: int, *, writing: bool) -> None:
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


def _silent(server: Server, reason: str) -> ServerError:
    told = reason.strip().replace("\n", " ")
    return ServerError(
        f"{server.title} (port {server.endpoint.port}) does not answer: {told}",
        remedy=f"look at its log, {server.log}",
    )


@asynccontextmanager
async def engine_connection(server: Server) -> AsyncIterator[AsyncConnection]:
    """A connection in autocommit, closed at the end. Raises ``ServerError`` when anything fails."""
    try:
        connection = await AsyncConnection.connect(
            _conninfo(server), connect_timeout=_CONNECT_SECONDS, autocommit=True
        )
        async with connection:
            yield connection
    except Error as error:
        raise _silent(server, str(error)) from error
