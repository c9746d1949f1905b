"""Web pages whose name was made to lead to the engine."""

import asyncio
import json

import pytest

from tests.hostile.endpoint import BEARER, answering
from tests.unit.httpapi.engine import MemoryEngine

HOSTS = ("build.example", "2001:db8::7")


def statuses(*heads: str) -> list[tuple[int, dict[str, str]]]:
    """What an engine with more ``HOSTS`` answers to requests with these headers."""

    async def scenario() -> list[tuple[int, dict[str, str]]]:
        found = []
        async with answering(MemoryEngine(), hosts=HOSTS) as door:
            for head in heads:
                visitor = await door.visitor()
                visitor.say(f"{head}Connection: close\r\n\r\n")
                status, _, body = (await visitor.to_the_end()).partition("\r\n\r\n")
                found.append((int(status.split()[1]), json.loads(body)))
        return found

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8700", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("evil.example.", "notlocalhost", "192.0.2.7", "[2001:db8::8]:80", "", "[", "::1", "a b"),
        *("build.example.evil.example", "evil.example@localhost", "localhost:80:80", "\xe9"),
    ],
)
def test_a_name_that_is_not_the_engines_is_refused_with_the_token_and_without(host: str) -> None:
    for status, error in statuses(
        f"GET /v1/health HTTP/1.1\r\nHost: {host}\r\n",
        f"GET /v1/states HTTP/1.1\r\nHost: {host}\r\n{BEARER}\r\n",
        f"GET /v1/states HTTP/1.1\r\nHost: localhost\r\nHost: {host}\r\n{BEARER}\r\n",
    ):
        assert (status, error["code"]) == (403, "host_not_allowed")
        assert "engine.hosts" in error["details"]


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost",
            "LocalHost:8700",
            "localhost.",
            "shop.localhost",
            "127.0.0.1:1",
            "127.9.9.9",
        ),
        *("[::1]", "[::1]:8700", "[::ffff:127.0.0.1]", "Build.Example:443", "[2001:DB8:0::7]:80"),
    ],
)
def test_the_machines_own_names_and_those_that_are_set_are_let_through(host: str) -> None:
    [(status, _)] = statuses(f"GET /v1/states HTTP/1.1\r\nHost: {host}\r\n{BEARER}\r\n")
    assert status == 200


def test_what_is_no_browser_need_not_name_a_host() -> None:
    [(status, _)] = statuses(f"GET /v1/states HTTP/1.1\r\n{BEARER}\r\n")
    assert status == 200
