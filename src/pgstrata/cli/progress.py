"""Progress on stderr: a live view on a terminal, plain lines anywhere else.

Events change what is to be shown, and a clock decides when: so the time of a step passes while its
tool is silent, and a tool with much to say costs no more frames than another.
"""

import errno
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TextIO

from pgstrata.cli.report import abandon
from pgstrata.cli.steps import Report, Working
from pgstrata.cli.text import one_line
from pgstrata.domain.durations import measured

Now = Callable[[], Working | None]

SLOW_SECONDS = 10.0
"""How long a step runs until a line says so where there is no live view, again and again."""


class Progress(ABC):
    """Shows the progress of a job."""

    def __init__(self, stream: TextIO, now: Now, period: float) -> None:
        """``now``: says what is being done. ``period``: seconds from one ``tick`` to the next."""
        self._stream = stream
        self._now = now
        self._period = period
        self._ticking: tuple[threading.Thread, threading.Event] | None = None

    @abstractmethod
    def done(self, report: Report) -> None:
        """Show a step that ended."""

    @abstractmethod
    def log(self, line: str) -> None:
        """Show a line of a tool's output."""

    @abstractmethod
    def note(self, line: str) -> None:
        """Show a line that stays on the screen."""

    @abstractmethod
    def tick(self) -> None:
        """Show what is being done now."""

    @abstractmethod
    def resume(self) -> None:
        """Go on after others may have written to the terminal. May be called at any moment."""

    def start(self) -> None:
        """Tick from now on, in a thread of its own."""
        over = threading.Event()
        thread = threading.Thread(target=self._tick_until, args=(over,), name="progress")
        thread.daemon = True
        self._ticking = (thread, over)
        thread.start()

    def stop(self) -> None:
        """Show nothing any more that would change. May be repeated, and followed by a start."""
        if self._ticking is not None:
            thread, over = self._ticking
            over.set()
            thread.join()
            self._ticking = None

    def _tick_until(self, over: threading.Event) -> None:
        try:
            while not over.wait(self._period):
                self.tick()
        except BrokenPipeError:
            return  # the next line of the main thread meets it as well

    def _write(self, text: str) -> None:
        """Write to the stream. A terminal that is gone is a hangup, which we may have to ignore."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            abandon(self._stream)
            os.kill(os.getpid(), signal.SIGHUP)


def for_stream(stream: TextIO, env: Mapping[str, str], now: Now, *, verbose: bool) -> Progress:
    """Choose how to show progress: live on a capable terminal, otherwise plain."""
    if not stream.isatty() or env.get("TERM") == "dumb":
        return Plain(stream, now, verbose=verbose)
    from pgstrata.cli.live import Live

    return Live(stream, now, colour=not env.get("NO_COLOR"), verbose=verbose)


def report_line(report: Report) -> str:
    """Format a report: ``[2/3] built   -f seed.sql  0.8 s``."""
    took = "" if report.outcome == "cached" else f"  {measured(report.seconds)}"
    position = f"[{report.number}/{report.total}]"
    return f"{position} {report.outcome:<6}  {one_line(report.title)}{took}"


def one_line_kept(line: str) -> str:
    """Make a line safe to print, keeping its indentation."""
    body = line.lstrip(" ")
    return line[: len(line) - len(body)] + one_line(body)


class Plain(Progress):
    """Shows one line for each step that ended, and some for one that is slow."""

    def __init__(
        self, stream: TextIO, now: Now, *, verbose: bool, slow_seconds: float = SLOW_SECONDS
    ) -> None:
        super().__init__(stream, now, min(1.0, slow_seconds))
        self._verbose = verbose
        self._slow_seconds = slow_seconds
        self._told: tuple[int | None, str] | None = None
        self._tell_at = slow_seconds

    def done(self, report: Report) -> None:
        self.note(report_line(report))

    def log(self, line: str) -> None:
        if self._verbose:
            self.note(f"      {line}")

    def note(self, line: str) -> None:
        self._write(one_line_kept(line) + "\n")

    def tick(self) -> None:
        """Say so if a step is slow."""
        now = self._now()
        if now is None:
            return
        if self._told != (now.number, now.title):
            self._told, self._tell_at = (now.number, now.title), self._slow_seconds
        if now.seconds >= self._tell_at:
            position = "" if now.number is None else f"[{now.number}/{now.total}] running  "
            self.note(f"{position}{one_line(now.title)}  {measured(now.seconds)}")
            self._tell_at = now.seconds - now.seconds % self._slow_seconds + self._slow_seconds

    def resume(self) -> None:
        """Do nothing: every line stays."""
