"""One job followed through broken connections, engine restarts and Ctrl+C."""

import os
import sys
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, NamedTuple

from pgstrata.cli import interrupt
from pgstrata.cli.command import Context, Detached
from pgstrata.cli.interrupt import Choice
from pgstrata.cli.progress import for_stream
from pgstrata.cli.steps import Steps
from pgstrata.cli.text import relative
from pgstrata.cli.tool_output import ToolOutput
from pgstrata.errors import (
    RangeNotSatisfiableError,
    UnauthorizedError,
    UnreachableError,
    WaitedTooLongError,
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


class Follower:
    """Follows a job; ``progress`` shows it."""

    def __init__(self, context: Context, engine: "Engine", job_id: str, start: int) -> None:
        self._context = context
        self._engine = engine
        self._job_id = job_id
        self._next = start
        self._steps = Steps(context.work_dir)
        self.progress = for_stream(
            sys.stderr, os.environ, lambda: self._steps.working, verbose=context.verbose
        )
        self._output = ToolOutput(context)
        self._result: Result | None = None
        self._error: ErrorBody | None = None
        self._status = ""
        timeout = context.configuration.timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._attached = False
        self._failures = 0
        self._give_up_at = 0.0
        self._stopping = False
        """Whether the user has asked to stop the job."""
        self._stop_sent = False

    def run(self) -> Ending:
        """Attach as often as necessary."""
        self.progress.start()
        while not self._ended:
            try:
                self._attach_again()
            except KeyboardInterrupt:
                self._interrupted()
        return self._ending()

    @property
    def _ended(self) -> bool:
        return self._status in ("succeeded", "failed")

    def _attach_again(self) -> None:
        """Attach, to the next engine if this one is lost."""
        before = self._next
        try:
            self._attach()
        except (UnreachableError, UnauthorizedError) as error:
            if isinstance(error, UnauthorizedError) and not self._attached:
                raise
            # By now another engine, with another token, may listen on its port.
            self._failures = 0 if self._next > before else self._failures + 1
            self._after_loss(self._failures)

    def _attach(self) -> None:
        """Read events up to the job's last. Raises ``UnreachableError`` if that does not come."""
        if self._stopping and not self._stop_sent:
            self._engine.cancel(self._job_id)
            self._stop_sent = True
            self.progress.note("stopping the job")
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
        if (report := self._steps.apply(event)) is not None:
            self._output.ended(report)
            self.progress.done(report)
        match event.type:
            case "log":
                line = relative(event.message or "", self._context.work_dir)
                self._output.line(line)
                self.progress.log(line)
            case "result":
                self._result = event.result
            case "error":
                self._error = event.error
            case "status":
                self._status = event.status or ""

    def _load_plan(self, event: "Event") -> None:
        """Load the plan if the event is about an unknown task."""
        if event.type == "task" and self._steps.lacks(event):
            # The stream occupies its connection.
            with closing(self._engine.another()) as engine:
                self._steps.load(engine.job(self._job_id).tasks)

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
            self.progress.note("lost the engine; looking for the one that continues the job")
        if failures > 1:
            # An engine that died leaves its store to the next, which continues the job. One that
            # is stopping keeps its store from the next for a while.
            with suppress(UnreachableError):
                self._engine = self._context.engine()

    def _interrupted(self) -> None:
        """Ask what to do, if there is somebody to ask. Another Ctrl+C stops the job."""
        if self._stopping:
            # Whoever presses it once more does not want to wait for that.
            self.progress.note(f"job {self._job_id} is being stopped")
            raise KeyboardInterrupt
        if not interrupt.is_interactive():
            raise Detached(self._job_id)
        try:
            self.progress.stop()
            choice = interrupt.ask()
        except KeyboardInterrupt:
            choice = Choice.STOP
        if choice is Choice.DETACH:
            raise Detached(self._job_id)
        self._stopping = choice is Choice.STOP
        self.progress.start()

    def _ending(self) -> Ending:
        if self._result is None and self._error is None:
            # Attached too late to receive it.
            job = self._engine.job(self._job_id)
            self._result, self._error = job.result, job.error
        if self._status == "failed":
            raise self._output.failure(self._job_id, self._error)
        return Ending(self._job_id, self._result, self._engine)
