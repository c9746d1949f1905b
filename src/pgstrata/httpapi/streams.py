"""The stream of a job's events: one per line, as they happen, until the job ends."""

import asyncio
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from pgstrata.api.codec import ENCODER
from pgstrata.domain.job import Event
from pgstrata.httpapi.answers import NDJSON
from pgstrata.httpapi.ranges import Window
from pgstrata.httpapi.service import Jobs

BATCH_EVENTS: Final = 500
"""How many events to read at once, which bounds the memory that a slow client costs."""

ACCEPT_RANGES: Final = {"Accept-Ranges": "events"}


class EventStream:
    """A response that follows a job.

    It reads only as fast as the client does. If the client goes away it ends immediately, without
    affecting the job.
    """

    def __init__(self, jobs: Jobs, job_id: str, window: Window) -> None:
        self._jobs = jobs
        self._job_id = job_id
        self._window = window

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(self._start())
        if scope["method"] == "HEAD":
            await send(_body(b"", more=False))
            return
        async with asyncio.TaskGroup() as tasks:
            pump = tasks.create_task(self._pump(send), name=f"events of {self._job_id}")
            watch = tasks.create_task(_cancel_when_gone(receive, pump))
            pump.add_done_callback(lambda _: watch.cancel())

    def _start(self) -> Message:
        headers = [(b"content-type", NDJSON.encode())]
        headers += [
            (name.lower().encode(), value.encode()) for name, value in ACCEPT_RANGES.items()
        ]
        content_range = self._window.content_range
        if content_range is None:
            return {"type": "http.response.start", "status": 200, "headers": headers}
        headers.append((b"content-range", content_range.encode()))
        return {"type": "http.response.start", "status": 206, "headers": headers}

    async def _pump(self, send: Send) -> None:
        number = self._window.first
        while True:
            events = await self._jobs.events_since(self._job_id, number, self._limit(number))
            number += len(events)
            complete = _ends(events) or self._limit(number) == 0
            if events or complete:
                await send(_body(ENCODER.encode_lines(events), more=not complete))
            if complete:
                return
            if not await self._jobs.wait_for_event(self._job_id, number):
                await send(_body(b"", more=False))
                return

    def _limit(self, number: int) -> int:
        last = self._window.last
        return BATCH_EVENTS if last is None else min(BATCH_EVENTS, last + 1 - number)


async def _cancel_when_gone(receive: Receive, pump: asyncio.Task[None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    pump.cancel()


def _ends(events: list[Event]) -> bool:
    """Whether the last of these is the terminal status, which is a job's last event."""
    if not events or events[-1].type != "status":
        return False
    status = events[-1].status
    return status is not None and status.terminal


def _body(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}
