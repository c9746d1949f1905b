"""Durations: read as people write them, and written for people."""

from typing import NewType

Seconds = NewType("Seconds", int)
"""A duration that a person chose."""

LONGEST = Seconds(10_000 * 86400)
"""The longest duration: 27 years. What is added to it is still a date, and fits every timer."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MOST_DIGITS = 20
_LARGEST_FIRST = tuple(reversed(_SECONDS.items()))
_SPELLED = {"m": "min"}


def parse(text: str) -> Seconds:
    """Parse ``90``, ``90s``, ``15m``, ``2h`` or ``1d`` into whole seconds.

    Raises ``ValueError``, with a message for people, for anything else and above ``LONGEST``.
    """
    stripped = text.strip()
    unit = stripped[-1:]
    number = stripped[:-1] if unit in _SECONDS else stripped
    if not (number.isascii() and number.isdigit()):
        raise ValueError(f'"{text}" is not a duration such as 90s, 15m, 2h or 1d')
    digits = number.lstrip("0") or "0"
    # Python refuses to convert thousands of them.
    seconds = int(digits) * _SECONDS.get(unit, 1) if len(digits) < _MOST_DIGITS else LONGEST + 1
    if seconds > LONGEST:
        raise ValueError(f'"{text[:_MOST_DIGITS]}" is too long; give at most {write(LONGEST)}')
    return Seconds(seconds)


def parse_positive(text: str) -> Seconds:
    """Parse a duration of at least one second. Raises ``ValueError`` like ``parse``."""
    seconds = parse(text)
    if seconds == 0:
        raise ValueError(f'"{text}" is too short; give at least 1s')
    return seconds


def write(seconds: float) -> str:
    """Write whole seconds so that ``parse`` reads them back: ``10m``."""
    whole = int(seconds)
    unit, length = next(
        ((unit, length) for unit, length in _LARGEST_FIRST if whole and whole % length == 0),
        ("s", 1),
    )
    return f"{whole // length}{unit}"


def rounded(seconds: float) -> str:
    """Write a duration in the largest unit that it fills: ``45 s``, ``3 min``, ``2 h``, ``5 d``."""
    whole = max(int(seconds), 0)
    unit, length = next(
        ((unit, length) for unit, length in _LARGEST_FIRST if whole >= length), ("s", 1)
    )
    return f"{whole // length} {_SPELLED.get(unit, unit)}"


def measured(seconds: float) -> str:
    """Write a measured, short time: ``12 ms``, ``0.8 s``, ``2 min 5 s``."""
    if seconds < 0.3:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"
