"""The process that starts programs in cells: small, with one thread, and of one engine.

The engine asks it over a socket, its standard input. It is the parent of what it starts, and it
stays as long as any of that runs, even if the engine has ended: servers outlive engines, and the
next engine finds them as its children.

A request is a datagram with descriptors: the cell's plan (``plan.encode``), standard input, output
and error, and a pipe for a report. The answer is the pid and a pidfd, or a reason. The report is a
line with the reason if the program could not be started, and at the end one with its exit code.
"""

import _socket
import gc
import marshal
import os
import resource
import select
import struct

from pgstrata.system.cell import inside, kernel, letting_in, placing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from pgstrata.system.cell.plan import Cell

DESCRIPTORS = 5
_REQUEST_BYTES = 64
_FAILED = 127


def main() -> None:
    """Serve the engine until it is gone, and so are its programs."""
    os.chdir("/")
    engine = os.dup(0)
    os.set_inheritable(engine, False)
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)
    # A child would copy whatever the collector looks at.
    gc.disable()
    gc.freeze()
    _Spawner(_socket.socket(fileno=engine)).serve()


class _Spawner:
    def __init__(self, engine: _socket.socket) -> None:
        self._engine = engine
        self._running: dict[int, tuple[int, int]] = {}
        """What runs, by pidfd: pids, and pipes for their reports."""
        self._tellers: dict[int, tuple[_socket.socket, int, Cell]] = {}
        """Who is about to tell how to answer the calls of a cell, with its pidfd."""
        self._listeners: dict[int, tuple[int, Cell]] = {}
        """How to answer them."""
        self._sources = select.poll()
        self._limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Each program takes two descriptors.
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._limits[1], self._limits[1]))

    def serve(self) -> None:
        """Serve until the engine is gone, and so are the programs."""
        engine, served = self._engine.fileno(), True
        self._sources.register(engine, select.POLLIN)
        while served or self._running:
            # Each is closed only when it is its turn: a number that is used again was had before.
            for descriptor, events in self._sources.poll():
                if descriptor in self._running:
                    self._reap(descriptor)
                elif descriptor in self._tellers:
                    self._listen(descriptor)
                elif descriptor in self._listeners:
                    self._place(descriptor, events)
                elif not self._answer():
                    self._sources.unregister(engine)
                    served = False

    def _answer(self) -> bool:
        """Do what the engine asks; False if it is gone."""
        try:
            request, ancillary, _, _ = self._engine.recvmsg(
                _REQUEST_BYTES,
                _socket.CMSG_SPACE(4 * DESCRIPTORS),
                _socket.MSG_CMSG_CLOEXEC,
            )
            if not request:
                return False
            descriptors = list(struct.unpack(f"{DESCRIPTORS}i", ancillary[0][2]))
            try:
                pid, pidfd = self._start(descriptors)
            except OSError as error:
                os.close(descriptors[-1])
                self._engine.sendmsg([f"0 {error.strerror}".encode()])
            else:
                rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", pidfd))
                self._engine.sendmsg([f"{pid}".encode()], [rights])
            finally:
                for descriptor in descriptors[:-1]:
                    os.close(descriptor)
        except OSError:
            return False
        return True

    def _start(self, descriptors: list[int]) -> tuple[int, int]:
        request, *standard, report = descriptors
        cell = _decoded(kernel.read(f"/proc/self/fd/{request}"))
        door = None if cell.let_in is None else letting_in.door(cell.let_in)
        mapped, mapper = os.pipe2(os.O_CLOEXEC)
        teller = listener = None
        if cell.kept is not None:
            teller, listener = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        try:
            pid, pidfd = kernel.clone(cell.namespaces)
            if pid == 0:
                os.close(mapper)
                self._live(cell, standard, mapped, report, listener, door)
            try:
                if cell.namespaces & kernel.NEW_USERS:
                    kernel.map_ids(pid)
                os.write(mapper, b"\n")
            except BaseException:
                # It ends by itself, having read nothing.
                os.close(mapper)
                mapper = -1
                os.waitpid(pid, 0)
                os.close(pidfd)
                raise
        finally:
            os.close(mapped)
            if mapper >= 0:
                os.close(mapper)
            for one in (listener, door):
                if one is not None:
                    one.close()
        if teller is not None:
            self._tellers[teller.fileno()] = (teller, pidfd, cell)
            self._sources.register(teller.fileno(), select.POLLIN)
        self._running[pidfd] = (pid, report)
        self._sources.register(pidfd, select.POLLIN)
        return pid, pidfd

    def _live(
        self,
        cell: "Cell",
        standard: list[int],
        mapped: int,
        report: int,
        listener: _socket.socket | None,
        door: _socket.socket | None,
    ) -> "NoReturn":
        """The life of a child until it is another program."""
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)
            if os.read(mapped, 1):
                inside.become(cell, standard, listener, door)
        except BaseException as error:  # noqa: BLE001 - nothing may return from here
            what = getattr(error, "filename", None) or "start"
            why = getattr(error, "strerror", None) or repr(error)
            for descriptor in (report, standard[2]):
                _say(descriptor, f"cannot {what}: {why}\n")
        finally:
            os._exit(_FAILED)

    def _listen(self, descriptor: int) -> None:
        """Listen to the calls of a cell that has come so far, or has failed."""
        teller, pidfd, cell = self._tellers.pop(descriptor)
        self._sources.unregister(descriptor)
        try:
            _, ancillary, _, _ = teller.recvmsg(
                _REQUEST_BYTES, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            ancillary = []
        teller.close()
        for _, _, rights in ancillary:
            (listener,) = struct.unpack("i", rights)
            self._listeners[listener] = (pidfd, cell)
            self._sources.register(listener, select.POLLIN)

    def _place(self, listener: int, events: int) -> None:
        """Answer a call, or let go if there will be none any more."""
        pidfd, cell = self._listeners[listener]
        if events & select.POLLIN:
            try:  # noqa: SIM105 - contextlib would be memory
                placing.answer(listener, pidfd, cell)
            except OSError:
                pass  # whoever made it is gone
        else:
            del self._listeners[listener]
            self._sources.unregister(listener)
            os.close(listener)

    def _reap(self, pidfd: int) -> None:
        pid, report = self._running.pop(pidfd)
        _, status = os.waitpid(pid, 0)
        _say(report, f"{os.waitstatus_to_exitcode(status)}\n")
        self._sources.unregister(pidfd)
        os.close(pidfd)
        os.close(report)


class _Fields:
    pass


def _decoded(text: bytes) -> "Cell":
    """What the engine encoded; it looks like a plan."""
    cell: Any = _Fields()
    cell.__dict__.update(marshal.loads(text))  # noqa: S302 - from the engine
    if cell.files is not None:
        files, cell.files = cell.files, _Fields()
        cell.files.__dict__.update(files)
    return cell  # type: ignore[no-any-return]


def _say(descriptor: int, text: str) -> None:
    try:  # noqa: SIM105 - contextlib would be memory
        os.write(descriptor, text.encode())
    except OSError:
        pass  # the engine is gone
