"""What every store does, whichever keeps it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from pgstrata.domain.cache import Eviction, Totals
from pgstrata.domain.instance import Endpoint, Instance, Server
from pgstrata.domain.plan import TaskInput
from pgstrata.domain.reason import Evidence, RemovedFor, StepRecord
from pgstrata.domain.state import State, worth
from pgstrata.errors import ConflictError, NotFoundError
from pgstrata.sqlite.database import Database
from pgstrata.store.base import NAMES_KEPT, REMOVALS_KEPT, Store
from pgstrata.store.memory import MemoryStore
from pgstrata.store.sqlite import SqliteStore

Adapter = Literal["memory", "sqlite"]

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
IMAGE = "postgres@sha256:" + "1" * 64
OTHER_IMAGE = "postgres@sha256:" + "2" * 64


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(params=["memory", "sqlite"])
def store(
    request: pytest.FixtureRequest, runner: asyncio.Runner, tmp_path: Path
) -> Iterator[Store]:
    with opened(request.param, runner, tmp_path, REMOVALS_KEPT) as store:
        yield store


@pytest.fixture(params=["memory", "sqlite"])
def short_memory(
    request: pytest.FixtureRequest, runner: asyncio.Runner, tmp_path: Path
) -> Iterator[Store]:
    """A store that remembers three removals, and three names."""
    with opened(request.param, runner, tmp_path, 3, names_kept=3) as store:
        yield store


@contextmanager
def opened(
    adapter: Adapter,
    runner: asyncio.Runner,
    directory: Path,
    removals_kept: int,
    *,
    names_kept: int = NAMES_KEPT,
) -> Iterator[Store]:
    if adapter == "memory":
        yield MemoryStore(removals_kept=removals_kept, names_kept=names_kept)
        return
    database = runner.run(Database.open(directory / "pgstrata.db"))
    yield SqliteStore(database, removals_kept=removals_kept, names_kept=names_kept)
    runner.run(database.close())


def state_id(number: int) -> str:
    return f"{number:064x}"


def state(
    number: int,
    *,
    parent: int | None = None,
    image_id: str = IMAGE,
    kind: str = "psql",
    created_at: datetime = NOON,
) -> State:
    return State(
        state_id=state_id(number),
        parent_state_id=None if parent is None else state_id(parent),
        image_id=image_id,
        prepare_kind=kind,
        prepare_args_normalized="-f a.sql",
        created_at=created_at,
        refcount=0,
    )


def instance(
    number: int, *, of: int, name: str | None = None, image_id: str = IMAGE, hour: int = 12
) -> Instance:
    return Instance(
        instance_id=f"{number:032x}",
        image_id=image_id,
        state_id=state_id(of),
        name=name,
        created_at=NOON.replace(hour=hour),
        expires_at=NOON + timedelta(days=1, microseconds=1),
        server=Server(
            endpoint=Endpoint(
                host="127.0.0.1",
                port=5000,
                socket_dir=Path("/run/sockets"),
                user="u",
                password="p",
                database="d",
            ),
            runtime_id="4711",
            title="the server on /store/instances/ä/data",
            log="/store/instances/ä/server.log",
            handle='{"pid":4711}',
        ),
    )


def on_port(number: int, port: int, *, name: str, hour: int = 12) -> Instance:
    whole = instance(number, of=1, name=name, hour=hour)
    endpoint = msgspec.structs.replace(whole.server.endpoint, port=port)
    server = msgspec.structs.replace(whole.server, endpoint=endpoint)
    return msgspec.structs.replace(whole, server=server)


def ids(states: list[State]) -> list[int]:
    return [int(found.state_id, 16) for found in states]


def instance_ids(instances: list[Instance]) -> list[int]:
    return [int(found.instance_id, 16) for found in instances]


def fill(runner: asyncio.Runner, store: Store, *states: State) -> None:
    for each in states:
        runner.run(store.add_state(each))


def test_a_state_comes_back_as_it_was_stored(runner: asyncio.Runner, store: Store) -> None:
    stored = msgspec.structs.replace(
        state(1),
        size_bytes=2**40,
        last_used_at=NOON + timedelta(microseconds=1),
        use_count=3,
        min_retention_until=NOON + timedelta(hours=1),
    )
    fill(runner, store, stored)
    assert runner.run(store.state(state_id(1))) == stored
    assert runner.run(store.states()) == [stored]


def test_an_instance_is_found_by_its_job(runner: asyncio.Runner, store: Store) -> None:
    fill(runner, store, state(1))
    made = msgspec.structs.replace(instance(1, of=1), job_id="a")
    for each in (made, instance(2, of=1)):
        runner.run(store.add_instance(each))
    assert runner.run(store.instance_of_job("a")) == made
    assert runner.run(store.instance_of_job("b")) is None
    runner.run(store.remove_instance(made.instance_id))
    assert runner.run(store.instance_of_job("a")) is None


def test_it_is_remembered_how_many_servers_are_to_wait_for_a_state(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, state(1), state(2))
    assert runner.run(store.set_warm(state_id(1), 2))
    assert runner.run(store.set_warm(state_id(2), 1))
    assert not runner.run(store.set_warm(state_id(3), 1))
    fill(runner, store, state(1))
    assert runner.run(store.warm_states()) == {state_id(1): 2, state_id(2): 1}
    assert runner.run(store.set_warm(state_id(2), 0))
    assert runner.run(store.remove_state(state_id(1)))
    assert runner.run(store.warm_states()) == {}


def test_one_owner_at_a_time_has_the_lease_to_build_something(
    runner: asyncio.Runner, store: Store
) -> None:
    async def scenario() -> None:
        assert await store.lease_build("a", "us")
        assert await store.lease_build("a", "us")
        assert not await store.lease_build("a", "them")
        assert await store.lease_build("b", "them")
        assert await store.build_leases() == {"a": "us", "b": "them"}
        await store.end_build("a", "them")
        await store.end_build("nothing", "us")
        assert not await store.lease_build("a", "them")
        await store.end_build("a", "us")
        assert await store.lease_build("a", "them")
        await store.clear_build_leases()
        assert await store.build_leases() == {}

    runner.run(scenario())


def test_a_lease_ends_with_the_state_that_was_built_and_with_no_other(
    runner: asyncio.Runner, store: Store
) -> None:
    async def scenario() -> None:
        for number in (1, 2):
            assert await store.lease_build(state_id(number), "us")
        await store.add_state(state(1))
        assert len(await store.build_leases()) == 2
        await store.add_state(state(1), built_by="us")
        assert await store.build_leases() == {state_id(2): "us"}

    runner.run(scenario())


@pytest.mark.parametrize("number", [1, 2])
def test_a_state_is_not_stored_by_who_has_no_lease_to_build_it(
    runner: asyncio.Runner, store: Store, number: int
) -> None:
    runner.run(store.lease_build(state_id(1), "us"))
    with pytest.raises(ConflictError, match="lease"):
        runner.run(store.add_state(state(number), built_by="them"))
    assert runner.run(store.states()) == []
    assert runner.run(store.build_leases()) == {state_id(1): "us"}


def test_a_lease_stays_when_the_state_is_refused(runner: asyncio.Runner, store: Store) -> None:
    runner.run(store.lease_build(state_id(2), "us"))
    with pytest.raises(ConflictError):
        runner.run(store.add_state(state(2, parent=1), built_by="us"))
    assert runner.run(store.build_leases()) == {state_id(2): "us"}


def test_an_unknown_state_is_none(runner: asyncio.Runner, store: Store) -> None:
    fill(runner, store, state(1))
    assert runner.run(store.state(state_id(2))) is None


def test_the_same_id_again_replaces_the_row_and_keeps_its_place(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, state(1), state(2, parent=1))
    replacement = msgspec.structs.replace(
        state(1, image_id=OTHER_IMAGE, kind="lb"), size_bytes=7, use_count=1, last_used_at=NOON
    )
    fill(runner, store, replacement)
    assert runner.run(store.states()) == [replacement, state(2, parent=1)]
    assert ids(runner.run(store.states(image_id=OTHER_IMAGE, kind="lb"))) == [1]


@pytest.mark.parametrize("parent", [1, 2], ids=["unknown", "itself"])
def test_a_state_whose_parent_is_not_stored_is_refused(
    runner: asyncio.Runner, store: Store, parent: int
) -> None:
    with pytest.raises(ConflictError, match=state_id(parent)) as refusal:
        runner.run(store.add_state(state(2, parent=parent)))
    assert refusal.value.remedy
    assert runner.run(store.states()) == []


def test_a_refcount_is_never_stored_but_counted(runner: asyncio.Runner, store: Store) -> None:
    fill(runner, store, msgspec.structs.replace(state(1), refcount=99), state(2))
    for number in (1, 2, 3):
        runner.run(store.add_instance(instance(number, of=1)))
    runner.run(store.remove_instance(instance(2, of=1).instance_id))
    assert [found.refcount for found in runner.run(store.states())] == [2, 0]
    found = runner.run(store.state(state_id(1)))
    assert found is not None
    assert found.refcount == 2


def test_states_are_listed_oldest_first_whatever_the_clock_said(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(
        runner,
        store,
        state(3),
        state(1, parent=3, created_at=NOON - timedelta(hours=1)),
        state(2, parent=1, created_at=NOON - timedelta(hours=2)),
    )
    assert ids(runner.run(store.states())) == [3, 1, 2]


def test_states_match_every_filter_given(runner: asyncio.Runner, store: Store) -> None:
    fill(
        runner,
        store,
        state(0x10),
        state(0x11, kind="lb"),
        state(0x12, image_id=OTHER_IMAGE),
        state(0x13, kind="lb", image_id=OTHER_IMAGE),
        state(0x21),
    )
    nearly = state_id(0x10)[:-1]
    assert ids(runner.run(store.states(kind="psql"))) == [0x10, 0x12, 0x21]
    assert ids(runner.run(store.states(image_id=IMAGE))) == [0x10, 0x11, 0x21]
    assert ids(runner.run(store.states(kind="lb", image_id=IMAGE))) == [0x11]
    assert ids(runner.run(store.states(id_prefix=nearly))) == [0x10, 0x11, 0x12, 0x13]
    assert ids(runner.run(store.states(id_prefix=nearly, kind="lb"))) == [0x11, 0x13]
    assert ids(runner.run(store.states(id_prefix=nearly, kind="lb", image_id=IMAGE))) == [0x11]
    assert ids(runner.run(store.states(kind="other"))) == []
    assert ids(runner.run(store.states(id_prefix="f"))) == []


def test_of_many_ids_the_stored_ones_are_told(runner: asyncio.Runner, store: Store) -> None:
    fill(runner, store, state(1), state(2), state(3))
    asked = (state_id(number) for number in (3, 40_000, 1, 1))
    assert runner.run(store.existing_states(asked)) == {state_id(1), state_id(3)}
    assert runner.run(store.existing_states([])) == frozenset()


def test_any_number_of_ids_can_be_asked_for(runner: asyncio.Runner, store: Store) -> None:
    fill(runner, store, state(70_000))
    asked = map(state_id, range(100_000))
    assert runner.run(store.existing_states(asked)) == {state_id(70_000)}


def test_each_instance_is_counted_and_dated_as_a_use_of_its_state(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, state(1), state(2))
    for number, hour in ((1, 12), (2, 14)):
        runner.run(store.add_instance(instance(number, of=1, hour=hour)))
    used = msgspec.structs.replace(
        state(1), use_count=2, last_used_at=NOON.replace(hour=14), refcount=2
    )
    assert runner.run(store.states()) == [used, state(2)]


def test_uses_at_once_are_all_counted(runner: asyncio.Runner, store: Store) -> None:
    async def use_often() -> State | None:
        await store.add_state(msgspec.structs.replace(state(1), use_count=5))
        await asyncio.gather(*(store.add_instance(instance(number, of=1)) for number in range(20)))
        return await store.state(state_id(1))

    used = runner.run(use_often())
    assert used is not None
    assert used.use_count == 25


def test_an_instance_that_is_refused_is_no_use_of_its_state(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, state(1))
    runner.run(store.add_instance(instance(1, of=1, name="taken")))
    with pytest.raises(ConflictError):
        runner.run(store.add_instance(instance(2, of=1, name="taken")))
    found = runner.run(store.state(state_id(1)))
    assert found is not None
    assert found.use_count == 1


def test_a_state_is_removed_once(runner: asyncio.Runner, store: Store) -> None:
    fill(runner, store, state(1), state(2, parent=1))
    assert runner.run(store.remove_state(state_id(2)))
    assert not runner.run(store.remove_state(state_id(2)))
    assert ids(runner.run(store.states())) == [1]


def test_a_state_that_another_stems_from_is_not_removed(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, state(1), state(2, parent=1))
    with pytest.raises(ConflictError, match=f"{state_id(1)} .* state {state_id(2)}") as refusal:
        runner.run(store.remove_state(state_id(1)))
    assert refusal.value.remedy
    assert ids(runner.run(store.states())) == [1, 2]


def test_a_state_that_an_instance_stems_from_is_not_removed(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, state(1))
    clone = instance(1, of=1)
    runner.run(store.add_instance(clone))
    with pytest.raises(ConflictError, match=f"{state_id(1)} .* instance {clone.instance_id}"):
        runner.run(store.remove_state(state_id(1)))
    runner.run(store.remove_instance(clone.instance_id))
    assert runner.run(store.remove_state(state_id(1)))


def made_of(
    number: int,
    *,
    start: str = IMAGE,
    title: str = "-f a.sql",
    kind: str = "psql",
    digest: str = "",
) -> StepRecord:
    return StepRecord(
        state_id=state_id(number),
        start=TaskInput(kind="image" if start.startswith("postgres") else "state", id=start),
        kind=kind,
        title=title,
        digest=digest or f"digest {number}",
        parts={"/a.sql": f"part {number}"},
    )


def test_what_failed_is_kept_with_its_state(runner: asyncio.Runner, store: Store) -> None:
    failed = msgspec.structs.replace(made_of(1), failures=("a.sql:1: no", "a.sql:2: no"))
    built(runner, store, failed, made_of(2))
    known = runner.run(store.failures(map_ids(1, 2, 3)))
    assert known == {state_id(1): failed.failures}


def built(runner: asyncio.Runner, store: Store, *steps: StepRecord) -> None:
    """Store a state for each step, and what it was made of."""
    for step in steps:
        parent = step.start.id if step.start.kind == "state" else None
        number = int(step.state_id, 16)
        added = msgspec.structs.replace(state(number, kind=step.kind), parent_state_id=parent)
        runner.run(store.add_state(added, steps=[step]))


def alike(runner: asyncio.Runner, store: Store, step: StepRecord) -> list[int]:
    found = runner.run(store.evidence([], step)).alike
    return [int(one.state_id, 16) for one in found]


def test_of_a_step_those_of_the_same_start_and_kind_are_alike(
    runner: asyncio.Runner, store: Store
) -> None:
    built(
        runner,
        store,
        made_of(1),
        made_of(2, kind="lb"),
        made_of(3, start=OTHER_IMAGE),
        made_of(4, start=state_id(1)),
        made_of(5, start=state_id(1), kind="lb"),
        made_of(6, start=state_id(3)),
    )
    assert alike(runner, store, made_of(99)) == [1]
    assert alike(runner, store, made_of(99, start=state_id(1))) == [4]
    assert alike(runner, store, made_of(99, start=state_id(2))) == []


def test_what_is_alike_comes_back_as_it_was_stored(runner: asyncio.Runner, store: Store) -> None:
    built(runner, store, made_of(1))
    assert runner.run(store.evidence([], made_of(2))).alike == (made_of(1),)


def test_the_newest_with_the_same_title_come_first_and_then_the_newest_of_all(
    runner: asyncio.Runner, store: Store
) -> None:
    same = [made_of(number) for number in range(1, 10)]
    others = [made_of(number, title=f"-f {number}.sql") for number in range(21, 30)]
    built(runner, store, *same, *others)
    assert alike(runner, store, made_of(99)) == [9, 8, 7, 6, 29, 28, 27, 26]


def test_the_same_step_from_another_image_or_under_other_settings_is_alike(
    runner: asyncio.Runner, store: Store
) -> None:
    built(
        runner,
        store,
        made_of(1, start=OTHER_IMAGE, digest="same", title="-f ../a.sql"),
        made_of(2, start=state_id(1), digest="same"),
        made_of(3, digest="same"),
    )
    assert alike(runner, store, made_of(99, digest="same")) == [3, 1]
    assert alike(runner, store, made_of(99, start=state_id(3), digest="same")) == []


def test_a_state_is_not_like_itself(runner: asyncio.Runner, store: Store) -> None:
    built(runner, store, *map(made_of, range(1, 10)))
    assert alike(runner, store, made_of(8)) == [9, 7, 6, 5]


def test_what_a_state_was_made_of_stays_when_its_row_is_replaced_and_goes_with_it(
    runner: asyncio.Runner, store: Store
) -> None:
    built(runner, store, made_of(1), made_of(2))
    fill(runner, store, msgspec.structs.replace(state(1), size_bytes=7))
    assert alike(runner, store, made_of(99)) == [2, 1]
    runner.run(store.remove_state(state_id(2)))
    runner.run(store.remove_all(state_ids=[state_id(1)], instance_ids=[]))
    assert alike(runner, store, made_of(99)) == []


def test_steps_without_a_state_are_known_with_the_state_that_contains_them(
    runner: asyncio.Runner, store: Store
) -> None:
    failed = msgspec.structs.replace(made_of(2, start=state_id(1)), failures=("a.sql:1: no",))
    span = [made_of(1), failed, made_of(3, start=state_id(2))]
    runner.run(store.add_state(state(3), steps=span))
    assert runner.run(store.run_before(map_ids(1, 2, 3, 4))) == set(map_ids(1, 2, 3))
    assert runner.run(store.existing_states(map_ids(1, 2, 3))) == set(map_ids(3))
    assert runner.run(store.failures(map_ids(1, 2, 3))) == {state_id(2): failed.failures}
    assert alike(runner, store, made_of(99, start=state_id(1))) == [2]
    runner.run(store.remove_state(state_id(3)))
    assert runner.run(store.run_before(map_ids(1, 2, 3))) == frozenset()
    assert alike(runner, store, made_of(99)) == []


def test_a_step_in_two_states_is_forgotten_with_the_one_stored_last(
    runner: asyncio.Runner, store: Store
) -> None:
    for last in (2, 3):
        span = [made_of(1), made_of(last, start=state_id(1))]
        runner.run(store.add_state(state(last), steps=span))
    runner.run(store.remove_state(state_id(2)))
    assert runner.run(store.run_before(map_ids(1, 2, 3))) == set(map_ids(1, 3))
    runner.run(store.remove_state(state_id(3)))
    assert runner.run(store.run_before(map_ids(1, 2, 3))) == frozenset()


def test_a_state_built_again_is_the_newest(runner: asyncio.Runner, store: Store) -> None:
    built(runner, store, made_of(1), made_of(2), made_of(1, title="-f b.sql"))
    assert runner.run(store.evidence([], made_of(99))).alike == (
        made_of(2),
        made_of(1, title="-f b.sql"),
    )


def test_a_step_is_not_kept_of_a_state_that_is_refused(
    runner: asyncio.Runner, store: Store
) -> None:
    with pytest.raises(ConflictError):
        runner.run(store.add_state(state(2, parent=1), steps=[made_of(2)]))
    assert alike(runner, store, made_of(99)) == []


@pytest.mark.parametrize("why", ["evicted", "dirty", "removed"])
def test_why_a_state_was_removed_is_remembered(
    runner: asyncio.Runner, store: Store, why: RemovedFor
) -> None:
    fill(runner, store, state(1), state(2), state(3))
    before = datetime.now(UTC)
    runner.run(store.remove_state(state_id(1), why="evicted"))
    fill(runner, store, state(1))
    runner.run(store.remove_state(state_id(1), why=why))
    runner.run(store.remove_state(state_id(77), why=why))
    found = runner.run(store.evidence(map_ids(1, 2, 77, 88), None))
    assert {key: one.why for key, one in found.removals.items()} == {state_id(1): why}
    assert before <= found.removals[state_id(1)].at <= datetime.now(UTC)
    assert found.stored == (state_id(2),)


def map_ids(*numbers: int) -> list[str]:
    return [state_id(number) for number in numbers]


def test_states_removed_together_were_removed_by_someone(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, state(1), state(2, parent=1))
    runner.run(store.remove_all(state_ids=map_ids(1, 2, 77), instance_ids=[]))
    found = runner.run(store.evidence(map_ids(1, 2, 77), None))
    assert {key: one.why for key, one in found.removals.items()} == dict.fromkeys(
        map_ids(1, 2), "removed"
    )


def test_a_state_that_could_not_be_removed_is_not_remembered_as_such(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, state(1), state(2, parent=1))
    with pytest.raises(ConflictError):
        runner.run(store.remove_state(state_id(1), why="evicted"))
    with pytest.raises(ConflictError):
        runner.run(store.remove_all(state_ids=map_ids(1), instance_ids=[]))
    assert runner.run(store.evidence(map_ids(1), None)).removals == {}


def test_only_the_latest_removals_are_remembered(
    runner: asyncio.Runner, short_memory: Store
) -> None:
    numbers = range(1, 10)
    fill(runner, short_memory, *map(state, numbers))
    for number in numbers:
        runner.run(short_memory.remove_state(state_id(number), why="evicted"))
    found = runner.run(short_memory.evidence(map_ids(*numbers), None))
    assert sorted(found.removals) == map_ids(7, 8, 9)


def test_evidence_is_found_of_any_number_of_states(runner: asyncio.Runner, store: Store) -> None:
    fill(runner, store, state(70_000))
    found = runner.run(store.evidence(map_ids(*range(100_000)), None))
    assert found == Evidence(stored=(state_id(70_000),))


@pytest.mark.parametrize("name", ["dev", None])
def test_an_instance_comes_back_as_it_was_stored(
    runner: asyncio.Runner, store: Store, name: str | None
) -> None:
    fill(runner, store, state(1))
    stored = instance(1, of=1, name=name)
    runner.run(store.add_instance(stored))
    assert runner.run(store.instance(stored.instance_id)) == stored
    assert runner.run(store.instances()) == [stored]


def test_an_unknown_instance_is_none(runner: asyncio.Runner, store: Store) -> None:
    assert runner.run(store.instance("0" * 32)) is None


def test_an_instance_is_found_by_its_name(runner: asyncio.Runner, store: Store) -> None:
    fill(runner, store, state(1))
    runner.run(store.add_instance(instance(1, of=1, name="dev")))
    runner.run(store.add_instance(instance(2, of=1)))
    assert runner.run(store.instance_named("dev")) == instance(1, of=1, name="dev")
    assert runner.run(store.instance_named("Dev")) is None


def test_a_name_that_is_taken_is_refused(runner: asyncio.Runner, store: Store) -> None:
    fill(runner, store, state(1), state(2))
    bearer = instance(1, of=1, name="dev")
    runner.run(store.add_instance(bearer))
    with pytest.raises(ConflictError, match=f"dev .* {bearer.instance_id}") as refusal:
        runner.run(store.add_instance(instance(2, of=2, name="dev")))
    assert refusal.value.remedy
    assert runner.run(store.instances()) == [bearer]


def test_of_two_instances_that_want_a_name_at_once_one_gets_it(
    runner: asyncio.Runner, store: Store
) -> None:
    async def race() -> list[BaseException | None]:
        await store.add_state(state(1))
        wishes = (store.add_instance(instance(n, of=1, name="dev")) for n in (1, 2))
        return await asyncio.gather(*wishes, return_exceptions=True)

    refusals = [outcome for outcome in runner.run(race()) if outcome is not None]
    assert [type(refusal) for refusal in refusals] == [ConflictError]
    assert len(runner.run(store.instances())) == 1


def test_an_instance_whose_state_is_not_stored_is_refused(
    runner: asyncio.Runner, store: Store
) -> None:
    with pytest.raises(ConflictError, match=state_id(1)) as refusal:
        runner.run(store.add_instance(instance(1, of=1, name="dev")))
    assert refusal.value.remedy
    assert runner.run(store.instances()) == []
    assert runner.run(store.instance_named("dev")) is None


@pytest.mark.parametrize("name", ["dev", "other", None])
def test_an_instance_whose_id_is_not_new_is_refused(
    runner: asyncio.Runner, store: Store, name: str | None
) -> None:
    fill(runner, store, state(1))
    first = instance(1, of=1, name="dev")
    runner.run(store.add_instance(first))
    with pytest.raises(ConflictError, match=f"{first.instance_id} exists"):
        runner.run(store.add_instance(instance(1, of=1, name=name)))
    assert runner.run(store.instances()) == [first]


def test_instances_are_listed_newest_first_whatever_the_clock_said(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, state(1))
    for number, hour in ((2, 14), (3, 12), (1, 13)):
        runner.run(store.add_instance(instance(number, of=1, hour=hour)))
    assert instance_ids(runner.run(store.instances())) == [1, 3, 2]


def test_instances_match_every_filter_given(runner: asyncio.Runner, store: Store) -> None:
    fill(runner, store, state(1), state(2, image_id=OTHER_IMAGE))
    for number, of, image_id in (
        (0x10, 1, IMAGE),
        (0x11, 2, OTHER_IMAGE),
        (0x12, 1, IMAGE),
        (0x20, 1, IMAGE),
        (0x21, 1, OTHER_IMAGE),
    ):
        runner.run(store.add_instance(instance(number, of=of, image_id=image_id)))
    nearly = instance(0x10, of=1).instance_id[:-1]
    found = {
        "state": store.instances(state_id=state_id(1)),
        "image": store.instances(image_id=OTHER_IMAGE),
        "prefix": store.instances(id_prefix=nearly),
        "state and image": store.instances(state_id=state_id(1), image_id=OTHER_IMAGE),
        "all three": store.instances(state_id=state_id(1), image_id=IMAGE, id_prefix=nearly),
        "none": store.instances(state_id=state_id(3)),
    }
    assert {case: instance_ids(runner.run(answer)) for case, answer in found.items()} == {
        "state": [0x21, 0x20, 0x12, 0x10],
        "image": [0x21, 0x11],
        "prefix": [0x12, 0x11, 0x10],
        "state and image": [0x21],
        "all three": [0x12, 0x10],
        "none": [],
    }


def test_an_instance_is_removed_once_its_name_with_it(runner: asyncio.Runner, store: Store) -> None:
    fill(runner, store, state(1))
    runner.run(store.add_instance(instance(1, of=1, name="dev")))
    assert runner.run(store.remove_instance(instance(1, of=1).instance_id))
    assert not runner.run(store.remove_instance(instance(1, of=1).instance_id))
    assert runner.run(store.instance_named("dev")) is None
    heir = instance(2, of=1, name="dev")
    runner.run(store.add_instance(heir))
    assert runner.run(store.instance_named("dev")) == heir


def test_an_instance_is_given_a_name_in_place_of_its_own(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, state(1))
    runner.run(store.add_instance(instance(1, of=1, name="dev")))
    for _ in range(2):
        runner.run(store.bind_name("demo", instance(1, of=1).instance_id))
        assert runner.run(store.instance_named("demo")) == instance(1, of=1, name="demo")
    assert runner.run(store.instances()) == [instance(1, of=1, name="demo")]
    assert runner.run(store.instance_named("dev")) is None
    runner.run(store.add_instance(instance(2, of=1, name="dev")))


def test_a_name_is_taken_from_its_instance_once(runner: asyncio.Runner, store: Store) -> None:
    fill(runner, store, state(1))
    runner.run(store.add_instance(instance(1, of=1, name="dev")))
    assert runner.run(store.unbind_name("dev"))
    assert not runner.run(store.unbind_name("dev"))
    assert runner.run(store.instances()) == [instance(1, of=1)]
    assert runner.run(store.instance_named("dev")) is None


def test_a_name_that_is_another_instance_s_is_not_bound(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, state(1))
    bearer, other = instance(1, of=1, name="dev"), instance(2, of=1, name="other")
    for each in (bearer, other):
        runner.run(store.add_instance(each))
    with pytest.raises(ConflictError, match=f"dev .* {bearer.instance_id}") as refusal:
        runner.run(store.bind_name("dev", other.instance_id))
    assert refusal.value.remedy
    assert runner.run(store.instances()) == [other, bearer]


def test_a_name_is_not_bound_to_an_instance_that_is_not_stored(
    runner: asyncio.Runner, store: Store
) -> None:
    with pytest.raises(NotFoundError, match="0" * 32) as refusal:
        runner.run(store.bind_name("dev", "0" * 32))
    assert refusal.value.remedy
    assert not runner.run(store.unbind_name("dev"))


def test_a_name_outlives_its_instance_with_its_port_and_password(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, state(1))
    bearer = instance(1, of=1, name="dev")
    runner.run(store.add_instance(bearer))
    runner.run(store.remove_instance(bearer.instance_id))
    [name] = runner.run(store.names())
    assert name == runner.run(store.name("dev"))
    assert (name.state_id, name.address) == (state_id(1), bearer.server.endpoint.address)
    assert runner.run(store.ports_of_names()) == {5000}
    assert runner.run(store.unbind_name("dev"))
    assert not runner.run(store.unbind_name("dev"))
    assert runner.run(store.name("dev")) is None
    assert runner.run(store.ports_of_names()) == frozenset()


def test_a_name_that_is_given_away_has_its_new_instance_s_port(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, state(1))
    runner.run(store.add_instance(instance(1, of=1, name="dev")))
    runner.run(store.remove_instance(instance(1, of=1).instance_id))
    runner.run(store.add_instance(on_port(2, 6000, name="old")))
    runner.run(store.bind_name("dev", instance(2, of=1).instance_id))
    assert [name.name for name in runner.run(store.names())] == ["dev"]
    assert runner.run(store.ports_of_names()) == {6000}


def test_an_instance_takes_the_place_of_another_or_nothing_changes(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, state(1))
    old, heir = instance(1, of=1, name="dev"), instance(2, of=1, name="dev")
    for each in (old, instance(3, of=1, name="other")):
        runner.run(store.add_instance(each))
    with pytest.raises(ConflictError):
        runner.run(store.replace_instance(old.instance_id, instance(2, of=1, name="other")))
    assert runner.run(store.instance_named("dev")) == old
    runner.run(store.replace_instance(old.instance_id, heir))
    assert runner.run(store.instance_named("dev")) == heir
    assert runner.run(store.instance(old.instance_id)) is None


def test_of_names_without_an_instance_only_the_latest_are_remembered(
    runner: asyncio.Runner, short_memory: Store
) -> None:
    fill(runner, short_memory, state(1))
    runner.run(short_memory.add_instance(on_port(9, 6009, name="kept", hour=0)))
    for number in range(1, 6):
        gone = on_port(number, 6000 + number, name=f"dev{number}", hour=number)
        runner.run(short_memory.add_instance(gone))
        runner.run(short_memory.remove_instance(gone.instance_id))
    runner.run(short_memory.add_instance(on_port(8, 6008, name="last", hour=8)))
    names = [name.name for name in runner.run(short_memory.names())]
    assert names == ["last", "dev5", "dev4", "dev3", "kept"]


def sized(number: int, size_bytes: int, *, parent: int | None = None) -> State:
    return msgspec.structs.replace(state(number, parent=parent), size_bytes=size_bytes)


def may_go(store: Store, *excluding: int, before: datetime = NOON, limit: int = 99) -> list[int]:
    skipped = [state_id(number) for number in excluding]
    return ids(asyncio.run(store.evictable(created_before=before, limit=limit, excluding=skipped)))


def test_what_states_hold_is_known_without_looking_at_each(
    runner: asyncio.Runner, store: Store
) -> None:
    assert runner.run(store.count_states()) == Totals(states=0, size_bytes=0)
    fill(runner, store, sized(1, 10), sized(2, 5, parent=1), state(3))
    assert runner.run(store.count_states()) == Totals(states=3, size_bytes=15)
    fill(runner, store, sized(2, 7, parent=1))
    runner.run(store.remove_state(state_id(3)))
    assert runner.run(store.count_states()) == Totals(states=2, size_bytes=17)


def test_only_states_that_nothing_stems_from_may_go(runner: asyncio.Runner, store: Store) -> None:
    fill(runner, store, state(1), state(2, parent=1), state(3), state(4, parent=1))
    clone = instance(1, of=3)
    runner.run(store.add_instance(clone))
    assert may_go(store) == [2, 4]
    runner.run(store.remove_instance(clone.instance_id))
    for number in (2, 4):
        runner.run(store.remove_state(state_id(number)))
    assert may_go(store) == [1, 3]


def test_a_state_that_is_pinned_young_or_named_may_not_go(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, state(1), state(2), state(3, created_at=NOON + timedelta(seconds=1)))
    assert runner.run(store.set_pinned(state_id(1), pinned=True))
    assert may_go(store) == [2]
    assert may_go(store, 2) == []
    assert may_go(store, before=NOON + timedelta(seconds=1)) == [2, 3]
    assert runner.run(store.set_pinned(state_id(1), pinned=False))
    assert may_go(store, limit=1) == [1]


def test_a_pin_is_seen_and_outlives_the_row_s_replacement(
    runner: asyncio.Runner, store: Store
) -> None:
    assert not runner.run(store.set_pinned(state_id(1), pinned=True))
    fill(runner, store, state(1))
    runner.run(store.set_pinned(state_id(1), pinned=True))
    fill(runner, store, sized(1, 3))
    [found] = runner.run(store.states())
    assert (found.pinned, found.size_bytes) == (True, 3)


def test_those_worth_least_go_first_and_each_use_makes_a_state_worth_more(
    runner: asyncio.Runner, store: Store
) -> None:
    cheap, dear, big = (
        msgspec.structs.replace(state(number), build_seconds=seconds, size_bytes=size)
        for number, seconds, size in ((1, 1.0, 10**7), (2, 60.0, 10**7), (3, 60.0, 10**12))
    )
    fill(runner, store, dear, cheap, big)
    assert may_go(store) == [3, 1, 2]
    for number in range(80):
        clone = instance(number, of=1)
        runner.run(store.add_instance(clone))
        runner.run(store.remove_instance(clone.instance_id))
    assert may_go(store) == [3, 2, 1]
    order = [worth(found) for found in runner.run(store.evictable(created_before=NOON, limit=9))]
    assert order == sorted(order)


def test_what_pins_youth_and_instances_keep_is_kept_with_all_it_stems_from(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, *(sized(n, 2**n, parent=p) for n, p in ((0, None), (1, 0), (2, 1), (3, 1))))
    fill(runner, store, *(sized(n, 2**n, parent=p) for n, p in ((4, None), (5, 4), (6, 5))))
    later = NOON + timedelta(seconds=1)
    fill(runner, store, msgspec.structs.replace(sized(7, 2**7), created_at=later))

    def kept(*excluding: int) -> Totals:
        skipped = [state_id(number) for number in excluding]
        return runner.run(store.not_evictable(created_before=NOON, excluding=skipped))

    assert kept() == Totals(states=1, size_bytes=2**7)
    runner.run(store.add_instance(instance(1, of=2)))
    assert kept() == Totals(states=4, size_bytes=2**7 + 0b111)
    runner.run(store.set_pinned(state_id(5), pinned=True))
    assert kept() == Totals(states=6, size_bytes=2**7 + 0b110111)
    assert kept(3) == Totals(states=7, size_bytes=2**7 + 0b111111)
    assert kept(99) == kept()


def test_a_tree_is_a_state_with_all_that_stems_from_it(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, state(1), state(9, parent=1), state(5, parent=9), state(7), state(3))
    for number, of in ((1, 5), (2, 7), (3, 9)):
        runner.run(store.add_instance(instance(number, of=of)))
    tree = runner.run(store.tree(state_id(1)))
    assert tree is not None
    assert ids(list(tree.states)) == [1, 9, 5]
    assert [found.refcount for found in tree.states] == [0, 1, 1]
    assert instance_ids(list(tree.instances)) == [3, 1]
    leaf = runner.run(store.tree(state_id(3)))
    assert leaf is not None
    assert (ids(list(leaf.states)), leaf.instances) == ([3], ())
    assert runner.run(store.tree(state_id(77))) is None


def test_a_tree_may_be_deeper_than_python_s_stack(runner: asyncio.Runner, store: Store) -> None:
    depth = 2000
    fill(runner, store, *(state(n, parent=n - 1 if n else None) for n in range(depth)))
    tree = runner.run(store.tree(state_id(0)))
    assert tree is not None
    assert ids(list(tree.states)) == list(range(depth))
    everything = [found.state_id for found in tree.states]
    runner.run(store.remove_all(state_ids=everything, instance_ids=[]))
    assert runner.run(store.states()) == []


def test_a_tree_is_removed_whole(runner: asyncio.Runner, store: Store) -> None:
    fill(runner, store, state(1), state(2, parent=1), state(3, parent=2), state(4))
    clone, other = instance(1, of=2), instance(2, of=4)
    for each in (clone, other):
        runner.run(store.add_instance(each))
    wanted = [state_id(number) for number in (1, 2, 3, 55)]
    runner.run(store.remove_all(state_ids=wanted, instance_ids=[clone.instance_id, "0" * 32]))
    assert ids(runner.run(store.states())) == [4]
    assert runner.run(store.instances()) == [other]
    assert may_go(store) == []


@pytest.mark.parametrize("left", ["state", "instance"])
def test_of_a_tree_that_something_else_stems_from_nothing_is_removed(
    runner: asyncio.Runner, store: Store, left: str
) -> None:
    fill(runner, store, state(1), state(2, parent=1))
    clone, late = instance(1, of=1), instance(2, of=2)
    runner.run(store.add_instance(clone))
    if left == "state":
        fill(runner, store, state(3, parent=2))
    else:
        runner.run(store.add_instance(late))
    stemming = state_id(3) if left == "state" else late.instance_id
    with pytest.raises(ConflictError, match=f"{state_id(2)} .* {left} {stemming}") as refusal:
        runner.run(
            store.remove_all(state_ids=[state_id(1), state_id(2)], instance_ids=[clone.instance_id])
        )
    assert refusal.value.remedy
    assert len(runner.run(store.states())) == (3 if left == "state" else 2)
    assert clone in runner.run(store.instances())


def test_the_last_eviction_is_remembered(runner: asyncio.Runner, store: Store) -> None:
    assert runner.run(store.last_eviction()) is None
    for count in (1, 2):
        eviction = Eviction(
            completed_at=NOON,
            trigger="before_step",
            evicted_count=count,
            freed_bytes=10,
            blocked_count=0,
            reclaimable_bytes=0,
            usage_bytes_before=20,
            usage_bytes_after=10,
            free_bytes_before=5,
            free_bytes_after=15,
        )
        runner.run(store.record_eviction(eviction))
        assert runner.run(store.last_eviction()) == eviction


def ending(number: int, *, of: int, at: datetime | None) -> Instance:
    return msgspec.structs.replace(instance(number, of=of), expires_at=at)


def test_instances_whose_time_is_over_are_found_and_the_next_end_is_known(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, state(1))
    assert runner.run(store.next_expiry()) is None
    ends = ((1, NOON + timedelta(hours=1)), (2, NOON), (3, None), (4, NOON - timedelta(hours=1)))
    for number, at in ends:
        runner.run(store.add_instance(ending(number, of=1, at=at)))
    assert instance_ids(runner.run(store.expired(NOON))) == [4, 2]
    assert runner.run(store.next_expiry()) == NOON - timedelta(hours=1)
    assert runner.run(store.count_instances()) == 4


def test_an_instance_gets_another_server_and_keeps_the_rest(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, state(1))
    before = instance(1, of=1, name="dev")
    runner.run(store.add_instance(before))
    another = msgspec.structs.replace(before.server, handle="another")
    assert runner.run(store.set_server(before.instance_id, another))
    assert not runner.run(store.set_server("0" * 32, another))
    found = runner.run(store.instance_named("dev"))
    assert found == msgspec.structs.replace(before, server=another)


def test_an_instance_is_being_reset_until_it_gets_a_server(
    runner: asyncio.Runner, store: Store
) -> None:
    fill(runner, store, state(1))
    before = instance(1, of=1, name="dev")
    runner.run(store.add_instance(before))
    for _ in range(2):
        assert runner.run(store.begin_reset(before.instance_id))
    assert not runner.run(store.begin_reset("0" * 32))
    resetting = msgspec.structs.replace(before, resetting=True)
    assert runner.run(store.instances()) == [resetting]
    runner.run(store.set_server(before.instance_id, before.server))
    assert runner.run(store.instances()) == [before]


def test_an_instance_that_is_extended_says_so(runner: asyncio.Runner, store: Store) -> None:
    fill(runner, store, state(1))
    runner.run(store.add_instance(ending(1, of=1, at=NOON)))
    later = NOON + timedelta(hours=3)
    assert runner.run(store.extend(instance(1, of=1).instance_id, later))
    assert not runner.run(store.extend("0" * 32, later))
    found = runner.run(store.instance(instance(1, of=1).instance_id))
    assert found is not None
    assert (found.expires_at, found.extensions) == (later, 1)
    assert runner.run(store.expired(NOON)) == []
    assert runner.run(store.next_expiry()) == later


def named(number: int, name: str) -> State:
    return msgspec.structs.replace(state(number), name=name)


def test_a_state_is_found_by_its_name(runner: asyncio.Runner, store: Store) -> None:
    runner.run(store.add_state(named(1, "seeded")))
    assert runner.run(store.state_named("seeded")) == named(1, "seeded")
    assert runner.run(store.state_named("Seeded")) is None
    runner.run(store.remove_state(state_id(1)))
    assert runner.run(store.state_named("seeded")) is None
    runner.run(store.add_state(named(2, "seeded")))


def test_a_state_is_stored_with_its_name_and_pin_or_not_at_all(
    runner: asyncio.Runner, store: Store
) -> None:
    pinned = msgspec.structs.replace(named(1, "seeded"), pinned=True, settings={"work_mem": "1MB"})
    runner.run(store.add_state(pinned))
    assert runner.run(store.state(state_id(1))) == pinned
    with pytest.raises(ConflictError, match=state_id(1)):
        runner.run(store.add_state(named(2, "seeded")))
    assert runner.run(store.state(state_id(2))) is None
    runner.run(store.add_state(pinned))  # once more, as itself


def test_no_name_is_both_a_state_s_and_an_instance_s(runner: asyncio.Runner, store: Store) -> None:
    runner.run(store.add_state(named(1, "seeded")))
    runner.run(store.add_instance(instance(1, of=1, name="dev")))
    runner.run(store.add_instance(instance(2, of=1)))
    for act in (
        store.add_state(named(2, "dev")),
        store.add_instance(instance(3, of=1, name="seeded")),
        store.bind_name("seeded", instance(2, of=1).instance_id),
    ):
        with pytest.raises(ConflictError, match="taken"):
            runner.run(act)
    runner.run(store.remove_instance(instance(1, of=1).instance_id))
    with pytest.raises(ConflictError, match="taken"):  # the name outlives its instance
        runner.run(store.add_state(named(2, "dev")))
    runner.run(store.unbind_name("dev"))
    runner.run(store.add_state(named(2, "dev")))


def test_a_pause_of_an_instance_ends_with_its_next_server(
    runner: asyncio.Runner, store: Store
) -> None:
    runner.run(store.add_state(state(1)))
    known = instance(1, of=1)
    runner.run(store.add_instance(known))
    assert runner.run(store.begin_pause(known.instance_id, "frozen"))
    assert runner.run(store.instances()) == [msgspec.structs.replace(known, paused="frozen")]
    assert runner.run(store.set_server(known.instance_id, known.server))
    assert runner.run(store.instances()) == [known]
    assert not runner.run(store.begin_pause(instance(2, of=1).instance_id, "stopped"))
