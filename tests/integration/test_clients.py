"""Both clients over real connections: the same is asked of each, and comes to the same."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from pgstrata import AsyncClient, Client, psql
from pgstrata.api.codec import ENCODER
from pgstrata.domain.job import Event, Status
from pgstrata.errors import (
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    StepFailedError,
    UnauthorizedError,
    UnreachableError,
    WaitedTooLongError,
)
from tests.http_server import served
from tests.unit.client.discovered import engine_file, write_engine_file
from tests.unit.client.fake_engine import JOB_ID, Cut, FakeEngine
from tests.unit.client.fake_engine import TOKEN as TOKEN_OF_FAKE
from tests.unit.httpapi.driver import TOKEN
from tests.unit.httpapi.engine import MemoryEngine
from tests.unit.httpapi.samples import a_name, a_state, an_instance

RECIPE = psql().then("select 1")
STATE, CHILD, INSTANCE = "5a" * 32, "c1" * 32, "1d" * 16

Ask = Callable[..., Any]
"""Calls a client's method, ``states.list`` say; a list of what it returns bit by bit."""


@contextmanager
def waiting(**place: Any) -> Iterator[Ask]:
    """A client that waits."""
    with Client(**place) as client:

        def ask(path: str, *args: Any, **kwargs: Any) -> Any:
            result = method_of(client, path)(*args, **kwargs)
            return list(result) if isinstance(result, Iterator) else result

        yield ask


@contextmanager
def awaited(**place: Any) -> Iterator[Ask]:
    """A client that is awaited, on a loop of its own."""
    with asyncio.Runner() as runner:
        client = AsyncClient(**place)

        async def result_of(path: str, *args: Any, **kwargs: Any) -> Any:
            result = method_of(client, path)(*args, **kwargs)
            if isinstance(result, AsyncIterator):
                return [item async for item in result]
            return await result

        yield lambda *args, **kwargs: runner.run(result_of(*args, **kwargs))
        runner.run(client.close())


def method_of(client: Any, path: str) -> Any:
    for name in path.split("."):
        client = getattr(client, name)
    return client


BOTH = pytest.mark.parametrize("client", [waiting, awaited])


@pytest.fixture(scope="module")
def engine_and_url() -> Iterator[tuple[MemoryEngine, str]]:
    engine = MemoryEngine()
    with served(engine.service, TOKEN) as url:
        yield engine, url


@pytest.fixture
def engine(engine_and_url: tuple[MemoryEngine, str]) -> MemoryEngine:
    """An engine in memory, with a state, its child, and an instance that somebody uses."""
    engine, _ = engine_and_url
    engine.at_once, engine.jobs, engine.in_use = False, {}, {INSTANCE}
    engine.state_rows = {STATE: a_state(STATE), CHILD: a_state(CHILD, kind="lb", parent=STATE)}
    engine.instance_rows = {INSTANCE: an_instance(INSTANCE, name="dev")}
    engine.name_rows = {"dev": a_name("dev", instance_id=INSTANCE)}
    return engine


@pytest.fixture
def url(engine_and_url: tuple[MemoryEngine, str]) -> str:
    return engine_and_url[1]


@BOTH
def test_lists_are_read_item_by_item_and_have_types(
    client: Callable[..., Any], engine: MemoryEngine, url: str
) -> None:
    with client(endpoint=url, token=TOKEN) as ask:
        assert ask("states.list") == list(engine.state_rows.values())
        assert [state.state_id for state in ask("states.list", kind="lb")] == [CHILD]
        assert ask("states.get", STATE) == engine.state_rows[STATE]
        assert ask("names.unbind", "dev") is None
        assert ask("instances.list") == list(engine.instance_rows.values())
        assert ask("diff", "a", "b", rows=True).rows is not None
        assert ask("config.schema")


@BOTH
def test_an_error_has_the_class_of_its_code(
    client: Callable[..., Any], engine: MemoryEngine, url: str
) -> None:
    with client(endpoint=url, token=TOKEN) as ask:
        with pytest.raises(NotFoundError) as missing:
            ask("states.get", "0" * 64)
        assert missing.value.code == "not_found"
        with pytest.raises(ConflictError, match="was not removed") as blocked:
            ask("states.remove", STATE)
        assert blocked.value.details == f"state {STATE}: has descendants"
        with pytest.raises(ConflictError):
            ask("instances.remove", INSTANCE)
        with pytest.raises(InvalidArgumentError, match="id_prefix"):
            ask("states.list", id_prefix="xyz")
        with pytest.raises(InvalidArgumentError, match="by its name"):
            ask("instances.get", "dev")
        assert ask("states.remove", STATE, recurse=True).outcome == "deleted"
    with client(endpoint=url, token="wrong") as ask, pytest.raises(UnauthorizedError):
        ask("states.list")


@BOTH
def test_what_is_cached_takes_one_request(client: Callable[..., Any]) -> None:
    result = {
        "dsn": "postgresql://127.0.0.1/postgres",
        **dict.fromkeys(("image_id", "prepare_kind", "prepare_args_normalized"), "psql"),
        "instance_id": INSTANCE,
        "state_id": STATE,
    }
    job = {"job_id": JOB_ID, "status": "succeeded", "prepare_kind": "psql", "image_id": "postgres"}
    with FakeEngine().serving() as fake:
        fake.on("POST", "/v1/prepare-jobs", {**job, "result": result})
        with client(endpoint=fake.endpoint, token=TOKEN_OF_FAKE) as ask:
            assert ask("prepare", RECIPE).id == INSTANCE
    assert [asked.query for asked in fake.asked] == [{"wait": "2"}]


@BOTH
def test_what_takes_longer_is_followed_to_its_end(client: Callable[..., Any]) -> None:
    error = {"code": "step_failed", "message": "psql: no such table", "details": "\nLINE 1"}
    with FakeEngine().serving() as fake:
        accepted = {"job_id": JOB_ID, "status": "queued", "status_url": "", "events_url": ""}
        fake.on("POST", "/v1/prepare-jobs", accepted, 201)
        at = {"ts": "2026-05-04T12:00:00Z"}
        fake.events = [
            {"type": "status", "status": "queued", **at},
            {"type": "log", "message": "hello", **at},
            {"type": "error", "error": error, **at},
            {"type": "status", "status": "failed", **at},
        ]
        seen: list[Event] = []
        with client(endpoint=fake.endpoint, token=TOKEN_OF_FAKE) as ask:
            with pytest.raises(StepFailedError, match="no such table") as failed:
                ask("prepare", RECIPE, on_event=seen.append)
            assert failed.value.details == "LINE 1"
    assert [event.type for event in seen] == ["status", "log", "error", "status"]


@BOTH
def test_a_job_goes_on_to_be_followed_when_the_connection_is_lost(
    client: Callable[..., Any],
) -> None:
    with FakeEngine().serving() as fake:
        fake.events = [
            {"type": "status", "status": status, "ts": "2026-05-04T12:00:00Z"}
            for status in ("queued", "running", "running", "succeeded")
        ]
        fake.cuts = [Cut(1), Cut(0, "torn"), Cut(1, "ended")]
        accepted = {"job_id": JOB_ID, "status": "queued", "status_url": "", "events_url": ""}
        fake.on("POST", "/v1/prepare-jobs", accepted, 201)
        job = {"job_id": JOB_ID, "status": "succeeded", "prepare_kind": "psql", "image_id": "p"}
        fake.on("GET", f"/v1/prepare-jobs/{JOB_ID}", job)
        with client(endpoint=fake.endpoint, token=TOKEN_OF_FAKE) as ask:
            assert ask("plan", RECIPE).status is Status.SUCCEEDED
    assert fake.ranges[-1] == "events=2-"


@BOTH
def test_a_job_that_takes_too_long_is_stopped(
    client: Callable[..., Any], engine: MemoryEngine, url: str
) -> None:
    with client(endpoint=url, token=TOKEN) as ask, pytest.raises(WaitedTooLongError):
        ask("prepare", RECIPE, timeout=0.2)
    assert [job.error.code for job in engine.jobs.values() if job.error] == ["cancelled"]


@BOTH
def test_a_job_whose_waiting_is_interrupted_is_stopped(
    client: Callable[..., Any], engine: MemoryEngine, url: str
) -> None:
    def interrupt(_event: Event) -> None:
        raise KeyboardInterrupt

    with client(endpoint=url, token=TOKEN) as ask, pytest.raises(KeyboardInterrupt):
        ask("prepare", RECIPE, on_event=interrupt)
    assert [job.error.code for job in engine.jobs.values() if job.error] == ["cancelled"]


def test_a_job_is_stopped_though_it_is_not_known_yet_when_its_task_is_cancelled(
    engine: MemoryEngine, url: str
) -> None:
    submitted = threading.Event()
    engine.waited = cast("Any", submitted)

    async def cancelled() -> None:
        client = AsyncClient(endpoint=url, token=TOKEN)
        preparing = asyncio.create_task(client.prepare(RECIPE))
        await asyncio.to_thread(submitted.wait)
        preparing.cancel()
        await asyncio.wait((preparing,))
        assert preparing.cancelled()
        await client.close()

    asyncio.run(cancelled())
    assert [job.error.code for job in engine.jobs.values() if job.error] == ["cancelled"]


@contextmanager
def hanging_up() -> Iterator[tuple[str, list[bytes]]]:
    """Somebody who reads requests and hangs up; the URL, and the first lines of the requests."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            while True:
                try:
                    caller, _ = listener.accept()
                except OSError:
                    return
                with caller:
                    requests.append(caller.recv(65536).partition(b"\r\n")[0])

        thread = threading.Thread(target=listen)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@BOTH
@pytest.mark.parametrize(
    ("method", "args", "times"),
    [
        ("states.get", (STATE,), 2),
        ("states.list", (), 2),
        ("states.pin", (STATE,), 2),
        ("jobs.cancel", (JOB_ID,), 2),
        ("prepare", (RECIPE,), 1),
        ("instances.snapshot", (INSTANCE,), 1),
        ("instances.remove", (INSTANCE,), 1),
    ],
)
def test_only_what_may_be_done_twice_is_sent_again(
    client: Callable[..., Any], method: str, args: tuple[Any, ...], times: int
) -> None:
    with hanging_up() as (url, requests):
        with client(endpoint=url, token=TOKEN) as ask, pytest.raises(UnreachableError):
            ask(method, *args)
        assert len(requests) == times


@BOTH
def test_the_next_engine_is_found_when_the_one_before_is_gone(
    client: Callable[..., Any], tmp_path: Path
) -> None:
    with client(store=tmp_path) as ask:
        for _ in range(2):
            with FakeEngine().serving() as fake:
                write_engine_file(tmp_path / "engine.json", engine_file(fake))
                fake.on(
                    "POST", f"/v1/instances/{INSTANCE}/reset", ENCODER.encode(an_instance(INSTANCE))
                )
                assert ask("instances.reset", INSTANCE).instance_id == INSTANCE


def test_any_number_of_threads_may_use_a_client(engine: MemoryEngine, url: str) -> None:
    with Client(endpoint=url, token=TOKEN) as client:
        seen: list[int] = []
        threads = [
            threading.Thread(target=lambda: seen.append(len(list(client.states.list()))))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [2] * 8


def test_a_list_can_be_left_in_the_middle_and_other_requests_made_meanwhile(
    engine: MemoryEngine, url: str
) -> None:
    with Client(endpoint=url, token=TOKEN) as client:
        for state in client.states.list():
            assert client.states.pin(state.state_id).pinned
            break


def test_a_client_of_the_environment_reads_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".pgstrata").mkdir()
    (tmp_path / ".pgstrata" / "config.yaml").write_text("image: postgres:13\n")
    assert Client().configuration.image == "postgres:13"
    variables = {"PGSTRATA_IMAGE": "postgres:15", "PGSTRATA_PROFILE": "of a file"}
    assert Client.from_env(variables).configuration.image == "postgres:15"
    assert AsyncClient.from_env({}).configuration.image == "postgres"
