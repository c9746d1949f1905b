"""Text of any length, read through a window.

No call into C gets more than a window: such a call holds the interpreter's lock until it returns,
and the event loop waits for it.
"""

import os
import re
from collections.abc import Iterator
from typing import Protocol

WINDOW = 1 << 16
"""How many bytes are read at once."""
MARGIN = 1 << 11
"""How many bytes after the current position are in the window, if there are any."""
BEHIND = 16
"""The same for those before it."""

_BLOCK = 1 << 20
"""How many bytes of a file are asked for at once. The interpreter's lock is free for so long, and
who waits for it is awake only after some 50 microseconds; a window is there in ten."""
_BLOCKS = 4
"""How many of them are kept: two readers may be at two ends of a block."""


class Text(Protocol):
    """Bytes that need not be in memory as a whole; ``bytes`` are such a text."""

    def __len__(self) -> int: ...

    def __getitem__(self, where: slice, /) -> bytes:
        """The bytes between two positions that are not past its end."""


class FileText:
    """The content of an open file, with the length it had at first.

    If the file becomes shorter, the rest reads as zeros, so the reader must check afterwards
    whether it changed.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._length = os.fstat(descriptor).st_size
        self._blocks: dict[int, bytes] = {}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, where: slice, /) -> bytes:
        start, stop, _step = where.indices(self._length)
        pieces = []
        while start < stop:
            number, offset = divmod(start, _BLOCK)
            piece = self._block(number)[offset : offset + stop - start]
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)

    def _block(self, number: int) -> bytes:
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = self._read(number * _BLOCK)
            if len(self._blocks) > _BLOCKS:
                del self._blocks[next(iter(self._blocks))]
        return block

    def _read(self, start: int) -> bytes:
        stop = min(start + _BLOCK, self._length)
        pieces = []
        while start < stop and (piece := os.pread(self._descriptor, stop - start, start)):
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces) + bytes(stop - start)


class StringText:
    """A string in UTF-8."""

    def __init__(self, string: str) -> None:
        self._bytes = bytearray()
        for start in range(0, len(string), WINDOW):
            self._bytes += string[start : start + WINDOW].encode()

    def __len__(self) -> int:
        return len(self._bytes)

    def __getitem__(self, where: slice, /) -> bytes:
        return bytes(memoryview(self._bytes)[where])


def windows(text: Text, start: int, end: int) -> Iterator[bytes]:
    """The bytes between two positions, a window at a time."""
    for position in range(start, end, WINDOW):
        yield text[position : min(position + WINDOW, end)]


class Reader:
    """Reads a part of a text, mostly forwards.

    ``window`` has the bytes from ``base`` on, around the position used last.
    """

    def __init__(self, text: Text, start: int = 0, end: int | None = None) -> None:
        self.text = text
        self.start = start
        self.end = len(text) if end is None else end
        self.window = b""
        self.base = start

    def look(self, position: int, ahead: int = MARGIN) -> int:
        """Bring a position and so many bytes after it into the window, and return its index."""
        offset = position - self.base
        if offset < BEHIND or offset + ahead > len(self.window):
            self._move(position, ahead)
        return position - self.base

    def _move(self, position: int, ahead: int) -> None:
        start = max(self.start, position - BEHIND)
        if start < self.base or min(self.end, position + ahead) > self.base + len(self.window):
            self.base = start
            self.window = self.text[start : min(self.end, position + max(ahead, WINDOW))]

    @property
    def last(self) -> bool:
        """Whether the window reaches the end."""
        return self.base + len(self.window) == self.end

    def read(self, start: int, end: int) -> bytes:
        """The bytes between two positions that are at most ``MARGIN`` apart."""
        at = self.look(start)
        return self.window[at : at + end - start]

    def match(self, pattern: re.Pattern[bytes], position: int) -> re.Match[bytes] | None:
        """Match a pattern that looks at no more than ``MARGIN`` bytes."""
        at = self.look(position)
        return pattern.match(self.window, at)

    def find(self, pattern: re.Pattern[bytes], position: int) -> re.Match[bytes] | None:
        """Search from a position for a pattern that looks at no more than ``MARGIN`` bytes.

        The match is relative to ``base``.
        """
        while True:
            at = self.look(position)
            found = pattern.search(self.window, at)
            safe = len(self.window) - MARGIN
            if (found is not None and found.start() <= safe) or self.last:
                return found
            position = self.base + (safe + 1 if found is None else found.start())

    def after(self, literal: bytes, position: int) -> int | None:
        """Where the next ``literal``, of at most ``MARGIN`` bytes, ends; None if there is none."""
        while True:
            at = self.look(position)
            found = self.window.find(literal, at)
            if found >= 0:
                return self.base + found + len(literal)
            if self.last:
                return None
            position = self.base + len(self.window) - MARGIN + 1

    def run(self, run: re.Pattern[bytes], position: int) -> int:
        """Where a run of bytes of one class ends."""
        while True:
            at = self.look(position)
            found = run.match(self.window, at)
            assert found is not None
            position = self.base + found.end()
            if found.end() < len(self.window) or position == self.end:
                return position

    def at(self, position: int, expected: bytes) -> bool:
        """Whether the bytes at a position are the expected ones."""
        at = self.look(position)
        return self.window.startswith(expected, at)
