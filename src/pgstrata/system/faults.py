"""Fault points: the places where a test can make the engine die or a step fail.

Whatever a kill may cut off (a write, a rename, a spawn, a commit) is a *step*, done inside
``step(name)``. Each step has two points, ``name.before`` and ``name.after``. Nothing happens there
unless the engine's environment says so; ``CONTRIBUTING.md`` tells how. All steps are declared here,
and the resilience tests kill the engine at every one of them.
"""

import errno
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from types import TracebackType

from pgstrata.errors import InvalidArgumentError

STEPS = frozenset(
    {
        "access.remove",
        "access.rename",
        "access.write",
        "database.create",
        "database.migrate",
        "directory.make",
        "engine.lock",
        "engine_json.remove",
        "initdb",
        "locks.remove",
        "private_file.rename",
        "private_file.write",
        "program.spawn",
        "queue.add",
        "queue.append",
        "queue.apply",
        "queue.remove",
        "queue.request_cancel",
        "server.answer",
        "server.checkpoint",
        "server.forget",
        "server.freeze",
        "server.resume",
        "server.log",
        "server.signal",
        "server.spawn",
        "statefs.clear",
        "statefs.copy",
        "statefs.delete",
        "statefs.hide",
        "statefs.hold",
        "statefs.layer",
        "statefs.link",
        "statefs.make_data",
        "statefs.make_place",
        "statefs.marker.sync",
        "statefs.marker.write",
        "statefs.mount",
        "statefs.purge",
        "statefs.show",
        "statefs.snapshot",
        "statefs.sync",
        "statefs.sync_directory",
        "statefs.unmount",
        "store.add_instance",
        "store.add_state",
        "store.bind_name",
        "store.clear_build_leases",
        "store.end_build",
        "store.extend",
        "store.lease_build",
        "store.note_eviction",
        "store.pin",
        "store.remove_all",
        "store.remove_instance",
        "store.remove_state",
        "store.unbind_name",
    }
)
"""Every step there is."""

FAULTS = "PGSTRATA_FAULTS"
"""What happens where: ``POINT=ACTION@N`` (the Nth time; 1 when left out), separated by commas.
``N+`` means the Nth time and ever after. An action is ``kill`` or an errno's name."""

TRACE = "PGSTRATA_FAULTS_TRACE"
"""A file to which each point is appended, one a line, as it is reached."""

WHILE = "PGSTRATA_FAULTS_WHILE"
"""A file; points are counted only while it exists."""

Reach = Callable[[str], None]
"""Does what is to be done at a point."""

_RULE = re.compile(r"(?P<point>[a-z_.]+)=(?P<action>kill|E[A-Z0-9]+)(@(?P<nth>\d+)(?P<on>\+)?)?")
_UNARMED = nullcontext()
_reach: ContextVar[Reach | None] = ContextVar("reach", default=None)


def step(name: str) -> AbstractContextManager[None]:
    """The context in which a step is done; its second point is left out when it raises."""
    reach = _reach.get()
    return _UNARMED if reach is None else _Step(name, reach)


def arm(reach: Reach | None) -> None:
    """Have ``reach`` called at every point that this context comes by, with its tasks and threads.

    None for nothing.
    """
    _reach.set(reach)


def arm_from(environment: Mapping[str, str]) -> None:
    """Do what the environment's variables say, if anything. Raises ``InvalidArgumentError``."""
    rules = [_Rule(text) for text in environment.get(FAULTS, "").split(",") if text]
    trace = environment.get(TRACE)
    if not rules and trace is None:
        return
    only_while = environment.get(WHILE)
    arm(
        _Plan(
            rules,
            trace=None if trace is None else Path(trace),
            only_while=None if only_while is None else Path(only_while),
        ).reached
    )


class _Step:
    """A step while something is armed."""

    def __init__(self, name: str, reach: Reach) -> None:
        if name not in STEPS:
            raise KeyError(f"the step {name} is not declared in pgstrata.system.faults")
        self._name = name
        self._reach = reach

    def __enter__(self) -> None:
        self._reach(f"{self._name}.before")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._reach(f"{self._name}.after")


class _Rule:
    """One ``POINT=ACTION@N``."""

    def __init__(self, text: str) -> None:
        found = _RULE.fullmatch(text)
        if (
            found is None
            or found["point"].rpartition(".")[0] not in STEPS
            or not (found["action"] == "kill" or hasattr(errno, found["action"]))
        ):
            raise InvalidArgumentError(
                f"{FAULTS} holds {text!r}",
                remedy="write POINT=kill@N or POINT=ENOSPC@N, with a point declared in faults.py",
            )
        self.point = found["point"]
        self._action = _die if found["action"] == "kill" else partial(_fail, found["action"])
        self._nth = int(found["nth"] or 1)
        self._ever_after = found["on"] is not None

    def apply(self, times: int) -> None:
        """Act, if the point's being reached for that many times is what is waited for."""
        if times == self._nth or (self._ever_after and times > self._nth):
            self._action()


class _Plan:
    """What an environment asks for. Points are reached from several threads."""

    def __init__(self, rules: list[_Rule], *, trace: Path | None, only_while: Path | None) -> None:
        self._rules = rules
        self._trace = trace
        self._only_while = only_while
        self._times: Counter[str] = Counter()
        self._one_at_a_time = threading.Lock()

    def reached(self, point: str) -> None:
        with self._one_at_a_time:
            if self._only_while is not None and not self._only_while.exists():
                return
            self._times[point] += 1
            if self._trace is not None:
                with self._trace.open("a") as file:
                    file.write(f"{point}\n")
            for rule in self._rules:
                if rule.point == point:
                    rule.apply(self._times[point])


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fail(name: str) -> None:
    number: int = getattr(errno, name)
    raise OSError(number, os.strerror(number))
