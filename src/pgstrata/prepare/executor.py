"""The executor port: carries out tasks, on this machine or another.

Only plain data crosses it, log lines on the way back, and errors, identified by their codes. A call
is cancelled like any other in asyncio, and undoes what it has begun before it ends. The caller, who
is where a step's inputs are, checks that they are still what was hashed, and holds them meanwhile:
so a state is made in two calls, and kept only if nothing changed while the step ran.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pgstrata.domain.image import ResolvedImage
from pgstrata.domain.initdb import AS_ALWAYS, Initdb
from pgstrata.domain.instance import Instance
from pgstrata.domain.model import Model
from pgstrata.domain.plan import StateExecuteTask, Step
from pgstrata.domain.reason import Evidence, StepRecord
from pgstrata.domain.state import State
from pgstrata.instances.starting import InstanceOrder
from pgstrata.runtime.base import LineSink


class StateOrder(Model, frozen=True, kw_only=True):
    """What is needed to make one state."""

    job_id: str
    image_id: str
    """The resolved image."""
    task: StateExecuteTask
    step: Step
    target: str
    """The state that is to be kept next: the step's own, or that of a later step."""
    root: Path = Path("/")
    """The directory on the executor's machine with the step's inputs, each at its path below it
    (``Sources.hold``)."""
    last: bool
    """Whether no step of the same job follows."""
    image_parts: dict[str, str] = {}
    """What the image consists of (``ResolvedImage.parts``), to be recorded with the state."""
    own_settings: dict[str, str] = {}
    """The settings, of the request and the engine, that differ from our defaults."""
    initdb: Initdb = AS_ALWAYS
    """How the image's cluster is made."""
    settings: dict[str, str] = {}
    """The request's settings for its servers."""


class Known(Model, frozen=True, kw_only=True):
    """What is there of a chain of states."""

    clean: int
    """How many of them, from the start, need not be built."""
    stored: tuple[str, ...] = ()
    """Which of these are states of their own."""
    run_before: int
    """How many steps, from the start, were run before, so that only the rest is new. Those that are
    no longer remembered count as new."""


class StepRun(Model, frozen=True, kw_only=True):
    """A step that was run."""

    failures: tuple[str, ...] = ()
    """What failed in it, and it went on."""


class Executor(Protocol):
    """Carries out tasks of type ``state_execute`` and ``prepare_instance``."""

    async def resolve_image(self, image_id: str) -> ResolvedImage:
        """Return the PostgreSQL that an image stands for. Raises ``InvalidArgumentError``."""

    async def check_limits(self, replaced: str | None = None) -> None:
        """Raise ``HostLimitError`` if a limit of the machine rules out another instance.

        ``replaced``: the name of one that ends in its favour.
        """

    async def check_name(self, name: str) -> None:
        """Raise ``ConflictError`` if an instance already has this name."""

    async def find_state(self, ref: str) -> State:
        """Return the state that is meant by an id, the beginning of one, or a name.

        Raises ``InvalidArgumentError``, ``NotFoundError``, and ``ConflictError`` if it cannot be
        used.
        """

    async def look_up(self, state_ids: Sequence[str]) -> Known:
        """Return what is there of a chain of states."""

    async def evidence(self, state_ids: Sequence[str], step: StepRecord | None) -> Evidence:
        """Return what may explain why these states must be built, and what resembles ``step``.

        Like ``Store.evidence``, except that stored states that are dirty count as removed.
        """

    async def failures(self, state_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """What failed when these states were made: only of those where something did."""

    async def acquire(self, state_ids: Sequence[str]) -> str:
        """Keep states from being evicted. Returns the id of the lease that does.

        The states need not exist yet. If the call is cancelled, there is no lease.
        """

    async def release(self, lease_id: str) -> None:
        """End a lease. May be repeated."""

    async def has_room(self, state_id: str | None) -> bool:
        """Whether there is room to begin a step, unless its state exists by now, and needs none.

        States are evicted for it. None for an instance. Raises like ``Evictor.make_room``, but for
        a cache that is full.
        """

    async def run_steps(self, orders: Sequence[StateOrder], log: LineSink) -> StepRun | None:
        """Run a step in the job's workspace, unless the state of its ``target`` exists by now.

        None if it exists. Where it costs little, some of the next steps are run, too, for about two
        seconds: the orders, at least one, are on the way to the same target. Returns what the last
        one did that was run; nothing failed in those before it.

        ``keep_state``, the next steps, or ``close_workspace`` must follow; until the target is
        kept, no other job builds it. The tool's output goes to ``log``, with ``Passed`` between two
        steps. Raises ``StepFailedError`` if the tool fails, ``StateDamagedError`` if that or a
        server's failure is due to the files of the last state before it, which is gone then; after
        any error nothing is left of what was run since that state. Raises ``DiskFullError``, too,
        and like ``Evictor.make_room``.
        """

    async def keep_state(self, job_id: str) -> bool:
        """Keep the result of the job's last step as its state.

        False if it is not the target, and another job has built it or is about to: then it need not
        be kept. Raises ``StateUnusableError`` if it cannot be kept, and ``ConflictError`` if there
        is nothing to keep; after any error nothing is left of what was not kept.
        """

    async def close_workspace(self, job_id: str) -> None:
        """Discard a job's server, data directory and any step not kept. May be repeated."""

    async def start_instance(self, order: InstanceOrder) -> Instance:
        """Start an instance of a state, and store it once it is ready.

        A job has one instance: if one was started for it before and is running, that is returned.
        Raises ``HostLimitError``, ``ConflictError``, ``ServerError``, ``DiskFullError``,
        ``StateDamagedError`` like ``run_steps``; then nothing is left of it.
        """

    async def discard_instance(self, job_id: str) -> None:
        """Remove the instance started for a job, if there is one: no client knows about it."""

    async def recover(self) -> None:
        """Remove what a killed engine left. Only while no job is running."""
