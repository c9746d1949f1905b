"""What servers of instances log of damaged files has their states looked at."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from pgstrata.domain.instance import Instance
from pgstrata.prepare import complaints as module
from pgstrata.prepare.complaints import Complaints
from tests.unit.prepare.heart import Heart, engine, run

LOST = 'ERROR:  could not open file "base/5/16384": No such file or directory'


async def listening(heart: Heart, log: Path) -> tuple[Instance, Complaints]:
    """An instance whose server has this log, and who listens to it."""
    job = await heart.finish("a")
    assert job.result is not None
    instance = await heart.store.instance(job.result.instance_id)
    assert instance is not None
    server = replace(instance.server, log=str(log))
    assert await heart.store.set_server(instance.instance_id, server)
    say(log, "LOG:  database system is ready to accept connections")
    return instance, Complaints(store=heart.store, suspicion=heart.suspicion)


def say(log: Path, line: str) -> None:
    with log.open("a") as file:
        file.write(f"2026-01-01 00:00:00.000 UTC [7] {line}\n")


def test_a_state_whose_instance_misses_a_file_of_it_is_thrown_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            log = tmp_path / "log"
            instance, complaints = await listening(heart, log)
            await complaints.sweep()
            heart.disk.remove_tree(tmp_path / "states" / instance.state_id / "data" / "steps")
            say(log, 'ERROR:  relation "t" does not exist')
            await complaints.sweep()
            assert await heart.files.is_clean(instance.state_id)
            say(log, LOST)
            await complaints.sweep()
            assert f"state {instance.state_id} was damaged" in caplog.text
            assert not await heart.files.is_clean(instance.state_id)
            assert (await heart.finish("a")).error is None

    run(scenario())


def test_of_an_instance_that_was_ruined_by_its_clients_one_complaint_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            log, looks = tmp_path / "log", 0
            instance, complaints = await listening(heart, log)
            examine = heart.suspicion.examine

            async def counted(state_id: str, settings: dict[str, str]) -> str | None:
                nonlocal looks
                looks += 1
                return await examine(state_id, settings)

            monkeypatch.setattr(heart.suspicion, "examine", counted)
            for _ in range(3):
                say(log, LOST)
                await complaints.sweep()
            assert looks == 1
            assert await heart.files.is_clean(instance.state_id)

    run(scenario())


def test_a_log_that_is_gone_or_was_emptied_is_read_again_from_its_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            log = tmp_path / "log"
            instance, complaints = await listening(heart, log)
            await complaints.sweep()
            log.unlink()
            await complaints.sweep()
            heart.disk.remove_tree(tmp_path / "states" / instance.state_id / "data" / "steps")
            say(log, LOST)
            await complaints.sweep()
            assert not await heart.files.is_clean(instance.state_id)

    run(scenario())


def test_a_log_that_grows_without_end_keeps_its_end_and_is_heard_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 10_000)
    monkeypatch.setattr(module, "KEPT_BYTES", 1000)

    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            log = tmp_path / "log"
            instance, complaints = await listening(heart, log)
            with log.open("a") as server:
                for number in range(300):
                    server.write(f"2026-01-01 00:00:00.000 UTC [7] LOG:  line {number}\n")
                server.flush()
                await complaints.sweep()
                lines = log.read_text().splitlines()
                assert 900 < log.stat().st_size <= 1000
                assert lines[0].startswith("2026-01-01")
                assert lines[-1].endswith("line 299")
                heart.disk.remove_tree(tmp_path / "states" / instance.state_id / "data" / "steps")
                server.write(f"2026-01-01 00:00:00.000 UTC [7] {LOST}\n")
                server.flush()
                await complaints.sweep()
                assert not await heart.files.is_clean(instance.state_id)
                # That is followed no more, but kept short.
                server.write("x" * 80 + "\n" + "y" * 20_000)
            await complaints.sweep()
            assert log.stat().st_size <= 1000

    run(scenario())
