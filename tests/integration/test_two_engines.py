"""Two engines in one process, each on a store of its own, know nothing of each other."""

import asyncio
import os
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import psycopg

from pgstrata.api.discovery import EngineFile
from pgstrata.domain.job import Job
from pgstrata.domain.model import utc_now
from pgstrata.domain.request import PrepareRequest
from pgstrata.engine.assembly import assemble
from pgstrata.engine.configuration import EngineConfiguration
from pgstrata.engine.store_directory import hold_store
from pgstrata.httpapi.service import Service
from pgstrata.system import faults, orphans, processes
from tests.clusters import no_server_left
from tests.servers import started_by

NAMES = ("one", "other")

OPTIONS = {"snapshot.backend": "copy"}


@asynccontextmanager
async def engine(store: Path) -> AsyncIterator[Service]:
    """An engine without its port."""
    file = EngineFile(
        endpoint="",
        pid=os.getpid(),
        started_at=utc_now(),
        auth_token="",
        version="",
        instance_id=uuid.uuid4().hex,
    )
    with hold_store(store):
        configuration = EngineConfiguration(store, options=OPTIONS, defaults={})
        async with assemble(store, configuration, file, "") as (service, _):
            yield service


async def submit(service: Service, command: str) -> Job:
    request = PrepareRequest(
        prepare_kind="psql", image_id="postgres", fields={"psql_args": ("-c", command)}
    )
    return await service.jobs.submit(request)


async def end_of(service: Service, job: Job) -> Job:
    number = 0
    while await service.jobs.wait_for_event(job.job_id, number):
        number += 1
    ended = await service.jobs.get(job.job_id)
    assert ended is not None
    return ended


def test_each_prepares_in_its_own_store_and_comes_by_its_own_fault_points(
    reachable_dir: Path,
) -> None:
    both_ready = asyncio.Barrier(2)

    async def life(name: str) -> Counter[str]:
        reached: Counter[str] = Counter()
        faults.arm(lambda point: reached.update([point]))
        store = reachable_dir / name
        async with engine(store) as service:
            await both_ready.wait()
            job = await end_of(service, await submit(service, f"create table {name} (a int)"))
            assert job.result is not None, job.error
            data_dir = store / "instances" / job.result.instance_id / "data"
            assert (data_dir / "postmaster.pid").exists()
            with psycopg.connect(job.result.dsn) as connection:
                assert connection.execute(f"select * from {name}".encode()).fetchall() == []
            await both_ready.wait()
            done = await service.deletion.delete_instance(
                job.result.instance_id, force=True, dry_run=False
            )
            assert done.outcome == "deleted"
        return reached

    async def both() -> None:
        one, other = await asyncio.gather(life("one"), life("other"))
        assert one["database.migrate.after"] == other["database.migrate.after"] == 1
        assert one["store.add_state.after"] == other["store.add_state.after"] == 1
        assert one["statefs.sync.after"] > 0
        assert faults.step("initdb") is faults.step("initdb")  # here nothing is armed

    with no_server_left(reachable_dir):
        asyncio.run(both())


def test_each_marks_the_programs_it_starts_with_its_own_store(reachable_dir: Path) -> None:
    def tools_of(store: Path) -> set[int]:
        """The psql that runs the step, by the mark it bears."""
        found = set()
        for process in started_by(os.getpid(), *(reachable_dir / name for name in NAMES)):
            with suppress(psutil.NoSuchProcess):
                if any("pg_sleep" in word for word in process.cmdline()):
                    mark = processes.environ(process.pid, orphans.MARK) or ""
                    found |= {process.pid} if mark.endswith(f":{store}") else set()
        return found

    both_run = asyncio.Barrier(2)

    async def life(name: str) -> None:
        store = reachable_dir / name
        async with engine(store) as service:
            job = await submit(service, f"select pg_sleep(600), '{name}'")
            async with asyncio.timeout(300):
                while not tools_of(store):  # noqa: ASYNC110 - nobody tells of a process
                    await asyncio.sleep(0.01)
            await both_run.wait()
            assert len(tools_of(store)) == 1
            await both_run.wait()
            await service.jobs.cancel(job.job_id)
            ended = await end_of(service, job)
            assert ended.error is not None
            assert ended.error.code == "cancelled"
            assert not tools_of(store)

    async def both() -> None:
        await asyncio.gather(*map(life, NAMES))

    with no_server_left(reachable_dir):
        asyncio.run(both())
