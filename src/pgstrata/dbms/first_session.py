"""What the engine does in a server's first session, before anybody else has one.

A session costs the server as much as the rest of its start, so there is one, and in each further
database one.
"""

import msgspec
from psycopg.pq.abc import PGconn

from pgstrata.dbms.connection import answer, bare_connection
from pgstrata.domain.instance import Server
from pgstrata.errors import ServerError

_RESETS = {
    "pg_stat_reset()": 10,
    "pg_stat_reset_shared('bgwriter')": 10,
    "pg_stat_reset_shared('archiver')": 10,
    "pg_stat_reset_slru(null)": 13,
    "pg_stat_reset_shared('wal')": 14,
    "pg_stat_reset_shared('recovery_prefetch')": 15,
    "pg_stat_reset_shared('io')": 16,
    "pg_stat_reset_shared('checkpointer')": 17,
}
"""What starts the statistics of a database and of its server again, each with its first major."""

_OTHERS = """
select json_agg(datname::text) from pg_database
where datallowconn and not datistemplate and datname <> current_database()
"""


async def give_login(server: Server, session: PGconn, verifier: str) -> None:
    """Let the session's user log in, as a superuser, with the password of a verifier.

    Raises ``ServerError``.
    """
    # ALTER ROLE would try first, for 3 ms, whether it is the verifier of an empty password.
    changed = await answer(
        server,
        session,
        f"update pg_authid set rolpassword = '{verifier}', rolsuper = true, rolcanlogin = true, "  # noqa: S608
        "rolvaliduntil = 'infinity', rolconnlimit = -1 where rolname = session_user returning true",
    )
    if changed is None:
        raise ServerError(f"{server.title} does not take a password for {server.endpoint.user}")


async def rehearse(server: Server, session: PGconn) -> None:
    """Have each database build what its first client would wait for, and forget that it did.

    Statistics of activity start again. Raises ``ServerError``.
    """
    found = await answer(server, session, _OTHERS) or b"[]"
    others = msgspec.json.decode(found.decode("utf-8", "replace"), type=list[str])
    for database in others:
        async with bare_connection(server, database) as other:
            await answer(server, other, "select pg_stat_reset()")
    major = server.endpoint.major
    resets = ", ".join(reset for reset, since in _RESETS.items() if since <= major)
    await answer(server, session, f"select {resets}")
