"""Names as they are listed: with their instance, without it, and given to others."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from pgstrata.domain.model import utc_now
from pgstrata.errors import InvalidArgumentError
from pgstrata.registry.registry import Registry
from pgstrata.system.turns import of_name
from tests.unit.prepare.heart import Heart, engine, run


def test_a_name_is_active_expired_and_missing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            registry = Registry(
                store=heart.store, runtime=heart.runtime, turns=heart.turns, settled=heart.settled
            )
            job = await heart.finish("a", instance_name="dev")
            assert job.result is not None
            active = await registry.name("dev")
            assert active is not None
            assert (active.status, active.dsn) == ("active", job.result.dsn)
            await heart.store.extend(job.result.instance_id, utc_now())
            assert await registry.names() == [replace(active, status="expired")]
            await heart.store.remove_instance(job.result.instance_id)
            gone = replace(active, status="missing", instance_id=None, dsn=None)
            assert await registry.names(state_id=active.state_id) == [gone]
            assert await registry.names(state_id="f" * 64) == []
            assert await registry.names(instance_id=job.result.instance_id) == []
            assert await registry.unbind_name("dev")
            assert await registry.name("dev") is None

    run(scenario())


def test_a_missing_name_is_given_to_another_instance(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            registry = Registry(
                store=heart.store, runtime=heart.runtime, turns=heart.turns, settled=heart.settled
            )
            first = (await heart.finish("a", instance_name="dev")).result
            other = (await heart.finish("a")).result
            assert first is not None
            assert other is not None
            await heart.store.remove_instance(first.instance_id)
            bound = await registry.bind_name("dev", other.instance_id)
            assert (bound.instance_id, bound.dsn) == (other.instance_id, other.dsn)
            assert await registry.names() == [bound]
            with pytest.raises(InvalidArgumentError, match="cannot be a name"):
                await registry.bind_name("f" * 32, other.instance_id)

    run(scenario())


def test_a_name_is_given_and_taken_away_when_nobody_changes_it_or_its_instance(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            registry = Registry(
                store=heart.store, runtime=heart.runtime, turns=heart.turns, settled=heart.settled
            )
            result = (await heart.finish("a", instance_name="dev")).result
            assert result is not None
            changes: dict[str, Callable[[], Awaitable[object]]] = {
                result.instance_id: lambda: registry.bind_name("new", result.instance_id),
                of_name("new"): lambda: registry.unbind_name("new"),
                of_name("old"): lambda: registry.bind_name("old", result.instance_id),
            }
            for key, change in changes.items():
                before = await registry.names()
                async with heart.turns.take(key):
                    changing = asyncio.ensure_future(change())
                    for _ in range(100):
                        await asyncio.sleep(0)
                    assert await registry.names() == before
                await changing
                assert await registry.names() != before

    run(scenario())
