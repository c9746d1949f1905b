"""What was hashed is what runs: a state is kept only if no input changed while its step ran."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from pgstrata.domain.model import from_plain, to_plain
from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.kinds.psql.kind import PsqlRecipe
from pgstrata.kinds.sources.local import LocalTree
from tests.unit.prepare.heart import Heart, engine, run


@pytest.mark.parametrize("script", ["gate", "gate fail"])
def test_a_step_whose_input_changed_while_it_ran_keeps_no_state_and_says_so(
    tmp_path: Path, script: str
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.manager.submit(heart.request("a", script))
            await heart.at_gate.wait()
            heart.sources.write(f"/{script}", b"something else")
            heart.gate.set()
            ended = await heart.end_of(job.job_id)
            assert ended.error is not None
            assert ended.error.code == "input_changed"
            assert script in ended.error.message
            assert [state.prepare_args_normalized for state in await heart.store.states()] == ["a"]
            assert await heart.store.build_leases() == {}
            assert heart.runtime.running == ()
            assert await heart.statefs.volumes(tmp_path / "work") == []

    run(scenario())


@pytest.mark.parametrize("script", ["gate", "gate fail"])
def test_a_step_whose_postgresql_was_touched_while_it_ran_keeps_no_state_and_says_so(
    tmp_path: Path, script: str
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.manager.submit(heart.request("a", script))
            await heart.at_gate.wait()
            heart.runtime.touch()
            heart.gate.set()
            ended = await heart.end_of(job.job_id)
            assert ended.error is not None
            assert ended.error.code == "input_changed"
            assert "PostgreSQL" in ended.error.message
            assert [state.prepare_args_normalized for state in await heart.store.states()] == ["a"]
            assert heart.runtime.running == ()

    run(scenario())


def test_who_watched_a_build_whose_input_changed_builds_from_its_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            builder = await heart.manager.submit(heart.request("gate"))
            await heart.at_gate.wait()
            watcher = await heart.manager.submit(heart.request("gate"))
            heart.sources.write("/gate", b"something else")
            heart.gate.set()
            for job in (builder, watcher):
                ended = await heart.end_of(job.job_id)
                assert ended.error is not None
                assert ended.error.code == "input_changed"
            heart.sources.write("/gate", b"gate")
            assert (await heart.finish("gate")).error is None

    run(scenario())


def test_a_step_takes_nothing_to_its_executor_that_only_a_disk_knows(tmp_path: Path) -> None:
    script = tmp_path / "a.sql"
    script.write_text("select 1;\n")
    request = PrepareRequest(
        prepare_kind="psql",
        image_id="postgres",
        work_dir=str(tmp_path),
        fields={"psql_args": ["-f", "a.sql"]},
    )
    [step] = asyncio.run(PsqlRecipe().steps(request, LocalTree()))
    number = str(script.stat().st_ino)
    crossing = msgspec.json.encode(step, enc_hook=to_plain)
    assert number not in crossing.decode()
    assert msgspec.json.decode(crossing, type=Step, dec_hook=from_plain) == step
