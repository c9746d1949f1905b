"""Makes settled copies of states, one at a time, beside everything else.

A server on a clone of the state vacuums, freezes and analyses it, and is stopped; what is left is
published as the state's copy (``cache.settled``). The server is one that builds: it reaches nobody,
and nobody reaches it. A kill leaves a workspace, which is cleared away like any other.

A state that cannot be settled is said once, and left as it is: its instances are cloned from it.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

from pgstrata.cache.eviction import Evictor
from pgstrata.cache.in_use import InUse
from pgstrata.cache.settled import SettledCopies
from pgstrata.dbms.base import Dbms
from pgstrata.domain.instance import Server
from pgstrata.domain.plan import TaskInput
from pgstrata.domain.state import State
from pgstrata.errors import HostLimitError, PgstrataError, StateUnusableError
from pgstrata.instances.limits import HostLimits
from pgstrata.prepare.snapshots import SnapshotOrchestrator, Workspace
from pgstrata.prepare.state_files import StateFiles
from pgstrata.runtime.base import Runtime
from pgstrata.settings import SnapshotSettings
from pgstrata.statefs.base import StateFS
from pgstrata.store.base import Store
from pgstrata.system.background import Background
from pgstrata.system.cancellation import cancel, finish
from pgstrata.system.planted import PlantedFileError

_log = logging.getLogger(__name__)

LEAST_BYTES = 128 << 20
"""Smaller states are not settled unless all are: their clones have little to write. An empty
cluster takes about 40 MB."""

LEAST_USES = 2
"""How many instances a state has had at least before it is worth a copy."""


_TOLD = 5
"""How many tables that cannot be settled are named."""


class Settling(Background):
    """Settles states that are asked for. Use it as an async context."""

    task_name = "settling states"
    ended = "no more states are settled"

    def __init__(
        self,
        *,
        settled: SettledCopies,
        files: StateFiles,
        snapshots: SnapshotOrchestrator,
        statefs: StateFS,
        runtime: Runtime,
        dbms: Dbms,
        store: Store,
        in_use: InUse,
        evictor: Evictor,
        limits: HostLimits,
        wanted: SnapshotSettings,
    ) -> None:
        self._settled = settled
        self._files = files
        self._snapshots = snapshots
        self._fs = statefs
        self._runtime = runtime
        self._dbms = dbms
        self._store = store
        self._in_use = in_use
        self._evictor = evictor
        self._limits = limits
        self._asked: dict[str, None] = {}
        """The states that were asked for and not looked at yet, in order."""
        self._small: set[str] = set()
        """States that are not worth it, so that their next instance costs no look at them."""
        self._given_up: set[tuple[str, str]] = set()
        """The states that cannot be settled, by their ids and when they were made."""
        self._current: tuple[str, asyncio.Task[None]] | None = None
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self.want(wanted)
        settled.on_use(self._ask)
        in_use.on_leaving(self._leave)

    def want(self, wanted: SnapshotSettings) -> None:
        """Settle by these settings from now on."""
        self._wanted = wanted
        self._settled.handed_out = wanted.settle != "off"
        self._small.clear()
        self._wake()

    async def join(self) -> None:
        """Wait until there is nothing more to do for now."""
        await self._idle.wait()

    async def work(self) -> None:
        """Settle what is asked for, forever."""
        while True:
            self._woken.clear()
            if self._wanted.settle == "off":
                self._asked.clear()
                await self._clear()
            while self._asked:
                state_id = next(iter(self._asked))
                del self._asked[state_id]
                await self._look_at(state_id)
            if not self._woken.is_set():
                self._idle.set()
            await self._woken.wait()

    async def _clear(self) -> None:
        """Remove all copies."""
        for copy in self._settled.known:
            try:
                await self._settled.remove(copy.state_id)
            except (PgstrataError, OSError) as error:
                _log.warning(
                    "the settled copy of state %s is left to the next engine: %s",
                    copy.state_id,
                    error,
                )

    def _ask(self, state_id: str) -> None:
        settled = self._settled.of(state_id) is not None
        if self._wanted.settle != "off" and not settled and state_id not in self._small:
            self._asked[state_id] = None
            self._wake()

    def _wake(self) -> None:
        self._idle.clear()
        self._woken.set()

    def _leave(self, state_ids: Iterable[str]) -> None:
        """Be in nobody's way who removes states."""
        self._small.difference_update(state_ids)
        if self._current is not None and self._current[0] in state_ids:
            self._current[1].cancel()

    async def _look_at(self, state_id: str) -> None:
        try:
            state = await self._store.state(state_id)
            if state is None or not await self._is_due(state):
                return
        except (PgstrataError, OSError) as error:
            _log.warning("state %s is not settled now: %s", state_id, error)
            return
        task = asyncio.create_task(self._settle(state), name=f"settling {state_id}")
        self._current = (state_id, task)
        try:
            await asyncio.wait((task,))
        finally:
            self._current = None
            await cancel(task)

    async def _is_due(self, state: State) -> bool:
        size = (state.size_bytes or 0) + (state.shared_bytes or 0)
        if self._settled.of(state.state_id) or _known_as(state) in self._given_up:
            return False
        if self._wanted.settle == "auto":
            if size < LEAST_BYTES:
                self._small.add(state.state_id)
                return False
            if (state.use_count or 0) < LEAST_USES:
                return False
            if await self._fs.copies_on_opening(self._settled.area):
                return False  # its clones take as much space either way
        try:
            self._limits.check_server()
        except HostLimitError:
            return False  # the next who asks for the state is a reason to look again
        return await self._evictor.fits(size)

    async def _settle(self, state: State) -> None:
        place = uuid.uuid4().hex
        limit = self._wanted.settle_timeout
        try:
            async with asyncio.timeout(limit):
                await self._make(state, place)
        except TimeoutError:
            self._give_up(state, f"it takes longer than {limit:g} s (snapshot.settleTimeout)")
        except (PgstrataError, PlantedFileError, OSError) as error:
            self._give_up(state, str(error))
        finally:
            await finish(self._snapshots.discard_of(place))
            if self._settled.of(state.state_id) is None:
                # It may have been published just before this was cut off.
                await finish(self._settled.remove(state.state_id))

    async def _make(self, state: State, place: str) -> None:
        began = time.monotonic()
        workspace = await self._clone(state, place)
        since = time.time()
        server = await self._runtime.start(
            state.image_id,
            workspace.data_dir,
            building=True,
            settings=state.settings,
            fixed=self._dbms.settling_settings,
        )
        problems = await self._settle_and_stop(server)
        await self._dbms.check_snapshot(workspace.data_dir)
        if defect := await self._dbms.defect(workspace.data_dir):
            raise StateUnusableError(defect)
        usage = await self._fs.usage(workspace.directory, changed_since=since)
        await self._settled.add(state, workspace.directory, usage.exclusive_bytes)
        _log.info(
            "state %s was settled in %.1f s, which takes %d bytes%s",
            state.state_id,
            time.monotonic() - began,
            usage.exclusive_bytes,
            _without(problems),
        )

    async def _settle_and_stop(self, server: Server) -> tuple[str, ...]:
        work = asyncio.create_task(self._dbms.settle(server), name="vacuum")
        try:
            await asyncio.wait((work,))
            problems = work.result()
            await self._runtime.stop(server)
            return problems
        finally:
            # It runs only if something failed. Its sessions end with it, whatever they are at.
            await finish(self._runtime.stop(server, clean=False))
            await finish(_end(work))

    async def _clone(self, state: State, place: str) -> Workspace:
        lease_id = self._in_use.acquire((state.state_id,))
        try:
            await self._files.check_clean(state.state_id)
            return await self._snapshots.workspace(
                place,
                TaskInput(kind="state", id=state.state_id),
                _no_cluster,
                server_settings=state.settings,
            )
        finally:
            self._in_use.release(lease_id)

    def _give_up(self, state: State, reason: str) -> None:
        self._given_up.add(_known_as(state))
        _log.warning(
            "state %s is not settled, so its instances write more when they are first read: %s",
            state.state_id,
            reason,
        )


def _without(problems: Sequence[str]) -> str:
    if not problems:
        return ""
    more = f" and {len(problems) - _TOLD} more" if len(problems) > _TOLD else ""
    return f"; without {'; '.join(problems[:_TOLD])}{more}"


async def _end(work: asyncio.Task[tuple[str, ...]]) -> None:
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


def _known_as(state: State) -> tuple[str, str]:
    return state.state_id, state.created_at.isoformat()


async def _no_cluster(_data_dir: Path) -> None:
    raise AssertionError("a state is a cluster already")
