"""The stream of a job's events."""

import asyncio
import json

import pytest

from pgstrata.domain.job import Event, Status
from pgstrata.httpapi.app import create_app
from pgstrata.httpapi.streams import BATCH_EVENTS
from tests.unit.httpapi.driver import BEARER, TOKEN, Answer, Client, Exchange, scenario
from tests.unit.httpapi.engine import MemoryEngine
from tests.unit.httpapi.samples import NOON

JOBS = "/v1/prepare-jobs"


def said(events: list[dict[str, str]]) -> list[str]:
    return [event.get("status") or event.get("message") or event["type"] for event in events]


async def finished_job(engine: MemoryEngine, *, events: int) -> str:
    """A job at its end with so many events, the log's numbered like the events."""
    job = await engine.job(status=Status.RUNNING)
    await engine.log(job.job_id, (str(number) for number in range(2, events - 2)))
    await engine.succeed(job.job_id)
    assert await engine.count_events(job.job_id) == events
    return job.job_id


async def answered(exchange: Exchange) -> tuple[int, dict[str, str]]:
    """The status and the headers of an answer that has begun."""
    start = await exchange.messages.get()
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}


async def ranged(client: Client, job_id: str, header: str) -> Answer:
    return await client.get(f"{JOBS}/{job_id}/events", Range=header)


@scenario
async def test_a_finished_job_tells_everything_from_first_to_last(
    engine: MemoryEngine, client: Client
) -> None:
    job = await engine.job(status=Status.SUCCEEDED)
    answer = await client.get(f"{JOBS}/{job.job_id}/events")
    assert answer.status == 200
    assert answer.headers == {
        "content-type": "application/x-ndjson",
        "accept-ranges": "events",
    }
    assert said(answer.lines()) == ["queued", "running", "result", "succeeded"]
    assert answer.lines()[0] == {"type": "status", "ts": "2026-05-04T12:00:00Z", "status": "queued"}


@scenario
async def test_a_running_job_is_followed_as_it_goes_up_to_its_terminal_status(
    engine: MemoryEngine, client: Client
) -> None:
    job = await engine.job()
    exchange = client.exchange("GET", f"{JOBS}/{job.job_id}/events")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(exchange.run())
        await answered(exchange)
        assert said(await exchange.next_lines()) == ["queued"]
        await engine.run(job.job_id)
        assert said(await exchange.next_lines()) == ["running"]
        await engine.log(job.job_id, ["one", "two"])
        assert said(await exchange.next_lines()) == ["one", "two"]
        await engine.succeed(job.job_id)
        assert said(await exchange.next_lines()) == ["result", "succeeded"]
    assert exchange.messages.empty()


@scenario
async def test_a_tasks_own_end_does_not_end_the_stream(
    engine: MemoryEngine, client: Client
) -> None:
    job = await engine.job(status=Status.RUNNING)
    done = Event(type="task", ts=NOON, task_id="plan", status=Status.SUCCEEDED)
    await engine.say(job.job_id, done)
    await engine.succeed(job.job_id)
    answer = await client.get(f"{JOBS}/{job.job_id}/events")
    assert len(answer.lines()) == 5


@scenario
async def test_the_stream_of_a_job_that_is_deleted_ends(
    engine: MemoryEngine, client: Client
) -> None:
    job = await engine.job(status=Status.RUNNING)
    exchange = client.exchange("GET", f"{JOBS}/{job.job_id}/events")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(exchange.run())
        await engine.waited.wait()
        await engine.delete(job.job_id, force=True, dry_run=False)
    messages = [exchange.messages.get_nowait() for _ in range(exchange.messages.qsize())]
    assert messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    last = json.loads(messages[-2]["body"])
    assert (last["type"], last["error"]["code"]) == ("error", "not_found")
    assert "was removed" in last["error"]["message"]


@scenario
async def test_a_client_that_goes_away_ends_its_stream_and_not_the_job_and_the_log_says_so(
    engine: MemoryEngine, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    job = await engine.job(status=Status.RUNNING)
    exchange = client.exchange("GET", f"{JOBS}/{job.job_id}/events")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(exchange.run())
        await engine.waited.wait()
        assert engine.waiting == 1
        exchange.leave()
    assert engine.waiting == 0
    assert engine.jobs[job.job_id] == job
    assert f"`pgstrata watch {job.job_id}` follows it" in caplog.text


@scenario
async def test_a_client_that_goes_away_without_having_read_is_not_waited_for(
    engine: MemoryEngine, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    job_id = await finished_job(engine, events=20)
    exchange = client.exchange("GET", f"{JOBS}/{job_id}/events")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(exchange.run())
        await exchange.messages.get()
        exchange.may_send.clear()
        await exchange.held_back.wait()
        exchange.leave()
    assert exchange.messages.empty()
    assert caplog.text == ""  # there is no job that continues


@scenario
async def test_a_slow_reader_holds_the_reading_back(engine: MemoryEngine, client: Client) -> None:
    job_id = await finished_job(engine, events=BATCH_EVENTS * 3)
    exchange = client.exchange("GET", f"{JOBS}/{job_id}/events")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(exchange.run())
        await exchange.messages.get()
        exchange.may_send.clear()
        await exchange.held_back.wait()
        assert len(engine.reads) == 1
        exchange.may_send.set()
    assert len(engine.reads) == 3


@scenario
async def test_many_events_are_read_in_batches_and_none_is_lost(
    engine: MemoryEngine, client: Client
) -> None:
    count = BATCH_EVENTS * 2 + 7
    job_id = await finished_job(engine, events=count)
    answer = await client.get(f"{JOBS}/{job_id}/events")
    assert said(answer.lines())[2:-2] == [str(number) for number in range(2, count - 2)]
    assert set(engine.reads) == {BATCH_EVENTS}


@pytest.mark.parametrize(
    ("header", "content_range", "first", "last"),
    [
        ("events=10-24", "events 10-24/100", 10, 24),
        ("events=10-", "events 10-99/100", 10, 99),
        ("events=98-400", "events 98-99/100", 98, 99),
        ("events=-5", "events 95-99/100", 95, 99),
        ("events=0-0", "events 0-0/100", 0, 0),
    ],
)
@scenario
async def test_a_range_of_a_finished_job_is_answered_in_part(
    engine: MemoryEngine, client: Client, header: str, content_range: str, first: int, last: int
) -> None:
    job_id = await finished_job(engine, events=100)
    whole = (await client.get(f"{JOBS}/{job_id}/events")).lines()
    answer = await ranged(client, job_id, header)
    assert (answer.status, answer.headers["content-range"]) == (206, content_range)
    assert answer.headers["accept-ranges"] == "events"
    assert answer.lines() == whole[first : last + 1]


@scenario
async def test_a_range_larger_than_a_batch_is_whole(engine: MemoryEngine, client: Client) -> None:
    job_id = await finished_job(engine, events=2000)
    answer = await ranged(client, job_id, "events=100-1299")
    assert said(answer.lines()) == [str(number) for number in range(100, 1300)]


@pytest.mark.parametrize("header", ["events=100-", "events=200-300", "events=-0"])
@scenario
async def test_a_range_past_the_end_of_a_finished_job_cannot_be_satisfied(
    engine: MemoryEngine, client: Client, header: str
) -> None:
    answer = await ranged(client, await finished_job(engine, events=100), header)
    assert (answer.status, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == "events */100"
    assert answer.headers["accept-ranges"] == "events"


@pytest.mark.parametrize("header", ["bytes=0-1", "events=4-2", "events=0-1,3-4", "nonsense"])
@scenario
async def test_a_range_that_is_none_is_ignored(
    engine: MemoryEngine, client: Client, header: str
) -> None:
    answer = await ranged(client, await finished_job(engine, events=10), header)
    assert (answer.status, len(answer.lines())) == (200, 10)
    assert "content-range" not in answer.headers


@scenario
async def test_an_open_range_of_a_running_job_waits_for_what_is_to_come(
    engine: MemoryEngine, client: Client
) -> None:
    job = await engine.job(status=Status.RUNNING)
    headers = BEARER | {"Range": "events=3-"}
    exchange = client.exchange("GET", f"{JOBS}/{job.job_id}/events", headers=headers)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(exchange.run())
        status, answer_headers = await answered(exchange)
        assert (status, answer_headers["content-range"]) == (206, "events 3-3/*")
        await engine.log(job.job_id, ["2", "3"])
        assert said(await exchange.next_lines()) == ["3"]
        await engine.succeed(job.job_id)
        assert said(await exchange.next_lines()) == ["result", "succeeded"]


@scenario
async def test_a_closed_range_of_a_running_job_ends_with_its_last_event(
    engine: MemoryEngine, client: Client
) -> None:
    job = await engine.job(status=Status.RUNNING)
    headers = BEARER | {"Range": "events=1-3"}
    exchange = client.exchange("GET", f"{JOBS}/{job.job_id}/events", headers=headers)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(exchange.run())
        _, answer_headers = await answered(exchange)
        assert answer_headers["content-range"] == "events 1-3/*"
        assert said(await exchange.next_lines()) == ["running"]
        await engine.log(job.job_id, ["2", "3", "4"])
        assert said(await exchange.next_lines()) == ["2", "3"]
    assert not engine.jobs[job.job_id].status.terminal


@scenario
async def test_a_closed_range_ends_early_if_the_job_does(
    engine: MemoryEngine, client: Client
) -> None:
    job = await engine.job(status=Status.RUNNING)
    headers = BEARER | {"Range": "events=50-60"}
    exchange = client.exchange("GET", f"{JOBS}/{job.job_id}/events", headers=headers)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(exchange.run())
        await engine.waited.wait()
        await engine.succeed(job.job_id)
    await answered(exchange)
    assert await exchange.next_lines() == []


@scenario
async def test_head_says_what_there_is_and_waits_for_nothing(
    engine: MemoryEngine, client: Client
) -> None:
    job = await engine.job(status=Status.RUNNING)
    headers = BEARER | {"Range": "events=0-1"}
    answer = await client.ask("HEAD", f"{JOBS}/{job.job_id}/events", headers=headers)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["accept-ranges"] == "events"
    assert not engine.reads


class _Forgetful(MemoryEngine):
    async def wait_for_event(self, job_id: str, number: int) -> bool:
        raise RuntimeError("lost")


def test_a_stream_that_fails_is_broken_off_and_never_looks_whole() -> None:
    async def follow() -> Exchange:
        engine = _Forgetful()
        job = await engine.job()
        exchange = Client(create_app(engine.service, TOKEN)).exchange(
            "GET", f"{JOBS}/{job.job_id}/events"
        )
        with pytest.raises(ExceptionGroup):
            await exchange.run()
        return exchange

    exchange = asyncio.run(follow())
    messages = [exchange.messages.get_nowait() for _ in range(exchange.messages.qsize())]
    assert all(message["more_body"] for message in messages[1:])
