"""The executor port: doing what a task says, here or on another machine.

What crosses it is plain data, lines of log on their way back, and errors, which are known by their
code. A call is cancelled as any in asyncio; what it has begun is undone before it ends. Whether a
step's inputs are still what was hashed is looked at where they are, by the caller, who holds them
meanwhile: so a state is made in two calls, and kept only when nothing changed while the step ran.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pgstrata.domain.image import ResolvedImage
from pgstrata.domain.instance import Instance
from pgstrata.domain.model import Model
from pgstrata.domain.plan import StateExecuteTask, Step
from pgstrata.domain.reason import Evidence, StepRecord
from pgstrata.instances.starting import InstanceOrder
from pgstrata.runtime.base import LineSink


class StateOrder(Model, frozen=True, kw_only=True):
    """What is needed to make one state."""

    job_id: str
    image_id: str
    """The resolved image."""
    task: StateExecuteTask
    step: Step
    root: Path = Path("/")
    """The directory of the executor's machine below which the step's inputs are, each at its path
    (``Sources.hold``)."""
    last: bool
    """Whether no step of the same job follows."""


class Executor(Protocol):
    """Carries out tasks of type ``state_execute`` and ``prepare_instance``."""

    async def resolve_image(self, image_id: str) -> ResolvedImage:
        """The PostgreSQL an image stands for. Raises ``InvalidArgumentError``."""

    async def check_limits(self) -> None:
        """Raise ``HostLimitError`` when a limit of the machine rules out another instance."""

    async def check_name(self, name: str) -> None:
        """Raise ``ConflictError`` when an instance bears this name already."""

    async def count_clean(self, state_ids: Sequence[str]) -> int:
        """How many states of a chain, from its start, need no building."""

    async def evidence(self, state_ids: Sequence[str], step: StepRecord | None) -> Evidence:
        """What may explain why these states must be built, and what resembles ``step``.

        As ``Store.evidence`` says, but stored states that are dirty count as removed.
        """

    async def acquire(self, state_ids: Sequence[str]) -> str:
        """Keep these states from being removed to make room; the id of the lease that does.

        They may be there or still be to be built. Cancelled, there is no lease.
        """

    async def release(self, lease_id: str) -> None:
        """End a lease. Twice is fine."""

    async def run_step(self, order: StateOrder, log: LineSink) -> bool:
        """Run a step on the job's workspace, unless its state is there meanwhile.

        Returns whether it was run; then ``keep_state`` or ``close_workspace`` must follow, and no
        other job runs the same step before. What its tool says goes to ``log``. Raises
        ``StepFailedError`` when the tool fails; whatever is raised, nothing is left of the step.
        """

    async def keep_state(self, job_id: str) -> None:
        """Keep what the job's step made as its state.

        Raises ``StateUnusableError`` when that cannot be kept, and ``ConflictError`` when there is
        nothing to keep; whatever is raised, nothing is left of the step.
        """

    async def close_workspace(self, job_id: str) -> None:
        """Let go of a job's server and data directory, and of a step not kept. Twice is fine."""

    async def start_instance(self, order: InstanceOrder) -> Instance:
        """Start an instance of a state, and store it once it answers.

        A job has one instance: one that was started for it before is taken if it is running.
        Raises ``HostLimitError``, ``ConflictError``, ``ServerError``; nothing is left then.
        """

    async def discard_instance(self, job_id: str) -> None:
        """Remove the instance started for a job, if there is one: nobody knows of it."""

    async def recover(self) -> None:
        """Clear away what an engine that was killed left. Only while no job is at work."""
