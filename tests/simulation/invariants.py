"""What is so at every moment, whatever happens; and what is so once nothing happens any more."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from pgstrata.dbms.memory import SETTLED
from pgstrata.domain.instance import Instance, Server
from pgstrata.domain.job import Event, Job, Status
from pgstrata.domain.model import utc_now
from pgstrata.domain.plan import StateExecuteTask
from pgstrata.domain.state import SNAPSHOT, State
from pgstrata.runtime.base import ToolCommand
from tests.servers import data_dir_of
from tests.simulation.world import POOL, World

CHANGED = b"changed\n"
"""What clients write to instances."""

_LATE = timedelta(seconds=30)
"""How long after its end a lease may still be there, with an engine that is left alone."""


class Witness:
    """Sees all that happens in a world, and remembers what it takes to judge it."""

    def __init__(self) -> None:
        self.world: World
        self.acknowledged: set[str] = set()
        """Jobs that clients were told of."""
        self.cancelled: set[str] = set()
        self.deleted: set[str] = set()
        """Jobs that somebody wanted to be gone."""
        self.disturbed: set[str] = set()
        """Jobs that something befell on purpose: they may fail."""
        self.may_go: set[str] = set()
        """Instances that somebody wanted to be gone."""
        self.dead_servers: set[str] = set()
        """The handles of servers that were killed from outside."""
        self.snapshots: set[str] = set()
        """States that clients had made of instances."""
        self.states_may_go: set[str] = set()
        """States that somebody wanted to be gone."""
        self.resets: Counter[str] = Counter()
        """The instances that clients are about to put back to their states."""
        self.changes: Counter[str] = Counter()
        """How often clients wrote to each instance."""
        self.cache_was_small = False
        self.failed = False
        """Whether a call of any engine failed so far."""
        self.faults: list[str] = []
        """What the engine said was wrong with itself."""
        self.recipes: dict[str, tuple[str, ...]] = {}
        """What makes each state."""
        self.looks = 0
        self.broken: AssertionError | None = None
        """The first thing that was wrong."""
        self._trees_go = 0
        """How many states are being removed with all that was made from them."""
        self._forced = 0
        """How many states are being removed even if jobs are using them."""
        self._events: dict[str, list[Event]] = {}
        self._jobs: dict[str, Job] = {}
        self._instances: dict[str, Instance] = {}
        self._building: Counter[tuple[str, ...]] = Counter()
        self._from_instances: set[str] = set()
        """States that may come from settled copies, since instances do."""
        self._before: dict[str, Job] = {}
        """The jobs as they were when the power was cut."""

    # At every moment

    def look(self, port: str) -> None:
        """Look at all that may have changed; what is wrong is kept, for the engine is not told."""
        self.looks += 1
        try:
            self._look(port)
        except AssertionError as error:
            self.broken = self.broken or error

    def fail(self) -> None:
        """A call fails: the jobs that have not ended may fail with it."""
        self.failed = True
        self.befall_all()

    def _look(self, port: str | None = None) -> None:
        world = self.world
        assert not self.faults, self.faults
        if self._forced:
            self.befall_all()
        if port in (None, "queue"):
            self._look_at_jobs(world.at_once(world.queue.jobs()))
        if port in (None, "store", "statefs"):
            self._look_at_states()
        if port != "queue":
            self._look_at_instances(world.at_once(world.store.instances()))
        self._look_at_jobs_ends()
        ready = world.pool.status.ready
        assert ready <= POOL.max, f"{ready} warm servers wait"

    def _look_at_jobs(self, jobs: list[Job]) -> None:
        world = self.world
        present = {job.job_id: job for job in jobs}
        for job_id in self._jobs.keys() - present.keys():
            ended = self._jobs.pop(job_id).status.terminal
            assert ended or job_id in self.deleted, f"job {job_id} is lost"
        for job in jobs:
            before = self._jobs.get(job.job_id)
            events = world.at_once(world.queue.events(job.job_id))
            known = self._events.get(job.job_id, [])
            if before is job and len(events) == len(known):
                continue
            assert events[: len(known)] == known, f"what job {job.job_id} said has changed"
            assert in_order(job, events), (job.status, [(one.type, one.status) for one in events])
            if before is not None and before.status.terminal:
                assert before == job, f"job {job.job_id} ended more than once"
            self._jobs[job.job_id], self._events[job.job_id] = job, events
            recipe = recipe_of(job)
            start = self.recipes.get(job.request.start_from or "", ())
            tasks = world.at_once(world.queue.tasks(job.job_id))
            states = [task.spec for task in tasks if isinstance(task.spec, StateExecuteTask)]
            for number, spec in enumerate(states, 1):
                self.recipes[spec.output_state_id] = (*start, *recipe[:number])
            if job.status is Status.FAILED:
                self._check_failure(job, recipe)

    def _check_failure(self, job: Job, recipe: tuple[str, ...]) -> None:
        assert job.error is not None
        asked_for = {
            "cancelled": job.job_id in self.cancelled,
            "step_failed": "fail" in recipe,
            "timeout": "hang" in recipe,
            "conflict": job.request.instance_name is not None or job.request.start_from is not None,
            "not_found": job.request.start_from in self.states_may_go,
            "cache_full_unreclaimable": self.cache_was_small,
            "cache_limit_too_small": self.cache_was_small,
        }.get(job.error.code, False)
        assert asked_for or job.job_id in self.disturbed, (job.job_id, recipe, job.error)

    def _look_at_jobs_ends(self) -> None:
        """A job that has succeeded has an instance, or somebody wanted it to be gone."""
        for job in self._jobs.values():
            if job.status is not Status.SUCCEEDED:
                continue
            can = job.request.plan_only or not {"fail", "hang"} & set(recipe_of(job))
            assert can, f"job {job.job_id} cannot succeed"
            if job.result is not None and job.result.instance_id not in self.may_go:
                stored = self._instances.get(job.result.instance_id)
                assert stored is not None, f"job {job.job_id} has no instance"
                assert stored.dsn == job.result.dsn, "it is another instance's address"

    def _look_at_states(self) -> None:
        world = self.world
        for state in world.at_once(world.store.states()):
            place = world.root / "states" / state.state_id
            marker = world.at_once(world.statefs.marker(place))
            if marker is None:
                whole = self.failed or self.dead_servers
                assert whole, f"state {state.state_id} can be seen and is not there"
                continue
            assert state.state_id.encode() in marker
            made_by = world.steps_in(place)
            if state.prepare_kind == SNAPSHOT:
                # Of what was in an instance just then: it stays what it was at first.
                self.recipes.setdefault(state.state_id, tuple(made_by))
            assert made_by == list(self.recipes[state.state_id]), f"a state was made by {made_by}"
            self._look_at_origin(state, settled=world.disk.exists(place / "data" / SETTLED))

        for copy in world.settled.known:
            steps = world.steps_in(world.settled.area / copy.state_id)
            wanted = list(self.recipes[copy.state_id])
            assert steps == wanted, f"a settled copy of {wanted} has {steps}"

    def _look_at_origin(self, state: State, *, settled: bool) -> None:
        """Steps build from plain states; only what is in instances comes from settled copies."""
        if settled and state.state_id not in self._from_instances:
            parent = state.parent_state_id
            comes_from_one = state.prepare_kind == SNAPSHOT or parent in self._from_instances
            assert comes_from_one, f"state {state.state_id} was built from a settled copy"
            self._from_instances.add(state.state_id)

    def _look_at_instances(self, instances: list[Instance]) -> None:
        world, now = self.world, utc_now()
        present = {one.instance_id: one for one in instances}
        for instance_id in self._instances.keys() - present.keys():
            gone = self._instances.pop(instance_id)
            wanted = self._trees_go > 0 or instance_id in self.may_go or has_expired(gone, now)
            wanted |= gone.name is not None and gone.name in {one.name for one in instances}
            wanted |= gone.job_id in self.disturbed | self.cancelled | self.deleted
            # An engine that stops undoes what it has told nobody of.
            wanted |= self._is_undone(gone)
            assert wanted, f"instance {instance_id} is lost"
            self.may_go.add(instance_id)
        for instance_id, instance in present.items():
            if (
                instance_id not in self._instances
                and instance.server.handle not in self.dead_servers
            ):
                place = world.root / "instances" / instance_id
                steps = world.steps_in(place)
                wanted_steps = list(self.recipes[instance.state_id])
                assert steps == wanted_steps, f"an instance of {wanted_steps} has {steps}"
            runs = world.runtime.runs(instance.server)
            if not runs and instance.server.handle not in self.dead_servers:
                excused = instance_id in self.may_go or self._is_replaced(instance)
                # The row of one that goes may be the last to go, on a full disk.
                excused |= has_expired(instance, now) or self._trees_go > 0
                excused |= instance.resetting or instance.paused is not None
                excused |= self._is_undone(instance)
                assert excused, f"the server of {instance_id} does not run"
            self._instances[instance_id] = instance

    def _is_undone(self, instance: Instance) -> bool:
        """Whether nobody was told of it yet."""
        job = self._jobs.get(instance.job_id or "")
        return job is not None and not job.status.terminal

    def _is_replaced(self, instance: Instance) -> bool:
        """Whether another is about to get its port."""
        requests = [job.request for job in self._jobs.values() if not job.status.terminal]
        return instance.name is not None and any(
            one.replace and one.instance_name == instance.name for one in requests
        )

    # What others tell

    def lose_power(self) -> None:
        """The machine is about to lose power, and with it all servers."""
        self.failed = True
        self.befall_all()
        world = self.world
        self.dead_servers |= {one.handle for one in world.runtime.running}
        self._before = {job.job_id: job for job in world.at_once(world.queue.jobs())}

    def look_after_outage(self) -> None:
        """Look at what clients were told of: all of that is there, and goes on from there."""
        world = self.world
        jobs = {job.job_id: job for job in world.at_once(world.queue.jobs())}
        for job_id, job in self._before.items():
            told = job.status.terminal or job_id in self.acknowledged
            assert not told or job_id in jobs, f"job {job_id} was lost with the power"
            assert not job.status.terminal or jobs[job_id] == job, f"job {job_id} has changed"
        instances = world.at_once(world.store.instances())
        # A reset's new server may not be in the row any more.
        self.dead_servers |= {one.server.handle for one in instances}
        there = {one.instance_id for one in instances}
        for instance_id, instance in self._instances.items():
            its_job = self._before.get(instance.job_id or "")
            told = its_job is not None and its_job.result is not None
            assert not told or instance_id in self.may_go or instance_id in there, (
                f"instance {instance_id} was lost"
            )
        self._jobs, self._instances = {}, {}
        for job_id in jobs:
            self._events[job_id] = world.at_once(world.queue.events(job_id))

    def look_at_reset(self, before: Instance, changes: int) -> None:
        """An instance was put back: it is what its state is, at the same address.

        ``changes``: how often clients had written to it when that was asked for.
        """
        world = self.world
        after = world.at_once(world.store.instance(before.instance_id))
        again = self.resets[before.instance_id] > 1
        if after is None or again or self.changes[before.instance_id] > changes:
            return  # it was removed, or is not what it was by now
        assert after.dsn == before.dsn, "a reset has changed the address"
        if after.server.handle not in self.dead_servers:
            steps = world.steps_in(world.root / "instances" / after.instance_id)
            wanted = list(self.recipes[after.state_id])
            assert steps == wanted, f"after a reset, {wanted} has {steps}"

    def befall_all(self) -> None:
        """Something happens on purpose: all jobs that have not ended may fail."""
        self.disturbed |= {job.job_id for job in self._jobs.values() if not job.status.terminal}

    @contextmanager
    def removing(self, *, tree: bool, force: bool) -> Iterator[None]:
        """A state is removed, perhaps with all that was made from it, perhaps from under jobs."""
        self._trees_go += tree
        self._forced += force
        try:
            yield
        except BaseException:
            # Without room for that, rows stay of which the files have gone.
            world = self.world
            self.may_go |= {
                one.instance_id
                for one in world.at_once(world.store.instances())
                if not world.disk.exists(world.root / "instances" / one.instance_id)
            }
            raise
        finally:
            if force:
                self.befall_all()
            self._trees_go -= tree
            self._forced -= force

    def _keeps(self, job_id: str, made: int) -> bool:
        """Whether a job's step that makes this many, with all before it, is to leave a state."""
        world = self.world
        job = world.at_once(world.queue.get(job_id))
        before = len(self.recipes.get(job.request.start_from or "", ()))
        tasks = world.at_once(world.queue.tasks(job_id))
        specs = [task.spec for task in tasks if isinstance(task.spec, StateExecuteTask)]
        return all(spec.kept for spec in specs[made - before - 1 : made - before])

    @contextmanager
    def building(self, server: Server, command: ToolCommand) -> Iterator[None]:
        """A tool runs: nobody else makes the same meanwhile, unless on the way to another state."""
        place = data_dir_of(server).parent
        recipe = (*self.world.steps_in(place), command.args[-1])
        if not self._keeps(place.name, len(recipe)):
            yield
            return
        if recipe in self._building and self.broken is None:
            self.broken = AssertionError(f"{recipe} is built by two at once")
        self._building[recipe] += 1
        try:
            yield
        finally:
            self._building -= Counter([recipe])

    # Once nothing happens any more

    def look_at_rest(self) -> None:
        """Look at everything while no job is running, and nothing is being tidied up."""
        self._look()
        world = self.world
        for job_id in self.acknowledged:
            assert job_id in self._events, f"a client was told of job {job_id}, which never was"
        for job in self._jobs.values():
            assert job.status.terminal, f"job {job.job_id} has not ended"
        assert not world.in_use.held, "states are held by nobody"
        assert not world.at_once(world.store.build_leases()), "somebody still builds"
        kept = {one.state_id for one in world.at_once(world.store.states())}
        lost = self.snapshots - self.states_may_go - kept
        assert not lost, f"snapshots are lost: {lost}"
        late = utc_now() - _LATE
        for instance in self._instances.values():
            assert not has_expired(instance, late), "a lease that ended is still there"
        warm = world.pool.status.ready
        # One that died is noticed when it is to be handed over.
        asleep = warm - len(world.runtime.paused)
        assert warm <= POOL.max
        assert 0 <= asleep <= len(self.dead_servers), f"{warm} servers wait, {asleep} less sleep"
        expected = {
            "states": set(world.at_once(world.store.existing_states(self.recipes))),
            "work": set(),
            "building": set(),
            "settled": {copy.state_id for copy in world.settled.known},
        }
        for area, names in expected.items():
            left = self._names_in(area) - names
            assert not left, f"{area} has more than it should: {left}"
        rows = self._instances.keys()
        unknown = self._names_in("instances") - rows
        assert len(unknown) == warm, f"without a row: {unknown}, {warm} wait"
        running = {data_dir_of(one).parent.name for one in world.runtime.running}
        assert running - rows <= unknown, "a server is nobody's"

    def look_at_end(self) -> None:
        """Look at everything once all was removed and the engine was stopped."""
        world = self.world
        assert not world.runtime.running, "servers are left"
        for area in ("states", "settled", "instances", "work", "building"):
            left = world.disk.children(world.root / area)
            assert not left, f"{area} is not empty: {left}"
        assert not world.at_once(world.store.states())
        assert not world.at_once(world.store.instances())
        assert not world.at_once(world.queue.jobs())
        assert not world.at_once(world.store.build_leases())

    def _names_in(self, area: str) -> set[str]:
        world = self.world
        return {place.name for place in world.disk.children(world.root / area)}


def recipe_of(job: Job) -> tuple[str, ...]:
    return tuple(job.request.fields["scripts"])


def has_expired(instance: Instance, now: datetime) -> bool:
    return instance.expires_at is not None and instance.expires_at <= now


def in_order(job: Job, events: list[Event]) -> bool:
    """Whether a job's events are what the contract says they are until its status."""
    said = [(event.type, event.status) for event in events]
    statuses = [status for kind, status in said if kind == "status"]
    ends = [number for number, (kind, _) in enumerate(said) if kind in ("result", "error")]
    if not said or said[0] != ("status", Status.QUEUED) or statuses[-1] is not job.status:
        return False
    if not job.status.terminal:
        return not ends and statuses in ([Status.QUEUED], [Status.QUEUED, Status.RUNNING])
    if said[-1] != ("status", job.status) or statuses[1:-1] not in ([], [Status.RUNNING]):
        return False
    plan_only = job.request.plan_only and job.status is Status.SUCCEEDED
    return ends == ([] if plan_only else [len(said) - 2])
