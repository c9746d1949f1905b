"""Fault points, where a test can kill the engine or make a step fail.

Everything that a kill may interrupt (a write, a rename, a spawn, a commit) is a *step*, done inside
``step(name)``. Each step has two points, ``name.before`` and ``name.after``. Nothing happens there
unless the engine's environment says so; see ``CONTRIBUTING.md``. All steps are declared here, and
the resilience tests kill the engine at every one of them.
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
        "adoption.begin",
        "adoption.end",
        "access.make",
        "access.remove",
        "access.write",
        "database.checkpoint",
        "database.create",
        "database.migrate",
        "database.sync",
        "database.vacuum",
        "directory.make",
        "engine.lock",
        "engine_json.remove",
        "initdb",
        "instance_note.waiting",
        "instance_note.write",
        "locks.remove",
        "password.remove",
        "private_file.rename",
        "private_file.write",
        "program.spawn",
        "queue.add",
        "queue.append",
        "queue.apply",
        "queue.remove",
        "queue.request_cancel",
        "reserve.give_up",
        "reserve.keep",
        "server.answer",
        "server.checkpoint",
        "server.forget",
        "server.freeze",
        "server.resume",
        "server.let_in",
        "server.log",
        "server.settle",
        "server.signal",
        "server.spawn",
        "statefs.clear",
        "statefs.content.write",
        "statefs.copy",
        "statefs.delete",
        "statefs.digest.write",
        "statefs.hide",
        "statefs.hold",
        "statefs.layer",
        "statefs.link",
        "statefs.make_data",
        "statefs.make_volume",
        "statefs.marker.sync",
        "statefs.marker.write",
        "statefs.mount",
        "statefs.purge",
        "statefs.show",
        "statefs.snapshot",
        "statefs.sync",
        "statefs.sync_directory",
        "statefs.unmount",
        "statefs.upgrade",
        "store.add_instance",
        "store.add_state",
        "store.begin_pause",
        "store.begin_reset",
        "store.bind_name",
        "store.clear_build_leases",
        "store.end_build",
        "store.extend",
        "store.lease_build",
        "store.record_eviction",
        "store.pin",
        "store.remove_all",
        "store.remove_instance",
        "store.remove_state",
        "store.set_warm",
        "store.replace_instance",
        "store.set_server",
        "store_image.mount",
        "store_image.remove",
        "store_image.resize",
        "store_image.show",
        "store.unbind_name",
    }
)
"""Every step."""

FAULTS = "PGSTRATA_FAULTS"
"""The faults, separated by commas: ``POINT=ACTION@N`` for the Nth time (by default the first), or
``N+`` from the Nth time on. An action is ``kill`` or an errno's name."""

TRACE = "PGSTRATA_FAULTS_TRACE"
"""A file to which each point is appended as it is reached, one per line."""

WHILE = "PGSTRATA_FAULTS_WHILE"
"""A file; points are counted only while it exists."""

Reach = Callable[[str], None]
"""Called with the name of each point that is reached."""

_RULE = re.compile(r"(?P<point>[a-z_.]+)=(?P<action>kill|E[A-Z0-9]+)(@(?P<nth>\d+)(?P<on>\+)?)?")
_UNARMED = nullcontext()
_reach: ContextVar[Reach | None] = ContextVar("reach", default=None)


def step(name: str) -> AbstractContextManager[None]:
    """The context in which a step is done; its second point is not reached if it raises."""
    reach = _reach.get()
    return _UNARMED if reach is None else _Step(name, reach)


def arm(reach: Reach | None) -> None:
    """Have ``reach`` called at every point in this context, including its tasks and threads.

    None disarms them.
    """
    _reach.set(reach)


def arm_from(environment: Mapping[str, str]) -> None:
    """Arm the faults in the environment, if any. Raises ``InvalidArgumentError``."""
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
                f"{FAULTS} contains {text!r}, which is invalid",
                remedy="write POINT=kill@N or POINT=ENOSPC@N, with a point declared in faults.py",
            )
        self.point = found["point"]
        self._action = _die if found["action"] == "kill" else partial(_fail, found["action"])
        self._nth = int(found["nth"] or 1)
        self._ever_after = found["on"] is not None

    def apply(self, times: int) -> None:
        """Act, if the rule is for the point being reached that many times."""
        if times == self._nth or (self._ever_after and times > self._nth):
            self._action()


class _Plan:
    """The faults of an environment. Points are reached from several threads."""

    def __init__(self, rules: list[_Rule], *, trace: Path | None, only_while: Path | None) -> None:
        self._rules = rules
        self._trace = trace
        self._only_while = only_while
        self._times: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reached(self, point: str) -> None:
        with self._lock:
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
