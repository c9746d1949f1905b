"""Reads everything that a server's databases have, to find out whether its files are damaged.

A server looks at a page only when somebody reads it, and tells of one whose checksum is wrong.
What checksums do not tell, or where there are none, PostgreSQL's own module amcheck finds in tables
and B-trees. Pages that no query reads, of other indexes and of maps, are read by its pg_prewarm.
Their extensions are created for that, where they are installed, so the server is on a copy to be
thrown away.
"""

import re
from typing import Any

from psycopg import AsyncConnection, Error, sql

from pgstrata.dbms.connection import engine_connection
from pgstrata.domain.instance import Server
from pgstrata.errors import ServerError

_CHECKS_TABLES = 14
"""The first major whose amcheck has a check of tables."""

_SCHEMA = "pgstrata_examination"

_DAMAGE = re.compile("XX001|XX002|58...")
"""The SQLSTATEs of damaged data, a damaged index, and of files. Others have other reasons."""

_LOST_FILE = re.compile('could not (open|read) .*"(base|global)/')
"""For who is not even let in, since a catalog cannot be read: that has no SQLSTATE here."""

_DATABASES = "select datname::text from pg_database where datallowconn order by 1"

_EXTENSION = """select nspname::text from pg_extension
    join pg_namespace n on n.oid = extnamespace where extname = {}"""

_TABLES = """select c.oid, nspname::text, relname::text, relkind::text from pg_class c
    join pg_namespace n on n.oid = relnamespace
    where relkind in ('r', 'm', 't', 'S') and relpersistence <> 't' order by c.oid"""

_INDEXES = """select c.oid from pg_class c
    join pg_index on indexrelid = c.oid join pg_am a on a.oid = relam
    where amname = 'btree' and relkind = 'i' and indisvalid and relpersistence <> 't'
    order by c.oid"""

_CHECK_INDEX = "select null::text from {module}.bt_index_check({relation}) where false"

_STORED = """select oid from pg_class
    where relkind in ('r', 'm', 't', 'S', 'i') and relpersistence <> 't' order by oid"""

_READ_PAGES = """select null::text from (values ('main'), ('fsm'), ('vm')) forks(fork)
    where case when pg_relation_size({relation}, fork) > 0
        then {module}.pg_prewarm({relation}, 'buffer', fork) < 0 end"""


async def damage(server: Server) -> str | None:
    """What of a server's databases cannot be read, or contradicts itself, for people; or None.

    Raises ``ServerError`` if it lets nobody in.
    """
    async with engine_connection(server) as connection:
        names = [name for (name,) in await _rows(connection, sql.SQL(_DATABASES))]
    for name in names:
        try:
            async with engine_connection(server, name) as connection:
                found = await _damage_in(connection, server.endpoint.major)
        except ServerError as error:
            found = error.message if _LOST_FILE.search(error.message) else None
        if found is not None:
            return f"database {name}: {found}"
    return None


async def _damage_in(connection: AsyncConnection, major: int) -> str | None:
    module = await _module(connection, "amcheck")
    for oid, schema, name, kind in await _rows(connection, sql.SQL(_TABLES)):
        count = sql.SQL("select count(*)::text from only {} having count(*) < 0").format(
            sql.Identifier(schema, name)
        )
        if found := await _problem(connection, count):
            return found
        if module and major >= _CHECKS_TABLES and kind != "S":
            check = sql.SQL("select msg from {}({}::oid::regclass) limit 1").format(
                sql.Identifier(module, "verify_heapam"), sql.Literal(oid)
            )
            if found := await _problem(connection, check):
                return f"{schema}.{name}: {found}"
    if module and (found := await _problem_in(connection, _INDEXES, _CHECK_INDEX, module)):
        return found
    if prewarm := await _module(connection, "pg_prewarm"):
        return await _problem_in(connection, _STORED, _READ_PAGES, prewarm)
    return None


async def _problem_in(
    connection: AsyncConnection, relations: str, check: str, module: str
) -> str | None:
    """The first problem that a module's check finds in these relations."""
    for (oid,) in await _rows(connection, sql.SQL(relations)):
        relation = sql.SQL("{}::oid::regclass").format(sql.Literal(oid))
        query = sql.SQL(check).format(module=sql.Identifier(module), relation=relation)
        if found := await _problem(connection, query):
            return found
    return None


async def _problem(connection: AsyncConnection, check: sql.Composed) -> str | None:
    """What a check returns, or that it ends with an error of damage."""
    try:
        return next((str(problem) for (problem,) in await _rows(connection, check)), None)
    except Error as error:
        # A library of an extension that is not installed any more is no file of the cluster's.
        if not _DAMAGE.fullmatch(error.sqlstate or "") or "could not access file" in str(error):
            return None
        return str(error).partition("\n")[0]


async def _module(connection: AsyncConnection, name: str) -> str | None:
    """The schema of a module's functions; None where they cannot be had."""
    known = sql.SQL(_EXTENSION).format(sql.Literal(name))
    for (schema,) in await _rows(connection, known):
        return str(schema)
    try:
        async with connection.transaction():
            await connection.execute(
                sql.SQL("create schema if not exists {}").format(sql.Identifier(_SCHEMA))
            )
            await connection.execute(
                sql.SQL("create extension {} schema {}").format(
                    sql.Identifier(name), sql.Identifier(_SCHEMA)
                )
            )
    except Error:
        return None  # what a server tells by itself when it reads has to do
    return _SCHEMA


async def _rows(
    connection: AsyncConnection, query: sql.SQL | sql.Composed
) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query)).fetchall()
