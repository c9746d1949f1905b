"""Connections of people who have no token: what they cost, and that nobody else pays for it."""

import asyncio
import json
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing

import pytest

from pgstrata.domain.job import Event, Status
from pgstrata.engine.connections import Bounds
from tests.acceptance.conftest import PGSTRATA
from tests.filesystems import reachable_place
from tests.hostile.endpoint import BEARER, answering
from tests.resilience.engine import Engine
from tests.unit.httpapi.engine import MemoryEngine
from tests.unit.httpapi.samples import NOON

DESCRIPTORS = 256
FLOOD = 600
MUCH = 64 << 20
"""More bytes than any buffers hold between two ends of a connection."""
HURRY = Bounds(request_seconds=0.2, idle_seconds=1)
HEALTH = "GET /v1/health HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = f"{HEALTH}Transfer-Encoding: chunked\r\n\r\n"
BODY = f"{HEALTH}Content-Length: 9\r\n\r\nhalf"


class FewDescriptors(Engine):
    """An engine that may open few files."""

    def _spawn(
        self, words: Sequence[str], environment: Mapping[str, str]
    ) -> "subprocess.Popen[str]":
        limited = ("sh", "-c", f'ulimit -n {DESCRIPTORS} && exec "$0" "$@"', str(PGSTRATA))
        return subprocess.Popen(
            [*limited, *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def connected(self) -> socket.socket:
        """A new connection to it."""
        assert self._address is not None
        return socket.create_connection(self._address, timeout=300)


@pytest.fixture(scope="module")
def engine() -> Iterator[FewDescriptors]:
    with reachable_place() as place:
        engine = FewDescriptors(place / "store")
        assert engine.start()
        yield engine
        for instance in engine.ask("GET", "/v1/instances"):
            engine.ask("DELETE", f"/v1/instances/{instance['instance_id']}?force=true")
        engine.stop()


@pytest.mark.parametrize("said", ["", "GET /v1/health HTTP/1.1\r\nHost: loc", BODY])
def test_an_engine_works_on_among_more_connections_than_it_has_descriptors(
    engine: FewDescriptors, said: str
) -> None:
    with ExitStack() as flood:
        for _ in range(FLOOD):
            one = flood.enter_context(closing(engine.connected()))
            one.sendall(said.encode())
        ended = engine.ended(engine.submit("-c", f"select {len(said)}"))
        assert ended["status"] == "succeeded"


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (f"{HEALTH}X-Long: ", "x"),
        (f"{HEALTH}X-", "x"),
        (HEALTH, "X-Many: x\r\n"),
        ("GET /", "x"),
        ("", "\r\n"),
        (f"{CHUNKED}0\r\nX-Long: ", "x"),
        (f"{CHUNKED}0\r\n", "X-Many: x\r\n"),
        (f"{CHUNKED}1;", "x"),
        ("", f"{HEALTH}\r\n"),
    ],
)
def test_what_never_ends_is_cut_off(engine: FewDescriptors, start: str, piece: str) -> None:
    much = piece.encode() * (MUCH // len(piece))
    with closing(engine.connected()) as one, pytest.raises(ConnectionError):
        one.sendall(start.encode() + much)
    assert engine.ask("GET", "/v1/status")


@pytest.mark.parametrize(
    "head", [f"{HEALTH}X-Long: {{}}\r\n\r\n", "GET /v1/{} HTTP/1.1\r\nHost: localhost\r\n\r\n"]
)
def test_a_head_that_is_too_large_is_refused_in_words(engine: FewDescriptors, head: str) -> None:
    with closing(engine.connected()) as one:
        one.sendall(head.format("x" * Bounds().head_bytes).encode())
        with closing(one.makefile("rb")) as answer:
            said = answer.read()
    status, _, body = said.partition(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 431 ")
    assert json.loads(body)["code"] == "head_too_large"
    assert json.loads(body)["details"]


def test_what_is_not_http_is_refused_in_words(engine: FewDescriptors) -> None:
    with closing(engine.connected()) as one:
        one.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        with closing(one.makefile("rb")) as answer:
            said = answer.read()
    status, _, body = said.partition(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["code"] == "invalid_argument"


def test_a_log_does_not_grow_by_what_strangers_say(engine: FewDescriptors) -> None:
    said = len(engine.said)
    for nonsense in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nUpgrade: x\r\nConnection: upgrade"):
        with closing(engine.connected()) as one:
            one.sendall(nonsense + b"\r\n\r\n")
            one.shutdown(socket.SHUT_WR)
            with closing(one.makefile("rb")) as answer:
                assert answer.read()
    assert engine.ask("GET", "/v1/status")
    assert engine.said[said:] == []


@pytest.mark.parametrize("said", ["", "GET", HEALTH, BODY, f"{HEALTH}\r\nGET", CHUNKED])
def test_a_request_that_does_not_become_whole_is_given_up(said: str) -> None:
    async def scenario() -> None:
        async with answering(MemoryEngine(), HURRY) as door:
            visitor = await door.visitor()
            visitor.say(said)
            await visitor.to_the_end()

    asyncio.run(scenario())


@pytest.mark.parametrize("said", [f"{HEALTH}X-Slow: ", f"{CHUNKED}"])
def test_saying_a_little_now_and_then_gains_no_time(said: str) -> None:
    async def scenario() -> None:
        async with answering(MemoryEngine(), HURRY) as door:
            visitor = await door.visitor()
            visitor.say(said)
            for _ in range(1000):
                if await visitor.over():
                    return
                visitor.say("1\r\nx\r\n" if said == CHUNKED else "x")
            raise AssertionError

    asyncio.run(scenario())


def test_who_watches_with_the_token_is_not_cut_off_by_time_or_by_a_flood() -> None:
    async def scenario() -> None:
        engine = MemoryEngine()
        job = await engine.job()
        async with answering(engine, HURRY._replace(strangers=4)) as door:
            watcher = await door.visitor()
            watcher.say(f"GET /v1/prepare-jobs/{job.job_id}/events HTTP/1.1\r\n{BEARER}\r\n\r\n")
            await watcher.hear("queued")
            flood = [await door.visitor() for _ in range(20)]
            # The last of them is given up for its time alone, which is later than the watcher's.
            for silent in flood:
                assert await silent.to_the_end() == ""
            await engine.say(job.job_id, Event(type="status", ts=NOON, status=Status.RUNNING))
            await watcher.hear("running")

    asyncio.run(scenario())


def test_a_body_that_comes_with_the_token_may_take_its_time() -> None:
    async def scenario() -> None:
        engine = MemoryEngine()
        async with answering(engine, HURRY) as door:
            sender = await door.visitor()
            body = json.dumps({"prepare_kind": "psql", "image_id": "postgres"})
            length = f"Content-Length: {len(body)}"
            sender.say(f"POST /v1/prepare-jobs HTTP/1.1\r\n{BEARER}\r\n{length}\r\n\r\n{body[:9]}")
            silent = await door.visitor()
            assert await silent.to_the_end() == ""
            sender.say(body[9:])
            await sender.hear("201 Created")

    asyncio.run(scenario())


def test_the_oldest_stranger_goes_for_a_new_one() -> None:
    async def scenario() -> None:
        async with answering(MemoryEngine(), Bounds(strangers=2, request_seconds=600)) as door:
            first, second = await door.visitor(), await door.visitor()
            third = await door.visitor()
            assert await first.to_the_end() == ""
            for visitor in (second, third):
                visitor.say(f"{HEALTH}Connection: close\r\n\r\n")
                assert '"ok":true' in await visitor.to_the_end()

    asyncio.run(scenario())
