"""Planning: steps become a chain of states, and the chain becomes tasks. Pure.

The planner never accesses the disk or the cache: the caller says which states are cached. A cached
step is a step like any other, so that a plan explains itself.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from types import MappingProxyType

from pgstrata.domain import identity
from pgstrata.domain.model import Model
from pgstrata.domain.plan import (
    PlanTask,
    PrepareInstanceTask,
    Reason,
    ResolveImageTask,
    StateExecuteTask,
    Step,
    TaskInput,
    TaskSpec,
)
from pgstrata.domain.request import PrepareRequest
from pgstrata.domain.state import State


class Chain(Model, frozen=True, kw_only=True):
    """The states that a request leads through, starting from its image or from a state.

    There are none if it is the state to start from that is wanted.
    """

    image_id: str
    """The resolved image."""
    start: TaskInput
    """What the first step starts from."""
    steps: tuple[Step, ...]
    state_ids: tuple[str, ...]
    """The state after each step."""
    image_parts: Mapping[str, str] = MappingProxyType({})
    """What the image consists of (``ResolvedImage.parts``)."""
    settings: Mapping[str, str] = MappingProxyType({})
    """The settings of its servers that differ from our defaults."""

    @property
    def held(self) -> tuple[str, ...]:
        """All states that it needs, or will make."""
        before = (self.start.id,) if self.start.kind == "state" else ()
        return (*before, *self.state_ids)

    @property
    def last(self) -> str:
        """The state that it leads to: what it starts from, if it has no steps."""
        return self.state_ids[-1] if self.state_ids else self.start.id

    @property
    def inputs(self) -> tuple[TaskInput, ...]:
        """What each step starts from."""
        before = (TaskInput(kind="state", id=state) for state in self.state_ids[:-1])
        return (self.start, *before) if self.steps else ()


def chain(
    image_id: str,
    steps: Sequence[Step],
    *,
    server_settings: Mapping[str, str],
    image_parts: Mapping[str, str] = MappingProxyType({}),
    initdb: Mapping[str, str] = MappingProxyType({}),
    start: State | None = None,
) -> Chain:
    """Name the state after each step: each name covers everything before it.

    ``server_settings``: those that differ from our defaults. ``image_parts``: for ``reasons``.
    ``initdb``: what differs from the default of how the image's cluster is made. ``start``: the
    state to start from in place of the image.
    """
    if start is None:
        root = identity.root_id(image_id, server_settings, initdb)
    elif server_settings == start.settings:
        root = start.state_id
    else:
        root = identity.root_id(start.state_id, server_settings)
    names = [root]
    for step in steps:
        names.append(identity.state_id(names[-1], step.digest))
    return Chain(
        image_id=image_id,
        start=TaskInput(kind="image", id=image_id)
        if start is None
        else TaskInput(kind="state", id=start.state_id),
        steps=tuple(steps),
        state_ids=tuple(names[1:]),
        image_parts={
            **image_parts,
            **{name: identity.digest(value) for name, value in initdb.items()},
        },
        settings=dict(server_settings),
    )


def tasks(
    request: PrepareRequest,
    states: Chain,
    cached: Set[str],
    reasons: Mapping[str, Reason] = MappingProxyType({}),
    failures: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    kept: Set[str] | None = None,
) -> tuple[TaskSpec, ...]:
    """Make all tasks of a job, in order.

    ``cached``: those of the chain's states that are. ``reasons``: why each is or is not
    (``reasons.explain``). ``failures``: what failed when some of the cached ones were made.
    ``kept``: those that are, or will be, states of their own; None for all.
    """
    resolving = (
        ()
        if request.image_id == states.image_id
        else (
            ResolveImageTask(
                task_id="resolve-image",
                image_id=request.image_id,
                resolved_image_id=states.image_id,
            ),
        )
    )
    executing = tuple(
        StateExecuteTask(
            task_id=f"execute-{number}",
            input=start,
            task_hash=step.digest,
            output_state_id=state_id,
            cached=state_id in cached,
            kept=kept is None or state_id in kept,
            reason=reasons.get(state_id),
            args_summary=step.title,
            failures=failures.get(state_id, ()),
            changeset_id=step.changeset_id,
            changeset_author=step.changeset_author,
            changeset_path=step.changeset_path,
        )
        for number, (step, start, state_id) in enumerate(
            zip(states.steps, states.inputs, states.state_ids, strict=True)
        )
    )
    return (
        PlanTask(task_id="plan", planner_kind=request.prepare_kind),
        *resolving,
        *executing,
        PrepareInstanceTask(
            task_id="prepare-instance",
            input=TaskInput(kind="state", id=states.last),
            instance_mode="ephemeral",
        ),
    )


def drift(before: Iterable[TaskSpec], now: Iterable[TaskSpec]) -> str | None:
    """Return why an earlier plan of the same request is no longer valid, for people, or None.

    Which states are cached may differ: the disk decides that.
    """
    old, new = _executing(before), _executing(now)
    for earlier, current in zip(old, new, strict=False):
        if earlier.input != current.input and current.input.kind == "image":
            return f"{earlier.input.id} is {current.input.id} now"
        if earlier.output_state_id != current.output_state_id:
            return f"{current.args_summary or current.task_id} has changed"
    return None if len(old) == len(new) else f"there are {len(new)} steps instead of {len(old)}"


def _executing(specs: Iterable[TaskSpec]) -> list[StateExecuteTask]:
    return [spec for spec in specs if isinstance(spec, StateExecuteTask)]
