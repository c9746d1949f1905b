"""Ranges of events: what a Range header asks for, and which events that is.

A job that has not ended has no last event yet, so what HTTP says of ranges needs choices:

- The total is ``*``, and a range that starts past what there is waits; only past the end of a
  finished job is a range unsatisfiable.
- An open range (``10-``) and the last few (``-5``) go on to the terminal event. As HTTP demands a
  last position, the newest event there is when the answer begins is given as such.
- A closed range ends early if the job does.

A header that is malformed, in another unit or of several ranges is ignored, as HTTP has it.
"""

import re
from dataclasses import dataclass

_HEADER = re.compile(r"events=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Window:
    """The events to send: numbers ``first`` to ``last``, both included; no ``last``, no end."""

    first: int = 0
    last: int | None = None
    content_range: str | None = None
    """The Content-Range header; None for the whole."""


@dataclass(frozen=True, slots=True)
class EventRange:
    """A range as it was asked for; without ``first`` it is the last ``last`` events."""

    first: int | None
    last: int | None

    def window(self, count: int, *, finished: bool) -> Window | None:
        """The range on a job with ``count`` events so far; None when it cannot be satisfied."""
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
    """What a Range header asks for; None when there is none, or one to be ignored."""
    match = _HEADER.fullmatch(header.strip()) if header else None
    if match is None:
        return None
    first, last = (int(digits) if digits else None for digits in match.groups())
    if first is None and last is None:
        return None
    if first is not None and last is not None and last < first:
        return None
    return EventRange(first, last)
