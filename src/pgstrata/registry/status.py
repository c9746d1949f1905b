"""The engine's health and status."""

from pathlib import Path

from pgstrata.domain.listing import (
    Counts,
    EngineIdentity,
    EngineStatus,
    Health,
    RuntimeStatus,
    SandboxStatus,
    SnapshotStatus,
    StoreStatus,
)
from pgstrata.instances.pool import WarmPool
from pgstrata.queue.base import Queue
from pgstrata.runtime.base import Runtime
from pgstrata.statefs.store_image import StoreImage
from pgstrata.store.base import Store


class EngineInfo:
    """Reports which engine this is and how it is doing."""

    def __init__(
        self,
        *,
        identity: EngineIdentity,
        location: Path,
        snapshots: SnapshotStatus,
        sandbox: SandboxStatus,
        server_user: str | None,
        queue: Queue,
        pool: WarmPool,
        store: Store,
        runtime: Runtime,
    ) -> None:
        self._identity = identity
        self._image = StoreImage(location)
        self._snapshots = snapshots
        self._sandbox = sandbox
        self._server_user = server_user
        self._queue = queue
        self._pool = pool
        self._store = store
        self._runtime = runtime

    async def health(self) -> Health:
        """Report that the engine responds, and which one it is."""
        return Health(
            ok=True,
            version=self._identity.version,
            instance_id=self._identity.instance_id,
            pid=self._identity.pid,
        )

    async def status(self) -> EngineStatus:
        """Report the engine, how it runs servers, and how many jobs, states and instances exist."""
        jobs = await self._queue.counts()
        return EngineStatus(
            engine=self._identity,
            store=self._store_status(),
            runtime=RuntimeStatus(
                server_user=self._server_user,
                installations=await self._runtime.installations(),
            ),
            snapshots=self._snapshots,
            sandbox=self._sandbox,
            pool=self._pool.status,
            counts=Counts(
                jobs_queued=jobs.queued,
                jobs_running=jobs.running,
                jobs_finished=jobs.finished,
                states=(await self._store.count_states()).states,
                instances=await self._store.count_instances(),
            ),
        )

    def _store_status(self) -> StoreStatus:
        image = self._image
        if not image.exists:
            return StoreStatus(path=image.store)
        return StoreStatus(
            path=image.store,
            image=image.file,
            image_bytes=image.size_bytes,
            image_held_bytes=image.held_bytes,
        )
