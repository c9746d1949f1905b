import socket

import pytest

from pgstrata.runtime.ports import HOST, Ports, is_taken


class Repeating(Ports):
    """Picks each port twice, as the kernel may."""

    def __init__(self) -> None:
        super().__init__()
        self._next = [3, 3, 2, 2, 1, 1]

    def pick(self) -> int:
        return self._next.pop()


def test_a_port_that_is_handed_out_is_free() -> None:
    with Ports().reserved() as port:
        assert not is_taken(port)


def test_a_port_somebody_listens_on_is_taken() -> None:
    with socket.create_server((HOST, 0)) as other:
        assert is_taken(other.getsockname()[1])


def test_no_port_is_handed_out_twice_at_a_time() -> None:
    ports = Repeating()
    with ports.reserved() as first, ports.reserved() as second:
        assert (first, second) == (1, 2)


def test_a_port_is_handed_out_again_afterwards() -> None:
    ports = Repeating()
    for _ in range(2):
        with pytest.raises(KeyError), ports.reserved() as port:
            raise KeyError
        assert port == 1
