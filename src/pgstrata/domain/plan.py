"""A plan as data: the steps that a kind makes from a request, and the tasks they become."""

from pathlib import Path
from typing import Literal

from pgstrata.domain.model import Model


class Input(Model, frozen=True, kw_only=True):
    """Something that a step reads, identified by its content and so the same on any machine."""

    name: str
    """Its absolute path in the tree of sources it was read from, for people and for tools."""
    digest: str | None
    """Hex SHA-256 of its content; None if it was looked for and does not exist."""
    size: int = 0
    """In bytes."""


OnError = Literal["stop", "continue"]
"""Whether a step ends with the first of its parts that fails, or runs to its end all the same."""


States = Literal["auto", "all", "tags"]
"""Which steps leave a state of their own. Whatever it is, it changes no id.

``all``: each. ``tags``: those whose author tagged them. ``auto``: of a long recipe few in its old
part, and each near its end.
"""


class Step(Model, frozen=True, kw_only=True):
    """One step of a recipe: what to run, and the digest of all that can change its result."""

    kind: str
    digest: str
    """Hex SHA-256; two steps with the same digest do the same to the same parent."""
    args: tuple[str, ...]
    """Arguments for the kind's tool, without those that name the server."""
    title: str
    """The step as its author would write it, for people."""
    work_dir: Path
    """Where the tool starts: a directory in the tree of sources."""
    stdin: str | None = None
    inputs: tuple[Input, ...] = ()
    """Everything that was read for it, or was looked for and does not exist."""
    uncacheable: bool = False
    """Whether something unknown can change its result."""
    tagged: bool = False
    """Whether it gives a name to what it leads to, as a tag of Liquibase's does."""
    parts: dict[str, str] = {}
    """The hex digests of the inputs that ``digest`` covers, by the names people would use.

    If the name of an input, such as a file, does not matter, its digest does not cover it."""
    env: dict[str, str] = {}
    """Environment variables that the request sets for its tool."""
    on_error: OnError = "stop"
    """Whether the tool goes on after what fails."""
    tool: str | None = None
    """The user's own tool that carries the step out; None for the kind's."""
    changeset_id: str | None = None
    changeset_author: str | None = None
    changeset_path: str | None = None


ReasonCode = Literal[
    "cached",
    "input_changed",
    "parent_missing",
    "evicted",
    "dirty",
    "removed",
    "never_built",
    "not_kept",
    "uncacheable",
]


class Reason(Model, frozen=True, kw_only=True):
    """Why a step's state is cached or must be built."""

    code: ReasonCode
    text: str
    """For people."""
    input: str | None = None
    """The name of an input that differs from those of the most similar cached state."""


CACHED = Reason(code="cached", text="its state is in the cache")


class TaskInput(Model, frozen=True, kw_only=True):
    """What a task starts from."""

    kind: Literal["image", "state"]
    id: str


class PlanTask(Model, frozen=True, kw_only=True, tag_field="type", tag="plan"):
    """Splitting the request into steps and naming their states."""

    task_id: str
    planner_kind: str


class ResolveImageTask(Model, frozen=True, kw_only=True, tag_field="type", tag="resolve_image"):
    """Determining which PostgreSQL an image without a digest stands for."""

    task_id: str
    image_id: str
    resolved_image_id: str


# There may be tens of thousands, which the collector need not look at: none is part of a circle.
class StateExecuteTask(
    Model, frozen=True, kw_only=True, gc=False, tag_field="type", tag="state_execute"
):
    """Making one state from its parent, or finding it in the cache."""

    task_id: str
    input: TaskInput
    task_hash: str
    output_state_id: str
    cached: bool
    """Whether its result is there: as its own state, or in that of a later step."""
    kept: bool = True
    """Whether its result is a state of its own; if not, the next one that is contains it."""
    reason: Reason | None = None
    """Why it is ``cached`` or not; None if an earlier version made the plan."""
    args_summary: str | None = None
    failures: tuple[str, ...] = ()
    """What failed in the step when the state was made, if it went on after that (``on_error``)."""
    changeset_id: str | None = None
    changeset_author: str | None = None
    changeset_path: str | None = None


class PrepareInstanceTask(
    Model, frozen=True, kw_only=True, tag_field="type", tag="prepare_instance"
):
    """Cloning the last state and starting a server on the clone."""

    task_id: str
    input: TaskInput
    instance_mode: Literal["ephemeral"]


TaskSpec = PlanTask | ResolveImageTask | StateExecuteTask | PrepareInstanceTask
