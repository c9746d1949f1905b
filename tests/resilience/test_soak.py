"""Hundreds of jobs from several clients, cancelled and killed on the way: nothing is lost."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from tests.resilience.audit import Rows, leftovers
from tests.resilience.engine import Engine, GoneError, Json
from tests.resilience.kills import rows_of, tear_down

T = TypeVar("T")

CLIENTS = 6
SEED = 3
CANCELLED_ONE_IN = 7
"""Of which some come too late: about a tenth of all jobs end cancelled."""

BEGIN = "create table t as select 0 as n"


def recipe_of(chance: random.Random, number: int) -> list[int]:
    """The numbers that the steps insert: often the same, sharing beginnings, or like no other."""
    if chance.random() < 0.1:
        return [1, 1000 + number]
    return [chance.randint(1, 3) for _ in range(chance.randint(0, 3))]


class Soak:
    """One engine that is killed now and then, and clients that bear it."""

    def __init__(self, store: Path, *, jobs: int, kills: int) -> None:
        self.engine = Engine(store)
        self.jobs = jobs
        self.kills = kills
        self.ended: Counter[str] = Counter()
        self.cancelled = 0
        self.states: dict[tuple[int, ...], str] = {}
        self.wrong: list[str] = []
        self._up = threading.Condition()
        self._generation = 0

    def client(self, number: int) -> None:
        """Have a share of the jobs done, one after the other."""
        chance = random.Random(SEED * 1000 + number)
        for turn in range(number, self.jobs, CLIENTS):
            try:
                self.one_job(chance, turn)
            except Exception as error:  # noqa: BLE001 - told at the end, with all others
                self.wrong.append(f"job {turn}: {type(error).__name__}: {error}")

    def one_job(self, chance: random.Random, turn: int) -> None:
        numbers = recipe_of(chance, turn)
        words = [BEGIN, *(f"insert into t values ({number})" for number in numbers)]
        arguments = [word for text in words for word in ("-c", text)]
        job_id = self.bearing(lambda: self.engine.submit(*arguments))
        cancel = turn % CANCELLED_ONE_IN == 0
        if cancel:
            self.cancel_after(job_id, chance.randint(0, 12))
        job = self.bearing(lambda: self.engine.ended(job_id))
        self.check(job, numbers, cancelled=cancel)
        with self._up:
            self.ended[job["status"]] += 1
            self._up.notify_all()

    def cancel_after(self, job_id: str, events: int) -> None:
        """Cancel a job once it has said so much."""

        def heard() -> None:
            for number, _ in enumerate(self.engine.events(job_id)):
                if number >= events:
                    return

        self.bearing(heard)
        self.bearing(lambda: self.engine.ask("POST", f"/v1/prepare-jobs/{job_id}/cancel"))

    def check(self, job: Json, numbers: Sequence[int], *, cancelled: bool) -> None:
        if job["status"] == "failed":
            assert cancelled, job["error"]
            assert job["error"]["code"] == "cancelled", job["error"]
            self.cancelled += 1
            return
        result = job["result"]
        assert rows_of(job) == [0, *numbers]
        assert self.states.setdefault(tuple(numbers), result["state_id"]) == result["state_id"]
        self.bearing(
            lambda: (
                self.engine.has(f"/v1/instances/{result['instance_id']}")
                and self.engine.ask("DELETE", f"/v1/instances/{result['instance_id']}?force=true")
            )
        )

    def bearing(self, work: Callable[[], T]) -> T:
        """Do something with the engine, again with the next one when that goes away."""
        while True:
            generation = self._generation
            try:
                return work()
            except GoneError:
                with self._up:
                    assert self._up.wait_for(partial(self.is_past, generation), 120)

    def is_past(self, generation: int) -> bool:
        return self._generation > generation

    def is_due(self, kill: int) -> bool:
        """Whether so many jobs have ended that it is time for the ``kill``-th kill."""
        return self.ended.total() + len(self.wrong) >= kill * self.jobs // (self.kills + 1)

    def killer(self) -> None:
        """Kill the engine whenever another part of the jobs is done."""
        for kill in range(1, self.kills + 1):
            with self._up:
                self._up.wait_for(partial(self.is_due, kill), 600)
            self.engine.kill()
            started = self.engine.start()
            with self._up:
                self._generation += 1
                self._up.notify_all()
            assert started, self.engine.said[-20:]


@pytest.mark.parametrize(("jobs", "kills"), [(40, 2), pytest.param(510, 5, marks=pytest.mark.slow)])
def test_nothing_is_lost_in_hundreds_of_jobs_with_cancels_and_kills(
    jobs: int, kills: int, reachable_dir: Path, tally: Callable[[str], None]
) -> None:
    store = reachable_dir / "soak"
    soak = Soak(store, jobs=jobs, kills=kills)
    try:
        assert soak.engine.start(), soak.engine.said
        with ThreadPoolExecutor(CLIENTS + 1) as threads:
            killing = threads.submit(soak.killer)
            list(threads.map(soak.client, range(CLIENTS)))
            killing.result()
        finish(soak)
        left = leftovers(store, soak.engine.pid)
        tally(
            f"soak: {soak.ended.total()} jobs, {soak.cancelled} of them cancelled, "
            f"{kills} kills of the engine, {len(soak.wrong)} went wrong, {len(left)} leftovers"
        )
        assert soak.wrong == []
        assert left == []
        assert soak.ended.total() == jobs
        assert soak.cancelled > 0
        soak.engine.stop()
    finally:
        if soak.engine.process is not None:
            soak.engine.kill()
        tear_down(store)


def finish(soak: Soak) -> None:
    """Let jobs end whose clients were never told of them, and remove their instances."""
    for job in soak.engine.ask("GET", "/v1/prepare-jobs"):
        soak.engine.ended(job["job_id"])
    for instance_id in Rows(soak.engine.store).instances:
        soak.engine.ask("DELETE", f"/v1/instances/{instance_id}?force=true")
