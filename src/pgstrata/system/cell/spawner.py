"""The process that starts programs in cells: small, with one thread, and of one engine.

The engine asks it over a socket, its standard input. It is the parent of what it starts, and it
stays as long as any of that runs, even if the engine has ended: servers outlive engines, and the
next engine finds them as its children.

A request is a datagram with descriptors: the cell's plan (``plan.encode``), standard input, output
and error, and a pipe for a report. The answer is the pid and a pidfd, or a reason. The report is a
line with the reason if the program could not be started, and at the end one with its exit code.

Most of the time that a server's start takes here goes into its namespaces and its root, which are
the same for every server. So when one has been started, the next one's are made ready: a *spare*
waits in them for the rest of a plan.
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
    from collections.abc import Callable
    from typing import Any, NoReturn

    from pgstrata.system.cell.plan import Cell

DESCRIPTORS = 5
_REQUEST_BYTES = 64
_FAILED = 127

_ALL_DESCRIPTORS = 1 << 20

_QUIET_MILLISECONDS = 80
"""How long nothing happens before a spare is made: a server that starts needs the processors, and
with 20 ms its client waited 5 ms longer than without a cell."""

_SPARE_MILLISECONDS = 60_000
"""How long a spare is kept while nothing happens."""

_MOST_SPARES = 4
_MOST_PASSED = 16
"""More descriptors than a spare is told of."""


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
        self._spares: dict[bytes, tuple[int, int, _socket.socket]] = {}
        """By what is made of them (``_prepared``): pids, pidfds, and where to send the rest."""
        self._wanted: dict[bytes, Cell] = {}
        """The cells to make spares for."""
        self._sources = select.poll()
        self._limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Each program takes two descriptors.
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._limits[1], self._limits[1]))

    def serve(self) -> None:
        """Serve until the engine is gone, and so are the programs."""
        engine, served = self._engine.fileno(), True
        self._sources.register(engine, select.POLLIN)
        while served or self._running:
            found = self._sources.poll(self._patience)
            if not found:
                self._use_the_quiet()
            # Each is closed only when it is its turn: a number that is used again was had before.
            for descriptor, events in found:
                if descriptor in self._running:
                    self._reap(descriptor)
                elif descriptor in self._tellers:
                    self._listen(descriptor)
                elif descriptor in self._listeners:
                    self._place(descriptor, events)
                elif descriptor != engine:
                    self._forget_spare(descriptor)
                elif not self._answer():
                    self._sources.unregister(engine)
                    served = False
            if not served:
                self._dismiss_spares()

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
        cell = _read_cell(descriptors[0])
        report = descriptors[-1]
        door = None if cell.let_in is None else letting_in.door(cell.let_in)
        teller = listener = None
        if cell.kept is not None:
            teller, listener = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        try:
            process = self._with_spare(cell, descriptors, listener, door)
            if process is None:
                process = self._clone(
                    cell, lambda: _live(cell, descriptors[1:], self._limits, listener, door)
                )
        finally:
            for one in (listener, door):
                if one is not None:
                    one.close()
        pid, pidfd = process
        if teller is not None:
            self._tellers[teller.fileno()] = (teller, pidfd, cell)
            self._sources.register(teller.fileno(), select.POLLIN)
        self._running[pidfd] = (pid, report)
        self._sources.register(pidfd, select.POLLIN)
        if cell.one_of_many:
            self._wanted[_prepared(cell)] = cell
        return pid, pidfd

    def _clone(self, cell: "Cell", live: "Callable[[], NoReturn]") -> tuple[int, int]:
        """A child in a cell's namespaces, which lives its life once it has its ids."""
        mapped, mapper = os.pipe2(os.O_CLOEXEC)
        try:
            pid, pidfd = kernel.clone(cell.namespaces)
            if pid == 0:
                os.close(mapper)
                if not os.read(mapped, 1):
                    os._exit(_FAILED)
                live()
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
        return pid, pidfd

    @property
    def _patience(self) -> int | None:
        """How many milliseconds to wait for something to happen."""
        if self._wanted:
            return _QUIET_MILLISECONDS
        return _SPARE_MILLISECONDS if self._spares else None

    def _use_the_quiet(self) -> None:
        """Make a spare that is wanted; if there is none, let go of those that nobody needed."""
        if not self._wanted:
            self._dismiss_spares()
            return
        key, cell = self._wanted.popitem()
        if key in self._spares or len(self._spares) >= _MOST_SPARES:
            return
        ours, its = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        try:
            pid, pidfd = self._clone(cell, lambda: _wait(cell, its, self._limits))
        except OSError:
            ours.close()
            return
        finally:
            its.close()
        self._spares[key] = (pid, pidfd, ours)
        self._sources.register(pidfd, select.POLLIN)

    def _with_spare(
        self,
        cell: "Cell",
        descriptors: list[int],
        listener: _socket.socket | None,
        door: _socket.socket | None,
    ) -> tuple[int, int] | None:
        """Have a spare become a cell's program, if there is one that can."""
        key = _prepared(cell)
        if key not in self._spares:
            return None
        pid, pidfd, ours = self._spares[key]
        trees: list[int] = []
        try:
            # The spare has the mounts that there were when it was made; these may be newer.
            trees = inside.own_trees(cell)
            others = [one.fileno() for one in (listener, door) if one is not None]
            passed = [*descriptors, *others, *trees]
            rights = struct.pack(f"{len(passed)}i", *passed)
            ours.sendmsg([b"become"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        except OSError:
            return None  # if it has ended, that is about to be noticed
        finally:
            for tree in trees:
                os.close(tree)
        del self._spares[key]
        ours.close()
        self._sources.unregister(pidfd)
        return pid, pidfd

    def _forget_spare(self, pidfd: int) -> None:
        """A spare has ended, for whatever reason."""
        for key, (pid, its, ours) in self._spares.items():
            if its == pidfd:
                del self._spares[key]
                self._bury(pid, pidfd, ours)
                return

    def _dismiss_spares(self) -> None:
        self._wanted.clear()
        while self._spares:
            _, (pid, pidfd, ours) = self._spares.popitem()
            self._bury(pid, pidfd, ours)

    def _bury(self, pid: int, pidfd: int, ours: _socket.socket) -> None:
        self._sources.unregister(pidfd)
        # It ends, if it has not, when nobody can tell it anything any more.
        ours.close()
        os.waitpid(pid, 0)
        os.close(pidfd)

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


def _live(
    cell: "Cell",
    descriptors: list[int],
    limits: tuple[int, int],
    listener: _socket.socket | None,
    door: _socket.socket | None,
) -> "NoReturn":
    """The life of a child until it is another program."""
    *standard, report = descriptors
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        trees = inside.own_trees(cell)
        inside.prepare(cell)
        inside.become(cell, standard, trees, listener, door)
    except BaseException as error:  # noqa: BLE001 - nothing may return from here
        _tell(error, report, standard[2])
    finally:
        os._exit(_FAILED)


def _wait(cell: "Cell", orders: _socket.socket, limits: tuple[int, int]) -> "NoReturn":
    """The life of a spare. What its own plan says of a program is another's."""
    try:
        # Whoever waits for the end of somebody else's pipe does not wait for us.
        os.closerange(3, orders.fileno())
        os.closerange(orders.fileno() + 1, _ALL_DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        inside.prepare(cell)
        told, ancillary, _, _ = orders.recvmsg(
            _REQUEST_BYTES, _socket.CMSG_SPACE(4 * _MOST_PASSED), _socket.MSG_CMSG_CLOEXEC
        )
        if told:
            ((_, _, rights),) = ancillary
            passed = list(struct.unpack(f"{len(rights) // 4}i", rights))
            _become(passed)
    finally:
        os._exit(_FAILED)


def _become(passed: list[int]) -> None:
    """Become what a spare was told to (``_with_spare``)."""
    request, *standard, report = passed[:DESCRIPTORS]
    try:
        cell = _read_cell(request)
        rest = iter(passed[DESCRIPTORS:])
        listener = _socket.socket(fileno=next(rest)) if cell.kept is not None else None
        door = _socket.socket(fileno=next(rest)) if cell.let_in is not None else None
        inside.become(cell, standard, list(rest), listener, door)
    except BaseException as error:  # noqa: BLE001 - nothing may return from here
        _tell(error, report, standard[2])


def _tell(error: BaseException, *descriptors: int) -> None:
    """Say what has failed."""
    what = getattr(error, "filename", None) or "start"
    why = getattr(error, "strerror", None) or repr(error)
    for descriptor in descriptors:
        _say(descriptor, f"cannot {what}: {why}\n")


def _prepared(cell: "Cell") -> bytes:
    """What spares of a cell have in common; empty if there are none."""
    if not cell.one_of_many:
        return b""
    # In the form in which equal values are equal bytes.
    return marshal.dumps([getattr(cell, name) for name in inside.PREPARED], 2)


class _Fields:
    pass


def _read_cell(descriptor: int) -> "Cell":
    """What the engine encoded; it looks like a plan."""
    cell: Any = _Fields()
    text = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
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
