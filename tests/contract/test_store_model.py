"""Whatever is done to them, a store in memory and one in SQLite say the same of the cache."""

import asyncio
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from pgstrata.domain.instance import Endpoint, Instance, Server
from pgstrata.domain.state import State
from pgstrata.errors import ConflictError
from pgstrata.sqlite.database import Database
from pgstrata.store.base import Store
from pgstrata.store.memory import MemoryStore
from pgstrata.store.sqlite import SqliteStore

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
IMAGE = "postgres@sha256:" + "1" * 64
NUMBERS = st.integers(min_value=1, max_value=6)
AGES = st.integers(min_value=-2, max_value=2)


def state_id(number: int) -> str:
    return f"{number:064x}"


def instance_id(number: int) -> str:
    return f"{number:032x}"


class TwoStores(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.database = self.runner.run(Database.open(Path(self.directory.name) / "pgstrata.db"))
        self.stores: tuple[Store, Store] = (MemoryStore(), SqliteStore(self.database))

    def teardown(self) -> None:
        self.runner.run(self.database.close())
        self.runner.close()
        self.directory.cleanup()

    @rule(number=NUMBERS, parent=st.none() | NUMBERS, size=AGES.map(lambda n: 10 ** (n + 6)))
    def add_state(self, number: int, parent: int | None, size: int) -> None:
        # A parent is made before its child, and a state's name says what its parent is.
        parent = None if parent is None or parent >= number else parent
        state = State(
            state_id=state_id(number),
            parent_state_id=None if parent is None else state_id(parent),
            image_id=IMAGE,
            prepare_kind="psql",
            prepare_args_normalized="",
            created_at=NOON + timedelta(hours=number - 3),
            size_bytes=size,
            build_seconds=float(number),
            refcount=0,
        )
        known = self.runner.run(self.stores[0].state(state.state_id))
        if known is not None:
            state = replace(state, parent_state_id=known.parent_state_id)
        self.both(lambda store: store.add_state(state))

    @rule(number=NUMBERS, of=NUMBERS, age=AGES)
    def add_instance(self, number: int, of: int, age: int) -> None:
        instance = Instance(
            instance_id=instance_id(number),
            image_id=IMAGE,
            state_id=state_id(of),
            name=None,
            created_at=NOON + timedelta(days=age),
            expires_at=NOON + timedelta(days=age + 1),
            server=Server(
                endpoint=Endpoint(
                    host="127.0.0.1",
                    port=1,
                    socket_dir=Path("/run"),
                    user="u",
                    password="",
                    database="d",
                ),
                runtime_id="1",
                title="the server",
                log="/log",
                handle="1",
            ),
        )
        self.both(lambda store: store.add_instance(instance))

    @rule(number=NUMBERS)
    def remove_instance(self, number: int) -> None:
        self.both(lambda store: store.remove_instance(instance_id(number)))

    @rule(number=NUMBERS)
    def remove_state(self, number: int) -> None:
        self.both(lambda store: store.remove_state(state_id(number)))

    @rule(numbers=st.sets(NUMBERS), instances=st.sets(NUMBERS))
    def remove_all(self, numbers: set[int], instances: set[int]) -> None:
        self.both(
            lambda store: store.remove_all(
                state_ids=list(map(state_id, numbers)),
                instance_ids=list(map(instance_id, instances)),
            )
        )

    @rule(number=NUMBERS, pinned=st.booleans())
    def pin(self, number: int, pinned: bool) -> None:
        self.both(lambda store: store.set_pinned(state_id(number), pinned=pinned))

    @rule(skipped=st.sets(NUMBERS), limit=st.integers(0, 4))
    def same_choice(self, skipped: set[int], limit: int) -> None:
        ids = list(map(state_id, skipped))
        self.both(lambda store: store.evictable(created_before=NOON, limit=limit, excluding=ids))
        self.both(lambda store: store.not_evictable(created_before=NOON, excluding=ids))

    @rule(number=NUMBERS)
    def same_tree(self, number: int) -> None:
        self.both(lambda store: _everything_in(store, state_id(number)))

    @invariant()
    def same_sums(self) -> None:
        self.both(lambda store: store.count_states())
        self.both(lambda store: store.expired(NOON))

    def both(self, act) -> None:  # type: ignore[no-untyped-def]
        first, second = (self.runner.run(_outcome(act(store))) for store in self.stores)
        assert first == second


async def _everything_in(store: Store, root: str) -> object:
    tree = await store.tree(root)
    if tree is None:
        return None
    before: set[str] = set()
    for state in tree.states:
        assert state.state_id == root or state.parent_state_id in before
        before.add(state.state_id)
    return sorted(tree.states, key=lambda state: state.state_id), tree.instances


async def _outcome(work) -> object:  # type: ignore[no-untyped-def]
    try:
        return await work
    except ConflictError:
        return ConflictError


TestTwoStores = TwoStores.TestCase
TestTwoStores.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
