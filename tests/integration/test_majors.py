"""Every supported major: its extensions, the main job, Liquibase."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgstrata.domain.image import Installation
from pgstrata.kinds.formats import BEGINNING, recognise
from pgstrata.kinds.liquibase.kind import LiquibaseKind
from pgstrata.runtime.base import ToolCommand, run_by_lines
from pgstrata.runtime.packaged.pins import extensions_by_major
from tests.clusters import (
    POSTGRES_HOME,
    NativeRig,
    connected,
    exactly,
    fetched,
    rig_below,
)
from tests.liquibase_runs import compare

MAJORS = ("10", "13", "15", "18")


@pytest.fixture(
    scope="module",
    params=["10", *(pytest.param(each, marks=pytest.mark.slow) for each in MAJORS[1:-1]), "18"],
)
def ours(request: pytest.FixtureRequest) -> Installation:
    return fetched(request.param)


@pytest.fixture(scope="module")
def rig(reachable_dir: Path, ours: Installation) -> Iterator[NativeRig]:
    with rig_below(reachable_dir / f"major-{ours.major}", exactly(ours)) as rig:
        yield rig


def test_every_extension_that_is_pinned_is_offered_and_can_be_created(
    rig: NativeRig, ours: Installation
) -> None:
    assert (ours.problem, ours.lacks) == (None, ())
    assert ours.extensions == extensions_by_major()[ours.major]

    async def scenario() -> None:
        server = await rig.runtime.start(rig.image, rig.cluster())
        try:
            with connected(server.endpoint.dsn) as connection:
                for name in ours.extensions:
                    made = f'create extension if not exists "{name}" cascade'
                    connection.execute(made.encode())
                connection.execute("create collation german (provider = icu, locale = 'de')")
                zone = "select timestamptz '2024-07-01 12:00+00' at time zone 'Europe/Berlin'"
                assert str(connection.execute(zone.encode()).fetchall()[0][0]).endswith("14:00:00")
        finally:
            await rig.runtime.stop(server, clean=False)

    asyncio.run(scenario())


def test_the_client_programs_serve_it(rig: NativeRig, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    lines: list[str] = []

    async def keep(line: str) -> None:
        lines.append(line)

    async def scenario() -> None:
        server = await rig.runtime.start(rig.image, rig.cluster())
        try:
            for tool, *args in (
                ("pgbench", "-i", "-q"),
                ("pgbench", "-t", "5"),
                ("pg_dump", "-Fc", "-f", str(tmp_path / "dump")),
                ("pg_dump", "-Ft", "-f", str(tmp_path / "tar")),
                ("pg_dump", "-Fp", "-f", str(tmp_path / "plain")),
                ("pg_dumpall", "--globals-only", "-f", str(tmp_path / "globals")),
                ("psql", "-Xqc", "create database again"),
                ("pg_restore", "-d", "again", str(tmp_path / "dump")),
                ("psql", "-XAt", "-d", "again", "-c", "select count(*) from pgbench_accounts"),
            ):
                command = ToolCommand(tool=tool, args=tuple(args), work_dir=tmp_path, trusted=True)
                ended = await run_by_lines(rig.runtime, server, command, keep)
                assert ended.exit_code == 0, (tool, ended.stderr_tail)
        finally:
            await rig.runtime.stop(server)

    asyncio.run(scenario())
    assert lines[-1] == "100000"
    for file, what in (("dump", "custom"), ("tar", "tar"), ("plain", None), ("globals", None)):
        found = recognise((tmp_path / file).read_bytes()[:BEGINNING])
        assert (found and found.what) == (what and f"a dump in pg_dump's {what} format")


CHANGELOG = """\
--liquibase formatted sql
--changeset ann:1
create table product (id serial primary key, name text not null, price numeric(10, 2));
--changeset ann:2
insert into product (name, price) values ('tea', 3.5), ('milk', 1.2);
--changeset ann:3 splitStatements:false
create function dear() returns bigint language plpgsql as $$
begin return (select count(*) from product where price > 2); end $$;
--changeset ann:4
create index product_name on product (name);
--changeset ann:5
alter table product add constraint positive check (price > 0);
"""


def test_liquibase_steps_come_to_what_a_plain_run_comes_to(
    rig: NativeRig, runner: asyncio.Runner, kind: LiquibaseKind, work: Path, tmp_path: Path
) -> None:
    (work / "changelog.sql").write_text(CHANGELOG)
    words = ("update", "--changelog-file=changelog.sql")
    assert compare(runner, kind, rig, work, tmp_path, *words) == 5


def test_it_runs_from_a_directory_with_a_space_and_a_comma(reachable_dir: Path) -> None:
    home = reachable_dir / "a home, moved"
    original = fetched("18")
    home.mkdir()
    for name in (original.bin_dir.parent.name, "clients-*"):
        for path in POSTGRES_HOME.glob(name):
            shutil.copytree(path, home / path.name, symlinks=True)
    ours = fetched("18", home)
    # The digest is the same wherever it lies: this home is the only one that is looked into.
    assert exactly(ours) == exactly(original)
    with rig_below(reachable_dir / "from-there", exactly(ours), home) as rig:

        async def scenario() -> str:
            server = await rig.runtime.start(rig.image, rig.cluster())
            try:
                with connected(server.endpoint.dsn) as connection:
                    connection.execute("create extension pgcrypto")
                    where = "select setting from pg_config where name = 'BINDIR'"
                    return str(connection.execute(where.encode()).fetchall()[0][0])
            finally:
                await rig.runtime.stop(server, clean=False)

        assert asyncio.run(scenario()) == str(ours.bin_dir)


def test_a_superuser_that_was_shut_out_is_let_in_again(rig: NativeRig) -> None:
    async def scenario() -> tuple[str, str]:
        data_dir = rig.cluster()
        async with rig.serving(data_dir) as server:
            with connected(server.endpoint.dsn) as connection:
                connection.execute("create role boss superuser")
                connection.execute("create database shop")
            shop = f"{server.endpoint.dsn.removesuffix('postgres')}shop"
            with connected(shop) as connection:
                connection.execute("drop database postgres")
                connection.execute("set session authorization boss")
                connection.execute("alter role postgres nologin")
        async with rig.serving(data_dir) as server:
            with connected(server.endpoint.dsn) as connection:
                row = connection.execute("select session_user, current_database()").fetchone()
        assert row is not None
        return row

    assert asyncio.run(scenario()) == ("postgres", "shop")
