"""Prepare jobs, their events and their tasks."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from pgstrata.api.jobs import JOBS_PATH, JobAccepted, JobEntry, JobStatus, TaskEntry
from pgstrata.domain.job import Event, Job
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import NotFoundError, RangeNotSatisfiableError
from pgstrata.httpapi import ranges
from pgstrata.httpapi.answers import answer, answer_with_list, list_answer
from pgstrata.httpapi.body import read_with_input
from pgstrata.httpapi.deletions import DELETE_REPLIES, delete_answer
from pgstrata.httpapi.errors import error_answer
from pgstrata.httpapi.parameters import (
    DRY_RUN,
    FORCE,
    SECONDS_PATTERN,
    flag,
    flag_parameter,
    number,
    number_parameter,
    path_id,
    seconds,
    text_filter,
    text_parameter,
)
from pgstrata.httpapi.routing import Operation, Parameter, Reply
from pgstrata.httpapi.service import Service
from pgstrata.httpapi.streams import ACCEPT_RANGES, EventStream
from pgstrata.httpapi.wire import job_accepted, job_entry, job_status, task_entry


async def submit(service: Service, request: Request) -> Response:
    patience = seconds(request, "wait")
    with_tasks = flag(request, TASKS.name, omitted=True)
    wanted = await read_with_input(request, service.requests.read)
    job = await service.jobs.submit(wanted, patience=patience or 0)
    if patience and job.status.terminal:
        return await _status_answer(service, job, with_tasks=with_tasks)
    accepted = job_accepted(job, service.jobs.queue_position(job.job_id))
    return answer(accepted, 201, headers={"Location": accepted.status_url})


async def list_jobs(service: Service, request: Request) -> Response:
    prefix = text_filter(request, "job") or ""
    jobs = await service.jobs.list_jobs(prefix=prefix.lower())
    placed = [(job, service.jobs.queue_position(job.job_id)) for job in jobs]
    return list_answer(request, placed, lambda each: job_entry(*each))


async def get_job(service: Service, request: Request) -> Response:
    with_tasks = flag(request, TASKS.name, omitted=True)
    return await _status_answer(service, await _known_job(service, request), with_tasks=with_tasks)


async def delete_job(service: Service, request: Request) -> Response:
    result = await service.jobs.delete(
        request.path_params["id"], force=flag(request, "force"), dry_run=flag(request, "dry_run")
    )
    return delete_answer(result)


async def cancel_job(service: Service, request: Request) -> Response:
    job = await _known_job(service, request)
    if job.status.terminal:
        return await _status_answer(service, job)
    # Accepted even if the job has ended by now, hence 202.
    return await _status_answer(service, await service.jobs.cancel(job.job_id), status=202)


async def follow_events(service: Service, request: Request) -> ASGIApp:
    job = await _known_job(service, request)
    # HTTP defines ranges only for GET.
    wanted = ranges.parse_range(request.headers.get("range")) if request.method == "GET" else None
    if wanted is None:
        return EventStream(service.jobs, job.job_id, ranges.Window())
    count = await service.jobs.count_events(job.job_id)
    window = wanted.window(count, finished=job.status.terminal)
    return EventStream(service.jobs, job.job_id, window) if window else _unsatisfiable(job, count)


async def list_tasks(service: Service, request: Request) -> Response:
    job_id = text_filter(request, "job")
    tasks = await service.jobs.list_tasks(
        job_id, number(request, START.name) or 0, number(request, LIMIT.name)
    )
    jobs = {job.job_id: job for job in await service.jobs.list_jobs(prefix=job_id or "")}
    return list_answer(request, tasks, lambda task: task_entry(task, jobs.get(task.job_id)))


async def _known_job(service: Service, request: Request) -> Job:
    job_id = request.path_params["id"]
    job = await service.jobs.get(job_id)
    if job is None:
        raise NotFoundError(
            f"There is no job {job_id!r}.", remedy=f"GET {JOBS_PATH} lists the jobs."
        )
    return job


async def _status_answer(
    service: Service, job: Job, *, with_tasks: bool = True, status: int = 200
) -> Response:
    tasks = await service.jobs.list_tasks(job.job_id) if with_tasks else []
    shown = job_status(job, service.jobs.queue_position(job.job_id))
    return answer_with_list(shown, "tasks", [task.spec for task in tasks], status)


def _unsatisfiable(job: Job, count: int) -> Response:
    error = RangeNotSatisfiableError(
        f"The job {job.job_id} ended with {count} events, so there are none in this range.",
        remedy=f"Ask for a range that starts below {count}.",
    )
    headers = {"Content-Range": f"events */{count}", **ACCEPT_RANGES}
    return error_answer(error, headers=headers)


_JOB_ID = path_id("The job's id.")
TASKS = flag_parameter(
    "tasks", "Whether the job is shown with its tasks, of which there may be many; true if omitted."
)
START = number_parameter("start", "The number of the first task, counted from 0; 0 if omitted.")
LIMIT = number_parameter("limit", "How many tasks at most; all if omitted.")

OPERATIONS: Final = (
    Operation(
        method="POST",
        path=JOBS_PATH,
        name="submitJob",
        handler=submit,
        summary="Prepare a database",
        parameters=(
            Parameter(
                name="wait",
                description="For how many seconds to wait for the job to end.",
                pattern=SECONDS_PATTERN,
            ),
            TASKS,
        ),
        body=PrepareRequest,
        replies=(
            Reply(status=200, description="The job has ended within `wait`.", body=JobStatus),
            Reply(
                status=201,
                description="The job is queued.",
                body=JobAccepted,
                headers=("Location",),
                links=("getJob", "followEvents", "cancelJob", "deleteJob"),
            ),
        ),
        refusals=(400, 409, 413, 503),
    ),
    Operation(
        method="GET",
        path=JOBS_PATH,
        name="listJobs",
        handler=list_jobs,
        summary="The jobs, newest first",
        parameters=(text_parameter("job", "Only ids that start with this, in any case."),),
        replies=(Reply(status=200, description="The jobs.", body=JobEntry, shape="list"),),
    ),
    Operation(
        method="GET",
        path=f"{JOBS_PATH}/{{id}}",
        name="getJob",
        handler=get_job,
        summary="One job with its tasks and its result",
        parameters=(_JOB_ID, TASKS),
        replies=(Reply(status=200, description="The job.", body=JobStatus),),
        refusals=(400, 404),
    ),
    Operation(
        method="DELETE",
        path=f"{JOBS_PATH}/{{id}}",
        name="deleteJob",
        handler=delete_job,
        summary="Delete a job",
        parameters=(_JOB_ID, FORCE, DRY_RUN),
        replies=DELETE_REPLIES,
        refusals=(400, 404),
    ),
    Operation(
        method="POST",
        path=f"{JOBS_PATH}/{{id}}/cancel",
        name="cancelJob",
        handler=cancel_job,
        summary="Cancel a job",
        description="Whatever runs for the job is stopped; the job then fails as `cancelled`.",
        parameters=(_JOB_ID,),
        replies=(
            Reply(status=200, description="The job had already ended.", body=JobStatus),
            Reply(status=202, description="The job is being cancelled.", body=JobStatus),
        ),
        refusals=(404,),
    ),
    Operation(
        method="GET",
        path=f"{JOBS_PATH}/{{id}}/events",
        name="followEvents",
        handler=follow_events,
        summary="A job's events as they happen, up to the terminal status",
        description=(
            "One event a line. The stream ends after the terminal status. Ranges are described "
            "at the Range header; one that is malformed, in another unit or of several ranges is "
            "ignored."
        ),
        parameters=(
            _JOB_ID,
            Parameter(
                name="Range",
                location="header",
                description=(
                    "`events=10-24`, `events=10-`, or `events=-5` for the last five. Events are "
                    "numbered from 0. Until the job has ended, a range may start at "
                    "future events, `10-` and `-5` continue to the terminal event, and `10-24` "
                    "ends early if the job does."
                ),
            ),
        ),
        replies=(
            Reply(
                status=200,
                description="All events.",
                body=Event,
                shape="stream",
                headers=("Accept-Ranges",),
            ),
            Reply(
                status=206,
                description="The events of the range.",
                body=Event,
                shape="stream",
                headers=("Accept-Ranges", "Content-Range"),
            ),
        ),
        refusals=(404, 416),
    ),
    Operation(
        method="GET",
        path="/v1/tasks",
        name="listTasks",
        handler=list_tasks,
        summary="The tasks of one job, or of all",
        parameters=(text_parameter("job", "Only the tasks of the job with this id."), START, LIMIT),
        replies=(Reply(status=200, description="The tasks.", body=TaskEntry, shape="list"),),
        refusals=(400,),
    ),
)
