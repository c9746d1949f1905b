"""The HTTP face over real connections: what only a server and a socket can show."""

import asyncio
import http.client
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import msgspec

from tests.http_server import served
from tests.unit.httpapi.driver import BEARER, TOKEN
from tests.unit.httpapi.engine import MemoryEngine
from tests.unit.httpapi.samples import REQUEST

JOBS = "/v1/prepare-jobs"


class _Watched(MemoryEngine):
    """Tells another thread when the last that waited for an event has stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.left = threading.Event()

    async def wait_for_event(self, job_id: str, number: int) -> bool:
        try:
            return await super().wait_for_event(job_id, number)
        finally:
            self.left.set()


@contextmanager
def connected(url: str) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=300)
    with closing(connection):
        yield connection


def test_a_connection_is_kept_for_one_request_after_another() -> None:
    engine = MemoryEngine(at_once=True)
    with served(engine.service, TOKEN) as url, connected(url) as connection:
        connection.request("POST", JOBS, msgspec.json.encode(REQUEST), dict(BEARER))
        accepted = msgspec.json.decode(connection.getresponse().read())
        sock = connection.sock
        connection.request("GET", accepted["events_url"], headers=dict(BEARER))
        events = connection.getresponse().read().splitlines()
        connection.request("GET", accepted["status_url"], headers=dict(BEARER))
        assert msgspec.json.decode(connection.getresponse().read())["status"] == "succeeded"
        assert msgspec.json.decode(events[-1])["status"] == "succeeded"
        assert connection.sock is sock


def test_a_client_that_hangs_up_ends_its_stream_and_not_the_job() -> None:
    engine = _Watched()
    job = asyncio.run(engine.job())
    with served(engine.service, TOKEN) as url:
        with connected(url) as connection:
            connection.request("GET", f"{JOBS}/{job.job_id}/events", headers=dict(BEARER))
            response = connection.getresponse()
            assert b"queued" in response.readline()
            assert not engine.left.is_set()
            response.close()
        assert engine.left.wait(300)
    assert engine.jobs == {job.job_id: job}


def test_head_has_no_body_on_the_wire() -> None:
    with served(MemoryEngine().service, TOKEN) as url, connected(url) as connection:
        connection.request("HEAD", JOBS, headers=dict(BEARER))
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"")
        assert response.headers["content-length"] == "2"
