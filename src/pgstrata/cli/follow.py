"""Following a job to its end, through broken connections, engine restarts and Ctrl+C."""

import os
import sys
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, NamedTuple

from pgstrata.cli import interrupt
from pgstrata.cli.command import Context, Detached
from pgstrata.cli.interrupt import Choice
from pgstrata.cli.progress import Progress, for_stream
from pgstrata.cli.steps import Steps
from pgstrata.errors import (
    CancelledJobError,
    JobFailedError,
    RangeNotSatisfiableError,
    UnauthorizedError,
    UnreachableError,
    WaitedTooLongError,
    split_details,
)

if TYPE_CHECKING:
    from pgstrata.client.engine import Engine
    from pgstrata.domain.job import ErrorBody, Event, Result

_PATIENCE_SECONDS = 30.0
"""How long to look for a lost engine: as long as one may take to stop and another to start."""
_PAUSE_SECONDS = 0.2


class Ending(NamedTuple):
    """How a job that succeeded ended."""

    job_id: str
    result: "Result | None"
    """None for a job that only planned."""
    engine: "Engine"
    """The engine in which it ended; not always the one it was submitted to."""


def follow(
    context: Context,
    engine: "Engine",
    job_id: str,
    *,
    start: int = 0,
    queue_place: int | None = None,
) -> Ending:
    """Show a job's progress on stderr, from event number ``start`` on, until it ends.

    ``queue_place``: its position in the queue for a slot, if it waits for one. Raises
    ``JobFailedError`` if the job failed, ``UnreachableError`` if the engine is lost for good,
    ``WaitedTooLongError``, and ``Detached`` if the user detaches.
    """
    progress = for_stream(sys.stderr, os.environ, verbose=context.verbose)
    follower = _Follower(context, engine, job_id, progress, start)
    if queue_place is not None:
        progress.note(f"queued: position {queue_place} in the queue")
    try:
        return follower.run()
    finally:
        progress.clear()


class _Follower:
    def __init__(
        self, context: Context, engine: "Engine", job_id: str, progress: Progress, start: int
    ) -> None:
        self._context = context
        self._engine = engine
        self._job_id = job_id
        self._progress = progress
        self._next = start
        self._steps = Steps(context.work_dir)
        self._result: Result | None = None
        self._error: ErrorBody | None = None
        self._status = ""
        timeout = context.configuration.timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._attached = False
        self._give_up_at = 0.0

    def run(self) -> Ending:
        """Attach as often as necessary."""
        failures = 0
        while not self._ended:
            before = self._next
            try:
                self._attach()
            except KeyboardInterrupt:
                self._interrupted()
            except (UnreachableError, UnauthorizedError) as error:
                if isinstance(error, UnauthorizedError) and not self._attached:
                    raise
                # By now another engine, with another token, may listen on its port.
                failures = 0 if self._next > before else failures + 1
                self._after_loss(failures)
        return self._ending()

    @property
    def _ended(self) -> bool:
        return self._status in ("succeeded", "failed")

    def _attach(self) -> None:
        """Read events up to the job's last. Raises ``UnreachableError`` if that does not come."""
        try:
            for event in self._engine.events(self._job_id, self._next, silence=self._left()):
                self._attached = True
                self._load_plan(event)
                # Nothing can fail from here on, so no event is lost or shown twice.
                self._next += 1
                self._take(event)
                self._left()
        except RangeNotSatisfiableError:
            # We counted more events than the engine stored; steps are still reported only once.
            self._next = 0
        if not self._ended:
            raise UnreachableError("the engine stopped during the job")

    def _take(self, event: "Event") -> None:
        match event.type:
            case "task" if event.task_id:
                self._take_task(event)
            case "log":
                self._progress.log(event.message or "")
            case "result":
                self._result = event.result
            case "error":
                self._error = event.error
            case "status":
                self._status = event.status or ""
        if self._steps.working is not None:
            self._progress.working(self._steps.working)

    def _load_plan(self, event: "Event") -> None:
        """Load the plan if the event is about an unknown task."""
        if event.type == "task" and self._steps.lacks(event):
            # The stream occupies its connection.
            with closing(self._engine.another()) as engine:
                self._steps.load(engine.job(self._job_id).tasks)

    def _take_task(self, event: "Event") -> None:
        report = self._steps.apply(event)
        if report is not None:
            self._progress.done(report)

    def _left(self) -> float | None:
        """Return the seconds left to wait, or None. Raises ``WaitedTooLongError``."""
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise WaitedTooLongError(
                f"job {self._job_id} is taking longer than --timeout",
                remedy=f"it continues: `pgstrata watch {self._job_id}` follows it",
            )
        return left

    def _after_loss(self, failures: int) -> None:
        self._left()
        if failures <= 1:
            self._give_up_at = time.monotonic() + _PATIENCE_SECONDS
        if time.monotonic() > self._give_up_at:
            raise UnreachableError(
                f"lost the engine while following job {self._job_id}",
                remedy=f"`pgstrata watch {self._job_id}` follows it again",
            )
        if failures:
            time.sleep(_PAUSE_SECONDS)
        if failures == 2:
            self._progress.note("lost the engine; looking for the one that continues the job")
        if failures > 1:
            # An engine that died leaves its store to the next, which continues the job. One that
            # is stopping keeps its store from the next for a while.
            with suppress(UnreachableError):
                self._engine = self._context.engine()

    def _interrupted(self) -> None:
        self._progress.clear()
        choice = interrupt.ask() if interrupt.is_interactive() else Choice.DETACH
        if choice is Choice.DETACH:
            raise Detached(self._job_id)
        if choice is Choice.STOP:
            self._engine.cancel(self._job_id)

    def _ending(self) -> Ending:
        if self._result is None and self._error is None:
            # Attached too late to receive it.
            job = self._engine.job(self._job_id)
            self._result, self._error = job.result, job.error
        if self._status == "failed":
            raise self._failure(self._error)
        return Ending(self._job_id, self._result, self._engine)

    def _failure(self, error: "ErrorBody | None") -> JobFailedError:
        remedy = f"`pgstrata -v watch {self._job_id}` shows its output"
        if error is None:
            return JobFailedError(f"job {self._job_id} failed", remedy=remedy)
        if error.code == CancelledJobError.code:
            remedy = "the states it has built stay cached; prepare again to continue"
        own, output = split_details(error.details)
        return JobFailedError(error.message, remedy=own or remedy, details=output, code=error.code)
