"""Compares what is in two states or instances.

A state is compared by a server on a clone of it, as one that builds a state: without a port, and
gone afterwards; a kill leaves what recovery clears away. The newer pg_dump of the two writes both
schemas, so that they differ by what is in them only. It runs as the tools of steps do, and of a
database's own code neither it nor counting rows runs anything.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from pgstrata.cache.in_use import InUse
from pgstrata.dbms.base import Dbms
from pgstrata.diff.differences import differences
from pgstrata.diff.dump import Objects, objects_in
from pgstrata.domain.comparison import Comparison, ComparisonRequest, RowCount
from pgstrata.domain.instance import Instance, Server
from pgstrata.domain.plan import TaskInput
from pgstrata.domain.state import State
from pgstrata.errors import NotComparedError, ServerError
from pgstrata.instances.limits import HostLimits
from pgstrata.instances.restarting import Restarting
from pgstrata.prepare.snapshots import SnapshotOrchestrator
from pgstrata.prepare.state_files import StateFiles
from pgstrata.prepare.suspicion import Suspicion, complains
from pgstrata.runtime.base import Runtime, ToolCommand
from pgstrata.store.base import Store
from pgstrata.store.finding import find
from pgstrata.system.cancellation import finish
from pgstrata.system.output import Stream

MAX_DUMP_BYTES: Final = 64 << 20
"""How large a schema may be: it is held in memory."""

_PG_DUMP: Final = "pg_dump"

_OPTIONS: Final = ("--schema-only", "--no-tablespaces", "--lock-wait-timeout=60000")


_Rows = dict[tuple[str, str], int]
"""How many rows each table has, by its database and name."""


class _Side(NamedTuple):
    """One of the two: a server that runs."""

    server: Server
    image_id: str


class Comparing:
    """Compares states and instances."""

    def __init__(
        self,
        *,
        files: StateFiles,
        snapshots: SnapshotOrchestrator,
        restarting: Restarting,
        runtime: Runtime,
        dbms: Dbms,
        store: Store,
        in_use: InUse,
        limits: HostLimits,
        suspicion: Suspicion,
    ) -> None:
        self._files = files
        self._snapshots = snapshots
        self._restarting = restarting
        self._runtime = runtime
        self._dbms = dbms
        self._store = store
        self._in_use = in_use
        self._limits = limits
        self._suspicion = suspicion

    async def compare(self, request: ComparisonRequest) -> Comparison:
        """Compare two states or instances; servers that had ended are started again.

        Raises ``InvalidArgumentError`` and ``NotFoundError`` as ``finding.find`` does,
        ``NotComparedError``, ``ConflictError``, ``HostLimitError``, ``ServerError``, and
        ``StateDamagedError`` if one of these is due to the files of a state, which is gone then.
        """
        found = [await find(self._store, ref) for ref in (request.a, request.b)]
        async with AsyncExitStack() as servers:
            sides = [await servers.enter_async_context(self._side(each)) for each in found]
            databases = [await self._databases(side, request.database) for side in sides]
            if not any(databases):
                raise NotComparedError(
                    f"neither has a database {request.database!r} that lets anybody in"
                    if request.database
                    else "neither has a database that lets anybody in",
                    remedy="`\\l` in psql lists the databases of an instance",
                )
            pg_dump = await self._pg_dump(sides)
            alone = len({*databases[0], *databases[1]}) == 1
            objects: list[Objects] = []
            rows: list[_Rows] = []
            for each, side, names in zip(found, sides, databases, strict=True):
                async with self._suspected(each):
                    objects.append(await self._objects(side, names, pg_dump, alone=alone))
                    if request.rows:
                        rows.append(await self._rows(side, names))
        schema = await asyncio.to_thread(differences, *objects)
        counted = None if not request.rows else tuple(_side_by_side(*rows))
        return Comparison(
            different=bool(schema.diff) or any(row.a != row.b for row in counted or ()),
            schema=schema.diff,
            added=schema.added,
            removed=schema.removed,
            changed=schema.changed,
            rows=counted,
        )

    # Servers

    @asynccontextmanager
    async def _side(self, found: Instance | State) -> AsyncIterator[_Side]:
        if isinstance(found, Instance):
            running = await self._restarting.running(found.instance_id)
            yield _Side(running.instance.server, found.image_id)
        else:
            async with self._server_on(found) as server:
                yield _Side(server, found.image_id)

    @asynccontextmanager
    async def _server_on(self, state: State) -> AsyncIterator[Server]:
        """A server on a clone of a state, which is gone after the block."""
        self._limits.check_server()
        place = uuid.uuid4().hex
        lease_id = self._in_use.acquire((state.state_id,))
        server: Server | None = None
        try:
            await self._files.check_clean(state.state_id)
            with self._snapshots.map_full_disk():
                workspace = await self._snapshots.workspace(
                    place, TaskInput(kind="state", id=state.state_id), _no_cluster
                )
                try:
                    server = await self._runtime.start(
                        state.image_id, workspace.data_dir, building=True, settings=state.settings
                    )
                except ServerError as error:
                    await self._suspicion.of_state(state.state_id, error, state.settings)
                    raise
            yield server
        finally:
            try:
                await finish(self._end(place, server))
            finally:
                self._in_use.release(lease_id)

    @asynccontextmanager
    async def _suspected(self, found: Instance | State) -> AsyncIterator[None]:
        """Have a state checked if a server on its clone complains in the block."""
        try:
            yield
        except (NotComparedError, ServerError) as error:
            if isinstance(found, State) and complains(error):
                await self._suspicion.of_state(found.state_id, error, found.settings)
            raise

    async def _end(self, place: str, server: Server | None) -> None:
        try:
            if server is not None:
                await self._runtime.stop(server, clean=False)
        finally:
            await self._snapshots.discard_of(place)

    # What is in them

    async def _databases(self, side: _Side, wanted: str | None) -> tuple[str, ...]:
        known = await self._dbms.databases(side.server)
        return tuple(name for name in known if wanted in (None, name))

    async def _pg_dump(self, sides: Sequence[_Side]) -> Path:
        """The newer of the two: an older one cannot read a newer server."""
        newest = max(sides, key=lambda side: side.server.endpoint.major)
        return await self._runtime.programs(newest.image_id) / _PG_DUMP

    async def _objects(
        self, side: _Side, databases: Sequence[str], pg_dump: Path, *, alone: bool
    ) -> Objects:
        """All objects; if there are several databases, called after the one that each is in."""
        objects: Objects = {}
        for database in databases:
            dump = await self._dump(side.server, database, pg_dump)
            found = await asyncio.to_thread(objects_in, dump, side.server.endpoint.major)
            if alone:
                return found
            objects[f"DATABASE {database}"] = f"CREATE DATABASE {database};"
            objects |= {f"{name} in {database}": text for name, text in found.items()}
        return objects

    async def _dump(self, server: Server, database: str, pg_dump: Path) -> str:
        written = bytearray()

        async def keep(stream: Stream, piece: bytes) -> None:
            if stream == "stdout":
                written.extend(piece)
                if len(written) > MAX_DUMP_BYTES:
                    raise NotComparedError(
                        f"the schema of the database {database!r} is larger than "
                        f"{MAX_DUMP_BYTES >> 20} MiB as text",
                        remedy="compare other databases one by one",
                    )

        command = ToolCommand(
            tool=str(pg_dump),
            args=_OPTIONS,
            work_dir=Path("/"),
            env={**self._dbms.tool_environment(server), "PGDATABASE": database},
        )
        ended = await self._runtime.run(server, command, keep)
        if ended.exit_code != 0:
            raise NotComparedError(
                f"pg_dump failed on the database {database!r} with exit code {ended.exit_code}",
                remedy="it says why below",
                details=ended.stderr_tail,
            )
        return written.decode("utf-8", "replace")

    async def _rows(self, side: _Side, databases: Sequence[str]) -> _Rows:
        return {
            (database, table): count
            for database in databases
            for table, count in (await self._dbms.count_rows(side.server, database)).items()
        }


def _side_by_side(a: _Rows, b: _Rows) -> Iterator[RowCount]:
    for database, table in sorted(a.keys() | b.keys()):
        key = (database, table)
        yield RowCount(database=database, table=table, a=a.get(key), b=b.get(key))


async def _no_cluster(_data_dir: Path) -> None:
    raise AssertionError("a state is a cluster already")
