"""Stores whose database was moved away: nobody loses an instance by it, and few lose a state."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from tests.filesystems import memory_place
from tests.resilience.engine import Engine
from tests.resilience.stores import check_nothing_is_left, remove_instances, started, store_in

STEPS = ("-c", "create table t as select 1 as a", "-c", "insert into t values (2)")

UNKNOWN = ("use_count", "last_used_at", "build_seconds")
"""What of a state is not known exactly from its files."""


@pytest.fixture(params=["auto", pytest.param("copy", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with memory_place() as directory, store_in(directory, request.param) as one:
        yield started(one)


def prepare(engine: Engine, **more: Any) -> Any:
    """The instance that a prepare leads to."""
    request = {"prepare_kind": "psql", "image_id": "postgres", "psql_args": list(STEPS)}
    job_id = engine.ask("POST", "/v1/prepare-jobs", {**request, **more})["job_id"]
    return engine.ended(job_id)["result"]


def rows(engine: Engine) -> list[tuple[int]]:
    """What is in the table of the one instance."""
    [instance] = engine.ask("GET", "/v1/instances")
    assert instance["status"] == "active"
    with psycopg.connect(instance["dsn"]) as connection:
        return connection.execute("select a from t order by a").fetchall()


def lose_the_database(engine: Engine) -> None:
    """Kill the engine, and move its database away, as its remedy says."""
    engine.kill()
    (engine.store / "pgstrata.db").replace(engine.store.parent / "lost.db")


def adopted(engine: Engine) -> None:
    said = len(engine.said)
    assert engine.start(), engine.said[said:]
    assert "pgstrata.db was gone" in "\n".join(engine.said[said:])
    assert not (engine.store / "adopting").exists()


def of_all(engine: Engine, what: str, *but: str) -> list[Any]:
    found = engine.ask("GET", f"/v1/{what}")
    return [{name: entry[name] for name in entry.keys() - {*but}} for entry in found]


def test_instances_with_names_and_times_and_states_are_adopted(engine: Engine) -> None:
    prepare(engine, instance_name="shop", instance_ttl=86400)
    instances = of_all(engine, "instances")
    states = of_all(engine, "states", *UNKNOWN)
    lose_the_database(engine)
    adopted(engine)
    assert of_all(engine, "instances") == instances
    assert of_all(engine, "states", *UNKNOWN) == states
    assert rows(engine) == [(1,), (2,)]
    prepare(engine)
    [job] = engine.ask("GET", "/v1/prepare-jobs")
    tasks = engine.job(job["job_id"])["tasks"]
    assert [task["cached"] for task in tasks if "cached" in task] == [True, True]
    remove_instances(engine)
    check_nothing_is_left(engine)


def test_a_name_that_was_given_later_is_adopted_and_one_that_was_taken_is_not(
    engine: Engine,
) -> None:
    one = prepare(engine, instance_name="before")["instance_id"]
    other = prepare(engine, instance_name="gone")["instance_id"]
    engine.ask("PUT", "/v1/names/after", {"instance_id": one})
    engine.ask("DELETE", "/v1/names/gone")
    lose_the_database(engine)
    adopted(engine)
    names = {entry["instance_id"]: entry["name"] for entry in of_all(engine, "instances")}
    assert names == {one: "after", other: None}


def test_an_instance_outlives_a_state_that_cannot_be_adopted(engine: Engine) -> None:
    state = prepare(engine)["state_id"]
    lose_the_database(engine)
    (engine.store / "states" / state / "marker").write_bytes(b"{}")
    adopted(engine)
    assert f"state {state} cannot be adopted" in "\n".join(engine.said)
    assert rows(engine) == [(1,), (2,)]
    assert prepare(engine)["state_id"] == state


def test_an_instance_of_which_nothing_is_known_keeps_every_engine_from_starting(
    engine: Engine,
) -> None:
    instance = prepare(engine)
    [note] = (engine.store / "instances").glob("*/instance.json")
    engine.stop()  # whose database is whole without its log then
    away = engine.store.parent / "away.db"
    (engine.store / "pgstrata.db").replace(away)
    note.unlink()
    for _ in range(2):
        said = len(engine.said)
        assert not engine.start()
        told = "\n".join(engine.said[said:])
        assert str(note.parent) in told
        assert "put pgstrata.db back" in told
    with psycopg.connect(instance["dsn"]) as connection:
        assert connection.execute("select count(*) from t").fetchone() == (2,)

    away.replace(engine.store / "pgstrata.db")
    assert engine.start()
    assert rows(engine) == [(1,), (2,)]
    # It is known from now on.
    lose_the_database(engine)
    adopted(engine)
    assert rows(engine) == [(1,), (2,)]


KILLED_AT = (
    *("adoption.begin.after", "database.create.after", "store.add_state.after@2"),
    *("store.add_instance.before", "store.add_instance.after", "adoption.end.before"),
)


def test_a_kill_while_things_are_adopted_loses_none(engine: Engine) -> None:
    prepare(engine)
    for point in KILLED_AT:
        lose_the_database(engine)
        name, _, nth = point.partition("@")
        assert not engine.start({"PGSTRATA_FAULTS": f"{name}=kill@{nth or 1}"}), point
        assert engine.start(), point
        assert rows(engine) == [(1,), (2,)], point
        assert len(of_all(engine, "states")) == 2, point
        with closing(sqlite3.connect(engine.store / "pgstrata.db")) as database:
            [body] = database.execute("select body from instances").fetchone()
            assert json.loads(body), point
