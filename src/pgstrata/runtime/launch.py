"""Starts one server process: its command line, its settings and its log."""

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import MappingProxyType

from pgstrata.runtime.access import HBA_FILE, IDENT_FILE, SETTINGS_FILE
from pgstrata.runtime.cells import Places
from pgstrata.runtime.environment import MINIMAL_ENV
from pgstrata.runtime.ports import HOST
from pgstrata.settings import FIRST_MAJORS, THROW_AWAY_SETTINGS
from pgstrata.system import faults, processes, subprocesses
from pgstrata.system.cell.plan import Cell
from pgstrata.system.cell.spawning import Spawner
from pgstrata.system.output import TAIL_BYTES, Tail, end_of

_ENOUGH_BYTES = 64 << 10
"""More than a program writes that is run for a few words."""


class ServerLog:
    """What a server writes from now on: the file may have lines of earlier ones."""

    def __init__(self, path: Path) -> None:
        """Create the file if needed, readable only by its owner: it quotes failed statements."""
        self.path = path
        with faults.step("server.log"):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            self._start = os.lseek(descriptor, 0, os.SEEK_END)
        finally:
            os.close(descriptor)

    def tail(self) -> str:
        """The last lines written since. A server may have written more than memory can hold."""
        tail = Tail()
        tail.feed(end_of(self.path, self._start, TAIL_BYTES))
        return tail.text


def settings_text(data_dir: Path, settings: Mapping[str, str], *, major: int) -> str:
    """A server's file of settings: those that initdb wrote for its cluster, changed by these.

    Without those of our own that its major of PostgreSQL does not know. ``ALTER SYSTEM`` writes
    another file, which the server reads after this one.
    """
    lines = (
        f"{name} = {_quoted(value)}"
        for name, value in settings.items()
        if major >= FIRST_MAJORS.get(name, 0) or value != THROW_AWAY_SETTINGS[name]
    )
    return "\n".join((f"include {_quoted(str(data_dir / 'postgresql.conf'))}", *lines, ""))


def server_argv(
    bin_dir: Path,
    places: Places,
    port: int,
    *,
    building: bool,
    fixed: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """The server's command line: what no file in the data directory may change.

    ``places`` are as the server sees them. One that is ``building`` a state has no clients of its
    own. ``fixed``: more settings that are not to be changed.
    """
    always = {
        "config_file": str(places.rules / SETTINGS_FILE),
        "data_directory": str(places.data_dir),
        "listen_addresses": "" if building else HOST,
        "port": str(port),
        "unix_socket_directories": str(places.sockets),
        "unix_socket_group": "",
        # Enough to connect. Another mode would be asked about (``seccomp``).
        "unix_socket_permissions": "0600",
        "hba_file": str(places.rules / HBA_FILE),
        "ident_file": str(places.rules / IDENT_FILE),
        # If a server does not start, all its messages must be in one file.
        "logging_collector": "off",
        "log_destination": "stderr",
        # A clone of a database that archives must not write to that database's archive.
        "archive_mode": "off",
    }
    options = [f"{name}={value}" for name, value in {**fixed, **always}.items()]
    return [str(bin_dir / "postgres"), "-D", str(places.data_dir)] + [
        word for option in options for word in ("-c", option)
    ]


def _quoted(value: str) -> str:
    """A value as a file of settings has it."""
    escaped = value.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n")
    return f"'{escaped}'"


def spawn(argv: list[str], *, data_dir: Path, log: Path, user: str | None) -> int:
    """Start the server's process and return its pid. The caller waits for its exit.

    Raises ``ProgramError``.
    """
    with faults.step("server.spawn"):
        process: subprocess.Popen[bytes] = subprocesses.start_detached(
            argv, log=log, cwd=data_dir, env=MINIMAL_ENV, user=user
        )
    # It is waited for by its pid and may outlive us. Popen must think it exited, or it would warn.
    process.returncode = 0
    return process.pid


def spawn_in_cell(spawner: Spawner, cell: Cell, *, log: Path) -> int:
    """The same in a cell. What fails there is in the log. Raises ``ProgramError``."""
    with log.open("ab") as output, faults.step("server.spawn"):
        started = spawner.start(cell, stdin=None, stdout=output.fileno(), stderr=output.fileno())
    os.close(started.report)
    os.close(started.pidfd)
    return started.pid


async def run_in_cell(spawner: Spawner, cell: Cell, stdin: bytes) -> subprocesses.Ended:
    """Run a program in a cell to its end, and return the beginning of what it wrote.

    How it ended is not known. Raises ``ProgramError``.
    """
    with ExitStack() as files:
        given, *written = (
            files.enter_context(os.fdopen(os.memfd_create(name, os.MFD_CLOEXEC), "w+b"))
            for name in ("stdin", "stdout", "stderr")
        )
        given.write(stdin)
        given.seek(0)
        stdout, stderr = (one.fileno() for one in written)
        started = spawner.start(cell, stdin=given.fileno(), stdout=stdout, stderr=stderr)
        try:
            os.close(started.report)
            await processes.wait_readable(started.pidfd)
        finally:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(started.pidfd, signal.SIGKILL)
            os.close(started.pidfd)
        told, complained = (
            os.pread(one, _ENOUGH_BYTES, 0).decode("utf-8", "replace") for one in (stdout, stderr)
        )
        return subprocesses.Ended(exit_code=0, stdout=told, stderr=complained)
