"""Jobs that another version wrote, or that were damaged, come to an end with that reason."""

import asyncio
import sqlite3
from pathlib import Path

from pgstrata.domain.job import Job, Status
from pgstrata.domain.model import utc_now
from pgstrata.queue.sqlite import SqliteQueue
from pgstrata.sqlite.database import Database
from tests.unit.prepare.heart import Heart, engine, run


def spoil(path: Path, job_id: str, body: bytes) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE jobs SET body = ? WHERE job_id = ?", (body, job_id))
    connection.close()


def test_a_job_that_cannot_be_read_fails_and_the_others_go_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "pgstrata.db"
        async with await Database.open(path) as database:
            heart = Heart(tmp_path)
            heart.queue = queue = SqliteQueue(database)  # type: ignore[assignment]
            request = heart.request("a")
            for job_id in ("a" * 32, "b" * 32):
                job = Job(
                    job_id=job_id,
                    status=Status.QUEUED,
                    request=request,
                    prepare_args_normalized="a",
                    created_at=utc_now(),
                )
                await queue.add(job, ())
            await asyncio.to_thread(spoil, path, "a" * 32, b'{"from": "the future"}')
            assert [job.job_id for job in await queue.unfinished()] == ["b" * 32]
            heart.start_engine()
            async with engine(heart):
                assert (await heart.end_of("b" * 32)).status is Status.SUCCEEDED
            lost = await queue.get("a" * 32)
            assert lost is not None
            assert lost.error is not None
            assert lost.error.code == "unreadable_job"
            assert await queue.unreadable() == []
            said = await heart.said(lost.job_id)
            assert said == ["error", "status failed"]

    run(scenario())
