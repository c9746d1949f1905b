"""What is set for new sessions, kept from those that Liquibase connects with.

A changeset may set something for a role or a database. To one ``update`` that changes nothing, as
it is connected already. A later step connects anew, and must find what the first one found.
"""

import contextlib
from collections.abc import AsyncIterator

from pgstrata.dbms.connection import engine_connection
from pgstrata.domain.instance import Server

_TAKE = """
delete from pg_db_role_setting
where setdatabase in (0, (select oid from pg_database where datname = current_database()))
and setrole in (0, (select oid from pg_roles where rolname = session_user))
returning setdatabase, setrole, setconfig
"""
_PUT_BACK = "insert into pg_db_role_setting values (%s::oid, %s::oid, %s::text[])"

_LOGIN_TRIGGERS = 17
"""The first major that has them."""
_SILENCE = (
    "update pg_database set dathasloginevt = false "
    "where datname = current_database() and dathasloginevt returning true"
)
_UNSILENCE = "update pg_database set dathasloginevt = true where datname = current_database()"


@contextlib.asynccontextmanager
async def settings_aside(server: Server) -> AsyncIterator[None]:
    """Connections made in this block find no settings of their role and database.

    Nor does a login trigger fire for them. Raises ``ServerError``.
    """
    async with engine_connection(server) as connection:
        taken = await (await connection.execute(_TAKE.encode())).fetchall()
        silenced = (
            server.endpoint.major >= _LOGIN_TRIGGERS
            and await (await connection.execute(_SILENCE.encode())).fetchone()
        )
        yield
        # After a failure nothing is put back: the workspace is thrown away.
        for row in taken:
            await connection.execute(_PUT_BACK, row)
        if silenced:
            await connection.execute(_UNSILENCE.encode())
