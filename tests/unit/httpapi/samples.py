"""One of everything, for tests to put into an engine."""

from datetime import UTC, datetime

from pgstrata.domain.job import Status, Task
from pgstrata.domain.listing import InstanceEntry, NameEntry
from pgstrata.domain.plan import (
    PlanTask,
    PrepareInstanceTask,
    ResolveImageTask,
    StateExecuteTask,
    TaskInput,
)
from pgstrata.domain.request import PrepareRequest
from pgstrata.domain.state import State

NOON = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
IMAGE = "postgres@sha256:" + "a" * 64
STATE_ID = "b" * 64
REQUEST = PrepareRequest(
    prepare_kind="psql", image_id="postgres:16", fields={"psql_args": ["-f", "a.sql"]}
)


def an_instance(instance_id: str, *, name: str | None = None) -> InstanceEntry:
    return InstanceEntry(
        instance_id=instance_id,
        image_id=IMAGE,
        state_id=STATE_ID,
        name=name,
        created_at=NOON,
        expires_at=None,
        status="active",
        dsn="postgresql://127.0.0.1/postgres",
    )


def a_state(state_id: str, *, kind: str = "psql", parent: str | None = None) -> State:
    return State(
        state_id=state_id,
        parent_state_id=parent,
        image_id=IMAGE,
        prepare_kind=kind,
        prepare_args_normalized="-f schema.sql",
        created_at=NOON,
        refcount=0,
    )


def a_name(name: str, *, instance_id: str | None) -> NameEntry:
    return NameEntry(
        name=name,
        instance_id=instance_id,
        image_id=IMAGE,
        state_id=STATE_ID,
        state_fingerprint=STATE_ID,
        status="active" if instance_id else "missing",
        last_used_at=None,
    )


def tasks_of(job_id: str) -> list[Task]:
    image = TaskInput(kind="image", id=IMAGE)
    state = TaskInput(kind="state", id=STATE_ID)
    specs = (
        PlanTask(task_id="plan", planner_kind="psql"),
        ResolveImageTask(task_id="resolve-image", image_id="postgres:16", resolved_image_id=IMAGE),
        StateExecuteTask(
            task_id="execute-0",
            input=image,
            task_hash="c" * 64,
            output_state_id=STATE_ID,
            cached=True,
            args_summary="-f schema.sql",
        ),
        PrepareInstanceTask(task_id="prepare-instance", input=state, instance_mode="ephemeral"),
    )
    return [Task(job_id=job_id, status=Status.SUCCEEDED, spec=spec) for spec in specs]
