"""Which ``engine.json`` is believed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pgstrata.client.discovery import alive, find
from tests.unit.client.discovered import engine_file, write_engine_file
from tests.unit.client.fake_engine import FakeEngine, health


@pytest.fixture
def fake() -> Iterator[FakeEngine]:
    with FakeEngine().serving() as engine:
        yield engine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "engine.json"


def ended_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as program:
        pass
    return program.pid


def test_an_engine_that_answers_as_itself_is_found(fake: FakeEngine, path: Path) -> None:
    found = find(write_engine_file(path, engine_file(fake)))
    assert found is not None
    assert found.engine.endpoint == fake.endpoint
    found.engine.close()


def test_the_connection_that_was_checked_is_used_further(fake: FakeEngine, path: Path) -> None:
    fake.on("GET", "/v1/states", [])
    found = find(write_engine_file(path, engine_file(fake)))
    assert found is not None
    found.engine.states()
    found.engine.close()
    assert len(fake.connections) == 1


def test_a_dead_process_is_not_asked(fake: FakeEngine, path: Path) -> None:
    assert find(write_engine_file(path, engine_file(fake, pid=ended_pid()))) is None
    assert fake.asked == []


def test_a_process_that_ended_but_was_not_reaped_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as program:
        os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
        assert not alive(program.pid)


def test_another_engine_at_the_same_endpoint_is_not_it(fake: FakeEngine, path: Path) -> None:
    fake.on("GET", "/v1/health", health("f" * 32))
    assert find(write_engine_file(path, engine_file(fake))) is None


@pytest.mark.parametrize("answer", [b"<html>", [1, 2], None, {"ok": True}])
def test_something_else_at_the_endpoint_is_not_it(
    fake: FakeEngine, path: Path, answer: Any
) -> None:
    fake.on("GET", "/v1/health", answer)
    assert find(write_engine_file(path, engine_file(fake))) is None


def test_nothing_at_the_endpoint_is_no_engine(path: Path) -> None:
    with FakeEngine().serving() as gone:
        fields = engine_file(gone)
    assert find(write_engine_file(path, fields)) is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"endpoint": "http://127.0.0.1:1"}']
)
def test_garbage_is_no_engine(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert find(path) is None


def test_no_file_is_no_engine(path: Path) -> None:
    assert find(path) is None


@pytest.mark.parametrize(
    "wrong",
    [{"pid": -1}, {"pid": 0}, {"pid": 2**70}, {"pid": "x"}, {"pid": None}, {"endpoint": "ftp://x"}],
)
def test_a_file_with_nonsense_in_it_is_no_engine(
    fake: FakeEngine, path: Path, wrong: dict[str, Any]
) -> None:
    assert find(write_engine_file(path, engine_file(fake, **wrong))) is None
