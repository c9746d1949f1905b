"""The engine's own way into a server: its private socket, as the superuser, without a password."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import AsyncConnection, Error

from pgstrata.domain.instance import Server
from pgstrata.errors import ServerError

_SUPERUSER = "postgres"

_CONNECT_SECONDS = 10


@asynccontextmanager
async def engine_connection(server: Server) -> AsyncIterator[AsyncConnection]:
    """A connection in autocommit, closed at the end. Raises ``ServerError`` when anything fails."""
    try:
        # Nothing is left to the engine's environment: what is not given, libpq looks for there.
        connection = await AsyncConnection.connect(
            host=str(server.socket_dir),
            port=server.port,
            user=_SUPERUSER,
            dbname=_SUPERUSER,
            sslmode="disable",
            gssencmode="disable",
            options="",
            application_name="pgstrata",
            connect_timeout=_CONNECT_SECONDS,
            autocommit=True,
        )
        async with connection:
            yield connection
    except Error as error:
        reason = str(error).replace("\n", " ")
        raise ServerError(
            f"the server on {server.data_dir} (port {server.port}) does not answer: {reason}",
            remedy=f"look at its log, {server.data_dir.parent / 'server.log'}",
        ) from error
