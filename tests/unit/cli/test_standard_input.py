"""Whether anything is on standard input, and what a run does if not."""

import io
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pgstrata.cli.standard_input import check_not_empty
from pgstrata.errors import InvalidArgumentError
from tests.unit.cli.conftest import Pgstrata
from tests.unit.client.fake_engine import FakeEngine


@pytest.fixture(params=["pipe", "socket", "file"])
def given(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[io.RawIOBase]:
    """The other end of standard input."""
    with ExitStack() as resources:
        if request.param == "pipe":
            reading, writing = os.pipe()
            ours = os.fdopen(writing, "wb", buffering=0)
        elif request.param == "socket":
            one, other = socket.socketpair()
            reading, ours = one.detach(), os.fdopen(other.detach(), "wb", buffering=0)
        else:
            ours = (tmp_path / "script").open("wb", buffering=0)
            reading = os.open(tmp_path / "script", os.O_RDONLY)
        resources.callback(ours.close)
        monkeypatch.setattr("sys.stdin", resources.enter_context(os.fdopen(reading)))
        yield ours


def test_an_input_that_ends_at_once_is_refused(given: io.RawIOBase) -> None:
    given.close()
    with pytest.raises(InvalidArgumentError, match="empty"):
        check_not_empty()


def test_what_comes_is_left_where_it_is(given: io.RawIOBase) -> None:
    given.write(b"select 1")
    given.close()
    check_not_empty()
    assert sys.stdin.read() == "select 1"


def test_a_file_that_was_read_already_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "script").write_text("select 1")
    with (tmp_path / "script").open() as script:
        script.read()
        monkeypatch.setattr("sys.stdin", script)
        with pytest.raises(InvalidArgumentError):
            check_not_empty()


@pytest.mark.parametrize(
    "words", [("run:psql", "-f", "-"), ("prepare:psql", "-c", "select 1", "run:psql", "-qf-")]
)
def test_a_run_of_nothing_is_refused_as_a_prepare_of_nothing_is(
    fake: FakeEngine, pgstrata: Pgstrata, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        ran = pgstrata(*words)
    assert (ran.exit_code, "standard input is empty" in ran.err, fake.asked) == (2, True, [])
