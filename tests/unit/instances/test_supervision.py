"""Servers that are started again by themselves, and those that are not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pgstrata.domain.instance import Instance, Server
from pgstrata.instances.supervision import LEAST_SECONDS, Supervision
from tests.unit.prepare.heart import run
from tests.unit.run.test_runs import Rig, restarting_of, rig


class Supervised(Rig):
    """An instance, called dev, whose server is looked after."""

    def __init__(self, it: Rig) -> None:
        super().__init__(it.heart, it.instance)
        self.clock = 0.0
        self.supervision = Supervision(
            store=self.heart.store,
            runtime=self.heart.runtime,
            restarting=restarting_of(self.heart),
            now=lambda: self.clock,
        )

    async def swept(self) -> tuple[Server, ...]:
        """The servers that run after all were looked after."""
        await self.supervision.sweep()
        return self.heart.runtime.running

    def kill(self) -> None:
        [server] = self.heart.runtime.running
        self.heart.runtime.kill(server)


@asynccontextmanager
async def supervised(root: Path) -> AsyncIterator[Supervised]:
    async with rig(root) as it:
        yield Supervised(it)


def test_a_server_that_ended_is_started_again_with_its_port_and_password(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with supervised(tmp_path) as it:
            assert await it.swept() == (it.instance.server,)
            it.kill()
            [server] = await it.swept()
            assert server.endpoint.address == it.instance.server.endpoint.address
            assert await it.told() == ("active", None)

    run(scenario())


def test_a_server_that_ends_again_soon_stays_down_and_one_that_ran_for_long_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with supervised(tmp_path) as it:
            for _ in range(3):
                it.kill()
                assert len(await it.swept()) == 1
                it.clock += LEAST_SECONDS
            it.kill()
            await it.swept()
            it.clock += LEAST_SECONDS / 2
            it.kill()
            assert [await it.swept() for _ in range(3)] == [()] * 3
            it.clock += 2 * LEAST_SECONDS
            assert await it.swept() == ()
            assert caplog.text.count("is not started again") == 1
            # Somebody who has found out why may do it.
            await it.runs.running("dev")
            it.clock += LEAST_SECONDS
            it.kill()
            assert len(await it.swept()) == 1

    run(scenario())


def test_nothing_is_started_from_data_of_another_boot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with supervised(tmp_path) as it:
            it.heart.runtime.boot()
            assert [await it.swept() for _ in range(2)] == [()] * 2
            assert caplog.text.count("fsync") == 1

    run(scenario())


def test_a_server_for_which_there_is_no_memory_is_started_once_there_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with supervised(tmp_path) as it:
            memory, it.heart.memory = it.heart.memory, 0
            it.kill()
            assert [await it.swept() for _ in range(2)] == [()] * 2
            assert caplog.text.count("is not started again") == 1
            it.heart.memory = memory
            assert len(await it.swept()) == 1

    run(scenario())


def test_a_server_that_cannot_be_looked_at_keeps_no_other_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with supervised(tmp_path) as it:
            await it.heart.finish("b")
            runtime = it.heart.runtime
            alive, start = runtime.alive, runtime.start
            hidden, down = [one.server for one in await it.heart.store.instances()]

            async def failing(server: Server) -> bool:
                if server == hidden:
                    raise OSError("too many open files")
                return await alive(server)

            async def refusing(*_: object, **__: object) -> Server:
                raise OSError("too many open files")

            runtime.kill(hidden)
            runtime.kill(down)
            monkeypatch.setattr(runtime, "alive", failing)
            monkeypatch.setattr(runtime, "start", refusing)
            assert [await it.swept() for _ in range(3)] == [()] * 3
            assert caplog.text.count("too many open files") == 2
            monkeypatch.setattr(runtime, "start", start)
            assert len(await it.swept()) == 1
            monkeypatch.setattr(runtime, "alive", alive)
            assert len(await it.swept()) == 2

    run(scenario())


def test_servers_are_looked_after_after_a_failure_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with supervised(tmp_path) as it:
            looks: asyncio.Queue[None] = asyncio.Queue()
            instances = it.heart.store.instances

            async def sleep(_seconds: float) -> None:
                monkeypatch.setattr(it.heart.store, "instances", instances)
                await looks.put(None)
                await asyncio.sleep(0)

            async def failing() -> list[Instance]:
                raise OSError("too many open files")

            monkeypatch.setattr(it.heart.store, "instances", failing)
            it.kill()
            supervision = Supervision(
                store=it.heart.store,
                runtime=it.heart.runtime,
                restarting=restarting_of(it.heart),
                wanted=True,
                sleep=sleep,
            )
            async with supervision:
                for _ in range(2):
                    await looks.get()
                assert len(it.heart.runtime.running) == 1

    run(scenario())


def test_servers_are_looked_after_only_while_that_is_wanted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with supervised(tmp_path) as it:
            looks: asyncio.Queue[None] = asyncio.Queue()

            async def sleep(_seconds: float) -> None:
                await looks.put(None)
                await asyncio.sleep(0)

            supervision = Supervision(
                store=it.heart.store,
                runtime=it.heart.runtime,
                restarting=restarting_of(it.heart),
                sleep=sleep,
            )
            it.kill()
            async with supervision:
                for _ in range(100):
                    await asyncio.sleep(0)
                assert it.heart.runtime.running == ()
                supervision.want(wanted=True)
                await looks.get()
                assert len(it.heart.runtime.running) == 1

    run(scenario())
