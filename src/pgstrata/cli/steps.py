"""The progress of a job, derived from its plan and its events."""

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pgstrata.cli.text import relative, short
from pgstrata.errors import CancelledJobError

if TYPE_CHECKING:
    from pgstrata.api.jobs import TaskEntry
    from pgstrata.domain.job import Event
    from pgstrata.domain.plan import StateExecuteTask, TaskSpec

EXECUTE_PREFIX = "execute-"
"""The prefix of the ids of tasks that make a state."""

Outcome = Literal["cached", "built", "run", "failed", "cancelled"]
"""``run``: done, on the way to the next step that leaves a state."""

_QUEUED = "queued"
_PHASES = (
    (_QUEUED, "waiting for a slot"),
    ("plan", "planning"),
    ("resolve", "resolving the image"),
    ("prepare", "cloning and starting the instance"),
)


class Report(NamedTuple):
    """A finished step."""

    number: int
    """From 1."""
    total: int
    title: str
    outcome: Outcome
    seconds: float


class Working(NamedTuple):
    """What is being done now."""

    number: int | None
    """The step's number from 1; None if it is not a step, such as planning."""
    total: int
    title: str
    seconds: float
    """How long it has been running."""


class _Step(NamedTuple):
    number: int
    title: str
    done: Outcome
    """What it is if it succeeds."""


class Steps:
    """Follows the steps of one job. A repeated event changes nothing."""

    def __init__(self, work_dir: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """``work_dir``: titles name files relative to it. ``clock``: seconds that pass here."""
        self._work_dir = work_dir
        self._clock = clock
        self._steps: dict[str, _Step] = {}
        self._started: dict[str, datetime] = {}
        self._reported: set[str] = set()
        self._latest: datetime | None = None
        self._current: tuple[str, float] | None = None
        """The task that runs, and when it began by our clock."""
        self._failed: Report | None = None
        """What is reported once its error is known."""

    @property
    def working(self) -> Working | None:
        """What is being done now, and for how long. May be asked by another thread."""
        if (current := self._current) is None:
            return None
        task_id, began = current
        seconds = max(self._clock() - began, 0.0)
        if (step := self._steps.get(task_id)) is not None:
            return Working(step.number, len(self._steps), step.title, seconds)
        phase = next((text for start, text in _PHASES if task_id.startswith(start)), task_id)
        return Working(None, len(self._steps), phase, seconds)

    def lacks(self, event: "Event") -> bool:
        """Return whether the event is about a step that is not loaded yet."""
        task_id = event.task_id or ""
        return task_id.startswith(EXECUTE_PREFIX) and task_id not in self._steps

    def load(self, tasks: "Iterable[TaskSpec]") -> None:
        """Load a job's plan."""
        self._steps = {
            step.task_id: _Step(number, relative(title(step), self._work_dir), _outcome(step))
            for number, step in enumerate(steps_of(tasks), 1)
        }

    def apply(self, event: "Event") -> Report | None:
        """Apply an event. Returns a report, once, if the event ends a step."""
        match event.type:
            case "task" if event.task_id:
                return self._apply_task(event.task_id, event)
            case "log" if event.task_id:
                self._hear(event.task_id, event.ts)
            case "status":
                self._current = None
                if event.status == _QUEUED:
                    self._hear(_QUEUED, event.ts)
                return self._take_failed("failed")
            case "error":
                cancelled = event.error is not None and event.error.code == CancelledJobError.code
                return self._take_failed("cancelled" if cancelled else "failed")
        return None

    def _apply_task(self, task_id: str, event: "Event") -> Report | None:
        if task_id.startswith("plan") and self._is_news(event):
            # A new plan replaces all steps.
            self._steps, self._started, self._reported = {}, {}, set()
        self._hear(task_id, event.ts)
        if event.status is None or not event.status.terminal:
            return None
        self._current = None
        step = self._steps.get(task_id)
        if step is None or task_id in self._reported:
            return None
        self._reported.add(task_id)
        seconds = _between(self._started[task_id], event.ts)
        report = Report(step.number, len(self._steps), step.title, step.done, seconds)
        if event.status == "failed":
            self._failed = report
            return None
        return report

    def _hear(self, task_id: str, when: datetime) -> None:
        """Note that a task runs. What was said long ago may come late, but nothing comes early."""
        began = self._clock() - _between(self._started.setdefault(task_id, when), when)
        if self._current is not None and self._current[0] == task_id:
            began = min(began, self._current[1])
        self._current = (task_id, began)

    def _take_failed(self, outcome: Outcome) -> Report | None:
        failed, self._failed = self._failed, None
        return failed and failed._replace(outcome=outcome)

    def _is_news(self, event: "Event") -> bool:
        """Return whether a planning event is later than all before, so not a repetition."""
        when, before = event.ts, self._latest
        self._latest = when if before is None else max(when, before)
        return before is None or when > before


def _outcome(step: "StateExecuteTask") -> Outcome:
    if step.cached:
        return "cached"
    return "built" if step.kept else "run"


def steps_of(tasks: "Iterable[TaskSpec]") -> "list[StateExecuteTask]":
    """Return the tasks of a plan that make a state."""
    from pgstrata.domain.plan import StateExecuteTask

    return [task for task in tasks if isinstance(task, StateExecuteTask)]


def title(task: "TaskSpec | TaskEntry") -> str:
    """Say what a task does, as its author would write it if the engine reports that."""
    from pgstrata.domain.plan import StateExecuteTask

    if summary := getattr(task, "args_summary", None):
        return str(summary)
    if not isinstance(task, StateExecuteTask):
        return ""
    if task.changeset_id:
        return f"changeset {task.changeset_id}"
    return f"state {short(task.output_state_id)}"


def _between(start: datetime, end: datetime) -> float:
    return max((end - start).total_seconds(), 0.0)
