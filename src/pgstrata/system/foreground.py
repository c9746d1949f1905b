"""Programs at the caller's terminal: they have this process's input, output and directory.

Unlike the programs in ``subprocesses`` they are not kept from anything, and nothing that they read
or write passes through this process.
"""

import os
import signal
import subprocess
from collections.abc import Mapping
from types import FrameType
from typing import NoReturn

from pgstrata.errors import InvalidArgumentError
from pgstrata.system.signals import handling, is_in_foreground

_PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)

_FROM_KEYS = frozenset({signal.SIGINT, signal.SIGQUIT})

_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def become(argv: tuple[str, ...], env: Mapping[str, str]) -> NoReturn:
    """Replace this process with a program. Raises ``InvalidArgumentError`` if that is not one."""
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(argv[0], argv, dict(env))  # noqa: S606 - there is no shell in between
    except OSError as error:
        raise _not_started(argv, error) from error


def run(argv: tuple[str, ...], env: Mapping[str, str]) -> int:
    """Run a program to its end, and return its exit code: 128 + n if signal n ended it.

    Signals that should end this process go to the program instead, which decides. Raises
    ``InvalidArgumentError`` if it cannot be started.
    """
    signals = _Signals()
    # What we were told to ignore, the program ignores as well.
    with handling(_PASSED_ON, signals.take):
        try:
            process = subprocess.Popen(argv, env=dict(env))
        except OSError as error:
            raise _not_started(argv, error) from error
        signals.to(process)
        code = process.wait()
    return code if code >= 0 else 128 - code


class _Signals:
    """Signals on their way to a program."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    def to(self, process: "subprocess.Popen[bytes]") -> None:
        """Pass on those that came already, and those that come."""
        self._process = process
        for number in self._early:
            process.send_signal(number)

    def take(self, number: int, _frame: FrameType | None) -> None:
        """Pass one on, unless the terminal has sent it to the program as well."""
        if number in _FROM_KEYS and is_in_foreground():
            return
        if self._process is None:
            self._early.append(number)
        else:
            self._process.send_signal(number)


def _not_started(argv: tuple[str, ...], error: OSError) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"cannot start {argv[0]}: {error.strerror}", remedy="check the command's name and its path"
    )
