"""What a state holds comes from its inputs: a server that builds one reaches nothing else."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from pgstrata.domain.instance import Server
from pgstrata.errors import StepFailedError
from pgstrata.kinds.psql.kind import PsqlRecipe
from pgstrata.kinds.psql.running import PsqlRunner
from pgstrata.runtime.base import ToolCommand, run_by_lines
from tests import changelogs, needs
from tests.clusters import NativeRig, rig_below
from tests.hostile.test_identity import psql
from tests.liquibase_runs import LOCAL, liquibase, request, unheard

SECRET = "not an input"


@pytest.fixture(scope="module")
def rig(reachable_dir: Path) -> Iterator[NativeRig]:
    with rig_below(reachable_dir / "sealed") as rig:
        if rig.native.sandbox.level != "basic":
            needs.missing(f"there are no cells here: {rig.native.sandbox.missing}")
        yield rig


@pytest.fixture
def file(rig: NativeRig, reachable_dir: Path) -> Path:
    """A file that every user may read, and no step names."""
    file = reachable_dir / "elsewhere.csv"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o644)
    return file


def run_time_copies(file: Path) -> dict[str, str]:
    """COPY of a file, put together as it runs, so that no look at the text finds it."""
    quoted = f"quote_literal('{file}')"

    def executed(query: str) -> str:
        table = "create table if not exists t (x text)"
        return f"{table}; do $$ begin execute {query}; end $$"

    return {
        "concatenated": executed(f"'COP'||'Y t FR'||'OM '||{quoted}"),
        "formatted": executed(f"format('co%s t fr%s %L', 'py', 'om', '{file}')"),
        "replaced": executed(f"replace('c#py t fr#m ', '#', 'o')||{quoted}"),
        "program": executed(
            f"'COP'||'Y t FR'||'OM PRO'||'GRAM '||quote_literal('cat ' || {quoted})"
        ),
        "function": executed(f"'create table f as select pg_re'||'ad_file('||{quoted}||')'"),
        "handler": (
            "create extension if not exists file_fdw; "
            "drop foreign data wrapper if exists w cascade; "
            "create foreign data wrapper w handler file_fdw_handler; "
            "create server s foreign data wrapper w; "
            f"create foreign table ft (x text) server s options (filename '{file}'); "
            "create table h as select * from ft"
        ),
    }


@asynccontextmanager
async def building(rig: NativeRig) -> AsyncIterator[Server]:
    """A server as a step has it."""
    server = await rig.runtime.start(rig.image, rig.cluster(), building=True)
    try:
        yield server
    finally:
        await rig.runtime.stop(server, clean=False)


NAMES = sorted(run_time_copies(Path("/x")))


@pytest.mark.parametrize("name", NAMES)
def test_a_script_that_reads_a_file_of_the_machine_as_it_runs_fails(
    rig: NativeRig, tmp_path: Path, file: Path, name: str
) -> None:
    async def scenario() -> None:
        changelogs.write(tmp_path, {"a.sql": run_time_copies(file)[name]})
        async with building(rig) as server:
            [step] = await PsqlRecipe().steps(psql(tmp_path, "-f", "a.sql"), LOCAL)
            with pytest.raises(StepFailedError):
                await PsqlRunner().execute(step, LOCAL, server, rig.runtime, unheard)

    asyncio.run(scenario())


def test_a_script_whose_results_become_such_statements_fails(
    rig: NativeRig, tmp_path: Path, file: Path
) -> None:
    text = (
        "create table t (x text);\n"
        f"select 'co'||'py t fr'||'om '||quote_literal('{file}') \\gexec\n"
    )

    async def scenario() -> None:
        changelogs.write(tmp_path, {"a.sql": text})
        async with building(rig) as server:
            [step] = await PsqlRecipe().steps(psql(tmp_path, "-f", "a.sql"), LOCAL)
            with pytest.raises(StepFailedError):
                await PsqlRunner().execute(step, LOCAL, server, rig.runtime, unheard)

    asyncio.run(scenario())


def test_a_changeset_that_reads_a_file_of_the_machine_as_it_runs_fails(
    rig: NativeRig, tmp_path: Path, file: Path
) -> None:
    texts = run_time_copies(file)
    changesets = (
        changelogs.changeset(name, f'<sql splitStatements="false"><![CDATA[{texts[name]}]]></sql>')
        for name in NAMES
    )
    changelogs.write(tmp_path, {"main.xml": changelogs.xml(*changesets)})

    async def scenario() -> None:
        async with liquibase() as kind:
            wanted = request(tmp_path, "update", "--changelog-file=main.xml")
            for step in await kind.steps(wanted, LOCAL):
                # A failed changeset leaves Liquibase's lock, and its server is thrown away.
                async with building(rig) as server:
                    with pytest.raises(StepFailedError):
                        await kind.execute(step, LOCAL, server, rig.runtime, unheard)

    asyncio.run(scenario())


def elsewhere(host: str, port: int, password: str) -> dict[str, str]:
    """Ways to another server."""
    to = f"host={host} port={port} user=postgres password={password} dbname=postgres"
    return {
        "dblink": (
            "create extension if not exists dblink; "
            f"create table d as select * from dblink($s${to}$s$, 'select 1') as t (x int)"
        ),
        "postgres_fdw": (
            "create extension if not exists postgres_fdw; "
            "create server o foreign data wrapper postgres_fdw "
            f"options (host '{host}', port '{port}', dbname 'postgres'); "
            "create user mapping for current_user server o "
            f"options (user 'postgres', password $p${password}$p$); "
            "create foreign table ot (relname text) server o "
            "options (schema_name 'pg_catalog', table_name 'pg_class'); "
            "create table o as select * from ot"
        ),
        "subscription": f"create subscription s connection $s${to}$s$ publication p",
    }


@pytest.mark.parametrize("name", ["dblink", "postgres_fdw", "subscription"])
def test_a_step_that_asks_another_server_fails(rig: NativeRig, tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        async with rig.serving() as other:
            at = other.endpoint
            with psycopg.connect(at.dsn) as connection:
                connection.execute("select 1")  # it can be reached from here
            changelogs.write(tmp_path, {"a.sql": elsewhere(at.host, at.port, at.password)[name]})
            async with building(rig) as server:
                [step] = await PsqlRecipe().steps(psql(tmp_path, "-f", "a.sql"), LOCAL)
                with pytest.raises(StepFailedError):
                    await PsqlRunner().execute(step, LOCAL, server, rig.runtime, unheard)

    asyncio.run(scenario())


WHERE = (
    "select current_setting('port'), current_setting('data_directory'),"
    " current_setting('config_file'), current_setting('hba_file'), current_setting('ident_file'),"
    " current_setting('unix_socket_directories'), current_setting('listen_addresses'),"
    " inet_server_addr(), inet_server_port(), inet_client_addr()",
    "select * from pg_settings order by name",
    "select * from pg_file_settings",
    "select * from pg_hba_file_rules",
    "select pg_read_file('postmaster.opts')",
    # Without the time of its start, and the key of its shared memory.
    "select line from regexp_split_to_table(pg_read_file('postmaster.pid'), '\\n')"
    " with ordinality as lines (line, n) where n not in (3, 7)",
    # The kernel tells where files are.
    "select pg_ls_dir('/proc/self')",
)


def test_what_a_session_can_ask_about_where_it_runs_is_the_same_in_every_building_server(
    rig: NativeRig, reachable_dir: Path
) -> None:
    async def answers(rig: NativeRig) -> str:
        async with building(rig) as server:
            said: list[str] = []

            async def keep(line: str) -> None:
                said.append(line)

            questions = [word for question in WHERE for word in ("-c", question)]
            command = ToolCommand(tool="psql", args=("-XAt", *questions), work_dir=Path("/"))
            ended = await run_by_lines(rig.runtime, server, command, keep)
            assert (ended.exit_code, ended.stderr_tail) == (0, "")
            return "\n".join(said)

    first = asyncio.run(answers(rig))
    assert "pg_hba.conf" in first
    with rig_below(reachable_dir / "another place, of a longer name") as elsewhere:
        assert asyncio.run(answers(elsewhere)) == first
    assert asyncio.run(answers(rig)) == first


def test_a_step_may_reach_its_own_server(rig: NativeRig, tmp_path: Path) -> None:
    text = (
        "create extension dblink; create table d as "
        "select * from dblink('dbname=' || current_database(), 'select 1') as t (x int);"
    )

    async def scenario() -> None:
        changelogs.write(tmp_path, {"a.sql": text})
        async with building(rig) as server:
            [step] = await PsqlRecipe().steps(psql(tmp_path, "-f", "a.sql"), LOCAL)
            await PsqlRunner().execute(step, LOCAL, server, rig.runtime, unheard)

    asyncio.run(scenario())
