"""SQL without its comments."""

from collections.abc import Iterator

from pgstrata.kinds.sql.lexer import Lexer
from pgstrata.kinds.sql.reader import WINDOW, Reader, Text, windows

_ALL_BLANK = bytes(byte if byte == ord("\n") else ord(" ") for byte in range(256))


def without_comments(sql: bytes) -> bytes:
    """The SQL with every comment outside of quotes replaced by blanks; lines stay the same."""
    return b"".join(blanked(sql, 0, len(sql)))


def blanked(text: Text, start: int, end: int) -> Iterator[bytes]:
    """The same for a part of a text, in pieces of about a window each."""
    pieces: list[bytes] = []
    length = 0
    for piece in _pieces(text, start, end):
        pieces.append(piece)
        length += len(piece)
        if length >= WINDOW:
            yield b"".join(pieces)
            pieces, length = [], 0
    yield b"".join(pieces)


def _pieces(text: Text, start: int, end: int) -> Iterator[bytes]:
    for comment in Lexer(Reader(text, start, end)).comments():
        yield from windows(text, start, comment.start)
        for piece in windows(text, comment.start, comment.end):
            yield piece.translate(_ALL_BLANK)
        start = comment.end
    yield from windows(text, start, end)
