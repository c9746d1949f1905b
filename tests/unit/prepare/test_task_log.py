"""The task log: what a task logs is kept, whenever the task ends."""

import asyncio
import math
from collections.abc import Sequence

import pytest

from pgstrata.domain.job import Event, Status, Task
from pgstrata.domain.plan import PlanTask
from pgstrata.errors import DiskFullError
from pgstrata.prepare import task_log
from pgstrata.prepare.task_log import (
    LAST_LINES,
    MAX_PENDING_LINES,
    MOST_BYTES,
    MOST_HEARTBEAT_BYTES,
    MOST_JOB_BYTES,
    MOST_LINES,
    LogRoom,
    open_task_log,
)
from pgstrata.runtime.base import Failed
from tests.unit.prepare.heart import run

TASK = Task(
    job_id="1" * 32,
    status=Status.RUNNING,
    spec=PlanTask(task_id="plan", planner_kind="memory"),
)


class Slow:
    """Takes events down only once it is let."""

    def __init__(self) -> None:
        self.writing = asyncio.Event()
        self.let = asyncio.Event()
        self.written: list[str | None] = []

    async def append(self, events: Sequence[Event]) -> None:
        self.writing.set()
        await self.let.wait()
        self.written += [event.message for event in events]


def test_lines_that_are_being_written_as_the_task_ends_are_written_to_the_end() -> None:
    async def scenario() -> None:
        slow = Slow()
        async with open_task_log(TASK, slow.append, LogRoom(), heartbeat_seconds=60) as log:
            await log.line("first")
            await slow.writing.wait()
            await log.line("second")
            asyncio.get_running_loop().call_soon(slow.let.set)
        assert slow.written == ["first", "second"]

    run(scenario())


async def _kept(lines: Sequence[str]) -> list[str | None]:
    """What is kept of these lines of a tool."""
    slow = Slow()
    slow.let.set()
    async with open_task_log(TASK, slow.append, LogRoom(), heartbeat_seconds=60) as log:
        for line in lines:
            await log.line(line)
    return slow.written


def test_a_flood_of_lines_is_kept_with_its_beginning_its_failures_and_its_end() -> None:
    flood = [str(number) for number in range(MOST_LINES + 10 * LAST_LINES)]
    middle = len(flood) - 3 * LAST_LINES
    kept = asyncio.run(_kept([*flood[:middle], Failed("broken"), *flood[middle:]]))
    assert kept == [
        *flood[:MOST_LINES],
        f"… {6 * LAST_LINES} lines are left out",
        *flood[middle - LAST_LINES : middle],
        "broken",
        f"… {2 * LAST_LINES} lines are left out",
        *flood[-LAST_LINES:],
    ]


def test_long_lines_fill_a_log_as_well_and_a_few_lines_too_many_are_kept() -> None:
    whole = "x" * (MOST_BYTES // 2)
    assert asyncio.run(_kept([whole, whole, whole, "end"])) == [whole, whole, whole[:1000], "end"]


def test_when_a_job_has_said_very_much_of_its_other_tasks_only_the_end_is_kept() -> None:
    async def scenario() -> None:
        slow, room = Slow(), LogRoom()
        slow.let.set()
        room.left_bytes = 1000
        for name in ("first", "second"):
            async with open_task_log(TASK, slow.append, room, heartbeat_seconds=60) as log:
                for number in range(3 * LAST_LINES):
                    await log.line(f"{name} {number}")
        *first, gap = slow.written[:-LAST_LINES]
        assert gap == f"… {2 * LAST_LINES} lines are left out"
        assert first[0] == "first 0"
        assert first[-1] == f"first {3 * LAST_LINES - 1}"
        assert len(first) < 2 * LAST_LINES
        assert slow.written[-1] == f"second {3 * LAST_LINES - 1}"

    assert LogRoom().left_bytes == MOST_JOB_BYTES
    run(scenario())


def test_a_job_that_has_been_silent_for_very_long_repeats_itself_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        heard: asyncio.Queue[float] = asyncio.Queue()
        clock = asyncio.get_running_loop().time

        async def append(events: Sequence[Event]) -> None:
            assert [event.message for event in events] == ["plan the steps"]
            heard.put_nowait(clock())

        room = LogRoom()
        room.left_heartbeat_bytes = 1
        async with open_task_log(TASK, append, room, heartbeat_seconds=0.001):
            first, second, third = [await heard.get() for _ in range(3)]
        assert min(second - first, third - second) >= 0.1

    monkeypatch.setattr(task_log, "RARE_HEARTBEAT_SECONDS", 0.1)
    assert LogRoom().left_heartbeat_bytes == MOST_HEARTBEAT_BYTES
    run(scenario())


class Full:
    """Has no room for events at first."""

    def __init__(self, refusals: float) -> None:
        self.refusals = refusals
        self.written: list[str | None] = []

    async def append(self, events: Sequence[Event]) -> None:
        if self.refusals > 0:
            self.refusals -= 1
            raise DiskFullError("the disk is full")
        self.written += [event.message for event in events]


@pytest.fixture
def _again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_log, "AGAIN_SECONDS", 0)


@pytest.mark.usefixtures("_again_at_once")
def test_on_a_full_disk_lines_wait_for_room_and_keep_their_order() -> None:
    async def scenario() -> None:
        full = Full(refusals=20)
        lines = [str(number) for number in range(2 * MAX_PENDING_LINES)]
        async with open_task_log(TASK, full.append, LogRoom(), heartbeat_seconds=0) as log:
            for line in lines:
                await log.line(line)
        assert [line for line in full.written if line != "plan the steps"] == lines

    run(scenario())


@pytest.mark.usefixtures("_again_at_once")
def test_a_task_that_is_cancelled_does_not_wait_for_room_for_its_lines() -> None:
    async def scenario() -> None:
        full = Full(refusals=math.inf)

        async def task() -> None:
            async with open_task_log(TASK, full.append, LogRoom(), heartbeat_seconds=60) as log:
                await log.line("lost")
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await task()

    run(scenario())
