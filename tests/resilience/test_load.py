"""Much at once: servers that wait by the hundred, floods of output, of input and of steps."""

import resource
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.filesystems import memory_place
from tests.resilience.engine import Engine, Json, RefusedError
from tests.resilience.stores import check_it_works, prepared, started, store_in

FEW = 256
"""How many descriptors the engine may have when it is started."""


@pytest.fixture(scope="module")
def running() -> Iterator[Engine]:
    """An engine that runs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with memory_place() as directory, store_in(directory) as engine:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, hard))
        try:
            started(engine)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        yield engine
        engine.stop()


# Servers that wait


ASLEEP = {"bgwriter_delay": "10s", "wal_writer_delay": "10s", "io_method": "sync"}


def shown(job: Json) -> dict[str, str]:
    """Some of the settings of a job's server; those that its major knows."""
    with psycopg.connect(job["result"]["dsn"]) as connection:
        workers = "select count(*) from pg_stat_activity where backend_type = 'io worker'"
        assert connection.execute(workers).fetchall() == [(0,)]
        names = "select name, current_setting(name) from pg_settings where name = any(%s)"
        return dict(connection.execute(names, [list(ASLEEP)]).fetchall())


def test_the_processes_of_a_server_sleep_while_nobody_uses_it(running: Engine) -> None:
    plain = prepared(running, "-c", "select 1")
    assert shown(plain).items() <= ASLEEP.items()
    # That they are as we have them says nothing about what is in a state.
    said = running.ended(running.submit("-c", "select 1", settings=shown(plain)))
    assert said["result"]["state_id"] == plain["result"]["state_id"]
    own = running.ended(running.submit("-c", "select 1", settings={"bgwriter_delay": "1s"}))
    assert shown(own)["bgwriter_delay"] == "1s"


def test_no_server_is_started_that_would_take_the_engines_last_descriptors(running: Engine) -> None:
    assert running.pid is not None
    soft, hard = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)
    assert soft > FEW or soft == hard
    used = len(list(Path(f"/proc/{running.pid}/fd").iterdir()))
    # Enough to answer with.
    resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (used + 8, hard))
    with pytest.raises(RefusedError) as refused:
        prepared(running)
    resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert refused.value.body["code"] == "host_limit"
    assert "files open" in refused.value.body["message"]
    check_it_works(running)
