"""Lets clients into a cell that has a network of its own.

A process beside the cell's program, in its namespaces, accepts connections outside, on a socket
that was opened before there were any, and makes one inside for each. The program never gets a
socket of the outside: even one that was accepted could be connected anew, to others.

Nothing of what passes is kept here. It is looked at where the kernel has it, and taken away as far
as the other side took it; so whoever does not read makes the other wait.
"""

import _socket
import os
import resource
import select
import time

from pgstrata.system.cell import kernel, landlock

HOST = "127.0.0.1"

_BACKLOG = 1024

_DESCRIPTORS = 1 << 20
_DOOR = 3
_OTHER_DESCRIPTORS = 16

_PIECE_BYTES = 1 << 16

_MOST_PIECES = 256
"""More than the kernel keeps of what has come."""

_PAUSE_SECONDS = 1.0
"""How long nobody is let in when the system has no more descriptors, or no memory."""

_CLIENT, _SERVER = 0, 1
_LOOK = _socket.MSG_PEEK | _socket.MSG_DONTWAIT
_TAKE = _socket.MSG_TRUNC | _socket.MSG_DONTWAIT  # what is cut off is not even copied
_GIVE = _socket.MSG_NOSIGNAL | _socket.MSG_DONTWAIT


def door(port: int) -> _socket.socket:
    """Listen to clients, where we are now. Raises ``OSError`` if the port is taken."""
    listening = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        listening.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def begin(listening: _socket.socket, program: bytes | None) -> None:
    """Let in who comes to a ``door``, to the same port here, from now on to the end of the cell.

    Takes a process of its own, which nothing else of the cell can look into, and which can do
    nothing else; ``program`` filters its system calls. Raises ``OSError``.
    """
    answer, told = os.pipe2(os.O_CLOEXEC)
    if os.fork() == 0:
        try:
            _live(listening, told, program)
        finally:
            os._exit(1)
    os.close(told)
    ready = os.read(answer, 1)
    os.close(answer)
    if not ready:
        raise OSError(0, "the process that does so has failed")


def _live(listening: _socket.socket, told: int, program: bytes | None) -> None:
    os.setsid()
    # It runs no other program, by which it would lose them.
    kernel.give_up_capabilities()
    kernel.forbid_looking_in()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.dup2(told, 0, inheritable=False)
    os.dup2(listening.fileno(), _DOOR, inheritable=False)
    os.closerange(_DOOR + 1, _DESCRIPTORS)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):
        os.dup2(null, number)
    serving = _Letting(_socket.socket(fileno=_DOOR), most if most > 0 else _DESCRIPTORS)
    rules = landlock.Rules(tcp=True)
    rules.ports(connect=(serving.port,), listen=())
    rules.obey()
    if program is not None:
        kernel.filter_calls(program)
    os.write(0, b"\n")
    os.dup2(null, 0)
    os.close(null)
    serving.serve()


class _Connection:
    """One of a client, and the one inside for it; what is said of a side is in this order."""

    def __init__(self, client: _socket.socket, server: _socket.socket) -> None:
        self.sides = (client, server)
        self.connected = False
        """Whether the one inside has been made."""
        self.open = [True, True]
        """Whether a side may yet say something."""
        self.blocked = [False, False]
        """Whether what a side said waits for the other to read."""
        self.watched = [0, 0]

    def wanted(self, side: int) -> int:
        """The events to wait for."""
        if not self.connected:
            return select.EPOLLOUT if side == _SERVER else 0
        other = 1 - side
        wanted = select.EPOLLIN if self.open[side] and not self.blocked[side] else 0
        return wanted | (select.EPOLLOUT if self.open[other] and self.blocked[other] else 0)


class _Letting:
    def __init__(self, listening: _socket.socket, descriptors: int) -> None:
        self._door = listening
        self.port: int = listening.getsockname()[1]
        self._most = (descriptors - _OTHER_DESCRIPTORS) // 2
        self._connections: dict[int, tuple[_Connection, int]] = {}
        """By the descriptors of both of their sides: which, and the side."""
        self._piece = memoryview(bytearray(_PIECE_BYTES))
        self._events = select.epoll()
        self._is_open = False
        self._opens_at = 0.0

    def serve(self) -> None:
        """Let clients in, for ever."""
        while True:
            pause = max(0, self._opens_at - time.monotonic())
            if not self._is_open and not pause and self._have_room():
                self._events.register(_DOOR, select.EPOLLIN)
                self._is_open = True
            knocked = False
            for descriptor, events in self._events.poll(pause or None):
                if descriptor == _DOOR:
                    knocked = True
                elif descriptor in self._connections:
                    self._go_on(*self._connections[descriptor], events)
            # Last: its descriptors may be those of a connection that has just ended.
            if knocked:
                self._let_in()

    def _have_room(self) -> bool:
        return len(self._connections) // 2 < self._most

    def _let_in(self) -> None:
        server = None
        try:
            accepted, _ = self._door._accept()  # type: ignore[attr-defined]
            client = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, accepted)
            try:
                server = _socket.socket(
                    _socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK
                )
                for one in (client, server):
                    one.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
                    # What is urgent stands among the rest: it could not be looked at otherwise.
                    one.setsockopt(_socket.SOL_SOCKET, _socket.SO_OOBINLINE, 1)
                server.connect_ex((HOST, self.port))
            except OSError:
                client.close()
                raise
        except ConnectionAbortedError:
            return
        except OSError:
            if server is not None:
                server.close()
            self._close_door()
            self._opens_at = time.monotonic() + _PAUSE_SECONDS
            return
        connection = _Connection(client, server)
        for side in (_CLIENT, _SERVER):
            self._connections[connection.sides[side].fileno()] = (connection, side)
        self._keep(connection)
        if not self._have_room():
            self._close_door()

    def _close_door(self) -> None:
        self._events.unregister(_DOOR)
        self._is_open = False

    def _go_on(self, connection: _Connection, side: int, events: int) -> None:
        if not connection.connected:
            server = connection.sides[_SERVER]
            connection.connected = not server.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
            connection.open[_SERVER] = connection.connected
        else:
            # An error, or an end of both ways, is an event for whatever was waited for.
            wanted = connection.watched[side]
            if wanted & select.EPOLLIN and events & ~select.EPOLLOUT:
                self._pass_on(connection, side)
            if wanted & select.EPOLLOUT and events & ~select.EPOLLIN:
                self._pass_on(connection, 1 - side)
        self._keep(connection)

    def _pass_on(self, connection: _Connection, side: int) -> None:
        """Pass on what a side has said, as much as the other side takes now."""
        source, sink = connection.sides[side], connection.sides[1 - side]
        connection.blocked[side] = False
        try:
            length = source.recv_into(self._piece, _PIECE_BYTES, _LOOK)
        except BlockingIOError:
            return
        except OSError:
            length = 0
        if length == 0:
            connection.open[side] = False
            try:  # noqa: SIM105 - contextlib would be memory
                sink.shutdown(_socket.SHUT_WR)
            except OSError:
                pass  # it is gone as well
            return
        try:
            taken = sink.send(self._piece[:length], _GIVE)
        except BlockingIOError:
            taken = 0
        except OSError:
            # It may have said why it is gone.
            connection.open[side] = False
            return
        if taken:
            source.recv_into(self._piece, taken, _TAKE)
        connection.blocked[side] = taken < length

    def _keep(self, connection: _Connection) -> None:
        """Wait for what comes next, if anything can."""
        try:
            # A server that says no more has no ears either, and a client may be silent for ever.
            if connection.open[_SERVER]:
                self._watch(connection)
                return
        except OSError:
            pass  # the system has no memory for it
        self._end(connection)

    def _watch(self, connection: _Connection) -> None:
        for side in (_CLIENT, _SERVER):
            wanted, watched = connection.wanted(side), connection.watched[side]
            if wanted == watched:
                continue
            # What is watched for nothing would still be told of at its end, again and again.
            if not wanted:
                self._events.unregister(connection.sides[side])
            elif not watched:
                self._events.register(connection.sides[side], wanted)
            else:
                self._events.modify(connection.sides[side], wanted)
            connection.watched[side] = wanted

    def _end(self, connection: _Connection) -> None:
        client = connection.sides[_CLIENT]
        try:
            # What nobody has read would take away from a client what it has not read yet.
            for _ in range(_MOST_PIECES):
                if not client.recv_into(self._piece, _PIECE_BYTES, _TAKE):
                    break
        except OSError:
            pass
        for side in connection.sides:
            del self._connections[side.fileno()]
            side.close()
