"""The live view: steps that ended stay, and below them the one that runs is painted anew."""

import os
import threading
from collections.abc import Mapping, Sequence
from typing import TextIO

from pgstrata.cli.progress import Now, Progress, report_line
from pgstrata.cli.steps import Outcome, Report, Working
from pgstrata.cli.text import cells, columns, cut, one_line, printable
from pgstrata.domain.durations import measured

_FRAME_SECONDS = 0.1

_DIM = "\x1b[2m"
_RESET = "\x1b[0m"
_CLEAR_LINE_REST = "\x1b[K"
_CLEAR_BELOW = "\x1b[J"
_COLOURS: Mapping[Outcome, str] = {
    "cached": "\x1b[36m",
    "built": "\x1b[32m",
    "run": "\x1b[32m",
    "failed": "\x1b[31m",
    "cancelled": "\x1b[33m",
}
_MARKS: Mapping[Outcome, str] = {
    "cached": "=",
    "built": "+",
    "run": ".",
    "failed": "!",
    "cancelled": "-",
}

_BAR = 16
_BAR_FROM_WIDTH = 60
"""In how many columns there is room for a bar."""

_LOG_CHARS = 1000
"""How much of a line is looked at, of which a terminal shows the beginning."""


class Live(Progress):
    """Shows a line for each step that ended, then the current one and its tool's last output."""

    def __init__(self, stream: TextIO, now: Now, *, colour: bool, verbose: bool) -> None:
        super().__init__(stream, now, _FRAME_SECONDS)
        self._colour = colour
        self._verbose = verbose
        self._lock = threading.Lock()
        self._last_log = ""
        self._staying: list[str] = []
        """Lines that come above those that change, with the next frame."""
        self._shown: list[str] = []
        """The lines on the screen that change."""

    def done(self, report: Report) -> None:
        mark = self._styled(_MARKS[report.outcome], _COLOURS[report.outcome])
        text = cut(report_line(report), self._width() - 2)
        self.note(f"{mark} " + (self._styled(text, _DIM) if report.outcome == "cached" else text))
        self._last_log = ""

    def log(self, line: str) -> None:
        self._last_log = line
        if self._verbose:
            self.note(self._styled(f"      {one_line(line)}", _DIM))

    def note(self, line: str) -> None:
        with self._lock:
            self._staying.append(line)

    def tick(self) -> None:
        if self._is_in_foreground():
            self._paint(self._changing())

    def resume(self) -> None:
        self._shown = []

    def stop(self) -> None:
        super().stop()
        self._paint([])

    def _is_in_foreground(self) -> bool:
        """Whether the terminal is not a shell's that somebody types into by now."""
        try:
            return os.tcgetpgrp(self._stream.fileno()) == os.getpgrp()
        except OSError:
            return True  # it is not the terminal that we were started from

    def _changing(self) -> list[str]:
        """The lines for what is being done now."""
        now, width = self._now(), self._width()
        if now is None:
            return []
        took = f"  {measured(now.seconds)}"
        lines = [cut(_head(now, width) + one_line(now.title), width - len(took)) + took]
        if log := self._last_log:
            lines.append(cut(f"  {printable(log[:_LOG_CHARS])}", width))
        return lines

    def _paint(self, lines: Sequence[str]) -> None:
        """Write what is new, at once, over what changes.

        Nothing is cleared before it is written over, so nothing flickers.
        """
        with self._lock:
            staying, self._staying = self._staying, []
        if not staying and lines == self._shown:
            return
        frame = self._to_first_row()
        if staying:
            frame += _CLEAR_BELOW + "\n".join(staying) + "\n"
        styled = [*lines[:1], *(self._styled(line, _DIM) for line in lines[1:])]
        self._write(frame + f"{_CLEAR_LINE_REST}\n".join(styled) + _CLEAR_BELOW)
        self._shown = list(lines)

    def _to_first_row(self) -> str:
        """Move to the first row of what changes, in a terminal that may have become narrower.

        The rest of a line is in further rows then.
        """
        if not self._shown:
            return ""
        width = columns(self._stream) or 80
        rows = sum(max(-(-cells(line) // width), 1) for line in self._shown)
        return "\r" + (f"\x1b[{rows - 1}A" if rows > 1 else "")

    def _width(self) -> int:
        # One column less, since some terminals wrap after the last one.
        return (columns(self._stream) or 80) - 1

    def _styled(self, text: str, style: str) -> str:
        return f"{style}{text}{_RESET}" if self._colour else text


def _head(now: Working, width: int) -> str:
    if now.number is None:
        return ""
    position = f"{now.number}/{now.total}  "
    if width < _BAR_FROM_WIDTH:
        return position
    full = _BAR * (now.number - 1) // now.total
    return f"[{'#' * full}{'.' * (_BAR - full)}] {position}"
