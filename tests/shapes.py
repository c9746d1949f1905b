"""The shapes of the HTTP contract, for a client that refuses what it does not know.

They are written from the contract's text and not from our models, which they check. A field that
is ours and that the contract does not list stands below a line that says so.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

Timestamp = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")]
Id = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
StateId = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Status = Literal["queued", "running", "succeeded", "failed"]
# A field without a value is left out: null stands only where the contract says "nullable".
Text = str | UnsetType
Number = int | UnsetType


class Strict(Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class Error(Strict, kw_only=True):
    code: Annotated[str, Meta(pattern="^[a-z_]+$")]
    message: Annotated[str, Meta(pattern=r"^[^\n]+$")]
    details: Annotated[str, Meta(pattern=r"^([^\n]+|([^\n]+\n)?\n(?s:.+))$")] | UnsetType = UNSET


class Health(Strict, kw_only=True):
    ok: bool
    version: str
    instanceId: Id  # noqa: N815
    pid: int


class Accepted(Strict, kw_only=True):
    job_id: Id
    status_url: str
    events_url: str
    status: Literal["queued"]
    # ours
    queue_place: Number = UNSET


class Image(Strict, kw_only=True):
    kind: Literal["image", "state"]
    id: str


class State(Strict, kw_only=True):
    kind: Literal["state"]
    id: StateId


class Result(Strict, kw_only=True):
    dsn: str
    instance_id: Id
    state_id: StateId
    image_id: str
    prepare_kind: str
    prepare_args_normalized: str


class Reason(Strict, kw_only=True):
    code: str
    text: str
    input: Text = UNSET


class Plan(Strict, kw_only=True, tag_field="type", tag="plan"):
    task_id: str
    planner_kind: str


class ResolveImage(Strict, kw_only=True, tag_field="type", tag="resolve_image"):
    task_id: str
    image_id: str
    resolved_image_id: str


class StateExecute(Strict, kw_only=True, tag_field="type", tag="state_execute"):
    task_id: Annotated[str, Meta(pattern="^execute-[0-9]+$")]
    input: Image
    task_hash: str
    output_state_id: StateId
    cached: bool
    changeset_id: Text = UNSET
    changeset_author: Text = UNSET
    changeset_path: Text = UNSET
    kept: bool | UnsetType = UNSET
    reason: Reason | UnsetType = UNSET
    # ours here; of a task entry the contract has it
    args_summary: Text = UNSET


class PrepareInstance(Strict, kw_only=True, tag_field="type", tag="prepare_instance"):
    task_id: str
    input: State
    instance_mode: Literal["ephemeral"]


PlanTask = Plan | ResolveImage | StateExecute | PrepareInstance


class JobHead(Strict, kw_only=True):
    job_id: Id
    status: Status
    prepare_kind: str
    image_id: str
    plan_only: bool | UnsetType = UNSET
    prepare_args_normalized: Text = UNSET
    created_at: Timestamp | UnsetType = UNSET
    started_at: Timestamp | UnsetType = UNSET
    finished_at: Timestamp | UnsetType = UNSET
    # ours
    queue_place: Number = UNSET


class JobStatus(JobHead, kw_only=True):
    tasks: list[PlanTask] | UnsetType = UNSET
    result: Result | UnsetType = UNSET
    error: Error | UnsetType = UNSET


class JobEntry(JobHead, kw_only=True):
    resolved_image_id: Text = UNSET
    signature: Text = UNSET


class PlanEntry(Plan, kw_only=True, tag="plan"):
    job_id: Id
    status: Status
    image_id: Text = UNSET
    resolved_image_id: Text = UNSET
    args_summary: Text = UNSET


class ResolveImageEntry(ResolveImage, kw_only=True, tag="resolve_image"):
    job_id: Id
    status: Status
    args_summary: Text = UNSET


class StateExecuteEntry(StateExecute, kw_only=True, tag="state_execute"):
    job_id: Id
    status: Status
    image_id: Text = UNSET
    resolved_image_id: Text = UNSET


class PrepareInstanceEntry(PrepareInstance, kw_only=True, tag="prepare_instance"):
    job_id: Id
    status: Status
    image_id: Text = UNSET
    resolved_image_id: Text = UNSET
    args_summary: Text = UNSET


TaskEntry = PlanEntry | ResolveImageEntry | StateExecuteEntry | PrepareInstanceEntry


class Event(Strict, kw_only=True):
    type: Literal["status", "task", "log", "result", "error"]
    ts: Timestamp
    task_id: Text = UNSET
    status: Status | UnsetType = UNSET
    message: Text = UNSET
    result: Result | UnsetType = UNSET
    error: Error | UnsetType = UNSET


class RunEvent(Strict, kw_only=True):
    type: Literal["start", "stdout", "stderr", "exit", "error", "log"]
    ts: Timestamp
    instance_id: Id | UnsetType = UNSET
    data: Text = UNSET
    exit_code: Number = UNSET
    error: Error | UnsetType = UNSET


class StateEntry(Strict, kw_only=True):
    state_id: StateId
    parent_state_id: StateId | None
    image_id: str
    prepare_kind: str
    prepare_args_normalized: str
    created_at: Timestamp
    size_bytes: Number = UNSET
    last_used_at: Timestamp | UnsetType = UNSET
    use_count: Number = UNSET
    min_retention_until: Timestamp | UnsetType = UNSET
    refcount: int
    # ours
    shared_bytes: Number = UNSET
    settled_bytes: Number = UNSET
    build_seconds: float | UnsetType = UNSET
    pinned: bool | UnsetType = UNSET
    name: str | UnsetType = UNSET
    settings: dict[str, str] | UnsetType = UNSET


class InstanceEntry(Strict, kw_only=True):
    instance_id: Id
    image_id: str
    state_id: StateId
    name: str | None
    created_at: Timestamp
    expires_at: Timestamp | None
    status: Literal["active", "expired", "orphaned"]
    dsn: Text = UNSET
    connections: Number = UNSET
    # ours
    extensions: Number = UNSET


class NameEntry(Strict, kw_only=True):
    name: str
    instance_id: Id | None
    image_id: str
    state_id: StateId
    state_fingerprint: str
    status: Literal["active", "missing", "expired"]
    last_used_at: Timestamp | None
    dsn: Text = UNSET


class Node(Strict, kw_only=True):
    kind: Literal["state", "instance", "job"]
    id: str
    connections: Number = UNSET
    runtime_id: Text = UNSET
    blocked: (
        Literal["active_connections", "active_tasks", "has_descendants", "blocked_by_descendant"]
        | UnsetType
    ) = UNSET
    children: list["Node"] | UnsetType = UNSET


class DeleteResult(Strict, kw_only=True):
    dry_run: bool
    outcome: Literal["deleted", "would_delete", "blocked"]
    root: Node


class Eviction(Strict, kw_only=True):
    completed_at: Timestamp
    trigger: str
    evicted_count: int
    freed_bytes: int
    blocked_count: int
    reclaimable_bytes: int
    usage_bytes_before: int
    usage_bytes_after: int
    free_bytes_before: int
    free_bytes_after: int
    # ours
    settled_count: Number = UNSET


class CacheStatus(Strict, kw_only=True):
    usage_bytes: int
    configured_max_bytes: Number = UNSET
    effective_max_bytes: int
    reserve_bytes: int
    high_watermark: float
    low_watermark: float
    min_state_age: str
    store_total_bytes: int
    store_free_bytes: int
    state_count: int
    reclaimable_bytes: int
    blocked_count: int
    pressure_reasons: list[str]
    last_eviction: Eviction | UnsetType = UNSET
    # ours
    settled_count: Number = UNSET
    settled_bytes: Number = UNSET


def check(data: bytes, shape: Any) -> Any:
    """What a strict client makes of an answer. Raises ``msgspec.ValidationError``."""
    return msgspec.json.decode(data, type=shape)
