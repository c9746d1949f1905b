"""A program's output: pieces of two streams as they come, and the lines in them."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Literal

Stream = Literal["stdout", "stderr"]

OutputSink = Callable[[Stream, bytes], Awaitable[None]]
"""Receives a piece of a stream. The pieces of a stream come complete and in order; the order
between the two streams is not certain."""

OnLine = Callable[[Stream, str], Awaitable[None]]
"""Receives a line of a stream, without its newline, undecodable bytes replaced by U+FFFD."""

MOST_LINE_BYTES: Final = 1 << 20
"""A longer line is passed on in pieces, each as a line that ends with a mark but for the last."""
GOES_ON: Final = "… (the line goes on)"
"""That mark."""

TAIL_LINES: Final = 40
_TAIL_CHARS: Final = 8 * 1024
TAIL_BYTES: Final = 4 * _TAIL_CHARS
"""How much of a stream's end a ``Tail`` keeps."""


class Lines:
    """Splits pieces into lines; a line may have any length and span any number of pieces."""

    def __init__(self, on_line: OnLine) -> None:
        self._on_line = on_line
        self._rest: dict[Stream, bytearray] = {}

    async def feed(self, stream: Stream, piece: bytes) -> None:
        """Add a piece, and pass on the lines that it completes, and of long ones what there is."""
        rest = self._rest.setdefault(stream, bytearray())
        rest += piece
        if b"\n" in piece:
            *lines, rest = rest.split(b"\n")
            self._rest[stream] = rest
            for line in lines:
                await self._shorten(stream, line)
                await self._on_line(stream, line.decode("utf-8", "replace"))
        await self._shorten(stream, rest)

    async def finish(self) -> None:
        """Pass on last lines without a newline."""
        for stream, rest in self._rest.items():
            if rest:
                await self._on_line(stream, rest.decode("utf-8", "replace"))

    async def _shorten(self, stream: Stream, line: bytearray) -> None:
        """Pass on the beginning of a line that is too long, and take it away from the line."""
        while len(line) > MOST_LINE_BYTES:
            cut = MOST_LINE_BYTES
            while cut > MOST_LINE_BYTES - _LONGEST_CHARACTER and _is_within(line[cut]):
                cut -= 1
            beginning = line[:cut].decode("utf-8", "replace")
            del line[:cut]
            await self._on_line(stream, beginning + GOES_ON)


_LONGEST_CHARACTER = 4


def _is_within(byte: int) -> bool:
    """Whether a byte is not the first of its character."""
    return byte & 0xC0 == 0x80


class Tail:
    """The end of a stream."""

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, piece: bytes) -> None:
        """Add a piece."""
        self._kept = (self._kept + piece)[-TAIL_BYTES:]

    @property
    def text(self) -> str:
        """The last lines, at most a few kilobytes."""
        lines = self._kept.decode("utf-8", "replace").removesuffix("\n").split("\n")
        return "\n".join(lines[-TAIL_LINES:])[-_TAIL_CHARS:]


def end_of(file: Path, start: int, most_bytes: int) -> bytes:
    """The end of what a file has from its byte ``start`` on, which may be more than fits in memory.

    Raises ``OSError``.
    """
    with file.open("rb") as content:
        length = content.seek(0, os.SEEK_END)
        content.seek(max(start, length - most_bytes))
        return content.read(most_bytes)


def drop_beginning(file: Path, kept_bytes: int) -> None:
    """Keep the end of a log that others go on appending to: its last whole lines.

    What they append meanwhile may be lost. Raises ``OSError``.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(file, flags), "r+b") as log:
        length = log.seek(0, os.SEEK_END)
        log.seek(max(0, length - kept_bytes))
        _, _, end = log.read(kept_bytes).partition(b"\n")
        log.truncate(0)
        log.write(end)
