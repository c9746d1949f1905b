"""A store's room, its states and its instances in the long run, as a user keeps them in bounds."""

import time
from collections.abc import Iterator
from contextlib import suppress

import psutil
import psycopg
import pytest

from pgstrata.domain.listing import InstanceEntry
from pgstrata.domain.state import State
from pgstrata.errors import NotFoundError
from tests.acceptance.conftest import Terminal

PATIENCE_SECONDS = 300
LOOK_SECONDS = 0.5
"""How long an instance's server is waited for before the instance is looked at again."""


def numbers(seed: int) -> tuple[str, str]:
    """A recipe of one step whose state holds some megabytes."""
    rows = f"select md5(n::text || '{seed}') from generate_series(1, 50000) n"
    return "-c", f"create table n as {rows}"


def state_of(pgstrata: Terminal, seed: int) -> str:
    """Prepare that, let go of the instance, and return the state's id."""
    pgstrata.prepare(*numbers(seed))
    with pgstrata.connected() as engine:
        [instance] = engine.instances()
        engine.remove("instance", instance.instance_id)
    return instance.state_id


def states(pgstrata: Terminal) -> dict[str, State]:
    with pgstrata.connected() as engine:
        return {state.state_id: state for state in engine.states()}


def until_gone(pgstrata: Terminal) -> Iterator[InstanceEntry]:
    """The only instance, again and again, until there is none."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with pgstrata.connected() as engine:
        while instances := engine.instances():
            assert time.monotonic() < deadline, instances
            [instance] = instances
            yield instance
            with suppress(NotFoundError, psutil.NoSuchProcess, psutil.TimeoutExpired):
                tree = engine.remove("instance", instance.instance_id, dry_run=True)
                psutil.Process(int(tree.root.runtime_id or "")).wait(LOOK_SECONDS)


@pytest.fixture
def small(pgstrata: Terminal) -> Terminal:
    """A store with one state, and room for three and a half like it."""
    state_id = state_of(pgstrata, 0)
    size = states(pgstrata)[state_id].size_bytes
    assert size is not None
    pgstrata("engine", "stop")
    pgstrata.environment |= {
        "PGSTRATA_CACHE_CAPACITY_MAXBYTES": str(int(size * 3.5)),
        "PGSTRATA_CACHE_CAPACITY_MINSTATEAGE": "0",
    }
    pgstrata("engine", "start")
    return pgstrata


def test_a_small_cache_takes_ever_new_states_and_keeps_the_pinned_one(small: Terminal) -> None:
    [pinned] = states(small)
    small("pin", pinned[:12])
    for seed in range(1, 5):
        last = state_of(small, seed)
        assert {pinned, last} <= states(small).keys()
        status = small.json("status", "--cache")
        assert status["usage_bytes"] <= status["effective_max_bytes"]
    assert status["last_eviction"]["evicted_count"] >= 1
    assert status["state_count"] == len(states(small)) < 5
    small("engine", "stop")
    assert small.json("status", "--cache")["last_eviction"] == status["last_eviction"]


def test_what_fits_into_no_cache_is_refused_with_a_reason_and_leaves_nothing(
    small: Terminal,
) -> None:
    before = states(small)
    huge = "create table n as select md5(n::text) from generate_series(1, 1000000) n"
    refused = small("--output", "json", "prepare:psql", "--", "-c", huge, exit_code=1)
    assert "cache_limit_too_small" in refused.stdout
    assert "cache.capacity.maxBytes" in refused.stderr
    assert states(small) == before
    assert small.json("ls", "-i")["instances"] == []


def test_a_damaged_state_is_found_thrown_out_and_built_again(pgstrata: Terminal) -> None:
    state_id = state_of(pgstrata, 0)
    assert "all of them sound" in pgstrata("cache", "verify").stdout
    (pgstrata.store / "states" / state_id / "marker").unlink()
    assert "no marker" in pgstrata("cache", "verify", exit_code=1).stdout
    assert "no marker" in pgstrata("cache", "verify", "--repair").stdout
    assert states(pgstrata) == {}
    assert state_of(pgstrata, 0) == state_id


def test_a_tree_with_a_connected_client_stays_whole(pgstrata: Terminal) -> None:
    dsn = pgstrata.prepare("-c", "create table a ()", "-c", "create table b ()")
    [instance] = pgstrata.json("ls", "-i")["instances"]
    [root] = [key for key, state in states(pgstrata).items() if state.parent_state_id is None]
    with psycopg.connect(dsn) as client:
        refused = pgstrata("rm", "-r", root, exit_code=4)
        assert "clients are connected" in refused.stdout
        assert client.execute("select 1").fetchone() == (1,)
        assert pgstrata.json("ls", "-i")["instances"] == [instance]
        assert len(states(pgstrata)) == 2
    assert "would delete" in pgstrata("rm", "-r", "--dry-run", root).stdout
    pgstrata("rm", "-r", root)
    assert states(pgstrata) == {}


def test_an_instance_goes_when_its_time_is_over_and_one_in_use_gets_more(
    pgstrata: Terminal,
) -> None:
    pgstrata.environment["PGSTRATA_INSTANCES_DEFAULTTTL"] = "1s"
    with psycopg.connect(pgstrata.prepare(*numbers(0))):
        for instance in until_gone(pgstrata):
            if instance.extensions:
                break
        else:
            pytest.fail("an instance went while a client was connected to it")
    pgstrata("rm", instance.instance_id)
    pgstrata.prepare(*numbers(0))
    for _ in until_gone(pgstrata):
        pass


def test_more_instances_than_there_may_be_are_refused(pgstrata: Terminal) -> None:
    pgstrata.environment["PGSTRATA_INSTANCES_MAX"] = "1"
    pgstrata.prepare(*numbers(0))
    refused = pgstrata("prepare:psql", "--", *numbers(0), exit_code=4)
    assert "at most 1" in refused.stderr
    assert "instances.max" in refused.stderr
