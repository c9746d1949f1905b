"""SQL without its comments."""

from collections.abc import Iterable, Iterator

from pgstrata.kinds.sql.lexer import Lexer
from pgstrata.kinds.sql.reader import WINDOW, Reader, Text, windows

_ALL_BLANK = bytes(byte if byte == ord("\n") else ord(" ") for byte in range(256))


def without_comments(sql: bytes) -> bytes:
    """The SQL with every comment outside of quotes replaced by blanks; lines stay the same."""
    return b"".join(blanked(sql, 0, len(sql), comments(sql, 0, len(sql))))


def comments(text: Text, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the comments outside of quotes are, in a part of a text."""
    found = Lexer(Reader(text, start, end)).comments()
    return ((comment.start, comment.end) for comment in found)


def blanked(text: Text, start: int, end: int, spans: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    """A part of a text with blanks in place of ``spans`` of it, in pieces of about a window each.

    They are in order, and may overlap.
    """
    pieces: list[bytes] = []
    length = 0
    for piece in _pieces(text, start, end, spans):
        pieces.append(piece)
        length += len(piece)
        if length >= WINDOW:
            yield b"".join(pieces)
            pieces, length = [], 0
    yield b"".join(pieces)


def _pieces(text: Text, start: int, end: int, spans: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    for first, last in spans:
        yield from windows(text, start, first)
        for piece in windows(text, max(start, first), last):
            yield piece.translate(_ALL_BLANK)
        start = max(start, last)
    yield from windows(text, start, end)
