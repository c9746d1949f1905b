"""Stores of an earlier version: nobody loses an instance or a state by the upgrade."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgstrata.system import faults
from tests.filesystems import reachable_place
from tests.resilience.engine import Engine
from tests.resilience.stores import (
    CONTENT,
    RECIPE,
    check_nothing_is_left,
    prepared,
    remove_instances,
    started,
    store_in,
)


@pytest.fixture(params=["auto", pytest.param("copy", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with reachable_place() as directory, store_in(directory, request.param) as one:
        yield started(one)


def make_old(store: Path) -> None:
    """Make of a store what the version before digests and private directories had made."""
    for area in ("bases", "states", "building", "work", "instances"):
        (store / area).chmod(0o711)
    for digest in store.glob("*/*/digest"):
        digest.unlink()
    for private in store.glob("instances/*/overlay"):
        lower = (private / "lower").readlink()
        (private / "lower").unlink()
        for name in private.iterdir():
            name.rename(private.parent / name.name)
        private.rmdir()
        (private.parent / "lower").symlink_to(lower.relative_to(".."))


def rows(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as connection:
        return [row[0] for row in connection.execute("select n from t order by n")]


def test_running_instances_go_on_with_their_names_and_states_stay_cached(engine: Engine) -> None:
    job = prepared(engine)
    instance_id, dsn = job["result"]["instance_id"], job["result"]["dsn"]
    engine.ask("PUT", "/v1/names/shop", {"instance_id": instance_id})
    engine.stop()
    make_old(engine.store)
    for _ in range(2):
        started(engine)
        [instance] = engine.ask("GET", "/v1/instances")
        assert (instance["status"], instance["name"]) == ("active", "shop")
        assert rows(dsn) == CONTENT
        engine.stop()
    started(engine)
    with psycopg.connect(dsn) as connection:
        connection.execute("insert into t select generate_series(3, 1000)")
    again = prepared(engine, *RECIPE)
    cached = [task["cached"] for task in again["tasks"] if task["type"] == "state_execute"]
    assert cached == [True, True]
    assert engine.ask("POST", "/v1/cache/verify?deep") == {"checked": 2, "total": 2}
    remove_instances(engine)
    check_nothing_is_left(engine)


def test_an_upgrade_that_was_killed_goes_on_where_it_was(engine: Engine) -> None:
    dsn = prepared(engine)["result"]["dsn"]
    engine.stop()
    if not list(engine.store.glob("instances/*/overlay")):
        pytest.skip("only overlay has something to move")
    make_old(engine.store)
    for moment in ("before=kill", "after=kill", "before=kill@2", "after=kill@2"):
        if engine.start({faults.FAULTS: f"statefs.upgrade.{moment}"}):
            engine.stop()  # it was done before
    started(engine)
    assert rows(dsn) == CONTENT
    remove_instances(engine)
    check_nothing_is_left(engine)
