"""An instance is found by its id, its name, or the beginning of its id."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from pgstrata.cache.settled import SettledCopies
from pgstrata.domain.instance import Endpoint, Instance, Server
from pgstrata.domain.state import State
from pgstrata.errors import InvalidArgumentError, NotFoundError
from pgstrata.registry.registry import Registry
from pgstrata.runtime.memory import MemoryRuntime
from pgstrata.statefs.memory import MemoryStateFS
from pgstrata.store.memory import MemoryStore
from pgstrata.system.memory_disk import MemoryDisk
from pgstrata.system.turns import Turns

FIRST, SECOND, OTHER = "c0ffee00" + "1" * 24, "c0ffee00" + "2" * 24, "beef" * 8
STATE = State(
    state_id="a" * 64,
    parent_state_id=None,
    image_id="postgres@sha256:1",
    prepare_kind="psql",
    prepare_args_normalized="",
    created_at=datetime.now(UTC),
    refcount=0,
)
ENDPOINT = Endpoint(
    host="127.0.0.1", port=1, socket_dir=Path("/run"), user="u", password="p", database="d"
)


def settled_of(store: MemoryStore) -> SettledCopies:
    return SettledCopies(root=Path("/"), statefs=MemoryStateFS(MemoryDisk()), store=store)


def test_a_state_is_listed_by_its_name_if_the_other_filters_match() -> None:
    async def listed(**filters: str) -> list[str]:
        store = MemoryStore()
        for state_id, name in (("a" * 64, "seeded"), ("b" * 64, "other"), ("c" * 64, None)):
            await store.add_state(replace(STATE, state_id=state_id, name=name))
        runtime = MemoryRuntime(MemoryDisk())
        registry = Registry(store=store, runtime=runtime, turns=Turns(), settled=settled_of(store))
        return [state.state_id[0] for state in await registry.states(**filters)]

    assert asyncio.run(listed(name="seeded")) == ["a"]
    assert asyncio.run(listed(name="seeded", id_prefix="a" * 8, kind="psql")) == ["a"]
    assert asyncio.run(listed(name="seeded", id_prefix="b" * 8)) == []
    assert asyncio.run(listed(name="seeded", kind="lb")) == []
    assert asyncio.run(listed(name="nobody")) == []


def find(ref: str) -> str:
    """The id of what is found among three instances: one is called like the beginning of another,
    one has no name."""

    async def found() -> str:
        store = MemoryStore()
        await store.add_state(STATE)
        for instance_id, name in ((FIRST, "dev"), (SECOND, "beefbeef"), (OTHER, None)):
            await store.add_instance(
                Instance(
                    instance_id=instance_id,
                    image_id=STATE.image_id,
                    state_id=STATE.state_id,
                    name=name,
                    created_at=STATE.created_at,
                    expires_at=None,
                    server=Server(
                        endpoint=ENDPOINT, runtime_id="1", title="it", log="log", handle="{}"
                    ),
                )
            )
        runtime = MemoryRuntime(MemoryDisk())
        registry = Registry(store=store, runtime=runtime, turns=Turns(), settled=settled_of(store))
        return (await registry.find(ref)).instance_id

    return asyncio.run(found())


@pytest.mark.parametrize(
    ("ref", "instance_id"),
    [
        (FIRST, FIRST),
        (FIRST.upper(), FIRST),
        ("dev", FIRST),
        ("c0ffee002", SECOND),
        ("C0FFEE0022", SECOND),
        ("beefbeefb", OTHER),
        ("beefbeef", SECOND),
    ],
)
def test_whichever_way_an_instance_is_meant_it_is_found(ref: str, instance_id: str) -> None:
    assert find(ref) == instance_id


@pytest.mark.parametrize("ref", ["", "c0ffee0", "b"])
def test_too_few_characters_of_an_id_are_refused(ref: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        find(ref)
    assert "8 or more" in (refused.value.remedy or "")


def test_the_beginning_of_several_ids_is_refused_with_all_of_them() -> None:
    with pytest.raises(InvalidArgumentError, match="2 instances") as refused:
        find("c0ffee00")
    assert (refused.value.details or "").split() == [SECOND, FIRST]


@pytest.mark.parametrize("ref", ["c0ffee01", "Dev", "f" * 32, "no such", "%", "c0ffee0_"])
def test_what_is_meant_by_nothing_is_not_found(ref: str) -> None:
    with pytest.raises(NotFoundError):
        find(ref)
