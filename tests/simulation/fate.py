"""What befalls an engine at the calls of its adapters: delays, failures, and its sudden end."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, Protocol, TypeVar

from pgstrata.dbms.memory import MemoryDbms
from pgstrata.domain.instance import Instance, Server
from pgstrata.domain.job import Transition
from pgstrata.domain.state import State
from pgstrata.errors import DiskFullError, ServerError
from pgstrata.runtime.base import ToolCommand
from pgstrata.system.output import OutputSink

T = TypeVar("T")


class DeadError(BaseException):
    """Raised in all that a killed engine still tries: nobody in it may go on."""


class Story:
    """Every call that was made, in order: as a digest, and as text for who wants to read it."""

    def __init__(self, *, told: bool = False) -> None:
        self._digest = sha256()
        self._told = told

    def add(self, text: str) -> None:
        line = f"{asyncio.get_running_loop().time():12.4f} {text}"
        self._digest.update(line.encode())
        if self._told:
            print(line)

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()[:16]


FAILURES: dict[str, Callable[[], Exception]] = {
    "queue": lambda: DiskFullError("the store's disk is full"),
    "store": lambda: DiskFullError("the store's disk is full"),
    "statefs": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "runtime": lambda: ServerError("it did not start"),
    "dbms": lambda: ServerError("it does not answer"),
}

CAN_FAIL = {
    "queue": frozenset({"add", "apply", "append", "request_cancel", "remove"}),
    "store": frozenset(
        {"add_state", "lease_build", "end_build", "remove_state", "remove_all", "add_instance"}
        | {"replace_instance", "remove_instance", "extend", "set_warm"}
        | {"begin_reset", "begin_pause"}
    ),
    "statefs": frozenset({"create", "clone", "publish", "snapshot"}),
    "runtime": frozenset({"start", "initialise"}),
    "dbms": frozenset({"flush", "connections", "settle"}),
}
"""The calls that may fail: what writes, and what needs a server."""

_READS = frozenset(
    {"get", "jobs", "events", "tasks", "count_events", "unfinished", "unreadable", "stdin"}
    | {"finished_alike", "surplus", "state", "states", "existing_states", "evidence", "failures"}
    | {"tree", "instance", "instances", "instance_of_job", "instance_named", "name", "state_named"}
    | {"ports_of_names", "count_instances", "expired", "next_expiry", "warm_states"}
    | {"build_leases", "count_states", "evictable", "marker", "volumes", "usage", "altered"}
    | {"alive", "owner_of", "resolve", "defect", "start_settings", "lost_in_crash", "lets_in"}
    | {"check_snapshot", "flush", "connections", "damage", "has_others"}
)
"""The calls that change nothing: all is as it was before."""

_ALL_OR_NOTHING = ("clone", "start")
"""What leaves nothing behind when it is cut off, by its port's contract."""


class Sees(Protocol):
    """Who sees what happens."""

    def look(self, port: str) -> None:
        """A call of an adapter changed something."""

    def fail(self) -> None:
        """A call of an adapter fails, for no fault of whoever makes it."""

    def building(self, server: Server, command: ToolCommand) -> AbstractContextManager[None]:
        """A tool runs."""


class Fate:
    """Whether an engine lives, and what befalls it at which call."""

    def __init__(self, rng: Random, story: Story, sees: "Sees") -> None:
        self.alive = True
        self._rng = rng
        self._story = story
        self._sees = sees
        self._calls_to_kill: int | None = None
        self._calls_to_fail: int | None = None
        self._times = 0
        self.failures = 0
        """How many calls failed so far."""

    def kill_after(self, calls: int) -> None:
        self._calls_to_kill = calls

    def fail_after(self, calls: int, times: int) -> None:
        """Let so many calls that can fail do so, one after the other."""
        self._calls_to_fail, self._times = calls, times

    def disarm(self) -> None:
        self._calls_to_kill = self._calls_to_fail = None

    def kill(self) -> None:
        self._story.add("the engine is killed")
        self.alive = False

    def check(self) -> None:
        if not self.alive:
            raise DeadError

    async def meet(
        self, port: str, name: str, call: Callable[[], Awaitable[T]], about: object = None
    ) -> T:
        """One call of an adapter, with what befalls it before and after."""
        self.check()
        await self._take_time()
        self._may_be_killed()
        self._may_fail(port, name)
        self._story.add(f"{port}.{name} {_in_short(about)}")
        result = await call()
        if name not in _READS:
            self._sees.look(port)
        self.check()  # one that waited may have been overtaken by its engine's end
        if name not in _ALL_OR_NOTHING:
            await self._take_time()
        self._may_be_killed()
        return result

    async def _take_time(self) -> None:
        chance = self._rng.random()
        await asyncio.sleep(0 if chance < 0.85 else chance**40)
        self.check()

    def _may_be_killed(self) -> None:
        if self._calls_to_kill is not None:
            self._calls_to_kill -= 1
            if self._calls_to_kill < 0:
                self.kill()
        self.check()

    def _may_fail(self, port: str, name: str) -> None:
        if self._calls_to_fail is None or name not in CAN_FAIL[port]:
            return
        self._calls_to_fail -= 1
        if self._calls_to_fail >= 0:
            return
        self._times -= 1
        if self._times <= 0:
            self._calls_to_fail = None
        self.failures += 1
        self._sees.fail()
        self._story.add(f"{port}.{name} fails")
        raise FAILURES[port]()


def _in_short(about: object) -> str:
    match about:
        case Server():
            return about.title
        case Transition():
            return f"{about.job.job_id} {about.job.status}"
        case Path() | str():
            return str(about)
        case State():
            return about.state_id
        case Instance():
            return about.instance_id
    return ""


class Fated:
    """An adapter whose every call meets its engine's fate."""

    def __init__(self, port: str, adapter: object, fate: Fate) -> None:
        self._port = port
        self._adapter = adapter
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._adapter, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            work = partial(found, *args, **kwargs)
            return await self._fate.meet(self._port, name, work, *args[:1])

        setattr(self, name, call)  # what is asked for once is asked for often
        return call


class FatedRuntime(Fated):
    """A runtime whose tools are seen."""

    def __init__(self, adapter: object, fate: Fate, sees: Sees) -> None:
        super().__init__("runtime", adapter, fate)
        self._sees = sees

    async def run(self, server: Server, command: ToolCommand, output: OutputSink) -> object:
        with self._sees.building(server, command):
            run = partial(self._adapter.run, server, command, output)  # type: ignore[attr-defined]
            return await self._fate.meet("runtime", "run", run, server)


class FatedDbms(Fated):
    """A dbms of whose engine nothing is tidied up once it is dead."""

    @contextmanager
    def hide_server(self, data_dir: Path) -> Iterator[None]:
        dbms: MemoryDbms = self._adapter  # type: ignore[assignment]
        try:
            with dbms.hide_server(data_dir):
                yield
        finally:
            if not self._fate.alive:
                dbms.forget_server(data_dir)
