"""States and instances are compared, and nothing of that is left."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pgstrata.diff import comparing
from pgstrata.diff.comparing import Comparing
from pgstrata.domain.comparison import ComparisonRequest
from pgstrata.domain.instance import Instance, Server
from pgstrata.errors import (
    ConflictError,
    InvalidArgumentError,
    NotComparedError,
    NotFoundError,
    ServerError,
    StateDamagedError,
)
from pgstrata.instances.restarting import Restarting
from pgstrata.runtime.base import ToolCommand, ToolExit
from pgstrata.runtime.memory import ToolRun
from pgstrata.statefs.layers import MARKER
from tests.servers import data_dir_of
from tests.unit.prepare.heart import Heart, engine, run

Tool = Callable[[Server, ToolCommand], ToolRun]


def comparing_of(heart: Heart, pg_dump: Tool | None = None) -> Comparing:
    """Compares; each step that was run is an object in the dump of ``pg_dump``, unless given."""

    def dumped(server: Server, _command: ToolCommand) -> ToolRun:
        steps = (heart.disk.read(data_dir_of(server) / "steps") or b"").decode().split()
        header = "--\n-- Name: {0}; Type: STEP; Schema: -; Owner: \n--\n\nRUN {0};"
        return ToolRun(lines=tuple("\n".join(map(header.format, steps)).splitlines()))

    steps, dump = heart.runtime.tool, pg_dump or dumped

    def tool(server: Server, command: ToolCommand) -> ToolRun:
        is_dump = command.tool.endswith("/bin/pg_dump")
        return dump(server, command) if is_dump else steps(server, command)

    heart.runtime.tool = tool
    return Comparing(
        files=heart.files,
        snapshots=heart.snapshots,
        restarting=Restarting(
            root=heart.root,
            statefs=heart.statefs,
            runtime=heart.runtime,
            store=heart.store,
            limits=heart.host_limits,
            turns=heart.turns,
        ),
        runtime=heart.runtime,
        dbms=heart.dbms,
        store=heart.store,
        in_use=heart.in_use,
        limits=heart.host_limits,
        suspicion=heart.suspicion,
    )


async def two(heart: Heart) -> Instance:
    """The instance ``dev``, with a step more than the state ``seeded``, which was made of it."""
    job = await heart.finish("a", instance_name="dev")
    assert job.result is not None
    await heart.instance_snapshots.snapshot(job.result.instance_id, name="seeded")
    instance = await heart.store.instance(job.result.instance_id)
    assert instance is not None
    heart.disk.write(data_dir_of(instance.server) / "steps", b"a\nb\n")
    return instance


async def check_nothing_is_left(heart: Heart, instance: Instance) -> None:
    [after] = await heart.store.instances()
    assert heart.runtime.running == (after.server,)
    assert after.dsn == instance.dsn
    assert await heart.statefs.volumes(heart.root / "work") == []
    assert heart.in_use.held == frozenset()


def test_a_state_and_an_instance_are_compared(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            instance = await two(heart)
            compare = comparing_of(heart).compare
            found = await compare(ComparisonRequest(a="seeded", b="dev", rows=True))
            assert (found.different, found.added, found.removed) == (True, ("STEP b",), ())
            assert "+RUN b;" in found.schema
            [rows] = found.rows or ()
            assert (rows.database, rows.table, rows.a, rows.b) == ("postgres", "public.steps", 1, 2)
            back = await compare(ComparisonRequest(a="dev", b="seeded"))
            assert (back.added, back.removed, back.rows) == ((), ("STEP b",), None)
            same = await compare(ComparisonRequest(a=instance.instance_id[:8], b="dev", rows=True))
            assert (same.different, same.schema) == (False, "")
            await check_nothing_is_left(heart, instance)

    run(scenario())


def test_rows_alone_make_a_difference(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            await two(heart)
            compare = comparing_of(heart, lambda _server, _command: ToolRun()).compare
            request = ComparisonRequest(a="seeded", b="dev")
            assert not (await compare(request)).different
            assert (await compare(replace(request, rows=True))).different

    run(scenario())


@pytest.mark.parametrize("how", ["start", "dump"])
def test_a_state_that_turns_out_to_be_damaged_is_removed_to_be_built_again(
    tmp_path: Path, how: str
) -> None:
    complaint = 'FATAL: could not open file "base/5/16384": No such file or directory'

    def dump(_server: Server, _command: ToolCommand) -> ToolRun:
        return ToolRun(ended=ToolExit(exit_code=1, stderr_tail=complaint))

    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("a")
            assert job.result is not None
            state_id = job.result.state_id
            compare = comparing_of(heart, dump).compare
            request = ComparisonRequest(a=state_id, b=state_id)
            if how == "dump":
                with pytest.raises(NotComparedError):
                    await compare(request)
            heart.disk.remove_tree(tmp_path / "states" / state_id / "data" / "steps")
            starts = heart.runtime.start

            async def start(*args: Any, **more: Any) -> Server:
                if how == "start":
                    raise ServerError(complaint)
                return await starts(*args, **more)

            heart.runtime.start = start  # type: ignore[method-assign]
            with pytest.raises(StateDamagedError, match="was damaged"):
                await compare(request)
            del heart.runtime.start
            assert await heart.statefs.volumes(heart.root / "work") == []
            assert heart.in_use.held == frozenset()
            again = await heart.finish("a")
            assert await heart.cached(again.job_id) == [False]

    run(scenario())


def test_an_instance_whose_server_ended_is_started_again_for_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            instance = await two(heart)
            heart.runtime.kill(instance.server)
            found = await comparing_of(heart).compare(ComparisonRequest(a="seeded", b="dev"))
            assert found.different
            await check_nothing_is_left(heart, instance)

    run(scenario())


@pytest.mark.parametrize(
    ("a", "error"),
    [("nope", NotFoundError), ("abc", InvalidArgumentError), ("", InvalidArgumentError)],
)
def test_what_is_not_known_is_refused(tmp_path: Path, a: str, error: type[Exception]) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            instance = await two(heart)
            with pytest.raises(error):
                await comparing_of(heart).compare(ComparisonRequest(a=a, b="dev"))
            await check_nothing_is_left(heart, instance)

    run(scenario())


def test_a_state_whose_files_are_damaged_is_not_compared(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            instance = await two(heart)
            state = await heart.store.state_named("seeded")
            assert state is not None
            heart.disk.remove_tree(heart.root / "states" / state.state_id / MARKER)
            with pytest.raises(ConflictError, match="missing or damaged"):
                await comparing_of(heart).compare(ComparisonRequest(a="seeded", b="dev"))
            await check_nothing_is_left(heart, instance)

    run(scenario())


def test_what_cannot_be_compared_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = ToolRun(ended=ToolExit(exit_code=1, stderr_tail="pg_dump: error: no"))
    monkeypatch.setattr(comparing, "MAX_DUMP_BYTES", 100)
    huge = ToolRun(lines=("x" * 101,))

    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            instance = await two(heart)
            request = ComparisonRequest(a="seeded", b="dev")
            for ran, said in ((failed, "exit code 1"), (huge, "larger than")):
                with pytest.raises(NotComparedError, match=said):
                    await comparing_of(heart, lambda *_, ran=ran: ran).compare(request)
            with pytest.raises(NotComparedError, match="'shop'"):
                await comparing_of(heart).compare(replace(request, database="shop"))
            state = await heart.store.state_named("seeded")
            assert state is not None
            heart.disk.remove_tree(tmp_path / "states" / state.state_id)
            with pytest.raises(ConflictError, match="removed"):
                await comparing_of(heart).compare(request)
            await check_nothing_is_left(heart, instance)

    run(scenario())


def test_who_stops_comparing_leaves_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            instance = await two(heart)
            begun = asyncio.Event()

            def hang(_server: Server, _command: ToolCommand) -> ToolRun:
                begun.set()
                return ToolRun(hangs=True)

            call = asyncio.create_task(
                comparing_of(heart, hang).compare(ComparisonRequest(a="seeded", b="dev"))
            )
            await begun.wait()
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled()
            await check_nothing_is_left(heart, instance)

    run(scenario())
