"""``/v1/diff``."""

import asyncio

import pytest

from tests.unit.httpapi.driver import Client, scenario
from tests.unit.httpapi.engine import MemoryEngine


@scenario
async def test_differences_are_told_with_rows_if_asked_for(
    engine: MemoryEngine, client: Client
) -> None:
    found = await client.post("/v1/diff", {"a": "dev", "b": "seeded"})
    assert (found.status, found.json()["different"]) == (200, True)
    assert "rows" not in found.json()
    alike = await client.post("/v1/diff", {"a": "dev", "b": "dev", "rows": True})
    assert alike.json() == {
        "different": False,
        "schema": "",
        "added": [],
        "removed": [],
        "changed": [],
        "rows": [{"database": "d", "table": "t", "a": 1, "b": None}],
    }


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"a": "dev"}, 400),
        ({"a": "dev", "b": 5}, 400),
        ({"a": "dev", "b": "dev", "rows": "yes"}, 400),
        ({"a": "dev", "b": "nope"}, 404),
    ],
)
@scenario
async def test_what_cannot_be_compared_is_an_error(
    engine: MemoryEngine, client: Client, body: object, status: int
) -> None:
    assert (await client.post("/v1/diff", body)).status == status


@scenario
async def test_it_is_stopped_when_the_client_goes_away(
    engine: MemoryEngine, client: Client
) -> None:
    exchange = client.exchange("POST", "/v1/diff", body=[b'{"a": "hang", "b": "dev"}'])
    running = asyncio.create_task(exchange.run())
    await engine.waited.wait()
    assert engine.waiting == 1
    exchange.leave()
    await running
    assert engine.waiting == 0
