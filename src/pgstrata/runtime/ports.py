"""Free ports of the loopback interface."""

import errno
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from pgstrata.errors import ConflictError, ServerError

HOST = "127.0.0.1"

_PICKS = 1_000
"""How often a port is looked for until there is none that may be had."""


class Ports:
    """Reserves ports that are free now, never the same one twice at a time."""

    def __init__(self) -> None:
        self._reserved: set[int] = set()

    @contextmanager
    def reserved(self, avoid: Collection[int] = ()) -> Iterator[int]:
        """A free port, none of those to ``avoid``, not given to anyone else until the end of the
        block.

        Another program may still take it first; see ``is_taken``. Raises ``ServerError`` if there
        is none.
        """
        # The kernel may choose a port again as soon as it is closed, long before the server that it
        # is meant for has opened it.
        picked = (self.pick() for _ in range(_PICKS))
        port = next((one for one in picked if one not in self._reserved and one not in avoid), None)
        if port is None:
            raise no_free_port()
        with self.holding(port):
            yield port

    @contextmanager
    def holding(self, port: int) -> Iterator[None]:
        """Give a certain port to nobody until the end of the block."""
        self._reserved.add(port)
        try:
            yield
        finally:
            self._reserved.discard(port)

    def pick(self) -> int:
        """A currently free port, chosen by the kernel."""
        with _tcp() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        return port


def no_free_port() -> ServerError:
    """The error for a server without a port."""
    return ServerError(f"no free port was found on {HOST}", remedy="free some ports, or try again")


def port_taken(port: int) -> ConflictError:
    """The error for a server whose own port another program has."""
    return ConflictError(
        f"port {port}, which the server must have, is taken by another program",
        remedy=f"end that program (`ss -ltnp sport = :{port}` shows it) and try again, "
        "or give up the name whose port it is: pgstrata rm NAME",
    )


def is_taken(port: int) -> bool:
    """Whether a program listens on the port."""
    with _tcp() as probe:
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise
    return False


def _tcp() -> socket.socket:
    probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # As PostgreSQL does; otherwise recently closed connections would make a port look taken.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return probe
