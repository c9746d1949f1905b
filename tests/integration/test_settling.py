"""Real databases are settled whatever is in them, and have the same rows afterwards."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg
import pytest

from pgstrata.domain.instance import Server
from tests.clusters import NativeRig, connected, rig_below
from tests.servers import data_dir_of

PREPARES = {"max_prepared_transactions": "2"}

PLAIN = """
create table kept (id int primary key, word text);
insert into kept select n, md5(n::text) from generate_series(1, 2000) n;
delete from kept where id % 3 = 0;
create materialized view few as select * from kept where id < 10;
create table parts (id int) partition by range (id);
create table part partition of parts for values from (0) to (1000);
insert into parts select generate_series(1, 500);
create table empty ();
"""

HOSTILE = """
create table noted (at int);
create sequence counted;
create function note(id int) returns int volatile language plpgsql as $$
begin
    insert into public.noted values (id);
    return id;
end $$;
create function break_out(id int) returns int volatile language plpgsql as $$
begin
    perform set_config('default_transaction_read_only', 'off', false);
    perform set_config('transaction_read_only', 'off', true);
    insert into public.noted values (-id);
    return id;
end $$;
create function noting(id int) returns int immutable language plpgsql
    as $$ begin return public.note(id); end $$;
create function breaking_out(id int) returns int immutable language plpgsql
    as $$ begin return public.break_out(id); end $$;
create function counting(id int) returns bigint immutable language plpgsql
    as $$ begin return nextval('public.counted'); end $$;
create table writes as select generate_series(1, 100) as id;
create table counts as select generate_series(1, 100) as id;
create table breaks_out as select generate_series(1, 100) as id;
create index on writes (noting(id));
create index on counts (counting(id));
create statistics strange on (breaking_out(id)), id from breaks_out;
create function told() returns event_trigger language plpgsql as $$
begin
    insert into public.noted values (-1000);
end $$;
create event trigger tells on ddl_command_end execute function told();
alter database postgres set default_transaction_read_only = on;
alter database postgres set statement_timeout = 1;
"""

SYSTEM = {
    "autovacuum": "on",
    "autovacuum_naptime": "1",
    "default_transaction_read_only": "off",
    "shared_preload_libraries": "there_is_no_such_library",
}

OPTIONS = " ".join(
    f"-c {setting}"
    for setting in (
        "statement_timeout=0",
        "default_transaction_read_only=off",
    )
)

CONTENT = """
select c.relname, query_to_xml(
    format('select * from %I t', relname)
        || case relkind when 'S' then '' else ' order by t::text' end,
    false, true, ''
)::text
from pg_class c where relnamespace = 'public'::regnamespace and relkind in ('r', 'm', 'S')
order by 1
"""


@pytest.fixture(scope="module", params=["15", "18"])
def rig(request: pytest.FixtureRequest, reachable_dir: Path) -> Iterator[NativeRig]:
    with rig_below(reachable_dir / f"settling-{request.param}", request.param) as rig:
        yield rig


def cluster(
    rig: NativeRig, *statements: str, settings: Mapping[str, str] = MappingProxyType({})
) -> Path:
    """A cluster at rest in which scripts were run."""

    async def made() -> Path:
        server = await rig.runtime.start(rig.image, rig.cluster(), settings=settings)
        try:
            with connected(server.endpoint.dsn) as connection:
                for statement in statements:
                    connection.execute(statement.encode())
        finally:
            await rig.runtime.stop(server)
        return data_dir_of(server)

    return asyncio.run(made())


def settled(
    rig: NativeRig, data_dir: Path, settings: Mapping[str, str] = MappingProxyType({})
) -> tuple[str, ...]:
    """Settle a cluster at rest; what could not be."""

    async def settle() -> tuple[str, ...]:
        server = await rig.runtime.start(
            rig.image,
            data_dir,
            building=True,
            settings=settings,
            fixed=rig.dbms.settling_settings,
        )
        try:
            return await rig.dbms.settle(server)
        finally:
            await rig.runtime.stop(server)

    return asyncio.run(settle())


def asked(rig: NativeRig, data_dir: Path, *queries: str, **settings: str) -> list[list[Any]]:
    """What queries return on a cluster, whatever it sets itself."""
    fixed = {"shared_preload_libraries": "", "autovacuum": "off"}

    async def ask(server: Server) -> list[list[Any]]:
        with psycopg.connect(server.endpoint.dsn, autocommit=True, options=OPTIONS) as session:
            cursors = [session.execute(query.encode()) for query in queries]
            return [cursor.fetchall() if cursor.description else [] for cursor in cursors]

    async def answers() -> list[list[Any]]:
        server = await rig.runtime.start(rig.image, data_dir, settings=settings, fixed=fixed)
        try:
            return await ask(server)
        finally:
            await rig.runtime.stop(server)

    return asyncio.run(answers())


def test_all_is_vacuumed_frozen_and_analysed_and_the_rows_are_the_same(rig: NativeRig) -> None:
    data_dir = cluster(rig, PLAIN)
    [before] = asked(rig, data_dir, CONTENT)
    assert settled(rig, data_dir) == ()
    content, tables, visible, statistics = asked(
        rig,
        data_dir,
        CONTENT,
        "select relname from pg_class where relkind in ('r', 'm', 't') and age(relfrozenxid) > 100",
        "select relallvisible = relpages and reltuples = 1334 from pg_class where relname = 'kept'",
        "select count(*) from pg_stats where schemaname = 'public' and tablename = 'parts'",
    )
    assert content == before
    assert tables == []
    assert visible == [(True,)]
    assert statistics == [(1,)]


def test_nothing_of_what_users_wrote_changes_anything(rig: NativeRig) -> None:
    system = [f"alter system set {name} = '{value}'" for name, value in SYSTEM.items()]
    data_dir = cluster(rig, PLAIN, *system, HOSTILE)
    [before] = asked(rig, data_dir, CONTENT)
    problems = settled(rig, data_dir)
    content, frozen = asked(
        rig,
        data_dir,
        CONTENT,
        "select count(*) from pg_class where relfrozenxid <> '0' and age(relfrozenxid) > 100",
    )
    assert content == before
    assert frozen == [(0,)]
    assert sorted(problem.split(": ")[1] for problem in problems) == [
        "public.breaks_out",
        "public.counts",
        "public.writes",
    ]
    assert all("read-" in problem for problem in problems)


def test_prepared_transactions_and_databases_that_let_nobody_in_stay_as_they_are(
    rig: NativeRig,
) -> None:
    data_dir = cluster(
        rig,
        PLAIN,
        "create database closed",
        "alter database closed allow_connections false",
        "begin; insert into kept values (0, 'prepared'); lock table empty",
        "prepare transaction 'waits'",
        settings=PREPARES,
    )
    told = "select gid from pg_prepared_xacts"
    count = "select count(*) from kept"
    assert asked(rig, data_dir, told, count, **PREPARES) == [[("waits",)], [(1334,)]]
    assert settled(rig, data_dir, PREPARES) == ()
    assert asked(rig, data_dir, told, count, "commit prepared 'waits'", count, **PREPARES) == [
        [("waits",)],
        [(1334,)],
        [],
        [(1335,)],
    ]
