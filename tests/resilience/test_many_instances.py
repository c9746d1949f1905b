"""Of many instances that are removed, and an engine that is stopped at once, nothing is left."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import needs
from tests.resilience.audit import inhabitants
from tests.resilience.stores import prepared, started, store_in

PARALLEL = 8


@pytest.mark.parametrize("number", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_no_mount_directory_or_process_is_left(number: int, reachable_dir: Path) -> None:
    if not needs.IS_ROOT:
        needs.missing_root("only root can mount")
    with store_in(reachable_dir, "overlay") as engine:
        started(engine)
        prepared(engine)
        with ThreadPoolExecutor(PARALLEL) as clients:
            jobs = list(clients.map(lambda _: prepared(engine), range(number - 1)))
            assert {job["status"] for job in jobs} == {"succeeded"}
            ids = [one["instance_id"] for one in engine.ask("GET", "/v1/instances")]
            assert len(ids) == number
            assert len(mounts_below(engine.store)) >= number
            for _ in clients.map(
                lambda one: engine.ask("DELETE", f"/v1/instances/{one}?force=true"), ids
            ):
                pass
        # What is still being removed is removed to its end.
        engine.stop()
        assert mounts_below(engine.store) == []
        assert sorted((engine.store / "instances").iterdir()) == []
        assert [one.pid for one in inhabitants(engine.store) if one.pid != os.getpid()] == []


def mounts_below(store: Path) -> list[str]:
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [place for place in places if place.startswith(f"{store}/")]
