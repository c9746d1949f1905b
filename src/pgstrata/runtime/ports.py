"""Free ports of the loopback interface."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

HOST = "127.0.0.1"


class Ports:
    """Hands out ports that are free now, never the same one twice at a time."""

    def __init__(self) -> None:
        self._handed_out: set[int] = set()

    @contextmanager
    def reserved(self) -> Iterator[int]:
        """A free port, not handed out again until the block is left.

        Another program may still take it first; see ``is_taken``.
        """
        # The kernel may name a port again as soon as it is let go of, long before the server for
        # which it was meant has taken it.
        while (port := self.pick()) in self._handed_out:
            pass
        self._handed_out.add(port)
        try:
            yield port
        finally:
            self._handed_out.discard(port)

    def pick(self) -> int:
        """A port nobody uses at this moment, by the kernel's choice."""
        with _tcp() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        return port


def is_taken(port: int) -> bool:
    """Whether somebody listens on the port."""
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
    # As PostgreSQL does, or connections that ended a moment ago would make a port look taken.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return probe
