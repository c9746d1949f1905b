"""A history: clients, an engine, and what befalls them, all of it decided by one seed."""

import asyncio
import logging
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from random import Random
from typing import Literal, NamedTuple

from pgstrata.domain.instance import Instance
from pgstrata.domain.job import Event
from pgstrata.errors import NotFoundError, PgstrataError, ServerError
from tests.simulation.clock import simulated, within
from tests.simulation.fate import DeadError, Story
from tests.simulation.invariants import CHANGED, Witness
from tests.simulation.world import Meddling, World

Weather = Literal["calm", "kills", "storm", "outage"]
"""Calm: only what clients do. Kills: engines are killed and stopped, too. Storm: calls fail and
servers die as well. Outage: the machine itself loses power."""

RECIPES = (
    *(("a",), ("a", "b"), ("a", "b", "c"), ("a", "d"), ("e",), ("e", "chatter")),
    *(("a", "fail", "b"), ("a", "hang")),
)
_LONG = 3000.0
"""Simulated seconds in which everything must have come to rest."""


class Finding(NamedTuple):
    """What was wrong in a history."""

    seed: int
    error: BaseException
    seconds: float
    """When it was seen, by the simulated clock."""


class Outcome(NamedTuple):
    """How a history went."""

    finding: Finding | None
    digest: str
    """The same for the same course of events."""
    looks: int
    """How often everything was looked at."""


class _Faults(logging.Handler):
    """Hears what an engine says is wrong with itself."""

    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info and record.exc_info[1]
        if error and not isinstance(error, DeadError | OSError):
            self._heard.append(f"{record.getMessage()}: {error!r}")


class History:
    """One course of events."""

    def __init__(self, rng: Random, *, told: bool, meddle: Meddling) -> None:
        self.rng = rng
        self.weather: Weather = self.rng.choice(("calm", "kills", "storm", "outage"))
        self.story = Story(told=told)
        self.witness = Witness()
        self._meddle = meddle
        self._clients: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Live through it, and come to an end at which nothing is left."""
        self.world = self.witness.world = World(
            self.rng,
            self.story,
            self.witness,
            identical=self.rng.choice((0, 2)),
            meddle=self._meddle,
        )
        await self.world.run_engine()
        if self.rng.random() < 0.5:
            await self._change_the_cache()
        for _ in range(self.rng.randint(4, 18)):
            await self._happen()
            await self._survive()
            await asyncio.sleep(self.rng.random() ** 4)
        await self._rest()
        await self._remove_everything()
        await self.world.stop_engine()
        self.witness.look_at_end()

    # What happens

    async def _happen(self) -> None:
        """Let one thing happen."""
        things = {
            self._submit: 40,
            self._cancel: 8,
            self._delete_job: 5,
            self._remove_instance: 10,
            self._remove_state: 4,
            self._warm: 6,
            self._change_data: 6,
            self._reset: 8,
            self._snapshot: 6,
            self._change_the_cache: 4,
            self._wait_long: 4,
        }
        if self.weather != "calm":
            things |= {self._be_killed: 10, self._stop: 4}
        if self.weather == "storm":
            things |= {self._fail: 14, self._lose_a_server: 6}
        if self.weather == "outage":
            things |= {self._lose_power: 10}
        [thing] = self.rng.choices(list(things), list(things.values()))
        await thing()

    async def _submit(self) -> None:
        named = self.rng.random() < 0.3
        recipe = self.rng.choice(RECIPES)
        request = self.world.request(
            *recipe,
            timeout=3 if "hang" in recipe else None,
            instance_name=self.rng.choice(("dev", "test")) if named else None,
            replace=named and self.rng.random() < 0.6,
            instance_ttl=self.rng.choice((None, 1, 5, 60)),
            plan_only=not named and self.rng.random() < 0.1,
            states=self.rng.choice(("auto", "tags")),
            **self._start(),
        )
        watches = self.rng.random() < 0.4
        self.story.add(f"submit {request.fields['scripts']} {request.instance_name}")

        async def client() -> None:
            job = await self.world.manager.submit(request)
            self.witness.acknowledged.add(job.job_id)
            if watches:
                await self._watch(job.job_id)

        # The state to go on from may be removed meanwhile.
        self._ask(client, may_conflict=named, may_be_wrong=request.start_from is not None)

    def _start(self) -> dict[str, str]:
        """What a request starts from, if that is not the image."""
        if self.rng.random() < 0.8 or (state_id := self._one_state()) is None:
            return {}
        return {"start_from": state_id, "image_id": ""}

    async def _watch(self, job_id: str) -> None:
        """Follow a job to its end: each of its events comes once, in order."""
        manager, fate, heard = self.world.manager, self.world.fate, list[Event]()
        while await manager.wait_for_event(job_id, len(heard)):
            heard += await manager.events_since(job_id, len(heard))
        if not fate.alive:
            raise DeadError  # whose watchers do not hear of what it stored last
        stored = self.world.at_once(self.world.queue.events(job_id))
        # Nothing is, once it was deleted.
        assert not stored or heard == stored, f"a watcher of {job_id} heard something else"

    async def _cancel(self) -> None:
        if job_id := self._one_job():
            self.story.add(f"cancel {job_id}")
            self.witness.cancelled.add(job_id)
            self._ask(partial(self.world.manager.cancel, job_id))

    async def _delete_job(self) -> None:
        if job_id := self._one_job():
            force = self.rng.random() < 0.5
            self.story.add(f"delete {job_id} {force=}")
            self.witness.deleted.add(job_id)
            if force:
                self.witness.cancelled.add(job_id)
            work = partial(self.world.manager.delete, job_id, force=force, dry_run=False)
            self._ask(work, may_conflict=True)

    async def _remove_instance(self) -> None:
        found = self.world.at_once(self.world.store.instances())
        if found:
            instance_id = self.rng.choice(found).instance_id
            self.story.add(f"remove {instance_id}")
            self.witness.may_go.add(instance_id)
            delete = self.world.deletion.delete_instance
            self._ask(partial(delete, instance_id, force=True, dry_run=False))

    async def _change_data(self) -> None:
        """Clients write to an instance."""
        if (instance := self._one_instance()) is not None:
            self._change(instance.instance_id)

    def _change(self, instance_id: str) -> None:
        data = self.world.root / "instances" / instance_id / "data"
        if self.world.disk.exists(data):
            self.story.add(f"change {instance_id}")
            self.witness.changes[instance_id] += 1
            self.world.disk.write(data / "steps", CHANGED)

    async def _reset(self) -> None:
        if (instance := self._one_instance()) is not None:
            instance_id = instance.instance_id
            self._change(instance_id)
            self.story.add(f"reset {instance_id}")
            self.witness.resets[instance_id] += 1
            changes = self.witness.changes[instance_id]

            async def work() -> None:
                try:
                    await self.world.resetting.reset(instance_id, force=True)
                    self.witness.look_at_reset(instance, changes)
                finally:
                    self.witness.resets[instance_id] -= 1

            self._ask(work, may_conflict=True)

    async def _snapshot(self) -> None:
        if (instance := self._one_instance()) is not None:
            self.story.add(f"snapshot {instance.instance_id}")

            async def work() -> None:
                make = self.world.instance_snapshots.snapshot
                state = await make(instance.instance_id, force=self.rng.random() < 0.5)
                self.witness.snapshots.add(state.state_id)

            self._ask(work, may_conflict=True)

    async def _lose_power(self) -> None:
        self.witness.lose_power()
        await self.world.lose_power()
        self.witness.look_after_outage()
        self.world.start_engine()
        await self.world.run_engine()

    async def _remove_state(self) -> None:
        if state_id := self._one_state():
            force, recurse = self.rng.random() < 0.3, self.rng.random() < 0.5
            self.story.add(f"remove {state_id} {force=} {recurse=}")
            delete = self.world.deletion.delete_state
            self.witness.states_may_go.add(state_id)

            async def work() -> None:
                # With everything that is made from it until then.
                with self.witness.removing(tree=recurse, force=force):
                    await delete(state_id, recurse=recurse, force=force, dry_run=False)

            self._ask(work, may_conflict=True)

    async def _warm(self) -> None:
        if state_id := self._one_state():
            number = self.rng.randint(0, 3)
            self.story.add(f"keep {number} of {state_id} warm")
            self._ask(partial(self.world.pool.want, state_id, number))

    async def _change_the_cache(self) -> None:
        size = self.rng.choice((None, 45, 70, 100))
        self.story.add(f"the cache may have {size} bytes")
        self.witness.cache_was_small |= size is not None
        self.world.shrink(size)

    async def _wait_long(self) -> None:
        await asyncio.sleep(self.rng.choice((10, 40, 250)))

    async def _be_killed(self) -> None:
        self.world.fate.kill_after(self.rng.randint(0, 60))

    async def _stop(self) -> None:
        await self.world.stop_engine()
        self.world.fate.alive = False

    async def _fail(self) -> None:
        self.world.fate.fail_after(self.rng.randint(0, 12), self.rng.choice((1, 1, 3)))

    async def _lose_a_server(self) -> None:
        if servers := self.world.runtime.running:
            server = self.rng.choice(servers)
            self.story.add(f"the server {server.runtime_id} dies")
            self.witness.befall_all()
            self.witness.dead_servers.add(server.handle)
            self.world.runtime.kill(server)

    def _one_job(self) -> str | None:
        jobs = self.world.at_once(self.world.queue.jobs())
        return self.rng.choice(jobs).job_id if jobs else None

    def _one_instance(self) -> Instance | None:
        found = self.world.at_once(self.world.store.instances())
        return self.rng.choice(found) if found else None

    def _one_state(self) -> str | None:
        states = self.world.at_once(self.world.store.states())
        return self.rng.choice(states).state_id if states else None

    # How it is done

    def _ask(
        self,
        work: Callable[[], Awaitable[object]],
        *,
        may_conflict: bool = False,
        may_be_wrong: bool = False,
    ) -> None:
        """Have a client ask for something, and hear how it ends."""

        async def asking() -> None:
            failures, dead = self.world.fate.failures, len(self.witness.dead_servers)
            try:
                await work()
            except NotFoundError:
                return  # it was removed meanwhile
            except PgstrataError as error:
                excused = self.world.fate.failures > failures or error.code == "engine_stopping"
                excused |= may_conflict and error.code == "conflict"
                died = len(self.witness.dead_servers) > dead
                excused |= died and isinstance(error, ServerError)
                excused |= self.witness.cache_was_small and error.code.startswith("cache_")
                excused |= may_be_wrong and error.code in ("conflict", "invalid_argument")
                if not excused:
                    raise AssertionError(f"a client is told: {error}") from error
            except DeadError:
                return

        client = asyncio.create_task(asking(), name="client")
        self._clients.add(client)

    def _check_clients(self) -> None:
        for client in [one for one in self._clients if one.done()]:
            self._clients.discard(client)
            if not client.cancelled() and (error := client.exception()):
                raise error

    async def _survive(self) -> None:
        """Start another engine if this one is dead."""
        self._check_clients()
        if not self.world.fate.alive:
            await self.world.restart()
        if self.witness.broken:
            raise self.witness.broken

    async def _rest(self) -> None:
        """Let everything come to an end, with nothing that befalls it any more."""
        self.world.fate.disarm()
        await self._survive()
        await within(_LONG, lambda: not self.world.coordinator.busy, "jobs have not ended")
        await within(_LONG, self._nobody_asks, "clients still wait")
        if self.witness.failed:
            # What could not be tidied up is left to the next engine.
            await self.world.stop_engine()
            await self.world.restart()
        # No lease ends from then on, so that nothing is being removed while all is looked at.
        await asyncio.sleep(75)
        await self.world.pool.join()
        await self.world.settling.join()
        await self.world.trash.join()
        self.witness.look_at_rest()

    def _nobody_asks(self) -> bool:
        self._check_clients()
        return not self._clients

    async def _remove_everything(self) -> None:
        world, deletion = self.world, self.world.deletion
        for instance in world.at_once(world.store.instances()):
            self.witness.may_go.add(instance.instance_id)
            with suppress(NotFoundError):  # its time was up meanwhile
                await deletion.delete_instance(instance.instance_id, force=True, dry_run=False)
        while state_id := self._one_state():
            self.witness.states_may_go.add(state_id)
            await deletion.delete_state(state_id, recurse=True, force=False, dry_run=False)
        while job_id := self._one_job():
            self.witness.deleted.add(job_id)
            await world.manager.delete(job_id, force=False, dry_run=False)
        await world.pool.join()
        await world.settling.join()
        await world.trash.join()
        self.witness.look_at_rest()


def _do_nothing(_world: World) -> None:
    """Spoil nothing."""


def live(seed: int, *, told: bool = False, meddle: Meddling = _do_nothing) -> Outcome:
    """Live through the history of a seed. It always takes the same course."""
    rng = Random(seed)
    with simulated(rng) as runner, warnings.catch_warnings():
        # What a killed engine had still before it is never done.
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        loop = runner.get_loop()
        # What ends badly and nobody waits for is heard of in the log, too.
        loop.set_exception_handler(lambda _loop, _context: None)
        history = History(rng, told=told, meddle=meddle)
        with _hearing(history.witness.faults):
            finding = None
            try:
                runner.run(history.run())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong
                finding = Finding(seed, error, loop.time())
        runner.run(history.world.bury())
    return Outcome(finding, history.story.digest, history.witness.looks)


@contextmanager
def _hearing(faults: list[str]) -> Iterator[None]:
    """Hear what engines say is wrong with themselves, and nothing else of what they log."""
    log = logging.getLogger("pgstrata")
    before = log.level, log.propagate
    ear = _Faults(faults)
    log.addHandler(ear)
    log.setLevel(logging.ERROR)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(ear)
        log.level, log.propagate = before
