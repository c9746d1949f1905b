"""A store that an earlier version wrote goes on under this one."""

import asyncio
import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from pgstrata.domain.cache import Totals
from pgstrata.domain.job import Status
from pgstrata.domain.plan import TaskInput
from pgstrata.domain.reason import Evidence, StepRecord
from pgstrata.domain.request import PrepareRequest
from pgstrata.prepare import transitions
from pgstrata.queue.sqlite import SqliteQueue
from pgstrata.runtime.postmaster import Postmaster, postmaster_of
from pgstrata.sqlite.database import Database
from pgstrata.sqlite.schema import MIGRATIONS
from pgstrata.store.sqlite import SqliteStore
from tests import old_stores

NOON = datetime(2025, 5, 1, 12, tzinfo=UTC)
OLD_VERSIONS = sorted(old_stores.versions())


def state_id(number: int) -> str:
    return f"{number:064x}"


def test_every_version_that_was_left_behind_is_kept_to_be_tested() -> None:
    assert list(range(1, len(MIGRATIONS))) == OLD_VERSIONS


@pytest.fixture(params=OLD_VERSIONS, ids=lambda version: f"version {version}")
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "pgstrata.db"
    old_stores.make(request.param, path)
    return path


def test_an_old_store_has_the_same_tables_as_a_new_one_once_it_is_opened(
    path: Path, tmp_path: Path
) -> None:
    fresh = tmp_path / "fresh.db"

    async def open_both() -> None:
        for each in (path, fresh):
            async with await Database.open(each):
                pass

    asyncio.run(open_both())
    assert _columns(path) == _columns(fresh)


def test_an_old_store_s_jobs_states_and_instances_go_on(path: Path) -> None:
    async def scenario() -> None:
        async with await Database.open(path) as database:
            queue, store = SqliteQueue(database), SqliteStore(database)
            states = await store.states()
            assert [state.state_id for state in states] == [state_id(n) for n in (1, 2, 3)]
            assert [state.pinned for state in states] == [False] * 3
            assert await store.count_states() == Totals(states=3, size_bytes=28_000_000)
            [instance] = await store.instances()
            assert await store.expired(NOON + timedelta(hours=2)) == [instance]

            # The state with the instance stays, and the one that both others were made from.
            later = NOON + timedelta(days=1)
            [loose] = await store.evictable(created_before=later, limit=9)
            assert loose.state_id == state_id(3)
            await store.remove_state(state_id(3))
            await store.remove_instance(instance.instance_id)
            [loose] = await store.evictable(created_before=later, limit=9)
            assert loose.state_id == state_id(2)
            await store.add_state(replace(states[2], size_bytes=1))
            assert (await store.count_states()).size_bytes == 21_000_001

            running, finished = [job for job in await queue.jobs() if job.error is None]
            assert (finished.status, running.status) == (Status.SUCCEEDED, Status.RUNNING)
            assert await queue.unfinished() == [running]
            assert await queue.count_events(finished.job_id) == 7
            plan, first, last = await queue.tasks(running.job_id)
            assert [task.task_id for task in (plan, first, last)] == [
                "plan",
                "execute-0",
                "prepare-instance",
            ]
            moved = transitions.tasks_moved(running, [replace(first, status=Status.RUNNING)], later)
            assert await queue.apply(moved)

    asyncio.run(scenario())


def test_what_an_old_store_says_of_errors_is_told_as_it_is_now(tmp_path: Path) -> None:
    path = tmp_path / "pgstrata.db"
    old_stores.make(2, path)

    async def scenario() -> None:
        async with await Database.open(path) as database:
            queue = SqliteQueue(database)
            failed = [job for job in await queue.jobs() if job.error is not None]
            assert {job.error.code: job.error.details for job in failed if job.error} == {
                "step_failed": (
                    "correct seed.sql, line 1, and prepare again\n\n"
                    'ERROR:  relation "nowhere" does not exist\nLINE 1: select * from nowhere'
                ),
                "program_failed": "\nit said 'no'",
                "unreadable_job": "prepare again",
                "cancelled": None,
            }
            for job in failed:
                _, log, error, _ = await queue.events(job.job_id)
                assert error.error == job.error
                assert log.message == 'a "remedy"'

    asyncio.run(scenario())


def test_nothing_is_claimed_of_what_an_old_store_s_states_were_made_of(path: Path) -> None:
    async def scenario() -> None:
        async with await Database.open(path) as database:
            store = SqliteStore(database)
            [first, *_] = await store.states()
            start = TaskInput(kind="image", id=first.image_id)
            step = StepRecord(
                state_id=state_id(9), start=start, kind="psql", title="", digest="", parts={}
            )
            found = await store.evidence([state_id(1), state_id(9)], step)
            assert found == Evidence(stored=(state_id(1),))

    asyncio.run(scenario())


def test_what_a_state_of_an_old_store_was_made_of_is_known_until_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "pgstrata.db"
    old_stores.make(6, path)

    async def scenario() -> None:
        async with await Database.open(path) as database:
            store = SqliteStore(database)
            assert await store.run_before([state_id(1), state_id(2)]) == {state_id(1)}
            for instance in await store.instances():
                await store.remove_instance(instance.instance_id)
            for number in (3, 2, 1):
                await store.remove_state(state_id(number))
            assert await store.run_before([state_id(1)]) == frozenset()

    asyncio.run(scenario())


def test_a_body_of_an_old_store_that_is_no_json_does_not_keep_it_from_being_opened(
    tmp_path: Path,
) -> None:
    path = tmp_path / "pgstrata.db"
    old_stores.make(2, path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE jobs SET body = X'ff7b' WHERE finish_number IS NULL")
    connection.commit()
    connection.close()

    async def scenario() -> None:
        async with await Database.open(path) as database:
            assert len(await SqliteQueue(database).unreadable()) == 1

    asyncio.run(scenario())


def test_an_old_store_s_servers_are_connected_to_and_known_again(tmp_path: Path) -> None:
    path = tmp_path / "pgstrata.db"
    old_stores.make(2, path)
    with_birth = f"{8:032x}"
    connection = sqlite3.connect(path)
    connection.execute(
        "INSERT INTO instances (instance_id, state_id, image_id, body)"
        " SELECT ?1, state_id, image_id, CAST(json_set(CAST(body AS TEXT),"
        " '$.instance_id', ?1, '$.name', null, '$.server.birth', 'boot:7') AS BLOB) FROM instances",
        (with_birth,),
    )
    connection.commit()
    connection.close()

    async def scenario() -> None:
        async with await Database.open(path) as database:
            store = SqliteStore(database)
            for instance_id, birth in ((f"{7:032x}", None), (with_birth, "boot:7")):
                instance = await store.instance(instance_id)
                assert instance is not None
                assert instance.dsn == "postgresql://postgres:secret@127.0.0.1:40000/postgres"
                server = instance.server
                assert server.endpoint.socket_dir == Path("/store/run")
                assert server.runtime_id == "4711"
                directory = Path("/store/instances", f"{7:032x}")
                assert server.title == f"the server on {directory / 'data'}"
                assert server.log == str(directory / "server.log")
                assert postmaster_of(server) == Postmaster(
                    pid=4711,
                    started=1746100800.25,
                    image_id=instance.image_id,
                    data_dir=directory / "data",
                    birth=birth,
                )

    asyncio.run(scenario())


def test_an_instance_of_an_old_store_that_is_no_json_does_not_keep_it_from_being_opened(
    tmp_path: Path,
) -> None:
    path = tmp_path / "pgstrata.db"
    old_stores.make(2, path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE instances SET body = X'ff7b'")
    connection.commit()
    connection.close()

    async def scenario() -> None:
        async with await Database.open(path) as database:
            assert len(await SqliteStore(database).states()) == 3

    asyncio.run(scenario())


LB_REQUEST = {
    "prepare_kind": "lb",
    "image_id": "postgres",
    "labels": {"psql_args": "a label"},
    "liquibase_args": ["update", '--changelog-file=a "b".xml'],
    "liquibase_exec": "/opt/it's here/liquibase",
    "liquibase_env": {"A": "1", "B": 'x"y'},
}


@pytest.mark.parametrize("path", [1, 2], indirect=True)
def test_what_a_request_had_of_its_kind_s_own_goes_on_meaning_the_same(path: Path) -> None:
    connection = sqlite3.connect(path)
    [(body,)] = connection.execute("SELECT body FROM jobs WHERE seq = 1")
    job = {**json.loads(body), "request": LB_REQUEST}
    connection.execute("UPDATE jobs SET body = ? WHERE seq = 1", (json.dumps(job).encode(),))
    connection.commit()
    connection.close()

    async def scenario() -> None:
        async with await Database.open(path) as database:
            queue = SqliteQueue(database)
            liquibase, psql = [await queue.get(f"{n:032x}") for n in (1, 2)]
            assert liquibase is not None
            assert psql is not None
            assert liquibase.request == PrepareRequest(
                prepare_kind="lb",
                image_id="postgres",
                labels={"psql_args": "a label"},
                fields={
                    name: value
                    for name, value in LB_REQUEST.items()
                    if name.startswith("liquibase_")
                },
            )
            assert psql.request.fields == {"psql_args": ["-f", "1.sql"]}
            assert psql.request.work_dir == "/recipes"

    asyncio.run(scenario())


def _columns(path: Path) -> list[tuple[str, str]]:
    connection = sqlite3.connect(path)
    rows = connection.execute(
        'SELECT m.type, m.name, c.name, c.type, c."notnull" FROM sqlite_master m'
        " LEFT JOIN pragma_table_info(m.name) c ORDER BY 1, 2, 3"
    ).fetchall()
    connection.close()
    return rows
