"""``watch`` through broken connections, restarts and kills: no line twice, none lost."""

import itertools
import json
import os
import re
import select
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from pgstrata.system.output import GOES_ON
from tests.acceptance.conftest import Terminal

TALKING = "".join(f"\\echo line {number}\nselect pg_sleep(0.02);\n" for number in range(100))
"""A script that has something to say for two seconds or more."""


def submitted(pgstrata: Terminal, *words: str) -> str:
    """The id of a new job that nobody watches."""
    started = pgstrata("prepare:psql", "--no-watch", "--", *words)
    return started.stdout.strip().removeprefix("JOB=")


def events_of(pgstrata: Terminal, job_id: str) -> list[Any]:
    """What the engine has kept of a job that is at its end."""
    file = pgstrata.engine_file()
    request = urllib.request.Request(
        f"{file['endpoint']}/v1/prepare-jobs/{job_id}/events",
        headers={"Authorization": f"Bearer {file['authToken']}"},
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        return [json.loads(line) for line in answer]


def shown(stderr: str) -> list[str]:
    """The lines of tools that ``-v`` shows, which are indented."""
    return [line.strip() for line in stderr.splitlines() if line.startswith("      ")]


def assert_shown_once(pgstrata: Terminal, job_id: str, stderr: str) -> None:
    logged = [
        event["message"].strip() for event in events_of(pgstrata, job_id) if event["type"] == "log"
    ]
    assert shown(stderr) == logged
    assert len(logged) >= 100


@contextmanager
def watching(
    pgstrata: Terminal, job_id: str, **environment: str
) -> Iterator["subprocess.Popen[str]"]:
    """``pgstrata -v watch``, once it has shown that it hears something."""
    process = subprocess.Popen(
        [*pgstrata.command, "-v", "watch", job_id],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=pgstrata.work,
        env={**pgstrata.environment, **environment},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def until_heard(process: "subprocess.Popen[str]", text: str) -> str:
    """What it says on stderr up to a line with this text."""
    assert process.stderr is not None
    heard = ""
    for line in process.stderr:
        heard += line
        if text in line:
            return heard
    raise AssertionError(heard)


def rest_of(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """What else it says, on stdout and stderr, until it ends well."""
    assert process.stdout is not None
    assert process.stderr is not None
    # Not with communicate(), which passes over what was read ahead.
    err, out = process.stderr.read(), process.stdout.read()
    assert process.wait(timeout=300) == 0, err
    return out, err


def test_a_killed_engine_is_replaced_and_the_job_followed_on(shared: Terminal) -> None:
    shared.write("talk.sql", TALKING)
    job_id = submitted(shared, "-f", "talk.sql")
    with watching(shared, job_id) as process:
        heard = until_heard(process, "line 10")
        engine = psutil.Process(shared.engine_file()["pid"])
        engine.kill()
        engine.wait()
        out, err = rest_of(process)
    assert out.startswith("DSN=")
    assert_shown_once(shared, job_id, heard + err)


def test_an_engine_that_is_stopped_and_started_again_is_found_again(shared: Terminal) -> None:
    shared.write("talk.sql", TALKING)
    job_id = submitted(shared, "-f", "talk.sql")
    with watching(shared, job_id) as process:
        heard = until_heard(process, "line 10")
        shared("engine", "stop")
        shared("engine", "start", exit_code=None)
        out, err = rest_of(process)
    assert out.startswith("DSN=")
    assert_shown_once(shared, job_id, heard + err)


def test_connections_that_break_again_and_again_cost_no_line(pgstrata: Terminal) -> None:
    pgstrata.write("talk.sql", TALKING)
    job_id = submitted(pgstrata, "-f", "talk.sql")
    file = pgstrata.engine_file()
    with breaking(urlsplit(file["endpoint"]).netloc, after=1500) as (endpoint, broken):
        environment = {"PGSTRATA_ENDPOINT": endpoint, "PGSTRATA_TOKEN": file["authToken"]}
        with watching(pgstrata, job_id, **environment) as process:
            out, err = rest_of(process)
        assert len(broken) > 3
    assert out.startswith("DSN=")
    assert_shown_once(pgstrata, job_id, err)


@contextmanager
def breaking(
    address: str, *, after: int = 1 << 30, request: re.Pattern[bytes] | None = None
) -> Iterator[tuple[str, list[int]]]:
    """A way to the engine whose connections break after so many bytes; and each that broke.

    Also every second time that they are to carry such a request.
    """
    requests = itertools.count()
    host, _, port = address.rpartition(":")
    broken: list[int] = []
    over = threading.Event()

    def carry(client: socket.socket) -> None:
        with client, socket.create_connection((host, int(port))) as engine:
            passed = 0
            while passed < after and not over.is_set():
                for ready in select.select([client, engine], [], [], 0.1)[0]:
                    data = b""
                    with suppress(ConnectionResetError):  # closed with something left unread
                        data = ready.recv(500)
                    if not data:
                        return
                    if request and request.search(data) and next(requests) % 2 == 0:
                        broken.append(passed)
                        return
                    with suppress(OSError):
                        (engine if ready is client else client).sendall(data)
                    passed += len(data) if ready is engine else 0
            broken.append(passed)

    def accept() -> None:
        while not over.is_set():
            if select.select([listener], [], [], 0.1)[0]:
                carriers.append(threading.Thread(target=carry, args=(listener.accept()[0],)))
                carriers[-1].start()

    carriers: list[threading.Thread] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", broken
        finally:
            over.set()
            for thread in (accepting, *carriers):
                thread.join()


@pytest.mark.parametrize(
    ("words", "asked_for"),
    [
        (("prepare:psql", "--", "-c", "select 1", "run:exec", "--", "true"), rb"POST .*/start "),
        (
            ("prepare:psql", "--on-error=continue", "--", "-c", "select 1/0"),
            rb"GET /v1/prepare-jobs/\w+ ",
        ),
        (("plan:psql", "--", "-c", "select 1"), rb"GET /v1/prepare-jobs/\w+ "),
        (("watch",), rb"GET /v1/instances/"),
    ],
)
def test_an_engine_that_is_lost_after_the_job_is_asked_again(
    shared: Terminal, words: tuple[str, ...], asked_for: bytes
) -> None:
    if words == ("watch",):
        words = ("watch", submitted(shared, "-c", "select 1"))
    shared("engine", "start", exit_code=None)
    file = shared.engine_file()
    with breaking(urlsplit(file["endpoint"]).netloc, request=re.compile(asked_for)) as (
        endpoint,
        broken,
    ):
        way = {"PGSTRATA_ENDPOINT": endpoint, "PGSTRATA_TOKEN": file["authToken"]}
        shared(*words, environment=way)
        assert broken


def test_a_step_is_watched_and_stopped_at_a_terminal(shared: Terminal) -> None:
    shared("engine", "start")
    ours, its = os.openpty()
    words = ("prepare:psql", "--", "-c", r"\echo asleep", "-c", "select pg_sleep(600)")
    environment = {**shared.environment, "TERM": "xterm"}
    with subprocess.Popen(
        ["setsid", "--ctty", *shared.command, *words],
        stdin=its,
        stdout=its,
        stderr=its,
        cwd=shared.work,
        env=environment,
    ) as process:
        os.close(its)
        shown = ""
        for text, key in (
            ("] 2/2  -c 'select pg_sleep(600)'", b"\x03"),
            ("[s] stop  [d] detach  [Esc/Enter] continue", b"\x03"),
            ("[2/2] cancelled  -c 'select pg_sleep(600)'", b""),
            ("error: the job was cancelled", b""),
        ):
            while text not in shown:
                shown += os.read(ours, 4096).decode()
            os.write(ours, key)
        assert process.wait(timeout=120) == 1
        os.close(ours)
    assert "[1/2] built" in shown
    assert "failed" not in shown


def test_a_line_of_ten_megabytes_comes_through_the_front_door_in_marked_pieces(
    shared: Terminal,
) -> None:
    job_id = submitted(
        shared, "-At", "-c", "select 'begin'||repeat('ä0123456789', 1000000)||'end' as long"
    )
    shared("watch", job_id)
    logged = [event["message"] for event in events_of(shared, job_id) if event["type"] == "log"]
    pieces = [message.removesuffix(GOES_ON) for message in logged]
    assert pieces[:-1] == [message[: -len(GOES_ON)] for message in logged[:-1]]
    assert "".join(pieces) == "begin" + "ä0123456789" * 1_000_000 + "end"
