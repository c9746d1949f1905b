"""The demonstration, interrupted: whatever it was doing, it clears up."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.acceptance.conftest import Terminal


@pytest.fixture
def place(pgstrata: Terminal) -> Path:
    """Where the demonstration puts its things."""
    directory = pgstrata.home / "tmp"
    directory.mkdir(mode=0o711)
    return directory


INTERRUPTED_ONCE_IT_RUNS = """
import signal, sys
from pgstrata.cli.main import main
from pgstrata.client import connect

start = connect.start

def interrupted(configuration):
    found = start(configuration)
    signal.raise_signal(signal.SIGINT)
    return found

connect.start = interrupted
sys.exit(main(["demo"]))
"""


@contextmanager
def demonstration(
    pgstrata: Terminal, place: Path, *, command: Sequence[str | Path] = ()
) -> Iterator["subprocess.Popen[str]"]:
    """The demonstration, running; at its end here it is gone and has left nothing."""
    environment = pgstrata.environment | {"TMPDIR": str(place)}
    with subprocess.Popen(
        command or [*pgstrata.command, "demo"], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        process.communicate()
    assert process.returncode in (0, 130)
    assert list(place.iterdir()) == []
    assert processes_at(place) == []


def processes_at(place: Path) -> list[list[str]]:
    """The command lines of the processes that mention a place."""
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [words for words in lines if any(str(place) in word for word in words)]


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("The scripts", marks=pytest.mark.slow),
        pytest.param("Now build it.", marks=pytest.mark.slow),
        "Throw them away:",
    ],
)
def test_an_interrupted_demonstration_leaves_nothing(
    pgstrata: Terminal, place: Path, moment: str
) -> None:
    with demonstration(pgstrata, place) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith(moment):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)


def test_a_demonstration_interrupted_while_its_engine_starts_leaves_nothing(
    pgstrata: Terminal, place: Path
) -> None:
    with demonstration(pgstrata, place) as process:
        while not list(place.glob("*/store/engine.lock")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)


def test_a_demonstration_interrupted_just_as_its_engine_has_started_leaves_nothing(
    pgstrata: Terminal, place: Path
) -> None:
    command = [sys.executable, "-c", INTERRUPTED_ONCE_IT_RUNS]
    with demonstration(pgstrata, place, command=command) as process:
        process.wait()
    assert process.returncode == 130


def test_a_demonstration_interrupted_while_an_instance_starts_leaves_nothing(
    pgstrata: Terminal, place: Path
) -> None:
    with demonstration(pgstrata, place) as process:
        while not list(place.glob("*/store/instances/*")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)


def test_an_interrupt_while_the_demonstration_clears_up_does_not_hinder_it(
    pgstrata: Terminal, place: Path
) -> None:
    with demonstration(pgstrata, place) as process:
        while not (discovery := list(place.glob("*/store/engine.json"))):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        # The engine has ended, and its store is about to go.
        while discovery[0].exists():
            continue
        process.send_signal(signal.SIGINT)
