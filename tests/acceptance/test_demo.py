"""The demonstration, interrupted: whatever it was doing, it clears up."""

import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.acceptance.conftest import Terminal


def processes_at(place: Path) -> list[list[str]]:
    """The command lines of the processes that mention a place."""
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [words for words in lines if any(str(place) in word for word in words)]


@pytest.mark.parametrize(
    "moment", ["An engine, on a store of its own:", "Now build it.", "Throw them away:"]
)
def test_an_interrupted_demonstration_leaves_nothing(
    pgstrata: Terminal, reachable_dir: Path, moment: str
) -> None:
    place = reachable_dir / "tmp"
    place.mkdir(mode=0o711)
    with subprocess.Popen(
        [*pgstrata.command, "demo"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=pgstrata.environment | {"TMPDIR": str(place)},
    ) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith(moment):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        # A second one, while it clears up.
        while process.stdout.readline():
            process.send_signal(signal.SIGINT)
    assert process.returncode in (0, 130)
    assert list(place.iterdir()) == []
    assert processes_at(place) == []
