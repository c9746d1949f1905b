"""Ranges of events: what a Range header asks for, and which events that is.

A job that has not ended has no last event yet, so HTTP's rules for ranges leave some choices:

- The total is ``*``, and a range that starts after the newest event waits for it; a range is
  unsatisfiable only if it starts after the last event of a finished job.
- An open range (``10-``) and the last few (``-5``) continue to the terminal event. Since HTTP
  requires a last position, it is the newest event at the start of the response.
- A closed range ends early if the job does.

As HTTP prescribes, a header that is malformed, in another unit or has several ranges is ignored.
"""

import re
from dataclasses import dataclass

_HEADER = re.compile(r"events=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Window:
    """The events to send: numbers ``first`` to ``last`` inclusive, or all if ``last`` is None."""

    first: int = 0
    last: int | None = None
    content_range: str | None = None
    """The Content-Range header; None if no range was requested."""


@dataclass(frozen=True, slots=True)
class EventRange:
    """A range as it was requested; without ``first`` it is the last ``last`` events."""

    first: int | None
    last: int | None

    def window(self, count: int, *, finished: bool) -> Window | None:
        """Apply the range to a job with ``count`` events so far; None if it is unsatisfiable."""
        first, last = self.first, self.last
        if first is None:
            first, last = max(0, count - (last or 0)), None
        if not finished:
            shown = max(first, count - 1) if last is None else last
            return Window(first, last, f"events {first}-{shown}/*")
        if first >= count:
            return None
        end = count - 1 if last is None else min(last, count - 1)
        return Window(first, end, f"events {first}-{end}/{count}")


def parse_range(header: str | None) -> EventRange | None:
    """Parse a Range header; None if there is none, or it must be ignored."""
    match = _HEADER.fullmatch(header.strip()) if header else None
    if match is None:
        return None
    first, last = (int(digits) if digits else None for digits in match.groups())
    if first is None and last is None:
        return None
    if first is not None and last is not None and last < first:
        return None
    return EventRange(first, last)
