"""Stores on which something goes wrong, and how to see that they work."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.resilience.audit import leftovers
from tests.resilience.engine import Engine, Json
from tests.resilience.forked import ForkedEngine
from tests.resilience.kills import rows_of, tear_down

RECIPE = ("-c", "create table t as select 1 as n", "-c", "insert into t values (2)")
CONTENT = [1, 2]


@contextmanager
def store_in(
    directory: Path, backend: str = "auto", made: type[Engine] = ForkedEngine
) -> Iterator[Engine]:
    """An engine on a new store, and nothing of it afterwards."""
    engine = made(directory / "store", backend)
    try:
        yield engine
    finally:
        if engine.process is not None:
            engine.kill()
        tear_down(engine.store)


def started(engine: Engine, environment: dict[str, str] | None = None) -> Engine:
    assert engine.start(environment), "\n".join(engine.said[-20:])
    return engine


def prepared(engine: Engine, *words: str) -> Json:
    """A job, seen through to its end."""
    return engine.ended(engine.submit(*(words or RECIPE)))


def check_it_works(engine: Engine) -> Json:
    """A prepare succeeds, and nothing is left lying about."""
    job = prepared(engine)
    assert job["status"] == "succeeded", job
    assert rows_of(job) == CONTENT
    engine.ask("DELETE", f"/v1/instances/{job['result']['instance_id']}?force=true")
    check_nothing_is_left(engine)
    return job


def check_nothing_is_left(engine: Engine) -> None:
    found = leftovers(engine.store, engine.pid)
    assert not found, "; ".join(found)


def remove_instances(engine: Engine) -> None:
    for instance in engine.ask("GET", "/v1/instances"):
        engine.ask("DELETE", f"/v1/instances/{instance['instance_id']}?force=true")
