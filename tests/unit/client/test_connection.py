"""Reading responses: however they are cut into pieces, and wherever they end."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pgstrata.client.connection import Connection, Response

BODY = b'{"ok":true}\n'
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n" + BODY
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b'5\r\n{"ok"\r\n7;more=1\r\n:true}\n\r\n0\r\nTrailer: x\r\n\r\n'
)
UNTIL_CLOSED = b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\n" + BODY
ANNOUNCED = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + LENGTH


@contextmanager
def _asked(*written: bytes, ends: bool) -> Iterator[Response]:
    """The response of a server that writes this at once, and closes the connection or not."""
    listening = socket.create_server(("127.0.0.1", 0))
    with listening, socket.create_connection(listening.getsockname(), 60) as ours:
        server, _ = listening.accept()
        with server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in written:
                server.sendall(piece)
            if ends:
                server.shutdown(socket.SHUT_WR)
            yield Connection(ours, "127.0.0.1").request("GET", "/", {}, None)


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("whole", [LENGTH, CHUNKED, ANNOUNCED])
def test_a_response_is_read_wherever_it_is_cut(whole: bytes, ends: bool) -> None:
    for cut in range(len(whole)):
        with _asked(whole[:cut], whole[cut:], ends=ends) as response:
            assert (response.status, response.read(), response.last) == (200, BODY, False)


@pytest.mark.parametrize("whole", [LENGTH, CHUNKED, ANNOUNCED])
def test_a_response_that_is_cut_off_is_an_error_wherever_that_is(whole: bytes) -> None:
    for length in range(len(whole)):
        with pytest.raises(ConnectionError), _asked(whole[:length], ends=True) as response:
            response.read()


def test_a_response_of_unknown_length_ends_with_its_connection() -> None:
    with _asked(UNTIL_CLOSED, ends=True) as response:
        assert (response.read(), response.last) == (BODY, True)


def test_a_server_may_say_that_a_response_is_the_last() -> None:
    with _asked(LENGTH.replace(b"OK\r\n", b"OK\r\nconnection: Close\r\n"), ends=False) as response:
        assert (response.read(), response.last) == (BODY, True)


def test_pieces_come_before_the_response_has_ended() -> None:
    with _asked(CHUNKED[:-20], ends=False) as response:
        assert next(response.pieces()).startswith(b'{"ok"')


@pytest.mark.parametrize(
    "words", [b"SSH-2.0-OpenSSH_9\r\n", b"\x15\x03\x03\x00\x02", b"HTTP/9 x\r\n"]
)
def test_what_does_not_speak_http_is_an_error(words: bytes) -> None:
    with pytest.raises(ConnectionError, match="does not speak HTTP"), _asked(words, ends=False):
        pass
