"""The SQLite database: its file, its transactions, its versions, and what can go wrong with it."""

import asyncio
import os
import signal
import sqlite3
import stat
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from sqlite3 import Connection

import pytest

from pgstrata.domain.job import Event, Job, Status, Task, Transition
from pgstrata.domain.plan import PlanTask
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import ConflictError, StoreUnusableError
from pgstrata.queue.sqlite import SqliteQueue
from pgstrata.sqlite.database import Database
from pgstrata.sqlite.schema import MIGRATIONS
from pgstrata.store.sqlite import SqliteStore
from pgstrata.system import faults, subprocesses
from pgstrata.system.output import Lines, Stream

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pgstrata.db"


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def database(runner: asyncio.Runner, path: Path) -> Iterator[Database]:
    database = runner.run(Database.open(path))
    yield database
    runner.run(database.close())


def names(connection: Connection) -> list[str]:
    rows = connection.execute("SELECT job_id FROM jobs ORDER BY seq")
    return [name for (name,) in rows]


def add_name(connection: Connection, name: str) -> None:
    connection.execute(
        "INSERT INTO jobs (job_id, status, cancel_requested, body) VALUES (?, 'queued', 0, '')",
        (name,),
    )


def open_and_close(path: Path) -> None:
    async def visit() -> None:
        async with await Database.open(path):
            pass

    asyncio.run(visit())


def refusal_of(path: Path) -> StoreUnusableError:
    with pytest.raises(StoreUnusableError, match=str(path)) as refusal:
        open_and_close(path)
    assert refusal.value.remedy
    return refusal.value


def test_what_was_written_is_there_when_it_is_opened_again(path: Path) -> None:
    async def write() -> None:
        async with await Database.open(path) as database:
            await database.write(lambda connection: add_name(connection, "a"))

    async def read() -> list[str]:
        async with await Database.open(path) as database:
            return await database.read(names)

    asyncio.run(write())
    assert asyncio.run(read()) == ["a"]


def test_the_files_are_their_owners_alone(database: Database, path: Path) -> None:
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"pgstrata.db": 0o600, "pgstrata.db-wal": 0o600, "pgstrata.db-shm": 0o600}


def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    open_and_close(path)
    path.chmod(0o644)
    open_and_close(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_change_that_raises_leaves_no_trace(runner: asyncio.Runner, database: Database) -> None:
    def change(connection: Connection) -> None:
        add_name(connection, "a")
        raise ConflictError("something stands in the way")

    with pytest.raises(ConflictError, match="in the way"):
        runner.run(database.write(change))
    assert runner.run(database.read(names)) == []
    runner.run(database.write(lambda connection: add_name(connection, "b")))
    assert runner.run(database.read(names)) == ["b"]


def test_a_change_whose_caller_is_cancelled_is_finished_whole_and_in_silence(
    runner: asyncio.Runner, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    half_done, go_on = threading.Event(), threading.Event()

    def change(connection: Connection) -> None:
        add_name(connection, "a")
        half_done.set()
        go_on.wait()
        add_name(connection, "b")

    async def cancel_in_the_middle() -> list[str]:
        caller = asyncio.create_task(database.write(change))
        await asyncio.to_thread(half_done.wait)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        go_on.set()
        return await database.read(names)

    assert runner.run(cancel_in_the_middle()) == ["a", "b"]
    assert caplog.messages == []


def test_a_change_outlives_the_loop_of_its_caller(path: Path) -> None:
    database = asyncio.run(Database.open(path))
    go_on = threading.Event()

    def change(connection: Connection) -> None:
        go_on.wait()
        add_name(connection, "a")

    async def leave_soon() -> None:
        async with asyncio.timeout(0):
            await database.write(change)

    with pytest.raises(TimeoutError):
        asyncio.run(leave_soon())
    go_on.set()

    async def look() -> list[str]:
        async with database:
            return await database.read(names)

    assert asyncio.run(look()) == ["a"]


def test_the_event_loop_turns_while_the_database_works(
    runner: asyncio.Runner, database: Database
) -> None:
    turned = threading.Event()

    async def read_and_turn() -> bool:
        reading = asyncio.create_task(database.read(lambda _: turned.wait(timeout=60)))
        await asyncio.sleep(0)
        turned.set()
        return await reading

    assert runner.run(read_and_turn())


def test_a_read_sees_one_moment(runner: asyncio.Runner, database: Database, path: Path) -> None:
    def look_twice(connection: Connection) -> tuple[list[str], list[str]]:
        before = names(connection)
        with sqlite3.connect(path) as other:
            add_name(other, "a")
        other.close()
        return before, names(connection)

    assert runner.run(database.read(look_twice)) == ([], [])
    assert runner.run(database.read(names)) == ["a"]


def test_closing_twice_is_fine_and_leaves_no_thread(path: Path) -> None:
    threads = threading.active_count()

    async def open_and_close_twice() -> int:
        database = await Database.open(path)
        opened = threading.active_count()
        await database.close()
        await database.close()
        return opened

    assert asyncio.run(open_and_close_twice()) == threads + 2
    assert threading.active_count() == threads


def test_closing_finishes_what_was_asked_for(path: Path) -> None:
    async def ask_and_close() -> None:
        database = await Database.open(path)
        change = asyncio.create_task(database.write(lambda connection: add_name(connection, "a")))
        await asyncio.sleep(0)
        await database.close()
        await change

    asyncio.run(ask_and_close())
    with sqlite3.connect(path) as connection:
        assert names(connection) == ["a"]
    connection.close()


def test_a_closed_database_refuses_to_work(path: Path) -> None:
    async def use_after_close() -> None:
        database = await Database.open(path)
        await database.close()
        await database.read(names)

    with pytest.raises(StoreUnusableError, match="closed"):
        asyncio.run(use_after_close())


def test_opened_by_many_at_once_it_is_made_once(path: Path) -> None:
    async def open_many() -> list[str]:
        databases = await asyncio.gather(*(Database.open(path) for _ in range(8)))
        for number, database in enumerate(databases):
            await database.write(partial(add_name, name=str(number)))
        seen = await databases[0].read(names)
        for database in databases:
            await database.close()
        return seen

    assert asyncio.run(open_many()) == [str(number) for number in range(8)]


def test_an_older_schema_is_brought_up_to_date_and_keeps_its_rows(path: Path) -> None:
    newer = (*MIGRATIONS, ("ALTER TABLE jobs ADD COLUMN colour TEXT DEFAULT 'blue'",))

    async def write_old_read_new() -> list[tuple[str, str]]:
        async with await Database.open(path) as old:
            await old.write(lambda connection: add_name(connection, "a"))
        async with await Database.open(path, migrations=newer) as new:
            rows = await new.read(lambda c: c.execute("SELECT job_id, colour FROM jobs").fetchall())
        async with await Database.open(path, migrations=newer):
            return rows

    assert asyncio.run(write_old_read_new()) == [("a", "blue")]


def test_a_migration_that_fails_leaves_the_old_schema(path: Path) -> None:
    broken = (*MIGRATIONS, ("ALTER TABLE jobs ADD COLUMN colour TEXT", "NONSENSE"))

    async def open_with(migrations: tuple[tuple[str, ...], ...]) -> None:
        async with await Database.open(path, migrations=migrations):
            pass

    asyncio.run(open_with(MIGRATIONS))
    with pytest.raises(StoreUnusableError):
        asyncio.run(open_with(broken))
    asyncio.run(open_with((*MIGRATIONS, ("ALTER TABLE jobs ADD COLUMN colour TEXT",))))


def test_a_newer_schema_is_refused_and_both_versions_are_named(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 41}")
    connection.close()
    refusal = refusal_of(path)
    assert f"version {len(MIGRATIONS) + 41}" in refusal.message
    assert f"up to {len(MIGRATIONS)}" in refusal.message
    assert "newer pgstrata" in str(refusal.remedy)


def test_another_programs_database_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (cake TEXT)")
    connection.close()
    assert "from another program" in refusal_of(path).message
    with sqlite3.connect(path) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()
    assert tables == [("recipes",)]


def test_a_file_that_is_not_a_database_is_refused(path: Path) -> None:
    path.write_text("Dear diary, " * 100)
    assert "not a database" in refusal_of(path).message
    assert path.read_text() == "Dear diary, " * 100


def test_a_truncated_file_is_refused(path: Path) -> None:
    open_and_close(path)
    os.truncate(path, path.stat().st_size // 2)
    assert "damaged" in refusal_of(path).message


def test_a_damaged_page_gives_an_error_not_an_empty_answer(path: Path) -> None:
    async def write() -> None:
        async with await Database.open(path) as database:
            await database.write(lambda connection: add_name(connection, "a"))

    async def read() -> list[str]:
        async with await Database.open(path) as database:
            return await database.read(names)

    asyncio.run(write())
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(StoreUnusableError, match="damaged"):
        asyncio.run(read())


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    refusal = refusal_of(tmp_path / "nowhere" / "pgstrata.db")
    assert "No such file or directory" in refusal.message


def test_a_directory_in_place_of_the_file_is_refused(path: Path) -> None:
    path.mkdir()
    assert "cannot be opened" in refusal_of(path).message


def test_a_refused_opening_leaves_no_thread(path: Path) -> None:
    threads = threading.active_count()
    path.write_text("Dear diary, " * 100)
    refusal_of(path)
    assert threading.active_count() == threads


def test_a_database_that_stays_locked_is_refused(path: Path) -> None:
    async def write_while_locked() -> None:
        async with await Database.open(path, busy_seconds=0.01) as database:
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            try:
                await database.write(lambda connection: add_name(connection, "a"))
            finally:
                other.close()

    with pytest.raises(StoreUnusableError, match="locked by another program") as refusal:
        asyncio.run(write_while_locked())
    assert refusal.value.remedy


def test_a_lock_that_ends_in_time_is_waited_for(
    runner: asyncio.Runner, database: Database, path: Path
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def write_meanwhile() -> list[str]:
        writing = asyncio.create_task(database.write(lambda c: add_name(c, "a")))
        await asyncio.sleep(0)
        other.close()
        await writing
        return await database.read(names)

    assert runner.run(write_meanwhile()) == ["a"]


@pytest.mark.parametrize(
    ("limit", "message"),
    [("PRAGMA max_page_count = 1", "disk is full"), ("PRAGMA query_only = ON", "read-only")],
)
def test_a_disk_that_takes_no_more_is_named_and_nothing_is_half_written(
    runner: asyncio.Runner, database: Database, limit: str, message: str
) -> None:
    def add_much(connection: Connection) -> None:
        for number in range(100):
            add_name(connection, f"{number:01000}")

    runner.run(database.read(lambda connection: connection.execute(limit).fetchall()))
    with pytest.raises(StoreUnusableError, match=message) as refusal:
        runner.run(database.write(add_much))
    assert refusal.value.remedy
    assert refusal.value.details
    assert runner.run(database.read(names)) == []


def test_a_statement_that_is_wrong_is_translated_too(
    runner: asyncio.Runner, database: Database
) -> None:
    with pytest.raises(StoreUnusableError, match="refused a statement") as refusal:
        runner.run(database.read(lambda connection: connection.execute("SELECT nonsense")))
    assert "nonsense" in str(refusal.value.details)


def test_a_row_that_cannot_be_read_is_an_error_not_an_empty_answer(
    runner: asyncio.Runner, database: Database
) -> None:
    runner.run(database.write(lambda connection: add_name(connection, "a")))
    with pytest.raises(StoreUnusableError, match="row that cannot be read"):
        runner.run(SqliteQueue(database).get("a"))


def test_every_lookup_and_filtered_list_uses_an_index(
    runner: asyncio.Runner, database: Database
) -> None:
    queue, store = SqliteQueue(database), SqliteStore(database)
    prefix = "0" * 8

    async def ask_everything() -> None:
        await queue.get("a")
        await queue.jobs(prefix=prefix)
        await queue.unfinished()
        await queue.finished_alike("a")
        await queue.tasks("a")
        await queue.events("a", 3, 4)
        await queue.count_events("a")
        await queue.append("a", [])
        await queue.request_cancel("a")
        await queue.remove("a")
        await queue.apply(Transition(job=a_job(1), expected=frozenset(Status)))
        await store.state("a")
        await store.existing_states(["a", "b"])
        await store.remove_state("a")
        for kind in (None, "psql"):
            for image_id in (None, "postgres"):
                await store.states(kind=kind, image_id=image_id, id_prefix=prefix)
        await store.states(kind="psql")
        await store.states(image_id="postgres")
        await store.states(kind="psql", image_id="postgres")
        await store.instance("a")
        await store.instance_named("a")
        await store.instances(state_id="a")
        await store.instances(image_id="postgres")
        await store.instances(state_id="a", image_id="postgres", id_prefix=prefix)
        await store.remove_instance("a")

    plans = runner.run(plans_of(database, ask_everything()))
    assert len(plans) > 25
    assert {statement for statement, steps in plans.items() if scans(steps)} == set()


def test_a_prefix_is_looked_up_by_the_id_whatever_else_is_asked(
    runner: asyncio.Runner, database: Database
) -> None:
    store = SqliteStore(database)

    async def ask() -> None:
        await store.states(kind="psql", image_id="postgres", id_prefix="0" * 8)
        await store.instances(state_id="a", image_id="postgres", id_prefix="0" * 8)

    states, instances = runner.run(plans_of(database, ask())).values()
    assert "(state_id>? AND state_id<?)" in states[0]
    assert "(instance_id>? AND instance_id<?)" in instances[0]


async def plans_of(
    database: Database, questions: Coroutine[None, None, None]
) -> dict[str, list[str]]:
    """Each statement that is carried out for the questions, with SQLite's plan for it."""
    statements: list[str] = []

    def explain(connection: Connection) -> dict[str, list[str]]:
        connection.set_trace_callback(None)
        return {
            statement: [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
            for statement in statements
            if not statement.startswith(("BEGIN", "COMMIT", "--"))
        }

    for ask in (database.read, database.look_up):
        await ask(lambda connection: connection.set_trace_callback(statements.append))
    await questions
    await database.look_up(lambda connection: connection.set_trace_callback(None))
    return await database.read(explain)


def scans(steps: list[str]) -> bool:
    # An index that holds only the rows asked for is walked, and so is the list of a parameter.
    harmless = ("USING INDEX jobs_unfinished", "SCAN json_each")
    return any("SCAN" in step and not any(word in step for word in harmless) for step in steps)


def a_job(number: int, status: Status = Status.QUEUED) -> Job:
    return Job(
        job_id=f"{number:032x}",
        status=status,
        request=PrepareRequest(prepare_kind="psql", image_id="postgres"),
        prepare_args_normalized="-f a.sql",
        created_at=NOON,
    )


def step_of(number: int, before: Status, after: Status) -> Transition:
    """A transition that says in the job, in both its tasks and in an event how far the job is."""
    job = a_job(number, after)
    return Transition(
        job=job,
        expected=frozenset({before}),
        tasks=tuple(
            Task(
                job_id=job.job_id,
                status=after,
                spec=PlanTask(task_id=task_id, planner_kind="psql"),
            )
            for task_id in ("plan", "execute-0")
        ),
        events=(Event(type="status", ts=NOON, status=after),),
    )


async def work_until_killed(path: Path) -> None:
    """Take one job after the other to its end, and tell of each that is there."""
    print(os.getpid(), flush=True)
    number = 0
    async with await Database.open(path) as database:
        queue = SqliteQueue(database)
        while True:
            await queue.add(a_job(number), [Event(type="status", ts=NOON, status=Status.QUEUED)])
            await queue.apply(step_of(number, Status.QUEUED, Status.RUNNING))
            await queue.apply(step_of(number, Status.RUNNING, Status.SUCCEEDED))
            print(number, flush=True)
            number += 1


SO_FAR = {
    Status.QUEUED: [Status.QUEUED],
    Status.RUNNING: [Status.QUEUED, Status.RUNNING],
    Status.SUCCEEDED: [Status.QUEUED, Status.RUNNING, Status.SUCCEEDED],
}


def test_callers_that_wait_for_the_disk_share_the_wait_but_for_one_under_way(
    runner: asyncio.Runner, database: Database
) -> None:
    reached: list[str] = []
    all_ask = threading.Event()

    async def scenario() -> None:
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        def reach(point: str) -> None:
            if point.startswith("database.sync"):
                reached.append(point)
                loop.call_soon_threadsafe(begun.set)
                all_ask.wait()

        faults.arm(reach)
        first = asyncio.create_task(
            database.write(lambda connection: add_name(connection, "a"), durable=True)
        )
        await begun.wait()
        later = [asyncio.create_task(database.sync()) for _ in range(50)]
        await asyncio.sleep(0)  # they ask
        all_ask.set()
        await asyncio.gather(first, *later)

    runner.run(scenario())
    assert reached.count("database.sync.after") == 2
    assert runner.run(database.read(names)) == ["a"]


def fill(connection: Connection) -> None:
    connection.execute("CREATE TABLE filling (body BLOB)")
    connection.executemany("INSERT INTO filling VALUES (?)", [(bytes(100_000),)] * 300)


def empty(connection: Connection) -> None:
    connection.execute("DELETE FROM filling")


def sizes(path: Path) -> tuple[int, int]:
    return path.stat().st_size, path.with_name(path.name + "-wal").stat().st_size


@pytest.mark.parametrize("made_before", [False, True], ids=["new file", "earlier version's"])
def test_room_that_is_no_longer_needed_is_given_back(
    runner: asyncio.Runner, path: Path, *, made_before: bool
) -> None:
    if made_before:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE first (body BLOB)")
            connection.execute("DROP TABLE first")
    database = runner.run(Database.open(path))
    runner.run(database.write(lambda connection: add_name(connection, "a")))
    runner.run(database.write(fill))
    assert sum(sizes(path)) > 30_000_000
    runner.run(database.write(empty))
    runner.run(database.give_back())
    assert all(size < 9_000_000 for size in sizes(path))
    assert runner.run(database.read(names)) == ["a"]
    # What is left unused is used again.
    runner.run(database.write(lambda connection: add_name(connection, "b")))
    runner.run(database.give_back())
    assert runner.run(database.look_up(names)) == ["a", "b"]
    runner.run(database.close())


@pytest.mark.parametrize("jobs", [1, 7, 150])
def test_a_writer_killed_in_the_middle_leaves_every_transaction_whole(
    path: Path, jobs: int
) -> None:
    async def kill_a_writer() -> tuple[int, list[str]]:
        lines: list[str] = []

        async def read(stream: Stream, line: str) -> None:
            lines.append(line)
            if len(lines) == 1 + jobs:
                os.kill(int(lines[0]), signal.SIGKILL)

        code = await subprocesses.stream(
            [sys.executable, __file__, str(path)], on_output=Lines(read).feed
        )
        return code, lines[1:]

    async def check(acknowledged: int) -> None:
        async with await Database.open(path) as database:
            queue = SqliteQueue(database)
            stored = await queue.jobs()
            assert len(stored) >= acknowledged
            for job in stored:
                events, tasks = await queue.events(job.job_id), await queue.tasks(job.job_id)
                assert [event.status for event in events] == SO_FAR[job.status]
                assert [task.status for task in tasks] == (
                    [] if job.status is Status.QUEUED else [job.status, job.status]
                )
            done = [job for job in stored if job.status is Status.SUCCEEDED]
            assert len(done) >= acknowledged

    code, acknowledged = asyncio.run(kill_a_writer())
    assert code == 128 + signal.SIGKILL
    assert len(acknowledged) >= jobs
    asyncio.run(check(len(acknowledged)))


if __name__ == "__main__":
    asyncio.run(work_until_killed(Path(sys.argv[1])))
