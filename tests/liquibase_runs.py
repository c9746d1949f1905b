"""Changelogs planned and run, a step at a time, on servers of a test's own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg

from pgstrata.domain.instance import Server
from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.kinds.liquibase.kind import LiquibaseKind
from pgstrata.kinds.sources.local import LocalTree
from pgstrata.system.processes import program
from tests.clusters import NativeRig
from tests.liquibase import dump, history, launcher, locked, plain_update, settings

LOCAL = LocalTree()
"""This machine's own files."""


@asynccontextmanager
async def liquibase(**more: Any) -> AsyncIterator[LiquibaseKind]:
    """The kind with these settings."""
    kind = LiquibaseKind(settings(**more))
    try:
        yield kind
    finally:
        await kind.close()


async def run(
    rig: NativeRig, kind: LiquibaseKind, server: Server, steps: tuple[Step, ...]
) -> list[str]:
    """Run the steps one after the other; all that was said."""
    said: list[str] = []

    async def keep(line: str) -> None:
        said.append(line)

    for step in steps:
        await LOCAL.check_unchanged(step.inputs)
        await kind.execute(step, LOCAL, server, rig.runtime, keep)
        assert not locked(server.endpoint.dsn)
    return said


def javas() -> list[int]:
    """The pids of the Javas that this process has running."""
    return [child.pid for child in psutil.Process().children() if program(child.pid) == "java"]


async def unheard(line: str) -> None:
    """Whatever it says."""


def request(work_dir: Path, *words: str) -> PrepareRequest:
    """A request with these arguments of Liquibase."""
    return PrepareRequest(
        prepare_kind="lb",
        image_id="postgres",
        work_dir=str(work_dir),
        fields={"liquibase_args": words},
    )


def rows(rig: NativeRig, server: Server, query: str) -> list[tuple[Any, ...]]:
    """What a query gives."""
    with psycopg.connect(server.endpoint.dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def compare(
    runner: asyncio.Runner,
    kind: LiquibaseKind,
    rig: NativeRig,
    work_dir: Path,
    tmp_path: Path,
    *words: str,
) -> int:
    """Check that steps come to what a plain run comes to; how many there were."""

    async def scenario() -> int:
        newest = (await rig.runtime.installations())[0]
        async with rig.serving() as stepped, rig.serving() as plain:
            steps = await kind.steps(request(work_dir, *words), LOCAL)
            for step in steps:
                await kind.execute(step, LOCAL, stepped, rig.runtime, unheard)
            one, other = stepped.endpoint.dsn, plain.endpoint.dsn
            await asyncio.to_thread(plain_update, launcher(tmp_path), other, work_dir, *words)
            assert not locked(one)
            assert history(one) == history(other)
            assert dump(newest.bin_dir, one) == dump(newest.bin_dir, other)
            return len(steps)

    return runner.run(scenario())
