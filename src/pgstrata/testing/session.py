"""The databases of one run of tests in one process: made, lent, taken back, and told about."""

import shlex
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Any, NamedTuple

import msgspec

from pgstrata import __version__
from pgstrata.client.recipes import Recipe
from pgstrata.client.recipes import state as of_state
from pgstrata.client.synchronous import Client
from pgstrata.domain.plan import StateExecuteTask
from pgstrata.domain.state import State
from pgstrata.errors import (
    CacheFullUnreclaimableError,
    ConflictError,
    DiskFullError,
    HostLimitError,
    NotFoundError,
    PgstrataError,
)
from pgstrata.testing.pg import Lease, Pg

KEPT_SECONDS = 86400
"""How long a database that is kept lives."""
_LINGERING_SECONDS = 1.0
"""How long after it was closed a session may still be seen."""
_LOOK_SECONDS = 0.01
_GIVE_WAY_SECONDS = 0.025
"""How long a test has the machine for itself. Only after that is the next one's database made and
the last one's removed, unless a test is waiting."""
_SHORT_SECONDS = 2 * _GIVE_WAY_SECONDS
"""A test that had its database for less is short. After one, nothing gives way: the next is soon to
wait for its own."""
_ROOM_SECONDS, _ROOM_LOOK_SECONDS = 10.0, 0.02
"""How long to wait until tests of other processes leave room for a database; how often to look."""
_UNHELD_SECONDS = 30
"""How long a database lives that was made ready for us when we are gone before we hold it."""
_NO_ROOM = (HostLimitError, DiskFullError, CacheFullUnreclaimableError)
_MOST_READY = 2
"""How many databases are ready for tests to come; a test may ask for two kinds of them."""


@dataclass
class Notes:
    """What is to be told at the end of a run; workers send it to their controller."""

    waits: list[float] = field(default_factory=list)
    """How many seconds each test waited for its database."""
    states: dict[str, str] = field(default_factory=dict)
    """Whether each state was a ``hit`` or a ``miss``."""
    kept: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Why databases could not be made, each once."""
    remarks: list[str] = field(default_factory=list)
    """What else people should know."""

    def add(self, other: Mapping[str, Any]) -> None:
        """Add those of a worker."""
        self.waits += other["waits"]
        self.kept += other["kept"]
        self.leaks += other["leaks"]
        self.failures += [one for one in other["failures"] if one not in self.failures]
        self.remarks += [one for one in other["remarks"] if one not in self.remarks]
        for state_id, how in other["states"].items():
            self.states.setdefault(state_id, how)


class _Wanted(NamedTuple):
    """What instances that can stand for each other have in common."""

    state_id: str
    settings: tuple[tuple[str, str], ...] = ()


class _Ready:
    """A database that is made for a test to come."""

    def __init__(self, executor: Executor, make: Callable[[], Lease], pause: float) -> None:
        """``pause``: for how many seconds to give way to the test that has begun."""
        self._due = time.monotonic() + pause
        self._hurry = Event()
        self._is_needed = True
        self._made: Future[Lease | None] = executor.submit(self._make, make)

    def hurry(self) -> None:
        """Give way to no test any more, since one is waiting."""
        self._hurry.set()

    def abandon(self) -> None:
        """Do not make it, unless that has begun."""
        self._is_needed = False
        self._hurry.set()

    def result(self) -> Lease | None:
        """It, once it is there; None if it was abandoned before. Raises ``PgstrataError``."""
        return self._made.result()

    def _make(self, make: Callable[[], Lease]) -> Lease | None:
        self._hurry.wait(max(0.0, self._due - time.monotonic()))
        return make() if self._is_needed else None


class Session:
    """Lends databases. Others are made ready while a test uses those before."""

    def __init__(self, client: Client, *, rebuild: bool = False) -> None:
        self.client = client
        self.notes = Notes()
        self._rebuild = rebuild
        self._rebuilt: set[str] = set()
        self._built: dict[str, str | PgstrataError] = {}
        self._ready: dict[_Wanted, _Ready] = {}
        self._ahead = ThreadPoolExecutor(1, "pgstrata-ahead")
        self._behind = ThreadPoolExecutor(1, "pgstrata-behind")
        self._closing = Event()
        self._pause = _GIVE_WAY_SECONDS
        self._is_crowded = False
        """Whether there was no room for a database, so that none is made before it is needed."""
        self._passing: list[str] = []
        """States that go when the run ends."""

    def build(self, recipe: Recipe) -> str:
        """The id of the recipe's last state. Fails in the same way each time, if it fails."""
        key = repr(recipe)
        if key not in self._built:
            try:
                self._built[key] = self._build(recipe)
            except PgstrataError as error:
                self._built[key] = error
                self._note(error)
        found = self._built[key]
        if isinstance(found, PgstrataError):
            raise found
        return found

    def _build(self, recipe: Recipe) -> str:
        self._compare_versions()
        if self._rebuild:
            self._forget(recipe)
        found = self.client.explain(recipe)
        if found.decision == "hit" and found.matched_state_id is not None:
            state_id = found.matched_state_id
        else:
            state_id = self.client.build(recipe)
        self.notes.states[state_id] = found.decision
        return state_id

    def _forget(self, recipe: Recipe) -> None:
        """Have the recipe's states be built again, except those built in this run."""
        if recipe.before is not None:
            self._forget(recipe.before)
        steps = [one for one in self.client.plan(recipe).tasks if isinstance(one, StateExecuteTask)]
        for step in steps:
            if step.cached and step.output_state_id not in self._rebuilt:
                with suppress(NotFoundError):  # it left no state of its own
                    self._remove_unused(step.output_state_id)
                    break
        self._rebuilt.update(step.output_state_id for step in steps)

    def _remove_unused(self, state_id: str) -> None:
        """Remove a state, and those on top of it, unless somebody would miss any of them.

        An instance that nobody has connected to yet goes with them if it comes just then.
        """
        remove = self.client.states.remove
        below = [remove(state_id, recurse=True, dry_run=True).root]
        pinned = {one.state_id for one in self.client.states.list() if one.pinned}
        for node in below:
            if node.kind == "instance" or node.id in pinned:
                why = "was made from them" if node.kind == "instance" else "is pinned"
                raise ConflictError(
                    "the states of the recipe cannot be built again, "
                    f"since {node.kind} {node.id[:12]} {why}",
                    remedy="do without it (pgstrata rm, pgstrata unpin), or without the rebuild",
                )
            below += node.children
        if remove(state_id, recurse=True).outcome == "blocked":
            raise ConflictError(
                "the states of the recipe cannot be built again, since somebody uses them now",
                remedy="try again later",
            )

    def _compare_versions(self) -> None:
        version = self.client.health().version
        if version != __version__ and not self.notes.remarks:
            self.notes.remarks.append(
                f"the engine is of version {version}, and this plugin of {__version__}: "
                "`pgstrata engine stop`, and the next run starts one of its own version"
            )

    def lend(self, state_id: str, settings: Mapping[str, str] | None = None) -> Pg:
        """A database of a state. Raises ``PgstrataError``."""
        wanted = _wanted(state_id, settings)
        begun = time.perf_counter()
        try:
            lease = self._lease_now(wanted)
        except PgstrataError as error:
            self._note(error)
            raise
        self.notes.waits.append(time.perf_counter() - begun)
        return Pg(self, lease)

    def get_ready(self, state_id: str, settings: Mapping[str, str] | None = None) -> None:
        """Begin to make a database that will be lent, unless there is one."""
        wanted = _wanted(state_id, settings)
        if wanted in self._ready or self._is_crowded:
            return
        if len(self._ready) == _MOST_READY:
            longest = next(iter(self._ready))
            self._give_up(self._ready.pop(longest))
        self._ready[wanted] = _Ready(self._ahead, partial(self._lease, wanted), self._pause)

    def take_back(self, pg: Pg, *, test: str | None = None) -> None:
        """Remove a database, while others are used; whoever is connected to it never blocks.

        ``test``: in whose name it is noted who is.
        """
        for fork in pg.forks:
            self.take_back(fork)
        now = time.monotonic()
        self._pause = 0.0 if now - pg.lent_at < _SHORT_SECONDS else _GIVE_WAY_SECONDS
        due = now + self._pause

        def remove() -> None:
            self._closing.wait(max(0.0, due - time.monotonic()))
            if test is None:
                self._end(pg.lease)
            else:
                self._end_noting_leaks(pg, test)

        self._behind.submit(remove)

    def keep(self, pg: Pg, test: str) -> None:
        """Have a copy of a database outlive the run, and tell where it is."""
        try:
            state = self.client.instances.snapshot(pg.id, force=True)
            self.client.states.unpin(state.state_id)
            copy = self.client.prepare(of_state(state.state_id), ttl=KEPT_SECONDS)
            self.notes.kept.append(f"{test}: psql {shlex.quote(copy.dsn)}")
        except PgstrataError as error:
            self.notes.kept.append(f"{test}: it cannot be kept: {error.message}")

    def snapshot(self, instance_id: str, name: str | None = None) -> State:
        """A state of what is in an instance; without a name it goes when the run ends."""
        state = self.client.instances.snapshot(instance_id, name=name, force=True)
        if name is None:
            self.remove_at_end(state.state_id)
        return state

    def remove_at_end(self, state_id: str) -> None:
        """Have a state go when the run ends, unless somebody else uses it then."""
        self._passing.append(state_id)

    def leaks(self, pg: Pg) -> list[str]:
        """The sessions that are still open after a test, each with its last query."""
        deadline = time.monotonic() + _LINGERING_SECONDS
        while (found := pg.sessions()) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        return found

    def close(self) -> None:
        """Remove all that is lent or ready, and wait for it."""
        self._closing.set()
        for ready in self._ready.values():
            ready.abandon()
        self._ahead.shutdown()
        self._behind.shutdown()
        for ready in self._ready.values():
            with suppress(PgstrataError):
                self._end_if_made(ready)
        for state_id in reversed(self._passing):
            with suppress(PgstrataError):
                self.client.states.unpin(state_id)
                self.client.states.remove(state_id, recurse=True)
        self.client.close()

    def _note(self, error: PgstrataError) -> None:
        if (report := _report(error)) not in self.notes.failures:
            self.notes.failures.append(report)

    def _lease_now(self, wanted: _Wanted) -> Lease:
        for one in self._ready.values():
            one.hurry()
        ready = self._ready.pop(wanted, None)
        try:
            lease = None if ready is None else ready.result()
            return lease or self._lease(wanted)
        except _NO_ROOM:
            return self._lease_when_there_is_room(wanted)

    def _lease_when_there_is_room(self, wanted: _Wanted) -> Lease:
        # What waits for later tests gives way, and what earlier ones had is about to go.
        self._is_crowded = True
        for other in self._ready.values():
            self._give_up(other)
        self._ready.clear()
        self._behind.submit(int).result()
        deadline = time.monotonic() + _ROOM_SECONDS
        while True:
            try:
                return self._lease(wanted)
            except _NO_ROOM:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_ROOM_LOOK_SECONDS)

    def _lease(self, wanted: _Wanted) -> Lease:
        recipe = of_state(wanted.state_id)
        request = msgspec.structs.replace(recipe.request, settings=dict(wanted.settings))
        made = self.client.prepare(Recipe(request), ttl=_UNHELD_SECONDS)
        held = self.client.instances.hold(made.id)
        # From now on the instance goes with us, however we go.
        next(held)
        return Lease(made.id, made.state_id, made.dsn, held)

    def _give_up(self, ready: _Ready) -> None:
        ready.abandon()
        self._behind.submit(self._end_if_made, ready)

    def _end_if_made(self, ready: _Ready) -> None:
        if (lease := ready.result()) is not None:
            self._end(lease)

    def _end_noting_leaks(self, pg: Pg, test: str) -> None:
        # To remove it tells whether anybody is connected. A session to look for that takes longer.
        with suppress(PgstrataError):
            if self.client.instances.remove(pg.id).outcome != "blocked":
                _let_go(pg.lease)
                return
        try:
            self.notes.leaks += [f"{test}: {leak}" for leak in self.leaks(pg)]
        finally:
            self._end(pg.lease)

    def _end(self, lease: Lease) -> None:
        # If it cannot be removed now, it is when it is held no more.
        with suppress(PgstrataError):
            self.client.instances.remove(lease.instance_id, force=True)
        _let_go(lease)


def _let_go(lease: Lease) -> None:
    close = getattr(lease.held, "close", None)
    assert close is not None
    close()


def _wanted(state_id: str, settings: Mapping[str, str] | None) -> _Wanted:
    found = sorted((name, str(value)) for name, value in (settings or {}).items())
    return _Wanted(state_id, tuple(found))


def _report(error: PgstrataError) -> str:
    message = "" if error.message in (error.details or "") else error.message
    return "\n".join(filter(None, (message, *error.__notes__)))
