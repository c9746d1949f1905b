"""One job followed through broken connections, engine restarts and Ctrl+C."""

import os
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from pgstrata.cli import interrupt
from pgstrata.cli.command import Context, Detached
from pgstrata.cli.interrupt import Choice
from pgstrata.cli.progress import for_stream
from pgstrata.cli.steps import Steps
from pgstrata.cli.succession import LOST, Succession
from pgstrata.cli.text import relative
from pgstrata.cli.tool_output import ToolOutput
from pgstrata.errors import (
    RangeNotSatisfiableError,
    UnauthorizedError,
    UnreachableError,
    WaitedTooLongError,
)

if TYPE_CHECKING:
    from pgstrata.api.jobs import JobStatus
    from pgstrata.client.engine import Engine
    from pgstrata.domain.job import ErrorBody, Event, Result


class Ending(NamedTuple):
    """How a job that succeeded ended."""

    job_id: str
    result: "Result | None"
    """None for a job that only planned."""
    engines: Succession
    """The engine in which it ended, which is not always the one it was submitted to."""

    @property
    def engine(self) -> "Engine":
        """The engine that is talked to now."""
        return self.engines.engine

    def job(self) -> "JobStatus":
        """What the engine knows of the job."""
        return self.engines.ask(lambda engine: engine.job(self.job_id))


class Follower:
    """Follows a job; ``progress`` shows it."""

    def __init__(self, context: Context, engine: "Engine", job_id: str, start: int) -> None:
        self._context = context
        self._job_id = job_id
        self._next = start
        self._steps = Steps(context.work_dir)
        self.progress = for_stream(
            sys.stderr, os.environ, lambda: self._steps.working, verbose=context.verbose
        )
        self._engines = Succession(context, engine, job_id, self.progress.note)
        self._output = ToolOutput(context)
        self._result: Result | None = None
        self._error: ErrorBody | None = None
        self._status = ""
        timeout = context.configuration.timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._attached = False
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
        except LOST as error:
            if isinstance(error, UnauthorizedError) and not self._attached:
                raise
            self._left()
            if self._next > before:
                self._engines.answered()
            else:
                self._engines.lose()

    def _attach(self) -> None:
        """Read events up to the job's last. Raises ``UnreachableError`` if that does not come."""
        if self._stopping and not self._stop_sent:
            self._engines.engine.cancel(self._job_id)
            self._stop_sent = True
            self.progress.note("stopping the job")
        try:
            for event in self._engines.engine.events(
                self._job_id, self._next, silence=self._left()
            ):
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
            with closing(self._engines.engine.another()) as engine:
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
            job = self._engines.ask(lambda engine: engine.job(self._job_id))
            self._result, self._error = job.result, job.error
        if self._status == "failed":
            raise self._output.failure(self._job_id, self._error)
        return Ending(self._job_id, self._result, self._engines)
