"""The tasks of a job while it runs, however many there are."""

from collections.abc import Iterable, Iterator
from itertools import islice

from pgstrata.domain.job import Task, Transition
from pgstrata.domain.plan import StateExecuteTask


class TaskList:
    """A job's tasks, in order. A transition costs no more than the tasks that it changes."""

    def __init__(self, tasks: Iterable[Task] = ()) -> None:
        self._tasks: list[Task] = []
        self._positions: dict[str, int] = {}
        self._ended = 0
        """How many tasks at the beginning have ended."""
        self._replace(tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks)

    @property
    def first(self) -> Task:
        """The first of all. There must be one."""
        return self._tasks[0]

    @property
    def next(self) -> tuple[Task, ...]:
        """The first task that has not ended; empty if all have."""
        return tuple(self._tasks[self._ended : self._ended + 1])

    @property
    def span(self) -> tuple[Task, ...]:
        """From the next one to the first with a state of its own, which must be tasks for that."""
        span = []
        for task in islice(self._tasks, self._ended, None):
            span.append(task)
            if not isinstance(task.spec, StateExecuteTask) or task.spec.kept:
                break
        return tuple(span)

    def apply(self, transition: Transition) -> None:
        """Bring the tasks to where they are after a transition."""
        if transition.replace_tasks:
            self._replace(transition.tasks)
            return
        for task in transition.tasks:
            position = self._positions.setdefault(task.task_id, len(self._tasks))
            self._tasks[position : position + 1] = [task]
            self._ended = min(self._ended, position)
        self._pass_ended()

    def _replace(self, tasks: Iterable[Task]) -> None:
        self._tasks = list(tasks)
        self._positions = {task.task_id: at for at, task in enumerate(self._tasks)}
        self._ended = 0
        self._pass_ended()

    def _pass_ended(self) -> None:
        while self._ended < len(self._tasks) and self._tasks[self._ended].status.terminal:
            self._ended += 1
