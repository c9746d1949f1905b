"""What is kept about states: why a step is a hit or a miss, and what failed in it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pgstrata.domain.model import Model
from pgstrata.domain.plan import Reason, ReasonCode, StateExecuteTask, Step, TaskInput

RemovedFor = Literal["evicted", "dirty", "removed"]
"""``evicted``: to free space. ``dirty``: missing or damaged files. ``removed``: on request."""

ALL_PARTS = "inputs"
"""The name of the one part that is kept of a step with too many."""
_MOST_PARTS = 200
_LONGEST_TITLE = 200  # characters; a title may be a whole command
_DIGEST_LENGTH = 16  # a collision would only spoil a reason's text


class StepRecord(Model, frozen=True, kw_only=True):
    """What a state was made from, to be compared, and what failed: small, and stored with it."""

    state_id: str
    start: TaskInput
    kind: str
    title: str
    """The step's, cut if it is too long."""
    digest: str
    """The step's."""
    parts: dict[str, str]
    """See ``Step.parts``; only ``ALL_PARTS`` if there are too many."""
    image: dict[str, str] = {}
    """See ``ResolvedImage.parts``; only of a step that starts from an image."""
    failures: tuple[str, ...] = ()
    """What failed in the step, if it went on after that (``Step.on_error``)."""


class Removal(Model, frozen=True, kw_only=True):
    """The removal of a state."""

    why: RemovedFor
    at: datetime


class Evidence(Model, frozen=True, kw_only=True):
    """Facts that may explain why states of a chain must be built."""

    removals: dict[str, Removal] = {}
    """By state id; only the latest removals are known."""
    stored: tuple[str, ...] = ()
    """The ids of the states that have a row nevertheless."""
    alike: tuple[StepRecord, ...] = ()
    """Records of a few states that may resemble the first step to run, likeliest first."""


class Explanation(Model, frozen=True, kw_only=True):
    """Whether a request's last state is cached, and why or why not."""

    decision: Literal["hit", "miss"]
    reason_code: ReasonCode
    """Of the first step that would run; of the last, if none would."""
    signature: str
    """What a job with this request would have in common with those like it."""
    matched_state_id: str | None
    """The last state of the request that is cached."""
    resolved_image_id: str
    reason: Reason
    """The same reason in words."""
    step: str | None = None
    """The step that it is about, for people."""
    tasks: tuple[StateExecuteTask, ...] = ()
    """Every step, each with its own reason."""
    settled: bool = False
    """Whether, after a hit, the instance would be cloned from the state's settled copy."""


def step_record(
    state_id: str,
    start: TaskInput,
    step: Step,
    image_parts: Mapping[str, str],
    failures: tuple[str, ...] = (),
) -> StepRecord:
    """Make the record of the step that makes this state."""
    parts = step.parts
    if len(parts) > _MOST_PARTS:
        # Clients read reasons, and what hashes takes long to import.
        from pgstrata.domain import identity

        parts = {ALL_PARTS: identity.digest(parts)}
    return StepRecord(
        state_id=state_id,
        start=start,
        kind=step.kind,
        title=step.title[:_LONGEST_TITLE],
        digest=step.digest,
        parts=_short(parts),
        image=_short(image_parts) if start.kind == "image" else {},
        failures=failures,
    )


def _short(parts: Mapping[str, str]) -> dict[str, str]:
    return {name: digest[:_DIGEST_LENGTH] for name, digest in parts.items()}
