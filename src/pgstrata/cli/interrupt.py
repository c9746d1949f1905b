"""Ctrl+C while following a job: asks what to do, since the engine continues the job.

The question goes to the terminal whatever standard input is, which may be a script.
"""

import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

from pgstrata.system.signals import TERMINAL, is_in_foreground

ReadKey = Callable[[], str]


class Choice(Enum):
    """What to do about the job."""

    STOP = "stop"
    DETACH = "detach"
    CONTINUE = "continue"


def is_interactive() -> bool:
    """Return whether there is a person at a terminal to ask."""
    return sys.stderr.isatty() and is_in_foreground()


def ask() -> Choice:
    """Ask the person at the terminal."""
    # The terminal is set up before the question appears: a quick answer must not be lost.
    with _single_keys() as read_key:
        return ask_with(read_key)


def ask_with(read: ReadKey) -> Choice:
    """Ask, on stderr. Another Ctrl+C stops the job."""
    try:
        while True:
            _write("\n[s] stop  [d] detach  [Esc/Enter] continue ")
            choice = _choice(read())
            if choice is not Choice.STOP or _confirm(read):
                return choice
    except KeyboardInterrupt:
        return Choice.STOP
    finally:
        _write("\n")


def _confirm(read: ReadKey) -> bool:
    _write("\nstop the job and undo its step? [y/N] ")
    return read().lower() == "y"


def _choice(key: str) -> Choice:
    return {"s": Choice.STOP, "d": Choice.DETACH}.get(key.lower(), Choice.CONTINUE)


@contextmanager
def _single_keys() -> Iterator[ReadKey]:
    """Read keys without waiting for Enter. A key that sends several characters counts once."""
    terminal = os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)
        yield lambda: os.read(terminal, 32)[:1].decode("ascii", "replace")
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        os.close(terminal)


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
