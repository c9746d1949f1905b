"""The engine's HTTP server when the engine stops."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing, contextmanager

import pytest

from pgstrata.domain.model import utc_now
from pgstrata.domain.run import Held
from pgstrata.engine.endpoint import HttpServer, bind_port
from pgstrata.httpapi.streams import LiveStream


def test_a_stream_without_an_end_is_cut_off_and_that_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    left = []

    async def leave() -> None:
        left.append(True)

    async def for_ever() -> AsyncGenerator[Held, None]:
        yield Held(instance_id="a", expires_at=utc_now())
        await asyncio.Event().wait()

    async def scenario() -> bytes:
        started = asyncio.Event()

        @contextmanager
        def announce() -> Iterator[None]:
            started.set()
            yield

        with closing(bind_port("127.0.0.1", 0)) as port:
            server = HttpServer(
                LiveStream(for_ever(), on_leave=leave),
                announce=announce(),
                busy=lambda: False,
                drain=lambda: asyncio.sleep(0),
                idle_timeout=None,
            )
            server.config.timeout_graceful_shutdown = 0
            serving = asyncio.create_task(server.serve([port]))
            await started.wait()
            reader, writer = await asyncio.open_connection(*port.getsockname())
            writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"expires_at")
            server.should_exit = True
            await serving
            rest = await reader.read()
            writer.close()
            return rest

    with caplog.at_level(logging.INFO):
        rest = asyncio.run(scenario())
    assert not rest.endswith(b"0\r\n\r\n"), "as if it had come to its end"
    assert not left, "the client is still there, and what it holds stays"
    assert [record.message for record in caplog.records if record.exc_info] == []
