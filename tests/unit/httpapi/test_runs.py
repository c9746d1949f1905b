"""Runs over HTTP: refused before the first byte, streamed, and ended with their client."""

import asyncio
from typing import Any

import pytest

from pgstrata.domain.run import RunEvent, RunRequest, RunStep
from tests.unit.httpapi.driver import Client, scenario
from tests.unit.httpapi.engine import MemoryEngine
from tests.unit.httpapi.samples import NOON, an_instance

INSTANCE = "12" * 16
SCRIPT = [
    RunEvent(type="start", ts=NOON, instance_id=INSTANCE),
    RunEvent(type="stdout", ts=NOON, data="1\n"),
    RunEvent(type="stderr", ts=NOON, data="hm\n"),
    RunEvent(type="exit", ts=NOON, exit_code=0),
]


def fill(engine: MemoryEngine) -> None:
    engine.instance_rows = {INSTANCE: an_instance(INSTANCE, name="dev")}
    engine.runs.script = SCRIPT


@scenario
async def test_a_run_is_told_line_by_line_without_fields_that_have_no_value(
    engine: MemoryEngine, client: Client
) -> None:
    fill(engine)
    steps = [{"args": ["-c", "select 1"]}, {"args": ["-f", "-"], "stdin": "select 2"}]
    answer = await client.post(
        "/v1/runs", {"instance_ref": "dev", "kind": "psql", "steps": steps, "newer": 1}
    )
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
    ts = "2026-05-04T12:00:00Z"
    assert answer.lines() == [
        {"type": "start", "ts": ts, "instance_id": INSTANCE},
        {"type": "stdout", "ts": ts, "data": "1\n"},
        {"type": "stderr", "ts": ts, "data": "hm\n"},
        {"type": "exit", "ts": ts, "exit_code": 0},
    ]
    assert engine.runs.requests == [
        RunRequest(
            instance_ref="dev",
            kind="psql",
            steps=(RunStep(args=("-c", "select 1")), RunStep(args=("-f", "-"), stdin="select 2")),
        )
    ]
    assert engine.runs.closed == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"instance_ref": "nobody", "kind": "psql"}, 404),
        ({"kind": "psql"}, 400),
        ({"instance_ref": "dev"}, 400),
        ({"instance_ref": "dev", "kind": "sh"}, 400),
        ({"instance_ref": "dev", "kind": "psql", "args": "-c"}, 400),
        ({"instance_ref": "dev", "kind": "psql", "args": ["a\0b"]}, 400),
        ({"instance_ref": "dev", "kind": "psql", "steps": [{"args": [1]}]}, 400),
        ([], 400),
    ],
)
@scenario
async def test_what_cannot_be_run_is_refused_before_the_first_byte(
    engine: MemoryEngine, client: Client, body: Any, status: int
) -> None:
    fill(engine)
    answer = await client.post("/v1/runs", body)
    assert answer.status == status
    assert set(answer.json()) <= {"code", "message", "details"}
    assert engine.runs.requests == []


@scenario
async def test_a_client_that_goes_away_ends_its_run(engine: MemoryEngine, client: Client) -> None:
    fill(engine)
    engine.runs.script, engine.runs.endless = SCRIPT[:2], True
    body = b'{"instance_ref": "dev", "kind": "psql"}'
    exchange = client.exchange("POST", "/v1/runs", body=[body])
    running = asyncio.create_task(exchange.run())
    await engine.runs.silent.wait()
    assert engine.runs.closed == 0
    exchange.leave()
    await running
    assert engine.runs.closed == 1
    assert INSTANCE in engine.instance_rows


@scenario
async def test_a_held_instance_goes_with_the_client_that_held_it(
    engine: MemoryEngine, client: Client
) -> None:
    fill(engine)
    engine.runs.endless = True
    exchange = client.exchange("POST", f"/v1/instances/{INSTANCE}/hold")
    running = asyncio.create_task(exchange.run())
    await engine.runs.silent.wait()
    assert INSTANCE in engine.instance_rows
    exchange.leave()
    await running
    assert (engine.runs.closed, engine.instance_rows) == (1, {})


@scenario
async def test_an_engine_that_stops_does_not_take_what_is_held_with_it(
    engine: MemoryEngine, client: Client
) -> None:
    fill(engine)
    engine.runs.endless = True
    exchange = client.exchange("POST", f"/v1/instances/{INSTANCE}/hold")
    running = asyncio.create_task(exchange.run())
    await engine.runs.silent.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (engine.runs.closed, list(engine.instance_rows)) == (1, [INSTANCE])


@scenario
async def test_a_started_instance_says_how_to_connect(engine: MemoryEngine, client: Client) -> None:
    fill(engine)
    assert (await client.post("/v1/instances/dev/start")).json() == {
        "instance_id": INSTANCE,
        "dsn": "postgresql://127.0.0.1/postgres",
        "programs": "/opt/postgresql/bin",
    }
    assert (await client.post("/v1/instances/nobody/start")).status == 404
