"""Engines forked from one process that has everything imported: that is most of a start's work.

But for that they are what the installed command starts: processes of their own, with their own
environment, killed and waited for like others.
"""

import multiprocessing
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import TextIO

from pgstrata.cli.main import main
from tests.resilience.engine import Engine, Process

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    [
        *("pgstrata.cli.commands.engine_serve", "pgstrata.engine.process"),
        *("pgstrata.kinds.psql.kind", "pgstrata.kinds.liquibase.kind"),
    ]
)

_one_at_a_time = threading.Lock()
"""Whoever starts a process looks after all others, too, and must not do so while they are."""


class ForkedEngine(Engine):
    """The engine of one store, forked each time."""

    def _spawn(self, words: Sequence[str], environment: Mapping[str, str]) -> Process:
        return _Forked(words, environment)


class _Forked:
    """``pgstrata`` with these words."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        reading, writing = _forks.Pipe(duplex=False)
        with reading, writing, _one_at_a_time:
            self._process = _forks.Process(target=_run, args=(words, environment, writing))
            self._process.start()
            self.stderr: TextIO = os.fdopen(os.dup(reading.fileno()), encoding="utf-8")
        assert self._process.pid is not None
        self.pid = self._process.pid

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        if not wait([self._process.sentinel], timeout):
            raise TimeoutError(f"process {self.pid} has not ended within {timeout} s")
        with _one_at_a_time:
            self._process.join()
            assert self._process.exitcode is not None
            return self._process.exitcode


def _run(words: Sequence[str], environment: Mapping[str, str], output: Connection) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output.fileno(), stream.fileno())
    sys.exit(main(words))
