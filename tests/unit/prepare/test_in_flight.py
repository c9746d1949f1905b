"""InFlight: one job builds a state, the others watch."""

import asyncio
from contextlib import suppress

import pytest

from pgstrata.errors import ServerError, StepFailedError
from pgstrata.prepare.in_flight import InFlight
from tests.unit.prepare.heart import run

STATE = "c" * 64


class Watcher:
    """Someone who follows a build."""

    def __init__(self, in_flight: InFlight) -> None:
        self.heard: list[str] = []
        build = in_flight.find(STATE)
        assert build is not None
        self.task = asyncio.create_task(build.follow(self._hear))

    async def _hear(self, line: str) -> None:
        self.heard.append(line)


async def unheard(line: str) -> None:
    """The builder's own listener."""


def test_everybody_who_watches_hears_the_tool_and_the_good_end() -> None:
    async def scenario() -> None:
        in_flight = InFlight()
        with in_flight.register(STATE, "job") as build:
            watchers = [Watcher(in_flight) for _ in range(3)]
            await asyncio.sleep(0)
            await build.broadcast(unheard)("hello")
            build.is_complete = True
        assert [await watcher.task for watcher in watchers] == [True, True, True]
        assert [watcher.heard for watcher in watchers] == [["hello"]] * 3
        assert in_flight.find(STATE) is None

    run(scenario())


def test_a_step_that_failed_has_failed_for_everybody() -> None:
    async def scenario() -> None:
        in_flight = InFlight()
        with suppress(StepFailedError), in_flight.register(STATE, "job"):
            watcher = Watcher(in_flight)
            await asyncio.sleep(0)
            raise StepFailedError("no such table")
        with pytest.raises(StepFailedError, match="no such table"):
            await watcher.task

    run(scenario())


@pytest.mark.parametrize("reason", [asyncio.CancelledError(), ServerError("it did not start")])
def test_a_builder_that_gives_up_leaves_the_state_to_be_built(reason: BaseException) -> None:
    async def scenario() -> None:
        in_flight = InFlight()
        with suppress(type(reason)), in_flight.register(STATE, "job"):
            watcher = Watcher(in_flight)
            await asyncio.sleep(0)
            raise reason
        assert await watcher.task is False

    run(scenario())


def test_a_builder_that_ends_before_the_state_is_there_leaves_it_to_be_built() -> None:
    async def scenario() -> None:
        in_flight = InFlight()
        with in_flight.register(STATE, "job"):
            watcher = Watcher(in_flight)
            await asyncio.sleep(0)
        assert await watcher.task is False

    run(scenario())


def test_one_who_stops_watching_is_told_no_more_and_disturbs_nobody() -> None:
    async def scenario() -> None:
        in_flight = InFlight()
        with in_flight.register(STATE, "job") as build:
            leaving, staying = Watcher(in_flight), Watcher(in_flight)
            await asyncio.sleep(0)
            leaving.task.cancel()
            await asyncio.wait((leaving.task,))
            await build.broadcast(unheard)("hello")
            build.is_complete = True
        assert await staying.task
        assert (leaving.heard, staying.heard) == ([], ["hello"])

    run(scenario())
