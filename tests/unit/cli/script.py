"""A job as an engine tells it: two steps, the first of them cached."""

from typing import Any

from tests.unit.client.fake_engine import JOB_ID, FakeEngine

STATE = "3f2a9c1d" * 8
OTHER_STATE = "77aa88bb" * 8
INSTANCE = "c0ffee00" * 4
INSTANCE_ENTRY = {
    "instance_id": INSTANCE,
    "image_id": "postgres@sha256:" + "ab" * 32,
    "state_id": OTHER_STATE,
    "name": None,
    "created_at": "2025-01-01T12:00:00Z",
    "expires_at": None,
    "status": "active",
}
DSN = "postgresql://postgres:secret@127.0.0.1:5433/postgres"

RESULT = {
    "dsn": DSN,
    "instance_id": INSTANCE,
    "state_id": OTHER_STATE,
    "image_id": "postgres@sha256:" + "ab" * 32,
    "prepare_kind": "psql",
    "prepare_args_normalized": "-f schema.sql -f seed.sql",
}

TASKS: list[dict[str, Any]] = [
    {"task_id": "plan", "type": "plan", "planner_kind": "psql"},
    {
        "task_id": "execute-0",
        "type": "state_execute",
        "input": {"kind": "image", "id": RESULT["image_id"]},
        "task_hash": "1" * 64,
        "output_state_id": STATE,
        "cached": True,
        "reason": {"code": "cached", "text": "its state is in the cache"},
        "args_summary": "-f schema.sql",
    },
    {
        "task_id": "execute-1",
        "type": "state_execute",
        "input": {"kind": "state", "id": STATE},
        "task_hash": "2" * 64,
        "output_state_id": OTHER_STATE,
        "cached": False,
        "args_summary": "-f seed.sql",
    },
    {
        "task_id": "prepare-instance",
        "type": "prepare_instance",
        "input": {"kind": "state", "id": OTHER_STATE},
        "instance_mode": "ephemeral",
    },
]

JOB = {"job_id": JOB_ID, "status": "running", "prepare_kind": "psql", "image_id": "postgres"}

FAILURE = {
    "code": "step_failed",
    "message": "seed.sql failed",
    "details": (
        "correct seed.sql, line 1\n\n"
        'ERROR:  relation "nowhere" does not exist\nLINE 1: select * from nowhere'
    ),
}


def at(milliseconds: int) -> str:
    return f"2025-01-01T12:00:00.{milliseconds:03}Z"


def status(name: str, milliseconds: int = 0) -> dict[str, Any]:
    return {"type": "status", "ts": at(milliseconds), "status": name}


def task(task_id: str, name: str, milliseconds: int) -> dict[str, Any]:
    return {"type": "task", "ts": at(milliseconds), "task_id": task_id, "status": name}


BEGINNING = [
    status("queued"),
    status("running"),
    task("plan", "running", 1),
    task("plan", "succeeded", 2),
    task("execute-0", "succeeded", 3),
    task("execute-1", "running", 4),
    {"type": "log", "ts": at(5), "task_id": "execute-1", "message": "INSERT 0 100"},
    task("execute-1", "running", 504),
]
SUCCESS = [
    *BEGINNING,
    task("execute-1", "succeeded", 804),
    task("prepare-instance", "running", 805),
    task("prepare-instance", "succeeded", 850),
    {"type": "result", "ts": at(851), "result": RESULT},
    status("succeeded", 851),
]
FAILED = [
    *BEGINNING,
    task("execute-1", "failed", 804),
    {"type": "error", "ts": at(804), "error": FAILURE},
    status("failed", 805),
]
CANCELLED = [
    *BEGINNING,
    task("execute-1", "failed", 804),
    {"type": "error", "ts": at(804), "error": {"code": "cancelled", "message": "it was cancelled"}},
    status("failed", 805),
]
PLANNED = [
    status("queued"),
    status("running"),
    task("plan", "running", 1),
    task("plan", "succeeded", 2),
    status("succeeded", 3),
]


def script_job(fake: FakeEngine, events: list[dict[str, Any]]) -> None:
    """Let the engine take a job and tell these events of it."""
    accepted = {
        "job_id": JOB_ID,
        "status_url": f"/v1/prepare-jobs/{JOB_ID}",
        "events_url": f"/v1/prepare-jobs/{JOB_ID}/events",
        "status": "queued",
    }
    fake.on("POST", "/v1/prepare-jobs", accepted, 201)
    fake.on("GET", f"/v1/prepare-jobs/{JOB_ID}", {**JOB, "tasks": TASKS})
    fake.on("POST", f"/v1/prepare-jobs/{JOB_ID}/cancel", {**JOB, "tasks": TASKS}, 202)
    fake.on("GET", f"/v1/instances/{INSTANCE}", INSTANCE_ENTRY)
    fake.events = events
