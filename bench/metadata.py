"""Metadata of a hundred states and of a hundred thousand, asked the same questions in turns."""

import asyncio
import hashlib
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from bench.report import Row
from pgstrata.api.codec import ENCODER
from pgstrata.cache.capacity import choose
from pgstrata.domain.state import State
from pgstrata.queue.sqlite import SqliteQueue
from pgstrata.sqlite.database import Database
from pgstrata.store import sqlite
from pgstrata.store.sqlite import SqliteStore

FEW, MANY = 100, 100_000
CHAIN = 10
"""How many states stem from each other."""
IMAGE = "postgres@sha256:" + "1" * 64
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
MB = 10**6
LIMIT = 1.5

Question = Callable[["Filled"], Awaitable[object]]


class Filled:
    """A database with so many states, in chains."""

    def __init__(self, database: Database, states: list[State]) -> None:
        self.store = SqliteStore(database)
        self.queue = SqliteQueue(database)
        self.states = states
        middle = len(states) // 2 // CHAIN * CHAIN
        self.chain = [state.state_id for state in states[middle : middle + CHAIN]]


async def filled(path: Path, number: int) -> tuple[Database, Filled]:
    """Make a database with so many states, written as the store writes them."""
    states = _states(number)
    database = await Database.open(path)
    rows = [sqlite._state_columns(state) for state in states]
    await database.write(lambda connection: connection.executemany(sqlite._ADD_STATE, rows))
    return database, Filled(database, states)


def _states(number: int) -> list[State]:
    ids = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(number)]
    return [
        State(
            state_id=ids[n],
            parent_state_id=ids[n - 1] if n % CHAIN else None,
            image_id=IMAGE,
            prepare_kind="psql",
            prepare_args_normalized=f"-f migrations/{n:06}.sql",
            created_at=NOON + timedelta(seconds=n % 1000),
            size_bytes=MB + n % 97 * MB,
            build_seconds=0.1 + n % 13,
            refcount=0,
        )
        for n in range(number)
    ]


async def _list(filled: Filled) -> object:
    return ENCODER.encode(await filled.store.states())


async def _plan(filled: Filled) -> object:
    return await filled.store.existing_states(filled.chain)


async def _look_up(filled: Filled) -> object:
    return await filled.store.state(filled.chain[-1])


async def _choose(filled: Filled) -> object:
    # No more candidates than there are leaves of a hundred: the same number of rows from both.
    later = NOON + timedelta(days=1)
    await filled.store.count_states()
    return choose(await filled.store.evictable(created_before=later, limit=FEW // CHAIN), 500 * MB)


async def _reclaimable(filled: Filled) -> object:
    return await filled.store.not_evictable(created_before=NOON + timedelta(days=1))


async def _counts(filled: Filled) -> object:
    return await filled.queue.counts(), await filled.store.count_states()


QUESTIONS: tuple[tuple[str, Question, bool, int], ...] = (
    ("ls: a listed state", _list, True, 3),
    ("plan: which of ten states are cached", _plan, False, 200),
    ("cache look-up: one state", _look_up, False, 200),
    ("eviction: measuring and choosing", _choose, False, 100),
    ("cache status: what could go", _reclaimable, False, 100),
    ("status: how much there is of everything", _counts, False, 200),
)
"""What is asked, how, whether it counts for each row returned, and how often."""


def measure() -> list[Row]:
    return asyncio.run(_measure())


async def _measure() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="pgstrata-bench-") as directory:
        few_file, few = await filled(Path(directory) / "few.db", FEW)
        many_file, many = await filled(Path(directory) / "many.db", MANY)
        async with few_file, many_file:
            return [await _compared(*question, few, many) for question in QUESTIONS]


async def _compared(
    what: str, question: Question, by_row: bool, rounds: int, few: Filled, many: Filled
) -> Row:
    times: dict[int, list[float]] = {FEW: [], MANY: []}
    for _ in range(rounds):
        # A list of a hundred takes so little that one alone would measure the clock.
        repeats = 100 if by_row else 1
        times[FEW].append(await _microseconds(question, few, repeats))
        times[MANY].append(await _microseconds(question, many, 1))
    return Row(
        what=f"{what}, of {MANY:,} states",
        value=median(times[MANY]) / (MANY if by_row else 1),
        against=f"the same of {FEW} states",
        base=median(times[FEW]) / (FEW if by_row else 1),
        limit=LIMIT,
        unit="us",
    )


async def _microseconds(question: Question, filled: Filled, repeats: int) -> float:
    started = time.perf_counter()
    for _ in range(repeats):
        await question(filled)
    return (time.perf_counter() - started) * 1e6 / repeats
