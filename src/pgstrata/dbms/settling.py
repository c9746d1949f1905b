"""Has a server's databases vacuumed, frozen and analysed, and nothing else done in them.

ANALYZE calls functions that users wrote: those of indexes and statistics on expressions, and those
that compare values of their types. They might write something. Here they cannot: the sessions are
read-only, which VACUUM and ANALYZE do not mind (``ClassifyUtilityCommandAsReadOnly`` in
PostgreSQL's src/backend/tcop/utility.c), and which nobody changes once a transaction has begun to
read. What users load or let run by itself is kept out by the server's settings.
"""

from psycopg import AsyncConnection, Error, sql

from pgstrata.dbms.connection import engine_connection
from pgstrata.domain.instance import Server
from pgstrata.errors import ServerError

SERVER_SETTINGS = {
    "autovacuum": "off",
    "default_transaction_read_only": "on",
    "max_logical_replication_workers": "0",
    "shared_preload_libraries": "",
}
"""With what the server must have been started: nothing but our sessions does anything in it."""

_SESSION = {
    "default_transaction_read_only": "on",
    "local_preload_libraries": "",
    "lock_timeout": "10s",
    "max_parallel_maintenance_workers": "0",
    "session_preload_libraries": "",
    "vacuum_cost_delay": "0",
}

_DATABASES = (
    "select datname::text from pg_database where datallowconn and datconnlimit <> -2 order by oid"
)

_ALL = sql.SQL("vacuum (freeze, analyze, skip_locked)")

_TABLES = """select nspname::text, relname::text from pg_class c
    join pg_namespace n on n.oid = relnamespace
    where relkind in ('r', 'm') and relpersistence <> 't' order by c.oid"""


async def settle(server: Server) -> tuple[str, ...]:
    """Vacuum, freeze and analyse all that can be; what cannot, for people.

    Raises ``ServerError`` if the server lets nobody in.
    """
    async with engine_connection(server, settings=_SESSION) as connection:
        cursor = await connection.execute(_DATABASES)
        names = [name for (name,) in await cursor.fetchall()]
    problems: list[str] = []
    for name in names:
        try:
            async with engine_connection(server, name, settings=_SESSION) as connection:
                found = await _settle(connection)
        except ServerError as error:
            found = [error.message]
        problems += (f"database {name}: {problem}" for problem in found)
    return tuple(problems)


async def _settle(connection: AsyncConnection) -> list[str]:
    try:
        await connection.execute(_ALL)
    except Error:
        return await _settle_singly(connection)  # the first that fails ends it
    return []


async def _settle_singly(connection: AsyncConnection) -> list[str]:
    problems = []
    for schema, name in await (await connection.execute(_TABLES)).fetchall():
        try:
            await connection.execute(_ALL + sql.SQL(" {}").format(sql.Identifier(schema, name)))
        except Error as error:
            if connection.closed:
                raise
            problems.append(f"{schema}.{name}: {str(error).partition(chr(10))[0]}")
    return problems
