"""Streams: one model per line, as things happen, until they end or the client is gone."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from pgstrata.api.codec import ENCODER
from pgstrata.api.jobs import JOBS_PATH
from pgstrata.domain.job import Event
from pgstrata.domain.model import utc_now
from pgstrata.errors import NotFoundError
from pgstrata.httpapi.answers import NDJSON
from pgstrata.httpapi.ranges import Window
from pgstrata.httpapi.service import Jobs

_log = logging.getLogger(__name__)

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
        self._is_live = False
        """Whether the client has heard all that there was, and waits for more."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(self._start())
        if scope["method"] == "HEAD":
            await send(_body(b"", more=False))
            return
        async with asyncio.TaskGroup() as tasks:
            pump = tasks.create_task(self._pump(send), name=f"events of {self._job_id}")
            watch = tasks.create_task(self._cancel_when_gone(receive, pump))
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
            self._is_live = True
            if not await self._jobs.wait_for_event(self._job_id, number):
                if await self._jobs.get(self._job_id) is None:
                    await send(_body(ENCODER.encode_lines([_gone(self._job_id)]), more=True))
                await send(_body(b"", more=False))
                return

    async def _cancel_when_gone(self, receive: Receive, pump: asyncio.Task[None]) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        pump.cancel()
        if self._is_live:
            # With the client its terminal may have gone, so that it could tell nobody.
            _log.info(
                "job %s continues, but a client that followed it has gone; "
                "`pgstrata watch %s` follows it",
                *(self._job_id, self._job_id),
            )

    def _limit(self, number: int) -> int:
        last = self._window.last
        return BATCH_EVENTS if last is None else min(BATCH_EVENTS, last + 1 - number)


class LiveStream:
    """A response with what comes from a source, which is closed when the client goes away."""

    def __init__(
        self,
        source: AsyncGenerator[object, None],
        *,
        on_leave: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``on_leave``: called once the client has left before the end; not if the engine stops."""
        self._source = source
        self._on_leave = on_leave

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        left = False

        async def watch_client() -> None:
            nonlocal left
            while (await receive())["type"] != "http.disconnect":
                pass
            left = True
            pump.cancel()

        async with asyncio.TaskGroup() as tasks:
            pump = tasks.create_task(self._pump(send), name="live stream")
            watch = tasks.create_task(watch_client())
            pump.add_done_callback(lambda _: watch.cancel())
        if left and self._on_leave is not None:
            await self._on_leave()

    async def _pump(self, send: Send) -> None:
        async with aclosing(self._source) as source:
            headers = [(b"content-type", NDJSON.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for item in source:
                await send(_body(ENCODER.encode(item) + b"\n", more=True))
            await send(_body(b"", more=False))


def _ends(events: list[Event]) -> bool:
    """Whether the last of these is the terminal status, which is a job's last event."""
    if not events or events[-1].type != "status":
        return False
    status = events[-1].status
    return status is not None and status.terminal


def _gone(job_id: str) -> Event:
    """Make the last line for a watcher of a job that was removed under it."""
    error = NotFoundError(
        f"The job {job_id} was removed meanwhile, with the rest of its events.",
        remedy=f"GET {JOBS_PATH} lists the jobs.",
    )
    return Event(type="error", ts=utc_now(), error=error.body())


def _body(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}
