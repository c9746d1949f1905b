"""Leases: what happens to instances whose time is over."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pgstrata.domain.durations import Seconds
from pgstrata.domain.instance import Instance, Server
from pgstrata.domain.model import utc_now
from pgstrata.errors import ServerError, StoreUnusableError
from pgstrata.instances.leases import LOOK_SECONDS, Leases, pause
from pgstrata.settings import InstanceLimits
from tests.servers import data_dir_of
from tests.unit.deletion.test_deletion import deletion_of
from tests.unit.prepare.heart import SETTINGS, Heart, engine, run

HOUR = timedelta(hours=1)


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self, lookers: int = 1) -> None:
        self.now = utc_now()
        self.slept: list[float] = []
        self.enough = asyncio.Event()
        self._looks = lookers

    def __call__(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)
        if len(self.slept) >= self._looks:
            self.enough.set()
        await asyncio.sleep(0)


async def leased(heart: Heart, seconds: int | None, step: str = "a") -> Instance:
    job = await heart.finish(step, instance_ttl=seconds)
    assert job.result is not None
    instance = await heart.store.instance(job.result.instance_id)
    assert instance is not None
    return instance


def leases_of(heart: Heart, clock: Clock) -> Leases:
    return Leases(store=heart.store, deletion=deletion_of(heart), now=clock, sleep=clock.sleep)


def test_an_instance_whose_time_is_over_goes_with_server_and_files_and_no_other(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            short, long, endless = [await leased(heart, ttl) for ttl in (60, 7200, None)]
            clock = Clock()
            leases = leases_of(heart, clock)
            await leases.sweep()
            assert len(await heart.store.instances()) == 3
            clock.now += HOUR
            await leases.sweep()
            assert await heart.store.instances() == [endless, long]
            assert short.server not in heart.runtime.running
            assert len(await heart.statefs.volumes(tmp_path / "instances")) == 2

    run(scenario())


def test_one_that_is_used_gets_more_time_says_so_and_goes_once_it_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            used = await leased(heart, 300)
            heart.dbms.clients[used.server.runtime_id] = 2
            clock = Clock()
            leases = leases_of(heart, clock)
            clock.now += HOUR
            with caplog.at_level("INFO"):
                await leases.sweep()
            assert "used by 2 clients" in caplog.text
            [kept] = await heart.store.instances()
            assert kept.extensions == 1
            assert kept.expires_at == clock.now + timedelta(minutes=5)
            assert used.server in heart.runtime.running
            del heart.dbms.clients[used.server.runtime_id]
            await leases.sweep()
            assert await heart.store.instances() == [kept]
            clock.now += timedelta(minutes=5)
            await leases.sweep()
            assert await heart.store.instances() == []

    run(scenario())


def test_one_that_cannot_be_removed_keeps_no_other_from_going(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            deaf, other = await leased(heart, 60), await leased(heart, 90)
            heart.disk.write(data_dir_of(deaf.server) / "postmaster.pid", b"1\n")
            clock = Clock()
            clock.now += HOUR
            await leases_of(heart, clock).sweep()
            [kept] = await heart.store.instances()
            assert kept.instance_id == deaf.instance_id
            assert other.server not in heart.runtime.running

    run(scenario())


def test_one_that_lets_nobody_in_gets_more_time_like_one_that_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            deaf = await leased(heart, 60)
            pid_file = data_dir_of(deaf.server) / "postmaster.pid"
            answering = heart.disk.read(pid_file)
            assert answering is not None
            heart.disk.write(pid_file, b"1\n")
            clock = Clock(lookers=12)
            clock.now += HOUR
            async with leases_of(heart, clock):
                await clock.enough.wait()
            assert set(clock.slept) == {LOOK_SECONDS}
            assert caplog.text.count("does not answer") == 1
            heart.disk.write(pid_file, answering)
            clock.now += HOUR
            await leases_of(heart, clock).sweep()
            assert await heart.store.instances() == []

    run(scenario())


def test_one_whose_server_cannot_be_stopped_is_gone_and_not_said_to_get_more_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            await leased(heart, 60)

            async def failing(_server: Server, *, clean: bool = True) -> None:
                raise ServerError("no luck")

            monkeypatch.setattr(heart.runtime, "stop", failing)
            clock = Clock()
            clock.now += HOUR
            await leases_of(heart, clock).sweep()
            assert await heart.store.instances() == []
            assert "no luck" in caplog.text
            assert "extended" not in caplog.text

    run(scenario())


def test_one_that_cannot_be_given_more_time_is_not_tried_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            used = await leased(heart, 60)
            heart.dbms.clients[used.server.runtime_id] = 1
            extend = heart.store.extend

            async def unusable(_instance_id: str, _until: datetime) -> bool:
                raise StoreUnusableError("the disk is full")

            monkeypatch.setattr(heart.store, "extend", unusable)
            clock = Clock(lookers=3)
            clock.now += HOUR
            leases = leases_of(heart, clock)
            async with leases:
                await clock.enough.wait()
            assert set(clock.slept) == {LOOK_SECONDS}
            assert await heart.store.instances() == [used]
            monkeypatch.setattr(heart.store, "extend", extend)
            await leases.sweep()
            assert (await heart.store.instances())[0].extensions == 1

    run(scenario())


def test_one_whose_lease_is_extended_while_others_are_ended_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            first, second, _ = [await leased(heart, ttl) for ttl in (60, 90, 120)]
            clock = Clock()
            clock.now += HOUR
            until = clock.now + HOUR
            connections = heart.dbms.connections

            async def extending(server: Server) -> int:
                if server == first.server:
                    await heart.store.extend(second.instance_id, until)
                return await connections(server)

            monkeypatch.setattr(heart.dbms, "connections", extending)
            await leases_of(heart, clock).sweep()
            [kept] = await heart.store.instances()
            assert kept.instance_id == second.instance_id
            assert kept.expires_at == until
            assert heart.runtime.running == (second.server,)

    run(scenario())


def test_the_watch_goes_on_after_a_failure_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            first, second = await leased(heart, 60), await leased(heart, 90)
            connections, next_expiry = heart.dbms.connections, heart.store.next_expiry
            failures = [True]

            async def refusing(server: Server) -> int:
                if server == first.server:
                    raise OSError("too many open files")
                return await connections(server)

            async def failing() -> datetime | None:
                if failures and failures.pop():
                    raise OSError("too many open files")
                return await next_expiry()

            monkeypatch.setattr(heart.dbms, "connections", refusing)
            monkeypatch.setattr(heart.store, "next_expiry", failing)
            clock = Clock(lookers=2)
            clock.now += HOUR
            async with leases_of(heart, clock):
                await clock.enough.wait()
                assert [one.instance_id for one in await heart.store.instances()] == [
                    first.instance_id
                ]
                assert second.server not in heart.runtime.running

    run(scenario())


def test_the_watch_ends_leases_in_their_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            await leased(heart, 7)
            clock = Clock(lookers=6)
            async with leases_of(heart, clock):
                await clock.enough.wait()
            assert await heart.store.instances() == []
            first, second, *later = clock.slept
            assert first == LOOK_SECONDS
            assert 1 < second < 3
            assert set(later) == {LOOK_SECONDS}

    run(scenario())


def test_what_expired_while_there_was_no_engine_goes_when_one_starts(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            await leased(heart, 60)
        heart.start_engine()
        clock = Clock()
        clock.now += HOUR
        async with engine(heart), leases_of(heart, clock):
            await clock.enough.wait()
            assert await heart.store.instances() == []
            assert heart.runtime.running == ()

    run(scenario())


def test_without_a_wish_an_instance_lives_as_long_as_is_configured(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = SETTINGS._replace(instances=InstanceLimits(default_ttl=Seconds(600)))
        async with engine(Heart(tmp_path, settings)) as heart:
            for wish, lives in ((None, 600), (60, 60)):
                instance = await leased(heart, wish)
                assert instance.expires_at is not None
                assert (instance.expires_at - instance.created_at).total_seconds() == lives

    run(scenario())


def test_a_pause_is_as_long_as_the_next_lease_within_bounds() -> None:
    now = utc_now()
    assert pause(None, now) == LOOK_SECONDS
    assert pause(now + HOUR, now) == LOOK_SECONDS
    assert pause(now + timedelta(seconds=2), now) == 2
    assert 0 < pause(now - HOUR, now) < 1
