"""Builds the next state that is kept: runs the steps on the way there, or follows who does.

These steps are a span, which is run without a stop in one workspace. What it has led to so far is
kept, too, when it has run for long, or when the engine stops. After a kill it starts again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace

from pgstrata.domain.job import Status, Task
from pgstrata.domain.plan import StateExecuteTask, Step
from pgstrata.errors import StepFailedError, StepInterruptedError
from pgstrata.prepare import spans, transitions
from pgstrata.prepare.executor import Executor, StateOrder, StepRun
from pgstrata.prepare.in_flight import Build, InFlight
from pgstrata.prepare.job_run import JobRun, StepLogs
from pgstrata.prepare.job_slots import JobSlots
from pgstrata.runtime.base import Passed

AT_ONCE = 100
"""Of how many steps the inputs are watched at the same time."""
FAILURES_KEPT = 1000
"""Of how many failed steps it is remembered where they started."""


class Builder:
    """Builds states, each by one job at a time, while others that need it follow."""

    def __init__(self, executor: Executor, job_slots: JobSlots) -> None:
        self._executor = executor
        self._job_slots = job_slots
        self._in_flight = InFlight()
        self._failed: OrderedDict[str, None] = OrderedDict()
        self._draining = False

    def drain(self) -> None:
        """End each span after the steps that run."""
        self._draining = True

    def has_failed(self, start_id: str) -> bool:
        """Whether a step failed that started from this state, and may be corrected by now."""
        return start_id in self._failed

    async def build(self, run: JobRun, tasks: Sequence[Task], logs: StepLogs) -> None:
        """Make sure that the state exists that a span's tasks lead to, and record what they did.

        When draining, only some of them may be done. Raises like ``Executor.run_steps`` and
        ``keep_state``.
        """
        target = _spec(tasks[-1]).output_state_id
        while build := self._in_flight.find(target):
            await self._executor.close_workspace(run.job.job_id)
            async with self._job_slots.lend(run.job.job_id):
                await logs.line(f"job {build.job_id} is building this state")
                exists = await _follow(build, run, tasks, logs)
            # It may have been removed again by force, before this job could hold it.
            if exists and (await self._executor.look_up((target,))).clean:
                return await _find(self._executor, run, tasks, logs)
            if self._draining:
                return None
        with self._in_flight.register(target, run.job.job_id) as build:
            span = _Span(self._executor, run, tasks, logs, build, lambda: self._draining)
            try:
                build.is_complete = await span.run()
            except StepFailedError:
                self._note_failed(span.running)
                raise

    def _note_failed(self, task: Task) -> None:
        self._failed[_spec(task).input.id] = None
        if len(self._failed) > FAILURES_KEPT:
            self._failed.popitem(last=False)


class _Span:
    """One job's build of a state, step by step."""

    def __init__(
        self,
        executor: Executor,
        run: JobRun,
        tasks: Sequence[Task],
        logs: StepLogs,
        build: Build,
        is_to_end: Callable[[], bool],
    ) -> None:
        self._executor = executor
        self._run = run
        self._tasks = tasks
        self._logs = logs
        self._build = build
        self._is_to_end = is_to_end
        self._line = build.broadcast(logs.line)
        self._kept = 0
        """How many steps are in a state that was kept."""
        self._since = _clock()
        """When it was kept."""
        self._at = 0
        """The step that runs, or was run last."""

    async def run(self) -> bool:
        """Run the steps, and keep what they lead to; whether that was all of them."""
        at, again = 0, False
        while at < len(self._tasks):
            try:
                ran = await self._run_some(at)
                at = self._at + 1
                if ran is not None and (at == len(self._tasks) or self._has_enough):
                    again = not await self._keep() and again
            except StepInterruptedError as error:
                if again or not self._can_run_again:
                    raise
                await self._logs.line(f"{error.message}: {self._what_runs_again}")
                at, again = self._kept, True
                await self._move_to(at)
                continue
            if ran is None:
                await _find(self._executor, self._run, self._tasks[self._at :], self._logs)
                return True
            await self._record(ran, kept=self._kept == at)
            if self._is_to_end():
                break
        return at == len(self._tasks)

    async def _keep(self) -> bool:
        """Keep what the step that was run last has led to, unless another job does."""
        # Before there is a state, it is stored that this job began its steps.
        await self._logs.store()
        began = _clock()
        if not await self._executor.keep_state(self._run.job.job_id):
            return False
        self._kept, self._since = self._at + 1, _clock()
        self._run.keeping_seconds = self._since - began
        return True

    async def _run_some(self, at: int) -> StepRun | None:
        """Run some steps while their inputs stay what was hashed.

        Records what all but the last of them did. Returns what that one did; None if the state to
        be built exists.
        """
        end = min(at + AT_ONCE, len(self._tasks))
        inputs = (one for task in self._tasks[at:end] for one in self._step(task).inputs)
        async with self._run.sources.hold(tuple(dict.fromkeys(inputs))) as held:
            orders = [self._order(task, held.local_root) for task in self._tasks[at:end]]
            while True:
                await self._move_to(at)
                ran = await self._executor.run_steps(orders[at - end :], self._hear)
                at = self._at + 1
                if ran is None or at == end or self._has_enough:
                    return ran
                await self._record(ran, kept=False)

    async def _hear(self, text: str) -> None:
        """A line of the step that runs, or that the next one does."""
        if isinstance(text, Passed):
            await self._record(StepRun(), kept=False)
            await self._move_to(self._at + 1)
        else:
            await self._line(text)

    @property
    def running(self) -> Task:
        """The step that runs, or was run last."""
        return self._tasks[self._at]

    @property
    def _has_enough(self) -> bool:
        """Whether what there is by now is kept, though more is to come."""
        how, took = self._run.job.request.states, _clock() - self._since
        return self._is_to_end() or spans.is_worth_keeping(how, took, self._run.keeping_seconds)

    @property
    def _lost(self) -> Sequence[Task]:
        """The steps that were run since the last state, and the one that runs."""
        return self._tasks[self._kept : self._at + 1]

    @property
    def _can_run_again(self) -> bool:
        """Whether nothing is left of what was lost: none could do something elsewhere."""
        steps = map(self._step, self._lost)
        return not any(step.uncacheable or step.tool is not None for step in steps)

    @property
    def _what_runs_again(self) -> str:
        before = len(self._lost) - 1
        if not before:
            return "the step is run once more"
        steps = "step" if before == 1 else f"{before} steps"
        return f"it and the {steps} before it, which had no state yet, are run once more"

    async def _move_to(self, at: int) -> None:
        self._at, task = at, self._tasks[at]
        self._build.step = _spec(task).output_state_id
        if self._logs.task_id != task.task_id:
            await self._logs.move_to(task)

    async def _record(self, ran: StepRun, *, kept: bool) -> None:
        await self._logs.record([_done(self.running, kept=kept, failures=ran.failures)])

    def _step(self, task: Task) -> Step:
        chain = self._run.chain
        assert chain is not None
        return chain.steps[self._run.positions[_spec(task).output_state_id]]

    def _order(self, task: Task, root: Path) -> StateOrder:
        chain, spec, request = self._run.chain, _spec(task), self._run.job.request
        assert chain is not None
        return StateOrder(
            job_id=task.job_id,
            image_id=chain.image_id,
            task=spec,
            step=self._step(task),
            target=_spec(self._tasks[-1]).output_state_id,
            root=root,
            last=spec.output_state_id == chain.last,
            image_parts=dict(chain.image_parts),
            initdb=request.initdb,
            settings=request.settings,
            own_settings=dict(chain.settings),
        )


async def _follow(build: Build, run: JobRun, tasks: Sequence[Task], logs: StepLogs) -> bool:
    """Follow another job's build. A step that fails there is the one that fails here."""
    try:
        return await build.follow(logs.line)
    except StepFailedError:
        for at, task in enumerate(tasks):
            if at and _spec(task).output_state_id == build.step:
                await logs.record([_done(passed, kept=False) for passed in tasks[:at]])
                await logs.move_to(task)
        raise


async def _find(executor: Executor, run: JobRun, tasks: Sequence[Task], logs: StepLogs) -> None:
    """Record that steps need not be run, and tell what had failed in them."""
    failures: dict[str, tuple[str, ...]] = {}
    if run.job.request.on_error == "continue":
        failures = await executor.failures([_spec(task).output_state_id for task in tasks])
    found = []
    for task in tasks:
        spec = transitions.found_cached(_spec(task))
        told = failures.get(spec.output_state_id, ())
        for text in transitions.failures_again(told):
            await logs.line(text)
        found.append(replace(task, status=Status.SUCCEEDED, spec=replace(spec, failures=told)))
    await logs.record(found)


def _done(task: Task, *, kept: bool, failures: tuple[str, ...] = ()) -> Task:
    spec = replace(_spec(task), cached=False, kept=kept, failures=failures)
    return replace(task, status=Status.SUCCEEDED, spec=spec)


def _clock() -> float:
    return asyncio.get_running_loop().time()


def _spec(task: Task) -> StateExecuteTask:
    assert isinstance(task.spec, StateExecuteTask)
    return task.spec
