"""Sizes: read as people write them, and written for people."""

import re
from typing import NewType

Bytes = NewType("Bytes", int)
"""A size."""

LARGEST = 1 << 60
"""The largest that can be asked for: more than any disk has."""

_UNITS = {
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("kMGT", 1)},
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", 1)},
}
_LARGEST_FIRST = sorted(_UNITS.items(), key=lambda unit: unit[1], reverse=True)
_BY_THOUSANDS = ("B", "kB", "MB", "GB", "TB")
_FACTORS = {"": 1, **{unit.lower(): factor for unit, factor in _UNITS.items()}}
# Not compiled here, since most commands have no size to read.
_WRITTEN = r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)"


def parse(text: str) -> Bytes:
    """Parse ``5000000``, ``500MB``, ``10GB``, ``1.5TB`` or ``512MiB`` into whole bytes.

    Raises ``ValueError``, with a message for people, for anything else, and above ``LARGEST``.
    """
    found = re.fullmatch(_WRITTEN, text.strip().lower(), re.ASCII)
    if found is None or found[2] not in _FACTORS:
        raise ValueError(f'"{text}" is not a size such as 500MB, 10GB or 512MiB')
    number = float(found[1]) if "." in found[1] else int(found[1])
    size = number * _FACTORS[found[2]]
    if size > LARGEST:
        raise ValueError(f'"{text}" is too large; give at most {write(LARGEST)}')
    return Bytes(int(size))


def write(count: int) -> str:
    """Write a size so that ``parse`` reads it back exactly: ``10GB``, ``128MiB``, ``1001``."""
    unit, factor = next(unit for unit in _LARGEST_FIRST if count % unit[1] == 0)
    return f"{count // factor}{unit}" if count and factor > 1 else str(count)


def rounded(count: int | None) -> str:
    """Write a rounded size, in units of thousands: ``1.5 MB``; ``-`` if it is not known."""
    if count is None:
        return "-"
    amount, units = float(count), iter(_BY_THOUSANDS)
    unit = next(units)
    while amount >= 999.5 and unit != _BY_THOUSANDS[-1]:
        amount, unit = amount / 1000, next(units)
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.95 else f"{amount:.1f} {unit}"
