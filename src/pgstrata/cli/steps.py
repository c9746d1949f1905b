"""The progress of a job, derived from its plan and its events."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pgstrata.cli.text import relative, short

if TYPE_CHECKING:
    from pgstrata.api.jobs import TaskEntry
    from pgstrata.domain.job import Event
    from pgstrata.domain.plan import StateExecuteTask, TaskSpec

EXECUTE_PREFIX = "execute-"
"""The prefix of the ids of tasks that make a state."""

Outcome = Literal["cached", "built", "failed"]

_PHASES = (
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
    """How long it has been running, by the engine's clock."""


class _Step(NamedTuple):
    number: int
    title: str
    cached: bool


class Steps:
    """Follows the steps of one job. A repeated event changes nothing."""

    def __init__(self, work_dir: Path) -> None:
        """``work_dir``: titles name files relative to it."""
        self._work_dir = work_dir
        self._steps: dict[str, _Step] = {}
        self._started: dict[str, datetime] = {}
        self._reported: set[str] = set()
        self._latest: datetime | None = None
        self.working: Working | None = None

    def lacks(self, event: "Event") -> bool:
        """Return whether the event is about a step that is not loaded yet."""
        task_id = event.task_id or ""
        return task_id.startswith(EXECUTE_PREFIX) and task_id not in self._steps

    def load(self, tasks: "Iterable[TaskSpec]") -> None:
        """Load a job's plan."""
        self._steps = {
            step.task_id: _Step(number, relative(title(step), self._work_dir), step.cached)
            for number, step in enumerate(steps_of(tasks), 1)
        }

    def apply(self, event: "Event") -> Report | None:
        """Apply a task event. Returns a report, once, if the event ends a step."""
        task_id = event.task_id or ""
        if task_id.startswith("plan") and self._is_news(event):
            # A new plan replaces all steps.
            self._steps, self._started, self._reported = {}, {}, set()
        self._started.setdefault(task_id, event.ts)
        seconds = _between(self._started[task_id], event.ts)
        step = self._steps.get(task_id)
        self.working = self._now(task_id, step, seconds)
        if event.status is None or not event.status.terminal:
            return None
        self.working = None
        if step is None or task_id in self._reported:
            return None
        self._reported.add(task_id)
        outcome: Outcome = "cached" if step.cached else "built"
        if event.status == "failed":
            outcome = "failed"
        return Report(step.number, len(self._steps), step.title, outcome, seconds)

    def _is_news(self, event: "Event") -> bool:
        """Return whether a planning event is later than all before, so not a repetition."""
        when, before = event.ts, self._latest
        self._latest = when if before is None else max(when, before)
        return before is None or when > before

    def _now(self, task_id: str, step: _Step | None, seconds: float) -> Working:
        if step is not None:
            return Working(step.number, len(self._steps), step.title, seconds)
        phase = next((text for start, text in _PHASES if task_id.startswith(start)), task_id)
        return Working(None, len(self._steps), phase, seconds)


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
