"""Puts the engine together: the only module that knows every adapter.

Each part gets what it needs and nothing else.
"""

import asyncio
import os
import pwd
from collections.abc import AsyncIterator
from contextlib import (
    AsyncExitStack,
    asynccontextmanager,
)
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from pgstrata.api.discovery import EngineFile
from pgstrata.cache.capacity import Disk
from pgstrata.cache.disk_full import disk_of
from pgstrata.cache.eviction import Evictor
from pgstrata.cache.in_use import InUse
from pgstrata.cache.removal import StateRemoval
from pgstrata.cache.settled import SettledCopies
from pgstrata.cache.trash import Trash
from pgstrata.dbms.postgres import Postgres
from pgstrata.deletion.deletion import Deletion
from pgstrata.diff.comparing import Comparing
from pgstrata.domain.listing import EngineIdentity, SnapshotStatus
from pgstrata.engine import adoption, instance_notes
from pgstrata.engine.configuration import EngineConfiguration
from pgstrata.engine.instance_notes import NotingStore
from pgstrata.engine.kinds import open_kinds
from pgstrata.engine.store_directory import (
    check_reachable,
    make_area,
    remove_old_locks,
    remove_old_password,
)
from pgstrata.httpapi.service import Service
from pgstrata.instances.leases import Leases
from pgstrata.instances.limits import HostLimits
from pgstrata.instances.pool import WarmPool
from pgstrata.instances.resetting import Resetting
from pgstrata.instances.restarting import Restarting
from pgstrata.instances.starting import InstanceStarter
from pgstrata.instances.supervision import Supervision
from pgstrata.kinds.sources.git import Revisions
from pgstrata.kinds.sources.local import LocalTree
from pgstrata.prepare.build_leases import BuildLeases
from pgstrata.prepare.complaints import Complaints
from pgstrata.prepare.coordinator import JobCoordinator
from pgstrata.prepare.housekeeping import Housekeeping
from pgstrata.prepare.instance_snapshots import InstanceSnapshots
from pgstrata.prepare.job_log import JobLog
from pgstrata.prepare.local_executor import LocalExecutor
from pgstrata.prepare.manager import Manager
from pgstrata.prepare.settling import Settling
from pgstrata.prepare.snapshots import SnapshotOrchestrator
from pgstrata.prepare.state_files import StateFiles
from pgstrata.prepare.suspicion import Suspicion
from pgstrata.prepare.verification import Verification
from pgstrata.queue.sqlite import SqliteQueue
from pgstrata.registry.registry import Registry
from pgstrata.registry.status import EngineInfo
from pgstrata.run.holds import Holds
from pgstrata.run.runs import Runs
from pgstrata.runtime.native import NativeRuntime, socket_dir_for
from pgstrata.settings import Settings
from pgstrata.sqlite.database import Database
from pgstrata.sqlite.in_place import make_in_place
from pgstrata.statefs import detect, layers
from pgstrata.statefs.base import StateFS
from pgstrata.statefs.store_image import host_free_bytes
from pgstrata.system import orphans
from pgstrata.system.main_memory import available_memory
from pgstrata.system.reserve import Reserve
from pgstrata.system.scratch import Scratch
from pgstrata.system.turns import Turns


@asynccontextmanager
async def assemble(
    root: Path, configuration: EngineConfiguration, file: EngineFile, mounts: str
) -> AsyncIterator[tuple[Service, JobCoordinator]]:
    """Put the parts together and continue unfinished jobs."""
    settings = configuration.settings
    async with AsyncExitStack() as parts:
        orphans.mark_for(root)
        runtime = NativeRuntime(
            store=root,
            run_dir=socket_dir_for(root),
            server_user=settings.runtime.user,
            postgres_home=settings.postgres.home,
            server_settings=settings.runtime.all_settings,
            sandbox=settings.sandbox,
            limits=settings.instances.limits,
        )
        parts.push_async_callback(runtime.close)
        sandbox = runtime.sandbox
        await check_reachable(root, runtime.server_user)
        detection = await detect.detect(root, settings.snapshot.backend)
        statefs, in_use = detect.backend(detection.name), InUse()
        adopting = await adoption.begin(root, statefs)
        make_in_place(root / "pgstrata.db-shm")
        reserve = Reserve(root)
        database = await Database.open(root / "pgstrata.db", reserve=reserve)
        parts.push_async_callback(database.close)
        queue, store = SqliteQueue(database), NotingStore(database, root / "instances")
        dbms = Postgres(owner=_uid(runtime.server_user))
        settled = SettledCopies(root=root, statefs=statefs, store=store)
        removal = StateRemoval(
            states=root / "states", statefs=statefs, store=store, in_use=in_use, settled=settled
        )
        turns = Turns()
        trash = await parts.enter_async_context(Trash(statefs))
        evictor = Evictor(
            limits=settings.cache.capacity,
            store=store,
            removal=removal,
            in_use=in_use,
            settled=settled,
            disk=partial(_disk_of_store, root),
        )
        leases = BuildLeases(store, file.instance_id)
        files = StateFiles(
            root=root,
            statefs=statefs,
            dbms=dbms,
            store=store,
            in_use=in_use,
            settled=settled,
            leases=leases,
        )
        snapshots = SnapshotOrchestrator(
            root=root,
            files=files,
            leases=leases,
            statefs=statefs,
            runtime=runtime,
            dbms=dbms,
            in_use=in_use,
            evictor=evictor,
            consistency=settings.snapshot.consistency,
        )

        def make_areas(*, all_of_them: bool = False) -> None:
            for area in snapshots.areas:
                if all_of_them or not area.is_dir():
                    make_area(area, private=area not in snapshots.server_areas)

        make_areas(all_of_them=True)
        for area in snapshots.server_areas:
            layers.upgrade(area)
        remove_old_locks(root)
        remove_old_password(root)
        detect.remember(root, detection.name)
        kinds = await parts.enter_async_context(open_kinds(settings, runtime))
        limits = HostLimits(
            store=store,
            max_instances=settings.instances.max,
            min_free_memory_bytes=settings.instances.min_free_memory,
            available_memory=available_memory,
        )
        pool = WarmPool(
            root=root,
            statefs=statefs,
            runtime=runtime,
            store=store,
            in_use=in_use,
            settled=settled,
            trash=trash,
            host=limits,
            limits=settings.pool,
            server_settings=settings.own_server_settings,
            available_memory=available_memory,
            note=instance_notes.note_waiting,
        )
        instances = InstanceStarter(
            root=root,
            statefs=statefs,
            runtime=runtime,
            store=store,
            limits=limits,
            trash=trash,
            turns=turns,
            pool=pool,
            settled=settled,
            default_ttl_seconds=settings.instances.default_ttl,
        )
        restarting = Restarting(
            root=root, statefs=statefs, runtime=runtime, store=store, limits=limits, turns=turns
        )
        supervision = Supervision(
            store=store,
            runtime=runtime,
            restarting=restarting,
            wanted=settings.instances.restart,
        )
        suspicion = Suspicion(files=files, snapshots=snapshots, runtime=runtime, dbms=dbms)
        executor = LocalExecutor(
            runtime=runtime,
            dbms=dbms,
            kinds=kinds.runners,
            files=files,
            snapshots=snapshots,
            store=store,
            in_use=in_use,
            limits=limits,
            instances=instances,
            suspicion=suspicion,
            settled=settled,
            make_areas=make_areas,
        )
        job_log, scratch = JobLog(queue), Scratch(root)
        await asyncio.to_thread(scratch.clear)
        coordinator = await parts.enter_async_context(
            JobCoordinator(
                queue=queue,
                job_log=job_log,
                kinds=kinds.recipes,
                revisions=Revisions(LocalTree(), scratch),
                executor=executor,
                limits=settings.orchestrator.jobs,
                server_settings=settings.own_server_settings,
            )
        )

        settling = Settling(
            settled=settled,
            files=files,
            snapshots=snapshots,
            statefs=statefs,
            runtime=runtime,
            dbms=dbms,
            store=store,
            in_use=in_use,
            evictor=evictor,
            limits=limits,
            wanted=settings.snapshot,
        )

        def apply(changed: Settings) -> None:
            evictor.limits = changed.cache.capacity
            snapshots.consistency = changed.snapshot.consistency
            settling.want(changed.snapshot)
            limits.max_instances = changed.instances.max
            limits.min_free_memory_bytes = changed.instances.min_free_memory
            instances.default_ttl_seconds = changed.instances.default_ttl
            pool.limits = changed.pool
            supervision.want(changed.instances.restart)
            coordinator.limit(changed.orchestrator.jobs)

        configuration.on_change(apply)
        if adopting:
            await adoption.adopt(root, statefs, store, files)
        manager = Manager(coordinator=coordinator, queue=queue, job_log=job_log)
        resetting = Resetting(
            root=root,
            statefs=statefs,
            runtime=runtime,
            dbms=dbms,
            store=store,
            limits=limits,
            trash=trash,
            turns=turns,
            suspect=suspicion.of_state,
            settled=settled,
        )
        instance_snapshots = InstanceSnapshots(
            root=root,
            snapshots=snapshots,
            runtime=runtime,
            dbms=dbms,
            store=store,
            limits=limits,
            turns=turns,
            suspicion=suspicion,
        )
        await settled.load()
        # Before jobs can take their ports.
        await resetting.recover()
        await instance_snapshots.recover()
        await manager.recover()
        await store.note_all()
        await parts.enter_async_context(pool)
        await parts.enter_async_context(settling)
        await asyncio.to_thread(reserve.keep)
        deletion = Deletion(
            instances=root / "instances",
            store=store,
            runtime=runtime,
            dbms=dbms,
            in_use=in_use,
            removal=removal,
            trash=trash,
            turns=turns,
        )
        await parts.enter_async_context(supervision)
        await parts.enter_async_context(Leases(store=store, deletion=deletion))
        await parts.enter_async_context(Complaints(store=store, suspicion=suspicion))

        async def tidy() -> None:
            await database.give_back()
            await asyncio.to_thread(reserve.keep)

        await parts.enter_async_context(Housekeeping(coordinator, tidy))
        registry = Registry(store=store, runtime=runtime, turns=turns, settled=settled)
        yield (
            Service(
                requests=kinds.requests,
                jobs=manager,
                registry=registry,
                resetting=resetting,
                snapshots=instance_snapshots,
                comparing=Comparing(
                    files=files,
                    snapshots=snapshots,
                    restarting=restarting,
                    runtime=runtime,
                    dbms=dbms,
                    store=store,
                    in_use=in_use,
                    limits=limits,
                    suspicion=suspicion,
                ),
                deletion=deletion,
                cache=evictor,
                verification=Verification(files, suspicion, settled, in_use),
                runs=Runs(
                    registry=registry,
                    restarting=restarting,
                    runtime=runtime,
                    programs_allowed=settings.engine.allow_programs is not False,
                ),
                pool=pool,
                holds=Holds(store=store, deletion=deletion),
                configuration=configuration,
                engine=EngineInfo(
                    identity=EngineIdentity(
                        version=file.version,
                        instance_id=file.instance_id,
                        pid=file.pid,
                        started_at=file.started_at,
                        endpoint=file.endpoint,
                    ),
                    location=root,
                    snapshots=SnapshotStatus(
                        backend=detection.name,
                        why=detection.why,
                        mounts=mounts,
                        advice=await _advice(root, statefs),
                    ),
                    sandbox=sandbox,
                    server_user=runtime.server_user,
                    queue=queue,
                    pool=pool,
                    store=store,
                    runtime=runtime,
                ),
            ),
            coordinator,
        )


def _disk_of_store(root: Path) -> Disk:
    """The store's disk. One on an image can take no more than there is where the image is."""
    disk, host = disk_of(root), host_free_bytes(root)
    return disk if host is None else replace(disk, free_bytes=min(disk.free_bytes, host))


async def _advice(root: Path, statefs: StateFS) -> str | None:
    """What would make states smaller and faster here, for people."""
    if not await statefs.copies_on_opening(root):
        return None
    return (
        "an instance takes the whole of each file that it opens; as root, `pgstrata store create "
        "DIR --size 50GB` makes a store on a btrfs of its own, where it takes what it writes"
    )


def _uid(user: str | None) -> int:
    """Return the uid that servers run as: the user's, or our own if there is none."""
    return os.geteuid() if user is None else pwd.getpwnam(user).pw_uid
