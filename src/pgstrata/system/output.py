"""What a program writes: pieces of two streams as they come, and the lines they make."""

from collections.abc import Awaitable, Callable
from typing import Final, Literal

Stream = Literal["stdout", "stderr"]

OutputSink = Callable[[Stream, bytes], Awaitable[None]]
"""Takes a piece of what was written to a stream. All pieces of a stream, one after the other, are
what was written; how the two streams lie in time to each other, nobody can tell for certain."""

OnLine = Callable[[Stream, str], Awaitable[None]]
"""Takes a line of a stream, without its newline, undecodable bytes replaced by U+FFFD."""

TAIL_LINES: Final = 40
_TAIL_CHARS: Final = 8 * 1024
_TAIL_BYTES: Final = 4 * _TAIL_CHARS


class Lines:
    """Makes lines of pieces; a line may be of any length and come in any number of them."""

    def __init__(self, on_line: OnLine) -> None:
        self._on_line = on_line
        self._rest: dict[Stream, bytearray] = {}

    async def feed(self, stream: Stream, piece: bytes) -> None:
        """Take a piece, and pass on the lines that it ends."""
        rest = self._rest.setdefault(stream, bytearray())
        rest += piece
        if b"\n" not in piece:
            return
        *whole, tail = rest.split(b"\n")
        self._rest[stream] = bytearray(tail)
        for line in whole:
            await self._on_line(stream, line.decode("utf-8", "replace"))

    async def finish(self) -> None:
        """Pass on last lines that no newline ends."""
        for stream, rest in self._rest.items():
            if rest:
                await self._on_line(stream, rest.decode("utf-8", "replace"))


class Tail:
    """The end of what was written to a stream."""

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, piece: bytes) -> None:
        """Take a piece."""
        self._kept = (self._kept + piece)[-_TAIL_BYTES:]

    @property
    def text(self) -> str:
        """The last lines, at most a few kilobytes."""
        lines = self._kept.decode("utf-8", "replace").removesuffix("\n").split("\n")
        return "\n".join(lines[-TAIL_LINES:])[-_TAIL_CHARS:]
