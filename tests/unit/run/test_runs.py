"""Runs and holds on adapters in memory: what is said, how it ends, and dead servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pgstrata.domain.instance import Instance, Server
from pgstrata.domain.run import RunEvent, RunRequest, RunStep
from pgstrata.errors import (
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    ProgramError,
    ProgramsNotAllowedError,
    ServerError,
    StoreUnusableError,
)
from pgstrata.instances.restarting import Restarting
from pgstrata.registry.registry import Registry
from pgstrata.run.holds import Holds
from pgstrata.run.runs import Runs
from pgstrata.runtime.base import ToolCommand, ToolExit
from pgstrata.runtime.memory import ToolRun
from tests.unit.deletion.test_deletion import deletion_of
from tests.unit.instances.test_leases import Clock
from tests.unit.prepare.heart import Heart, engine, run


class Rig:
    """An engine in memory with one instance, called dev."""

    def __init__(self, heart: Heart, instance: Instance) -> None:
        self.heart = heart
        self.instance = instance
        self.calls: list[ToolCommand] = []
        self.ways: list[ToolRun] = []
        """What the tool does, call after call; then it succeeds."""
        self.runs = self.made()
        heart.runtime.tool = self._tool

    def made(self, *, programs_allowed: bool = True) -> Runs:
        return Runs(
            registry=self.registry,
            restarting=restarting_of(self.heart),
            runtime=self.heart.runtime,
            programs_allowed=programs_allowed,
        )

    @property
    def registry(self) -> Registry:
        heart = self.heart
        return Registry(
            store=heart.store, runtime=heart.runtime, turns=heart.turns, settled=heart.settled
        )

    async def told(self) -> tuple[str, str | None]:
        """What a list says of the instance: its status, and why it has no server."""
        entry = await self.registry.instance("dev")
        assert entry is not None
        return entry.status, entry.stopped

    def _tool(self, _server: Server, command: ToolCommand) -> ToolRun:
        self.calls.append(command)
        return self.ways.pop(0) if self.ways else ToolRun()

    async def said(self, **request: Any) -> list[RunEvent]:
        request = {"instance_ref": "dev", "kind": "psql", **request}
        async with aclosing(await self.runs.begin(RunRequest(**request))) as events:
            return [event async for event in events]


def restarting_of(heart: Heart) -> Restarting:
    return Restarting(
        root=heart.root,
        statefs=heart.statefs,
        runtime=heart.runtime,
        store=heart.store,
        limits=heart.host_limits,
        turns=heart.turns,
    )


@asynccontextmanager
async def rig(root: Path) -> AsyncIterator[Rig]:
    async with engine(Heart(root)) as heart:
        job = await heart.finish("a", instance_name="dev")
        assert job.result is not None
        instance = await heart.store.instance(job.result.instance_id)
        assert instance is not None
        yield Rig(heart, instance)


def brief(events: list[RunEvent]) -> list[tuple[str, object]]:
    return [(each.type, each.data if each.exit_code is None else each.exit_code) for each in events]


def ended(code: int) -> ToolExit:
    return ToolExit(exit_code=code, stderr_tail="")


def test_a_run_begins_says_what_the_tool_says_and_ends_with_its_exit_code(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as it:
            it.ways = [ToolRun(lines=("one", "zwei ä"), complaints=("oh",), ended=ended(7))]
            events = await it.said(args=("-c", "x"), stdin="in")
            assert brief(events) == [
                ("start", None),
                ("stderr", "oh\n"),
                ("stdout", "one\n"),
                ("stdout", "zwei ä\n"),
                ("exit", 7),
            ]
            assert events[0].instance_id == it.instance.instance_id
            [call] = it.calls
            assert (call.tool, call.args, call.stdin, call.trusted) == (
                "psql",
                ("-c", "x"),
                "in",
                False,
            )

    run(scenario())


def test_steps_are_calls_one_after_the_other_up_to_one_that_fails(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as it:
            it.ways = [ToolRun(), ToolRun(ended=ended(3))]
            steps = tuple(RunStep(args=(f"-c{n}",), stdin=str(n)) for n in range(3))
            assert brief(await it.said(steps=steps)) == [("start", None), ("exit", 3)]
            assert [(call.args, call.stdin) for call in it.calls] == [
                (("-c0",), "0"),
                (("-c1",), "1"),
            ]

    run(scenario())


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"instance_ref": "nobody"}, NotFoundError),
        ({"instance_ref": "c0ffee"}, InvalidArgumentError),
        ({"args": ("-h", "elsewhere")}, InvalidArgumentError),
        ({"steps": (RunStep(args=("-qd", "x")),)}, InvalidArgumentError),
        ({"steps": (RunStep(),), "args": ("-q",)}, InvalidArgumentError),
        ({"steps": (RunStep(),), "stdin": ""}, InvalidArgumentError),
        ({"args": ("-f", "-"), "stdin": " \n"}, InvalidArgumentError),
        ({"steps": (RunStep(args=("-c", "1")), RunStep(args=("-f-",)))}, InvalidArgumentError),
        ({"steps": (RunStep(),), "kind": "pgbench"}, InvalidArgumentError),
        ({"command": "/bin/sh"}, InvalidArgumentError),
        ({"args": ("-c", "x" * 128 * 1024)}, InvalidArgumentError),
        ({"steps": (RunStep(args=("-c", "é" * 64 * 1024)),)}, InvalidArgumentError),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_run(
    tmp_path: Path, request_: dict[str, Any], error: type[Exception]
) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as it:
            with pytest.raises(error):
                await it.said(**request_)
            assert it.calls == []
            assert brief(await it.said(command="/usr/bin/psql")) == [("start", None), ("exit", 0)]

    run(scenario())


def test_an_engine_whose_clients_may_run_no_programs_runs_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as it:
            it.runs = it.made(programs_allowed=False)
            with pytest.raises(ProgramsNotAllowedError):
                await it.said()

    run(scenario())


def test_a_tool_that_cannot_be_started_is_an_error_in_the_stream(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as it:

            def broken(_server: Server, _command: ToolCommand) -> ToolRun:
                raise ProgramError("there is no psql")

            it.heart.runtime.tool = broken
            begun, failed = await it.said()
            assert (begun.type, failed.type) == ("start", "error")
            assert failed.error is not None
            assert failed.error.code == "program_failed"

    run(scenario())


def test_a_reader_who_leaves_ends_the_tool_however_far_ahead_it_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as it:
            it.ways = [ToolRun(lines=("much",) * 1000, hangs=True)]
            request = RunRequest(instance_ref="dev", kind="psql")
            async with aclosing(await it.runs.begin(request)) as events:
                assert (await anext(events)).type == "start"
                assert (await anext(events)).data == "much\n"
            names = [task.get_name() for task in asyncio.all_tasks()]
            assert not any(name.startswith("run of") for name in names)

    run(scenario())


def test_a_dead_server_is_started_again_once_and_that_is_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as it:
            it.heart.runtime.kill(it.instance.server)
            both = await asyncio.gather(it.runs.running("dev"), it.runs.running("dev"))
            assert sorted(one.restarted for one in both) == [False, True]
            assert len(it.heart.runtime.running) == 1
            it.heart.runtime.kill(it.heart.runtime.running[0])
            said = brief(await it.said())
            assert [kind for kind, _ in said] == ["start", "log", "exit"]
            assert "started again" in str(said[1][1])
            found = await it.heart.store.instance(it.instance.instance_id)
            assert found is not None
            assert (found.server,) == it.heart.runtime.running
            assert replace(found, server=it.instance.server) == it.instance

    run(scenario())


def test_a_dead_server_that_does_not_start_again_is_told_with_what_helps(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as it:
            it.heart.runtime.kill(it.instance.server)
            data = tmp_path / "instances" / it.instance.instance_id / "data"
            it.heart.disk.remove_tree(data / "PG_VERSION")
            with pytest.raises(ServerError) as told:
                await it.runs.running("dev")
            assert "pgstrata reset dev" in (told.value.remedy or "")

    run(scenario())


def test_a_name_means_the_instance_that_has_it_when_its_turn_comes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as it:
            async with it.heart.turns.take(it.instance.instance_id):
                waiting = asyncio.ensure_future(it.runs.running("dev"))
                for _ in range(100):
                    await asyncio.sleep(0)
                await it.heart.runtime.stop(it.instance.server, clean=False)
                await it.heart.store.remove_instance(it.instance.instance_id)
                result = (await it.heart.finish("b", instance_name="dev")).result
            assert result is not None
            assert (await waiting).instance_id == result.instance_id

    run(scenario())


def test_data_from_before_the_machine_was_booted_is_not_trusted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as it:
            it.heart.runtime.boot()
            with pytest.raises(ConflictError, match="fsync") as refused:
                await it.said()
            for way in ("pgstrata reset dev", "pgstrata start --anyway dev"):
                assert way in (refused.value.remedy or "")
            assert it.heart.runtime.running == ()
            status, why = await it.told()
            assert (status, "pgstrata start --anyway dev" in (why or "")) == ("orphaned", True)

    run(scenario())


def test_data_that_is_not_trusted_is_started_from_when_somebody_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as it:
            it.heart.runtime.boot()
            started = await it.runs.running("dev", anyway=True)
            assert (started.restarted, started.dsn) == (True, it.instance.dsn)
            assert await it.told() == ("active", None)
            assert not (await it.runs.running("dev", anyway=True)).restarted

    run(scenario())


def test_an_instance_whose_server_ended_says_what_to_do(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as it:
            assert await it.told() == ("active", None)
            it.heart.runtime.kill(it.instance.server)
            status, why = await it.told()
            assert (status, "pgstrata start dev" in (why or "")) == ("orphaned", True)

    run(scenario())


def test_an_instance_whose_data_is_gone_is_not_started_but_can_be_reset(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as it:
            it.heart.runtime.boot()
            it.heart.disk.remove_tree(tmp_path / "instances" / it.instance.instance_id)
            with pytest.raises(ConflictError, match="is gone") as refused:
                await it.runs.running("dev", anyway=True)
            assert "pgstrata reset dev" in (refused.value.remedy or "")

    run(scenario())


def test_an_instance_whose_data_is_gone_says_that_only_a_reset_helps(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as it:
            it.heart.disk.remove_tree(tmp_path / "instances" / it.instance.instance_id)
            status, why = await it.told()
            assert (status, why) == ("orphaned", "its data is gone: pgstrata reset dev")

    run(scenario())


def test_a_server_whose_instance_is_removed_as_it_starts_does_not_stay(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as it:
            runtime, store = it.heart.runtime, it.heart.store
            runtime.kill(it.instance.server)
            starts = runtime.start

            async def removed_meanwhile(*args: Any, **kwargs: Any) -> Server:
                server = await starts(*args, **kwargs)
                await store.remove_instance(it.instance.instance_id)
                return server

            runtime.start = removed_meanwhile  # type: ignore[method-assign]
            with pytest.raises(NotFoundError):
                await it.runs.running("dev")
            assert runtime.running == ()

    run(scenario())


def test_a_held_instance_has_a_lease_that_is_extended_and_goes_when_it_is_released(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as it:
            slept: list[float] = []

            async def sleep(seconds: float) -> None:
                slept.append(seconds)

            deletion = deletion_of(it.heart)
            holds = Holds(store=it.heart.store, deletion=deletion, sleep=sleep)
            async with aclosing(await holds.hold(it.instance.instance_id)) as held:
                first, second = await anext(held), await anext(held)
                assert second.expires_at > first.expires_at
                stored = await it.heart.store.instance(it.instance.instance_id)
                assert stored is not None
                assert stored.expires_at == second.expires_at
                assert slept
                await holds.release(it.instance.instance_id)
                assert [each async for each in held] == []
            await holds.release(it.instance.instance_id)
            assert it.heart.runtime.running == ()
            with pytest.raises(NotFoundError):
                await holds.hold(it.instance.instance_id)

    run(scenario())


@pytest.mark.parametrize("for_long", [False, True])
def test_a_hold_outlives_a_store_that_cannot_be_written_for_as_long_as_its_lease_does(
    for_long: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as it:
            clock, tries = Clock(), 0
            store, extend = it.heart.store, it.heart.store.extend
            holds = Holds(store=store, deletion=deletion_of(it.heart), now=clock, sleep=clock.sleep)

            async def failing(instance_id: str, until: datetime) -> bool:
                nonlocal tries
                tries += 1
                if for_long or tries < 3:
                    raise StoreUnusableError("the database is locked")
                return await extend(instance_id, until)

            async with aclosing(await holds.hold(it.instance.instance_id)) as held:
                first = await anext(held)
                monkeypatch.setattr(store, "extend", failing)
                if for_long:
                    with pytest.raises(StoreUnusableError):
                        await anext(held)
                    assert clock.now >= first.expires_at
                else:
                    second = await anext(held)
                    assert clock.now < first.expires_at < second.expires_at
                    assert tries == 3

    run(scenario())
