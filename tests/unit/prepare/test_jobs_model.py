"""Whatever is done to an engine, and whenever it is killed, what is stored agrees with itself.

An engine in memory is driven at random: jobs come and are cancelled and deleted, calls to its
adapters fail before or after their work, and the engine is killed at any such call and started
again. A killed engine's adapters do nothing any more, so its clean-up has no effect, as with
SIGKILL.
"""

import asyncio
import errno
import logging
import os
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pgstrata.domain import identity
from pgstrata.domain.job import Status
from pgstrata.errors import NotFoundError, PgstrataError, ServerError, StoreUnusableError
from tests.servers import data_dir_of
from tests.simulation.invariants import in_order
from tests.unit.prepare.heart import JOBS, Heart, with_jobs

# What a killed engine had still before it is never done.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

T = TypeVar("T")

RECIPES = (("a",), ("a", "b"), ("a", "c"), ("d",), ("a", "fail", "b"), ("a", "hang"))
NEVER = 10**6
"""The number of an event that no job comes to: who waits for it waits for the job's end."""


class DeadError(BaseException):
    """Raised in all that a killed engine still tries: nobody in it may go on."""


class Fate:
    """Whether an engine lives, and what befalls it at which call of its adapters."""

    def __init__(self) -> None:
        self.alive = True
        self.faulted = False
        self._left: int | None = None
        self._fault: bool | None = None
        self._late = False

    def arm(self, calls: int, *, fault: bool, late: bool) -> None:
        """At the call after so many, fail or be killed; ``late``: once its work is done."""
        self._left, self._fault, self._late = calls, fault, late

    def disarm(self) -> None:
        self._left = None

    async def meet(self, call: Callable[[], Awaitable[T]], failure: Exception) -> T:
        """One call of an adapter."""
        await asyncio.sleep(0)
        self._check()
        due = self._left == 0
        if self._left is not None:
            self._left -= 1
        if due and not self._late:
            self._strike(failure)
        result = await call()
        self._check()  # one that waited may have been overtaken by its engine's end
        if due and self._late:
            self._strike(failure)
        if isinstance(failure, StoreUnusableError):
            # A transaction is carried out although its caller is cancelled meanwhile; all others
            # undo what they have done then.
            await asyncio.sleep(0)
            self._check()
        return result

    def _check(self) -> None:
        if not self.alive:
            raise DeadError

    def _strike(self, failure: Exception) -> None:
        self._left = None
        if self._fault:
            self.faulted = True
            raise failure
        self.alive = False
        raise DeadError


class Fated:
    """An adapter whose every call meets its engine's fate."""

    def __init__(self, adapter: object, fate: Fate, failure: Exception) -> None:
        self._adapter = adapter
        self._fate = fate
        self._failure = failure

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._adapter, name)
        if not asyncio.iscoroutinefunction(method):
            return method

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._fate.meet(partial(method, *args, **kwargs), self._failure)

        return call


class FatedHeart(Heart):
    """A heart whose engines can be killed."""

    def __init__(self, root: Path) -> None:
        self.fate = Fate()
        super().__init__(root, with_jobs(max_parallel=2, heartbeat=60))

    def start_engine(self) -> None:
        self.fate = Fate()
        whole = (self.queue, self.store, self.statefs, self.runtime)
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        failures = (StoreUnusableError("full"), StoreUnusableError("full"), full, ServerError("no"))
        fated: list[Any] = [
            Fated(adapter, self.fate, failure)
            for adapter, failure in zip(whole, failures, strict=True)
        ]
        self.queue, self.store, self.statefs, self.runtime = fated
        super().start_engine()
        self.queue, self.store, self.statefs, self.runtime = whole


class Ticket:
    """What the one who asked for a job knows of it."""

    def __init__(self, recipe: tuple[str, ...]) -> None:
        self.recipe = recipe
        self.cancelled = False
        self.disturbed = False
        """Whether a fault may have met it: then it may fail, too."""


class EngineUnderFire(RuleBasedStateMachine):
    """One store, one engine after the other, and the tickets of everyone who asked for a job."""

    def __init__(self) -> None:
        super().__init__()
        logging.disable(logging.CRITICAL)  # of all that goes wrong here on purpose
        self.directory = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.tickets: dict[str, Ticket] = {}
        self.gone: set[str] = set()
        self.heart = self.run(self.made())
        self.run(self.heart.manager.recover())

    async def made(self) -> FatedHeart:
        return FatedHeart(Path(self.directory.name))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            self.run(self.buried())
            self.runner.close()
            self.directory.cleanup()
            logging.disable(logging.NOTSET)

    # What befalls it

    @rule(recipe=st.sampled_from(RECIPES), turns=st.integers(0, 30))
    def submit(self, recipe: tuple[str, ...], turns: int) -> None:
        self.run(self.submitted(recipe))
        self.run(self.turned(turns))

    @rule(
        recipe=st.sampled_from(RECIPES),
        calls=st.integers(0, 40),
        fault=st.booleans(),
        late=st.booleans(),
    )
    def meet_a_mishap(
        self, recipe: tuple[str, ...], calls: int, *, fault: bool, late: bool
    ) -> None:
        """A job that something happens to, seen through to its end."""
        self.heart.fate.arm(calls, fault=fault, late=late)
        self.submit(recipe, turns=300)
        self.settle()

    @rule(turns=st.integers(1, 150))
    def time_passes(self, turns: int) -> None:
        self.run(self.turned(turns))

    @precondition(lambda self: bool(self.tickets))
    @rule(data=st.data(), turns=st.integers(0, 10))
    def cancel(self, data: st.DataObject, turns: int) -> None:
        job_id = self.one_of_them(data)
        self.tickets[job_id].cancelled = True
        self.run(self.attempted(self.heart.manager.cancel(job_id)))
        self.run(self.turned(turns))

    @precondition(lambda self: bool(self.tickets))
    @rule(data=st.data(), force=st.booleans())
    def delete(self, data: st.DataObject, *, force: bool) -> None:
        job_id = self.one_of_them(data)
        self.tickets[job_id].cancelled |= force
        self.gone.add(job_id)
        self.run(self.attempted(self.heart.manager.delete(job_id, force=force, dry_run=False)))

    @rule(calls=st.integers(0, 40), late=st.booleans())
    def be_killed_soon(self, calls: int, *, late: bool) -> None:
        self.heart.fate.arm(calls, fault=False, late=late)

    @rule(calls=st.integers(0, 40), late=st.booleans())
    def fail_soon(self, calls: int, *, late: bool) -> None:
        self.heart.fate.arm(calls, fault=True, late=late)

    @rule()
    def kill(self) -> None:
        self.heart.fate.alive = False
        self.restart()

    @rule()
    def stop(self) -> None:
        if self.heart.fate.alive:
            self.heart.fate.disarm()
            self.run(self.heart.coordinator.__aexit__(None, None, None))
        self.restart()

    @rule()
    def settle(self) -> None:
        """Let all jobs end, none being disturbed any more, and look at everything."""
        self.heart.fate.disarm()
        if not self.heart.fate.alive or self.heart.fate.faulted:
            self.restart()
        self.run(self.ended())
        self.all_that_is_stored_agrees()
        self.check_jobs()
        self.check_places()

    # How it is done

    def restart(self) -> None:
        self.note_faults()
        self.run(self.buried())
        self.heart.start_engine()
        self.run(self.heart.manager.recover())

    async def submitted(self, recipe: tuple[str, ...]) -> None:
        before = {job.job_id for job in await self.heart.queue.jobs()}
        await self.attempted(self.heart.manager.submit(self.heart.request(*recipe)))
        for job in await self.heart.queue.jobs():
            if job.job_id not in before:
                self.tickets[job.job_id] = Ticket(recipe)

    async def attempted(self, work: Coroutine[Any, Any, object]) -> None:
        """What a client asks for, who is told when it fails; a dead engine tells nothing."""
        task = asyncio.ensure_future(work)
        async with asyncio.timeout(120):
            while self.heart.fate.alive and not task.done():
                await asyncio.wait((task,), timeout=0.01)
        if not task.done():
            task.cancel()
        try:
            await task
        except (PgstrataError, OSError, DeadError, asyncio.CancelledError) as error:
            known = isinstance(error, NotFoundError)
            assert known or self.heart.fate.faulted or not self.heart.fate.alive

    def one_of_them(self, data: st.DataObject) -> str:
        # By their order: ids are new each time.
        return list(self.tickets)[data.draw(st.integers(0, len(self.tickets) - 1))]

    async def turned(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    async def ended(self) -> None:
        for job in await self.heart.queue.unfinished():
            if "hang" in self.tickets[job.job_id].recipe:
                self.tickets[job.job_id].cancelled = True
                await self.heart.manager.cancel(job.job_id)
        async with asyncio.timeout(120):
            for job in await self.heart.queue.unfinished():
                await self.heart.manager.wait_for_event(job.job_id, NEVER)
            # A job that has ended may still have older ones to remove.
            while self.heart.coordinator.busy:  # noqa: ASYNC110 (nothing tells us)
                await asyncio.sleep(0)

    async def buried(self) -> None:
        """Let nothing of a dead engine run on."""
        self.heart.fate.alive = False
        me = asyncio.current_task()
        while others := asyncio.all_tasks() - {me}:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    # What must be so

    @invariant()
    def all_that_is_stored_agrees(self) -> None:
        self.note_faults()
        self.run(self.looked_at())

    async def looked_at(self) -> None:
        """Look at one moment: nothing here lets anything else run."""
        jobs = await self.heart.queue.jobs()
        for job in jobs:
            events = await self.heart.queue.events(job.job_id)
            assert in_order(job, events), (job.status, [(one.type, one.status) for one in events])
        self.check_none_is_lost({job.job_id for job in jobs})
        for state in await self.heart.store.states():
            place = self.heart.root / "states" / state.state_id
            assert await self.heart.statefs.marker(place) is not None
        if not self.heart.fate.faulted:  # a server that could not be stopped ends at the next start
            rows = {one.instance_id for one in await self.heart.store.instances()}
            self.check_servers(rows, {job.job_id for job in jobs if not job.status.terminal})

    def check_none_is_lost(self, jobs: set[str]) -> None:
        for job_id in self.tickets.keys() - jobs:
            # Of finished jobs that ask for the same, only the newest two are kept.
            alike = [one for one in self.tickets.values() if self.is_like(one, job_id)]
            assert job_id in self.gone or len(alike) > JOBS.max_identical
            self.gone.add(job_id)

    def check_servers(self, instances: set[str], jobs: set[str]) -> None:
        owners = {
            "instances": instances | {identity.instance_id(job_id) for job_id in jobs},
            "work": jobs,
        }
        for server in self.heart.runtime.running:
            place = data_dir_of(server).parent
            assert place.name in owners[place.parent.name]

    def check_jobs(self) -> None:
        for job_id, ticket in self.tickets.items():
            job = self.run(self.heart.queue.get(job_id))
            if job is None:
                assert job_id in self.gone
                continue
            assert job.status.terminal
            may_fail = ticket.cancelled or ticket.disturbed or "fail" in ticket.recipe
            may_succeed = not {"fail", "hang"} & set(ticket.recipe)
            assert may_succeed if job.status is Status.SUCCEEDED else may_fail, job
            if job.result is not None:
                place = self.heart.root / "instances" / job.result.instance_id
                assert self.heart.steps_in(place) == list(ticket.recipe)

    def check_places(self) -> None:
        root, places = self.heart.root, self.heart.statefs.volumes
        instances = {one.instance_id for one in self.run(self.heart.store.instances())}
        states = {one.state_id for one in self.run(self.heart.store.states())}
        for area, names in (("states", states), ("instances", instances)):
            assert {place.name for place in self.run(places(root / area))} == names
        for area in ("work", "building"):
            assert self.run(places(root / area)) == []
        assert {data_dir_of(one).parent.name for one in self.heart.runtime.running} == instances
        for job in self.run(self.heart.queue.jobs()):
            made = identity.instance_id(job.job_id) in instances
            assert made == (job.status is Status.SUCCEEDED)

    def is_like(self, ticket: Ticket, job_id: str) -> bool:
        return ticket.recipe == self.tickets[job_id].recipe

    def note_faults(self) -> None:
        if self.heart.fate.faulted:
            for ticket in self.tickets.values():
                ticket.disturbed = True


TestEngineUnderFire = EngineUnderFire.TestCase
TestEngineUnderFire.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
