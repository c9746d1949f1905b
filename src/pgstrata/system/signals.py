"""Signals to this process, and the terminal that some of them come from."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGHUP, signal.SIGTERM)
"""Those that ask a process to end: its terminal is gone, or somebody wants it to."""

TERMINAL = "/dev/tty"
"""Our terminal, whatever our input and output are."""


@contextmanager
def handling(
    numbers: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], None] | int
) -> Iterator[None]:
    """Handle signals so, but for those that this process was started to ignore."""
    before = {
        number: signal.signal(number, handler)
        for number in numbers
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)


def ignore(numbers: Iterable[signal.Signals]) -> None:
    """Ignore signals from now on."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def is_in_foreground() -> bool:
    """Return whether keys at our terminal send signals to our process group."""
    try:
        terminal = os.open(TERMINAL, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
