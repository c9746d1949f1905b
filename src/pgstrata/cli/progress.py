"""Progress on stderr: a live line on a terminal, plain lines anywhere else."""

from collections.abc import Mapping
from typing import Protocol, TextIO

from pgstrata.cli.steps import Outcome, Report, Working
from pgstrata.cli.text import columns, cut, one_line
from pgstrata.domain.durations import measured

_DIM = "\x1b[2m"
_RESET = "\x1b[0m"
_CLEAR = "\r\x1b[K"
_CLEAR_ABOVE = "\x1b[A\x1b[K"
_COLOURS: Mapping[Outcome, str] = {"cached": "\x1b[36m", "built": "\x1b[32m", "failed": "\x1b[31m"}
_MARKS: Mapping[Outcome, str] = {"cached": "=", "built": "+", "failed": "!"}
_BAR = 16


class Progress(Protocol):
    """Shows the progress of a job."""

    def done(self, report: Report) -> None:
        """Show a step that ended."""

    def working(self, now: Working) -> None:
        """Show what is being done now; called repeatedly while it lasts."""

    def log(self, line: str) -> None:
        """Show a line of a tool's output."""

    def note(self, line: str) -> None:
        """Show a line that stays on the screen."""

    def clear(self) -> None:
        """Remove anything from the screen that was going to change."""


def for_stream(stream: TextIO, env: Mapping[str, str], *, verbose: bool) -> Progress:
    """Choose how to show progress: live on a capable terminal, otherwise plain."""
    if not stream.isatty() or env.get("TERM") == "dumb":
        return Plain(stream, verbose=verbose)
    return Live(stream, colour=not env.get("NO_COLOR"), verbose=verbose)


def report_line(report: Report) -> str:
    """Format a report: ``[2/3] built   -f seed.sql  0.8 s``."""
    took = "" if report.outcome == "cached" else f"  {measured(report.seconds)}"
    position = f"[{report.number}/{report.total}]"
    return f"{position} {report.outcome:<6}  {one_line(report.title)}{took}"


class Plain:
    """Shows one line for each step that ended, and never changes it."""

    def __init__(self, stream: TextIO, *, verbose: bool) -> None:
        self._stream = stream
        self._verbose = verbose

    def done(self, report: Report) -> None:
        self.note(report_line(report))

    def working(self, now: Working) -> None:
        """Do nothing: it would only fill a log file."""

    def log(self, line: str) -> None:
        if self._verbose:
            self.note(f"      {line}")

    def note(self, line: str) -> None:
        print(one_line_kept(line), file=self._stream, flush=True)

    def clear(self) -> None:
        """Do nothing: every line stays."""


class Live:
    """Shows a line for each step that ended, then the current one and its tool's last output."""

    def __init__(self, stream: TextIO, *, colour: bool, verbose: bool) -> None:
        self._stream = stream
        self._colour = colour
        self._verbose = verbose
        self._last_log = ""
        self._lines_shown = 0

    def done(self, report: Report) -> None:
        self._last_log = ""
        mark = self._paint(_MARKS[report.outcome], _COLOURS[report.outcome])
        text = cut(report_line(report), self._width() - 2)
        self.note(f"{mark} " + (self._paint(text, _DIM) if report.outcome == "cached" else text))

    def working(self, now: Working) -> None:
        self.clear()
        took = f"  {measured(now.seconds)}"
        title = cut(self._head(now) + one_line(now.title), self._width() - len(took))
        lines = [title + took]
        if self._last_log:
            lines.append(self._paint(cut(f"  {self._last_log}", self._width()), _DIM))
        self._write("\n".join(lines))
        self._lines_shown = len(lines)

    def log(self, line: str) -> None:
        self._last_log = one_line(line)
        if self._verbose:
            self.note(self._paint(f"      {self._last_log}", _DIM))

    def note(self, line: str) -> None:
        self.clear()
        self._write(line + "\n")

    def clear(self) -> None:
        if self._lines_shown:
            self._write(_CLEAR + _CLEAR_ABOVE * (self._lines_shown - 1))
            self._lines_shown = 0

    def _head(self, now: Working) -> str:
        if now.number is None:
            return ""
        full = _BAR * (now.number - 1) // now.total
        return f"[{'#' * full}{'.' * (_BAR - full)}] {now.number}/{now.total}  "

    def _width(self) -> int:
        # One column less, since some terminals wrap after the last one.
        return (columns(self._stream) or 80) - 1

    def _paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colour else text

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def one_line_kept(line: str) -> str:
    """Make a line safe to print, keeping its indentation."""
    body = line.lstrip(" ")
    return line[: len(line) - len(body)] + one_line(body)
