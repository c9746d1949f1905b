"""Prepare jobs and their tasks."""

import asyncio
from urllib.parse import quote

import pytest
from msgspec.structs import replace

from pgstrata.domain.job import ErrorBody, Status
from pgstrata.httpapi.answers import PIECE_ITEMS
from tests.unit.httpapi.driver import Client, scenario
from tests.unit.httpapi.engine import MemoryEngine
from tests.unit.httpapi.samples import IMAGE, STATE_ID

JOBS = "/v1/prepare-jobs"
UNKNOWN = "0" * 32


@scenario
async def test_a_submitted_job_says_where_to_look(engine: MemoryEngine, client: Client) -> None:
    answer = await client.post(JOBS, {"prepare_kind": "psql", "image_id": "postgres:16"})
    [job_id] = engine.jobs
    assert answer.status == 201
    assert answer.headers["location"] == f"{JOBS}/{job_id}"
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "job_id": job_id,
        "status_url": f"{JOBS}/{job_id}",
        "events_url": f"{JOBS}/{job_id}/events",
        "status": "queued",
    }


@scenario
async def test_a_job_that_ends_while_its_client_waits_is_the_answer(
    engine: MemoryEngine, client: Client
) -> None:
    request = {"prepare_kind": "psql", "image_id": "postgres:16"}
    waiting = asyncio.create_task(client.post(f"{JOBS}?wait=600", request))
    await engine.waited.wait()
    [job_id] = engine.jobs
    await engine.run(job_id)
    await engine.succeed(job_id)
    answer = await waiting
    assert answer.status == 200
    assert answer.json() == (await client.get(f"{JOBS}/{job_id}")).json()


@scenario
async def test_a_job_that_takes_longer_than_its_client_waits_goes_on(
    engine: MemoryEngine, client: Client
) -> None:
    answer = await client.post(f"{JOBS}?wait=1", {"prepare_kind": "psql", "image_id": "postgres"})
    [job] = engine.jobs.values()
    assert (answer.status, answer.json()["job_id"]) == (201, job.job_id)
    assert not job.status.terminal


@pytest.mark.parametrize("wait", ["", "-1", "1.5", "10000", "x", "\u0661"])
@scenario
async def test_an_odd_time_to_wait_is_refused_and_no_job_begun(
    engine: MemoryEngine, client: Client, wait: str
) -> None:
    request = {"prepare_kind": "psql", "image_id": "postgres"}
    answer = await client.post(f"{JOBS}?wait={quote(wait)}", request)
    assert (answer.status, answer.json()["code"]) == (400, "invalid_argument")
    assert engine.jobs == {}


@scenario
async def test_a_request_the_engine_refuses_is_told_why(
    engine: MemoryEngine, client: Client
) -> None:
    answer = await client.post(JOBS, {"prepare_kind": "flyway", "image_id": "postgres"})
    assert answer.status == 400
    assert answer.json() == {
        "code": "invalid_argument",
        "message": "there is no prepare_kind 'flyway'",
        "details": "this engine knows: lb, psql",
    }


@scenario
async def test_a_queued_job_is_shown_without_what_it_has_not_got(
    engine: MemoryEngine, client: Client
) -> None:
    job = await engine.job()
    assert (await client.get(f"{JOBS}/{job.job_id}")).json() == {
        "job_id": job.job_id,
        "status": "queued",
        "prepare_kind": "psql",
        "image_id": "postgres:16",
        "prepare_args_normalized": "-f a.sql",
        "created_at": "2026-05-04T12:00:00Z",
    }


@scenario
async def test_a_job_in_the_line_for_its_turn_tells_its_place(
    engine: MemoryEngine, client: Client
) -> None:
    first, second = await engine.job(), await engine.job()
    engine.line = [first.job_id, second.job_id]
    assert (await client.get(f"{JOBS}/{second.job_id}")).json()["queue_place"] == 2
    listed = (await client.get(JOBS)).json()
    assert [job["queue_place"] for job in listed] == [2, 1]


@scenario
async def test_an_engine_that_is_stopping_takes_no_jobs_and_says_so(
    engine: MemoryEngine, client: Client
) -> None:
    engine.stopping = True
    answer = await client.post(JOBS, {"prepare_kind": "psql", "image_id": "postgres:16"})
    assert answer.status == 503
    assert answer.json()["code"] == "engine_stopping"


@scenario
async def test_a_job_that_succeeded_is_shown_with_its_plan_and_its_result(
    engine: MemoryEngine, client: Client
) -> None:
    job = await engine.job(status=Status.SUCCEEDED)
    shown = (await client.get(f"{JOBS}/{job.job_id}")).json()
    assert job.result is not None
    assert (shown["status"], shown["result"]["dsn"]) == ("succeeded", job.result.dsn)
    assert shown["tasks"][2] == {
        "task_id": "execute-0",
        "type": "state_execute",
        "input": {"kind": "image", "id": IMAGE},
        "task_hash": "c" * 64,
        "output_state_id": STATE_ID,
        "cached": True,
        "args_summary": "-f schema.sql",
    }
    assert "error" not in shown


@scenario
async def test_a_job_that_failed_is_shown_with_its_error(
    engine: MemoryEngine, client: Client
) -> None:
    job = await engine.job(status=Status.FAILED)
    shown = (await client.get(f"{JOBS}/{job.job_id}")).json()
    assert shown["error"] == {"code": "step_failed", "message": "psql failed"}
    assert "result" not in shown


@scenario
async def test_jobs_are_listed_newest_first_as_entries(
    engine: MemoryEngine, client: Client
) -> None:
    older = await engine.job(status=Status.SUCCEEDED)
    newer = await engine.job()
    listed = (await client.get(JOBS)).json()
    assert [entry["job_id"] for entry in listed] == [newer.job_id, older.job_id]
    assert listed[1]["resolved_image_id"] == IMAGE
    assert listed[1]["signature"] == "e" * 64
    assert not {"tasks", "result", "error"} & listed[1].keys()


@scenario
async def test_a_cancelled_job_in_a_list_is_told_from_one_that_went_wrong(
    engine: MemoryEngine, client: Client
) -> None:
    await engine.job(status=Status.FAILED)
    await engine.fail((await engine.job()).job_id, ErrorBody(code="cancelled", message="it was"))
    listed = (await client.get(JOBS)).json()
    assert [entry.get("cancelled") for entry in listed] == [True, None]
    assert {entry["status"] for entry in listed} == {"failed"}


@scenario
async def test_jobs_are_found_by_the_beginning_of_their_id_in_any_case(
    engine: MemoryEngine, client: Client
) -> None:
    job, _other = await engine.job(), await engine.job()
    listed = (await client.get(f"{JOBS}?job={job.job_id[:12].upper()}")).json()
    assert [entry["job_id"] for entry in listed] == [job.job_id]
    assert (await client.get(f"{JOBS}?job=nothing-like-this")).json() == []
    assert len((await client.get(f"{JOBS}?job=")).json()) == 2


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/html, Application/X-NDJSON;q=1"])
@scenario
async def test_a_list_comes_as_lines_for_who_accepts_them(
    engine: MemoryEngine, client: Client, accept: str
) -> None:
    jobs = [await engine.job(), await engine.job()]
    answer = await client.get(JOBS, accept=accept)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [entry["job_id"] for entry in answer.lines()] == [jobs[1].job_id, jobs[0].job_id]


@scenario
async def test_a_list_is_an_array_otherwise(engine: MemoryEngine, client: Client) -> None:
    answer = await client.get(JOBS, accept="application/json, */*")
    assert (answer.headers["content-type"], answer.json()) == ("application/json", [])


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
@scenario
async def test_cancelling_a_job_on_its_way_is_accepted(
    engine: MemoryEngine, client: Client, status: Status
) -> None:
    job = await engine.job(status=status)
    answer = await client.post(f"{JOBS}/{job.job_id}/cancel")
    assert answer.status == 202
    assert answer.json()["status"] == engine.jobs[job.job_id].status
    assert engine.jobs[job.job_id] != job


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED])
@scenario
async def test_cancelling_a_job_at_its_end_only_shows_it(
    engine: MemoryEngine, client: Client, status: Status
) -> None:
    job = await engine.job(status=status)
    answer = await client.post(f"{JOBS}/{job.job_id}/cancel")
    assert (answer.status, answer.json()["status"]) == (200, status)
    assert engine.jobs[job.job_id] == job


@scenario
async def test_a_job_that_can_go_is_deleted(engine: MemoryEngine, client: Client) -> None:
    job = await engine.job(status=Status.SUCCEEDED)
    answer = await client.delete(f"{JOBS}/{job.job_id}")
    assert answer.status == 200
    assert answer.json() == {
        "dry_run": False,
        "outcome": "deleted",
        "root": {"kind": "job", "id": job.job_id},
    }
    assert not engine.jobs


@scenario
async def test_a_running_job_is_deleted_only_with_force(
    engine: MemoryEngine, client: Client
) -> None:
    job = await engine.job(status=Status.RUNNING)
    answer = await client.delete(f"{JOBS}/{job.job_id}")
    assert (answer.status, answer.json()["outcome"]) == (409, "blocked")
    assert answer.json()["root"]["blocked"] == "active_tasks"
    assert (await client.delete(f"{JOBS}/{job.job_id}?force")).status == 200


@scenario
async def test_a_dry_run_succeeds_in_finding_out_that_something_is_in_the_way(
    engine: MemoryEngine, client: Client
) -> None:
    job = await engine.job(status=Status.RUNNING)
    answer = await client.delete(f"{JOBS}/{job.job_id}?dry_run=true")
    assert (answer.status, answer.json()["outcome"]) == (200, "blocked")
    would = await client.delete(f"{JOBS}/{job.job_id}?dry_run=1&force=1")
    assert (would.status, would.json()["outcome"]) == (200, "would_delete")
    assert job.job_id in engine.jobs


@pytest.mark.parametrize("value", ["true", "1", ""])
@scenario
async def test_a_flag_is_set_in_three_ways(
    engine: MemoryEngine, client: Client, value: str
) -> None:
    job = await engine.job(status=Status.SUCCEEDED)
    answer = await client.delete(f"{JOBS}/{job.job_id}?dry_run={value}")
    assert answer.json()["dry_run"] is True


@pytest.mark.parametrize("value", ["false", "0"])
@scenario
async def test_a_flag_is_cleared_in_two_ways(
    engine: MemoryEngine, client: Client, value: str
) -> None:
    job = await engine.job(status=Status.SUCCEEDED)
    answer = await client.delete(f"{JOBS}/{job.job_id}?dry_run={value}")
    assert answer.json()["dry_run"] is False


@pytest.mark.parametrize("query", ["force=yes", "force=TRUE", "dry_run=2"])
@scenario
async def test_another_word_for_a_flag_is_refused(
    engine: MemoryEngine, client: Client, query: str
) -> None:
    job = await engine.job(status=Status.SUCCEEDED)
    answer = await client.delete(f"{JOBS}/{job.job_id}?{query}")
    assert (answer.status, answer.json()["code"]) == (400, "invalid_argument")
    assert query.partition("=")[0] in answer.json()["message"]
    assert job.job_id in engine.jobs


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{JOBS}/{UNKNOWN}"),
        ("GET", f"{JOBS}/{UNKNOWN}/events"),
        ("POST", f"{JOBS}/{UNKNOWN}/cancel"),
        ("DELETE", f"{JOBS}/{UNKNOWN}"),
    ],
)
@scenario
async def test_a_job_that_is_not_there_is_not_found(
    engine: MemoryEngine, client: Client, method: str, path: str
) -> None:
    answer = await client.ask(method, path)
    assert (answer.status, answer.json()["code"]) == (404, "not_found")
    assert UNKNOWN in answer.json()["message"]


@scenario
async def test_query_parameters_that_are_not_known_are_ignored(
    engine: MemoryEngine, client: Client
) -> None:
    assert (await client.get(f"{JOBS}?colour=blue&job=")).status == 200


@scenario
async def test_tasks_are_listed_with_their_jobs_images(
    engine: MemoryEngine, client: Client
) -> None:
    job = await engine.job(status=Status.SUCCEEDED)
    await engine.job(status=Status.SUCCEEDED)
    listed = (await client.get(f"/v1/tasks?job={job.job_id}")).json()
    assert [task["type"] for task in listed] == [
        "plan",
        "resolve_image",
        "state_execute",
        "prepare_instance",
    ]
    for task in listed:
        assert task["job_id"] == job.job_id
        assert task["status"] == "succeeded"
        assert (task["image_id"], task["resolved_image_id"]) == ("postgres:16", IMAGE)
    assert listed[2]["args_summary"] == "-f schema.sql"


@scenario
async def test_tasks_of_all_jobs_are_listed_when_none_is_named(
    engine: MemoryEngine, client: Client
) -> None:
    jobs = [await engine.job(status=Status.SUCCEEDED) for _ in range(2)]
    listed = (await client.get("/v1/tasks")).json()
    assert {task["job_id"] for task in listed} == {job.job_id for job in jobs}
    assert (await client.get(f"/v1/tasks?job={UNKNOWN}")).json() == []


async def job_of_many_steps(engine: MemoryEngine, steps: int) -> str:
    """The id of a finished job of so many steps."""
    job_id = (await engine.job(status=Status.SUCCEEDED)).job_id
    plan, resolving, step, last = engine.all_tasks[job_id]
    many = [
        replace(step, spec=replace(step.spec, task_id=f"execute-{number}"))
        for number in range(steps)
    ]
    engine.all_tasks[job_id] = [plan, resolving, *many, last]
    return job_id


@pytest.mark.parametrize("steps", [PIECE_ITEMS - 3, PIECE_ITEMS - 2, 3 * PIECE_ITEMS + 1])
@scenario
async def test_however_many_tasks_a_job_has_it_is_shown_with_all_of_them_unless_without(
    engine: MemoryEngine, client: Client, steps: int
) -> None:
    job_id = await job_of_many_steps(engine, steps)
    whole = (await client.get(f"{JOBS}/{job_id}")).json()
    ids = ["plan", "resolve-image", *(f"execute-{n}" for n in range(steps)), "prepare-instance"]
    assert [task["task_id"] for task in whole["tasks"]] == ids
    for query in ("tasks=true", "tasks"):
        assert (await client.get(f"{JOBS}/{job_id}?{query}")).json() == whole
    del whole["tasks"]
    assert (await client.get(f"{JOBS}/{job_id}?tasks=false")).json() == whole
    lines = await client.get(f"/v1/tasks?job={job_id}", accept="application/x-ndjson")
    listed = (await client.get(f"/v1/tasks?job={job_id}")).json()
    assert [task["task_id"] for task in listed] == ids
    assert lines.lines() == listed


@scenario
async def test_tasks_are_listed_by_pages(engine: MemoryEngine, client: Client) -> None:
    job_id = await job_of_many_steps(engine, 600)
    listed = (await client.get(f"/v1/tasks?job={job_id}")).json()
    pages: list[object] = []
    while page := (await client.get(f"/v1/tasks?job={job_id}&start={len(pages)}&limit=250")).json():
        assert len(page) <= 250
        pages += page
    assert pages == listed
    assert (await client.get("/v1/tasks?limit=0")).json() == []


@pytest.mark.parametrize("query", ["start=-1", "limit=x", "limit=", "limit=1e3", "start=\u0661"])
@scenario
async def test_an_odd_page_is_refused(engine: MemoryEngine, client: Client, query: str) -> None:
    answer = await client.get(f"/v1/tasks?{quote(query, safe='=')}")
    assert answer.status == 400
    assert answer.json()["code"] == "invalid_argument"
