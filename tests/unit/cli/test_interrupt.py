"""Ctrl+C while a job is watched."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pgstrata.cli.for_eval import LINE
from pgstrata.cli.interrupt import Choice, ask_with
from tests.unit.cli.script import CANCELLED, DSN, FAILED, SUCCESS, script_job
from tests.unit.client.fake_engine import JOB_ID, Cut, FakeEngine

pytestmark = pytest.mark.usefixtures("hangups_are_heard")

SOURCE = Path(__file__).parents[3] / "src"
WORDS = [sys.executable, "-m", "pgstrata", "watch", JOB_ID]
PATIENCE_SECONDS = 120.0


@pytest.mark.parametrize(
    ("keys", "choice"),
    [
        ("d", Choice.DETACH),
        ("D", Choice.DETACH),
        ("\x1b", Choice.CONTINUE),
        ("\n", Choice.CONTINUE),
        ("sy", Choice.STOP),
        ("snd", Choice.DETACH),
        ("s\n\n", Choice.CONTINUE),
    ],
)
def test_keys_choose_and_stopping_asks_once_more(keys: str, choice: Choice) -> None:
    pressed = iter(keys)
    assert ask_with(lambda: next(pressed)) is choice
    assert list(pressed) == []


@pytest.mark.parametrize("before", ["", "s"])
def test_another_interrupt_stops_the_job(before: str) -> None:
    pressed = iter(before)

    def read() -> str:
        for key in pressed:
            return key
        raise KeyboardInterrupt

    assert ask_with(read) is Choice.STOP


@contextmanager
def watching(fake: FakeEngine) -> Iterator["subprocess.Popen[str]"]:
    """The real command without a terminal, once it waits for the rest of a job."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        WORDS, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        assert "[1/2] cached" in process.stderr.readline()
        yield process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_client_that_is_ended_says_that_the_job_goes_on_and_how_to_watch_it(
    fake: FakeEngine, number: signal.Signals
) -> None:
    script_job(fake, SUCCESS)
    fake.cuts = [Cut(6, "silent")]
    with watching(fake) as process:
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, out) == (128 + number, f"{LINE}\n")
    assert f"pgstrata watch {JOB_ID}" in err
    assert "Traceback" not in err
    assert fake.requests("POST", f"/v1/prepare-jobs/{JOB_ID}/cancel") == []


class Screen:
    """The real command at a terminal of its own."""

    def __init__(self, *, script: bool = False, out: Path | None = None) -> None:
        """``script``: whether its standard input is something else. ``out``: its output; then it
        ignores hangups as well.
        """
        self.seen = ""
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            if script:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            if out is not None:
                os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT), 1)
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
            os.execve(WORDS[0], WORDS, {**os.environ, "PYTHONPATH": str(SOURCE), "TERM": "xterm"})

    def until(self, text: str) -> None:
        """Read until this is on the screen."""
        assert self._comes(text, PATIENCE_SECONDS), f"{text!r} did not come: {self.seen!r}"

    def interrupt_until(self, text: str) -> None:
        """Press Ctrl+C until this is on the screen.

        Python does not see one that comes just before it waits for a connection until something
        comes over that. An engine says something all the time, but not the fake one.
        """
        self.press(b"\x03")
        if not self._comes(text, PATIENCE_SECONDS / 4):
            self.press(b"\x03")
            self.until(text)

    def _comes(self, text: str, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            left = deadline - time.monotonic()
            readable, _, _ = select.select([self._terminal], [], [], max(left, 0))
            if not readable:
                return False
            self.seen += os.read(self._terminal, 4096).decode()
        return True

    def press(self, keys: bytes) -> None:
        os.write(self._terminal, keys)

    def close(self) -> None:
        os.close(self._terminal)

    def exit_code(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        with suppress(OSError):
            self.close()
        return os.waitstatus_to_exitcode(status)


def test_a_job_can_be_stopped_from_the_terminal(fake: FakeEngine) -> None:
    script_job(fake, FAILED)
    fake.cuts = [Cut(7, "silent")]
    terminal = Screen()
    terminal.until("INSERT 0 100")
    terminal.interrupt_until("[s] stop  [d] detach  [Esc/Enter] continue")
    terminal.press(b"s")
    terminal.until("[y/N]")
    terminal.press(b"y")
    terminal.until("error: seed.sql failed")
    assert terminal.exit_code() == 1
    assert len(fake.requests("POST", f"/v1/prepare-jobs/{JOB_ID}/cancel")) == 1
    assert fake.ranges == [None, "events=7-"]


@pytest.mark.parametrize("script", [False, True])
def test_pressing_it_twice_stops_the_job_whatever_standard_input_is(
    fake: FakeEngine, script: bool
) -> None:
    script_job(fake, CANCELLED)
    fake.cuts = [Cut(7, "silent")]
    terminal = Screen(script=script)
    terminal.until("INSERT 0 100")
    terminal.interrupt_until("[s] stop")
    terminal.press(b"\x03")
    terminal.until("[2/2] cancelled  -f seed.sql")
    terminal.until("error: it was cancelled")
    assert terminal.exit_code() == 1
    assert len(fake.requests("POST", f"/v1/prepare-jobs/{JOB_ID}/cancel")) == 1


def test_who_has_stopped_the_job_need_not_wait_for_that(fake: FakeEngine) -> None:
    script_job(fake, CANCELLED)
    fake.cuts = [Cut(7, "silent"), Cut(0, "silent")]
    terminal = Screen()
    terminal.until("INSERT 0 100")
    terminal.interrupt_until("[s] stop")
    terminal.press(b"s")
    terminal.until("[y/N]")
    terminal.press(b"y")
    terminal.until("stopping")
    terminal.interrupt_until("is being stopped")
    assert terminal.exit_code() == 130


def test_a_client_that_loses_its_terminal_ends_in_good_order(fake: FakeEngine) -> None:
    script_job(fake, SUCCESS)
    fake.cuts = [Cut(7, "silent")]
    terminal = Screen()
    terminal.until("INSERT 0 100")
    terminal.close()
    assert terminal.exit_code() == 128 + signal.SIGHUP
    assert fake.requests("POST", f"/v1/prepare-jobs/{JOB_ID}/cancel") == []


def test_a_client_that_ignores_hangups_does_its_work_without_its_terminal(
    fake: FakeEngine, tmp_path: Path
) -> None:
    script_job(fake, SUCCESS)
    fake.cuts = [Cut(7, "silent")]
    terminal = Screen(out=tmp_path / "out")
    terminal.until("INSERT 0 100")
    terminal.close()
    fake.closing.set()
    assert terminal.exit_code() == 0
    assert (tmp_path / "out").read_text() == f"DSN={DSN}\n"


def test_going_on_after_an_interrupt_misses_nothing(fake: FakeEngine) -> None:
    script_job(fake, SUCCESS)
    fake.cuts = [Cut(7, "silent")]
    terminal = Screen()
    terminal.until("INSERT 0 100")
    terminal.interrupt_until("continue")
    terminal.press(b"\n")
    terminal.until("DSN=")
    assert terminal.exit_code() == 0
    assert fake.requests("POST", f"/v1/prepare-jobs/{JOB_ID}/cancel") == []
