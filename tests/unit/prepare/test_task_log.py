"""The task log: what a task logs is kept, whenever the task ends."""

import asyncio
from collections.abc import Sequence

from pgstrata.domain.job import Event, Status, Task
from pgstrata.domain.plan import PlanTask
from pgstrata.prepare.task_log import open_task_log
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
        async with open_task_log(TASK, slow.append, heartbeat_seconds=60) as task_log:
            await task_log.line("first")
            await slow.writing.wait()
            await task_log.line("second")
            asyncio.get_running_loop().call_soon(slow.let.set)
        assert slow.written == ["first", "second"]

    run(scenario())
