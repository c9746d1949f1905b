"""What becomes of a server that takes more of the machine than it may, and of the others."""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pytest

from pgstrata.domain.instance import Server
from pgstrata.domain.sizes import Bytes
from pgstrata.runtime.limits import Allowed, Used, excess
from pgstrata.runtime.native import NativeRuntime
from pgstrata.settings import SandboxSettings, ServerLimits
from tests.acceptance.conftest import Terminal
from tests.clusters import NativeRig, connected, native_runtime, rig_below

LIMITS = ServerLimits(processes=16, memory=Bytes(150 << 20), disk=Bytes(40 << 20))

FILL_MEMORY = """
do $$
declare held text[];
begin
    for number in 1..400 loop
        held[number] := repeat('x', 1000000);
    end loop;
    perform pg_sleep(60);
end $$
"""


def be_many(server: Server) -> None:
    with ExitStack() as connections:
        first = connections.enter_context(connected(server.endpoint.dsn))
        # The kernel may refuse some, before anybody looks.
        with suppress(psycopg.OperationalError):
            for _ in range(15):
                connections.enter_context(connected(server.endpoint.dsn))
        first.execute("select pg_sleep(60)")


def fill_memory(server: Server) -> None:
    with connected(server.endpoint.dsn) as connection:
        connection.execute(FILL_MEMORY)


def fill_disk(server: Server) -> None:
    with connected(server.endpoint.dsn) as connection:
        connection.execute("create table t as select generate_series(1, 100000000)")


@pytest.fixture(scope="module")
def native(reachable_dir: Path) -> Iterator[NativeRig]:
    with rig_below(reachable_dir / "limits", "15") as native:
        yield native


@pytest.fixture(scope="module", params=["auto", pytest.param("off", marks=pytest.mark.slow)])
def limited(
    native: NativeRig, reachable_dir: Path, request: pytest.FixtureRequest
) -> NativeRuntime:
    sandbox = SandboxSettings(level=request.param)
    return native_runtime(reachable_dir / "limits", sandbox=sandbox, limits=LIMITS)


@pytest.mark.parametrize(
    ("attack", "limit"),
    [(be_many, "processes"), (fill_memory, "memory"), (fill_disk, "disk")],
)
def test_a_server_that_takes_too_much_is_stopped_and_the_others_go_on(
    native: NativeRig, limited: NativeRuntime, attack: Callable[[Server], None], limit: str
) -> None:
    async def scenario() -> str | None:
        neighbour = await limited.start(native.image, native.cluster())
        server = await limited.start(native.image, native.cluster())
        with connected(neighbour.endpoint.dsn) as connection:
            with pytest.raises(psycopg.OperationalError):
                await asyncio.to_thread(attack, server)
            assert connection.execute("select 1").fetchone() == (1,)
            assert limited.stopped_for(neighbour) is None
            reason = limited.stopped_for(server)
        await limited.stop(neighbour, clean=False)
        await limited.stop(server, clean=False)
        await limited.close()
        return reason

    assert f"instances.limits.{limit} is" in (asyncio.run(scenario()) or "")


def test_a_step_and_an_instance_that_took_too_much_say_so(pgstrata: Terminal) -> None:
    pgstrata.environment["PGSTRATA_INSTANCES_LIMITS_MEMORY"] = "150MB"
    failed = pgstrata("prepare:psql", "--", "-c", FILL_MEMORY, exit_code=1)
    assert re.search(
        r"took \d+ MB of memory \(instances\.limits\.memory is 150 MB\)", failed.stderr
    )
    dsn = pgstrata.prepare("-c", "select 1")
    with connected(dsn) as connection, pytest.raises(psycopg.OperationalError):
        connection.execute(FILL_MEMORY)
    [instance] = pgstrata.json("ls", "-i")["instances"]
    assert instance["status"] == "orphaned"
    assert "instances.limits.memory is 150 MB" in instance["stopped"]
    assert "the server was stopped because" in pgstrata("ls", "-i", "--wide").stdout
    pgstrata("engine", "stop")
    assert pgstrata.json("ls", "-i")["instances"] == [instance]


def test_no_limit_is_no_limit() -> None:
    much = Used(processes=10**6, memory=10**15, disk=10**15)
    assert excess(much, Allowed()) is None
    assert excess(Used(processes=39, memory=1, disk=1), Allowed(40, 1, 1)) is None
