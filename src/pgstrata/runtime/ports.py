"""Free ports of the loopback interface."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

HOST = "127.0.0.1"


class Ports:
    """Reserves ports that are free now, never the same one twice at a time."""

    def __init__(self) -> None:
        self._reserved: set[int] = set()

    @contextmanager
    def reserved(self) -> Iterator[int]:
        """A free port, not given to anyone else until the end of the block.

        Another program may still take it first; see ``is_taken``.
        """
        # The kernel may choose a port again as soon as it is closed, long before the server that it
        # is meant for has opened it.
        while (port := self.pick()) in self._reserved:
            pass
        self._reserved.add(port)
        try:
            yield port
        finally:
            self._reserved.discard(port)

    def pick(self) -> int:
        """A currently free port, chosen by the kernel."""
        with _tcp() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        return port


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
