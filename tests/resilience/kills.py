"""What an engine is killed in the middle of, and what must be so after it was started again."""

import itertools
import os
import shutil
import signal
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import psycopg

from pgstrata.statefs import mounts, trees
from pgstrata.system import faults
from tests.resilience.audit import Rows, inhabitants, leftovers, wait_for_ends
from tests.resilience.engine import GoneError, Json, RefusedError
from tests.resilience.forked import ForkedEngine


class Kill(NamedTuple):
    """A point, and the how many-eth time it is reached."""

    point: str
    time: int

    @property
    def step(self) -> str:
        """The step that the point is before or after."""
        return self.point.rpartition(".")[0]

    def __str__(self) -> str:
        return f"{self.point}@{self.time}"


class Case(NamedTuple):
    """An engine killed in a scenario, and perhaps once more while it starts again."""

    scenario: "type[Scenario]"
    kill: Kill
    again: Kill | None = None

    def __str__(self) -> str:
        where = self.scenario.__name__
        then = "" if self.again is None else f", then at {self.again} while it recovers"
        return f"{where} killed at {self.kill}{then}"


class Chain:
    """A store, and one engine after the other on it; each recovers from the one before."""

    def __init__(self, directory: Path, backend: str) -> None:
        directory.mkdir()
        directory.chmod(0o711)
        self.directory = directory
        self.backend = backend
        self.store = directory / "store"
        self.gate = directory / "gate"
        self.numbers = itertools.count()
        self.engine = ForkedEngine(self.store, backend)
        self.environment_now: dict[str, str] = {}

    def environment(self, kill: Kill | None, *, gated: bool = True) -> dict[str, str]:
        """For an engine to die at a point; ``gated``: counted only while the gate is there."""
        rule = {} if kill is None else {faults.FAULTS: f"{kill.point}=kill@{kill.time}"}
        return rule | ({faults.WHILE: str(self.gate)} if gated else {})

    def trace(self, scenario: "type[Scenario]") -> list[str]:
        """The points that a scenario comes by."""
        doing = scenario(self)
        file = self.directory / "trace"
        file.write_text("")
        self.end_engine()
        environment = self.environment(None) | {faults.TRACE: str(file)}
        doing.begin(environment)
        self.gate.touch()
        with suppress(GoneError):
            doing.act()
        self.gate.unlink()
        points = file.read_text().split()
        if self.engine.process is None:
            self.start({})
        doing.check()
        self.check_clean()
        return points

    def trace_recovery(self, scenario: "type[Scenario]", kill: Kill) -> list[str]:
        """The points that an engine comes by that starts after a kill, until all is well again."""
        file = self.directory / "trace"
        doing = self._killed(scenario, kill)
        assert doing is not None, f"{scenario.__name__} never came to {kill}"
        file.write_text("")
        self.start({faults.TRACE: str(file)})
        doing.check()
        points = file.read_text().split()
        self.check_clean()
        return points

    def survive(self, case: Case, following: Case | None = None) -> bool:
        """Whether the engine was killed there; all must be well afterwards in any case.

        The engine that brings all to its end is ready to be killed for the ``following`` case.
        """
        doing = self._killed(case.scenario, case.kill)
        if doing is None:
            return False
        died = True
        if case.again is not None:
            environment = self.environment_now = self.environment(case.again, gated=False)
            with suppress(GoneError):
                if self.engine.start(environment):
                    doing.check()
            died = self._is_dead()
        if self.engine.process is None:
            self.start(self.environment(None if following is None else following.kill))
        doing.check()
        self.check_clean()
        return died

    def start(self, environment: dict[str, str]) -> None:
        """Have an engine with this environment, unless there is one."""
        if self.engine.process is not None and self.environment_now == environment:
            return
        self.end_engine()
        assert self.engine.start(environment), "\n".join(self.engine.said[-20:])
        self.environment_now = environment

    def check_clean(self) -> None:
        """Nothing is left over, and what rows say is so; then remove all instances and states."""
        if found := leftovers(self.store, self.engine.pid):
            raise AssertionError("; ".join(found))
        for instance_id in Rows(self.store).instances:
            self.engine.ask("DELETE", f"/v1/instances/{instance_id}?force=true")
        for state in self.engine.ask("GET", "/v1/states"):
            if state["parent_state_id"] is None:
                self.engine.ask("DELETE", f"/v1/states/{state['state_id']}?recurse=true")

    def end_engine(self) -> None:
        if self.engine.process is not None:
            self.engine.kill()

    def close(self) -> None:
        """Leave nothing running and nothing on the disk, whatever happened."""
        self.end_engine()
        tear_down(self.store)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _killed(self, scenario: "type[Scenario]", kill: Kill | None) -> "Scenario | None":
        """Do a scenario until the engine is dead; None when that never happened."""
        doing = scenario(self)
        self.gate.unlink(missing_ok=True)
        doing.begin(self.environment(kill))
        self.gate.touch()
        try:
            with suppress(GoneError):
                doing.act()
        finally:
            self.gate.unlink()
        if self._is_dead():
            return doing
        doing.check()
        self.check_clean()
        self.end_engine()
        return None

    def _is_dead(self) -> bool:
        process = self.engine.process
        if process is None:
            return True
        # One that was killed does not answer, and that may be known before it is gone.
        with suppress(GoneError):
            self.engine.ask("GET", "/v1/health")
            return False
        assert self.engine.wait() == -signal.SIGKILL, "\n".join(self.engine.said[-20:])
        return True


class Scenario(ABC):
    """Something to do with an engine, and how to see that it came to a good end."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.engine = chain.engine
        self.number = next(chain.numbers)

    def begin(self, environment: dict[str, str]) -> None:
        """Start the engine and have all in place; nothing is killed yet."""
        self.chain.start(environment)

    @abstractmethod
    def act(self) -> None:
        """Do it. Raises ``GoneError`` when the engine goes away."""

    @abstractmethod
    def check(self) -> None:
        """With an engine that runs again, see that it ends as it should."""


class Start(Scenario):
    """An engine starts on a directory that is not there yet."""

    def begin(self, environment: dict[str, str]) -> None:
        self.chain.end_engine()
        tear_down(self.chain.store)
        trees.delete(self.chain.store)  # on btrfs, some of it is read-only
        self.environment = environment

    def act(self) -> None:
        self.chain.environment_now = self.environment
        self.engine.start(self.environment)

    def check(self) -> None:
        assert self.engine.ask("GET", "/v1/prepare-jobs") == []


class Stop(Scenario):
    """An engine is told to stop."""

    def act(self) -> None:
        assert self.engine.process is not None
        self.engine.process.send_signal(signal.SIGTERM)
        self.engine.wait()

    def check(self) -> None:
        pass


class Build(Scenario):
    """Two steps on a base state that is there."""

    def __init__(self, chain: Chain) -> None:
        super().__init__(chain)
        self.job_id: str | None = None
        self.recipe: Sequence[str] = (
            "-c",
            f"create table t as select {self.number} as n",
            "-c",
            f"insert into t select {self.number} from t",
        )
        self.content = [self.number, self.number]

    def begin(self, environment: dict[str, str]) -> None:
        super().begin(environment)
        self.have_a_base()

    def have_a_base(self) -> None:
        if not any(self.chain.store.glob("bases/*/data")):
            job = self.engine.ended(self.engine.submit("-c", "select 'the first'"))
            self.engine.ask("DELETE", f"/v1/instances/{job['result']['instance_id']}?force=true")

    def act(self) -> None:
        self.job_id = self.engine.submit(*self.recipe)
        self.engine.ended(self.job_id)

    def check(self) -> None:
        job = self.engine.ended(self.found())
        assert job["status"] == "succeeded", job
        assert rows_of(job) == self.content
        states = [state["state_id"] for state in self.engine.ask("GET", "/v1/states")]
        assert states.count(job["result"]["state_id"]) == 1

    def found(self) -> str:
        """The job: the one we were told of, the one that was stored untold, or a new one."""
        if self.job_id is None:
            known = [job["job_id"] for job in self.ours()]
            assert len(known) <= 1
            self.job_id = known[0] if known else self.engine.submit(*self.recipe)
        return self.job_id

    def ours(self) -> list[Json]:
        """The jobs with our recipe."""
        mark = self.recipe[-1]
        jobs: list[Json] = self.engine.ask("GET", "/v1/prepare-jobs")
        return [job for job in jobs if mark in job["prepare_args_normalized"]]


class Cold(Build):
    """The first job of a store: its base state is made, too."""

    def begin(self, environment: dict[str, str]) -> None:
        for place in (self.chain.store / "bases").glob("*"):
            trees.delete(place)  # on btrfs it is read-only
        super().begin(environment)

    def have_a_base(self) -> None:
        pass


class Cached(Build):
    """A job that finds all its states."""

    def begin(self, environment: dict[str, str]) -> None:
        super().begin(environment)
        self.recipe = ("-c", "create table t as select -1 as n")
        self.content = [-1]
        first = self.engine.ended(self.engine.submit(*self.recipe))
        self.engine.ask("DELETE", f"/v1/instances/{first['result']['instance_id']}?force=true")
        self.before = {job["job_id"] for job in self.ours()}

    def ours(self) -> list[Json]:
        before: set[str] = getattr(self, "before", set())
        return [job for job in super().ours() if job["job_id"] not in before]


class Cancel(Build):
    """A job that is cancelled while its second step runs."""

    def __init__(self, chain: Chain) -> None:
        super().__init__(chain)
        sleep = f"do $$ begin raise notice 'on {self.number}'; perform pg_sleep(600); end $$"
        self.recipe = (*self.recipe[:2], "-c", sleep)

    def begin(self, environment: dict[str, str]) -> None:
        super().begin(environment)
        self.job_id = self.engine.submit(*self.recipe)
        for event in self.engine.events(self.job_id):
            if event["type"] == "log" and "on " in event["message"]:
                break

    def act(self) -> None:
        self.engine.ask("POST", f"/v1/prepare-jobs/{self.job_id}/cancel")
        self.engine.ended(self.found())

    def check(self) -> None:
        # A wish that nobody answered may not have been noted.
        self.engine.ask("POST", f"/v1/prepare-jobs/{self.job_id}/cancel")
        job = self.engine.ended(self.found())
        assert job["status"] == "failed", job
        assert job["error"]["code"] == "cancelled"
        outputs = [task["output_state_id"] for task in job["tasks"] if "output_state_id" in task]
        there = {state["state_id"] for state in self.engine.ask("GET", "/v1/states")}
        assert [state in there for state in outputs] == [True, False]


class Remove(Build):
    """A job's instance is named and unnamed; then it, the job's states and the job are removed."""

    def begin(self, environment: dict[str, str]) -> None:
        super().begin(environment)
        self.job_id = self.engine.submit(*self.recipe)
        job = self.engine.ended(self.job_id)
        first, _ = [task["output_state_id"] for task in job["tasks"] if "output_state_id" in task]
        self.name = f"/v1/names/name{self.number}"
        self.binding = {"instance_id": job["result"]["instance_id"]}
        self.removals = (
            self.name,
            f"/v1/instances/{job['result']['instance_id']}?force=true",
            f"/v1/states/{first}?recurse=true",
            f"/v1/prepare-jobs/{self.job_id}",
        )

    def act(self) -> None:
        self.engine.ask("PUT", self.name, self.binding)
        for path in self.removals:
            self.engine.ask("DELETE", path)

    def check(self) -> None:
        for path in self.removals:
            with suppress(RefusedError):
                self.engine.ask("DELETE", path)
            assert not self.engine.has(path.partition("?")[0])


class Reset(Build):
    """An instance that was changed is put back to its state."""

    def begin(self, environment: dict[str, str]) -> None:
        super().begin(environment)
        self.job_id = self.engine.submit(*self.recipe)
        self.before = self.engine.ended(self.job_id)["result"]
        with psycopg.connect(self.before["dsn"], connect_timeout=300) as connection:
            connection.execute("insert into t values (0)")

    def act(self) -> None:
        self.engine.ask("POST", f"/v1/instances/{self.before['instance_id']}/reset?force=true")

    def check(self) -> None:
        [instance] = self.engine.ask("GET", "/v1/instances")
        assert instance["status"] == "active"
        for field in ("instance_id", "dsn"):
            assert instance[field] == self.before[field]
        assert rows_of({"result": instance}) in (self.content, [*self.content, 0])
        self.act()
        assert rows_of({"result": self.before}) == self.content


class Snapshot(Build):
    """What is in an instance is kept as a state, while its server is frozen."""

    more = "insert into t values (0)"

    def begin(self, environment: dict[str, str]) -> None:
        super().begin(environment)
        self.job_id = self.engine.submit(*self.recipe)
        self.before = self.engine.ended(self.job_id)["result"]
        self.name = f"kept{self.number}"
        with psycopg.connect(self.before["dsn"], connect_timeout=60) as connection:
            connection.execute(self.more)

    def act(self) -> None:
        path = f"/v1/instances/{self.before['instance_id']}/snapshot?force=true"
        self.engine.ask("POST", path, {"name": self.name})

    def check(self) -> None:
        content = [*self.content, 0]
        [instance] = self.engine.ask("GET", "/v1/instances")
        assert (instance["status"], instance["dsn"]) == ("active", self.before["dsn"])
        assert rows_of({"result": instance}) == content
        if not self.engine.ask("GET", f"/v1/states?name={self.name}"):
            self.act()
        [state] = self.engine.ask("GET", f"/v1/states?name={self.name}")
        assert (state["pinned"], state["parent_state_id"]) == (True, None)
        going_on = {"image_id": "", "from": self.name}
        job = self.engine.ended(self.engine.submit("-c", "select 1", **going_on))
        assert job["status"] == "succeeded", job
        assert rows_of(job) == content


class SnapshotStopped(Snapshot):
    """The same, while it is stopped, since a crash would lose something."""

    more = "create unlogged table u (i int); insert into t values (0)"


class Replace(Build):
    """An instance takes another's place under its name."""

    def begin(self, environment: dict[str, str]) -> None:
        super().begin(environment)
        self.named = {"instance_name": f"it{self.number}", "replace": True}
        job_id = self.engine.submit(*self.recipe, **self.named)
        self.before = self.engine.ended(job_id)["result"]

    def act(self) -> None:
        self.job_id = self.engine.submit(*self.recipe, **self.named)
        self.engine.ended(self.job_id)

    def check(self) -> None:
        if self.job_id is not None:
            job = self.engine.ended(self.job_id)
            assert job["status"] == "succeeded", job
        for job in self.ours():  # one may have been stored untold
            self.engine.ended(job["job_id"])
        [instance] = self.engine.ask("GET", "/v1/instances")
        assert (instance["status"], instance["dsn"]) == ("active", self.before["dsn"])
        assert rows_of({"result": instance}) == self.content


class Warm(Build):
    """No server is to wait for a state any more."""

    def begin(self, environment: dict[str, str]) -> None:
        super().begin(environment)
        self.job_id = self.engine.submit(*self.recipe)
        self.state_id = self.engine.ended(self.job_id)["result"]["state_id"]

    def act(self) -> None:
        answer = self.engine.ask("PUT", f"/v1/states/{self.state_id}/warm", {"count": 0})
        assert answer["wanted"] == 0

    def check(self) -> None:
        super().check()
        self.act()


SCENARIOS: tuple[type[Scenario], ...] = (
    *(Start, Stop, Reset, Replace, Warm),
    *(Snapshot, SnapshotStopped),
    *(Cold, Build, Cached, Cancel, Remove),
)


def rows_of(job: Json) -> list[int]:
    """What is in the table of a job's instance."""
    with psycopg.connect(job["result"]["dsn"], connect_timeout=300) as connection:
        return [n for (n,) in connection.execute("select n from t").fetchall()]


RUNNING_ON = ("program.spawn.after", "server.spawn.after", "server.signal.after")
"""Points after which something changes although this process does nothing."""


def moments(points: Sequence[str], begin: int = 0, end: int | None = None) -> list[Kill]:
    """The kills for that part of a trace, one for each moment between two steps.

    Where one step follows another at once, the end of one is the beginning of the other.
    """
    times: Counter[str] = Counter()
    kills: list[Kill] = []
    before = ""
    for number, point in enumerate(points[:end]):
        times[point] += 1
        same = point.endswith(".before") and before.endswith(".after") and before not in RUNNING_ON
        if number >= begin and not same:
            kills.append(Kill(point, times[point]))
        before = point
    return kills


def until_it_answers(points: Sequence[str]) -> int:
    """How many points an engine comes by before it tells its clients where it is."""
    backwards = list(reversed(points))
    return len(points) - backwards.index("private_file.rename.after")


def after_common_beginning(points: Sequence[str], others: Sequence[str]) -> int:
    """How many points two traces have in common before they part."""
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(points, others, strict=False))
    return len(list(pairs))


def tear_down(store: Path) -> None:
    """``kill -9`` for every process that works in a store, and no mount left in it."""
    victims = [one for one in inhabitants(store) if one.pid != os.getpid()]
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.kill()
    wait_for_ends(victims, 300)
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if (where := line.split()[1]).startswith(f"{store}/"):
            mounts.unmount(Path(where))
