"""What ended a server, a process of it or a tool, as the server's log and the kernel tell it."""

import asyncio
import re
import signal
from pathlib import Path

from pgstrata.runtime import postmaster
from pgstrata.runtime.base import Harm
from pgstrata.runtime.postmaster import LOG, Postmaster
from pgstrata.system.output import end_of
from pgstrata.system.processes import CRASHES, signal_name

_PATIENCE_SECONDS = 3.0
"""How long a server may take to tell of a process that a client has lost already."""
_LOOK_SECONDS = 0.02

_LOG_BYTES = 256 << 10
"""How much of a log's end is searched."""

# Later lines of a message begin with a tab, and what is logged of a statement with "statement:", so
# that none can look like these (LogChildExit and its callers in src/backend/postmaster).
_ENDED = re.compile(
    r"^[^\t].*?LOG:  (?P<what>[A-Za-z][A-Za-z ]*(?: \"[^\"\n]*\")?) \(PID (?P<pid>\d+)\) "
    r"(?:was terminated by signal (?P<number>\d+)|exited with exit code 2$)",
    re.MULTILINE,
)
"""Code 2 is that of a process that was told to quit at once: SIGQUIT."""
_SHUT_DOWN = re.compile(
    r"^[^\t].*?LOG:  received (?:smart|fast|immediate) shutdown request$", re.MULTILINE
)
_LOST = re.compile(
    r"server closed the connection|connection to server was lost|could not (?:receive|send) data"
    r"|because of crash of another server process|system is in recovery mode"
    r"|connection to server on socket .* failed: (?:Connection refused|No such file)"
    r"|I/O error occurred|connection has been closed|does not answer"
    # Of drivers that tools of others use: node-postgres, pgx and asyncpg.
    r"|Connection terminated unexpectedly|unexpected EOF|connection was closed in the middle"
)
_ASKED_FOR = "due to administrator command"


class Witness:
    """Watches a server from the moment that it is made."""

    def __init__(self, process: Postmaster) -> None:
        self._process = process
        self._log = process.data_dir.parent / LOG
        self._start = _size(self._log)
        self._killed_before = _killed_for_memory()

    async def harm(self, said: str) -> Harm | None:
        """See ``runtime.base.Witness``."""
        is_lost = _LOST.search(said) is not None and _ASKED_FOR not in said
        deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        while True:
            found = self._look()
            if found or not is_lost or asyncio.get_running_loop().time() > deadline:
                return found
            await asyncio.sleep(_LOOK_SECONDS)

    @property
    def memory(self) -> str:
        killed = _killed_for_memory() - self._killed_before
        if killed <= 0:
            return ""
        processes = "a process" if killed == 1 else f"{killed} processes"
        return f"; meanwhile the kernel ended {processes} for want of memory"

    def _look(self) -> Harm | None:
        written = self._written()
        found = _ENDED.search(written)
        if found is not None:
            number = int(found["number"] or signal.SIGQUIT)
            return Harm(
                what=f"the {found['what']} with pid {found['pid']} was ended by "
                f"{signal_name(number)}{self.memory}",
                from_outside=number not in CRASHES,
            )
        if not postmaster.is_running(self._process):
            return Harm(what=f"the server was ended{self.memory}", from_outside=True)
        if _SHUT_DOWN.search(written):
            return Harm(what="the server was told to shut down", from_outside=True)
        return None

    def _written(self) -> str:
        try:
            return end_of(self._log, self._start, _LOG_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _killed_for_memory() -> int:
    """How many processes the kernel has ended for want of memory since it was booted."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        pass
    return 0
