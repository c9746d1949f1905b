"""How long an engine that was started is waited for: as long as it does something.

On a machine that is busy, or with much to tidy up, no number of seconds would be right for all.
"""

import os
from contextlib import suppress
from pathlib import Path

LONGEST_SECONDS = 900.0
"""Whatever it does, it should have answered by then."""
IDLE_SECONDS = 60.0
"""One that does nothing for this long is stuck."""
_QUIET_SECONDS = 5.0
"""Waiting this long needs no explanation."""


class Patience:
    """Decides whether to wait on, and when to say so. All times are of one clock, in seconds."""

    def __init__(self, now: float, done: object) -> None:
        """``done``: something that changes whenever the engine gets on."""
        self._started = self._changed = now
        self._done = done
        self._told = False

    def lasts(self, now: float, done: object) -> bool:
        """Whether to wait on."""
        if done != self._done:
            self._done, self._changed = done, now
        return now - self._changed < IDLE_SECONDS and now - self._started < LONGEST_SECONDS

    def to_tell(self, now: float) -> bool:
        """Whether to say that it takes long: once."""
        told, self._told = self._told, self._told or now - self._started >= _QUIET_SECONDS
        return self._told and not told


def done_by(pid: int, log: Path) -> tuple[bytes, ...]:
    """What a process has done by now: the processor time that it took, and what it wrote."""
    found: list[bytes] = []
    with suppress(OSError):
        # After the name, which may contain anything: from utime to cstime.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
        found += fields[11:15]
    with suppress(OSError):
        found.append(b"%d" % os.stat(log).st_size)  # noqa: PTH116 - fifty times a second
    return tuple(found)
