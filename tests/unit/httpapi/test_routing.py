"""Paths and methods that are not there, and failures nobody foresaw."""

import asyncio
import errno
import logging
import os

import pytest
from starlette.types import Message

from pgstrata.domain.job import Job
from pgstrata.errors import StoreUnusableError
from pgstrata.httpapi.app import create_app
from tests.unit.httpapi.driver import TOKEN, Client, scenario
from tests.unit.httpapi.engine import MemoryEngine


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/nowhere", "/v1/prepare-jobs/", "/v2/health", "/v1/a%0Ab"]
)
@scenario
async def test_an_unknown_path_is_not_found(
    engine: MemoryEngine, client: Client, path: str
) -> None:
    answer = await client.get(path)
    assert (answer.status, answer.json()["code"]) == (404, "not_found")
    assert path in answer.json()["message"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/v1/health", "GET, HEAD"),
        ("PUT", "/v1/prepare-jobs", "GET, HEAD, POST"),
        ("OPTIONS", "/v1/states/x", "DELETE, GET, HEAD"),
        ("GET", "/v1/prepare-jobs/x/cancel", "POST"),
        ("HEAD", "/v1/prepare-jobs/x/cancel", "POST"),
        ("POST", "/v1/names/x", "DELETE, GET, HEAD, PUT"),
    ],
)
@scenario
async def test_an_unknown_method_on_a_known_path_is_told_which_there_are(
    engine: MemoryEngine, client: Client, method: str, path: str, allow: str
) -> None:
    answer = await client.ask(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allow)
    assert answer.json()["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/v1/status", "/v1/prepare-jobs", "/openapi.json"])
@scenario
async def test_head_answers_where_get_does(engine: MemoryEngine, client: Client, path: str) -> None:
    head, get = await client.ask("HEAD", path), await client.get(path)
    assert (head.status, head.headers) == (200, get.headers)


class _Failing(MemoryEngine):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def list_jobs(self, *, prefix: str = "") -> list[Job]:
        raise self.error


def test_a_failure_nobody_foresaw_is_logged_and_told_without_its_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = create_app(_Failing(RuntimeError("password=hunter2")).service, TOKEN)
    answer = asyncio.run(Client(app).get("/v1/prepare-jobs"))
    assert (answer.status, answer.json()["code"]) == (500, "internal_error")
    assert "hunter2" not in answer.body.decode()
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "password=hunter2"


def test_a_failure_of_the_machine_is_told_in_the_engine_s_words_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = StoreUnusableError("The store is full.", remedy="Make room.", details="ENOSPC")
    answer = asyncio.run(Client(create_app(_Failing(error).service, TOKEN)).get("/v1/prepare-jobs"))
    assert answer.status == 503
    assert answer.json() == {
        "code": "store_unusable",
        "message": "The store is full.",
        "details": "Make room.\n\nENOSPC",
    }
    assert len(caplog.records) == 1


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EMFILE, errno.ENOMEM])
def test_what_the_operating_system_says_of_the_machine_is_no_fault_of_ours(number: int) -> None:
    error = OSError(number, os.strerror(number), "/srv/store/states/x")
    answer = asyncio.run(Client(create_app(_Failing(error).service, TOKEN)).get("/v1/prepare-jobs"))
    assert (answer.status, answer.json()["code"]) == (503, "machine_failed")
    assert f"/srv/store/states/x: {os.strerror(number)}" in answer.json()["message"]


@pytest.mark.parametrize("number", [errno.EBADF, errno.EINVAL, errno.ENOENT])
def test_what_may_be_a_fault_of_ours_is_one(number: int) -> None:
    error = OSError(number, os.strerror(number))
    answer = asyncio.run(Client(create_app(_Failing(error).service, TOKEN)).get("/v1/prepare-jobs"))
    assert (answer.status, answer.json()["code"]) == (500, "internal_error")


def test_a_websocket_is_turned_away() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def connect() -> None:
        app = create_app(MemoryEngine().service, TOKEN)
        await app({"type": "websocket", "path": "/v1/status", "headers": []}, receive, send)

    asyncio.run(connect())
    assert [message["type"] for message in sent] == ["websocket.close"]
