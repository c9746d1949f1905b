"""A terminal that is as wide as a test says, and wraps its lines anew when that changes."""

import fcntl
import os
import pty
import re
import struct
import termios
import unicodedata
from collections.abc import Iterator
from types import TracebackType
from typing import Self

_END = "\x05"
_PARTS = re.compile(r"\x1b\[(\d*)(\w)|([\r\n])|([^\x1b\r\n])")


class Screen:
    """What a person sees of what is written to ``stream``, a real terminal device."""

    def __init__(self, width: int = 80) -> None:
        self._ours, theirs = pty.openpty()
        self.stream = os.fdopen(theirs, "w", encoding="utf-8")
        self._lines: list[list[str]] = [[]]
        self._line = 0
        self._cell = 0
        self.resize(width)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _at: TracebackType | None
    ) -> None:
        self.stream.close()
        os.close(self._ours)

    def resize(self, width: int) -> None:
        """Be so wide from now on."""
        self._width = width
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))

    def written(self) -> str:
        """What was written since the last call. It is not on the screen."""
        self.stream.write(_END)
        self.stream.flush()
        data = b""
        while not data.endswith(_END.encode()):
            data += os.read(self._ours, 65536)
        return data.decode().removesuffix(_END)

    def rows(self) -> list[str]:
        """The rows that are on the screen and not empty, after all that was written."""
        for _ in self.moments():
            pass
        return self._visible()

    def moments(self) -> Iterator[list[str]]:
        """The same after each single thing that was written."""
        for part in _PARTS.findall(self.written()):
            self._take(*part)
            yield self._visible()

    def _visible(self) -> list[str]:
        rows = [
            "".join(line[start : start + self._width])
            for line in self._lines
            for start in range(0, max(len(line), 1), self._width)
        ]
        return [row for row in rows if row]

    def _take(self, count: str, command: str, move: str, character: str) -> None:
        if character:
            self._put(character)
        elif move == "\r":
            self._cell = self._row_begin()
        elif move == "\n":
            self._line += 1
            self._cell = 0
            if self._line == len(self._lines):
                self._lines.append([])
        elif command == "A":
            self._up(int(count or 1))
        elif command == "K":
            del self._lines[self._line][self._cell :]
        elif command == "J":
            del self._lines[self._line][self._cell :]
            del self._lines[self._line + 1 :]

    def _put(self, character: str) -> None:
        line = self._lines[self._line]
        if unicodedata.combining(character):
            line[self._cell - 1] += character
            return
        wide = unicodedata.east_asian_width(character) in "WF"
        cells = [character, ""] if wide else [character]
        line[self._cell : self._cell + len(cells)] = cells
        self._cell += len(cells)

    def _row_begin(self) -> int:
        # Behind the last column the cursor stays in its row.
        return max(self._cell - 1, 0) // self._width * self._width

    def _up(self, rows: int) -> None:
        for _ in range(rows):
            if self._cell >= self._width:
                self._cell -= self._width
            elif self._line:
                self._line -= 1
                length = len(self._lines[self._line])
                self._cell = max(length - 1, 0) // self._width * self._width
