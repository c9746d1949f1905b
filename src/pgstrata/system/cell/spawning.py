"""The engine's side of the spawner: starts programs in cells."""

import array
import os
import socket
import subprocess
import sys
import weakref
from pathlib import Path
from typing import NamedTuple

from pgstrata.errors import ProgramError
from pgstrata.system import processes
from pgstrata.system.cell import plan, spawner

CELLS = "PGSTRATA_CELLS"
"""The variable in a spawner's environment that names its store."""

_PACKAGES = Path(__file__).parents[3]

_ANSWER_SECONDS = 30.0
"""How long the spawner may take to start a process; it takes a millisecond."""


class Started(NamedTuple):
    """A process in a cell. It may have failed to become the program; then the report says why."""

    pid: int
    pidfd: int
    """Readable when it has ended. The caller closes it."""
    report: int
    """A pipe, at its end when the process is gone and was waited for. The caller closes it."""


class Ended(NamedTuple):
    """How a program in a cell ended."""

    exit_code: int
    """As a shell reports it."""
    failure: str | None
    """Why it could not be started; None if it was."""


class Spawner:
    """Starts programs in cells through one small process, which it starts when it is needed.

    Usable from any event loop, and by one thread at a time: nothing here waits for a program.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._socket: socket.socket | None = None

    def start(
        self, cell: plan.Cell, *, stdin: int | None, stdout: int | None, stderr: int | None
    ) -> Started:
        """Start a program with these descriptors, or nothing for None.

        Raises ``ProgramError`` if no process can be made.
        """
        report, report_end = os.pipe2(os.O_CLOEXEC)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        request = os.memfd_create("cell", os.MFD_CLOEXEC)
        try:
            _write_all(request, plan.encode(cell))
            standard = [null if one is None else one for one in (stdin, stdout, stderr)]
            pid, pidfd = self._ask([request, *standard, report_end])
        except OSError as error:
            os.close(report)
            raise ProgramError(
                f"cannot start {cell.argv[0]} in a cell: {error.strerror or error}"
            ) from error
        finally:
            for descriptor in (request, null, report_end):
                os.close(descriptor)
        return Started(pid, pidfd, report)

    def close(self) -> None:
        """Let go of the process, which stays as long as what it started runs."""
        if self._socket is not None:
            self._let_go()
            self._socket = None

    def _ask(self, descriptors: list[int]) -> tuple[int, int]:
        connection = self._connection()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        try:
            connection.sendmsg([b"start"], rights)
            answer, received, _, _ = socket.recv_fds(connection, 4096, 1)
            if not answer:
                raise ConnectionResetError("the spawner is gone")
        except OSError:
            self.close()
            raise
        pid, _, problem = answer.decode().partition(" ")
        if problem:
            raise OSError(problem)
        (pidfd,) = received
        os.set_inheritable(pidfd, False)
        return int(pid), pidfd

    def _connection(self) -> socket.socket:
        if self._socket is None:
            ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._let_go = weakref.finalize(self, ours.close)
            self._socket = ours
            with its:
                _start_spawner(self._store, its)
            ours.settimeout(_ANSWER_SECONDS)
        return self._socket


def _start_spawner(store: Path, connection: socket.socket) -> None:
    # It may outlive us, so it becomes nobody's child, and never a zombie of ours.
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", _MAIN, str(_PACKAGES)],
        stdin=connection.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={CELLS: os.path.realpath(store)},
        start_new_session=True,
        check=True,
    )


_MAIN = f"""\
import os, sys
if os.fork() == 0:
    sys.path.append(sys.argv[1])
    from {spawner.__name__} import main
    main()
"""


def running(store: Path) -> list[int]:
    """The pids of what this store's engines, also earlier ones, started in cells."""
    return [child for pid in spawners(store) for child in processes.children(pid)]


def spawners(store: Path) -> list[int]:
    """The pids of the spawners of this store's engines, also of earlier ones."""
    wanted = os.path.realpath(store)
    return [
        pid
        for pid in processes.all_pids()
        # What is in a cell may have any environment.
        if processes.environ(pid, CELLS) == wanted and not is_in_cell(pid)
    ]


def is_in_cell(pid: int) -> bool:
    """Whether a process is in a PID namespace that is not ours, or unknown."""
    try:
        return not Path(f"/proc/{pid}/ns/pid").samefile("/proc/self/ns/pid")
    except OSError:
        return True


def ended(report: bytes) -> Ended:
    """What a whole report says."""
    *lines, status = report.decode("utf-8", "replace").splitlines() or ["-9"]
    code = int(status)
    return Ended(code if code >= 0 else 128 - code, lines[0] if lines else None)


def _write_all(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(content)
