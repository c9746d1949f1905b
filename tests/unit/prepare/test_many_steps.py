"""A recipe of more steps than Python's stack is deep, from its plan to its deletion."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from pgstrata.api.codec import decode, encode
from pgstrata.api.jobs import JobStatus
from pgstrata.cli.removal import tree
from pgstrata.cli.rows import Style, state_rows
from pgstrata.cli.steps import Report, Steps
from pgstrata.domain.deletion import DeleteResult
from pgstrata.domain.job import Status
from pgstrata.domain.plan import StateExecuteTask
from pgstrata.domain.request import PrepareRequest
from pgstrata.domain.state import State
from pgstrata.httpapi.deletions import delete_answer
from pgstrata.httpapi.wire import job_status
from pgstrata.kinds.sources.local import LocalTree
from pgstrata.runtime.memory import succeed
from tests.unit.deletion.test_deletion import deletion_of
from tests.unit.prepare.heart import Heart, engine, run

LONGEST = 120
"""Characters of a line in a tree: a whole id, and not much more."""


def a_long_recipe(heart: Heart, steps: int) -> PrepareRequest:
    """So many steps of one script, which is a real file: those in memory are copied for each."""
    heart.sources = LocalTree()  # type: ignore[assignment]
    heart.runtime.tool = succeed
    heart.start_engine()
    script = heart.root / "script"
    script.write_text("a step like any other")
    return PrepareRequest(
        prepare_kind="memory",
        image_id="postgres:17",
        states="all",
        fields={"scripts": [str(script)] * steps},
    )


async def status(heart: Heart, job_id: str) -> JobStatus:
    """The job as a client is told."""
    job, tasks = await heart.manager.get(job_id), await heart.manager.list_tasks(job_id)
    assert job is not None
    shown = replace(job_status(job, None), tasks=tuple(task.spec for task in tasks))
    return decode(encode(shown), JobStatus)


async def watched(heart: Heart, job_id: str) -> list[Report]:
    """What a watcher of the job is shown."""
    shown = Steps(heart.root)
    reports = []
    for event in await heart.manager.events_since(job_id, 0):
        if shown.lacks(event):
            shown.load((await status(heart, job_id)).tasks)
        if report := shown.apply(event):
            reports.append(report)
    return reports


@pytest.mark.parametrize("steps", [1100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_it_is_planned_built_listed_watched_and_deleted(tmp_path: Path, steps: int) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        request = a_long_recipe(heart, steps)
        async with engine(heart):
            built = await heart.end_of((await heart.manager.submit(request)).job_id)
            assert built.result is not None
            reports = await watched(heart, built.job_id)
            assert [report.number for report in reports] == list(range(1, steps + 1))
            again = await heart.end_of((await heart.manager.submit(request)).job_id)
            tasks = (await status(heart, again.job_id)).tasks
            assert again.status is Status.SUCCEEDED
            cached = [task.cached for task in tasks if isinstance(task, StateExecuteTask)]
            assert cached == [True] * steps

            states = decode(encode(await heart.store.states()), list[State])
            assert len(states) == steps
            _, rows = state_rows(states, Style(long=True))
            assert len(rows) == steps
            assert max(len(row[0]) for row in rows) < LONGEST

            for dry_run, outcome in ((True, "would_delete"), (False, "deleted")):
                done = await deletion_of(heart).delete_state(
                    states[0].state_id, recurse=True, force=False, dry_run=dry_run
                )
                told = decode(bytes(delete_answer(done).body), DeleteResult)
                assert told.outcome == outcome
                lines = tree(told.root, {})
                assert len(lines) == steps + 2
                assert max(map(len, lines)) < LONGEST
            assert await heart.store.states() == []

    run(scenario(), seconds=600)
